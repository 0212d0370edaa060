"""What waits and what is dead, over a real nats-server."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from clawback.errors import BadPayload, Unavailable
from clawback.fabric import streams, subjects
from clawback.model import Address, Event, EventState, Held, Origin, Priority, encode_json, new_id, random_id
from clawback.store.events import DEFERRED, EVENT_HEADER, LINE_HEADER, EventStore
from clawback.store.inventory import MAX_WAITING_WALKS, START, Inventory
from clawback.store.later import Due
from clawback.store.ledger import Ledger
from clawback.store.stacks import Stacks
from conftest import SHARDS
from waiting import eventually

MAKER = subjects.source_maker("src_a")


@pytest.fixture
def address():
    """An address of a profile of the test's own."""
    return Address(random_id(16), "builds")


@pytest.fixture
def events(fabric):
    """The streams of events."""
    return EventStore(fabric, Ledger(fabric), SHARDS)


@pytest.fixture
def inventory(fabric, events):
    """What is to be tested."""
    return Inventory(fabric, events, Stacks(fabric, SHARDS), SHARDS)


def an_event(**fields):
    """Make an event of a webhook."""
    return Event(new_id("evt"), Origin.WEBHOOK, Priority.NORMAL, datetime.now(UTC), source_id="src_a", **fields)


async def store(events, address, body=b"", **fields):
    """Store an event and return its id."""
    event = an_event(**fields)
    await events.store(address, event, body, maker=MAKER, patience_s=5)
    return event.id


async def test_everything_is_listed_by_how_long_it_is_where_it_is(fabric, events, inventory, address):
    """Waiting, held, deferred and dead events of all tags in one list; narrowed by state, tag and number."""
    other = Address(address.profile_id)
    waiting = await store(events, address)
    held = await store(events, other)
    stream = subjects.event_stream(subjects.shard_of(address.profile_id, SHARDS))
    shard = subjects.shard_of(address.profile_id, SHARDS)
    stored = await fabric.get(stream, subject=subjects.event_subject(shard, other, Priority.NORMAL, MAKER))
    await Stacks(fabric, SHARDS).store(other, [Held(held, stored.sequence, Priority.NORMAL, attempt=3)])
    dead, late = an_event(attempts=2), an_event()
    await events.bury(address, dead, b"", reason="crash_loop")
    await events.bury(other, late, b"", reason="timed_out")
    deferred = an_event(attempts=1)
    returns_at = datetime.now(UTC) + timedelta(hours=1)
    await events.put_back(other, deferred, b"", sequence=stored.sequence, at=returns_at)
    found = await inventory.oldest(address.profile_id, limit=10)

    async def ids(**fields):
        return [item.event_id for item in await inventory.oldest(address.profile_id, **{"limit": 10, **fields})]

    assert [(item.event_id, item.state, item.address, item.attempts, item.reason) for item in found] == [
        (waiting, EventState.QUEUED, address, 0, None),
        (held, EventState.OFFERED, other, 3, None),
        (dead.id, EventState.DEAD, address, 2, "crash_loop"),
        (late.id, EventState.TIMED_OUT, other, 0, "timed_out"),
        (deferred.id, EventState.QUEUED, other, 1, None),
    ]
    assert abs(found[-1].returns_at - returns_at) < timedelta(milliseconds=1)
    assert await ids(limit=2) == [waiting, held]
    assert await ids(states={EventState.QUEUED}) == [waiting, deferred.id]
    assert await ids(states={EventState.DEAD}) == [dead.id]
    assert await ids(at=other) == [held, late.id, deferred.id]
    assert await inventory.oldest(random_id(16), limit=10) == []


async def test_a_long_list_is_read_in_pages(events, inventory, address, monkeypatch):
    """However many messages and bytes a page holds, also where one message is larger than a page."""
    monkeypatch.setattr(streams, "WALK_BYTES", 1000)
    expected = [await store(events, address, b"x" * size) for size in [10, 5000, 400, 400, 400] * 3]
    for messages in (1, 2, 64):
        monkeypatch.setattr(streams, "WALK_MESSAGES", messages)
        found = await inventory.oldest(address.profile_id, limit=100)

        assert [item.event_id for item in found] == expected


async def test_what_nobody_can_read_is_listed_when_it_is_dead(fabric, events, inventory, address):
    """In a line it is passed over: it becomes a dead letter in its turn. It cannot be replayed, and stays."""
    shard = subjects.shard_of(address.profile_id, SHARDS)
    await fabric.publish(subjects.event_subject(shard, address, Priority.NORMAL, "x"), b"junk")
    await events.bury_unreadable(address, {"X-Mine": "1"}, b"junk")
    (item,) = await inventory.oldest(address.profile_id, limit=10)
    letter = await events.find_dead(address.profile_id, item.event_id)
    with pytest.raises(BadPayload):
        await events.replay(letter, new_id("evt"), datetime.now(UTC))

    assert (item.state, item.reason, item.event) == (EventState.DEAD, "unreadable", None)
    assert await events.find_dead(address.profile_id, item.event_id) == letter


async def test_a_big_dead_letter_is_replayed_whole(fabric, events, address):
    """Its body is moved as it is stored, compressed or not."""
    event = an_event(delivery_id="d-1")
    await events.store(address, event, b"x" * 1_000_000, maker=MAKER, patience_s=5)
    await events.bury(address, event, b"x" * 1_000_000, reason="timed_out")
    await events.replay(await events.find_dead(address.profile_id, event.id), "evt_again", datetime.now(UTC))
    shard = subjects.shard_of(address.profile_id, SHARDS)
    subject = subjects.event_subject(shard, address, Priority.NORMAL, MAKER)
    first, second = await fabric.get_many(subjects.event_stream(shard), subject)

    assert second.data == first.data
    assert await events.find_dead(address.profile_id, event.id) is None


async def test_what_came_due_and_is_no_event_is_refused(events, address):
    """Somebody published it by hand: it goes nowhere."""
    shard = subjects.shard_of(address.profile_id, SHARDS)
    line = subjects.event_subject(shard, address, Priority.NORMAL, MAKER)
    header = '{"id":"evt_a","origin":"webhook","priority":"normal","createdAt":"2026-11-23T12:00:00Z"}'
    for headers in (
        {},
        {"Clawback-Event": header},
        {"Clawback-Event": header, "Clawback-Line": line},
        {"Clawback-Event": header, "Clawback-Line": "stack.p._", "Clawback-Return-Id": "x"},
        {"Clawback-Event": header.replace("evt_a", "evt a"), "Clawback-Line": line, "Clawback-Return-Id": "x"},
    ):
        with pytest.raises(BadPayload):
            await events.take_back(Due(address.profile_id, "evt_a", headers, b""))


async def test_a_lane_shows_what_is_held_and_what_leaves_next(fabric, events, inventory, address):
    """Held in the stack's order, the first that wait in the order they leave, the others counted."""
    shard = subjects.shard_of(address.profile_id, SHARDS)
    stream = subjects.event_stream(shard)
    held = []
    for number, priority in enumerate((Priority.NORMAL, Priority.INTERRUPT)):
        event = msgspec.structs.replace(an_event(), priority=priority)
        await events.store(address, event, b"", maker=MAKER, patience_s=5)
        line = subjects.event_subject(shard, address, priority, MAKER)
        stored = await fabric.get(stream, subject=line)
        held.append(Held(event.id, stored.sequence, priority, attempt=number + 1))
    await Stacks(fabric, SHARDS).store(address, held)
    normal = [await store(events, address) for _ in range(3)]
    urgent = msgspec.structs.replace(an_event(), priority=Priority.PRIORITY)
    await events.store(address, urgent, b"", maker=MAKER, patience_s=5)
    other = Address(address.profile_id)
    elsewhere = await store(events, other)
    deferred = an_event(attempts=1)
    returns_at = datetime.now(UTC) + timedelta(hours=1)
    await events.put_back(address, deferred, b"", sequence=stored.sequence, at=returns_at)
    untagged, tagged = await inventory.lanes(address.profile_id, first=2, most=10)

    assert (tagged.address, untagged.address) == (address, other)
    assert [(item.event_id, item.attempts, item.state) for item in tagged.held] == [
        (each.event_id, each.attempt, EventState.OFFERED) for each in held
    ]
    assert [item.event_id for item in tagged.first] == [urgent.id, normal[0]]
    assert tagged.waiting == 4
    assert [item.event_id for item in untagged.first] == [elsewhere]
    assert [item.event_id for item in tagged.deferred] == [deferred.id]
    assert (untagged.waiting, untagged.held, untagged.deferred) == (1, [], [])
    assert await inventory.lanes(random_id(16), first=2, most=10) == []
    assert len(await inventory.lanes(address.profile_id, first=2, most=1)) == 1


async def test_an_event_is_found_wherever_it_is(fabric, events, inventory, address):
    """In its line, on a stack, out of line or dead; by nobody of another profile, nor by a wildcard."""
    waiting = await store(events, address, b"waits")
    held = await store(events, address, b"is held")
    shard = subjects.shard_of(address.profile_id, SHARDS)
    line = subjects.event_subject(shard, address, Priority.NORMAL, MAKER)
    stored = await fabric.get(subjects.event_stream(shard), subject=line)
    await Stacks(fabric, SHARDS).store(address, [Held(held, stored.sequence, Priority.NORMAL, attempt=3)])
    dead, deferred = an_event(attempts=2), an_event(attempts=1)
    await events.bury(address, dead, b"is dead", reason="crash_loop")
    returns_at = datetime.now(UTC) + timedelta(hours=1)
    await events.put_back(address, deferred, b"returns", sequence=stored.sequence, at=returns_at)
    found = [await inventory.find(address.profile_id, id_) for id_ in (waiting, held, dead.id, deferred.id)]

    assert [(each.item.event_id, each.item.state, each.item.attempts, each.stored.data) for each in found] == [
        (waiting, EventState.QUEUED, 0, b"waits"),
        (held, EventState.OFFERED, 3, b"is held"),
        (dead.id, EventState.DEAD, 2, b"is dead"),
        (deferred.id, EventState.QUEUED, 1, b"returns"),
    ]
    assert found[1].item.held.attempt == 3
    assert found[3].item.returns_at is not None
    for unknown in (new_id("evt"), "*", ">", "", "evt.x"):
        assert await inventory.find(address.profile_id, unknown) is None
    assert await inventory.find(random_id(16), waiting) is None


async def test_a_list_of_the_dead_does_not_read_what_waits(events, inventory, address, monkeypatch):
    """A hundred thousand events may wait."""
    await store(events, address)
    dead = an_event()
    await events.bury(address, dead, b"", reason="failed")
    read = []
    walk = inventory._fabric.walk
    monkeypatch.setattr(
        inventory._fabric,
        "walk",
        lambda stream, *rest, **options: read.append(stream) or walk(stream, *rest, **options),
    )
    found = await inventory.oldest(address.profile_id, limit=10, states={EventState.DEAD})

    assert [item.event_id for item in found] == [dead.id]
    assert read == ["DEAD"]


async def test_a_reader_goes_on_where_a_page_ended(fabric, events, inventory, address):
    """Page by page everything once, whatever stream it is in and however the clock of one of them ran."""
    other = Address(address.profile_id)
    for number in range(3):
        await store(events, address if number % 2 else other)
        await events.bury(address, an_event(), b"", reason="failed")
    shard = subjects.shard_of(address.profile_id, SHARDS)
    line = subjects.event_subject(shard, other, Priority.NORMAL, MAKER)
    stored = await fabric.get(subjects.event_stream(shard), subject=line)
    for _ in range(2):
        later = datetime.now(UTC) + timedelta(hours=1)
        await events.put_back(other, an_event(), b"", sequence=stored.sequence, at=later)
    whole = await inventory.oldest(address.profile_id, limit=100)
    paged, seen = [], START
    while page := await inventory.oldest(address.profile_id, limit=3, seen=seen):
        paged += page
        seen = seen.after(page)

    assert len(whole) == 8
    assert paged == whole
    assert await inventory.oldest(address.profile_id, limit=3, seen=START.after(whole)) == []


async def test_what_a_stranger_published_hides_nothing(fabric, events, inventory, address):
    """Subjects that are none of ours, with an event in them or not; in line, out of line and among the dead."""
    waiting, dead = await store(events, address), an_event()
    await events.bury(address, dead, b"", reason="crash_loop")
    shard = subjects.shard_of(address.profile_id, SHARDS)
    header = {EVENT_HEADER: encode_json(an_event()).decode()}
    line = subjects.event_subject(shard, address, Priority.NORMAL, MAKER)
    for headers in (header, {}):
        await fabric.publish(f"evt.{shard}.{address.profile_id}.what", b"", headers=headers)
        await fabric.publish(f"dead.{address.profile_id}.what", b"", headers=headers)
        for name, ticket in (("a", {}), ("b", {LINE_HEADER: line})):
            subject = subjects.later_subject(DEFERRED, address.profile_id, name)
            await fabric.publish(subject, b"", headers=headers | ticket)
    listed = await inventory.oldest(address.profile_id, limit=100)
    lanes = await inventory.lanes(address.profile_id, first=5, most=5)

    assert [item.event_id for item in listed] == [waiting, dead.id]
    assert [item.event_id for lane in lanes for item in lane.first] == [waiting]
    assert await inventory.find(address.profile_id, new_id("evt")) is None


async def test_look_ups_of_what_is_not_there_come_one_after_another(fabric, events, inventory, address, monkeypatch):
    """Each reads through the lines: a profile has one at a time, some wait, and more than that are refused."""
    await store(events, address, b"x" * 1000)
    walk, walking, most, go_on = fabric.walk, 0, 0, asyncio.Event()

    async def slow(*arguments, **options):
        nonlocal walking, most
        walking += 1
        most = max(most, walking)
        await go_on.wait()
        async for stored in walk(*arguments, **options):
            yield stored
        walking -= 1

    monkeypatch.setattr(fabric, "walk", slow)
    unknown = new_id("evt")
    asked = [asyncio.create_task(inventory.find(address.profile_id, unknown)) for _ in range(MAX_WAITING_WALKS + 3)]
    await eventually(lambda: sum(task.done() for task in asked) == 3)
    go_on.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)

    assert most == 1
    assert sum(isinstance(answer, Unavailable) for answer in answers) == 3
    assert answers.count(None) == MAX_WAITING_WALKS


async def test_a_deferred_event_is_found_by_its_name(fabric, events, inventory, address, monkeypatch):
    """However many wait out of line, none is read for it."""
    deferred = an_event()
    await events.store(address, deferred, b"", maker=MAKER, patience_s=5)
    shard = subjects.shard_of(address.profile_id, SHARDS)
    subject = subjects.event_subject(shard, address, Priority.NORMAL, MAKER)
    stored = await fabric.get(subjects.event_stream(shard), subject=subject)
    later = datetime.now(UTC) + timedelta(hours=1)
    await events.put_back(address, deferred, b"", sequence=stored.sequence, at=later)
    monkeypatch.delattr(EventStore, "deferred")

    assert (await inventory.find(address.profile_id, deferred.id)).item.returns_at is not None
