"""One event, wherever it is, and the lanes: what a page or a script is told of them."""

from datetime import UTC, datetime, timedelta

import pytest

from clawback.errors import NotFound
from clawback.fabric import subjects
from clawback.model import Address, Event, EventState, Held, HistoryRecord, Origin, Priority, new_id
from clawback.operations.events import MAX_PAYLOAD_CHARACTERS, build_timeline, fetch_event, list_lanes
from clawback.store.inventory import Item
from clawback.store.stacks import Stacks
from conftest import SHARDS

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MAKER = subjects.source_maker("src_a")


async def store(services, caller, body=b"", **fields):
    """Store an event of the caller's session and return it."""
    event = Event(
        new_id("evt"), Origin.WEBHOOK, Priority.NORMAL, datetime.now(UTC), path="/hub", event_type="push", **fields
    )
    address = Address(caller.profile_id, caller.session_tag)
    await services.events.store(address, event, body, maker=MAKER, patience_s=5)
    return event


async def test_a_waiting_event_is_answered_with_its_payload(services, alice):
    """And with the order that its route gave it."""
    event = await store(services, alice, b'{"a": 1}', skill="/go", delivery_id="d1")
    answer = await fetch_event(services, alice, event.id)

    assert answer == {
        "eventId": event.id,
        "state": "queued",
        "source": "webhook",
        "path": "/hub",
        "eventType": "push",
        "priority": "normal",
        "sessionTag": "deploys",
        "createdAt": event.created_at,
        "attempts": 0,
        "skill": "/go",
        "deliveryId": "d1",
        "replay": None,
        "timeline": [{"state": "queued", "at": event.created_at}],
        "payload": {"text": '{"a": 1}', "bytes": 8},
    }


async def test_an_ended_event_has_a_way_and_no_payload(services, alice):
    """An ack deletes what was stored."""
    record = HistoryRecord(
        new_id("evt"), "webhook", EventState.ACKED, NOW, duration_ms=1500, attempts=2, summary="Done.",
        session_tag="deploys", created_at=NOW - timedelta(minutes=1),
    )  # fmt: skip
    await services.history.record(Address(alice.profile_id, "deploys"), record)
    answer = await fetch_event(services, alice, record.event_id)

    assert (answer["state"], answer["summary"], answer["payload"]) == ("acked", "Done.", None)
    assert answer["timeline"] == [
        {"state": "queued", "at": NOW - timedelta(minutes=1)},
        {"state": "offered", "at": NOW - timedelta(seconds=1.5), "attempt": 2},
        {"state": "acked", "at": NOW, "summary": "Done."},
    ]


@pytest.mark.parametrize("compressible", [True, False])
async def test_a_long_payload_is_cut(services, alice, compressible):
    """However it is stored."""
    body = b"x" * (MAX_PAYLOAD_CHARACTERS + (400_000 if compressible else 1))
    event = await store(services, alice, body)
    payload = (await fetch_event(services, alice, event.id))["payload"]

    assert payload == {"text": "x" * MAX_PAYLOAD_CHARACTERS, "bytes": len(body), "cut": True}


async def test_what_is_no_text_is_base64(services, alice):
    """It says so."""
    event = await store(services, alice, b"\xff\x00")

    assert (await fetch_event(services, alice, event.id))["payload"] == {
        "text": "/wA=",
        "bytes": 2,
        "encoding": "base64",
    }


async def test_what_is_anothers_or_unknown_is_not_found(services, alice, charlie):
    """The two look the same; a wildcard is no id."""
    event = await store(services, alice)
    record = HistoryRecord(new_id("evt"), "webhook", EventState.ACKED, NOW)
    await services.history.record(Address(alice.profile_id), record)

    for event_id in (event.id, record.event_id, new_id("evt"), "*", ">", ""):
        with pytest.raises(NotFound, match="there is no event"):
            await fetch_event(services, charlie, event_id)


async def test_lanes_are_the_callers_own(services, fabric, alice, charlie):
    """What is held, what leaves next, and how much waits."""
    first = await store(services, alice)
    address = Address(alice.profile_id, "deploys")
    shard = subjects.shard_of(alice.profile_id, SHARDS)
    line = subjects.event_subject(shard, address, Priority.NORMAL, MAKER)
    stored = await fabric.get(subjects.event_stream(shard), subject=line)
    await Stacks(fabric, SHARDS).store(address, [Held(first.id, stored.sequence, Priority.NORMAL, attempt=1)])
    waiting = [await store(services, alice) for _ in range(7)]
    (lane,) = await list_lanes(services, alice)

    assert (lane["sessionTag"], lane["waiting"], lane["deferred"]) == ("deploys", 7, [])
    assert [(each["eventId"], each["state"], each["attempts"]) for each in lane["held"]] == [(first.id, "offered", 1)]
    assert [each["eventId"] for each in lane["next"]] == [each.id for each in waiting[:5]]
    assert await list_lanes(services, charlie) == []


def an_item(state, **fields):
    """Make an item of an event that was accepted a minute ago."""
    event = Event("evt_a", Origin.WEBHOOK, Priority.NORMAL, NOW - timedelta(minutes=1))
    return Item("evt_a", state, Address("p"), NOW, event, **fields)


def test_the_way_of_a_held_event_ends_with_its_session():
    """With the attempt."""
    held = Held("evt_a", 1, Priority.NORMAL, attempt=2, delivered_at=NOW.timestamp())

    assert build_timeline(an_item(EventState.OFFERED, attempts=2, held=held), [])[1:] == [
        {"state": "offered", "at": NOW, "attempt": 2}
    ]


def test_the_way_of_an_event_that_was_seen_says_when():
    """After its delivery."""
    seen = NOW + timedelta(seconds=2)
    held = Held("evt_a", 1, Priority.NORMAL, attempt=1, delivered_at=NOW.timestamp(), seen_at=seen.timestamp())

    assert build_timeline(an_item(EventState.CLAIMED, attempts=1, held=held), [])[1:] == [
        {"state": "offered", "at": NOW, "attempt": 1},
        {"state": "claimed", "at": seen},
    ]


def test_the_way_of_a_deferred_event_says_when_it_returns():
    """It was put off when it came to where it is."""
    back = NOW + timedelta(hours=1)

    assert build_timeline(an_item(EventState.QUEUED, returns_at=back), [])[1:] == [
        {"state": "queued", "at": NOW, "returnsAt": back}
    ]


def test_a_dead_letter_whose_record_is_gone_still_says_why():
    """The history keeps 200 of an address, dead letters stay."""
    item = an_item(EventState.DEAD, reason="crash_loop")
    record = HistoryRecord("evt_a", "webhook", EventState.DEAD, NOW, reason="crash_loop")

    assert build_timeline(item, []) == build_timeline(item, [record])
    assert build_timeline(item, [])[-1] == {"state": "dead", "at": NOW, "reason": "crash_loop"}


def test_an_event_that_was_seen_and_ended_tells_both():
    """From its record alone, in the order in which it happened."""
    seen_at = NOW - timedelta(seconds=1)
    record = HistoryRecord("evt_a", "webhook", EventState.ACKED, NOW, duration_ms=3000, attempts=1, seen_at=seen_at)

    assert build_timeline(None, [record]) == [
        {"state": "offered", "at": NOW - timedelta(seconds=3), "attempt": 1},
        {"state": "claimed", "at": seen_at},
        {"state": "acked", "at": NOW},
    ]


def test_a_late_ack_is_no_second_end():
    """It is known of the time-out by its summary."""
    record = HistoryRecord("evt_a", "webhook", EventState.TIMED_OUT, NOW, reason="timed_out")
    late = HistoryRecord("evt_a", "webhook", EventState.TIMED_OUT, NOW, reason="timed_out", summary="done late")

    assert build_timeline(None, [record, late]) == [
        {"state": "timed_out", "at": NOW, "reason": "timed_out", "summary": "done late"}
    ]
