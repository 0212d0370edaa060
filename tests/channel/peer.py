"""A scripted server for the channel: a real WebSocket server that plays the protocol and remembers what it was told."""

import functools
import itertools
import json
from typing import Any, Self

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

import waiting

TOKEN = "cbt_0123456789abcdef"


eventually = functools.partial(waiting.eventually, timeout=15.0)
"""A program that starts on a busy machine takes its time."""


class Peer:
    """
    The server's end.

    `tokens` are accepted, others are closed with 4401. `confirms` says whether acks are answered; `mute` accepts
    connections and says nothing. `answers` maps a request's type to its data, to a
    function that makes it, or to an error given as a string. `features` are those of its `auth_ok`.
    """

    def __init__(self) -> None:
        self.tokens = {TOKEN}
        self.confirms = True
        self.mute = False
        self.features = ["event_seen"]
        self.answers: dict[str, Any] = {}
        self.auths: list[dict[str, Any]] = []
        self.frames: list[dict[str, Any]] = []
        self.connections = 0
        self.port = 0
        self._numbers = itertools.count(1)
        self._live: ServerConnection | None = None
        self._server: Any = None

    @property
    def url(self) -> str:
        """What goes into a config as `remote`."""
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def connected(self) -> bool:
        """Whether an authenticated client is there."""
        return self._live is not None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = await serve(self._serve, "127.0.0.1", self.port, compression=None, close_timeout=0.2)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, socket: ServerConnection) -> None:
        self.connections += 1
        if self.mute:
            await socket.wait_closed()
            return
        auth = json.loads(await socket.recv())
        self.auths.append(auth)
        if auth["token"] not in self.tokens:
            await socket.close(4401, "token revoked")
            return
        await socket.send(
            json.dumps(
                {"type": "auth_ok", "protocol": 1, "profileId": "p", "role": "active", "features": self.features}
            )
        )
        self._live = socket
        try:
            async for text in socket:
                await self._take(socket, json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            if self._live is socket:
                self._live = None

    async def _take(self, socket: ServerConnection, frame: dict[str, Any]) -> None:
        self.frames.append(frame)
        kind = frame["type"]
        if kind == "ack" and self.confirms:
            await self._respond(socket, frame, {"acked": True})
        elif kind == "event_seen":
            await self._respond(socket, frame, {"eventId": frame["eventId"]})
        elif kind in self.answers:
            answer = self.answers[kind]
            await self._respond(socket, frame, answer() if callable(answer) else answer)

    async def _respond(self, socket: ServerConnection, frame: dict[str, Any], answer: Any) -> None:
        response = {"type": "response", "requestId": frame["requestId"], "data": answer}
        if isinstance(answer, str):
            response |= {"data": None, "error": answer}
        await socket.send(json.dumps(response))

    async def say(self, kind: str, **fields: Any) -> None:
        """Send a frame to the client, as soon as one is there."""
        await eventually(lambda: self._live)
        await self._live.send(json.dumps({"type": kind, **fields}))

    async def deliver(self, event_id: str | None = None, content: str | None = None, **meta: str) -> str:
        """Send an event, by default a GitHub webhook with the order /review, and return its id."""
        event_id = event_id or f"evt_{next(self._numbers)}"
        usual = {"source": "webhook", "eventId": event_id, "priority": "normal", "attempt": "1", "verified": "true"}
        usual |= {"path": "/github", "eventType": "pull_request.opened", "skill": "/review"}
        text = content if content is not None else '/review\n\n{"action":"opened"}'
        await self.say("event", id=event_id, content=text, meta=usual | meta)
        return event_id

    async def drop(self, code: int = 1011, reason: str = "") -> None:
        """Close the connection from this side."""
        live = await eventually(lambda: self._live)
        await live.close(code, reason)
        await eventually(lambda: self._live is not live)

    def acks(self) -> list[str]:
        """Name the events acked by frames, in order."""
        return [frame["eventId"] for frame in self.frames if frame["type"] == "ack"]

    def seen(self) -> list[str]:
        """Name the events that the client said were seen, in order."""
        return [frame["eventId"] for frame in self.frames if frame["type"] == "event_seen"]

    async def told(self, event_id: str) -> None:
        """Wait until an event's ack came, by a frame or with an `auth`."""

        def knows() -> bool:
            with_auth = [ack["eventId"] for auth in self.auths for ack in auth.get("acked", [])]
            return event_id in self.acks() or event_id in with_auth

        await eventually(knows)
