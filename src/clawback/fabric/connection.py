"""
The connection to NATS: requests, publishes, reads and subscriptions, and keeping all of them alive.

nats-py gives up for good on some errors of a server (any `-ERR`, a message that is too large with its headers) and,
where it reconnects by itself, may store a publish long after its caller was told that it failed. So it never reconnects
here: a client that is lost is replaced by a new one, whatever the reason, and every subscription is made again. Then,
in this order: the layout is ensured, the listeners of `on_reconnect` run, each until it succeeds.

Whoever waits for an answer when the connection is lost is told at once. What was published then is of unknown outcome:
publish again with the same message id.

Where a cluster keeps several copies of a stream, a direct get is answered by whichever copy is nearest, and that may
lack what was confirmed a moment ago. So there `get` asks the stream's leader, and lists wait until the copy that
answers has what the leader has (docs/adr/0018).
"""

import asyncio
import logging
import math
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as ClientSubscription

from clawback import metrics
from clawback.errors import (
    ClawbackError,
    ConfigError,
    NotFound,
    StoreFull,
    TooLarge,
    Unavailable,
)
from clawback.fabric import layout
from clawback.fabric.auth import NatsAuth
from clawback.fabric.jetstream import (
    BATCH_COMMIT_HEADER,
    BATCH_ID_HEADER,
    BATCH_SEQUENCE_HEADER,
    EXPECTED_HEADER,
    MESSAGE_ID_HEADER,
    NO_RESPONDERS,
    NOT_FOUND,
    PENDING_HEADER,
    STATUS,
    TOO_MANY_RESULTS,
    TTL_HEADER,
    BatchMessage,
    CoreMessage,
    PubAck,
    Stored,
    direct_get_error,
    header_bytes,
    read_get_answer,
    read_publish_answer,
    read_stored,
)

CONNECT_SECONDS = 2.0
"""One attempt to reach one server, each of its steps."""

PING_SECONDS = 5.0
MAX_OUTSTANDING_PINGS = 2
"""A server that froze is noticed after 15 s; nats-py's defaults take minutes."""

WATCH_SECONDS = 1.0
"""How often the supervisor looks for itself: nats-py's own notice waits for a socket that may never close."""

MAX_BACKOFF_SECONDS = 0.3
"""Between attempts to connect, from 50 ms up: a local server is back in 10 ms, and a webhook waits for seconds only."""

ELECTION_SECONDS = 60.0
"""How long a start waits for a cluster that elects: some 5 s after a kill, more where all nodes start together."""

BEHIND_SECONDS = 5.0
"""How long a copy of a stream that lacks what its leader has is waited for. They are behind by milliseconds."""

LATE_SECONDS = 0.2
"""A timer that is later than this says that the process had no CPU, and not that NATS is silent."""

PAGE_MESSAGES = 512
"""Messages of one batched direct get."""

BURST_MESSAGES = 4
"""Messages of a batch that are sent before others have their turn: a thousand at once take some 15 ms."""

WALK_MESSAGES = 64
WALK_BYTES = 1024 * 1024
"""What a walk through a stream has in memory at a time, unless one message is larger."""

MAX_SUBJECT_BYTES = 1024
"""nats-server closes a connection over a protocol line of more than 4096 bytes; subjects stay well below."""

log = logging.getLogger("clawback.fabric")


class Subscription:
    """Interest in a subject, kept across reconnects until `unsubscribe`."""

    def __init__(self, fabric: "Fabric", subject: str, callback: Callable[[CoreMessage], None], queue: str) -> None:
        self._fabric = fabric
        self._subject = subject
        self._callback = callback
        self._queue = queue
        self._bound: ClientSubscription | None = None
        self._ended = False
        self.client: Client | None = None

    async def bind(self, client: Client) -> None:
        """Subscribe on a client. The fabric calls it for each new one."""
        # No limits: the callbacks only hand over, so what waits here is what one read of the socket brought.
        self._bound = await client.subscribe(
            self._subject, queue=self._queue, cb=self._deliver, pending_msgs_limit=0, pending_bytes_limit=0
        )
        self.client = client

    async def unsubscribe(self) -> None:
        """End the interest; what is under way is not delivered any more."""
        self._ended = True
        self._fabric.forget(self)
        if self._bound is not None and self.client is not None and self.client.is_connected:
            # A connection that is lost just now has no interest to end.
            with suppress(nats.errors.Error):
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


async def _give_way() -> None:
    await asyncio.sleep(0)


class Fabric:
    """
    One connection to NATS for a whole server. `open` makes it, `close` ends it.

    `replicas` is how many copies NATS keeps of every stream: what was asked for, or more, once the layout is ensured.
    """

    def __init__(self, auth: NatsAuth, name: str, replicas: int) -> None:
        self.replicas = replicas
        self._auth = auth
        self._name = name
        self._client = Client()
        self._lost = asyncio.Event()
        self._last_error = ""
        self._problem: str | None = "not connected to NATS yet"
        self._checked_at = -math.inf
        self._silence: str | None = None
        self._shards: int | None = None
        self._subscriptions: list[Subscription] = []
        self._listeners: list[Callable[[], Awaitable[None]]] = []
        self._exchanges: dict[str, _Exchange] = {}
        self._asked = 0
        self._answers_to = self.inbox()
        self._supervisor: asyncio.Task[None] | None = None
        self._catching_up: asyncio.Task[None] | None = None
        self.generation = 0
        self.refusal: str | None = None
        """What NATS said when it had no room for a message, until somebody finds out that it has."""

    # --- the connection's life ------------------------------------------------------------------------------------

    @classmethod
    async def open(cls, auth: NatsAuth, *, name: str, replicas: int = 1, patience_s: float = 10.0) -> "Fabric":
        """
        Connect as `name` (as `nats server report connections` shows it), trying for `patience_s` seconds.

        Raises:
            ConfigError: the URL is none, or NATS refuses who we are.
            Unavailable: nobody answers there.
        """
        auth.check()
        fabric = cls(auth, name, replicas)
        await fabric.subscribe(f"{fabric._answers_to}.*", fabric._answered)
        await fabric._open(patience_s)
        return fabric

    async def keep_layout(self, shards: int) -> None:
        """
        Ensure the layout now and after every reconnect: a memory bucket does not outlive its server.

        Raises:
            Unavailable: NATS refused a stream, does not answer, or elects the leader of one.
        """
        self.replicas = await layout.ensure(self, shards, self.replicas)
        if self.replicas > 1:
            await layout.check_leaders(self, shards, self.replicas)
        self._shards = shards

    async def outlast_election(self, step: Callable[[], Awaitable[None]]) -> None:
        """
        Do a step of the start, again while a cluster cannot yet: it elects, or its other nodes are still starting.

        One server without copies elects nothing: there the step is done once.

        Raises:
            Unavailable: it could not within ELECTION_SECONDS; says why, and where to look.
        """
        if self.replicas == 1:
            return await step()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ELECTION_SECONDS
        backoff, told = _Backoff(), ""
        while True:
            try:
                return await step()
            except Unavailable as error:
                left = deadline - loop.time()
                if left <= 0:
                    raise Unavailable(
                        f"the NATS cluster at {self._auth.where} was not ready within {ELECTION_SECONDS:.0f} s:"
                        f" {error}. Most of its nodes have to run and to reach each other; look with"
                        " `nats server report jetstream`, then start this again"
                    ) from error
                if str(error) != told:
                    told = str(error)
                    log.warning("waiting for the NATS cluster, for %.0f s at most: %s", left, told)
            await backoff.wait()

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
        return self._problem or self._silence

    async def check(self) -> str | None:
        """Ask JetStream for a sign of life, at most once a second, and return `problem()`."""
        now = asyncio.get_running_loop().time()
        if self._problem is None and now - self._checked_at > 1.0:
            self._checked_at = now
            try:
                await self.api("INFO", {}, timeout=1.0)
            except Unavailable as error:
                self._silence = str(error)
            else:
                self._silence = None
        return self.problem()

    async def close(self) -> None:
        """Close the connection. What waits for an answer fails with Unavailable."""
        await _end(self._supervisor)
        await _end(self._catching_up)
        self._problem = "the connection to NATS was closed"
        self._fail_exchanges()
        await _close(self._client)

    async def _open(self, patience_s: float) -> None:
        deadline = asyncio.get_running_loop().time() + patience_s
        backoff = _Backoff()
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
        client = Client()
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
                self._auth.servers,
                name=self._name,
                user=self._auth.user,
                password=self._auth.password,
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
        backoff = _Backoff()
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
        """Ensure the layout and run the listeners. Cancelled where the connection is lost before they are done."""
        for step in (self._ensure_layout, *self._listeners):
            backoff = _Backoff()
            while not await self._succeeded(step):
                await backoff.wait()

    async def _ensure_layout(self) -> None:
        if self._shards is not None:
            self.replicas = await layout.ensure(self, self._shards, self.replicas)
        self._problem = None

    async def _succeeded(self, step: Callable[[], Awaitable[None]]) -> bool:
        try:
            await step()
        except ClawbackError as error:
            log.warning("after a reconnect to NATS: %s", error)
        except Exception:
            # A listener's bug must not end the supervisor: every other room lives by it.
            log.exception("a listener failed after a reconnect to NATS and will run again")
        else:
            return True
        return False

    def _lost_sentence(self) -> str:
        reason = f": {self._last_error}" if self._last_error else ""
        return f"the connection to NATS at {self._auth.where} is lost{reason}"

    def _fail_exchanges(self) -> None:
        for exchange in self._exchanges.values():
            exchange.fail(Unavailable(self._problem or self._lost_sentence()))

    # --- JetStream ------------------------------------------------------------------------------------------------

    async def api(self, operation: str, body: dict[str, Any], *, timeout: float = 5.0) -> dict[str, Any]:  # noqa: ASYNC109 -- ends here as Unavailable
        """
        Send a `$JS.API.` request and return its answer, `error` included.

        Raises:
            Unavailable: no answer within `timeout` seconds, no JetStream, or no connection.
        """
        answer = await self._ask(f"$JS.API.{operation}", msgspec.json.encode(body), None, timeout)
        if answer.headers.get(STATUS) == NO_RESPONDERS:
            raise Unavailable(f"JetStream does not answer {operation}: is it enabled in NATS at {self._auth.where}?")
        decoded: dict[str, Any] = msgspec.json.decode(answer.data)
        return decoded

    async def publish(
        self,
        subject: str,
        body: bytes,
        *,
        message_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        expected_subject_sequence: int | None = None,
        ttl_s: float | None = None,
        timeout: float = 2.0,  # noqa: ASYNC109 -- ends here as Unavailable
    ) -> PubAck:
        """
        Publish to a stream and wait for its PubAck.

        `message_id` makes a repeat harmless; whoever repeats gives it. `expected_subject_sequence` is what the
        subject's newest message must have (0: there is none). `ttl_s` needs a stream that allows it, and is rounded
        up to whole seconds.

        Raises:
            Unavailable: no PubAck; the message may be stored, or may not.
            QueueFull: the subject holds as many messages as it may.
            Conflict: the expectation does not hold; nothing is stored.
            TooLarge: body and headers do not fit NATS; nothing was sent.
        """
        sent = dict(headers) if headers else {}
        if message_id is not None:
            sent[MESSAGE_ID_HEADER] = message_id
        if expected_subject_sequence is not None:
            sent[EXPECTED_HEADER] = str(expected_subject_sequence)
        if ttl_s is not None:
            sent[TTL_HEADER] = f"{math.ceil(ttl_s)}s"
        return self._read_publish_answer(await self._ask(subject, body, sent, timeout))

    async def batch(
        self, messages: Sequence[BatchMessage], *, breathe: Callable[[], Awaitable[None]] = _give_way
    ) -> PubAck:
        """
        Publish to one stream all or nothing (ADR-50), and return the PubAck of the last.

        The messages have successive sequences, so each one's can be told. At most 1,000, each subject once. Messages
        that always come in the same batch may carry message ids: `duplicate` then says that they were stored before,
        and no sequence. `breathe` is awaited after each few of them; NATS gives a batch up that pauses for 10 s.

        Raises:
            Unavailable: no PubAck; all is stored, or nothing.
            Conflict: an expectation does not hold; nothing is stored.
            QueueFull: a subject holds as many messages as it may; nothing is stored.
            TooLarge: a message does not fit NATS; nothing is stored.
        """
        if len(messages) == 1:
            # NATS takes milliseconds for a batch, however small it is.
            (only,) = messages
            return await self.publish(
                only.subject,
                only.body,
                headers=only.headers,
                expected_subject_sequence=only.expected_subject_sequence,
                timeout=5.0,
            )
        batch_id = secrets.token_hex(12)
        wire: list[tuple[str, bytes, dict[str, str]]] = []
        for position, message in enumerate(messages, start=1):
            headers = {**message.headers, BATCH_ID_HEADER: batch_id, BATCH_SEQUENCE_HEADER: str(position)}
            if message.expected_subject_sequence is not None:
                headers[EXPECTED_HEADER] = str(message.expected_subject_sequence)
            wire.append((message.subject, message.body, headers))
        *before, (subject, body, headers) = wire
        for number, each in enumerate(before, start=1):
            await self._transmit(*each)
            if number % BURST_MESSAGES == 0:
                await breathe()
        # Whatever was wrong with those before, the answer to the last tells.
        return self._read_publish_answer(await self._ask(subject, body, headers | {BATCH_COMMIT_HEADER: "1"}, 5.0))

    async def get(
        self,
        stream: str,
        *,
        sequence: int | None = None,
        subject: str | None = None,
        timeout: float = 5.0,  # noqa: ASYNC109 -- ends here as Unavailable
    ) -> Stored | None:
        """
        Read one message by its sequence, or the newest of a subject; None where there is none.

        What was confirmed before is seen, whichever server confirmed it.

        Raises:
            Unavailable: NATS does not answer within `timeout` seconds.
        """
        wanted = {"seq": sequence} if subject is None else {"last_by_subj": subject}
        if self.replicas > 1:
            return await self._get_from_leader(stream, wanted, timeout)
        answer = await self._ask(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(wanted), None, timeout)
        if STATUS not in answer.headers:
            return read_stored(answer)
        if answer.headers[STATUS] == NOT_FOUND:
            return None
        raise direct_get_error(stream, answer)

    async def first(self, stream: str, subject_filter: str) -> Stored | None:
        """
        Read the oldest message whose subject matches; None where there is none.

        Raises:
            Unavailable: NATS does not answer.
        """
        page, _ = await self._get_page(stream, {"seq": 1, "next_by_subj": subject_filter, "batch": 1})
        return page[0] if page else None

    async def page(self, stream: str, subject_filter: str, *, first: int, most: int = PAGE_MESSAGES) -> list[Stored]:
        """
        Read the oldest messages from the sequence `first` on whose subject matches; none where there are none any more.

        Raises:
            Unavailable: NATS does not answer.
        """
        page, _ = await self._get_page(stream, {"seq": first, "next_by_subj": subject_filter, "batch": most})
        return page

    async def get_many(self, stream: str, subject_filter: str) -> list[Stored]:
        """
        Read every message whose subject matches, oldest first.

        Raises:
            Unavailable: NATS does not answer.
        """
        return [stored async for page in self.pages(stream, subject_filter) for stored in page]

    async def pages(
        self, stream: str, subject_filter: str, *, first: int = 1, max_bytes: int | None = None
    ) -> AsyncIterator[list[Stored]]:
        """
        Read every message whose subject matches, oldest first, a page at a time; of about `max_bytes`, where given.

        Begins at the sequence `first`, and ends with what was there when it began, or later.

        Raises:
            Unavailable: NATS does not answer.
        """
        start = first
        lag = _Lag(self, stream, subject_filter)
        await lag.begin()
        while True:
            wanted = {"seq": start, "next_by_subj": subject_filter, "batch": PAGE_MESSAGES}
            page, end = await self._get_page(stream, wanted if max_bytes is None else wanted | {"max_bytes": max_bytes})
            if page:
                yield page
                start = page[-1].sequence + 1
            if (not page or end.headers.get(PENDING_HEADER, "0") == "0") and not await lag.outlast(start - 1):
                return

    async def walk(
        self, stream: str, subject_filter: str, *, first: int = 1, at_a_time: int | None = None
    ) -> AsyncIterator[Stored]:
        """
        Read the messages whose subject matches one by one, oldest first; stop when enough were seen.

        Begins at the sequence `first`, and asks NATS for `at_a_time`: as many as are likely to be enough. The newest
        may be missing where NATS keeps several copies.

        Raises:
            Unavailable: NATS does not answer.
        """
        wanted = {"next_by_subj": subject_filter, "batch": at_a_time or WALK_MESSAGES, "max_bytes": WALK_BYTES}
        start = first
        while True:
            page, end = await self._get_page(stream, wanted | {"seq": start})
            for stored in page:
                yield stored
            if not page or end.headers.get(PENDING_HEADER, "0") == "0":
                return
            start = page[-1].sequence + 1

    async def get_last_many(self, stream: str, subject_filter: str) -> list[Stored]:
        """
        Read the newest message of each subject that matches, oldest first.

        Raises:
            Unavailable: NATS does not answer.
        """
        newest = {each.subject: each async for page in self.last_pages(stream, subject_filter) for each in page}
        return sorted(newest.values(), key=lambda each: each.sequence)

    async def last_pages(self, stream: str, subject_filter: str) -> AsyncIterator[list[Stored]]:
        """
        Read the newest message of each subject that matches, a page at a time; older ones may come before it.

        Raises:
            Unavailable: NATS does not answer.
        """
        lag = _Lag(self, stream, subject_filter)
        await lag.begin()
        while True:
            page, end = await self._get_page(stream, {"multi_last": [subject_filter]})
            if end.headers[STATUS] == TOO_MANY_RESULTS:
                break
            if not await lag.outlast(max((each.sequence for each in page), default=0)):
                yield page
                return
        # NATS answers for 1,024 subjects at most, however they are paged.
        async for page in self.pages(stream, subject_filter):
            yield page

    async def delete(self, stream: str, sequence: int) -> None:
        """
        Delete one message, if it is still there.

        Raises:
            Unavailable: not known to be deleted.
        """
        answer = await self.api(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": True})
        reason = answer.get("error", {}).get("description")
        if reason is not None and "no message found" not in reason:
            raise Unavailable(f"NATS did not delete sequence {sequence} of {stream}: {reason}")

    async def is_alone_with(self, stream: str) -> bool:
        """
        Tell whether a stream is on the one server that this connection leads to, so that its restart ends this too.

        Not so in a cluster, and where a leaf passes on what is for another server.

        Raises:
            Unavailable: NATS does not answer, or has no such stream.
        """
        answer = await self.api(f"STREAM.INFO.{stream}", {})
        if error := answer.get("error"):
            raise Unavailable(f"NATS does not tell of stream {stream}: {error.get('description')}")
        cluster = answer.get("cluster") or {}
        # nats-py keeps what the server said of itself, and hands out only parts of it.
        name = self._client._server_info.get("server_name")  # noqa: SLF001
        return name is not None and "name" not in cluster and cluster.get("leader") == name

    async def counts(self, stream: str, subject_filter: str) -> dict[str, int]:
        """
        Count a stream's messages for each subject that matches.

        Raises:
            Unavailable: NATS does not answer, or has no such stream.
        """
        found: dict[str, int] = {}
        while True:
            answer = await self.api(f"STREAM.INFO.{stream}", {"subjects_filter": subject_filter, "offset": len(found)})
            if error := answer.get("error"):
                raise Unavailable(f"NATS cannot count in stream {stream}: {error.get('description')}")
            page: dict[str, int] = answer["state"].get("subjects") or {}
            found |= page
            if not page or len(found) >= answer.get("total", 0):
                return found

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
            with suppress(nats.errors.Error):
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

    def _read_publish_answer(self, answer: CoreMessage) -> PubAck:
        try:
            return read_publish_answer(answer)
        except StoreFull as error:
            self.refusal = str(error)
            raise

    async def _get_page(self, stream: str, wanted: dict[str, Any]) -> tuple[list[Stored], CoreMessage]:
        """Make one batched direct get: the messages, and the status that ended them."""
        *messages, end = await self._exchange(
            f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(wanted), None, 5.0, many=True
        )
        if end.headers[STATUS] not in ("204", NOT_FOUND, TOO_MANY_RESULTS):
            raise direct_get_error(stream, end)
        return [read_stored(each) for each in messages], end

    async def _get_from_leader(self, stream: str, wanted: dict[str, Any], patience_s: float) -> Stored | None:
        answer = await self._ask(f"$JS.API.STREAM.MSG.GET.{stream}", msgspec.json.encode(wanted), None, patience_s)
        return read_get_answer(stream, answer)

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
        except (OSError, nats.errors.ConnectionClosedError, nats.errors.OutboundBufferLimitError) as error:
            raise Unavailable(self.problem() or self._lost_sentence()) from error

    def _answered(self, message: CoreMessage) -> None:
        exchange = self._exchanges.get(message.subject.rpartition(".")[2])
        if exchange is not None:
            exchange.add(message)


class _Lag:
    """
    Waits while the copy of a stream that answers lacks what its leader had when asked: `begin`, then `outlast`.

    A copy that is behind has what is older, so the newest message tells of all that were stored. One that was deleted
    meanwhile may still be listed.
    """

    def __init__(self, fabric: Fabric, stream: str, subject_filter: str) -> None:
        self._fabric = fabric
        self._stream = stream
        self._filter = subject_filter
        self._newest = 0
        self._backoff = _Backoff()
        self._deadline = math.inf

    async def begin(self) -> None:
        """Ask the leader for its newest; nothing where there is one copy."""
        if self._fabric.replicas > 1:
            stored = await self._fabric.get(self._stream, subject=self._filter)
            self._newest = 0 if stored is None else stored.sequence

    async def outlast(self, seen: int) -> bool:
        """
        Wait a moment if a copy that has shown what it has up to the sequence `seen` is behind, and say whether it was.

        Raises:
            Unavailable: it stays behind.
        """
        if seen >= self._newest:
            return False
        now = asyncio.get_running_loop().time()
        self._deadline = min(self._deadline, now + BEHIND_SECONDS)
        if now > self._deadline:
            raise Unavailable(f"a copy of NATS's stream {self._stream} is behind its leader; try again")
        await self._backoff.wait()
        # What was the newest may be deleted by now.
        await self.begin()
        return True


class _Backoff:
    """Waits that double from 50 ms to MAX_BACKOFF_SECONDS, each cut by up to half so that servers spread."""

    def __init__(self) -> None:
        self._ceiling = 0.05

    async def wait(self) -> None:
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
