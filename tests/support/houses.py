"""
Whole servers in this process, over a real nats-server, and clients that speak to them over real WebSockets.

`House` is one profile with a token, as many servers as a test starts, and what publishes to them.
"""

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest
import pytest_asyncio
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from clawback.accounts.profiles import ensure_profile
from clawback.accounts.tokens import MadeToken, Tokens
from clawback.crons.firing import now_utc
from clawback.fabric import subjects
from clawback.fabric.auth import NatsAuth
from clawback.fabric.streams import Fabric
from clawback.model import Address, Event, Origin, Priority, Profile, new_id, random_id
from clawback.server.app import Application, build_config, open_application
from clawback.sessions.socket import Connection
from clawback.settings import ServerSettings
from clawback.store.events import EventStore
from clawback.store.history import History
from clawback.store.last_seen import LastSeen
from clawback.store.leases import Leases
from clawback.store.ledger import Ledger
from clawback.store.lines import Lines
from clawback.store.registry import Registry
from clawback.store.stacks import Stacks
from natsd import Natsd
from waiting import eventually

KEY = base64.b64encode(bytes(range(32))).decode()
SHARDS = 2
PATIENCE_SECONDS = 10.0


class Peer:
    """
    A client of the protocol: reads all the time, answers pings unless `answers` is false, and keeps the rest.

    `code` and `reason` are those of the close frame, once `closed` is set; None where the connection was cut.
    """

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket
        self.frames: list[dict[str, Any]] = []
        self.answers = True
        self.pings = 0
        self.closed = asyncio.Event()
        self.code: int | None = None
        self.reason = ""
        self._taken = 0
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, url: str, **options: Any) -> Self:
        """Open a socket and say nothing on it."""
        return cls(await connect(url, compression=None, ping_interval=None, proxy=None, **options))

    async def say(self, kind: str, **fields: Any) -> None:
        """Send a frame."""
        await self.websocket.send(json.dumps({"type": kind, **fields}))

    async def frame(self, kind: str, timeout: float = PATIENCE_SECONDS, **fields: Any) -> dict[str, Any]:  # noqa: ASYNC109 -- handed on
        """Wait for the next frame of this kind with these fields; those before it are passed over."""

        def found() -> dict[str, Any] | None:
            for position, frame in enumerate(self.frames[self._taken :], start=self._taken):
                if frame["type"] == kind and frame.items() >= fields.items():
                    self._taken = position + 1
                    return frame
            assert not self.closed.is_set(), f"closed with {self.code} {self.reason!r} before a {kind} came"
            return None

        return await eventually(found, timeout)

    async def event(self, timeout: float = PATIENCE_SECONDS) -> tuple[str, int]:  # noqa: ASYNC109 -- handed on
        """Wait for the next event; its content and attempt."""
        frame = await self.frame("event", timeout)
        return frame["content"], int(frame["meta"]["attempt"])

    async def ack(self, event_id: str, summary: str = "done", timeout: float = PATIENCE_SECONDS) -> dict[str, Any]:  # noqa: ASYNC109 -- handed on
        """Ack an event and wait for the receipt."""
        request_id = random_id()
        await self.say("ack", eventId=event_id, summary=summary, requestId=request_id)
        return (await self.frame("response", timeout, requestId=request_id))["data"]

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Make a request and wait for its response."""
        request_id = random_id()
        await self.say(kind, requestId=request_id, **fields)
        return await self.frame("response", requestId=request_id)

    async def ended(self, timeout: float = PATIENCE_SECONDS) -> tuple[int | None, str]:  # noqa: ASYNC109 -- a test's deadline
        """Wait for the end of the connection; its code and reason."""
        async with asyncio.timeout(timeout):
            await self.closed.wait()
        return self.code, self.reason

    async def close(self, code: int = 1000) -> None:
        """Say goodbye."""
        await self.websocket.close(code)
        await self._reader

    def abort(self) -> None:
        """End the connection without a goodbye, as a killed program does."""
        self.websocket.transport.abort()

    async def _read(self) -> None:
        try:
            while True:
                frame = json.loads(await self.websocket.recv())
                if frame["type"] == "ping":
                    self.pings += 1
                    if self.answers:
                        await self.say("pong")
                else:
                    self.frames.append(frame)
        except ConnectionClosed as error:
            if error.rcvd is not None:
                self.code, self.reason = error.rcvd.code, error.rcvd.reason
        finally:
            self.closed.set()


class Server:
    """One server, listening."""

    def __init__(self, application: Application, registry: Registry, port: int) -> None:
        self.application = application
        self.bridge = application.bridge
        self.presence = application.bridge._presence
        self.registry = registry
        self.url = f"http://127.0.0.1:{port}"
        self.socket_url = f"ws://127.0.0.1:{port}/ws"


class QuietServer(uvicorn.Server):
    """uvicorn without signal handlers: they are the test run's."""

    capture_signals = contextlib.nullcontext


@asynccontextmanager
async def serving(
    auth: NatsAuth,
    data_dir,
    *,
    now: Callable[[], datetime] = now_utc,
    traces: Any = None,
    **settings: Any,
) -> AsyncIterator[Server]:
    """Run a server until the context ends; its crons go by the clock `now`, its `traces` are the caller's to close."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        made = ServerSettings(data_dir=data_dir, port=port, shards=SHARDS, master_key=KEY, **settings)
        async with open_application(made, auth, now=now, traces=traces) as (application, registry):
            server = QuietServer(build_config(application))
            running = asyncio.create_task(server.serve([listener]))
            await eventually(lambda: server.started)
            try:
                yield Server(application, registry, port)
            finally:
                server.should_exit = True
                await running


class House:
    """A profile with a token, and the servers and clients of a test."""

    def __init__(self, natsd: Natsd, data_dir, fabric: Fabric, stack: AsyncExitStack, settings: dict[str, Any]) -> None:
        self.natsd = natsd
        self.fabric = fabric
        self.servers: list[Server] = []
        self.profile: Profile
        self.token: MadeToken
        self.tokens: Tokens
        self._data_dir = data_dir
        self._settings = settings
        self._stack = stack
        self._stops: dict[Server, AsyncExitStack] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, natsd: Natsd, data_dir, *, servers: int = 1, **settings: Any) -> AsyncIterator[Self]:
        """Start the servers, with these settings, and make the profile and its token."""
        async with AsyncExitStack() as stack:
            fabric = await Fabric.open(natsd.auth, name="house", replicas=settings.get("replicas", 1))
            stack.push_async_callback(fabric.close)
            house = cls(natsd, data_dir, fabric, stack, settings)
            for _ in range(servers):
                await house.start()
            await house._move_in()
            yield house

    @asynccontextmanager
    async def newcomer(self) -> AsyncIterator[Self]:
        """Make another profile with a token on the same servers; what it connects and starts ends with the context."""
        others = self.connections
        async with AsyncExitStack() as stack:
            house = type(self)(self.natsd, self._data_dir, self.fabric, stack, self._settings)
            house.servers = list(self.servers)
            await house._move_in()
            yield house
        await eventually(lambda: self.connections <= others)

    @property
    def connections(self) -> set[Connection]:
        """What is connected to the servers now, whoever's it is."""
        return set().union(*(server.bridge._connections for server in self.servers))

    async def start(self, auth: NatsAuth | None = None) -> Server:
        """Start another server; `auth` is the way to NATS, where it is not the direct one."""
        stop = await self._stack.enter_async_context(AsyncExitStack())
        reached = serving(auth or self.natsd.server_auth, self._data_dir, **self._settings)
        server = await stop.enter_async_context(reached)
        self._stops[server] = stop
        self.servers.append(server)
        return server

    async def stop(self, server: Server) -> None:
        """Stop a server in good order."""
        self.servers.remove(server)
        await self._stops.pop(server).aclose()

    async def connect(self, server: Server | None = None, **auth: Any) -> Peer:
        """Connect a client and authenticate it; what came back is `welcome`."""
        peer = await self.peer(server)
        await peer.say("auth", **{"token": self.token.value, **auth})
        peer.welcome = await peer.frame("auth_ok", timeout=15)
        return peer

    async def peer(self, server: Server | None = None, **options: Any) -> Peer:
        """Open a socket that says nothing yet."""
        peer = await Peer.open((server or self.servers[0]).socket_url, **options)
        self._stack.push_async_callback(_end, peer)
        return peer

    async def publish(
        self, text: str, tag: str | None = None, *, priority: Priority = Priority.NORMAL, source_id: str = "src_a"
    ) -> str:
        """Store an event with this text and return its id."""
        event = Event(new_id("evt"), Origin.WEBHOOK, priority, datetime.now(UTC), path="/github", verified=True)
        maker = subjects.source_maker(source_id)
        await self.events.store(self.address(tag), event, text.encode(), maker=maker, patience_s=5)
        return event.id

    async def _move_in(self) -> None:
        registry, fabric = self.servers[0].registry, self.fabric
        shards = registry.install.shards
        self.tokens = Tokens(registry, LastSeen(fabric))
        self.profile = await ensure_profile(registry, f"house-{random_id(8)}")
        self.token = await self.tokens.create(self.profile.id, "test")
        self.events = EventStore(fabric, Ledger(fabric), shards)
        self.lines = Lines(fabric, shards)
        self.stacks = Stacks(fabric, shards)
        self.history = History(fabric)
        self.leases = Leases(fabric)

    def address(self, tag: str | None = None) -> Address:
        """Where the events of a tag wait."""
        return Address(self.profile.id, tag)

    async def stored(self, tag: str | None = None) -> int:
        """How many events wait or run."""
        return sum((await self.lines.waiting(self.address(tag))).values())

    async def held(self, tag: str | None = None) -> list:
        """What a session holds, as it is stored."""
        return [held for held, _ in await self.stacks.restore(self.address(tag))]

    async def sessions(self) -> dict[str | None, list[str]]:
        """The roles of the profile's connections by tag, as every server would list them."""
        listed: dict[str | None, list[str]] = {}
        for entry in await self.leases.of_profile(self.profile.id):
            listed.setdefault(entry.address.tag, []).append("active" if entry.active else "standby")
        return listed


async def _end(peer: Peer) -> None:
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            await peer.close()
    peer.abort()
    await peer._reader


def counting(calls: list, call: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a callable so that each call is noted."""

    def noted(*arguments: Any, **options: Any) -> Any:
        calls.append((arguments, options))
        return call(*arguments, **options)

    return noted


def share_loop(items: list[pytest.Item], folder: Path) -> None:
    """Run the tests of each file under a folder in one event loop, so that they can share what runs in it."""
    for item in items:
        if item.path.is_relative_to(folder) and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)
