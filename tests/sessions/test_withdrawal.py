"""Deleting a source: what waits of it is set aside by a job, what is held is left to its session; none ends twice."""

import asyncio
import contextlib
from datetime import UTC, datetime

import pytest

from clawback.errors import Unavailable
from clawback.fabric import subjects
from clawback.model import EventState, Priority
from clawback.sessions.withdrawal import SOURCE_DELETED
from clawback.store import registry
from clawback.store.events import UNREADABLE, decode_event
from clawback.store.later import WITHDRAWAL, Due
from houses import House
from waiting import eventually


async def make_source(peer, slug="hub"):
    """Make a source and return its id."""
    made = await peer.ask("source_create", slug=slug, verifierType="none", skill="/go")
    return made["data"]["id"]


async def dead(house, tag=None):
    """The dead letters of a tag for this reason, as ids and bodies."""
    stored = await house.fabric.get_many("DEAD", subjects.dead_subject(house.address(tag), SOURCE_DELETED, "*"))
    return [(event.id, body) for event, body in (decode_event(each.headers, each.data) for each in stored)]


async def test_source_delete_withdraws_what_waits_and_leaves_what_is_in_flight(house):
    """Over the wire: the one in flight is acked as ever, the others are dead letters that say why."""
    peer = await house.connect(instanceId="i")
    source_id = await make_source(peer)
    ids = [await house.publish(f"work {number}", source_id=source_id) for number in range(4)]
    urgent = await house.publish("later", source_id=source_id, priority=Priority.PRIORITY)
    other = await house.publish("other source", source_id="src_b")
    assert await peer.event() == ("work 0", 1)
    answer = await peer.ask("source_delete", sourceId=source_id)
    receipt = await peer.ack(ids[0])
    after = await peer.event()
    history = await house.history.newest(house.profile.id, limit=10)

    assert answer["data"] == {"removed": True}
    assert receipt["settled"]
    assert after == ("other source", 1)
    assert sorted(await dead(house)) == sorted(
        [(ids[number], f"work {number}".encode()) for number in (1, 2, 3)] + [(urgent, b"later")]
    )
    assert {record.event_id: (record.state, record.reason) for record in history} == {
        ids[0]: (EventState.ACKED, None),
        **dict.fromkeys((*ids[1:], urgent), (EventState.DEAD, SOURCE_DELETED)),
    }
    assert [held.event_id for held in await house.held()] == [other]


async def test_what_waits_is_withdrawn_at_every_tag(house):
    """A source whose tag was another once has events there, too; nobody has to be connected there."""
    peer = await house.connect(sessionTag="elsewhere", instanceId="i")
    source_id = await make_source(peer)
    for tag in (None, "a", "b"):
        await house.publish(f"for {tag}", tag, source_id=source_id)
    await peer.ask("source_delete", sourceId=source_id)
    await eventually(lambda: nothing_is_stored(house))

    assert [body for _, body in await dead(house, "a")] == [b"for a"]


async def nothing_is_stored(house):
    """Whether no event waits or runs at three tags."""
    return sum([await house.stored(tag) for tag in (None, "a", "b")]) == 0


async def test_what_is_no_event_is_set_aside_as_it_is(house):
    """A message that somebody published by hand stops nothing."""
    peer = await house.connect(sessionTag="elsewhere", instanceId="i")
    source_id = await make_source(peer)
    shard = house.lines.shard(house.address())
    subject = subjects.event_subject(shard, house.address(), Priority.NORMAL, subjects.source_maker(source_id))
    await house.fabric.publish(subject, b"by hand")
    await house.fabric.publish(subject.replace(".n.", ".x."), b"beside every line")
    await house.publish("work", source_id=source_id)
    await peer.ask("source_delete", sourceId=source_id)
    await eventually(lambda: nothing_is_stored(house))
    unreadable = await house.fabric.get_many("DEAD", subjects.dead_subject(house.address(), UNREADABLE, "*"))

    assert [each.data for each in unreadable] == [b"by hand"]
    assert [body for _, body in await dead(house)] == [b"work"]


@pytest.mark.parametrize("tag", [None, "builds"])
async def test_nothing_is_both_acked_and_dead(two, tag):
    """A session works through its events while their source is deleted, by way of another server."""
    peer = await two.connect(two.servers[0], instanceId="i", **({} if tag is None else {"sessionTag": tag}))
    owner = await two.connect(two.servers[1], sessionTag="owner", instanceId="o")
    source_id = await make_source(owner)
    ids = [await two.publish(f"{number}", tag, source_id=source_id) for number in range(150)]
    settled = set()

    async def work():
        while True:
            frame = await peer.frame("event", timeout=60)
            if (await peer.ack(frame["id"]))["settled"]:
                settled.add(frame["id"])

    working = asyncio.create_task(work())
    await eventually(lambda: len(settled) > 5)
    await owner.ask("source_delete", sourceId=source_id)
    await eventually(lambda: is_told(two, tag, settled, ids), 30)
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    letters = {event_id for event_id, _ in await dead(two, tag)}

    assert settled | letters == set(ids)
    assert settled & letters == set()
    assert letters


async def is_told(house, tag, settled, ids):
    """Whether nothing is left at a tag, and all of it is known to have ended one way or the other."""
    return await is_done(house, tag) and len(settled) + len(await dead(house, tag)) >= len(ids)


async def is_done(house, tag):
    """Whether no event waits or runs at a tag."""
    return await house.stored(tag) == 0


async def test_a_server_that_dies_after_the_deletion_leaves_the_job_to_others(house, monkeypatch):
    """Nothing but the intention was stored: whichever server is there takes it up."""
    monkeypatch.setattr(registry, "WITHDRAWAL_DELAY", registry.WITHDRAWAL_DELAY / 100)
    peer = await house.connect(sessionTag="elsewhere", instanceId="i")
    source_id = await make_source(peer)
    for number in range(3):
        await house.publish(f"work {number}", source_id=source_id)
    # As `source_delete` does, up to there.
    assert await house.servers[0].registry.delete_source(house.profile.id, source_id)
    await eventually(lambda: is_done(house, None))

    assert [body for _, body in await dead(house)] == [b"work 0", b"work 1", b"work 2"]


async def test_a_deletion_that_was_cut_short_is_finished(house):
    """The intention was stored, and the source is still there: it goes, and what waits of it."""
    peer = await house.connect(sessionTag="elsewhere", instanceId="i")
    source_id = await make_source(peer)
    await house.publish("work", source_id=source_id)
    await house.events.promise_withdrawal(house.profile.id, source_id)
    await eventually(lambda: is_done(house, None))
    answer = await peer.ask("source_list")

    assert answer["data"] == []
    assert [body for _, body in await dead(house)] == [b"work"]


async def test_a_job_that_takes_long_is_answered_and_followed(house, monkeypatch):
    """The answer names the job; asked again, it says how much is left, and at the end that there is nothing."""
    peer = await house.connect(sessionTag="elsewhere", instanceId="i")
    source_id = await make_source(peer)
    await house.publish("work", source_id=source_id)
    blocked = asyncio.Event()
    bury = type(house.events).bury

    async def slow(*arguments, **options):
        await blocked.wait()
        await bury(*arguments, **options)

    monkeypatch.setattr(type(house.events), "bury", slow)
    begun = await peer.ask("source_delete", sourceId=source_id)
    again = await peer.ask("source_delete", sourceId=source_id)
    blocked.set()
    await eventually(lambda: is_done(house, None))
    ended = await peer.ask("source_delete", sourceId=source_id)

    assert begun["data"] == {"removed": True, "job": source_id}
    assert again["data"] == {"removed": True, "job": source_id, "left": 1}
    assert ended["data"] == {"removed": False}


async def test_what_is_deferred_is_withdrawn_and_does_not_come_back(house):
    """It waits out of line; the relay that has it in its hands already drops it."""
    peer = await house.connect(instanceId="i")
    source_id = await make_source(peer)
    event_id = await house.publish("work", source_id=source_id)
    await peer.event()
    await peer.ask("event_defer", eventId=event_id, delaySeconds=3600)
    ((_, stored),) = [each async for each in house.events.deferred(house.profile.id)]
    await peer.ask("source_delete", sourceId=source_id)
    await eventually(lambda: has_letters(house, 1))
    await house.events.take_back(Due(house.profile.id, event_id, stored.headers, stored.data))

    assert await house.stored() == 0
    assert [each async for each in house.events.deferred(house.profile.id)] == []


async def test_what_was_put_back_beside_the_bound_is_withdrawn(fresh_natsd, tmp_path):
    """It waits as the others do, also where nothing else of its source does."""
    async with House.open(fresh_natsd, tmp_path) as house:
        peer = await house.connect(sessionTag="elsewhere", instanceId="i")
        source_id = await make_source(peer)
        maker, bound = subjects.source_maker(source_id), 2
        stream = subjects.event_stream(house.lines.shard(house.address()))
        config = (await house.fabric.api(f"STREAM.INFO.{stream}", {}))["config"]
        await house.fabric.api(f"STREAM.UPDATE.{stream}", config | {"max_msgs_per_subject": bound})
        for tag in (None, "b"):
            for number in range(bound):
                await house.publish(f"{tag} {number}", tag, source_id=source_id)
            page = await house.lines.page_of(house.address(tag), maker, first=1)
            for stored in page:
                event, body = decode_event(stored.headers, stored.data)
                await house.events.put_back(house.address(tag), event, body, sequence=stored.sequence)
            for stored in page:
                await house.lines.acknowledge(house.address(tag), stored.sequence, None)
        await house.publish("None 2", source_id=source_id)
        waiting = await house.lines.addresses_of(house.profile.id, maker)
        await peer.ask("source_delete", sourceId=source_id)
        await eventually(lambda: nothing_is_stored(house))
        letters = [body for tag in (None, "b") for _, body in await dead(house, tag)]

    assert waiting == {house.address(): 3, house.address("b"): 2}
    assert sorted(letters) == [b"None 0", b"None 1", b"None 2", b"b 0", b"b 1"]


async def has_letters(house, count):
    """Whether so many dead letters are there."""
    return len(await dead(house)) == count


async def test_withdrawing_again_finishes_what_a_lost_nats_left(house, monkeypatch):
    """What was moved before is not moved twice."""
    peer = await house.connect(sessionTag="elsewhere", instanceId="i")
    source_id = await make_source(peer)
    ids = [await house.publish(f"work {number}", source_id=source_id) for number in range(3)]
    acknowledge = type(house.lines).acknowledge
    calls = []

    async def lost(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise Unavailable("no NATS")
        await acknowledge(*arguments)

    monkeypatch.setattr(type(house.lines), "acknowledge", lost)
    await peer.ask("source_delete", sourceId=source_id)
    await eventually(lambda: is_done(house, None))

    assert sorted(event_id for event_id, _ in await dead(house)) == sorted(ids)


async def test_another_profiles_source_of_the_same_name_is_untouched(house):
    """Everything goes by the profile."""
    await house.publish("work", source_id="src_a")
    async with house.newcomer() as stranger:
        await stranger.events.promise_withdrawal(stranger.profile.id, "src_a")
        promised = subjects.every_later_filter(WITHDRAWAL)
        await eventually(lambda: none_of(stranger, promised))

    assert await house.stored() == 1


async def none_of(house, promised):
    """Whether nothing of a profile matches a filter of what is promised."""
    return not [each for each in await house.fabric.counts("LATER", promised) if house.profile.id in each]


async def test_a_withdrawal_leaves_no_record_of_a_second_kind(house):
    """An event that a session had put back is withdrawn as any other, under its own turn."""
    peer = await house.connect(instanceId="i")
    source_id = await make_source(peer)
    first = await house.publish("first", source_id=source_id)
    await peer.event()
    second = await house.publish("second", source_id=source_id)
    await peer.ask("event_defer", eventId=first)
    await peer.event()
    await peer.ask("source_delete", sourceId=source_id)
    await eventually(lambda: has_letters(house, 1))
    await peer.ack(second)
    records = await house.history.newest(house.profile.id, limit=9)

    assert {record.event_id: record.state for record in records} == {first: EventState.DEAD, second: EventState.ACKED}
    assert all(record.completed_at <= datetime.now(UTC) for record in records)
