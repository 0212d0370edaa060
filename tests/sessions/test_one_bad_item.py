"""What a session cannot take is set aside, and the session goes on with the rest."""

import pytest

from clawback import wire
from clawback.errors import QueueFull
from clawback.fabric import subjects
from clawback.model import Held, Priority
from clawback.store import events as event_store
from clawback.store.events import decode_event
from clawback.store.later import Due
from clawback.store.stacks import KIND, Stacks
from clawback.telemetry.aside import Aside
from conftest import SHARDS
from sessions.test_dispatcher import ScriptedClient, Session, session_is_empty
from waiting import eventually

BOUND = 2


@pytest.fixture
async def session(fabric):
    """A session of a profile of its own."""
    session = Session(fabric)
    await session.lines.open()
    return session


@pytest.fixture
async def bounded(fresh_fabric):
    """A session whose lines hold two events of a maker."""
    session = Session(fresh_fabric)
    await session.lines.open()
    stream = subjects.event_stream(session.lines.shard(session.address))
    config = (await fresh_fabric.api(f"STREAM.INFO.{stream}", {}))["config"]
    await fresh_fabric.api(f"STREAM.UPDATE.{stream}", config | {"max_msgs_per_subject": BOUND})
    return session


async def test_an_event_is_put_back_into_a_line_at_its_bound(bounded):
    """It was there before: no bound for new events holds for it, and it comes at the end of its line, as ever."""
    client = ScriptedClient()
    for text in ("one", "two"):
        await bounded.publish(text)
    async with bounded.served(client) as dispatcher:
        await eventually(lambda: client.events)
        await dispatcher.answer(wire.EventDefer(request_id="", event_id=client.events[0].id))
        await eventually(lambda: len(client.events) == 2)
        await bounded.publish("three")
        with pytest.raises(QueueFull):
            await bounded.publish("four")
        for count in (3, 4):
            dispatcher.ack(wire.Ack(client.events[-1].id, ""))
            await eventually(lambda count=count: len(client.events) == count)
        dispatcher.ack(wire.Ack(client.events[-1].id, ""))
        await eventually(lambda: session_is_empty(bounded))

    assert client.seen() == [("one", 1), ("two", 1), ("one", 2), ("three", 1)]


async def test_a_deferred_event_comes_back_into_a_line_at_its_bound(bounded):
    """When its time comes as well, and what waits of its source is still found."""
    client = ScriptedClient()
    await bounded.publish("one")
    async with bounded.served(client) as dispatcher:
        await eventually(lambda: client.events)
        await dispatcher.answer(wire.EventDefer(request_id="", event_id=client.events[0].id, delay_seconds=3600))
    for text in ("two", "three"):
        await bounded.publish(text)
    ((_, armed),) = [each async for each in bounded.events.deferred(bounded.address.profile_id)]
    due = Due(bounded.address.profile_id, client.events[0].id, armed.headers, armed.data)
    for _ in range(2):
        await bounded.events.take_back(due)
    found = await bounded.lines.addresses_of(bounded.address.profile_id, "w-src_a")
    async with bounded.served(client) as dispatcher:
        for count in (2, 3, 4):
            await eventually(lambda count=count: len(client.events) == count)
            dispatcher.ack(wire.Ack(client.events[-1].id, ""))
        await eventually(lambda: session_is_empty(bounded))

    assert found == {bounded.address: 3}
    assert client.seen() == [("one", 1), ("two", 1), ("three", 1), ("one", 2)]


async def test_a_put_back_beside_the_bound_is_done_once(bounded, monkeypatch):
    """Also when the window of message ids is over: its server was killed before it knew that it was done."""
    for text in ("one", "two"):
        await bounded.publish(text)
    first, _ = await bounded.lines.page_of(bounded.address, "w-src_a", first=1)
    event, body = decode_event(first.headers, first.data)
    publish = bounded.fabric.publish

    async def forgetful(subject, body, *, message_id=None, **options):
        return await publish(subject, body, message_id=None if subject.startswith("evt.") else message_id, **options)

    monkeypatch.setattr(bounded.fabric, "publish", forgetful)
    monkeypatch.setattr(event_store, "SURE_SECONDS", 0.0)
    for _ in range(2):
        await bounded.events.put_back(bounded.address, event, body, sequence=first.sequence)

    assert await bounded.stored() == 3


@pytest.mark.parametrize("record", [b"{", b'"held"', b'[{"eventId": 1}]', b"\xff", b"[" * 100_000], ids=range(5))
async def test_a_stack_that_cannot_be_read_costs_its_session_an_attempt(session, record):
    """What was held comes from its line; the record is among the dead letters, and no longer set aside."""
    client, aside = ScriptedClient(), Aside()
    event_id = await session.publish("one")
    session.stacks = Stacks(session.fabric, SHARDS, aside)
    subject = subjects.stack_subject(session.address)
    await session.fabric.publish(subject, record)
    held = await session.stacks.held_by_profile(session.address.profile_id)
    holder = await session.stacks.holder(session.address.profile_id, event_id)
    passed_over = aside.reason(KIND, subject)
    async with session.served(client) as dispatcher:
        await eventually(lambda: client.events)
        dispatcher.ack(wire.Ack(event_id, ""))
        await eventually(lambda: session_is_empty(session))
    dead = await session.fabric.get_many("DEAD", subjects.address_dead_filter(session.address))

    assert (held, holder) == ({}, None)
    assert "becomes a dead letter" in passed_over
    assert client.seen() == [("one", 1)]
    assert [(subjects.parse_dead_subject(each.subject).reason, each.data) for each in dead] == [("unreadable", record)]
    assert aside.describe() is None


async def test_another_session_of_the_profile_is_listed_and_acked(session):
    """One record that cannot be read hides nothing of the others."""
    event_id = await session.publish("one")
    other = subjects.stack_subject(session.address).rpartition(".")[0] + ".other"
    await session.fabric.publish(other, b"spoilt")
    client = ScriptedClient()
    async with session.served(client):
        await eventually(lambda: client.events)
        held = await session.stacks.held_by_profile(session.address.profile_id)

        assert [each.event_id for each in held.values()] == [event_id]
        assert await session.stacks.holder(session.address.profile_id, event_id) == session.address


async def test_a_held_event_that_cannot_be_read_is_set_aside(session):
    """Its session goes on with the next one."""
    client = ScriptedClient()
    shard = session.lines.shard(session.address)
    line = subjects.event_subject(shard, session.address, Priority.NORMAL, "w-src_a")
    spoilt = await session.fabric.publish(line, b"spoilt", headers={"Clawback-Event": "{"})
    await session.stacks.store(session.address, [Held("evt_a", spoilt.sequence, Priority.NORMAL, attempt=1)])
    await session.publish("next")
    async with session.served(client):
        await eventually(lambda: client.events)
    dead = await session.fabric.get_many("DEAD", subjects.address_dead_filter(session.address))

    assert client.seen() == [("next", 1)]
    assert [each.data for each in dead] == [b"spoilt"]
