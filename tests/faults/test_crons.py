"""
`kill -9` of servers and of NATS while crons are made, fire, and end: three servers on one NATS.

What must hold stands in cron_ledger.py: each due instant is one event, or the history has it as skipped. FAULT_ROUNDS
says how long it goes on, FAULT_SEED repeats what is drawn; what becomes of it hangs on the machine's timing too.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import make_token
from faults.cron_ledger import Confirmed, Given, Skipped, violations
from faults.cron_run import LATE, SERVERS, Run
from faults.extent import IS_LONG, ROUNDS
from natsd import Natsd

CALM_SECONDS = 1.5
"""A kill comes at a random moment of this after things went on."""

OUTAGE_SECONDS = 1.5
"""What was killed stays down for a random part of this, once in a while: so that crons come due meanwhile."""

OUTAGES = 0.3

FIRINGS = 1000 if IS_LONG else 100
"""Crons that fire, at least, of those that are due once."""

FAULTS = {"server": 5, "two servers": 2, "every server": 1, "nats": 3, "everything": 1}

pytestmark = pytest.mark.timeout(180 + 60 * ROUNDS)


async def break_things(run: Run) -> None:
    """Kill servers and NATS, and start them again, until enough has fired."""
    dice = run.dice("faults")
    number = 0
    while run.made < FIRINGS:
        # The first two are the usual ones, so that each run has both.
        fault = ("server", "nats")[number] if number < 2 else dice.choices([*FAULTS], [*FAULTS.values()])[0]
        number += 1
        how_many = {"server": 1, "two servers": 2, "nats": 0}.get(fault, SERVERS)
        dead = dice.sample(run.servers, how_many)
        calm, outage = dice.uniform(0, CALM_SECONDS), dice.uniform(0, OUTAGE_SECONDS)
        lasts = dice.random() < OUTAGES
        await asyncio.sleep(calm)
        for server in dead:
            await run.kill(server)
        if fault in ("nats", "everything"):
            await run.kill_nats()
            await asyncio.sleep(outage if lasts else 0)
            await run.start_nats()
        elif lasts:
            await asyncio.sleep(outage)
        await asyncio.gather(*(run.start(server) for server in dead))
        await run.progress()


@pytest.fixture
def natsd(tmp_path: Path) -> Iterator[Natsd]:
    """A nats-server that syncs what it confirms, as a server's own does: else a kill costs it the last of that."""
    natsd = Natsd(tmp_path / "natsd", fsync=True)
    natsd.start()
    yield natsd
    natsd.stop()


async def test_each_due_instant_is_one_event_whatever_is_killed(natsd, fabric, seed, tmp_path: Path):
    """After a run of all faults the ledger holds no violation, and no stream holds an event or a schedule."""
    token = await make_token(fabric)
    async with Run(natsd, fabric, tmp_path, token, seed) as run:
        await break_things(run)
        try:
            await run.finish()
        finally:
            found = violations(run.entries)
            print(run.story(found))  # noqa: T201 -- pytest shows it on failure
    given = [entry for entry in run.entries if isinstance(entry, Given) and not entry.cron.startswith(LATE)]
    late = sorted((entry.at - entry.due).total_seconds() for entry in given)
    skipped = sum(isinstance(entry, Skipped) for entry in run.entries)
    print(  # noqa: T201
        f"{sum(isinstance(entry, Confirmed) for entry in run.entries)} runs, {skipped} skipped; "
        f"late p50 {late[len(late) // 2]:.2f} s, p99 {late[len(late) * 99 // 100]:.2f} s, most {late[-1]:.2f} s"
    )

    assert found == []
    assert skipped, "nothing was missed: the run proves less than it says"
