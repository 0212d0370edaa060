"""Crons at work over a real nats-server: armed, fired by whichever server is there, once for each due instant."""

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from clawback.accounts.profiles import ensure_profile
from clawback.crons import firing
from clawback.crons.firing import DUE_HEADER, EDITION_HEADER, KIND, Crons, next_run, stamp
from clawback.errors import Rejected, Unavailable
from clawback.fabric import subjects
from clawback.fabric.streams import Fabric
from clawback.model import (
    PERSON,
    Address,
    Cron,
    EventState,
    HistoryRecord,
    Missed,
    Overlap,
    Priority,
    new_id,
    random_id,
    session_author,
)
from clawback.store import later
from clawback.store.events import EventStore, decode_event
from clawback.store.history import History
from clawback.store.later import Due, Relay
from clawback.store.ledger import Ledger
from clawback.store.registry import Registry
from conftest import SHARDS
from waiting import eventually

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class Clock:
    """A clock that a test sets."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        """Read it."""
        return self.now


class Room:
    """What one server has of crons, with a clock of its own."""

    def __init__(self, fabric, registry, profile_id, clock):
        self.fabric = fabric
        self.registry = registry
        self.profile_id = profile_id
        self.clock = clock
        self.ledger = Ledger(fabric)
        self.events = EventStore(fabric, self.ledger, SHARDS)
        self.history = History(fabric)
        self.crons = Crons(fabric, registry, self.events, self.history, now=clock)

    @classmethod
    async def open(cls, fabric, profile_id=None, clock=None):
        """Open a server's share."""
        registry = await Registry.open(fabric, shards=SHARDS)
        if profile_id is None:
            profile_id = (await ensure_profile(registry, random_id())).id
        return cls(fabric, registry, profile_id, clock or Clock(datetime.now(UTC)))

    async def make(self, **fields):
        """Make a cron, due each minute unless said otherwise."""
        given = {"schedule": "* * * * *", "since": self.clock.now, "prompt": "Tidy up.", "timezone": "UTC"} | fields
        cron = Cron(id=new_id("crn"), profile_id=self.profile_id, created_at=self.clock.now, **given)
        await self.crons.create(cron)
        return cron

    async def runs(self, cron):
        """Read the due instants of the events that were stored, in order."""
        line, _ = subjects.maker_filters(
            subjects.shard_of(self.profile_id, SHARDS), self.profile_id, subjects.cron_maker(cron.id)
        )
        stored = await self.fabric.get_many(subjects.event_stream(subjects.shard_of(self.profile_id, SHARDS)), line)
        return [decode_event(each.headers, each.data)[0].scheduled_at for each in stored]

    async def armed(self, cron):
        """Read for which due instant a cron is armed; None where it is not."""
        subject = subjects.later_subject(KIND, self.profile_id, cron.id)
        stored = await self.fabric.get(later.STREAM, subject=subject)
        return None if stored is None else datetime.fromisoformat(stored.headers[DUE_HEADER])

    async def skipped(self):
        """Read what was skipped: reason and summary, newest first."""
        records = await self.history.newest(self.profile_id, limit=100, states={EventState.SKIPPED})
        return [(record.reason, record.summary) for record in records]

    def due(self, cron, moment, edition=None):
        """Build what the relay is given."""
        return Due(
            self.profile_id,
            cron.id,
            {DUE_HEADER: moment.isoformat(), EDITION_HEADER: str(edition or cron.edition)},
            b"",
        )

    @asynccontextmanager
    async def relaying(self):
        """Run this server's relay for a while."""
        relay = Relay(self.fabric)
        relay.on_due(KIND, self.crons.fire)
        await relay.open()
        await self.crons.open()
        running = asyncio.create_task(relay.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


NOON = datetime(2031, 3, 3, 12, 0, tzinfo=UTC)
"""In the future of any machine, so that NATS does not fire what a test fires by hand."""


@pytest.fixture
async def room(fabric):
    """A server over the run's NATS, at half a minute past noon."""
    return await Room.open(fabric, clock=Clock(NOON + MINUTE / 2))


async def test_a_due_cron_becomes_an_event_with_all_it_says(room):
    """Where it belongs, with the instant it was due, and the next one is armed."""
    cron = await room.make(tag="nightly", label="tidy", priority=Priority.PRIORITY)
    assert await room.armed(cron) == NOON + MINUTE
    room.clock.now = NOON + MINUTE
    await room.crons.fire(room.due(cron, NOON + MINUTE))
    address = Address(room.profile_id, "nightly")
    shard = subjects.shard_of(room.profile_id, SHARDS)
    (stored,) = await room.fabric.get_many(subjects.event_stream(shard), subjects.lane_filter(shard, address))
    event, body = decode_event(stored.headers, stored.data)

    assert (event.cron_id, event.label, event.priority, body) == (cron.id, "tidy", Priority.PRIORITY, b"Tidy up.")
    assert event.scheduled_at == NOON + MINUTE
    kept = await room.registry.find_cron(room.profile_id, cron.id)
    assert (kept.last_due, kept.last_run_at, kept.edition) == (NOON + MINUTE, NOON + MINUTE, 1)


async def test_what_is_given_again_runs_once_and_leaves_one_armed(fabric, room):
    """To the same server, to another one, at once and after the next was armed, and with its clock set back."""
    other = await Room.open(fabric, room.profile_id, room.clock)
    cron = await room.make()
    due = room.due(cron, NOON + MINUTE)
    room.clock.now = NOON + MINUTE
    await asyncio.gather(*(each.crons.fire(due) for each in (room, other, room, other)))
    room.clock.now = NOON - 3 * HOUR
    await other.crons.fire(due)
    await room.crons.fire(due)

    assert await room.runs(cron) == [NOON + MINUTE]
    assert next_run(await room.registry.find_cron(room.profile_id, cron.id)) == NOON + 2 * MINUTE


@pytest.mark.parametrize("step", ["store", "update_cron", "arm"])
async def test_a_server_that_dies_between_two_steps_loses_and_repeats_nothing(fabric, room, step, monkeypatch):
    """Another one is given the message and carries on."""
    cron = await room.make(overlap=Overlap.SKIP)  # which must not take its own event for an earlier one
    await later.disarm(fabric, KIND, room.profile_id, cron.id)  # it is due, so it is not armed any more
    due = room.due(cron, NOON + MINUTE)
    room.clock.now = NOON + MINUTE
    owner = {"store": room.events, "update_cron": room.registry, "arm": later}[step]
    carry_out = getattr(owner, step)

    async def carry_out_and_die(*arguments, **options):
        await carry_out(*arguments, **options)
        raise Unavailable("killed")

    monkeypatch.setattr(owner, step, carry_out_and_die)
    with suppress(Unavailable):
        await room.crons.fire(due)
    monkeypatch.setattr(owner, step, carry_out)
    other = await Room.open(fabric, room.profile_id, room.clock)
    await other.crons.fire(due)

    assert await room.runs(cron) == [NOON + MINUTE]
    assert await room.armed(cron) == NOON + 2 * MINUTE
    assert await room.skipped() == []


async def test_a_message_that_comes_again_much_later_changes_nothing(room):
    """A server hung with it while others went on: nothing was missed, and what they armed stays."""
    cron = await room.make()
    for number in (1, 2, 3):
        room.clock.now = NOON + number * MINUTE
        await room.crons.fire(room.due(cron, room.clock.now))
    await room.crons.fire(room.due(cron, NOON + MINUTE))

    assert await room.runs(cron) == [NOON + number * MINUTE for number in (1, 2, 3)]
    assert await room.skipped() == []


async def test_a_cron_that_is_changed_as_it_fires_runs_by_the_change(fabric, room, monkeypatch):
    """What the change armed is not replaced by what the firing server still knows."""
    cron = await room.make(schedule="0 * * * *")
    await later.disarm(fabric, KIND, room.profile_id, cron.id)
    other = await Room.open(fabric, room.profile_id, room.clock)
    update = room.registry.update_cron

    async def update_and_be_overtaken(*arguments):
        updated = await update(*arguments)
        await other.crons.change(room.profile_id, cron.id, lambda each: replaced(each, schedule="*/5 * * * *"))
        return updated

    monkeypatch.setattr(room.registry, "update_cron", update_and_be_overtaken)
    room.clock.now = NOON + HOUR
    await room.crons.fire(room.due(cron, NOON + HOUR))

    assert await room.runs(cron) == [NOON + HOUR]
    assert await room.armed(cron) == NOON + HOUR + 5 * MINUTE


async def test_an_event_that_was_acked_does_not_run_again(room):
    """Nor when it left its stream before the message of its cron was acked."""
    cron = await room.make()
    room.clock.now = NOON + MINUTE
    await room.crons.fire(room.due(cron, NOON + MINUTE))
    await room.ledger.drain()
    shard = subjects.shard_of(room.profile_id, SHARDS)
    await room.fabric.api(
        f"STREAM.PURGE.{subjects.event_stream(shard)}", {"filter": subjects.profile_filter(shard, room.profile_id)}
    )
    await room.crons.fire(room.due(cron, NOON + MINUTE))

    assert await room.runs(cron) == []


async def test_an_event_that_another_server_ended_does_not_run_again(fresh_fabric, fresh_natsd, monkeypatch):
    """Whoever stored it was killed before it said so anywhere, and then NATS was."""
    killed = await Room.open(fresh_fabric)
    other = await Room.open(await Fabric.open(fresh_natsd.auth, name="other"), killed.profile_id, killed.clock)
    begin = killed.clock.now.replace(second=0, microsecond=0)
    cron = await killed.make(since=begin)
    due = killed.due(cron, begin + MINUTE)
    killed.clock.now = begin + MINUTE
    monkeypatch.setattr(killed.ledger, "note", lambda *_: None)
    store = killed.events.store

    async def store_and_die(*arguments, **options):
        await store(*arguments, **options)
        raise Unavailable("killed")

    monkeypatch.setattr(killed.events, "store", store_and_die)
    with suppress(Unavailable):
        await killed.crons.fire(due)
    address = Address(other.profile_id, None)
    shard = subjects.shard_of(other.profile_id, SHARDS)
    (stored,) = await other.fabric.get_many(subjects.event_stream(shard), subjects.lane_filter(shard, address))
    await other.events.may_end(address, decode_event(stored.headers, stored.data)[0])
    await other.fabric.delete(subjects.event_stream(shard), stored.sequence)
    fresh_natsd.restart()
    await eventually(lambda: fired(other, due), timeout=15)

    assert await other.runs(cron) == []
    await other.fabric.close()


async def fired(room, due):
    """Whether a message is done with."""
    with suppress(Unavailable):
        await room.crons.fire(due)
        return True
    return False


@pytest.mark.parametrize("missed", Missed)
@pytest.mark.parametrize("step", ["update_cron", "store"])
async def test_what_was_decided_before_a_kill_is_carried_out_after_it(room, missed, step, monkeypatch):
    """Its server was killed before it could go on, and others are back hours later: nothing of it is skipped."""
    cron = await room.make(missed=missed)
    due = room.due(cron, NOON + MINUTE)
    room.clock.now = NOON + MINUTE
    owner = {"update_cron": room.registry, "store": room.events}[step]
    carry_out = getattr(owner, step)

    async def carry_out_and_die(*arguments, **options):
        await carry_out(*arguments, **options)
        raise Unavailable("killed")

    with monkeypatch.context() as patch, suppress(Unavailable):
        patch.setattr(owner, step, carry_out_and_die)
        await room.crons.fire(due)
    room.clock.now = NOON + 200 * MINUTE
    await room.crons.fire(due)
    assert await room.skipped() == []
    await room.crons.fire(room.due(cron, NOON + 2 * MINUTE))

    kept = {Missed.ALL: range(101, 201), Missed.LATEST: [200], Missed.NONE: [200]}[missed]
    assert await room.runs(cron) == [NOON + number * MINUTE for number in (1, *kept)]
    ((_, text),) = await room.skipped()
    assert text.startswith(f"{199 - len(kept)} runs that were due from 2031-03-03T12:02:00Z to ")


@pytest.mark.parametrize("missed", [Missed.LATEST, Missed.NONE])
@pytest.mark.parametrize("once", [False, True])
async def test_an_instant_that_one_server_decided_to_run_is_skipped_by_no_other(
    fabric, room, missed, once, monkeypatch
):
    """It hung before it ran it, another was given the message hours later, and then the first came back."""
    at = NOON + MINUTE
    cron = await room.make(missed=missed, **({"schedule": None, "once": at} if once else {}))
    due, reached, go_on = room.due(cron, at), asyncio.Event(), asyncio.Event()
    store = room.events.store

    async def hang(*arguments, **options):
        reached.set()
        await go_on.wait()
        return await store(*arguments, **options)

    monkeypatch.setattr(room.events, "store", hang)
    room.clock.now = at
    hanging = asyncio.create_task(room.crons.fire(due))
    await reached.wait()
    other = await Room.open(fabric, room.profile_id, Clock(at + 3 * 24 * HOUR))
    await other.crons.fire(due)
    go_on.set()
    await hanging

    assert await room.runs(cron) == [at]
    assert await room.skipped() == []


async def test_an_instant_that_one_server_skipped_is_run_by_no_other(fabric, room, monkeypatch):
    """The earlier run ended just after it was looked for; its message was given to another server too."""
    cron = await room.make(overlap=Overlap.SKIP)
    room.clock.now = NOON + MINUTE
    await room.crons.fire(room.due(cron, NOON + MINUTE))
    other = await Room.open(fabric, room.profile_id, Clock(NOON + 2 * MINUTE))
    due = room.due(cron, NOON + 2 * MINUTE)
    record = room.history.record_skip

    async def record_after_all(*arguments):
        shard = subjects.shard_of(room.profile_id, SHARDS)
        await fabric.api(
            f"STREAM.PURGE.{subjects.event_stream(shard)}", {"filter": subjects.profile_filter(shard, room.profile_id)}
        )
        await other.crons.fire(due)
        await record(*arguments)

    monkeypatch.setattr(room.history, "record_skip", record_after_all)
    room.clock.now = NOON + 2 * MINUTE
    await room.crons.fire(due)

    assert await room.runs(cron) == []
    ((reason, _),) = await room.skipped()
    assert reason == "overlap"


@pytest.mark.parametrize("step", ["update_cron", "store", "delete_cron"])
async def test_a_one_time_cron_that_is_changed_as_it_fires_stays(fabric, room, step, monkeypatch):
    """Whenever that is: it runs at its old time, and at its new one."""
    cron = await room.make(schedule=None, once=NOON + MINUTE)
    other = await Room.open(fabric, room.profile_id, room.clock)
    owner = room.events if step == "store" else room.registry
    carry_out = getattr(owner, step)

    async def be_overtaken(*arguments, **options):
        monkeypatch.setattr(owner, step, carry_out)
        await other.crons.change(room.profile_id, cron.id, lambda each: replaced(each, once=NOON + HOUR))
        return await carry_out(*arguments, **options)

    monkeypatch.setattr(owner, step, be_overtaken)
    room.clock.now = NOON + MINUTE
    await room.crons.fire(room.due(cron, NOON + MINUTE))
    kept = await room.registry.find_cron(room.profile_id, cron.id)

    assert kept.once == NOON + HOUR
    assert await room.armed(cron) == NOON + HOUR
    assert await room.runs(cron) == ([] if step == "update_cron" else [NOON + MINUTE])
    await later.disarm(fabric, KIND, room.profile_id, cron.id)
    room.clock.now = NOON + HOUR
    await room.crons.fire(room.due(kept, NOON + HOUR))
    assert (await room.runs(cron))[-1] == NOON + HOUR
    assert await room.registry.find_cron(room.profile_id, cron.id) is None


async def test_a_label_that_is_changed_as_a_one_time_cron_fires_runs_nothing_twice(fabric, room, monkeypatch):
    """And the cron goes, since it has had its time."""
    cron = await room.make(schedule=None, once=NOON + MINUTE)
    other = await Room.open(fabric, room.profile_id, room.clock)
    delete = room.registry.delete_cron

    async def be_overtaken(*arguments, **options):
        monkeypatch.setattr(room.registry, "delete_cron", delete)
        await other.crons.change(room.profile_id, cron.id, lambda each: replaced(each, label="new"))
        return await delete(*arguments, **options)

    monkeypatch.setattr(room.registry, "delete_cron", be_overtaken)
    room.clock.now = NOON + MINUTE
    await room.crons.fire(room.due(cron, NOON + MINUTE))
    await room.crons.fire(room.due(cron, NOON + MINUTE, edition=2))

    assert await room.runs(cron) == [NOON + MINUTE]
    assert await other.registry.find_cron(room.profile_id, cron.id) is None


async def test_weeks_of_minutes_are_made_up_for_beside_the_loop(room):
    """Many crons at once, while the loop has its turn all the time; and what was skipped is counted exactly."""
    crons = [await room.make(schedule=f"{number}-59 * * * *", timezone="Europe/Berlin") for number in range(10)]
    room.clock.now = NOON + timedelta(days=30)
    turns, ended = 0, asyncio.Event()

    async def take_turns():
        nonlocal turns
        while not ended.is_set():
            turns += 1
            await asyncio.sleep(0)

    looking = asyncio.create_task(take_turns())
    await asyncio.gather(*(room.crons.fire(room.due(cron, NOON + 10 * MINUTE)) for cron in crons))
    ended.set()
    await looking

    assert turns > 100
    texts = sorted(text.partition(" from")[0] for _, text in await room.skipped())
    assert texts == sorted(f"{49 + 719 * (60 - number) + (number == 0)} runs that were due" for number in range(10))


async def test_what_was_skipped_before_a_kill_is_skipped_after_it(room, monkeypatch):
    """And what ran has run, though by then a later one is the latest."""
    cron = await room.make()
    await later.disarm(room.fabric, KIND, room.profile_id, cron.id)
    due = room.due(cron, NOON + MINUTE)
    room.clock.now = NOON + 10 * MINUTE
    with monkeypatch.context() as patch, suppress(Unavailable):
        store = room.events.store

        async def store_and_die(*arguments, **options):
            await store(*arguments, **options)
            raise Unavailable("killed")

        patch.setattr(room.events, "store", store_and_die)
        await room.crons.fire(due)
    room.clock.now = NOON + 15 * MINUTE
    await room.crons.fire(due)
    again = await room.armed(cron)
    await room.crons.fire(room.due(cron, again))

    assert again == NOON + 11 * MINUTE
    assert await room.runs(cron) == [NOON + number * MINUTE for number in (10, 15)]
    second, first = [text for _, text in await room.skipped()]
    assert first.startswith("9 runs that were due from 2031-03-03T12:01:00Z to 2031-03-03T12:09:00Z")
    assert second.startswith("4 runs that were due from 2031-03-03T12:11:00Z to 2031-03-03T12:14:00Z")


async def test_missed_runs_follow_the_policy_and_are_in_the_history(room):
    """Three hours later: one, none, or all."""
    crons = {missed: await room.make(schedule="0 * * * *", missed=missed) for missed in Missed}
    room.clock.now = NOON + 3.5 * HOUR
    for cron in crons.values():
        await room.crons.fire(room.due(cron, NOON + HOUR))

    assert await room.runs(crons[Missed.LATEST]) == [NOON + 3 * HOUR]
    assert await room.runs(crons[Missed.NONE]) == []
    assert await room.runs(crons[Missed.ALL]) == [NOON + number * HOUR for number in (1, 2, 3)]
    for cron in crons.values():
        kept = await room.registry.find_cron(room.profile_id, cron.id)
        assert (kept.last_due, next_run(kept)) == (NOON + 3 * HOUR, NOON + 4 * HOUR)
    none, latest = await room.skipped()
    assert none[0] == latest[0] == "missed"
    assert none[1].startswith("3 runs that were due from 2031-03-03T13:00:00Z to 2031-03-03T15:00:00Z")
    assert latest[1].startswith("2 runs that were due from 2031-03-03T13:00:00Z to 2031-03-03T14:00:00Z")


async def test_a_cron_that_skips_does_so_while_an_earlier_run_has_not_ended(room):
    """A queueing one does not; once the run has ended it goes on."""
    queueing, skipping = await room.make(), await room.make(overlap=Overlap.SKIP)
    for number in (1, 2):
        room.clock.now = NOON + number * MINUTE
        for cron in (queueing, skipping):
            await room.crons.fire(room.due(cron, room.clock.now))
    (first,) = await room.runs(skipping)

    assert (first, len(await room.runs(queueing))) == (NOON + MINUTE, 2)
    ((reason, text),) = await room.skipped()
    assert reason == "overlap"
    assert text.startswith("due at 2031-03-03T12:02:00Z, while evt_")
    shard = subjects.shard_of(room.profile_id, SHARDS)
    maker, _ = subjects.maker_filters(shard, room.profile_id, subjects.cron_maker(skipping.id))
    await room.fabric.api(f"STREAM.PURGE.{subjects.event_stream(shard)}", {"filter": maker})
    room.clock.now = NOON + 3 * MINUTE
    await room.crons.fire(room.due(skipping, room.clock.now))
    assert await room.runs(skipping) == [NOON + 3 * MINUTE]


async def test_what_is_armed_for_another_edition_does_not_run(room):
    """A cron that was changed, paused or deleted while the message was on its way."""
    changed, paused, deleted = await room.make(), await room.make(), await room.make()
    old = room.due(changed, NOON + MINUTE)
    edit = {"schedule": "0 13 * * *"}
    await room.crons.change(room.profile_id, changed.id, lambda cron: replaced(cron, **edit))
    await room.crons.change(room.profile_id, paused.id, lambda cron: replaced(cron, paused=True))
    await room.crons.delete(room.profile_id, deleted.id)
    for cron in (changed, paused, deleted):
        await room.crons.fire(old if cron is changed else room.due(cron, NOON + MINUTE, edition=2))

    assert [await room.runs(cron) for cron in (changed, paused, deleted)] == [[], [], []]
    assert [await room.armed(cron) for cron in (changed, paused, deleted)] == [NOON + HOUR, None, None]


def replaced(cron, **fields):
    """Change a cron's fields."""
    return msgspec.structs.replace(cron, **fields)


async def test_once_runs_once_and_deletes_itself(room):
    """Late by less than a day it still runs."""
    cron = await room.make(schedule=None, once=NOON + HOUR)
    assert await room.armed(cron) == NOON + HOUR
    room.clock.now = NOON + 2 * HOUR
    due = room.due(cron, NOON + HOUR)
    await room.crons.fire(due)
    await room.crons.fire(due)

    assert await room.runs(cron) == [NOON + HOUR]
    assert await room.registry.find_cron(room.profile_id, cron.id) is None


async def test_jitter_delays_the_run_and_not_the_instant(room):
    """It is the same at each run, and no reason to miss one."""
    cron = await room.make(jitter_seconds=3600, missed=Missed.NONE, schedule="0 * * * *")
    late = firing.jitter(cron)
    stored = await room.fabric.get(later.STREAM, subject=subjects.later_subject(KIND, room.profile_id, cron.id))
    room.clock.now = NOON + HOUR + late
    await room.crons.fire(room.due(cron, NOON + HOUR))

    assert later.armed_for(stored.headers) == NOON + HOUR + late
    assert timedelta(0) <= late <= HOUR
    assert await room.runs(cron) == [NOON + HOUR]


async def test_a_cron_that_nobody_armed_is_armed_at_the_start(fabric, room):
    """Its server was killed after it was stored; what is armed, paused or due already is left alone."""
    lost, armed, paused = await room.make(), await room.make(), await room.make(paused=True)
    await later.disarm(fabric, KIND, room.profile_id, lost.id)
    room.clock.now = NOON + 10 * MINUTE
    other = await Room.open(fabric, room.profile_id, room.clock)
    await asyncio.gather(other.crons.reconcile(), room.crons.reconcile())

    assert [await room.armed(cron) for cron in (lost, armed, paused)] == [NOON + MINUTE, NOON + MINUTE, None]


async def test_two_servers_and_a_killed_nats_run_each_instant_once(fresh_fabric, fresh_natsd, monkeypatch):
    """Past instants in a row, NATS killed among them: each runs once, in order."""
    # What was taken as NATS was killed is given again after this time.
    monkeypatch.setattr(later, "ACK_WAIT_SECONDS", 1.0)
    begin = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=2)
    clock = Clock(begin)
    one = await Room.open(fresh_fabric, clock=clock)
    two = await Room.open(fresh_fabric, one.profile_id, clock)
    async with one.relaying(), two.relaying():
        # By this clock each is due now, by that of NATS long ago: so the chain runs as fast as it can.
        clock.now = begin + timedelta(seconds=30)
        crons = [await one.make(since=begin) for _ in range(3)]
        await eventually(lambda: at_least(one, crons, 8), timeout=20)
        fresh_natsd.kill9()
        fresh_natsd.start()
        await eventually(lambda: at_least(one, crons, 16), timeout=30)
    for cron in crons:
        runs = await one.runs(cron)
        assert runs == [begin + number * MINUTE for number in range(1, len(runs) + 1)]


async def at_least(room, crons, number):
    """Whether every cron has run so often."""
    with suppress(Unavailable):
        return all([len(await room.runs(cron)) >= number for cron in crons])
    return False


def test_a_stamp_is_utc():
    """It is part of ids, so it must not depend on how an instant is written."""
    assert stamp(datetime.fromisoformat("2031-03-03T13:00:00+01:00")) == "2031-03-03T12:00:00Z"


# --- one bad cron ---------------------------------------------------------------------------------------------------


END_OF_TIME = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


async def spoil(room, **fields):
    """Store a record that no server of today would, as an older one did."""
    cron = Cron(
        id=new_id("crn"),
        profile_id=room.profile_id,
        created_at=room.clock.now,
        since=room.clock.now,
        prompt="Tidy up.",
        **{"timezone": "UTC", **fields},
    )
    await room.registry.create_cron(cron)
    return cron


@pytest.mark.parametrize(
    "fields",
    [
        {"once": END_OF_TIME, "jitter_seconds": 3600},
        {"once": END_OF_TIME},
        {"once": datetime(2300, 1, 1, tzinfo=UTC)},
        {"schedule": "0 0 31 2 *"},
        {"schedule": "nonsense"},
        {"schedule": "* * * * *", "timezone": "Mars/Olympus"},
    ],
)
async def test_a_cron_that_cannot_be_armed_stops_no_other(room, fields):
    """The server starts, the others are armed, and the one is named with its reason."""
    bad = [await spoil(room, **fields) for _ in range(2)]
    good = await spoil(room, schedule="* * * * *")
    await room.crons.open()

    assert await room.armed(good) == NOON + MINUTE
    for cron in bad:
        assert await room.armed(cron) is None
        assert room.crons.why_aside(cron)
    await room.crons.delete(room.profile_id, bad[0].id)
    assert room.crons.why_aside(bad[0]) is None


async def test_a_bug_that_one_cron_meets_stops_no_other(room, monkeypatch):
    """Whatever it raises."""
    bad, good = await spoil(room, schedule="0 1 * * *"), await spoil(room, schedule="* * * * *")
    find = firing.next_run

    def fail_for_one(cron):
        if cron.id == bad.id:
            raise ZeroDivisionError
        return find(cron)

    monkeypatch.setattr(firing, "next_run", fail_for_one)
    await room.crons.reconcile()

    assert await room.armed(good) == NOON + MINUTE
    assert room.crons.why_aside(bad) == firing.UNKNOWN


async def test_nothing_is_stored_that_cannot_be_armed(room):
    """Neither made nor changed to it."""
    for once in (END_OF_TIME, NOON + timedelta(days=3660)):
        with pytest.raises(Rejected):
            await room.make(schedule=None, once=once, jitter_seconds=3600)
    cron = await room.make(schedule=None, once=NOON + timedelta(days=3600), jitter_seconds=3600)
    with pytest.raises(Rejected):
        await room.crons.change(room.profile_id, cron.id, lambda each: replaced(each, once=END_OF_TIME))

    assert [each.once for each in room.registry.list_crons(room.profile_id)] == [cron.once]
    assert await room.armed(cron) == cron.once


@pytest.mark.parametrize("fields", [{"once": END_OF_TIME}, {"once": NOON + timedelta(days=2)}])
async def test_what_nats_publishes_before_its_time_does_not_run(room, fields):
    """NATS takes a time after 2262 for one that has passed, and its clock may be ahead."""
    cron = await spoil(room, **fields)
    with suppress(Rejected):
        await room.crons.fire(room.due(cron, cron.once))

    assert await room.runs(cron) == []
    assert await room.registry.find_cron(room.profile_id, cron.id) == cron


async def test_a_cron_of_another_session_is_skipped_where_messages_are_off(room):
    """Set before they were; what a person or the session itself has set runs on."""
    quiet = Address(room.profile_id, "quiet")
    await room.registry.keep_messaging(quiet, allowed=False)
    authors = (session_author("mallory"), session_author("quiet"), PERSON, None)
    foreign, *others = [await room.make(tag="quiet", set_by=author) for author in authors]
    room.clock.now += MINUTE
    for cron in (foreign, *others):
        await room.crons.fire(room.due(cron, NOON + MINUTE))

    assert [len(await room.runs(cron)) for cron in (foreign, *others)] == [0, 1, 1, 1]
    assert [reason for reason, _ in await room.skipped()] == ["messages_off"]


async def test_what_is_dropped_pushes_no_skip_out_of_the_history(room):
    """However much a source sends that no route wants."""
    cron = await room.make(missed=Missed.NONE)
    room.clock.now = NOON + HOUR
    await room.crons.fire(room.due(cron, NOON + MINUTE))
    for number in range(201):
        record = HistoryRecord(f"evt_{number}", "webhook", EventState.DROPPED, NOON, path="/github")
        await room.history.record_drop(room.profile_id, record)

    ((reason, text),) = await room.skipped()
    assert reason == "missed"
    assert text.startswith("59 runs that were due ")
