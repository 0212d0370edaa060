"""
A stopped world: the plugin, the server or NATS answers nothing for a while, every connection open, and then goes on.

Each must recover by itself, and what must hold of the whole run stands in ledger.py. Where FAULT_ROUNDS asks for more
than `make test` does, a stop is longer than a lease lives, and than both ends of a WebSocket wait for a sign of life.
"""

import asyncio

import pytest

from faults.extent import IS_LONG

SHORT_SECONDS, LONG_SECONDS = 3.0, 60.0
STOP_SECONDS = LONG_SECONDS if IS_LONG else SHORT_SECONDS

STOPPED = ("plugin", "server", "nats")

pytestmark = pytest.mark.timeout(120 + 3 * (STOP_SECONDS + 60))


async def test_what_was_stopped_goes_on(flow, dice):
    """One after the other is stopped in the middle of the flow: nothing is lost, repeated or out of order."""
    for what in dice.sample(STOPPED, len(STOPPED)):
        with flow.stopped(what):
            # The time that passes here is what does the harm.
            await asyncio.sleep(STOP_SECONDS)
        await flow.progress()

    assert await flow.finish() == []
