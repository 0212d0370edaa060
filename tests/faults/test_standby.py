"""
`kill -9` of the plugin that has an event in flight, while another of its session stands by.

What must hold of the whole run stands in ledger.py. FAULT_ROUNDS says how often; where it asks for more rounds than
`make test` has, they are fifty at least, since one costs little more than a second.
"""

import pytest

from faults.extent import IS_LONG
from faults.extent import ROUNDS as ASKED

ROUNDS = max(ASKED, 50) if IS_LONG else ASKED

pytestmark = pytest.mark.timeout(60 + 20 * ROUNDS)


async def test_a_standby_goes_on_with_the_event_that_was_in_flight(flow):
    """It is shown that event first, with a higher attempt, and then what follows; nothing is lost or out of order."""
    for _ in range(ROUNDS):
        await flow.start_standby()
        await flow.progress()
        held, again = await flow.kill_active()

        assert again.event_id == held.event_id
        assert again.attempt > held.attempt

    assert await flow.finish() == []
