"""
What a full ledger costs: a start, a reconnect and webhooks, with 1,000,000 entries next to none.

Each has a server of its own, and they take turns. A start is timed until the first webhook is answered, and a reconnect
from the kill of the nats-server, which the server starts again, likewise. Webhooks are sent one after another, to one
server and then to the other. The entries are stored as packs, which is how servers keep them.
"""

import asyncio
import os
import signal
import time
from pathlib import Path

import uvloop
from bench.common import (
    Busy,
    Connection,
    Target,
    Webhook,
    add_profiles,
    nats_of,
    p50,
    p99,
    print_machine,
    print_table,
    request,
    resident_mb,
    scratch,
    serve,
    webhooks,
)

from clawback.fabric import subjects
from clawback.fabric.embedded import read_auth
from clawback.fabric.streams import Fabric
from clawback.store.packs import DIGEST_BYTES, PACK

ENTRIES = int(os.environ.get("BENCH_ENTRIES", "1000000"))
ROUNDS = 7
WEBHOOKS = 300
"""In each round, after each start."""

TOGETHER = 16
"""Packs that are stored at a time."""


def main() -> None:
    with scratch() as directory, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print_machine(directory)
        homes = {"empty": directory / "empty", f"{ENTRIES:,} entries": directory / "full"}
        paths: dict[str, str] = {}
        for name, home in homes.items():
            with serve(home) as target:
                paths[name] = add_profiles(target, home)[0].target.path
                if name != "empty":
                    runner.run(fill(home))
        measured = {name: Measured() for name in homes}
        for _ in range(ROUNDS):
            for name, home in homes.items():
                measure(runner, home, paths[name], measured[name])
        print_measured(measured)


class Measured:
    """What was measured of one server, in seconds and megabytes."""

    def __init__(self) -> None:
        self.ready: list[float] = []
        self.start: list[float] = []
        self.reconnect: list[float] = []
        self.webhooks: list[float] = []
        self.server_mb: list[float] = []
        self.nats_mb: list[float] = []


async def fill(home: Path) -> None:
    """Store packs of random digests."""
    fabric = await Fabric.open(read_auth(home), name="bench")
    for _ in range(ENTRIES // PACK // TOGETHER + 1):
        packs = [os.urandom(DIGEST_BYTES * PACK) for _ in range(TOGETHER)]
        await asyncio.gather(*(fabric.publish(subjects.PACK, each, timeout=30) for each in packs))
    await fabric.close()


def measure(runner: asyncio.Runner, home: Path, path: str, measured: Measured) -> None:
    """Start a server, send it webhooks, kill its NATS and send it more."""
    hooks = webhooks()
    began = time.perf_counter()
    with serve(home) as server:
        measured.ready.append(time.perf_counter() - began)
        target = server._replace(path=path)
        runner.run(until_taken(target, hooks[0]))
        measured.start.append(time.perf_counter() - began)
        measured.webhooks += runner.run(send(target, hooks))
        nats = nats_of(target.pid)
        measured.server_mb.append(resident_mb(target.pid))
        measured.nats_mb.append(resident_mb(nats))
        began = time.perf_counter()
        os.kill(nats, signal.SIGKILL)
        runner.run(until_taken(target, hooks[0]))
        measured.reconnect.append(time.perf_counter() - began)
        measured.webhooks += runner.run(send(target, hooks))


async def until_taken(target: Target, hook: Webhook) -> None:
    """Send a webhook until it is taken."""
    while True:
        connection = await Connection.open(target.port)
        try:
            await connection.ask(request(target.path, hook))
        except Busy:
            continue
        else:
            return
        finally:
            connection.close()


async def send(target: Target, hooks: list[Webhook]) -> list[float]:
    """Send webhooks one after another; how long each took."""
    took = []
    connection = await Connection.open(target.port)
    for number in range(WEBHOOKS):
        began = time.perf_counter()
        await connection.ask(request(target.path, hooks[number % len(hooks)]))
        took.append(time.perf_counter() - began)
    connection.close()
    return took


def print_measured(measured: dict[str, Measured]) -> None:
    """Print one row for each figure, and the ratio of both servers."""
    empty, full = measured.values()
    rows: list[tuple[str, float, float]] = [
        ("start until ready, s", p50(empty.ready), p50(full.ready)),
        ("start until the first webhook is taken, s", p50(empty.start), p50(full.start)),
        ("kill of NATS until a webhook is taken, s", p50(empty.reconnect), p50(full.reconnect)),
        ("webhooks after both, p50, ms", 1000 * p50(empty.webhooks), 1000 * p50(full.webhooks)),
        ("webhooks after both, p99, ms", 1000 * p99(empty.webhooks), 1000 * p99(full.webhooks)),
        ("server, MB", p50(empty.server_mb), p50(full.server_mb)),
        ("nats-server, MB", p50(empty.nats_mb), p50(full.nats_mb)),
    ]
    table = [[name, f"{left:.2f}", f"{right:.2f}", f"{right / left:.2f}"] for name, left, right in rows]
    print_table(f"A full ledger, {ROUNDS} rounds", ["", *measured, "ratio"], table)


if __name__ == "__main__":
    main()
