"""
A client of the first WebSocket protocol, as existing plugins speak it: it knows nothing of Clawback's additions.

It sends `auth` with a token (and a tag), `ack` without `requestId`, and `pong`; it is strict about what it knows, and
refuses an `error` that is null.
"""

import asyncio
import itertools
import json
from collections import deque
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect

PATIENCE_SECONDS = 20.0
MAX_FRAME_BYTES = 8 * 1024 * 1024


class LegacyClient:
    """One connection: `async with LegacyClient(url, token) as client: … await client.event()`."""

    def __init__(self, url: str, token: str, tag: str | None = None) -> None:
        self._url = url
        self._auth = {"type": "auth", "token": token} | ({} if tag is None else {"sessionTag": tag})
        self._numbers = itertools.count(1)
        self._events: deque[dict[str, Any]] = deque()
        self.pings = 0
        self.socket: ClientConnection

    async def __aenter__(self) -> Self:
        self.socket = await open_socket(self._url)
        await self.say(self._auth)
        welcome = await self._frame()
        assert welcome["type"] == "auth_ok", welcome
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close()

    def vanish(self) -> None:
        """End the connection without a goodbye, as a killed program does."""
        self.socket.transport.abort()

    async def event(self) -> dict[str, Any]:
        """Wait for the next event."""
        while not self._events:
            frame = await self._frame()
            assert frame["type"] == "event", frame
            self._events.append(frame)
        return self._events.popleft()

    async def ack(self, event: dict[str, Any], summary: str = "done") -> None:
        """Say that an event is done; nothing is answered."""
        await self.say({"type": "ack", "eventId": event["id"], "summary": summary})

    async def request(self, kind: str, **fields: Any) -> Any:
        """Ask for something, and return its data."""
        answer = await self.ask(kind, **fields)
        assert "error" not in answer, answer
        return answer["data"]

    async def refused(self, kind: str, **fields: Any) -> str:
        """Ask for something that is refused, and return the sentence."""
        answer = await self.ask(kind, **fields)
        assert answer["data"] is None, answer
        return answer["error"]

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Ask for something, and return the whole response."""
        request_id = f"r{next(self._numbers)}"
        await self.say({"type": kind, "requestId": request_id, **fields})
        while (frame := await self._frame())["type"] == "event":
            self._events.append(frame)
        assert frame["requestId"] == request_id, frame
        return frame

    async def say(self, message: dict[str, Any]) -> None:
        """Send a frame."""
        await self.socket.send(json.dumps(message))

    async def _frame(self) -> dict[str, Any]:
        while True:
            async with asyncio.timeout(PATIENCE_SECONDS):
                frame = json.loads(await self.socket.recv())
            match frame:
                case {"type": "ping"}:
                    self.pings += 1
                    await self.say({"type": "pong"})
                case {"type": "event", "id": str(), "content": str(), "meta": dict(meta)}:
                    assert all(isinstance(value, str) for value in meta.values()), frame
                    return frame
                case {"type": "response", "requestId": str(), "data": _}:
                    assert isinstance(frame.get("error", ""), str), f"existing clients reject a null error: {frame}"
                    return frame
                case {"type": "auth_ok"}:
                    return frame
                case _:
                    raise AssertionError(f"existing clients know no such frame: {frame}")


async def open_socket(url: str, **options: Any) -> ClientConnection:
    """Open a WebSocket and say nothing on it."""
    return await connect(url, compression=None, ping_interval=None, proxy=None, max_size=MAX_FRAME_BYTES, **options)
