"""
How many signed webhooks a second the server takes, next to a bare handler, to raw ASGI, and to NATS by itself.

Every server takes the same 22 kB bodies with as many requests under way, in rounds one after another, so that what else
the machine does meets all of them. A ratio is taken within a round; what is printed is the median of the rounds. The
bare handler stores in one stream; ours is measured with one profile, which is one stream too, and with eight, each on a
shard of its own, where syncs to the disk run side by side.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import nats
import uvloop
from bench.common import (
    CONNECTIONS,
    PYTHON,
    Load,
    Target,
    Webhook,
    add_profiles,
    bare_handler,
    delivery_id,
    free_port,
    keep_busy,
    load_servers,
    nats_server,
    print_loads,
    print_machine,
    process,
    scratch,
    serve,
    take_turns,
    webhooks,
)

PROFILES = 8
ROUND_SECONDS = 2.0


def main() -> None:
    with scratch() as directory:
        print_machine(directory)
        for sync, rounds, note in (
            ("always", 5, "every message on the disk before its PubAck, which is what `clawback serve` promises"),
            ("2m", 3, "NATS's own default: a power cut may take two minutes of acknowledged events"),
        ):
            measure(directory / sync, sync, rounds, f"Webhooks of 22 kB, {CONNECTIONS} under way, {sync=!s}: {note}")


def measure(directory: Path, sync: str, rounds: int, title: str) -> None:
    """Measure all side by side with one setting of NATS's sync, and print them."""
    directory.mkdir()
    hooks = webhooks()
    with ExitStack() as stack:
        # Its own NATS syncs always; with another setting it is an operator's.
        url = None if sync == "always" else stack.enter_context(nats_server(directory / "theirs", sync=sync))
        server = stack.enter_context(serve(directory / "clawback", url))
        ours = [each.target for each in add_profiles(server, directory / "clawback", url, count=PROFILES)]
        bare = stack.enter_context(bare_handler(directory / "bare", sync=sync))
        port = free_port()
        raw = stack.enter_context(process(PYTHON, "-m", "bench.raw_asgi", port, log=directory / "raw.log", port=port))
        alone = stack.enter_context(nats_server(directory / "nats", sync=sync))
        loads = {
            "clawback serve": partial(load_servers, ours[:1], hooks),
            f"the same, {PROFILES} profiles": partial(load_servers, ours, hooks),
            "the bare handler": partial(load_servers, [bare], hooks),
            "nats-py alone": partial(_load_nats, alone, hooks),
            "raw ASGI, stores nothing": partial(load_servers, [Target(port, "/", raw)], hooks),
        }
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            measured = runner.run(take_turns(loads, rounds, ROUND_SECONDS))
    print_loads(title, measured, "the bare handler")


async def _load_nats(url: str, hooks: Sequence[Webhook], seconds: float) -> Load:
    """Publish with nats-py and wait for the PubAck, as many at a time as the servers are sent."""
    client = await nats.connect(url)
    js = client.jetstream()
    await js.add_stream(name="BARE", subjects=["bare.>"], storage="file", allow_direct=True, duplicate_window=2 * 3600)

    async def publish(hook: Webhook) -> None:
        await js.publish("bare.github", hook.body, headers={"Nats-Msg-Id": delivery_id()})

    try:
        return await keep_busy([publish] * CONNECTIONS, hooks, seconds, {os.getpid()})
    finally:
        await client.close()


if __name__ == "__main__":
    main()
