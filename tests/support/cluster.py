"""Whole servers in this process, several on one NATS, and real WebSocket clients of theirs."""

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from clawback.accounts.profiles import ensure_profile
from clawback.accounts.tokens import Tokens
from clawback.model import random_id
from clawback.server.app import open_application
from clawback.settings import ServerSettings
from clawback.store.last_seen import LastSeen
from clawback.store.registry import Registry
from conftest import SHARDS
from houses import KEY
from natsd import Natsd
from waiting import eventually

ANSWER_SECONDS = 20.0


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which are pytest's here."""

    @contextlib.contextmanager
    def capture_signals(self):
        """Leave signals alone."""
        yield


@asynccontextmanager
async def running_server(natsd: Natsd, home: Path) -> AsyncIterator[str]:
    """Run a server over a NATS, and say the URL of its WebSocket."""
    await asyncio.to_thread(home.mkdir, parents=True, exist_ok=True)
    settings = ServerSettings(data_dir=home, shards=SHARDS, master_key=KEY)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    async with open_application(settings, natsd.server_auth) as (application, _):
        config = uvicorn.Config(application, ws="websockets-sansio", lifespan="off", log_config=None)
        server = _Server(config)
        running = asyncio.create_task(server.serve([listener]))
        await eventually(lambda: server.started)
        try:
            yield f"ws://127.0.0.1:{port}/ws"
        finally:
            await application.bridge.stop()
            server.should_exit = True
            await running


async def make_token(fabric, profile=None) -> str:
    """Make a token of a profile, by its name, or of one that nobody else uses."""
    registry = await Registry.open(fabric, shards=SHARDS)
    owner = await ensure_profile(registry, profile or random_id())
    return (await Tokens(registry, LastSeen(fabric)).create(owner.id, None)).value


class Refused(Exception):
    """The server answered a request with an error, whose text this is."""


class Peer:
    """A client that keeps what it is sent and acks when it is told to. Made by `joined`."""

    def __init__(self, ws) -> None:
        self.welcome = {}
        self.frames = []
        self._ws = ws
        self._numbers = itertools.count(1)
        self._answers = {}

    @property
    def events(self):
        """The events, in order."""
        return [frame for frame in self.frames if frame["type"] == "event"]

    @property
    def roles(self):
        """The roles it was told, in order, that of `auth_ok` first."""
        return [self.welcome["role"], *(frame["role"] for frame in self.frames if frame["type"] == "role")]

    def texts(self):
        """The content of each event, in order."""
        return [event["content"] for event in self.events]

    async def send(self, **message):
        """Send a frame."""
        await self._ws.send(json.dumps(message, ensure_ascii=False))

    async def ask(self, kind, **fields):
        """Make a request and return its data, or raise Refused."""
        request_id = str(next(self._numbers))
        answer = self._answers[request_id] = asyncio.get_running_loop().create_future()
        await self.send(type=kind, requestId=request_id, **fields)
        async with asyncio.timeout(ANSWER_SECONDS):
            response = await answer
        if "error" in response:
            raise Refused(response["error"])
        return response["data"]

    async def tell(self, *targets, content="hello", **fields):
        """Send a message to sessions."""
        return await self.ask("session_send", targets=list(targets), content=content, **fields)

    async def event(self, number=1):
        """Wait for the event of this number, counted from 1."""
        await eventually(lambda: len(self.events) >= number)
        return self.events[number - 1]

    async def ack(self, event):
        """Ack an event and wait until that is confirmed."""
        return await self.ask("ack", eventId=event["id"], summary="done")

    async def read(self):
        """Take frames until the connection ends."""
        with contextlib.suppress(ConnectionClosed):
            async for text in self._ws:
                frame = json.loads(text)
                match frame["type"]:
                    case "ping":
                        await self.send(type="pong")
                    case "response":
                        self._answers.pop(frame["requestId"]).set_result(frame)
                    case "auth_ok":
                        self.welcome = frame
                    case _:
                        self.frames.append(frame)


@asynccontextmanager
async def joined(url, token, tag=None, **auth) -> AsyncIterator[Peer]:
    """Connect a session for a while; it names itself an instance unless told otherwise (`instanceId=None`)."""
    named = {"instanceId": random_id(), **auth}
    async with connect(url, compression=None, max_size=None) as ws:
        peer = Peer(ws)
        reading = asyncio.create_task(peer.read())
        fields = {name: value for name, value in named.items() if value is not None}
        await peer.send(type="auth", token=token, sessionTag=tag, **fields)
        await eventually(lambda: peer.welcome)
        yield peer
    await reading
