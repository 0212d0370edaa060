"""
What a long queue costs: how soon the next event comes, and how soon a server is back, with 1,000 to 1,000,000 waiting.

Each depth has a server of its own, and all of them run at once and take turns, so that what else the machine does meets
all. All that waits is in one line of one session, small events of ten sources, which are stored straight into the
stream of events as a server stores them, but for the syncing: filling a million would take an hour with it. What is
measured is synced as always.

Two sessions are connected to each server. One has the queue and acks at once: from its ack to the next event's frame.
The other has nothing waiting: from a POST to the event's frame. A start is measured twice, after a stop and after a
kill of the server and its nats-server, which has to look at what is on its disk then.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

import nats
import uvloop
import websockets
from bench.common import (
    BIN,
    Clawback,
    Connection,
    clawback,
    free_port,
    is_ready,
    p50,
    p99,
    print_machine,
    print_table,
    process,
    request,
    resident_mb,
    scratch,
    webhooks,
)

from clawback.fabric import subjects
from clawback.fabric.embedded import read_auth
from clawback.fabric.streams import Fabric
from clawback.model import Address, Event, Origin, Priority, encode_json, new_id
from clawback.store.events import EVENT_HEADER
from clawback.store.registry import Registry

DEPTHS = [int(depth) for depth in os.environ.get("BACKLOG_DEPTHS", "1000,100000,1000000").split(",")]
SOURCES = 10
ROUNDS = 10
EVENTS = 50
"""Of each kind, in each round."""

TAG = "busy"
BODY = b'{"action":"created","sender":{"login":"octocat"},"repository":{"full_name":"octo-org/octo-repo"}}'
CHUNK = 1000
CHUNKS_UNDER_WAY = 4
"""NATS drops what it is sent faster than it stores beyond 10,000 messages."""


class Start(NamedTuple):
    """How long a server with a queue took, from its start: until it was ready, and until the first event was there."""

    ready_s: float
    first_s: float


class Times(NamedTuple):
    """What was measured at one depth, in seconds."""

    next: list[float]
    other: list[float]


def main() -> None:
    with (
        scratch() as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ExitStack() as running,
    ):
        print_machine(directory)
        began = time.perf_counter()
        servers = [prepare(directory / str(depth), depth, runner) for depth in DEPTHS]
        print(f"filled in {time.perf_counter() - began:.0f} s")
        stopped = [running.enter_context(server.serving(runner)) for server in servers]
        times = runner.run(take_turns(servers))
        held_mb = [(resident_mb(server.pid), resident_mb(server.nats_pid)) for server in servers]
        for server in servers:
            server.kill()
        killed = [running.enter_context(server.serving(runner)) for server in servers]
    rows = [
        [
            f"{depth:,}",
            *(f"{1000 * measure(took.next):.2f}" for measure in (p50, p99)),
            f"{p50(took.next) / p50(times[0].next):.2f}",
            *(f"{1000 * measure(took.other):.2f}" for measure in (p50, p99)),
            f"{p50(took.other) / p50(times[0].other):.2f}",
        ]
        for depth, took in zip(DEPTHS, times, strict=True)
    ]
    of_first = f"of {DEPTHS[0]:,}"
    head = ["waiting", "its next, p50 ms", "p99", of_first, "another's, p50 ms", "p99", of_first]
    print_table(
        "Events that wait for one session: from its ack to the next; from a POST to another session", head, rows
    )
    rows = [
        [f"{depth:,}", *(f"{took:.2f}" for took in (*stop, *kill)), *(f"{mb:.0f}" for mb in held)]
        for depth, stop, kill, held in zip(DEPTHS, stopped, killed, held_mb, strict=True)
    ]
    head = ["waiting", "stopped: ready", "first event", "killed: ready", "first event", "server MB", "NATS MB"]
    print_table("From the start of `clawback serve`, s", head, rows)


# --- filling ------------------------------------------------------------------------------------------------------


def prepare(home: Path, depth: int, runner: asyncio.Runner) -> "Server":
    """Set up a server with so many events waiting for TAG; it does not run yet."""
    with clawback(home, sync="always") as made:
        profile_id = runner.run(fetch_profile_id(made))
    with unsynced_nats(home):
        runner.run(fill(home, profile_id, depth))
    return Server(home, made)


async def fetch_profile_id(server: Clawback) -> str:
    async with websockets.connect(f"ws://127.0.0.1:{server.target.port}/ws") as session:
        await session.send(json.dumps({"type": "auth", "token": server.token}))
        return json.loads(await session.recv())["profileId"]


@contextmanager
def unsynced_nats(home: Path) -> Iterator[None]:
    """Run the nats-server of a data directory without its server, and with NATS's own default of syncing."""
    theirs = (home / "nats/nats-server.conf").read_text()
    ours = home / "unsynced.conf"
    ours.write_text(theirs.replace("sync_interval: always", "sync_interval: 2m"))
    port = int(read_auth(home).url.rpartition(":")[2])
    with process(BIN / "nats-server", "-c", ours, log=home / "unsynced.log", port=port):
        yield


async def fill(home: Path, profile_id: str, depth: int) -> None:
    """Store events, a thousand for each PubAck that is waited for."""
    auth = read_auth(home)
    fabric = await Fabric.open(auth, name="bench")
    shards = (await Registry.open(fabric)).install.shards
    await fabric.close()
    shard = subjects.shard_of(profile_id, shards)
    address = Address(profile_id, TAG)
    client = await nats.connect(auth.url, user=auth.user, password=auth.password)
    js = client.jetstream()
    sources = [new_id("src") for _ in range(SOURCES)]
    room = asyncio.Semaphore(CHUNKS_UNDER_WAY)

    async def store(subject: str, source_id: str, count: int) -> None:
        async with room:
            for left in reversed(range(count)):
                event = Event(
                    id=new_id("evt"),
                    origin=Origin.WEBHOOK,
                    priority=Priority.NORMAL,
                    created_at=datetime.now(UTC),
                    source_id=source_id,
                    path="/github",
                    event_type="star.created",
                    skill="/review",
                    verified=True,
                )
                headers = {EVENT_HEADER: encode_json(event).decode()}
                publish = js.publish if left == 0 else client.publish
                await publish(subject, BODY, headers=headers)

    async with asyncio.TaskGroup() as storing:
        for number, start in enumerate(range(0, depth, CHUNK)):
            source_id = sources[number % SOURCES]
            subject = subjects.event_subject(shard, address, Priority.NORMAL, subjects.source_maker(source_id))
            storing.create_task(store(subject, source_id, min(CHUNK, depth - start)))
    stored = (await js.stream_info(subjects.event_stream(shard))).state.messages
    assert stored == depth, f"{stored:,} of {depth:,} were stored"
    await client.close()


# --- measuring ----------------------------------------------------------------------------------------------------


class Server:
    """A server with a queue, and its two sessions."""

    def __init__(self, home: Path, made: Clawback) -> None:
        self.pid = self.nats_pid = 0
        self._home = home
        self._made = made

    @contextmanager
    def serving(self, runner: asyncio.Runner) -> Iterator[Start]:
        """Run it; entered once its first event was delivered."""
        port = free_port()
        command = (BIN / "clawback", "serve", "--data-dir", self._home, "--port", str(port))
        began = time.perf_counter()
        with process(*command, log=self._home / "clawback.log", port=port) as self.pid:
            while not is_ready(port):
                time.sleep(0.01)
            ready = time.perf_counter()
            runner.run(self._connect(port))
            first = time.perf_counter()
            self.nats_pid = int((self._home / "nats/nats-server.pid").read_text())
            yield Start(ready - began, first - began)
            runner.run(self._disconnect())

    def kill(self) -> None:
        """Kill it; its nats-server goes with it."""
        os.kill(self.pid, signal.SIGKILL)

    async def _connect(self, port: int) -> None:
        self._busy = await Session.open(port, self._made.token, TAG)
        self._held = await self._busy.frame("event")
        self._idle = await Session.open(port, self._made.token, None)
        self._sender = await Connection.open(port)

    async def _disconnect(self) -> None:
        self._sender.close()
        await self._busy.close()
        await self._idle.close()

    async def take_next(self) -> float:
        """Ack an event of the queue and wait for the next; return how long that took."""
        started = time.perf_counter()
        await self._busy.ack(self._held)
        self._held = await self._busy.frame("event")
        return time.perf_counter() - started

    async def take_other(self, posted: bytes) -> float:
        """Send an event to the other session and wait for it; return how long that took."""
        started = time.perf_counter()
        answer = asyncio.create_task(self._sender.ask(posted))
        event = await self._idle.frame("event")
        took = time.perf_counter() - started
        await answer
        await self._idle.ack(event)
        await self._idle.frame("response")
        return took

    @property
    def path(self) -> str:
        """Where its webhooks go, which are the other session's."""
        return self._made.target.path


class Session:
    """A connected session."""

    def __init__(self, ws: websockets.ClientConnection) -> None:
        self._ws = ws

    @classmethod
    async def open(cls, port: int, token: str, tag: str | None) -> Self:
        """Connect."""
        ws = await websockets.connect(f"ws://127.0.0.1:{port}/ws", compression=None, max_size=None)
        auth = {"type": "auth", "token": token, "instanceId": f"bench-{tag}"}
        await ws.send(json.dumps(auth | ({"sessionTag": tag} if tag else {})))
        return cls(ws)

    async def ack(self, event: dict[str, Any]) -> None:
        """Ack an event, asking for the confirmation."""
        ack = {"type": "ack", "eventId": event["id"], "summary": "", "requestId": event["id"]}
        await self._ws.send(json.dumps(ack))

    async def frame(self, kind: str) -> dict[str, Any]:
        """Wait for a frame of one kind."""
        while (frame := json.loads(await self._ws.recv()))["type"] != kind:
            if frame["type"] == "ping":
                await self._ws.send('{"type":"pong"}')
        return frame

    async def close(self) -> None:
        """Say goodbye."""
        await self._ws.close()


async def take_turns(servers: list[Server]) -> list[Times]:
    """Measure every server in each round; the first one is a warm-up."""
    times = [Times([], []) for _ in servers]
    hooks = webhooks(EVENTS)
    for number in range(ROUNDS + 1):
        for server, took in zip(servers, times, strict=True):
            next_s = [await server.take_next() for _ in range(EVENTS)]
            other_s = [await server.take_other(request(server.path, hook)) for hook in hooks]
            if number:
                took.next.extend(next_s)
                took.other.extend(other_s)
    return times


if __name__ == "__main__":
    main()
