"""
The connection to NATS: messages, requests and subscriptions, and keeping all of them alive.

nats-py gives up for good on some errors of a server (any `-ERR`, a message that is too large with its headers) and,
where it reconnects by itself, may store a publish long after its caller was told that it failed. So it never reconnects
here: a client that is lost is replaced by a new one, whatever the reason, and every subscription is made again. Then
the listeners of `on_reconnect` run, one after another, each until it succeeds. One that fails lets those behind it run
first, and then has its turn again.

Whoever waits for an answer when the connection is lost is told at once. What was published then is of unknown outcome:
publish again with the same message id (streams.py).
"""

import asyncio
import logging
import math
import os
import random
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as ClientSubscription

from clawback.errors import ClawbackError, ConfigError, NotFound, TooLarge, Unavailable
from clawback.fabric import nkey
from clawback.fabric.auth import NatsAuth
from clawback.fabric.embedded import read_auth
from clawback.fabric.jetstream import NO_RESPONDERS, STATUS, CoreMessage, header_bytes
from clawback.system.port_owners import serves_as
from clawback.telemetry import metrics

CONNECT_SECONDS = 2.0
"""One attempt to reach one server, each of its steps."""

PING_SECONDS = 5.0
MAX_OUTSTANDING_PINGS = 2
"""A server that froze is noticed after 15 s; nats-py's defaults take minutes."""

WATCH_SECONDS = 1.0
"""How often the supervisor looks for itself: nats-py's own notice waits for a socket that may never close."""

MAX_BACKOFF_SECONDS = 0.3
"""Between attempts to connect, from 50 ms up: a local server is back in 10 ms, and a webhook waits for seconds only."""

LATE_SECONDS = 0.2
"""A timer that is later than this says that the process had no CPU, and not that NATS is silent."""

OUTAGES = 10
"""Times in a row that a listener may find NATS away after a reconnect before those behind it run first."""

_CLOSED = (OSError, RuntimeError)
"""What a write to a socket raises that closed a moment ago, and nats-py has not noticed: uvloop has its own word."""

MAX_SUBJECT_BYTES = 1024
"""nats-server closes a connection over a protocol line of more than 4096 bytes; subjects stay well below."""

log = logging.getLogger("clawback.fabric")


class Subscription:
    """Interest in a subject, kept across reconnects until `unsubscribe`."""

    def __init__(
        self, connection: "Connection", subject: str, callback: Callable[[CoreMessage], None], queue: str
    ) -> None:
        self._connection = connection
        self._subject = subject
        self._callback = callback
        self._queue = queue
        self._bound: ClientSubscription | None = None
        self._ended = False
        self.client: Client | None = None

    async def bind(self, client: Client) -> None:
        """Subscribe on a client. The connection calls it for each new one."""
        # No limits: the callbacks only hand over, so what waits here is what one read of the socket brought.
        self._bound = await client.subscribe(
            self._subject, queue=self._queue, cb=self._deliver, pending_msgs_limit=0, pending_bytes_limit=0
        )
        self.client = client

    async def unsubscribe(self) -> None:
        """End the interest; what is under way is not delivered any more."""
        self._ended = True
        self._connection.forget(self)
        if self._bound is not None and self.client is not None and self.client.is_connected:
            # A connection that is lost just now has no interest to end.
            with suppress(nats.errors.Error, *_CLOSED):
                await self._bound.unsubscribe()

    async def _deliver(self, message: Msg) -> None:
        if not self._ended:
            self._callback(CoreMessage(message.subject, message.reply, message.headers or {}, message.data))


class _Exchange:
    """One request and what came back so far: one answer, or `many` up to a status."""

    __slots__ = ("answers", "done", "many")

    def __init__(self, *, many: bool) -> None:
        self.answers: list[CoreMessage] = []
        self.many = many
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add(self, message: CoreMessage) -> None:
        self.answers.append(message)
        if not self.done.done() and (not self.many or STATUS in message.headers):
            self.done.set_result(None)

    def expire(self, subject: str, patience_s: float, due: float) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - due > LATE_SECONDS:
            # It is this process that stood still, and an event loop runs its timers before it reads: let it read, once.
            loop.call_later(LATE_SECONDS, self.expire, subject, patience_s, math.inf)
            return
        self.fail(Unavailable(f"NATS did not answer on {subject} within {patience_s:g} s"))

    def fail(self, error: Unavailable) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class _OwnServer(Client):
    """A client that first makes sure that it talks to a server of our own user, and then signs what that asks it."""

    def __init__(self, auth: NatsAuth) -> None:
        super().__init__()
        self._port = urlsplit(auth.url).port or 0
        self._seed = bytes.fromhex(auth.seed or "")
        # nats-py takes these from a file of its own format alone, and for that wants two more packages.
        self._public_nkey = nkey.public_key(self._seed)

    def _connect_command(self) -> bytes:
        if not serves_as(self._port, os.geteuid()):
            raise nats.errors.Error(f"port {self._port} is served by another user's program: nothing was sent to it")
        self._auth_configured = True
        self._signature_cb = lambda nonce: nkey.sign(self._seed, nonce)
        return super()._connect_command()


class Connection:
    """One connection to NATS. `connect` begins it, `close` ends it; `generation` counts the clients it has had."""

    def __init__(self, auth: NatsAuth, name: str) -> None:
        self._auth = auth
        self._name = name
        self._client = Client()
        self._lost = asyncio.Event()
        self._last_error = ""
        self._problem: str | None = "not connected to NATS yet"
        self._subscriptions: list[Subscription] = []
        self._listeners: list[Callable[[], Awaitable[None]]] = []
        self._exchanges: dict[str, _Exchange] = {}
        self._asked = 0
        self._answers_to = self.inbox()
        self._supervisor: asyncio.Task[None] | None = None
        self._catching_up: asyncio.Task[None] | None = None
        self.generation = 0
        self.unrecovered: str | None = None
        """What has not come back after a reconnect, as a sentence, once something failed; None where all has."""

    # --- the connection's life ------------------------------------------------------------------------------------

    async def connect(self, patience_s: float) -> None:
        """
        Connect and stay so, trying for `patience_s` seconds.

        Raises:
            ConfigError: the URL is none, or NATS refuses who we are.
            Unavailable: nobody answers there.
        """
        self._auth.check()
        await self.subscribe(f"{self._answers_to}.*", self._answered)
        await self._open(patience_s)

    @property
    def max_payload(self) -> int:
        """The bytes that a message may have in NATS, headers included."""
        return self._client.max_payload

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Run `callback` after each reconnect, after those registered before it, until it succeeds."""
        self._listeners.append(callback)

    def problem(self) -> str | None:
        """Say why NATS cannot be used, as a sentence, or None where nothing is known to be wrong."""
        if self._problem is None and not self._client.is_connected:
            return self._lost_sentence()
        return self._problem

    async def close(self) -> None:
        """Close the connection. What waits for an answer fails with Unavailable."""
        await _end(self._supervisor)
        await _end(self._catching_up)
        self._problem = "the connection to NATS was closed"
        self._fail_exchanges()
        await _close(self._client)

    async def _open(self, patience_s: float) -> None:
        deadline = asyncio.get_running_loop().time() + patience_s
        backoff = Backoff()
        while True:
            try:
                await self._connect()
            except nats.errors.Error as error:
                if "Authorization" in str(error):
                    raise ConfigError(
                        f"NATS at {self._auth.where} refuses {self._auth.describe_user()}: check the user and password"
                    ) from error
                self._last_error = self._last_error or str(error)
            except (OSError, TimeoutError) as error:
                self._last_error = str(error) or "no answer"
            else:
                break
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable(f"no NATS at {self._auth.where}: {self._last_error}")
            await backoff.wait()
        self._problem = None
        self._supervisor = asyncio.create_task(self._supervise(), name="nats supervisor")

    async def _connect(self) -> None:
        """Make one client with every subscription on it, and put it in place."""
        auth = self._auth = _read_anew(self._auth)
        client = Client() if auth.seed is None else _OwnServer(auth)
        lost = asyncio.Event()

        async def closed() -> None:
            if client.last_error is not None:
                self._last_error = str(client.last_error)
            lost.set()

        async def failed(error: Exception) -> None:
            if isinstance(error, nats.errors.Error | OSError | TimeoutError):
                self._last_error = str(error) or type(error).__name__
                # A refused permission leaves the connection as it is; of any other error the supervisor tells.
                log.log(logging.WARNING if "permissions" in self._last_error else logging.DEBUG, "%s", self._last_error)
            else:
                log.error("the callback of a NATS subscription failed", exc_info=error)

        try:
            await client.connect(
                auth.servers,
                name=self._name,
                user=auth.user if auth.seed is None else None,
                password=auth.password if auth.seed is None else None,
                allow_reconnect=False,
                # Each server twice, 50 ms apart; then it is our turn to wait.
                max_reconnect_attempts=1,
                reconnect_time_wait=0.05,  # type: ignore[arg-type] # declared int, used as seconds for asyncio.sleep
                connect_timeout=CONNECT_SECONDS,  # type: ignore[arg-type] # the same
                ping_interval=PING_SECONDS,  # type: ignore[arg-type] # the same
                max_outstanding_pings=MAX_OUTSTANDING_PINGS,
                # Publishing while disconnected fails at once and is never stored later.
                pending_size=0,
                closed_cb=closed,
                error_cb=failed,
            )
            # One that is added meanwhile finds no client to bind to, so look again until none is left.
            while unbound := [each for each in self._subscriptions if each.client is not client]:
                for each in unbound:
                    await each.bind(client)
                await client.flush()
        except BaseException:
            await _close(client)
            raise
        self._client, self._lost, self._last_error = client, lost, ""
        self.generation += 1

    async def _supervise(self) -> None:
        while True:
            while self._client.is_connected and not self._lost.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(WATCH_SECONDS):
                        await self._lost.wait()
            lost_at = asyncio.get_running_loop().time()
            self._problem = self._lost_sentence()
            log.warning("%s", self._problem)
            await _end(self._catching_up)
            self._fail_exchanges()
            await _close(self._client)
            await self._reconnect()
            metrics.RECONNECTS.inc()
            log.info("connected to NATS again after %.1f s", asyncio.get_running_loop().time() - lost_at)
            self._problem = "connected to NATS again, but its streams are not checked yet"
            self._catching_up = asyncio.create_task(self._catch_up(), name="after a reconnect")

    async def _reconnect(self) -> None:
        backoff = Backoff()
        while True:
            try:
                await self._connect()
            except (OSError, TimeoutError, nats.errors.Error) as error:
                self._last_error = str(error) or self._last_error
                self._problem = self._lost_sentence()
            except Exception:
                # Whatever nats-py stumbles over in a server's greeting, giving up is worse than trying again.
                log.exception("connecting to NATS failed in an unknown way")
            else:
                return
            await backoff.wait()

    async def _catch_up(self) -> None:
        """Restore what is ours and run the listeners. Cancelled where the connection is lost before they are done."""
        backoff = Backoff()
        while not await self._succeeded(self._restored):
            await backoff.wait()
        left, backoff = [*self._listeners], Backoff()
        while left := [step for step in left if not await self._succeeded(step, OUTAGES)]:
            self.unrecovered = f"{len(left)} parts are not yet as they were before NATS was lost: the log says why"
            await backoff.wait()
        self.unrecovered = None

    async def _restored(self) -> None:
        """Do what comes before the listeners after a reconnect."""
        self._problem = None

    async def _succeeded(self, step: Callable[[], Awaitable[None]], outages: int = 1) -> bool:
        """Do a step, again while NATS is what it lacks: then those behind it lack that too, `outages` times at most."""
        backoff = Backoff()
        for attempt in range(outages):
            if attempt:
                await backoff.wait()
            try:
                await step()
            except ClawbackError as error:
                log.warning("after a reconnect to NATS: %s", error)
            except Exception:
                # A listener's bug must not end the supervisor: every other room lives by it.
                log.exception("a listener failed after a reconnect to NATS and will run again")
                return False
            else:
                return True
        return False

    def _lost_sentence(self) -> str:
        reason = f": {self._last_error}" if self._last_error else ""
        return f"the connection to NATS at {self._auth.where} is lost{reason}"

    def _fail_exchanges(self) -> None:
        for exchange in self._exchanges.values():
            exchange.fail(Unavailable(self._problem or self._lost_sentence()))

    # --- core NATS ------------------------------------------------------------------------------------------------

    async def subscribe(
        self, subject: str, callback: Callable[[CoreMessage], None], *, queue: str | None = None
    ) -> Subscription:
        """
        Call `callback` for each message from now on, across reconnects; what is sent in between is missed.

        Messages come one after another, so the callback only hands over. When this returns NATS knows of the
        interest, unless it is away.
        """
        subscription = Subscription(self, subject, callback, queue or "")
        self._subscriptions.append(subscription)
        if self._client.is_connected:
            # If it is lost just now, the supervisor binds it to the next client.
            with suppress(nats.errors.Error, *_CLOSED):
                await subscription.bind(self._client)
                await self._client.flush()
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """Make a subscription no more after a reconnect. For `Subscription.unsubscribe`, which callers use."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    async def send(self, subject: str, body: bytes, *, reply: str = "") -> None:
        """
        Send without waiting for anything; nobody may be listening.

        Raises:
            Unavailable: there is no connection.
            TooLarge: the body does not fit NATS.
        """
        await self._transmit(subject, body, None, reply)

    async def request(self, subject: str, body: bytes, *, timeout: float) -> bytes:  # noqa: ASYNC109 -- ends here as Unavailable
        """
        Send and return the first answer.

        Raises:
            NotFound: nobody listens.
            Unavailable: no answer within `timeout` seconds, or no connection.
            TooLarge: the body does not fit NATS.
        """
        answer = await self._ask(subject, body, None, timeout)
        if answer.headers.get(STATUS) == NO_RESPONDERS:
            raise NotFound(f"nobody listens on {subject}")
        return answer.data

    def inbox(self) -> str:
        """Make a subject prefix that is nobody else's, for answers."""
        return f"_INBOX.{secrets.token_hex(11)}"

    # --- the wire -------------------------------------------------------------------------------------------------

    async def _ask(self, subject: str, body: bytes, headers: dict[str, str] | None, patience_s: float) -> CoreMessage:
        return (await self._exchange(subject, body, headers, patience_s, many=False))[0]

    async def _exchange(
        self, subject: str, body: bytes, headers: dict[str, str] | None, patience_s: float, *, many: bool
    ) -> list[CoreMessage]:
        self._asked += 1
        token = str(self._asked)
        exchange = self._exchanges[token] = _Exchange(many=many)
        # Not asyncio.timeout, which costs a webhook, with its two exchanges, 2 % of its CPU time. It is the answer that
        # may not come: nats-py only queues what is sent.
        loop = asyncio.get_running_loop()
        expiry = loop.call_later(patience_s, exchange.expire, subject, patience_s, loop.time() + patience_s)
        try:
            await self._transmit(subject, body, headers, f"{self._answers_to}.{token}")
            await exchange.done
        finally:
            expiry.cancel()
            del self._exchanges[token]
        return exchange.answers

    async def _transmit(self, subject: str, body: bytes, headers: dict[str, str] | None, reply: str = "") -> None:
        size = len(body) + (header_bytes(headers) if headers else 0)
        if size > self.max_payload:
            raise TooLarge(f"a message of {size} bytes does not fit NATS, which takes {self.max_payload}")
        if len(subject) > MAX_SUBJECT_BYTES:
            raise TooLarge(f"a subject of {len(subject)} characters is too long, {MAX_SUBJECT_BYTES} are accepted")
        try:
            await self._client.publish(subject, body, reply=reply, headers=headers)
        except (*_CLOSED, nats.errors.ConnectionClosedError, nats.errors.OutboundBufferLimitError) as error:
            raise Unavailable(self.problem() or self._lost_sentence()) from error

    def _answered(self, message: CoreMessage) -> None:
        exchange = self._exchanges.get(message.subject.rpartition(".")[2])
        if exchange is not None:
            exchange.add(message)


def _read_anew(auth: NatsAuth) -> NatsAuth:
    """Read where our own NATS is now, as it may have been started again elsewhere."""
    if auth.kept_in is not None:
        # It is being written: then what we know is still right, or the next attempt will know.
        with suppress(ConfigError):
            return read_auth(auth.kept_in.parents[1])
    return auth


class Backoff:
    """Waits that double from 50 ms to MAX_BACKOFF_SECONDS, each cut by up to half so that servers spread."""

    def __init__(self) -> None:
        self._ceiling = 0.05

    async def wait(self) -> None:
        """Wait, longer with each call."""
        seconds = self._ceiling * random.uniform(0.5, 1.0)  # noqa: S311 -- spreads load, guards nothing
        self._ceiling = min(self._ceiling * 2, MAX_BACKOFF_SECONDS)
        await asyncio.sleep(seconds)


async def _end(task: asyncio.Task[None] | None) -> None:
    # Until it counts: Python 3.11's wait_for, which nats-py connects with, loses a cancellation that comes at the
    # moment of its result.
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.1)


async def _close(client: Client) -> None:
    # Bounded: nats-py waits for the socket to empty, which a frozen server never lets it.
    with suppress(TimeoutError, OSError, nats.errors.Error):
        async with asyncio.timeout(CONNECT_SECONDS):
            await client.close()
