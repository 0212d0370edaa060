"""
A session as the load has it: a WebSocket with as little work and memory as Python allows, for there are thousands.

It authenticates, answers pings, and hands events on. Its frames are masked with zeros, which the peer need not mind.
"""

import asyncio
import itertools
import json
import resource
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

UNDER_WAY = 32
"""Connects at a time: the server lets 64 of one address be without a token."""

_HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_TEXT, _CLOSE = 0x81, 0x88
_PONG = b'{"type":"pong"}'


class Frame(msgspec.Struct):
    """What is read of a frame: the content is passed over, as the load should cost little."""

    type: str
    id: str = ""


_decode = msgspec.json.Decoder(Frame).decode


class RawSession(asyncio.Protocol):
    """One connected session. `on_event` is called with itself and the id of each event that it is given."""

    __slots__ = ("_auth", "_awaited", "_kind", "_on_event", "_reason", "_received", "_transport", "_upgraded", "closed")

    def __init__(self, auth: dict[str, str], on_event: Callable[["RawSession", str], None]) -> None:
        self._auth = json.dumps({"type": "auth", **auth}).encode()
        self._on_event = on_event
        self._received = b""
        self._upgraded = False
        self._transport: asyncio.Transport | None = None
        self._kind = ""
        self._reason = ""
        self._awaited: asyncio.Future[None] | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, port: int, auth: dict[str, str], on_event: Callable[["RawSession", str], None]) -> "RawSession":
        """Connect to a server on this machine, and wait until the session is let in."""
        loop = asyncio.get_running_loop()
        _, session = await loop.create_connection(lambda: cls(auth, on_event), "127.0.0.1", port)
        await session.frame("auth_ok")
        return session

    def frame(self, kind: str) -> asyncio.Future[None]:
        """Return what is done when the next frame of this kind comes; one at a time."""
        self._kind, self._awaited = kind, asyncio.get_running_loop().create_future()
        return self._awaited

    def say(self, kind: str, **fields: Any) -> None:
        """Send a frame."""
        self._write(_TEXT, json.dumps({"type": kind, **fields}).encode())

    def ack(self, event_id: str) -> asyncio.Future[None]:
        """Ack an event; done when that is confirmed."""
        confirmed = self.frame("response")
        self.say("ack", eventId=event_id, summary="", requestId=event_id)
        return confirmed

    def close(self) -> None:
        """Say goodbye."""
        self._write(_CLOSE, (1000).to_bytes(2, "big"))

    def abort(self) -> None:
        """Be gone without a word, as a killed program is."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket."""
        self._transport = transport
        transport.write(_HANDSHAKE)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits."""
        self.closed.set_result(None)
        if self._awaited is not None and not self._awaited.done():
            ended = ConnectionResetError(f"closed before a frame {self._kind} came: {self._reason or error or 'cut'}")
            self._awaited.set_exception(ended)

    def data_received(self, data: bytes) -> None:
        """Take what came, which may be a part of a frame or several."""
        data = self._received + data
        if not self._upgraded:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._received = head
                return
            assert head.startswith(b"HTTP/1.1 101"), f"refused: {head.decode()}"
            self._upgraded = True
            self._write(_TEXT, self._auth)
        while len(data) >= 2:
            start, size = 2, data[1]
            if size > 125:
                start = 4 if size == 126 else 10
                size = int.from_bytes(data[2:start], "big")
            if len(data) < start + size:
                break
            self._take(data[0], data[start : start + size])
            data = data[start + size :]
        self._received = data

    def _take(self, head: int, payload: bytes) -> None:
        if head == _CLOSE:
            self._reason = f"{int.from_bytes(payload[:2], 'big')} {payload[2:].decode()}"
            self._transport.close()
            return
        frame = _decode(payload)
        if frame.type == "ping":
            self._write(_TEXT, _PONG)
        elif frame.type == "event":
            self._on_event(self, frame.id)
        if frame.type == self._kind:
            self._kind = ""
            self._awaited.set_result(None)

    def _write(self, head: int, payload: bytes) -> None:
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        self._transport.write(bytes([head]) + length + bytes(4) + payload)


async def connect_all(
    port: int, auths: Iterable[dict[str, str]], on_event: Callable[[RawSession, str], None]
) -> list[RawSession]:
    """Connect sessions, UNDER_WAY at a time."""
    todo = iter(auths)

    async def work() -> list[RawSession]:
        return [await RawSession.open(port, auth, on_event) for auth in todo]

    return [*itertools.chain(*await asyncio.gather(*(work() for _ in range(UNDER_WAY))))]


async def leave(sessions: Iterable[RawSession]) -> None:
    """Say goodbye for sessions, and wait until the server has closed them."""
    for session in sessions:
        session.close()
    await asyncio.gather(*(session.closed for session in sessions))


def allow_files(wanted: int) -> None:
    """Let this process, and those it starts, have so many open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + 200
    assert hard == resource.RLIM_INFINITY or hard >= needed, f"{needed} open files are needed: ulimit -Hn says {hard}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
