"""
Clocks that jump, through whole servers: crons made, delivered, acked and listed over their WebSockets.

The servers' clock is the test's own. NATS's clock is the machine's, so NATS is told when to publish what is armed: that
is what it does when its machine wakes up, or when its clock passes a time.
"""

from datetime import UTC, datetime, timedelta

import pytest

from clawback.crons.firing import KIND
from clawback.fabric import subjects
from clawback.store import later
from houses import House
from waiting import eventually

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)

NOON = datetime(2031, 3, 3, 12, 0, tzinfo=UTC)
"""In the future of any machine, so that NATS publishes nothing by itself."""


class Clock:
    """The time of day of the servers."""

    def __init__(self):
        self.now = NOON

    def __call__(self):
        """Read it."""
        return self.now


class World:
    """A house whose clock a test sets, and a session that acks at once."""

    def __init__(self, house, clock, session):
        self.house = house
        self.clock = clock
        self.session = session
        self.runs = []

    async def make(self, schedule, **fields):
        """Make a cron, and return what is answered."""
        answer = await self.session.ask("cron_create", schedule=schedule, prompt="Tidy up.", **fields)
        return answer["data"]

    async def armed(self, cron):
        """Read what is armed of a cron."""
        subject = subjects.later_subject(KIND, self.house.profile.id, cron["id"])
        return await self.house.fabric.get(later.STREAM, subject=subject)

    async def pass_to(self, cron, moment):
        """Let it become this time, and let NATS publish what is armed; returns when that is done with."""
        self.clock.now = moment
        armed = await self.armed(cron)
        headers = {name: value for name, value in armed.headers.items() if not name.startswith("Nats-")}
        await later.arm(
            self.house.fabric, KIND, self.house.profile.id, cron["id"], datetime.now(UTC), armed.data, headers
        )
        await eventually(lambda: self._armed_anew(cron, armed.sequence), timeout=15)

    async def give_again(self, cron, armed):
        """Have the relay be given what it was given before, as after a kill."""
        headers = {name: value for name, value in armed.headers.items() if not name.startswith("Nats-")}
        subject = subjects.due_subject(KIND, self.house.profile.id, cron["id"])
        await self.house.fabric.publish(subject, armed.data, headers=headers)
        await eventually(lambda: self._nothing_due(subject), timeout=15)

    async def take(self):
        """Ack what comes, and return when it was due; in the order in which it came."""
        came = []
        while await self.house.stored():
            event = await self.session.frame("event")
            came.append(datetime.fromisoformat(event["meta"]["scheduledAt"]))
            await self.session.ack(event["id"])
        return came

    async def skipped(self):
        """Read what the history says of skipped runs, newest first."""
        answer = await self.session.ask("event_history", states=["skipped"])
        return [record["summary"] for record in answer["data"]]

    async def _armed_anew(self, cron, before):
        now = await self.armed(cron)
        # The next run, and not what this test has armed: that one is published at once.
        return now is not None and now.sequence > before + 1 and later.armed_for(now.headers) > datetime.now(UTC)

    async def _nothing_due(self, subject):
        return not await self.house.fabric.counts(later.STREAM, subject)


@pytest.fixture
async def world(natsd, tmp_path):
    """One server, and a session."""
    clock = Clock()
    async with House.open(natsd, tmp_path, now=clock) as house:
        yield World(house, clock, await house.connect(instanceId="one"))


async def test_a_machine_that_was_suspended_for_three_hours_follows_each_policy(world):
    """It wakes up with several runs missed, of which the session is given what the cron says; the rest is listed."""
    crons = {missed: await world.make("0 * * * *", missed=missed) for missed in ("latest", "none", "all")}
    came = {}
    for missed, cron in crons.items():
        await world.pass_to(cron, NOON + 3.5 * HOUR)
        came[missed] = await world.take()
    listed = (await world.session.ask("cron_list"))["data"]

    hours = [NOON + number * HOUR for number in (1, 2, 3)]
    assert came == {"latest": hours[2:], "none": [], "all": hours}
    none, latest = await world.skipped()
    assert latest.startswith("2 runs that were due from 2031-03-03T13:00:00Z to 2031-03-03T14:00:00Z")
    assert none.startswith("3 runs that were due from 2031-03-03T13:00:00Z to 2031-03-03T15:00:00Z")
    assert {cron["nextRunAt"] for cron in listed} == {"2031-03-03T16:00:00Z"}


async def test_a_clock_that_jumps_back_repeats_nothing(world):
    """Neither on the server that ran it nor on one that is started then; what comes next is what came next."""
    cron = await world.make("*/10 * * * *")
    first = await world.armed(cron)
    await world.pass_to(cron, NOON + 10 * MINUTE)
    came = await world.take()
    world.clock.now = NOON - 2 * HOUR
    await world.house.start()
    for _ in range(4):
        await world.give_again(cron, first)
    back = (await world.session.ask("cron_list"))["data"]
    again = await world.take()
    await world.pass_to(cron, NOON + 20 * MINUTE)
    came += await world.take()

    assert again == []
    assert came == [NOON + 10 * MINUTE, NOON + 20 * MINUTE]
    assert back[0]["nextRunAt"] == "2031-03-03T12:20:00Z"
    assert await world.skipped() == []


async def test_a_clock_that_jumps_forward_is_a_missed_run(world):
    """And the cron goes on from there; that the clock is set right again repeats nothing."""
    cron = await world.make("0 * * * *")
    first = await world.armed(cron)
    await world.pass_to(cron, NOON + 48 * HOUR)
    came = await world.take()
    (text,) = await world.skipped()
    world.clock.now = NOON + 30 * MINUTE
    await world.give_again(cron, first)

    assert came == [NOON + 48 * HOUR]
    assert await world.take() == []
    assert text.startswith("47 runs that were due from 2031-03-03T13:00:00Z to 2031-03-05T11:00:00Z")


CHANGES = {
    # The clocks of Berlin skip 02:00 to 03:00 on 30 March 2031, and show that hour twice on 26 October.
    "in the gap, once right after it": (
        "30 2 * * *",
        "2031-03-29T12:00:00+01:00",
        ["2031-03-30T03:00:00+02:00", "2031-03-31T02:30:00+02:00"],
    ),
    "in the hour that comes twice, once": (
        "30 2 * * *",
        "2031-10-25T12:00:00+02:00",
        ["2031-10-26T02:30:00+02:00", "2031-10-27T02:30:00+01:00"],
    ),
    "a beat over the gap": (
        "*/30 * * * *",
        "2031-03-30T01:10:00+01:00",
        ["2031-03-30T01:30:00+01:00", "2031-03-30T03:00:00+02:00", "2031-03-30T03:30:00+02:00"],
    ),
    "a beat through the hour that comes twice": (
        "*/30 * * * *",
        "2031-10-26T02:10:00+02:00",
        ["2031-10-26T02:30:00+02:00", "2031-10-26T02:00:00+01:00", "2031-10-26T02:30:00+01:00"],
    ),
}


@pytest.mark.parametrize(("schedule", "begin", "expected"), CHANGES.values(), ids=CHANGES)
async def test_a_change_of_clocks_runs_what_was_announced(world, schedule, begin, expected):
    """The answer shows the runs by the clock on the wall, and those are what the session is given."""
    world.clock.now = datetime.fromisoformat(begin)
    cron = await world.make(schedule, timezone="Europe/Berlin")
    came = []
    for moment in expected:
        await world.pass_to(cron, datetime.fromisoformat(moment))
        came += await world.take()

    assert cron["nextRuns"][: len(expected)] == expected
    assert came == [datetime.fromisoformat(moment) for moment in expected]
    assert await world.skipped() == []
