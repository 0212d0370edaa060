"""
How many webhooks a second two servers on one NATS take, next to one.

Both run all along; the load goes to one of them, or half of it to each, with as many requests under way. What comes of
it depends on the cores, so a second table tells how many of them everything kept busy: where that is all there are,
the machine was the limit.
"""

import asyncio
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import uvloop
from bench.common import (
    CONNECTIONS,
    Load,
    Target,
    Webhook,
    add_profiles,
    cpu_seconds,
    load_servers,
    nats_server,
    p50,
    print_loads,
    print_machine,
    print_table,
    scratch,
    serve,
    take_turns,
    webhooks,
)

PROFILES = 8
"""Each on a shard of its own: on one stream, messages are synced one after another however many servers send them."""

ROUNDS = 3
ROUND_SECONDS = 2.0
ONE, TWO = "one server", "two servers"


class Cores(NamedTuple):
    """How many cores were busy in a round."""

    servers: float
    nats: float
    load: float


def main() -> None:
    with scratch() as directory, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print_machine(directory)
        for sync in ("always", "2m"):
            measure(directory / sync, runner, sync)


def measure(home: Path, runner: asyncio.Runner, sync: str) -> None:
    """Measure with one setting of NATS's sync, and print it."""
    home.mkdir()
    hooks, cores = webhooks(), {ONE: [], TWO: []}
    with ExitStack() as stack:
        url = stack.enter_context(nats_server(home / "nats", sync=sync))
        first = stack.enter_context(serve(home / "first", url))
        # What one server sealed, the other opens.
        (home / "second").mkdir()
        shutil.copy(home / "first/master.key", home / "second")
        second = stack.enter_context(serve(home / "second", url))
        paths = [each.target.path for each in add_profiles(first, home / "first", url, count=PROFILES)]
        one, other = [[server._replace(path=path) for path in paths] for server in (first, second)]
        # As many connections to each, and all profiles over both.
        both = [each for pair in zip(one, [*other[1:], other[0]], strict=True) for each in pair]
        nats_pid = int((home / "nats/nats.pid").read_text())
        loads = {
            name: partial(_load, targets, hooks, nats_pid, cores[name]) for name, targets in ((ONE, one), (TWO, both))
        }
        measured = runner.run(take_turns(loads, ROUNDS, ROUND_SECONDS))
    print_loads(f"Webhooks of 22 kB to {PROFILES} profiles, {CONNECTIONS} under way, {sync=!s}", measured, ONE)
    rows = []
    for name, rounds in cores.items():
        parts = [p50(part) for part in zip(*rounds, strict=True)]
        rows.append([name, *(f"{part:.2f}" for part in (*parts, sum(parts)))])
    head = [f"Cores busy, of {os.cpu_count()}", "servers", "NATS", "load", "together"]
    print_table("What that kept busy", head, rows)


async def _load(
    targets: Sequence[Target], hooks: Sequence[Webhook], nats_pid: int, cores: list[Cores], seconds: float
) -> Load:
    before = cpu_seconds(nats_pid)
    load = await load_servers(targets, hooks, seconds)
    passed = len(load.took_s) / load.rate
    cores.append(Cores(load.rate * load.server_us / 1e6, (cpu_seconds(nats_pid) - before) / passed, load.own_share))
    return load


if __name__ == "__main__":
    main()
