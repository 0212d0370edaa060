"""
What connected sessions cost: memory, connects a second, idle CPU; and what they cost everything else.

One `clawback serve` with its nats-server holds 1, 100, 1,000 and 10,000 sessions, one after another, each with a tag of
its own, a hundred to a profile. At every size webhooks of 22 kB are sent to one session that was there first: one by
one, from the POST to the event's frame, and then as many as the server takes while that session is busy with an event.
With all connected, one message for each hundred makes one event for every session. In the end all leave but the first,
and what is left behind is counted; consumers of NATS go by themselves when nobody asked them for two minutes.
"""

import asyncio
import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import uvloop
from bench.common import (
    Clawback,
    Connection,
    Load,
    Webhook,
    clawback,
    cpu_seconds,
    load_server,
    nats_of,
    p50,
    p99,
    print_machine,
    print_table,
    request,
    resident_mb,
    scratch,
    webhooks,
)
from bench.raw_session import RawSession, allow_files, connect_all, leave

from clawback.accounts.profiles import ensure_profile
from clawback.accounts.tokens import Tokens
from clawback.fabric.embedded import read_auth
from clawback.fabric.streams import Fabric
from clawback.store.last_seen import LastSeen
from clawback.store.registry import Registry

SESSIONS = int(os.environ.get("BENCH_SESSIONS", "10000"))
OF_PROFILE = 100
"""Sessions of one profile, which is also how many one message may be for."""

LATENCIES = 100
ROUND_SECONDS = 2.0
IDLE_SECONDS = 10.0
"""As long as leases are renewed in: each idle session is seen to once in it."""

SENDERS = 8
"""Messages under way at a time."""


class State(NamedTuple):
    """What was measured with so many sessions; `server` and `nats` are shares of a core while nothing happens."""

    sessions: int
    connects: float
    server_mb: float
    nats_mb: float
    server: float
    nats: float
    latencies_s: list[float]
    load: Load


class Left(NamedTuple):
    """What a server has: open files of both processes, and NATS's consumers."""

    files: int
    nats_files: int
    consumers: int


def main() -> None:
    allow_files(SESSIONS)
    room = {name: str(SESSIONS + 200) for name in ("CLAWBACK_MAX_CONNECTIONS", "CLAWBACK_MAX_CONNECTIONS_PER_ADDRESS")}
    with scratch() as directory:
        print_machine(directory)
        home = directory / "clawback"
        with (
            clawback(home, sync="always", **room) as server,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(measure(server, home))


async def measure(server: Clawback, home: Path) -> None:
    """Connect more and more sessions, measure at each number, and print all of it."""
    fabric = await Fabric.open(read_auth(home), name="bench")
    tokens = await make_profiles(fabric, SESSIONS // OF_PROFILE)
    auths = [
        {"token": token, "sessionTag": f"agent-{number}", "instanceId": f"{of}-{number}"}
        for of, token in enumerate(tokens)
        for number in range(OF_PROFILE)
    ]
    came: dict[RawSession, tuple[float, str]] = {}
    everybody = asyncio.Event()

    def note(session: RawSession, event_id: str) -> None:
        came[session] = (time.perf_counter(), event_id)
        if len(came) == len(auths):
            everybody.set()

    async with Busy(server, fabric) as busy:
        before = await look(server, fabric)
        states = [await busy.state(1, 0.0)]
        sessions: list[RawSession] = []
        for wanted in (size for size in (100, 1_000, 10_000) if size <= SESSIONS):
            began = time.perf_counter()
            new = await connect_all(server.target.port, auths[len(sessions) : wanted], note)
            rate = len(new) / (time.perf_counter() - began)
            sessions += new
            states.append(await busy.state(len(sessions) + 1, rate))
        print_states(states)
        await measure_fan_out(server, tokens, everybody, came)
        held = await look(server, fabric)
        began = time.perf_counter()
        await asyncio.gather(*(session.ack(event_id) for session, (_, event_id) in came.items()))
        acked = time.perf_counter() - began
        began = time.perf_counter()
        await leave(sessions)
        gone = time.perf_counter() - began
        after = await busy.state(1, 0.0)
        print_left(
            f"{len(sessions):,} acks confirmed in {acked:.1f} s, then all sessions left in {gone:.1f} s",
            {"one session": before, "all sessions, each with an event": held, "one again": await look(server, fabric)},
            [states[0].server_mb, states[-1].server_mb, after.server_mb],
        )
    await fabric.close()


async def make_profiles(fabric: Fabric, count: int) -> list[str]:
    """Make profiles, and return a token of each."""
    registry = await Registry.open(fabric)
    tokens = Tokens(registry, LastSeen(fabric))
    return [
        (await tokens.create((await ensure_profile(registry, f"bench{number}")).id, None)).value
        for number in range(count)
    ]


class Busy:
    """The session that was there first, and the webhooks that come for it."""

    def __init__(self, server: Clawback, fabric: Fabric) -> None:
        self._server = server
        self._fabric = fabric
        self._hooks = webhooks()
        self._held: str | None = None

    async def __aenter__(self) -> Self:
        """Connect."""
        auth = {"token": self._server.token, "instanceId": "first"}
        self._session = await RawSession.open(self._server.target.port, auth, self._take)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Say goodbye."""
        await leave([self._session])

    async def state(self, sessions: int, connects: float) -> State:
        """Measure what the sessions cost that are connected now."""
        await asyncio.sleep(2)  # what a connect still has to do
        pids = self._server.target.pid, nats_of(self._server.target.pid)
        began, before = time.perf_counter(), [cpu_seconds(pid) for pid in pids]
        held = [resident_mb(pid) for pid in pids]
        await asyncio.sleep(IDLE_SECONDS)
        passed = time.perf_counter() - began
        idle = [(cpu_seconds(pid) - since) / passed for pid, since in zip(pids, before, strict=True)]
        return State(sessions, connects, *held, *idle, await self._latencies(), await self._rate())

    async def _latencies(self) -> list[float]:
        sender = await Connection.open(self._server.target.port)
        took = []
        for hook in self._hooks[: LATENCIES + 1]:
            event = self._session.frame("event")
            started = time.perf_counter()
            event.add_done_callback(lambda _, started=started: took.append(time.perf_counter() - started))
            await asyncio.gather(event, sender.ask(request(self._server.target.path, hook)))
            await self._session.ack(self._held)
        sender.close()
        return took[1:]

    async def _rate(self) -> Load:
        """Send as much as the server takes; what waits then is deleted, and the event at the session ends."""
        event = self._session.frame("event")
        load = await load_server(self._server.target, self._hooks, ROUND_SECONDS)
        await event
        for stream in await streams(self._fabric):
            if stream["config"]["name"].startswith("EVT"):
                await self._fabric.api(f"STREAM.PURGE.{stream['config']['name']}", {})
        await self._session.ack(self._held)
        return load

    def _take(self, _session: RawSession, event_id: str) -> None:
        self._held = event_id


async def measure_fan_out(
    server: Clawback, tokens: Sequence[str], everybody: asyncio.Event, came: dict[RawSession, tuple[float, str]]
) -> None:
    """Send one message to the sessions of each profile, and print when `everybody` had it."""
    targets = [f"agent-{number}" for number in range(OF_PROFILE)]
    message = Webhook(json.dumps({"targets": targets, "content": "Rebase on main, please."}).encode(), "")
    todo = iter(tokens)
    pids = server.target.pid, nats_of(server.target.pid)
    began, before = time.perf_counter(), [cpu_seconds(pid) for pid in pids]

    async def send() -> None:
        connection = await Connection.open(server.target.port)
        for token in todo:
            head = f"POST /api/v1/messages HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
            length = f"Content-Type: application/json\r\nContent-Length: {len(message.body)}\r\n\r\n"
            await connection.ask(f"{head}{length}".encode() + message.body)
        connection.close()

    await asyncio.gather(*(send() for _ in range(SENDERS)))
    sent = time.perf_counter() - began
    await everybody.wait()
    used = [cpu_seconds(pid) - since for pid, since in zip(pids, before, strict=True)]
    took = [at - began for at, _ in came.values()]
    head = ["", "sent, s", "p50, s", "p99, s", "last, s", "CPU of each event, us", "NATS's"]
    row = [f"{len(came):,} sessions", *(f"{value:.1f}" for value in (sent, p50(took), p99(took), max(took)))]
    row += [f"{1e6 * each / len(came):.0f}" for each in used]
    print_table(f"One event for each of {len(came):,} sessions, from the first message sent", head, [row])


async def look(server: Clawback, fabric: Fabric) -> Left:
    """Count what a server has."""
    pids = server.target.pid, nats_of(server.target.pid)
    return Left(*map(open_files, pids), sum(stream["state"]["consumer_count"] for stream in await streams(fabric)))


def open_files(pid: int) -> int:
    """Count the open files of a process, sockets among them."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def streams(fabric: Fabric) -> list[dict]:
    """List NATS's streams and what is in them."""
    return (await fabric.api("STREAM.LIST", {}))["streams"]


def print_states(states: Sequence[State]) -> None:
    """Print what each number of sessions cost, and next to one session."""
    first = states[0]
    rows = []
    for state in states:
        more = max(1, state.sessions - 1)
        rows.append(
            [
                f"{state.sessions:,}",
                f"{state.connects:.0f}" if state.connects else "",
                f"{state.server_mb:.0f}",
                f"{(state.server_mb - first.server_mb) * 1000 / more:.1f}" if state is not first else "",
                f"{(state.nats_mb - first.nats_mb) * 1000 / more:.1f}" if state is not first else "",
                f"{100 * state.server:.1f} %",
                f"{100 * state.nats:.1f} %",
            ]
        )
    head = ["sessions", "connects/s", "server, MB", "kB each", "NATS, kB each", "idle, of a core", "NATS's"]
    print_table("Connected sessions", head, rows)
    rows = []
    for state in states:
        latency = p50(state.latencies_s)
        rows.append(
            [
                f"{state.sessions:,}",
                f"{1000 * latency:.2f}",
                f"{latency / p50(first.latencies_s):.2f}",
                f"{1000 * p99(state.latencies_s):.1f}",
                f"{state.load.rate:.0f}",
                f"{state.load.rate / first.load.rate:.2f}",
                f"{statistics.fmean(state.load.took_s) * 1000:.1f}",
                f"{state.load.server_us:.0f}",
            ]
        )
    head = ["sessions", "to the frame, p50 ms", "of one", "p99", "webhooks/s", "of one", "answer, ms", "CPU, us each"]
    print_table("Webhooks of 22 kB to one of them", head, rows)


def print_left(title: str, counts: dict[str, Left], held_mb: Sequence[float]) -> None:
    """Print what was there before, with all and after."""
    rows = [
        [name, str(left.files), str(left.nats_files), str(left.consumers), f"{mb:.0f}"]
        for (name, left), mb in zip(counts.items(), held_mb, strict=True)
    ]
    print_table(title, ["", "open files", "NATS's", "consumers", "server, MB"], rows)


if __name__ == "__main__":
    main()
