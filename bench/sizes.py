"""
What the size of a webhook does, and what a sender waits while the server is half busy; next to the bare handler.

Bodies of 6, 22 and 256 kB, every message synced. First as many a second as each server takes, in turns. Then both are
sent half of what ours took, at random moments, as from senders that know nothing of each other.
"""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import uvloop
from bench.common import (
    CONNECTIONS,
    Load,
    Target,
    Webhook,
    bare_handler,
    clawback,
    large_webhooks,
    load_server,
    load_steadily,
    nats_of,
    p50,
    p99,
    print_loads,
    print_machine,
    print_table,
    resident_mb,
    scratch,
    small_webhooks,
    take_turns,
    webhooks,
)

ROUNDS = 3
ROUND_SECONDS = 2.0
HALF_SECONDS = 2.0

ROOM = dict.fromkeys(("CLAWBACK_MAX_CONNECTIONS", "CLAWBACK_MAX_CONNECTIONS_PER_ADDRESS"), "10000")
"""All senders are at one address here, and each that waits has a connection of its own."""

Measured = dict[str, list[Load]]


def main() -> None:
    with scratch() as directory, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print_machine(directory)
        for name, hooks in (("6 kB", small_webhooks()), ("22 kB", webhooks()), ("256 kB", large_webhooks())):
            home = directory / name.replace(" ", "")
            home.mkdir()
            measure(home, runner, name, hooks)


def measure(home: Path, runner: asyncio.Runner, name: str, hooks: Sequence[Webhook]) -> None:
    """Measure one size, each time on new servers, and print it."""
    with ExitStack() as stack:
        ours = stack.enter_context(clawback(home / "clawback", sync="always", **ROOM)).target
        bare = stack.enter_context(bare_handler(home / "bare", sync="always"))
        full, half = runner.run(_measure({"clawback serve": ours, "the bare handler": bare}, hooks))
        held_mb = resident_mb(nats_of(ours.pid)), resident_mb(int((home / "bare/nats.pid").read_text()))
    print_loads(f"Webhooks of {name}, {CONNECTIONS} under way, sync='always'", full, "the bare handler")
    rows = []
    for server, loads in half.items():
        took_ms = [1000 * each for load in loads for each in load.took_s]
        rate = p50([load.rate for load in loads])
        middle, late = p50(took_ms), p99(took_ms)
        refused = sum(load.refused for load in loads)
        rows.append([server, f"{rate:.0f}", f"{middle:.1f}", f"{late:.1f}", f"{late / middle:.1f}", f"{refused}"])
    head = ["", "per second", "p50 ms", "p99 ms", "p99/p50", "refused (503)"]
    print_table("The same at half of what ours took, at random moments", head, rows)
    print("\nnats-server has {:.0f} MB in memory then, the bare handler's {:.0f} MB".format(*held_mb))


async def _measure(targets: dict[str, Target], hooks: Sequence[Webhook]) -> tuple[Measured, Measured]:
    full = await take_turns(
        {name: partial(load_server, target, hooks) for name, target in targets.items()}, ROUNDS, ROUND_SECONDS
    )
    rate = p50([load.rate for load in full["clawback serve"]]) / 2
    half = await take_turns(
        {name: partial(load_steadily, target, hooks, rate=rate) for name, target in targets.items()},
        ROUNDS,
        HALF_SECONDS,
    )
    return full, half


if __name__ == "__main__":
    main()
