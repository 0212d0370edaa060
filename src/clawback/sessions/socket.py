"""
The WebSocket at `/ws`: one connection from its first frame to its last.

It authenticates, keeps the heartbeat, reads frames and hands them on: acks to the dispatcher, requests to the
operations. What may be sent when is the lane's business, who is active that of presence.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from clawback import __version__, wire
from clawback.errors import ClawbackError, ProtocolViolation, RateLimited, Rejected, Unauthorized, Unavailable
from clawback.fabric.subjects import normalise_tag
from clawback.model import Address, TokenRecord, random_id
from clawback.sessions.dispatcher import Dispatcher
from clawback.sessions.presence import Presence
from clawback.sessions.sleep import SLEEP_SECONDS, Watch
from clawback.system.addresses import block_of
from clawback.system.waits import Mailbox, Signal
from clawback.telemetry import metrics

AUTH_SECONDS = 10.0
"""How long the first frame may take."""

MAX_INSTANCE_CHARACTERS = 128
"""Of an `instanceId`, which is stored with the lease and written again at every renewal."""

MAX_UNAUTHENTICATED = 256
"""Sockets that have not authenticated yet, in all. They last for AUTH_SECONDS at most."""

MAX_UNAUTHENTICATED_OF_ADDRESS = 64
"""Of one address, or one /64 of IPv6. Above a bound the oldest gives way: nobody keeps others from connecting."""

FRAME_BUDGET = 2_000
"""Frames a client may send at once: twice what existing clients keep of acks while offline."""

FRAMES_PER_SECOND = 200.0
"""How fast the budget refills. Each event that is sent adds a frame besides, which pays for its ack."""

MAX_REQUESTS = 100
"""Requests of one connection that may wait for their answer."""

CLOSE_SECONDS = 5.0
"""How long an ended connection may take to settle the acks it had sent."""

CLOSE_FRAME_SECONDS = 1.0
"""How long a close frame may wait behind what the client does not read."""

RETRY_SECONDS = 0.5
"""Between attempts to settle the ack of a standby while NATS is away."""

SEND_SECONDS = 30.0
"""How long a client may take to read a frame before it counts as gone."""

CLEAN_CODES = frozenset({1000, 1001})
"""Close codes that say goodbye: done, and going away."""

NO_CODE = 1005
"""A close frame without a code. uvicorn says it of a lost connection too, but gives no reason with it then."""

MAX_REASON_BYTES = 123
"""RFC 6455, 5.5: a close frame holds 125 bytes, two of them the code."""

_REFUSALS: dict[type[ClawbackError], int] = {
    ProtocolViolation: wire.CLOSE_VIOLATION,
    Unauthorized: wire.CLOSE_UNAUTHORIZED,
    RateLimited: wire.CLOSE_FLOOD,
}
"""How a client is told why it is not let in."""

_STRANGERS: dict[type[ClawbackError], str] = {
    ProtocolViolation: "no_auth",
    Unauthorized: "wrong_token",
    RateLimited: "wrong_token",
}
"""What is counted of a client that is not let in."""

TELL_SECONDS = 1.0
"""The log has one line about all strangers of this time, however many come."""

log = logging.getLogger("clawback.sessions")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


_Asked = wire.Request | wire.Ack | wire.Response
"""What waits for its turn: a request, the ack of a standby, or the ready answer to a request that was malformed."""


class _Stranger:
    """A socket that has not authenticated: where it comes from, and the deadline of its first frame while it waits."""

    __slots__ = ("block", "deadline", "dropped")

    def __init__(self, block: str) -> None:
        self.block = block
        self.deadline: asyncio.Timeout | None = None
        self.dropped = False

    def drop(self) -> None:
        """End its wait now; to call while `deadline` is set."""
        assert self.deadline is not None, "only who waits is dropped"
        self.dropped = True
        self.deadline.reschedule(asyncio.get_running_loop().time())
        self.deadline = None


class Disconnected(Exception):
    """The peer is gone: `goodbye` True when it said so, False when it did not, None when the server stops."""

    def __init__(self, *, goodbye: bool | None) -> None:
        super().__init__()
        self.goodbye = goodbye


class Connection:
    """
    One authenticated client.

    `ended` is set when no frame comes or goes any more, `left` once its session is free for others. `goodbye` says how
    the client left: True with a close frame, False without or in breach of the protocol; None while it has not, or when
    it was the server's doing.
    """

    def __init__(
        self, receive: Receive, send: Send, auth: wire.Auth, address: Address, *, token_id: str, token_hash: str
    ) -> None:
        self.id = random_id()
        self.address = address
        self.token_id = token_id
        self.token_hash = token_hash
        self.instance_id = auth.instance_id or None
        self.names_events = self.instance_id is not None
        self.messaging = auth.session_messaging
        self.connected_at = datetime.now(UTC)
        self.ended = Signal()
        self.left = Signal()
        self.goodbye: bool | None = None
        self._receive = receive
        self._send = send
        self._heard = Signal()
        self._heard_at = asyncio.get_running_loop().time()
        self._budget = float(FRAME_BUDGET)

    async def send(self, message: wire.ServerMessage) -> bool:
        """
        Send one frame and say whether it is on its way to the client; ends the connection when nobody reads there.

        Once the connection has ended no frame is, however it ended: the server that stops closes the socket first.
        """
        if self.ended.is_set():
            return False
        if isinstance(message, wire.EventFrame):
            self._budget += 1
        frame = wire.encode(message).decode()
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send({"type": "websocket.send", "text": frame})
        except TimeoutError:
            await self.close(wire.CLOSE_SILENT, f"no frame was read for {SEND_SECONDS:.0f} s", goodbye=False)
        except (OSError, RuntimeError) as error:
            # The socket closed under the frame; ASGI has no narrower word for it. How, the reader is told.
            log.debug("connection %s takes no frames any more: %s", self.id, error)
        else:
            return True
        return False

    async def announce(self, role: str) -> None:
        """Tell a client that knows of roles which one it has now."""
        if self.names_events:
            await self.send(wire.Role(role))

    async def receive(self) -> str:
        """
        Wait for the next frame.

        Raises:
            Disconnected: there will be none.
            ProtocolViolation: the frame is binary.
        """
        frame = await receive_frame(self._receive)
        now = asyncio.get_running_loop().time()
        self._budget = min(FRAME_BUDGET, self._budget + (now - self._heard_at) * FRAMES_PER_SECOND) - 1
        self._heard_at = now
        self._heard.set()
        if self._budget < 0:
            await self.close(wire.CLOSE_FLOOD, f"more than {FRAMES_PER_SECOND:.0f} frames a second", goodbye=False)
            raise Disconnected(goodbye=False)
        return frame

    async def beat(self) -> None:
        """Ping until the client has been silent for too long; then the connection has ended."""
        loop = asyncio.get_running_loop()
        ping_at = loop.time() + wire.HEARTBEAT_SECONDS
        while (now := loop.time()) < (gone_at := self._heard_at + wire.SILENCE_SECONDS):
            await asyncio.sleep(min(ping_at, gone_at) - now)
            if loop.time() - min(ping_at, gone_at) > SLEEP_SECONDS:
                # It was this server that slept: what the client has sent meanwhile is still to be read.
                self._heard_at = ping_at = loop.time()
            if loop.time() >= ping_at:
                ping_at += wire.HEARTBEAT_SECONDS
                await self.send(wire.Ping())
        await self.close(wire.CLOSE_SILENT, f"silent for {wire.SILENCE_SECONDS:.0f} s", goodbye=False)

    async def probe(self, within: float) -> bool:
        """Ping the client; whether anything came back in time. One that did not answer has left."""
        self._heard.clear()
        try:
            async with asyncio.timeout(within):
                await self.send(wire.Ping())
                await self._heard.wait()
        except TimeoutError:
            await self.close(wire.CLOSE_SILENT, "no pong when another client of this tag connected", goodbye=False)
            return False
        return True

    async def close(self, code: int, reason: str, *, goodbye: bool | None = None) -> None:
        """Close the socket; its frames end here whatever the peer does."""
        if self.end(goodbye=goodbye):
            await close_socket(self._send, code, reason)

    def end(self, *, goodbye: bool | None) -> bool:
        """Note that no frame comes or goes any more; False where it had ended before, and then its first end counts."""
        if self.ended.is_set():
            return False
        self.goodbye = goodbye
        self.ended.set()
        return True


class Bridge:
    """
    The ASGI application at `/ws`.

    `verify` turns a token, and the address it came from, into its hash and record, or raises Unauthorized or
    RateLimited; `operate` carries out a request and returns its `data`; `settle_journal` ends events acked on an
    earlier connection and names them; `dispatcher` makes the driver of a connection that became active, `activated` is
    told of each before it serves; `watch`, which somebody has to run, says whether this server slept until a moment
    ago, so that it has nobody to blame for a loss.
    """

    def __init__(
        self,
        presence: Presence,
        watch: Watch,
        *,
        verify: Callable[[str, str | None], Awaitable[tuple[str, TokenRecord]]],
        operate: Callable[[Connection, wire.Request], Awaitable[Any]],
        settle_journal: Callable[[Address, tuple[wire.SettledAck, ...]], Awaitable[set[str]]],
        dispatcher: Callable[[Connection], Dispatcher],
        activated: Callable[[Connection], Awaitable[None]],
    ) -> None:
        self.watch = watch
        self._presence = presence
        self._verify = verify
        self._operate = operate
        self._settle_journal = settle_journal
        self._dispatcher = dispatcher
        self._activated = activated
        # The oldest first.
        self._unauthenticated: dict[_Stranger, None] = {}
        self._connections: set[Connection] = set()
        self._dispatchers: dict[Connection, Dispatcher] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._strangers = Counter[str]()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one WebSocket."""
        await receive()  # websocket.connect
        if any(name == b"origin" for name, _ in scope["headers"]):
            # Plugins send no Origin; a browser always does, and no page has business here (cross-site WebSocket).
            self._count_stranger("origin")
            await send({"type": "websocket.close"})
            return
        peer = scope["client"][0] if scope.get("client") else None
        stranger = _Stranger(block_of(peer))
        if self._stopping or not self._make_room(stranger.block):
            await _refuse(send, HTTPStatus.SERVICE_UNAVAILABLE)
            return
        self._unauthenticated[stranger] = None
        try:
            connection, auth = await self._welcome(receive, send, peer, stranger)
        except Disconnected:
            self._count_stranger("no_auth")
            return
        except (ProtocolViolation, Unauthorized, RateLimited) as error:
            self._count_stranger(_STRANGERS[type(error)])
            await close_socket(send, _REFUSALS[type(error)], str(error))
            return
        except Unavailable:
            log.warning("closing a connection that could not be checked: NATS does not answer")
            await close_socket(send, wire.CLOSE_RESTART, "the server cannot reach NATS; try again")
            return
        finally:
            self._unauthenticated.pop(stranger, None)
        _log_life("connected", connection)
        try:
            await self._serve(connection, auth)
        finally:
            self._connections.discard(connection)
            connection.left.set()
            _log_life("disconnected", connection)

    def _make_room(self, block: str) -> bool:
        """
        Make room for one more who has not authenticated: the oldest of an address that has too many gives way.

        Where all have too many together, that address is the one with the most. False where nobody can give way, since
        all have sent what is being checked.
        """
        counts = Counter(each.block for each in self._unauthenticated)
        if counts[block] < MAX_UNAUTHENTICATED_OF_ADDRESS:
            if counts.total() < MAX_UNAUTHENTICATED:
                return True
            most = max(counts.values())
            crowded = {each for each, count in counts.items() if count == most}
        else:
            crowded = {block}
        self._count_stranger("unauthenticated")
        waiting = (each for each in self._unauthenticated if each.block in crowded and each.deadline is not None)
        oldest = next(waiting, None)
        if oldest is None:
            return False
        oldest.drop()
        del self._unauthenticated[oldest]
        return True

    async def ask(self, connection_id: str | None, request: wire.HeldRequest) -> wire.EventFrame | None:
        """
        Ask the dispatcher of a connection about an event that its session holds.

        Raises:
            Rejected: the connection stands by, or its session does not hold the event.
            Unavailable: the session moved elsewhere before it was done.
        """
        for connection, dispatcher in self._dispatchers.items():
            if connection.id == connection_id:
                return await dispatcher.answer(request)
        raise Rejected("this connection stands by and holds no events: the active session of its tag does")

    def _count_stranger(self, why: str) -> None:
        """Count somebody who was not let in; the log has one line about all of a second."""
        metrics.REFUSED.labels(why).inc()
        if not self._strangers:
            asyncio.get_running_loop().call_later(TELL_SECONDS, self._tell_of_strangers)
        self._strangers[why] += 1

    def _tell_of_strangers(self) -> None:
        counts = ", ".join(f"{why} {number}" for why, number in sorted(self._strangers.items()))
        log.warning("WebSockets were not let in: %s", counts, extra={"action": "refused"})
        self._strangers.clear()

    @property
    def roles(self) -> dict[str, int]:
        """Count the connections by what they are to their session."""
        active = len(self._dispatchers)
        return {"active": active, "standby": len(self._connections) - active}

    def serving(self, address: Address) -> Dispatcher | None:
        """Return the dispatcher of a session that this server serves."""
        return next((each for of, each in self._dispatchers.items() if of.address == address), None)

    def revoke(self, token_hash: str, keeps: str | None = None) -> None:
        """Close every connection that was opened with a token that is revoked or replaced now, but for `keeps`."""
        for connection in self._connections:
            if connection.token_hash == token_hash and connection.id != keeps:
                closing = connection.close(wire.CLOSE_UNAUTHORIZED, "this token was revoked; run: clawback login")
                task = asyncio.create_task(closing, name=f"revoke {connection.id}")
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    async def stop(self) -> None:
        """Close every connection, and wait until their sessions are free for other servers."""
        self._stopping = True
        connections = list(self._connections)
        await asyncio.gather(*(c.close(wire.CLOSE_RESTART, "the server is restarting") for c in connections))
        await asyncio.gather(*(c.left.wait() for c in connections))

    async def _welcome(
        self, receive: Receive, send: Send, client: str | None, stranger: _Stranger
    ) -> tuple[Connection, wire.Auth]:
        """
        Accept a socket and authenticate its client, which is at the address `client`.

        Raises:
            Disconnected, ProtocolViolation, Unauthorized, RateLimited, Unavailable: it is none of ours.
        """
        await send({"type": "websocket.accept"})
        connection, auth = await self._authenticate(receive, send, client, stranger)
        self._connections.add(connection)
        try:
            # What was revoked while it was being checked for the first time closed nothing: it was not known yet.
            await self._verify(auth.token, client)
            if self._stopping:
                raise Unavailable("the server is being stopped")
        except ClawbackError:
            self._connections.discard(connection)
            connection.left.set()
            raise
        return connection, auth

    async def _authenticate(
        self, receive: Receive, send: Send, client: str | None, stranger: _Stranger
    ) -> tuple[Connection, wire.Auth]:
        try:
            async with asyncio.timeout(AUTH_SECONDS) as deadline:
                stranger.deadline = deadline
                frame = await receive_frame(receive)
                stranger.deadline = None
        except TimeoutError as error:
            if stranger.dropped:
                raise RateLimited("too many sockets here have sent no auth message: send it at once") from error
            raise ProtocolViolation(f"no auth message within {AUTH_SECONDS:.0f} s") from error
        if len(frame) > wire.MAX_AUTH_BYTES:
            raise ProtocolViolation(f"the auth message is over {wire.MAX_AUTH_BYTES} bytes")
        auth = wire.decode_client(frame)
        if not isinstance(auth, wire.Auth):
            raise ProtocolViolation("the first message must be auth")
        if len(auth.instance_id or "") > MAX_INSTANCE_CHARACTERS:
            raise ProtocolViolation(f"the instanceId is over {MAX_INSTANCE_CHARACTERS} characters")
        token_hash, token = await self._verify(auth.token, client)
        try:
            address = Address(token.profile_id, normalise_tag(auth.session_tag))
        except Rejected as error:
            raise ProtocolViolation(str(error)) from error
        return Connection(receive, send, auth, address, token_id=token.id, token_hash=token_hash), auth

    async def _serve(self, connection: Connection, auth: wire.Auth) -> None:
        requests: Mailbox[_Asked] = Mailbox(MAX_REQUESTS)
        session = asyncio.create_task(self._attend(connection, auth), name=f"session {connection.id}")
        helpers: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._read(connection, requests), name=f"reader {connection.id}"),
            asyncio.create_task(connection.beat(), name=f"heartbeat {connection.id}"),
            asyncio.create_task(self._answer(connection, requests), name=f"requests {connection.id}"),
        ]
        try:
            await asyncio.wait([session, *helpers, connection.ended.future()], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await connection.close(wire.CLOSE_ERROR, "the server had an error; try again")
            for task in helpers:
                task.cancel()
            await self._wind_down(connection, session)
            failures = await asyncio.gather(*helpers, session, return_exceptions=True)
            for failure in failures:
                if isinstance(failure, Exception):
                    log.error("connection %s failed", connection.id, exc_info=failure)

    async def _wind_down(self, connection: Connection, session: asyncio.Task[None]) -> None:
        """Let the dispatcher settle the acks it was given, then free the session."""
        dispatcher = self._dispatchers.get(connection)
        try:
            if dispatcher is not None:
                dispatcher.stop()
                await asyncio.wait([session], timeout=CLOSE_SECONDS)
            session.cancel()
            await asyncio.wait([session])
            if dispatcher is not None and connection.goodbye is not None and not self.watch.slept():
                with contextlib.suppress(Unavailable):
                    await dispatcher.store_loss(clean=connection.goodbye)
        finally:
            await self._presence.leave(connection)

    async def _observe(self, connection: Connection, auth: wire.Auth) -> None:
        """Greet a client that takes no events; its requests are answered beside this."""
        try:
            await self._settle_journal(connection.address, auth.acked)
            await connection.send(_greeting(connection, "observer"))
        except Unavailable as error:
            log.warning("connection %s: %s", connection.id, error)
            await connection.close(wire.CLOSE_RESTART, "the server cannot reach NATS; try again")
        await connection.ended.wait()

    async def _attend(self, connection: Connection, auth: wire.Auth) -> None:
        """Serve the session while the connection is its active one, stand by while it is not."""
        if auth.observes:
            await self._observe(connection, auth)
            return
        client_holds = auth.inflight
        greeted = False
        while not connection.ended.is_set():
            dispatcher = self._dispatcher(connection)
            active, knows = False, not greeted and not client_holds
            try:
                if not greeted:
                    await self._settle_journal(connection.address, auth.acked)
                    active = await self._presence.take(connection, dispatcher.stop)
                    if active:
                        await self._activated(connection)
                    await connection.send(_greeting(connection, "active" if active else "standby"))
                    greeted = True
                if not active:
                    # Whoever has the session now is given what this client holds, whose late acks still count: it is to
                    # leave that, also where it holds it from an earlier connection.
                    if not knows:
                        await connection.announce("standby")
                    client_holds = ()
                    await self._presence.wait_turn(connection, dispatcher.stop)
                    await self._activated(connection)
                    await connection.announce("active")
                self._dispatchers[connection] = dispatcher
                await dispatcher.run(client_holds)
            except Unavailable as error:
                log.warning("connection %s: %s", connection.id, error)
                await connection.close(wire.CLOSE_RESTART, "the server cannot reach NATS; try again")
            finally:
                self._dispatchers.pop(connection, None)
                dispatcher.let_go(_why_released(connection))
            await self._step_down(connection, dispatcher.unanswered_acks)

    async def _step_down(self, connection: Connection, acks: Iterable[wire.Ack]) -> None:
        """Leave the session to the connection that asked; one that ended frees it once its losses are stored."""
        if not connection.ended.is_set():
            # Before it moves, or the next one would be given what is done. Unsettled, it is: at least once.
            with contextlib.suppress(Unavailable):
                for ack in acks:
                    await self._settle(connection, ack)
            await self._presence.stand_aside(connection)

    async def _read(self, connection: Connection, requests: Mailbox[_Asked]) -> None:
        try:
            while True:
                await self._take(connection, await connection.receive(), requests)
        except Disconnected as gone:
            connection.end(goodbye=gone.goodbye)
        except ProtocolViolation as error:
            await connection.close(wire.CLOSE_VIOLATION, str(error), goodbye=False)

    async def _take(self, connection: Connection, frame: str, requests: Mailbox[_Asked]) -> None:
        try:
            message = wire.decode_client(frame)
        except ProtocolViolation as error:
            # A request with a wrong field is the user's mistake, not the client's: it is told, and the session goes on.
            request_id = wire.request_id_of(frame)
            if request_id is None:
                raise
            self._queue(requests, wire.Response(request_id, None, str(error)))
            return
        match message:
            case wire.Pong():
                pass
            case wire.Ack() if (dispatcher := self._dispatchers.get(connection)) is not None:
                dispatcher.ack(message)
            case wire.Ack():
                # Of a standby, or before `auth_ok`. Waits for room: a client may have kept hundreds while offline.
                await requests.put(message)
            case wire.Auth():
                raise ProtocolViolation("already authenticated; open a new connection instead")
            case _:
                self._queue(requests, message)

    def _queue(self, requests: Mailbox[_Asked], asked: _Asked) -> None:
        try:
            requests.put_nowait(asked)
        except asyncio.QueueFull as error:
            raise ProtocolViolation(f"more than {MAX_REQUESTS} requests wait for their answer") from error

    async def _answer(self, connection: Connection, requests: Mailbox[_Asked]) -> None:
        """Carry out what was asked, one after another, so that the answers come in order."""
        while True:
            request = await requests.get()
            if isinstance(request, wire.Ack):
                await self._settle(connection, request)
                continue
            if isinstance(request, wire.Response):
                await connection.send(request)
                continue
            await self._carry_out(connection, request)

    async def _carry_out(self, connection: Connection, request: wire.Request) -> None:
        """Do what was asked, answer it, and write the line about it."""
        started = time.monotonic()
        outcome = "failed"
        try:
            data = await self._operate(connection, request)
            await connection.send(wire.Response(request.request_id, data))
            outcome = "done"
        except ClawbackError as error:
            outcome = "refused"
            await connection.send(wire.Response(request.request_id, None, str(error)))
        except Exception:
            # A bug in one operation must not end the session that asked for it.
            log.exception("request %s failed", type(request).__name__)
            sorry = "the server had an error; its log says more"
            await connection.send(wire.Response(request.request_id, None, sorry))
        finally:
            log.info(
                "answered",
                extra={
                    "action": "request",
                    "request": request.__struct_config__.tag,
                    "profile": connection.address.profile_id,
                    "tag": connection.address.tag,
                    "connection": connection.id,
                    "outcome": outcome,
                    "duration_ms": round((time.monotonic() - started) * 1000, 1),
                },
            )

    async def _settle(self, connection: Connection, ack: wire.Ack) -> None:
        """End what a connection acks that is not active; until NATS answers, because an ack may not be given up."""
        while True:
            try:
                ended = await self._settle_journal(connection.address, (wire.SettledAck(ack.event_id, ack.summary),))
            except Unavailable as error:
                log.warning("an ack waits for NATS: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
        if ack.request_id is not None:
            await connection.send(wire.Response(ack.request_id, {"eventId": ack.event_id, "settled": bool(ended)}))


def _why_released(connection: Connection) -> str:
    """Say why a connection has its session's events no more."""
    if not connection.ended.is_set():
        return "taken_over"
    return {True: "left", False: "lost", None: "closed"}[connection.goodbye]


def _greeting(connection: Connection, role: str) -> wire.AuthOk:
    return wire.AuthOk(
        protocol=wire.PROTOCOL_VERSION,
        profile_id=connection.address.profile_id,
        session_tag=connection.address.tag,
        role=role,
        heartbeat_seconds=wire.HEARTBEAT_SECONDS,
        server=wire.ServerInfo(__version__),
        features=wire.FEATURES,
    )


def _log_life(what: str, connection: Connection) -> None:
    log.info(
        what,
        extra={
            "action": what,
            "profile": connection.address.profile_id,
            "tag": connection.address.tag,
            "connection": connection.id,
            "goodbye": connection.goodbye,
        },
    )


async def receive_frame(receive: Receive) -> str:
    """
    Wait for a text frame.

    Raises:
        Disconnected: the peer is gone.
        ProtocolViolation: it sent a binary frame.
    """
    message = await receive()
    if message["type"] == "websocket.disconnect":
        code = message.get("code")
        if code == wire.CLOSE_RESTART:
            # The server software's own, at shutdown: nobody left, and nobody crashed.
            raise Disconnected(goodbye=None)
        raise Disconnected(goodbye=code in CLEAN_CODES or (code == NO_CODE and "reason" in message))
    text: str | None = message.get("text")
    if text is None:
        raise ProtocolViolation("frames are JSON text, not binary")
    return text


async def close_socket(send: Send, code: int, reason: str) -> None:
    """Close a WebSocket that may be closed already, and may be stuck; the reason is cut to what a close frame holds."""
    cut = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
    with contextlib.suppress(OSError, RuntimeError):
        async with asyncio.timeout(CLOSE_FRAME_SECONDS):
            await send({"type": "websocket.close", "code": code, "reason": cut})


async def _refuse(send: Send, status: HTTPStatus) -> None:
    """Answer a handshake with an HTTP status; that clients come again is what their backoff is for."""
    await send({"type": "websocket.http.response.start", "status": status.value, "headers": [(b"retry-after", b"5")]})
    await send({"type": "websocket.http.response.body", "body": b""})
