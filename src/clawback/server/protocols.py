"""
What a connection may cost before anybody has shown who they are: uvicorn's protocols, with limits.

uvicorn waits for ever for a head or a body, takes headers of any number and size, and as many connections as the system
gives it. Here stands what it lacks, so that a server needs no proxy in front of it; see ADR 0016.

    HEAD    from the connection, or the first byte of the next request      late: closed; 408 where it had begun
    BODY    from the head's end to the body's                               late: 408
    ANSWER  ours to give, so it has no deadline; but a client that does not read it is cut off
    IDLE    between two requests

A request that was whole before its connection broke a rule is still answered, and the connection closed after that.
Rules of HTTP itself are httptools's to keep; the few that it leaves to servers stand in `_fault_of`.
"""

import asyncio
import socket
import sys
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame

from clawback import wire
from clawback.http.problems import CONTENT_TYPE
from clawback.model import encode_json
from clawback.server.guard import NEVER, Fault, Guard
from clawback.system.waits import Mailbox, Signal

JOINED_BYTES = 64 * 1024
"""Up to here a body is copied behind its head for one write; above it a second write costs less than the copy."""

_WITH_BODY = frozenset({b"POST", b"PUT", b"PATCH"})
_LENGTHS = frozenset({b"content-length", b"transfer-encoding"})


class _Answers:
    """
    What answers are written to: a head waits for the first of its body, so that both are one write.

    uvicorn makes two of them, and uvloop gives each to the kernel at once: 3 % of the CPU time of a webhook. Nothing
    waits longer than this turn of the event loop takes, or than the answer.

    `writelines` would spare a copy, but asyncio's of Python 3.12 and 3.13 never calls `pause_writing`: a client that
    reads nothing would then be given the whole answer to keep in memory. `write` keeps that promise on every loop.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes) -> None:
        """Write what is held together with this, or hold this."""
        if self._held:
            held, self._held = self._held, b""
            if len(data) <= JOINED_BYTES:
                self._transport.write(held + data)
            else:
                self._transport.write(held)
                self._transport.write(data)
        else:
            self._held = data
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)

    def is_closing(self) -> bool:
        """Tell whether nothing that is written now is sent."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close the connection once all is written."""
        self.flush()
        self._transport.close()


class GuardedHttp(HttpToolsProtocol):
    """One HTTP connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        guard: Guard,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.closing_until = NEVER
        self._guard = guard
        self._limits = guard.limits
        self._late_at = NEVER
        self._stuck_at = NEVER
        self._whole = True
        """Whether all of the last request has come; True before the first one."""
        self._idle = False
        self._framing_bytes = 0
        """Received since anything came of what was received: a head, or some of a body."""
        self._fault: Fault | None = None
        self._refusing = False
        self._offers_another = False
        """Whether the head at hand offers a protocol that is not spoken here: it is read again without the offer."""
        self._received = b""
        self._again = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let a connection in, or refuse it."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._answers = _Answers(self.transport, self.loop)
        # asyncio does so itself, but not for what comes of a listener that was handed to it (proto 0). A head and its
        # body are two writes: without this the second waits for the client's delayed ack of the first, 40 ms on Linux.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._late_at = self.loop.time() + self._limits.head_s
        fault = self._guard.enter(self, _host_of(self.client))
        if fault is not None:
            self._refuse(fault)

    def connection_lost(self, exc: Exception | None) -> None:
        """Free its place."""
        self._guard.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the connection is to be closed."""
        if self._refusing:
            return
        if self._idle:
            self._idle = False
            self._late_at = self.loop.time() + self._limits.head_s
        self._framing_bytes += len(data)
        self._received = data
        while self._received:
            super().data_received(self._received)
            self._received, self._again = self._again, b""
        if self._framing_bytes > self._limits.head_bytes and not self._refusing:
            self._refuse(self._too_large())

    def on_message_begin(self) -> None:
        """Start the deadline of the head, unless stray line ends before it already have."""
        super().on_message_begin()
        self._framing_bytes = 0
        self._whole = False
        if self._late_at == NEVER:
            self._late_at = self.loop.time() + self._limits.head_s

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio's own type; uvicorn's never keeps one open
        """
        Answer a request that had all come before its client closed its half of the connection; close after that.

        An answer without a length never ends, so whoever closes while it is given has left.
        """
        if not self._whole or self.cycle is None or self.cycle.response_complete or self.cycle.chunked_encoding:
            return False
        self.cycle.keep_alive = False
        return True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take the blanks around a value off, which are no part of it (RFC 9112, 5.1)."""
        super().on_header(name, value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        """Check the head, and pass it on."""
        self._framing_bytes = 0
        self._fault = self._fault_of(self.headers)
        if self._fault is not None:
            raise ValueError(self._fault.detail)  # to the parser, which ends; `send_400_response` takes it from there
        if self.parser.should_upgrade() and not self._should_upgrade():
            self._offers_another = True
            return
        self._guard.has_request(self)
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.transport = cast("asyncio.Transport", self._answers)
        self._late_at = self.loop.time() + self._limits.body_s
        if not (self.parser.should_upgrade() and self._should_upgrade()):
            # Trailers come by the same callback as headers. They are no headers (RFC 9110, 6.5.1), least of all ones
            # that a signature could come in: let them go elsewhere than where the app reads.
            self.headers = []

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the body on."""
        self._framing_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the answer is ours to give now."""
        if self._offers_another:
            return
        super().on_message_complete()
        self._whole = True
        self._guard.has_body(self)
        self._late_at = NEVER
        if self.cycle is not None and self.cycle.response_complete:
            self._rest()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of one that was answered before it was whole."""
        self._answers.flush()
        super().on_response_complete()
        if self._whole and self.cycle.response_complete and not self.transport.is_closing():
            self._rest()

    def pause_writing(self) -> None:
        """Give the client time to read."""
        super().pause_writing()
        self._stuck_at = self.loop.time() + self._limits.answer_s

    def resume_writing(self) -> None:
        """Note that it reads."""
        super().resume_writing()
        self._stuck_at = NEVER

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection and its place over to the WebSocket's protocol."""
        self._guard.leave(self)
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 -- uvicorn's own text, which says less
        """Refuse what the parser stopped at; uvicorn calls it for that alone."""
        self._refuse(
            self._fault or Fault("malformed", HTTPStatus.BAD_REQUEST, "this is no request of HTTP/1.1: see RFC 9112")
        )

    def _unsupported_upgrade_warning(self) -> None:
        """
        Ignore an offer of another protocol, as RFC 9110 section 7.8 allows; uvicorn calls it where there was one.

        The parser takes what follows such a head for the other protocol, the request's body with it. So another parser
        reads the head again without the offer, and then the rest of what came.
        """
        error = sys.exception()
        assert isinstance(error, httptools.HttpParserUpgrade), "uvicorn calls this where it caught one"
        self._offers_another = False
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._again = b"".join([*head, b"\r\n", self._received[error.args[0] :]])

    def look(self, now: float) -> None:
        """End the connection if one of its deadlines has passed."""
        if now >= self._stuck_at:
            self._guard.count("unread")
            self.transport.abort()
        elif now >= self._late_at:
            if self.flow.read_paused:
                self._late_at = now + self._limits.body_s  # it is us who do not read
            elif self._idle or self._whole:
                if not self._idle:
                    self._guard.count("silent")
                self.transport.close()
            else:
                part = "body" if self.headers is not self.scope["headers"] else "head"
                seconds = self._limits.body_s if part == "body" else self._limits.head_s
                detail = f"the {part} of the request did not come within {seconds:g} s; send it anew"
                self._refuse(Fault(part, HTTPStatus.REQUEST_TIMEOUT, detail))

    def _rest(self) -> None:
        self._idle = True
        self._late_at = self.loop.time() + self._limits.idle_s
        self._guard.waits_for_request(self)

    def _fault_of(self, headers: list[tuple[bytes, bytes]]) -> Fault | None:
        """Find what is wrong with a head that httptools took."""
        size = len(self.url)
        hosts = 0
        version = self.parser.get_http_version()
        method = self.parser.get_method()
        if method == b"CONNECT":
            return Fault("malformed", HTTPStatus.BAD_REQUEST, "this is no tunnel (RFC 9112, 3.2.3)")
        names = {name for name, _ in headers}
        if method in _WITH_BODY and not names & _LENGTHS and (version == "1.0" or b"content-type" in names):
            # Read as a body of no bytes, what was sent would be lost, and an unsigned source would say that it took it.
            return Fault("length", HTTPStatus.LENGTH_REQUIRED, "say how long the body is: send Content-Length")
        for name, value in headers:
            size += len(name) + len(value)
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding" and (version == "1.0" or value.strip().lower() != b"chunked"):
                # RFC 9112, 6.1. A coding that nobody here takes off would be part of what a signature is checked over.
                return Fault("malformed", HTTPStatus.BAD_REQUEST, "bodies are sent plain or, in HTTP/1.1, chunked")
        if len(headers) > self._limits.headers or size > self._limits.head_bytes:
            return self._too_large()
        if hosts > 1 or (hosts == 0 and version != "1.0"):
            return Fault("malformed", HTTPStatus.BAD_REQUEST, "a request names one Host (RFC 9112, 3.2)")
        return None

    def _too_large(self) -> Fault:
        detail = f"a request may have {self._limits.headers} headers, and {self._limits.head_bytes} bytes of them"
        return Fault("headers", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)

    def _refuse(self, fault: Fault) -> None:
        """Answer what will not be served, and close; what was asked before it is answered first."""
        self._guard.count(fault.limit)
        self._refusing = True
        self._late_at = NEVER
        cycle = self.cycle
        answering = cycle is not None and not cycle.response_complete
        if answering and not cycle.more_body:
            cycle.keep_alive = False
            self.flow.pause_reading()
            return
        if not self.pipeline and not (answering and cycle.response_started):
            self.transport.write(_write_refusal(fault))
        self.transport.close()


class GuardedWebSocket(WebSocketsSansIOProtocol):
    """One WebSocket. Its frames' size is uvicorn's to bound, what it says the bridge's."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        guard: Guard,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # What uvicorn waits for, made lighter: there are thousands of these.
        self.queue = cast("Any", Mailbox())
        self.writable = cast("Any", Signal())
        self.writable.set()
        self.closing_until = NEVER
        self._guard = guard
        self._control_frames = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the place that the HTTP connection had."""
        super().connection_made(transport)
        self._guard.go_on(self, _host_of(self.client))

    def connection_lost(self, exc: Exception | None) -> None:
        """Free it."""
        self._guard.leave(self)
        super().connection_lost(exc)

    def handle_cont(self, event: Frame) -> None:
        """Collect a fragment; empty ones have no size, so it is their number that is bounded."""
        if len(self.frames) >= self._guard.limits.fragments:
            self._fail("fragments", 1009, f"a message may have {self._guard.limits.fragments} fragments")
        else:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answer a ping."""
        self._take_control_frame()
        super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        """Take a pong, which answers nothing of ours."""
        self._take_control_frame()
        super().handle_pong(event)

    def pause_writing(self) -> None:
        """Read no more of a client that does not read: each ping makes a pong."""
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    def look(self, _now: float) -> None:
        """Begin another second."""
        self._control_frames = 0

    def _take_control_frame(self) -> None:
        self._control_frames += 1
        if self._control_frames > self._guard.limits.control_frames:
            limit = self._guard.limits.control_frames
            self._fail("control_frames", wire.CLOSE_FLOOD, f"more than {limit} pings and pongs at once")

    def _fail(self, limit: str, code: int, reason: str) -> None:
        if not self.close_sent:  # the rest of what came with it is handed over all the same
            self._guard.count(limit)
            self.frames = []
            self.conn.fail(code, reason)
            self.handle_parser_exception()


def _host_of(client: tuple[str, int] | None) -> str:
    return "" if client is None else client[0]


def _write_refusal(fault: Fault) -> bytes:
    body = encode_json({"title": fault.status.phrase, "status": fault.status.value, "detail": fault.detail})
    retry = "retry-after: 5\r\n" if fault.status is HTTPStatus.SERVICE_UNAVAILABLE else ""
    head = (
        f"HTTP/1.1 {fault.status.value} {fault.status.phrase}\r\n"
        f"content-type: {CONTENT_TYPE}\r\ncontent-length: {len(body)}\r\n{retry}connection: close\r\n\r\n"
    )
    return head.encode() + body
