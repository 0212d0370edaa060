"""The stack as a fence: a holder that was written over ends, delivers and stores nothing more."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from clawback import wire
from clawback.model import TIMEOUT_SECONDS, Priority
from clawback.sessions.dispatcher import Dispatcher
from clawback.store import stacks as times
from clawback.store.lines import Lines
from sessions.test_dispatcher import ScriptedClient, Session
from waiting import eventually


@pytest.fixture
async def session(fabric):
    """A session of a profile of its own."""
    session = Session(fabric)
    await session.lines.open()
    return session


@asynccontextmanager
async def serving(session, client, holds=()):
    """Serve a session as a server of its own does, whose lease says nothing; ends it if it has not ended."""
    lines = Lines(session.fabric, 2)
    await lines.open()
    dispatcher = Dispatcher(session.address, client, lines, session.stacks, session.events, session.history)
    dispatcher.running = asyncio.create_task(dispatcher.run(holds))
    try:
        yield dispatcher
    finally:
        dispatcher.stop()
        await dispatcher.running


async def given(client, count):
    """Wait until a client was given so many events, and return the newest."""
    await eventually(lambda: len(client.events) == count)
    return client.events[-1]


@pytest.fixture(params=[0.0, times.FRESH_SECONDS], ids=["long after its last write", "right after it"])
def fresh(request, monkeypatch):
    """How long a write proves that the stack is its writer's."""
    monkeypatch.setattr(times, "FRESH_SECONDS", request.param)


@pytest.mark.usefixtures("fresh")
async def test_a_former_holder_delivers_nothing_after_its_ack(session):
    """What waits is the new holder's, whatever the former one is told by its client."""
    former, latter = ScriptedClient(), ScriptedClient()
    for text in ("one", "two"):
        await session.publish(text)
    async with serving(session, former) as stale:
        one = await given(former, 1)
        async with serving(session, latter) as dispatcher:
            await given(latter, 1)
            stale.ack(wire.Ack(one.id, "done"))
            await eventually(stale.running.done)
            dispatcher.ack(wire.Ack(one.id, "done"))
            await given(latter, 2)

    assert former.seen() == [("one", 1)]
    assert latter.seen() == [("one", 2), ("two", 1)]


async def test_an_ack_that_was_not_settled_is_left_to_whoever_settles_late_ones(session, monkeypatch):
    """A holder that was written over ends no event by itself."""
    monkeypatch.setattr(times, "FRESH_SECONDS", 0.0)
    former, latter = ScriptedClient(), ScriptedClient()
    await session.publish("one")
    async with serving(session, former) as stale:
        one = await given(former, 1)
        async with serving(session, latter):
            await given(latter, 1)
            stale.ack(wire.Ack(one.id, "done"))
            await eventually(stale.running.done)
            left = await session.stored()

    assert left == 1
    assert stale.unanswered_acks == (wire.Ack(one.id, "done"),)


@pytest.mark.parametrize("wish", ["time out", "defer", "fail", "extend"])
async def test_a_former_holder_changes_nothing_of_what_another_works_on(session, monkeypatch, wish):
    """Neither its clock nor its client sets aside, puts back or extends what the new holder was given."""
    clock, ahead = Dispatcher._now, {}
    monkeypatch.setattr(Dispatcher, "_now", lambda self: clock(self) + ahead.get(self, 0.0))
    former, latter = ScriptedClient(), ScriptedClient()
    await session.publish("one")
    async with serving(session, former) as stale:
        one = await given(former, 1)
        async with serving(session, latter) as dispatcher:
            await given(latter, 1)
            asked = {
                "time out": None,
                "defer": wire.EventDefer(request_id="", event_id=one.id),
                "fail": wire.EventFail(request_id="", event_id=one.id),
                "extend": wire.EventExtend(request_id="", event_id=one.id, seconds=60),
            }[wish]
            if asked is None:
                ahead[stale] = TIMEOUT_SECONDS + 1.0
                stale.wake(Priority.PRIORITY)
            else:
                await asyncio.gather(stale.answer(asked), return_exceptions=True)
            await eventually(stale.running.done)
            dead = await session.events.find_dead(session.address.profile_id, one.id)
            (held,) = [each.held for each in await session.stacks.restore(session.address)]
            dispatcher.ack(wire.Ack(one.id, "done"))
            await eventually(lambda: emptied(session))

    assert dead is None
    assert (held.event_id, held.attempt, held.failures, held.allowed_seconds) == (one.id, 2, 0, TIMEOUT_SECONDS)
    assert latter.seen() == [("one", 2)]


async def emptied(session):
    """Whether nothing waits or runs."""
    return await session.stored() == 0


async def test_what_a_former_holder_pulled_goes_to_the_new_one_at_once(session):
    """It is not left to JetStream, which gives it again after a minute."""
    former, latter = ScriptedClient(), ScriptedClient()
    async with serving(session, former) as stale:
        first = await eventually(lambda: holder(session))
        async with serving(session, latter) as dispatcher:
            await eventually(lambda: changed(session, first))
            pull = dispatcher._lines.pull

            async def pull_second(*arguments, **options):
                await eventually(stale.running.done)
                return await pull(*arguments, **options)

            dispatcher._lines.pull = pull_second
            await session.publish("one")
            await given(latter, 1)

    assert former.seen() == []
    assert latter.seen() == [("one", 1)]


async def holder(session):
    """Who wrote the stack last."""
    return (await session.stacks.read(session.address)).holder


async def changed(session, first):
    """Whether another than the first wrote the stack."""
    return await holder(session) not in ("", first)
