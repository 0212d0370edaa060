"""Deleting a source: what waits of it is set aside, what a session holds is left to it."""

import msgspec
import pytest

from clawback.errors import Unavailable
from clawback.fabric import subjects
from clawback.model import EventState, Priority
from clawback.sessions.withdrawal import SOURCE_DELETED, withdraw_source
from clawback.store import lines as fabric_lines
from clawback.store.events import UNREADABLE, decode_event


async def withdraw(house, source_id="src_a"):
    """Withdraw the source as the server does."""
    parts = {"lines": house.lines, "stacks": house.stacks, "events": house.events, "history": house.history}
    await withdraw_source(house.profile.id, source_id, **parts)


async def dead(house, tag=None):
    """The dead letters of a tag for this reason, as ids and bodies."""
    stored = await house.fabric.get_many("DEAD", subjects.dead_subject(house.address(tag), SOURCE_DELETED, "*"))
    return [(event.id, body) for event, body in (decode_event(each.headers, each.data) for each in stored)]


async def test_source_delete_withdraws_what_waits_and_leaves_what_is_in_flight(house):
    """Over the wire: the one in flight is acked as ever, the others are dead letters that say why."""
    peer = await house.connect(instanceId="i")
    made = await peer.ask("source_create", slug="hub", verifierType="none", skill="/go")
    source_id = made["data"]["id"]
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
    """A source whose tag was another once has events there, too."""
    for tag in (None, "a", "b"):
        await house.publish(f"for {tag}", tag)
    await withdraw(house)

    assert [await house.stored(tag) for tag in (None, "a", "b")] == [0, 0, 0]
    assert [body for _, body in await dead(house, "a")] == [b"for a"]


async def test_what_is_no_event_is_set_aside_as_it_is(house):
    """A message that somebody published by hand stops nothing."""
    shard = house.lines.shard(house.address())
    subject = subjects.event_subject(shard, house.address(), Priority.NORMAL, subjects.source_maker("src_a"))
    await house.fabric.publish(subject, b"by hand")
    await house.fabric.publish(subject.replace(".n.", ".x."), b"beside every line")
    await house.publish("work")
    await withdraw(house)
    unreadable = await house.fabric.get_many("DEAD", subjects.dead_subject(house.address(), UNREADABLE, "*"))

    assert [each.data for each in unreadable] == [b"by hand"]
    assert [body for _, body in await dead(house)] == [b"work"]
    assert await house.stored() == 0


async def test_what_is_given_out_meanwhile_is_left_to_its_session(house, monkeypatch):
    """A session that goes on between two pages keeps what it was given."""
    monkeypatch.setattr(fabric_lines, "PAGE_BYTES", 1000)
    peer = await house.connect(instanceId="i")
    texts = [f"{number}" * 600 for number in range(6)]
    ids = [await house.publish(text) for text in texts]
    await peer.event()
    held_by_profile = house.stacks.held_by_profile
    pages = 0

    async def acked_meanwhile(profile_id):
        nonlocal pages
        pages += 1
        if pages == 2:
            await peer.ack(ids[0])
            await peer.event()
        return await held_by_profile(profile_id)

    monkeypatch.setattr(house.stacks, "held_by_profile", acked_meanwhile)
    await withdraw(house)
    (held,) = await house.held()

    assert pages > 2
    assert held.event_id not in [event_id for event_id, _ in await dead(house)]
    assert (await peer.ack(held.event_id))["settled"]


async def test_many_bodies_are_never_in_memory_at_once(house, monkeypatch):
    """Pages are bounded by their bytes."""
    monkeypatch.setattr(fabric_lines, "PAGE_BYTES", 100_000)
    for _ in range(20):
        await house.publish("x" * 50_000)
    pages = [page async for page in house.lines.stored_of(house.profile.id, subjects.source_maker("src_a"))]
    await withdraw(house)

    assert max(sum(len(stored.data) for stored in page) for page in pages) <= 200_000
    assert len(await dead(house)) == 20


async def test_withdrawing_again_finishes_what_a_lost_nats_left(house, monkeypatch):
    """What was moved before is not moved twice."""
    ids = [await house.publish(f"work {number}") for number in range(3)]
    acknowledge = house.lines.acknowledge
    calls = []

    async def lost(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise Unavailable("no NATS")
        await acknowledge(*arguments)

    monkeypatch.setattr(house.lines, "acknowledge", lost)
    with pytest.raises(Unavailable):
        await withdraw(house)
    left = await house.stored()
    await withdraw(house)

    assert left == 2
    assert [event_id for event_id, _ in await dead(house)] == ids
    assert await house.stored() == 0


async def test_another_profiles_source_of_the_same_name_is_untouched(house):
    """Everything goes by the profile."""
    await house.publish("work")
    mine, house.profile = house.profile, msgspec.structs.replace(house.profile, id="stranger")
    await withdraw(house)
    house.profile = mine

    assert await house.stored() == 1
