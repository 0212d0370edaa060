"""What a session can do with its events, and what becomes of those it lets go: real servers, real WebSockets."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from clawback.errors import Unavailable
from clawback.fabric import subjects
from clawback.model import Address, Event, Held, Origin, Priority, new_id
from clawback.sessions import lane
from clawback.store.events import EventStore
from clawback.store.ledger import Ledger
from clawback.store.stacks import Stacks
from cluster import Refused, joined, make_token, running_server
from conftest import SHARDS
from waiting import eventually

PATIENT = 3600.0


@pytest.fixture
async def url(natsd, tmp_path):
    """The WebSocket of a server on the run's NATS."""
    async with running_server(natsd, tmp_path / "server") as url:
        yield url


@pytest.fixture
async def token(fabric):
    """A token of a profile of the test's own."""
    return await make_token(fabric)


async def publish(fabric, peer, text, *, allowed=PATIENT, delivery_id=None, tag="builds", source_id="src_a"):
    """Store a webhook's event for a peer's profile, and return it."""
    event = Event(
        new_id("evt"),
        Origin.WEBHOOK,
        Priority.NORMAL,
        datetime.now(UTC),
        source_id=source_id,
        path="/github",
        event_type="push",
        verified=True,
        delivery_id=delivery_id,
        allowed_seconds=allowed,
    )
    events = EventStore(fabric, Ledger(fabric), SHARDS)
    await events.store(
        Address(peer.welcome["profileId"], tag),
        event,
        text.encode(),
        maker=subjects.source_maker(source_id),
        patience_s=5,
    )
    return event


def seen(peer):
    """The text and attempt of each event, in order."""
    return [(event["content"], int(event["meta"]["attempt"])) for event in peer.events]


def named(peer, kind):
    """The events that frames of a kind are about."""
    return [frame["eventId"] for frame in peer.frames if frame["type"] == kind]


async def states(peer, **fields):
    """The state of each listed event, by its id."""
    return {each["eventId"]: each["state"] for each in await peer.ask("event_list", **fields)}


# --- more time ----------------------------------------------------------------------------------------------------


async def test_an_extended_event_outlives_its_time_out(url, token, fabric):
    """While one that was not extended, and had more time, is given up."""
    async with joined(url, token, "builds") as peer, joined(url, token, "others") as other:
        event = await publish(fabric, peer, "one", allowed=0.3)
        await peer.event()
        answer = await peer.ask("event_extend", eventId=event.id, seconds=60)
        forgotten = await publish(fabric, other, "two", allowed=0.6, tag="others")
        await eventually(lambda: named(other, "timed_out"))

        assert answer == {"eventId": event.id, "seconds": 60}
        assert named(other, "timed_out") == [forgotten.id]
        assert named(peer, "timed_out") == []
        assert await states(peer, sessionTag="builds") == {event.id: "offered"}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("event_extend", {"seconds": 5}),
        ("event_defer", {}),
        ("event_defer", {"delaySeconds": 5}),
        ("event_fail", {}),
        ("event_seen", {}),
    ],
)
async def test_an_event_that_is_not_held_is_refused(url, token, fabric, kind, fields):
    """And the one that is held is none the worse for it."""
    async with joined(url, token, "builds") as peer:
        event = await publish(fabric, peer, "one")
        await peer.event()
        with pytest.raises(Refused, match="this session does not hold event evt_stranger"):
            await peer.ask(kind, eventId="evt_stranger", **fields)

        assert await peer.ack({"id": event.id}) == {"eventId": event.id, "settled": True}


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("event_extend", {"seconds": 0}, "seconds refused, read 0: accepted is 1 to 86400"),
        ("event_extend", {"seconds": 86401}, "accepted is 1 to 86400"),
        ("event_defer", {"delaySeconds": -1}, "delaySeconds refused, read -1: accepted is 0 to 2592000"),
        ("event_fail", {"reason": "x" * 1001}, "1001 characters: accepted are 1000"),
    ],
)
async def test_what_is_out_of_bounds_is_refused_with_the_rule(url, token, kind, fields, message):
    """Before the session is asked."""
    async with joined(url, token, "builds") as peer:
        with pytest.raises(Refused, match=message):
            await peer.ask(kind, eventId="evt_a", **fields)


async def test_a_standby_holds_nothing(url, token, fabric):
    """It is told so, and the active one's event stays."""
    async with joined(url, token, "builds") as active, joined(url, token, "builds") as standby:
        event = await publish(fabric, active, "one")
        await active.event()
        for kind, fields in (("event_defer", {"eventId": event.id}), ("event_next", {})):
            with pytest.raises(Refused, match="this connection stands by"):
                await standby.ask(kind, **fields)

        assert await states(standby) == {event.id: "offered"}


# --- seen ---------------------------------------------------------------------------------------------------------


async def test_an_event_that_was_seen_is_claimed(url, token, fabric):
    """From then on, whoever serves the session; and a further delivery has to be seen anew."""
    async with joined(url, token, "builds") as peer:
        event = await publish(fabric, peer, "one")
        await peer.event()
        before = await states(peer)
        answers = [await peer.ask("event_seen", eventId=event.id) for _ in range(2)]
        after = await states(peer)
        narrowed = await states(peer, states=["claimed"])
        other = await publish(fabric, peer, "two")
    async with joined(url, token, "builds") as heir:
        await heir.event()
        again = await states(heir)
        await heir.ask("event_seen", eventId=event.id)
        await heir.ack(heir.events[0])
        await heir.ack(await heir.event(2))
        second, first = await heir.ask("event_history")

    assert "event_seen" in peer.welcome["features"]
    assert answers == [{"eventId": event.id}] * 2
    assert (before, after, narrowed) == ({event.id: "offered"}, {event.id: "claimed"}, {event.id: "claimed"})
    assert again == {event.id: "offered", other.id: "queued"}
    assert (first["eventId"], "seenAt" in first, "seenAt" in second) == (event.id, True, False)


# --- later --------------------------------------------------------------------------------------------------------


async def test_a_deferred_event_goes_behind_what_waits(url, token, fabric):
    """The next event comes; the deferred one comes again after it, as a second attempt."""
    async with joined(url, token, "builds") as peer:
        for text in ("one", "two", "three"):
            await publish(fabric, peer, text)
        answer = await peer.ask("event_defer", eventId=(await peer.event())["id"])
        for number in (2, 3, 4):
            await peer.ack(await peer.event(number))
        listed = await peer.ask("event_list")

    assert answer == {"eventId": peer.events[0]["id"], "delaySeconds": 0}
    assert seen(peer) == [("one", 1), ("two", 1), ("three", 1), ("one", 2)]
    assert listed == []


async def test_the_only_event_comes_again_at_once_when_it_is_deferred(url, token, fabric):
    """There is nothing to go behind."""
    async with joined(url, token, "builds") as peer:
        event = await publish(fabric, peer, "one")
        await peer.event()
        await peer.ask("event_defer", eventId=event.id)
        await peer.ack(await peer.event(2))

    assert seen(peer) == [("one", 1), ("one", 2)]


async def test_a_delayed_event_waits_out_of_line(url, token, fabric):
    """Others pass it; it is listed with the time of its return, and comes back then and not before."""
    async with joined(url, token, "builds") as peer:
        first = await publish(fabric, peer, "one")
        await publish(fabric, peer, "two")
        await peer.event()
        before = datetime.now(UTC)
        await peer.ask("event_defer", eventId=first.id, delaySeconds=1)
        await peer.ack(await peer.event(2))
        (listed,) = await peer.ask("event_list", sessionTag="builds")
        await peer.event(3)
        returned = datetime.now(UTC)
        await peer.ack(peer.events[2])
        left = await peer.ask("event_list")

    returns_at = datetime.fromisoformat(listed["returnsAt"])
    assert (listed["eventId"], listed["state"], listed["attempts"]) == (first.id, "queued", 1)
    assert before + timedelta(seconds=0.9) <= returns_at <= returned + timedelta(milliseconds=1)
    assert seen(peer) == [("one", 1), ("two", 1), ("one", 2)]
    assert left == []


async def test_a_delay_outlives_nats_and_the_server(fresh_natsd, fresh_fabric, tmp_path):
    """Both are gone while the event comes due; it is delivered, once, after they are back."""
    async with running_server(fresh_natsd, tmp_path / "one") as url:
        token = await make_token(fresh_fabric)
        async with joined(url, token, "builds") as peer:
            event = await publish(fresh_fabric, peer, "one")
            await peer.event()
            await peer.ask("event_defer", eventId=event.id, delaySeconds=1)
    fresh_natsd.restart()
    async with running_server(fresh_natsd, tmp_path / "two") as url, joined(url, token, "builds") as peer:
        await peer.ack(await eventually(lambda: peer.events and peer.events[0], timeout=20))
        left = await peer.ask("event_list")

    assert seen(peer) == [("one", 2)]
    assert left == []


async def hold(fabric, address, event, returns_at):
    """Leave the durable stack as a server does that died while it was putting an event back."""
    subject = subjects.event_subject(
        subjects.shard_of(address.profile_id, SHARDS), address, event.priority, subjects.source_maker("src_a")
    )
    stream = subjects.event_stream(subjects.shard_of(address.profile_id, SHARDS))
    stored = await fabric.get(stream, subject=subject)
    held = Held(event.id, stored.sequence, event.priority, 1, returns_at=returns_at)
    await Stacks(fabric, SHARDS).store(address, [held])
    return stored.sequence


@pytest.mark.parametrize("done_already", [False, True])
async def test_a_deferral_that_a_crash_cut_short_is_finished(url, token, fabric, done_already):
    """Whether or not the copy was stored: the event comes once more, from its line, and who held it is told."""
    async with joined(url, token) as somebody:
        event = await publish(fabric, somebody, "one")
        address = Address(somebody.welcome["profileId"], "builds")
        sequence = await hold(fabric, address, event, datetime.now(UTC).timestamp() - 1)
        if done_already:
            events = EventStore(fabric, Ledger(fabric), SHARDS)
            again = Event(event.id, event.origin, event.priority, event.created_at, attempts=1, path="/github")
            await events.put_back(address, again, b"one", sequence=sequence)
    async with joined(url, token, "builds", inflight=[event.id]) as peer:
        await peer.ack(await peer.event())
        left = await peer.ask("event_list")

    assert seen(peer) == [("one", 2)]
    assert named(peer, "timed_out") == [event.id]
    assert left == []


async def test_a_deferral_is_remembered_before_it_is_done(url, token, fabric, monkeypatch):
    """The connection ends when nothing but the wish is stored: it is carried out for whoever comes next."""
    tried, mended = asyncio.Event(), asyncio.Event()
    put_back = EventStore.put_back

    async def fragile(*args, **fields):
        tried.set()
        if not mended.is_set():
            raise Unavailable("NATS is away")
        await put_back(*args, **fields)

    monkeypatch.setattr(EventStore, "put_back", fragile)
    async with joined(url, token, "builds") as peer:
        event = await publish(fabric, peer, "one")
        await publish(fabric, peer, "two")
        await peer.event()
        await peer.send(type="event_defer", requestId="r", eventId=event.id)
        await tried.wait()
    async with joined(url, token, "builds") as peer:
        await eventually(lambda: peer.roles[-1] == "active")
        mended.set()
        for number in (1, 2):
            await peer.ack(await peer.event(number))

    assert seen(peer) == [("two", 1), ("one", 2)]


# --- failed -------------------------------------------------------------------------------------------------------


async def test_an_event_that_fails_three_times_is_dead(url, token, fabric, monkeypatch):
    """It is delivered again twice; then it is a dead letter with the last reason, and the next one comes."""
    monkeypatch.setattr(lane, "FAILURE_PAUSE_SECONDS", 0.05)
    async with joined(url, token, "builds") as peer:
        event = await publish(fabric, peer, "one")
        await publish(fabric, peer, "two")
        for number in (1, 2, 3):
            await peer.event(number)
            await peer.ask("event_fail", eventId=event.id, reason=f"broken {number}")
        await peer.event(4)
        (dead,) = await peer.ask("event_list", states=["dead"])
        (record,) = await peer.ask("event_history")

    assert seen(peer) == [("one", 1), ("one", 2), ("one", 3), ("two", 1)]
    assert (dead["eventId"], dead["reason"], dead["attempts"]) == (event.id, "failed", 3)
    assert (record["state"], record["reason"], record["summary"]) == ("dead", "failed", "broken 3")


async def test_failures_are_counted_over_connections(url, token, fabric, monkeypatch):
    """A session that gives the event back and leaves each time does not have it for ever."""
    monkeypatch.setattr(lane, "FAILURE_PAUSE_SECONDS", 0.05)
    for _ in range(3):
        async with joined(url, token, "builds") as peer:
            if not await peer.ask("event_list"):
                event = await publish(fabric, peer, "one")
            await peer.event()
            await peer.ask("event_fail", eventId=event.id, reason="no disk")
    async with joined(url, token, "builds") as peer:
        (dead,) = await peer.ask("event_list", states=["dead"])

    assert (dead["eventId"], dead["reason"], dead["attempts"]) == (event.id, "failed", 3)


# --- the active event ---------------------------------------------------------------------------------------------


async def test_the_active_event_can_be_asked_for(url, token, fabric):
    """As it was delivered, as often as one likes; null where there is none."""
    async with joined(url, token, "builds") as peer:
        nothing = await peer.ask("event_next")
        event = await publish(fabric, peer, "one")
        shown = await peer.event()
        answers = [await peer.ask("event_next") for _ in range(2)]
        await peer.ack(shown)
        afterwards = await peer.ask("event_next")

    assert nothing is None
    assert answers == [{"eventId": event.id, "content": "one", "meta": shown["meta"]}] * 2
    assert afterwards is None
    assert len(peer.events) == 1


# --- timed out ----------------------------------------------------------------------------------------------------


async def test_a_timed_out_event_is_recorded_listed_and_replayed(url, token, fabric):
    """The next goes out at once; the dead letter can be run again as a new event that says which it repeats."""
    async with joined(url, token, "builds") as peer:
        event = await publish(fabric, peer, "one", allowed=0.2, delivery_id="d-1")
        await peer.event()
        await publish(fabric, peer, "two")
        await peer.event(2)
        (record,) = await peer.ask("event_history")
        listed = await peer.ask("event_list", states=["timed_out"])
        replayed = await peer.ask("event_replay", eventId=event.id)
        with pytest.raises(Refused, match="there is no dead letter"):
            await peer.ask("event_replay", eventId=event.id)
        left = await peer.ask("event_list", states=["timed_out", "dead"])
        await peer.ack(peer.events[1])
        again = await peer.event(3)

    assert named(peer, "timed_out") == [event.id]
    assert (record["state"], record["timedOut"], record["reason"]) == ("timed_out", True, "timed_out")
    (only,) = listed
    assert only == {
        "eventId": event.id,
        "state": "timed_out",
        "source": "webhook",
        "path": "/github",
        "eventType": "push",
        "priority": "normal",
        "sessionTag": "builds",
        "createdAt": only["createdAt"],
        "attempts": 1,
        "reason": "timed_out",
    }
    assert replayed == {"eventId": again["id"], "replay": event.id}
    assert again["id"] != event.id
    assert (again["content"], again["meta"]["replay"], again["meta"]["attempt"]) == ("one", event.id, "1")
    assert left == []


async def test_a_late_ack_is_recorded_against_its_own_event(url, token, fabric):
    """The event in flight by then is untouched, and the timed-out one stays so, with what was done about it."""
    async with joined(url, token, "builds") as peer:
        late = await publish(fabric, peer, "one", allowed=0.2)
        current = await publish(fabric, peer, "two")
        await peer.event(2)
        answer = await peer.ask("ack", eventId=late.id, summary="done after all")
        (record,) = await peer.ask("event_history")
        held = await states(peer, states=["offered"])

    assert answer == {"eventId": late.id, "settled": False}
    assert (record["eventId"], record["state"], record["timedOut"]) == (late.id, "timed_out", True)
    assert record["summary"] == "done after all"
    assert held == {current.id: "offered"}


async def test_a_late_ack_of_a_client_that_was_away_is_recorded_too(url, token, fabric):
    """The journal of a reconnecting client is settled the same way."""
    async with joined(url, token, "builds") as peer:
        late = await publish(fabric, peer, "one", allowed=0.2)
        await eventually(lambda: named(peer, "timed_out"))
    acked = [{"eventId": late.id, "summary": "offline"}, {"eventId": "evt_unknown", "summary": "?"}]
    async with joined(url, token, "builds", acked=acked) as peer:
        (record,) = await peer.ask("event_history")

    assert (record["state"], record["summary"]) == ("timed_out", "offline")


async def test_a_replay_asked_for_twice_at_once_is_one_event(url, token, fabric):
    """Two people may see the same list."""
    async with joined(url, token, "builds") as peer, joined(url, token) as other:
        event = await publish(fabric, peer, "one", allowed=0.2)
        await eventually(lambda: named(peer, "timed_out"))
        await publish(fabric, peer, "two")
        await peer.event(2)
        answers = await asyncio.gather(
            *(each.ask("event_replay", eventId=event.id) for each in (peer, other)), return_exceptions=True
        )
        waiting = await peer.ask("event_list", states=["queued"])

    (replayed,) = {answer["eventId"] for answer in answers if isinstance(answer, dict)}
    assert [each["eventId"] for each in waiting] == [replayed]


async def test_the_profiles_time_out_counts_where_the_source_has_none(url, token, fabric):
    """It is changed for the whole profile, within its bounds, and can be read in the answer."""
    async with joined(url, token, "builds") as peer:
        answer = await peer.ask("account_update", timeoutSeconds=90)
        with pytest.raises(Refused, match="timeoutSeconds refused, read 59: accepted is 60 to 86400"):
            await peer.ask("account_update", timeoutSeconds=59)
        event = await publish(fabric, peer, "one", allowed=None)
        await peer.event()
        stack = await Stacks(fabric, SHARDS).held_by_profile(peer.welcome["profileId"])

    assert answer["timeoutSeconds"] == 90
    assert answer["profileId"] == peer.welcome["profileId"]
    assert [(held.event_id, held.allowed_seconds) for held in stack.values()] == [(event.id, 90.0)]


async def test_nothing_of_another_profiles_is_seen_or_replayed(url, token, fabric):
    """Its dead letters are as unknown as none."""
    async with joined(url, token, "builds") as peer, joined(url, await make_token(fabric)) as stranger:
        event = await publish(fabric, peer, "one", allowed=0.2)
        await eventually(lambda: named(peer, "timed_out"))
        listed = await stranger.ask("event_list")
        for wrong in (event.id, "*", "evt_*", ">", "a.b", ""):
            with pytest.raises(Refused, match="there is no dead letter"):
                await stranger.ask("event_replay", eventId=wrong)

        assert listed == []
        assert await states(peer) == {event.id: "timed_out"}


async def test_deleting_a_source_buries_what_it_had_deferred(url, token, fabric):
    """A delayed event waits as well as one in line, so it becomes a dead letter too."""
    async with joined(url, token, "builds") as peer:
        source = await peer.ask("source_create", slug="github", verifierType="none")
        event = await publish(fabric, peer, "one", source_id=source["id"])
        await peer.event()
        await peer.ask("event_defer", eventId=event.id, delaySeconds=3600)
        await peer.ask("source_delete", sourceId=source["id"])
        listed = await peer.ask("event_list")

    assert [(each["eventId"], each["state"], each["reason"]) for each in listed] == [
        (event.id, "dead", "source_deleted")
    ]
