"""
The bridge under torture: thirty sessions of fifteen tags, two servers on one NATS, and everything goes wrong at once.

Sessions are killed, cut off, leave, come back and take over from each other while servers and NATS are killed. What
must hold stands in bridge_ledger.py. FAULT_ROUNDS says how long it goes on, FAULT_SEED repeats what is drawn; what
becomes of it hangs on the machine's timing too.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import make_token
from faults.bridge import PLACES, Bridge
from faults.bridge_ledger import AckCalled, Given, Shown, violations
from faults.extent import IS_LONG
from faults.moves import move_sessions
from natsd import Natsd

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "5")) ** 2 // 8
"""Kills of servers and NATS: three, and in a long run fifty. What two faults do to each other takes many to show."""

CALM_SECONDS = 1.2
"""A kill comes at a random moment of this after the bridge went on."""

RECOVERY_SECONDS = 1.0
"""A second kill comes at a random moment of this after the first, which is while things start again."""

AGAIN = 0.25
"""How often there is a second one."""

FAULTS = {"server": 4, "nats": 3, "both servers": 1, "server and nats": 1, "everything": 1}

pytestmark = pytest.mark.timeout(120 + 30 * ROUNDS)


async def break_things(bridge: Bridge) -> None:
    """Kill servers and NATS, and start them again."""
    dice = bridge.dice("faults")
    for number in range(ROUNDS):
        # The first two are the usual ones, so that each run has both.
        fault = ("server", "nats")[number] if number < 2 else dice.choices([*FAULTS], [*FAULTS.values()])[0]
        servers = {
            "nats": [],
            "server": dice.sample(bridge.servers, 1),
            "server and nats": dice.sample(bridge.servers, 1),
        }
        dead = servers.get(fault, bridge.servers)
        calm, again, soon = dice.uniform(0, CALM_SECONDS), dice.random() < AGAIN, dice.uniform(0, RECOVERY_SECONDS)
        await asyncio.sleep(calm)
        for server in dead:
            await bridge.kill_server(server)
        if fault in ("nats", "server and nats", "everything"):
            await bridge.kill_nats()
            await bridge.start_nats()
            if again:
                await asyncio.sleep(soon)
                await bridge.kill_nats()
                await bridge.start_nats()
        await asyncio.gather(*(bridge.start_server(server) for server in dead))
        if dead and again:
            await asyncio.sleep(soon)
            await bridge.kill_server(dead[0])
            await bridge.start_server(dead[0])
        await bridge.progress()


@pytest.fixture
def natsd(tmp_path: Path) -> Iterator[Natsd]:
    """A nats-server that syncs what it confirms, as a server's own does: else a kill costs it the last of that."""
    natsd = Natsd(tmp_path / "natsd", fsync=True)
    natsd.start()
    yield natsd
    natsd.stop()


async def test_everything_at_once_loses_repeats_and_reorders_nothing(natsd, fabric, seed, tmp_path: Path):
    """After a run of all faults the ledger holds no violation, and no stream holds an event."""
    tokens = [await make_token(fabric) for _ in range(2)]
    async with Bridge(natsd, tmp_path, tokens, seed) as bridge:
        moving = asyncio.create_task(move_sessions(bridge), name="moves")
        await bridge.progress()
        await break_things(bridge)
        assert not moving.done(), moving.result()
        moving.cancel()
        await asyncio.wait([moving])
        try:
            await bridge.finish(fabric)
        finally:
            found = violations(bridge.moments)
            print(bridge.story(found))  # noqa: T201 -- pytest shows it on failure
    entries = [at.entry for at in bridge.moments]
    given = [entry for entry in entries if isinstance(entry, Given)]
    resumed = [entry for entry in entries if isinstance(entry, Shown) and entry.resumed]
    print(  # noqa: T201
        f"{sum(PLACES)} sessions, {sum(isinstance(entry, AckCalled) for entry in entries)} acks, "
        f"{sum(entry.attempt > 1 for entry in given)} repeats, {len(resumed)} resumed, "
        f"{bridge.moments[-1].seconds:.0f} s"
    )

    assert found == []
    if IS_LONG:  # a short run may be over before a kill meets an event in flight
        assert resumed, "no interrupt suspended anything: the run proves less than it says"
        assert any(entry.attempt > 1 for entry in given), "nothing had to be given again"
