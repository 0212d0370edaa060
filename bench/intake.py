"""
How many signed webhooks a second the server takes, next to a bare handler and to NATS by itself.

Every server takes the same 22 kB bodies with as many requests under way, in rounds one after another, so that what else
the machine does meets all of them. A ratio is taken within a round; what is printed is the median of the rounds.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import nats
import uvloop
from bench.common import (
    CONNECTIONS,
    Load,
    Target,
    Webhook,
    bare_handler,
    clawback,
    delivery_id,
    keep_busy,
    load_server,
    nats_server,
    p50,
    p99,
    print_machine,
    print_table,
    scratch,
    webhooks,
)

ROUNDS = 7
ROUND_SECONDS = 2.0
WARM_UP_SECONDS = 1.0


def main() -> None:
    with scratch() as directory:
        print_machine(directory)
        for sync, rounds, note in (
            ("always", ROUNDS, "every message on the disk before its PubAck, which is what `clawback serve` promises"),
            ("2m", 3, "NATS's own default: a power cut may take two minutes of acknowledged events"),
        ):
            measure(directory / sync, sync, rounds, f"Webhooks of 22 kB, {CONNECTIONS} under way, {sync=!s}: {note}")


def measure(directory: Path, sync: str, rounds: int, title: str) -> None:
    """Measure the three side by side with one setting of NATS's sync, and print them."""
    directory.mkdir()
    hooks = webhooks()
    with ExitStack() as stack:
        ours = stack.enter_context(clawback(directory / "clawback", sync=sync)).target
        bare = stack.enter_context(bare_handler(directory / "bare", sync=sync))
        alone = stack.enter_context(nats_server(directory / "nats", sync=sync))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            measured = runner.run(
                _rounds({"clawback serve": ours, "bare handler": bare, "nats-py alone": alone}, hooks, rounds)
            )
    _print(title, measured)


async def _rounds(targets: dict[str, Target | str], hooks: Sequence[Webhook], rounds: int) -> dict[str, list[Load]]:
    measured: dict[str, list[Load]] = {name: [] for name in targets}
    for number in range(rounds + 1):
        for name, target in targets.items():
            seconds = ROUND_SECONDS if number else WARM_UP_SECONDS
            if isinstance(target, Target):
                round_ = await load_server(target, hooks, seconds)
            else:
                round_ = await _load_nats(target, hooks, seconds)
            if number:
                measured[name].append(round_)
    return measured


async def _load_nats(url: str, hooks: Sequence[Webhook], seconds: float) -> Load:
    """Publish with nats-py and wait for the PubAck, as many at a time as the servers are sent."""
    client = await nats.connect(url)
    js = client.jetstream()
    await js.add_stream(name="BARE", subjects=["bare.>"], storage="file", allow_direct=True, duplicate_window=2 * 3600)

    async def publish(hook: Webhook) -> None:
        await js.publish("bare.github", hook.body, headers={"Nats-Msg-Id": delivery_id()})

    try:
        return await keep_busy([publish] * CONNECTIONS, hooks, seconds, os.getpid())
    finally:
        await client.close()


def _print(title: str, measured: dict[str, list[Load]]) -> None:
    bare = measured["bare handler"]
    rows = []
    for name, loads in measured.items():
        took_ms = [1000 * each for load in loads for each in load.took_s]
        rows.append(
            [
                name,
                f"{p50([load.rate for load in loads]):.0f}",
                f"{p50([load.rate / other.rate for load, other in zip(loads, bare, strict=True)]):.2f}",
                f"{p50(took_ms):.1f}",
                f"{p99(took_ms):.1f}",
                f"{p50([load.server_us for load in loads]):.0f}",
                f"{100 * p50([load.own_share for load in loads]):.0f} %",
            ]
        )
    head = ["", "per second", "of the bare", "p50 ms", "p99 ms", "its CPU, us each", "the load's core"]
    print_table(title, head, rows)


if __name__ == "__main__":
    main()
