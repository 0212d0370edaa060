"""
`kill -9` of `clawback work` and of its server, at random moments while events are run one after the other.

Each run notes its beginning and its end in one file, so the file is the order in which things happened. What must hold:
every accepted event ends acked, first runs are in the order of acceptance, and a run never begins before the one before
it has ended, unless it is the same event again with a higher attempt.
"""

import asyncio
import subprocess
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from faults.extent import ROUNDS
from legacy import LegacyClient
from processes import CLAWBACK, Server, environment
from waiting import eventually

pytestmark = pytest.mark.timeout(120 + 30 * ROUNDS)

TAG = "ci"
KILLS = max(2, ROUNDS // 2)
"""Each is followed by the run of a few events, which takes its time."""

EVENTS_PER_ROUND = 5
CALM_SECONDS = 1.5
PATIENCE_SECONDS = 60.0

RUN = 'echo "$CLAWBACK_EVENT_ID $CLAWBACK_EVENT_ATTEMPT $1" >> "$0"'
PROGRAM = f'set -- begun; {RUN}; test "$CLAWBACK_EVENT_ATTEMPT" = 1 && sleep 0.4; set -- ended; {RUN}'
"""A first attempt takes longer than a worker takes to start: a run that outlived its worker would overlap the next."""


class Step(NamedTuple):
    """A run of an event began or ended."""

    event_id: str
    attempt: int
    what: str


class Worker:
    """`clawback work`, started anew after each kill, and what its runs noted."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.noted = home / "noted"
        self.noted.touch()
        self.process: subprocess.Popen

    def start(self) -> None:
        """Start it."""
        command = [CLAWBACK, "work", "--tag", TAG, "--", "sh", "-c", PROGRAM, self.noted]
        with (self.home / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment(self.home), stdout=log, stderr=log)

    def kill9(self) -> None:
        """Kill it without a warning."""
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

    @property
    def steps(self) -> list[Step]:
        """What was noted so far, in order."""
        words = [line.split() for line in self.noted.read_text().splitlines()]
        return [Step(event_id, int(attempt), what) for event_id, attempt, what in words]

    def goes_on(self, steps: int, event_ids: list[str]) -> bool:
        """Say whether there are more steps than so many, or none are left to do."""
        ended = {step.event_id for step in self.steps if step.what == "ended"}
        return len(self.steps) > steps or ended >= set(event_ids)


def violations(steps: list[Step], accepted: list[str]) -> list[str]:
    """Name what must not be; pure, so that it can be shown to see it."""
    found = []
    first_runs = list(dict.fromkeys(step.event_id for step in steps))
    if first_runs != accepted:
        found.append(f"first runs are {first_runs}, accepted was {accepted}")
    for before, after in pairwise(steps):
        again = after.event_id == before.event_id and after.what == "begun" and after.attempt > before.attempt
        ends = after == before._replace(what="ended") and before.what == "begun"
        follows = before.what == "ended" and after.what == "begun" and after.event_id != before.event_id
        if not (again or ends or follows):
            found.append(f"{after} after {before}")
    return found


@pytest.fixture
def worker(tmp_path):
    """A worker under a home of its own; not started yet."""
    (tmp_path / "worker").mkdir()
    worker = Worker(tmp_path / "worker")
    yield worker
    worker.kill9()


@pytest.mark.parametrize("what", ["worker", "both"])
async def test_no_kill_of_a_worker_loses_or_repeats_or_reorders(server: Server, worker, http, dice, what):
    """Killed again and again, also together with its server: each event is run, in order, one at a time."""
    token = server.token()
    server.log_in(token, worker.home)
    async with LegacyClient(server.socket_url, token.value, "observer") as client:
        made = await client.request("source_create", slug="s", verifierType="none", sessionTag=TAG)
    worker.start()
    accepted: list[str] = []
    for _ in range(KILLS):
        accepted += [(await http.post(made["url"], json={})).json()["eventId"] for _ in range(EVENTS_PER_ROUND)]
        await asyncio.sleep(dice.uniform(0, CALM_SECONDS))
        worker.kill9()
        if what == "both":
            server.kill9()
            await asyncio.to_thread(server.start)
        before = len(worker.steps)
        worker.start()
        await eventually(partial(worker.goes_on, before, accepted), timeout=PATIENCE_SECONDS)

    async with LegacyClient(server.socket_url, token.value, "observer") as client:

        async def all_ended():
            history = await client.request("event_history", limit=100)
            return {each["eventId"]: each["state"] for each in history if each["eventId"] in accepted}

        ended = await eventually(
            lambda: _when_complete(all_ended, min(len(accepted), 100)), timeout=PATIENCE_SECONDS + len(accepted)
        )

    assert set(ended.values()) == {"acked"}
    assert violations(worker.steps, accepted) == []


async def _when_complete(ask, size):
    answer = await ask()
    return answer if len(answer) >= size else None


@pytest.mark.parametrize(
    ("noted", "seen"),
    [
        ("a1b a1e c1b c1e", 0),
        ("a1b a2b a2e c1b c1e", 0),
        ("a1b a1e a2b a2e c1b c1e", 0),
        ("a1b c1b a1e c1e", 3),
        ("a1b a1b a1e c1b c1e", 1),
        ("a1b a1e a1b a1e c1b c1e", 1),
        ("a1b a1e", 1),
        ("c1b c1e a1b a1e", 1),
        ("a1b c1b c1e", 1),
    ],
)
def test_a_violation_is_seen(noted, seen):
    """Two at a time, a repeat that does not say so, a loss, another order, a run that was given up."""
    names = {"b": "begun", "e": "ended"}
    steps = [Step(word[0], int(word[1]), names[word[2]]) for word in noted.split()]

    assert len(violations(steps, ["a", "c"])) == seen
