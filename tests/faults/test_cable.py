"""
Networks that break while their ends are well, on either side of the server: to its plugin, and to its NATS.

What must hold of the whole run stands in ledger.py. Where FAULT_ROUNDS asks for more than `make test` does, things last
longer than both ends of a WebSocket wait for a sign of life, than a lease lives, and than any count of tries allows.
"""

import asyncio
import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from cable import WAYS, Cable
from clawback import wire
from faults.extent import IS_LONG, ROUNDS
from faults.flow import PATIENCE_SECONDS, Flow
from faults.ledger import Shown
from natsd import Natsd
from processes import Server

CUTS = 10 * ROUNDS if IS_LONG else 12
BETWEEN_SECONDS = 10.0 if IS_LONG else 0.4

HELD_SECONDS = 1.0
"""How long a connection is held in `make test`, which neither end notices."""

AWAY_SECONDS = 150.0 if IS_LONG else 2.0
"""How long there is no way to NATS. In a long run more than the two minutes after which nats-py gives up by default."""

SILENT_SECONDS = wire.SILENCE_SECONDS + PATIENCE_SECONDS
"""By then a silent peer was given up."""

pytestmark = pytest.mark.timeout(120 + 10 * CUTS + AWAY_SECONDS + 2 * SILENT_SECONDS)


@pytest.fixture
async def cable(server: Server):
    """Lay a cable between the plugin and the server."""
    async with Cable(server.port) as cable:
        yield cable


@pytest.fixture
async def flow(server: Server, cable: Cable, dice: random.Random, tmp_path: Path):
    """Have the plugin connect through the cable; the first event is through."""
    async with Flow(server, dice, tmp_path / "claude", cable.url) as flow:
        await flow.progress()
        yield flow


async def test_a_connection_that_is_cut_again_and_again_costs_nothing(flow, cable, dice):
    """Whatever was on its way when it was cut: the event, its ack, or the confirmation of that."""
    for _ in range(CUTS):
        await asyncio.sleep(dice.uniform(0, BETWEEN_SECONDS))
        cable.cut()
        cable.mend()
    await flow.progress()

    assert await flow.finish() == []


async def test_a_half_open_connection_is_left_by_both_ends(flow, cable):
    """In a long run it stays so, and the plugin has to find that out and connect anew; in a short one it goes on."""
    for way in WAYS:
        cable.hold(way)
        if not IS_LONG:
            # The time that passes here is what does the harm.
            await asyncio.sleep(HELD_SECONDS)
            cable.mend()
        # Twice: the first ack may be one that was on its way.
        await flow.progress(SILENT_SECONDS)
        await flow.progress()

    assert await flow.finish() == []


async def test_a_slow_connection_carries_everything(flow, cable):
    """Each frame in many pieces, late."""
    cable.slow(0.01, 2000)
    for _ in range(ROUNDS):
        await flow.progress()

    assert await flow.finish() == []


@pytest.fixture
async def far(tmp_path: Path):
    """Run a nats-server, and lay the cable by which a server reaches it."""
    natsd = Natsd(tmp_path / "natsd", fsync=True)
    natsd.start()
    async with Cable(natsd.port) as cable:
        natsd.server_auth = replace(natsd.server_auth, url=f"nats://127.0.0.1:{cable.port}")
        yield natsd, cable
    natsd.stop()


@pytest.mark.parametrize("how", ["cut", "held"])
async def test_a_server_without_its_nats_goes_on_where_it_was(far, dice, tmp_path, how):
    """However long it lasts: nobody gives up, and the session keeps its connection and its event."""
    natsd, cable = far
    server = Server(tmp_path / "server", nats=natsd)
    try:
        await asyncio.to_thread(server.start)
        async with Flow(server, dice, tmp_path / "claude") as flow:
            await flow.progress()
            cable.cut() if how == "cut" else cable.hold(*WAYS)
            await asyncio.sleep(AWAY_SECONDS)
            cable.mend()
            await flow.progress()
            found = await flow.finish()
    finally:
        server.close()

    assert found == []
    assert {entry.attempt for entry in flow.entries if isinstance(entry, Shown)} == {1}
