"""Discarding: what waits or is dead ends for good and says by whom, what is held is left, and kills change nothing."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest

from clawback.errors import Unavailable
from clawback.model import EventState
from clawback.store.events import PROMISED_REPLAY, EventStore, decode_event
from clawback.store.history import History
from clawback.store.later import DISCARD
from waiting import eventually

BY_SESSION = "by session:builds"


async def by_id(house):
    """How each event of the profile ended: its state and reason."""
    return {each.event_id: (each.state, each.reason) for each in await house.history.newest(house.profile.id, limit=99)}


async def letters(house):
    """How many dead letters there are."""
    return sum((await house.fabric.counts("DEAD", f"dead.{house.profile.id}.>")).values())


async def promised(house, kind):
    """How much of a kind is promised or due."""
    counts = [await house.fabric.counts("LATER", f"later.{at}.{kind}.{house.profile.id}.*") for at in ("at", "due")]
    return sum(sum(each.values()) for each in counts)


async def bury(house, text, tag="builds"):
    """Make a dead letter and return its id."""
    event_id = await house.publish(text, tag)
    page = await house.lines.page_of(house.address(tag), "w-src_a", first=1)
    for stored in page:
        event, body = decode_event(stored.headers, stored.data)
        if event.id == event_id:
            await house.events.bury(house.address(tag), event, body, reason="failed")
            await house.lines.acknowledge(house.address(tag), stored.sequence, None)
    return event_id


async def test_what_waits_is_counted_and_then_discarded_but_for_what_is_held(house):
    """The session goes on with what it has, nothing of the others comes, and other tags keep theirs."""
    peer = await house.connect(sessionTag="builds", instanceId="i")
    held, *others = [await house.publish(f"work {number}", "builds") for number in range(4)]
    elsewhere = await house.publish("else", "docs")
    assert await peer.event() == ("work 0", 1)
    counted = await peer.ask("event_discard", sessionTag="builds", dryRun=True)
    stored = await house.stored("builds")
    done = await peer.ask("event_discard", sessionTag="builds")
    again = await peer.ask("event_discard", sessionTag="builds")
    receipt = await peer.ack(held)

    assert (counted["data"], stored) == ({"count": 3, "held": 1, "dryRun": True}, 4)
    assert done["data"] == {"count": 3, "held": 1, "dryRun": False}
    assert again["data"] == {"count": 0, "held": 1, "dryRun": False}
    assert receipt["settled"]
    assert await by_id(house) == {
        held: (EventState.ACKED, None),
        **dict.fromkeys(others, (EventState.DISCARDED, BY_SESSION)),
    }
    assert await house.stored("builds") == 0
    assert await house.stored("docs") == 1
    assert await letters(house) == await promised(house, DISCARD) == 0
    assert elsewhere not in await by_id(house)


async def test_one_is_discarded_by_its_id_wherever_it_is(house):
    """In line, out of line, or dead; what a session holds is refused, and so is what has ended."""
    peer = await house.connect(sessionTag="builds", instanceId="i")
    deferred = await house.publish("later", "builds")
    await peer.event()
    await peer.ask("event_defer", eventId=deferred, delaySeconds=3600)
    dead = await bury(house, "dead", "other")
    held = await house.publish("held", "builds")
    await peer.event()
    waits = await house.publish("waits", "builds")
    counts = [(await peer.ask("event_discard", eventId=each))["data"]["count"] for each in (deferred, dead, waits)]
    refused = [await peer.ask("event_discard", eventId=each) for each in (held, waits, "evt_none")]

    assert counts == [1, 1, 1]
    assert [each["data"] for each in refused] == [None] * 3
    assert "is offered" in refused[0]["error"]
    assert "it is discarded" in refused[1]["error"]
    assert await by_id(house) == dict.fromkeys((deferred, dead, waits), (EventState.DISCARDED, BY_SESSION))
    assert await promised(house, "event") == await promised(house, PROMISED_REPLAY) == await letters(house) == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "takes eventId, or words"),
        ({"eventId": "evt_a", "states": ["dead"]}, "takes eventId, or words"),
        ({"states": ["offered"]}, "accepted are queued, timed_out, dead"),
        ({"source": "nobody"}, "accepted are webhook, cron, session"),
    ],
)
async def test_what_names_nothing_is_refused(house, fields, message):
    """Nobody empties a profile by leaving a word out."""
    peer = await house.connect(instanceId="i")
    answer = await peer.ask("event_discard", **fields)

    assert message in answer["error"]


async def test_words_mean_what_the_list_shows(house):
    """The same words list and discard the same events."""
    peer = await house.connect(instanceId="i")
    ids = [await bury(house, f"dead {number}") for number in range(3)]
    waits = await house.publish("waits", "builds")
    words = {"states": ["dead"], "source": "webhook", "sessionTag": "builds"}
    listed = await peer.ask("event_list", **words)
    none = await peer.ask("event_discard", path="/other", dryRun=True)
    done = await peer.ask("event_discard", **words)

    assert [each["eventId"] for each in listed["data"]] == ids
    assert (none["data"]["count"], done["data"]["count"]) == (0, 3)
    assert await by_id(house) == dict.fromkeys(ids, (EventState.DISCARDED, "by session:(untagged)"))
    assert await house.stored("builds") == 1
    assert waits not in await by_id(house)


@pytest.mark.parametrize("step", ["decide", "promise_discard", "remove_dead", "end_put_back"])
async def test_a_discard_that_was_cut_short_is_finished(house, monkeypatch, step):
    """Whichever step its server died before, the promise is there, and each event ends once."""
    peer = await house.connect(sessionTag="builds", instanceId="i")
    deferred = await house.publish("later", "builds")
    await peer.event()
    await peer.ask("event_defer", eventId=deferred, delaySeconds=3600)
    dead, waits = await bury(house, "dead", "other"), await house.publish("waits", "docs")
    kind = History if step == "decide" else EventStore

    async def cut(*_args, **_kwargs):
        raise Unavailable("cut short")

    with monkeypatch.context() as broken:
        broken.setattr(kind, step, cut)
        broken.setattr("clawback.sessions.discarding.PROMISE_DELAY", timedelta(seconds=1))
        broken.setattr("clawback.store.events.PROMISE_DELAY", timedelta(seconds=1))
        broken.setattr("clawback.sessions.errands.PATIENCE_SECONDS", 0.2)
        broken.setattr("clawback.sessions.errands.SERVE_SECONDS", 0.5)
        answer = await peer.ask("event_discard", states=["queued", "dead"])
        assert answer["data"] is None

    async def is_over():
        ended = await by_id(house)
        return len(ended) == 3 and await letters(house) + await promised(house, DISCARD) == 0

    await eventually(is_over, timeout=20)

    assert await by_id(house) == dict.fromkeys((deferred, dead, waits), (EventState.DISCARDED, BY_SESSION))
    assert await promised(house, PROMISED_REPLAY) == await promised(house, "event") == await house.stored("docs") == 0


async def test_a_dead_letter_is_replayed_or_discarded_and_not_both(house, monkeypatch):
    """Whoever promised it first has it, and a server that died meanwhile changes nothing about that."""
    peer = await house.connect(sessionTag="builds", instanceId="i")
    first, second = await bury(house, "one", "other"), await bury(house, "two", "other")

    async def cut(*_args, **_kwargs):
        raise Unavailable("cut short")

    with monkeypatch.context() as broken:
        broken.setattr(EventStore, "remove_dead", cut)
        await peer.ask("event_discard", eventId=first)
        await peer.ask("event_replay", eventId=second)
        replayed = await peer.ask("event_replay", eventId=first)
        discarded = await peer.ask("event_discard", eventId=second)
    assert "is being discarded" in replayed["error"]
    assert discarded["data"]["count"] == 0
    with contextlib.suppress(Unavailable):
        await house.events.promise_discard(house.profile.id, second, "by person")
    dead = await house.events.find_dead(house.profile.id, second)
    await house.events.replay(dead, "evt_again", datetime.now(UTC))

    assert await house.stored("other") == 1


async def test_a_job_that_takes_long_goes_on_after_its_answer(house, monkeypatch):
    """Whoever asked is told its name; the relay goes on until nothing is left."""
    monkeypatch.setattr("clawback.sessions.discarding.ANSWER_SECONDS", -1)
    monkeypatch.setattr("clawback.sessions.discarding.PAGE_ITEMS", 4)
    peer = await house.connect(instanceId="i")
    for number in range(12):
        await house.publish(f"work {number}", "builds")
    answer = await peer.ask("event_discard", sessionTag="builds")

    async def is_over():
        return await house.stored("builds") + await promised(house, DISCARD) == 0

    await eventually(is_over, timeout=20)

    assert answer["data"]["job"]
    assert answer["data"]["count"] == 4
    assert set((await by_id(house)).values()) == {(EventState.DISCARDED, "by session:(untagged)")}
