"""
The spool under `kill -9`.

NATS is stopped in a running flow until some webhooks were accepted without it, then the server is killed, with its
NATS, at a random moment of that or of what follows. What must hold stands in ledger.py.
"""

import asyncio

import pytest

from faults.extent import IS_LONG, ROUNDS
from faults.flow import PATIENCE_SECONDS, Flow
from faults.ledger import Accepted
from processes import Server
from waiting import eventually

pytestmark = pytest.mark.timeout(120 + 30 * ROUNDS)

SPOOL = {"CLAWBACK_SPOOL": "on"}
KEPT = 4
"""Webhooks that are accepted while NATS is stopped, before anything is killed."""

DRAIN_SECONDS = 2.0
"""The kill comes at a random moment of this after NATS goes on."""


@pytest.fixture
def server(tmp_path):
    """A server that runs, with its spool switched on."""
    server = Server(tmp_path / "server")
    try:
        server.start(**SPOOL)
        yield server
    finally:
        server.close()


def accepted(flow: Flow) -> int:
    """Count what was accepted so far."""
    return sum(isinstance(entry, Accepted) for entry in flow.entries)


@pytest.mark.parametrize("when", ["while NATS is away", "once NATS is back"])
async def test_no_kill_loses_or_reorders_what_was_kept(flow, server, dice, when):
    """After any number of kills the ledger holds no violation, no stream an event, and the spool nothing."""
    for _ in range(ROUNDS if IS_LONG else 2):
        flow.allow_more(2 * KEPT)
        with flow.stopped("nats"):
            before = accepted(flow)
            await eventually(lambda before=before: accepted(flow) >= before + KEPT, PATIENCE_SECONDS)
            if when == "while NATS is away":
                await flow.kill_server()
        if when == "once NATS is back":
            await asyncio.sleep(dice.uniform(0, DRAIN_SECONDS))
            await flow.kill_server()
        await asyncio.to_thread(server.start, **SPOOL)
        await flow.progress()
    found = await flow.finish()

    assert found == []
    assert [path.name for path in (server.data_dir / "spool").iterdir()] == ["lock"]
