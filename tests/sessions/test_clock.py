"""The clocks of a session: of a server that stood still, and of a machine that was suspended."""

import time
from types import SimpleNamespace

import pytest

from clawback import wire
from clawback.fabric import subjects
from clawback.model import Event, EventState, Origin, Priority, new_id
from clawback.sessions import dispatcher as clocked
from clawback.store.later import armed_for
from sessions.test_dispatcher import ScriptedClient, Session
from waiting import eventually

ALLOWED_SECONDS = 1.0


@pytest.fixture
async def session(fabric):
    """A session of a profile of its own."""
    session = Session(fabric)
    await session.lines.open()
    return session


async def test_an_ack_in_time_wins_over_a_clock_that_looks_late(house):
    """The server is frozen when the time is over, and the ack, which was sent before that, is still to be read."""
    peer = await house.connect(instanceId="a")
    event = Event(
        new_id("evt"),
        Origin.WEBHOOK,
        Priority.NORMAL,
        created_at=house.profile.created_at,
        allowed_seconds=ALLOWED_SECONDS,
    )
    await house.events.store(house.address(), event, b"work", maker=subjects.source_maker("src_a"), patience_s=5)
    await peer.event()
    await peer.say("ack", eventId=event.id, summary="in time", requestId="r")
    # Everything here stands still, as a server that is stopped does: nothing is read meanwhile.
    time.sleep(ALLOWED_SECONDS + 2 * clocked.LATE_SECONDS)  # noqa: ASYNC251 -- see above
    receipt = await peer.frame("response", requestId="r")
    (record,) = await house.history.newest(house.profile.id, limit=5)

    assert receipt["data"] == {"eventId": event.id, "settled": True}
    assert (record.state, record.summary) == (EventState.ACKED, "in time")
    assert [frame for frame in peer.frames if frame["type"] == "timed_out"] == []


async def test_a_delay_is_counted_from_the_time_of_day(session, monkeypatch):
    """Asked for after the machine was suspended for an hour, two minutes are two minutes from then on."""
    client, slept = ScriptedClient(), [0.0]
    clock = SimpleNamespace(time=lambda: time.time() + slept[0], monotonic=time.monotonic)
    monkeypatch.setattr(clocked, "time", clock)
    await session.publish("one")
    async with session.served(client) as dispatcher:
        await eventually(lambda: client.events)
        slept[0] = 3600.0
        before = clock.time()
        await dispatcher.answer(wire.EventDefer(request_id="", event_id=client.events[0].id, delay_seconds=120))
        after = clock.time()
    ((_, armed),) = [each async for each in session.events.deferred(session.address.profile_id)]

    assert before + 119 < armed_for(armed.headers).timestamp() < after + 121
