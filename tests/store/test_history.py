import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest

from clawback.fabric import subjects
from clawback.model import Address, EventState, HistoryRecord, encode_json, new_id, random_id
from clawback.store.history import History
from clawback.wire import MAX_SUMMARY_CHARACTERS

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def address() -> Address:
    """An address that no other test has."""
    return Address(random_id(16), "Déploys")


def a_record(state: EventState = EventState.ACKED, event_id: str | None = None, **fields) -> HistoryRecord:
    """Make a record of an event."""
    return HistoryRecord(event_id or new_id("evt"), "webhook", state, NOW, **fields)


async def test_a_record_comes_back_as_it_was(fabric, address):
    """Every field survives."""
    record = a_record(
        EventState.TIMED_OUT,
        path="/github",
        skill="/review",
        event_type="push",
        summary="Grüße\n",
        duration_ms=12,
        timed_out=True,
        attempts=3,
        session_tag="Déploys",
        reason="timed_out",
    )
    await History(fabric).record(address, record)

    assert await History(fabric).newest(address.profile_id, limit=20) == [record]


async def test_the_newest_come_first_across_tags(fabric, address):
    """All of a profile's addresses are one list, in the order of their ends; the limit keeps the newest."""
    history = History(fabric)
    untagged = Address(address.profile_id)
    records = [a_record() for _ in range(6)]
    for n, record in enumerate(records):
        await history.record(address if n % 2 else untagged, record)

    assert await history.newest(address.profile_id, limit=20) == records[::-1]
    assert await history.newest(address.profile_id, limit=2) == [records[5], records[4]]


async def test_an_event_is_listed_once_as_it_ended_last(fabric, address):
    """A late ack after a time-out is what is shown, in its own place."""
    history = History(fabric)
    late, between = new_id("evt"), a_record()
    await history.record(address, a_record(EventState.TIMED_OUT, late, timed_out=True))
    await history.record(address, between)
    await history.record(address, a_record(EventState.ACKED, late, timed_out=True, summary="done late"))
    found = await history.newest(address.profile_id, limit=20)

    assert [(record.event_id, record.state) for record in found] == [
        (late, EventState.ACKED),
        (between.event_id, EventState.ACKED),
    ]


async def test_a_record_stored_again_counts_once(fabric, address):
    """A repeat after an unknown outcome changes nothing."""
    history = History(fabric)
    record = a_record()
    for _ in range(3):
        await history.record(address, record)

    assert await fabric.counts("HIST", subjects.history_filter(address.profile_id)) == {
        subjects.history_subject(address): 1
    }


async def test_drops_are_shown_where_they_are_asked_for(fabric, address):
    """Dropped events are not among the finished ones, and are listed with them when asked for."""
    history = History(fabric)
    dropped, acked = a_record(EventState.DROPPED, reason="no_route"), a_record()
    await history.record_drop(address.profile_id, dropped)
    await history.record(address, acked)

    assert await history.newest(address.profile_id, limit=20) == [acked]
    assert await history.newest(address.profile_id, limit=20, states={EventState.DROPPED}) == [dropped]
    both = await history.newest(address.profile_id, limit=20, states={EventState.DROPPED, EventState.ACKED})
    assert both == [acked, dropped]


async def test_drops_do_not_push_ends_out(fabric, address):
    """A noisy source fills its own ring: what ended stays visible, and the ring holds the newest 200."""
    history = History(fabric)
    acked = a_record()
    await history.record(address, acked)
    drops = [a_record(EventState.DROPPED) for _ in range(210)]
    for drop in drops:
        await history.record_drop(address.profile_id, drop)
    found = await history.newest(address.profile_id, limit=1000, states={EventState.DROPPED})

    assert await history.newest(address.profile_id, limit=20) == [acked]
    assert found == drops[:-201:-1]


async def test_nobody_elses_history_is_shown(fabric, address):
    """Profiles are apart."""
    await History(fabric).record(address, a_record())

    assert await History(fabric).newest(random_id(16), limit=20) == []


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"eventId":5}'])
async def test_a_spoilt_record_hides_no_other(fabric, address, data, caplog):
    """What cannot be read is left out and logged by number."""
    history = History(fabric)
    record = a_record()
    await history.record(address, record)
    ack = await fabric.publish(subjects.history_subject(address), data)

    assert await history.newest(address.profile_id, limit=20) == [record]
    assert f"history record {ack.sequence} cannot be read" in caplog.text


async def test_records_of_one_instant_keep_their_order(fabric, address):
    """The order is that of storing, whatever the servers' clocks say."""
    history = History(fabric)
    first = HistoryRecord("evt_1", "cron", EventState.ACKED, NOW + timedelta(hours=1))
    second = HistoryRecord("evt_2", "cron", EventState.ACKED, NOW)
    await history.record(address, first)
    await history.record(address, second)

    assert await history.newest(address.profile_id, limit=20) == [second, first]


async def test_long_summaries_of_older_versions_are_read_a_few_at_a_time_and_cut(fabric, address):
    """None of them was cut when it was stored; what is asked for is little, and so is what is in memory for it."""
    count, size = 60, 900_000
    records = [a_record(EventState.TIMED_OUT, summary="x" * size) for _ in range(count)]
    for record in records:
        await fabric.publish(subjects.history_subject(address), encode_json(record))
    history = History(fabric)
    tracemalloc.start()
    (newest,) = await history.newest(address.profile_id, limit=1)
    (found,) = await history.of_event(address.profile_id, records[3].event_id)
    await history.add_late_acks(address, {records[4].event_id: "done after all"})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < count * size / 4
    assert newest.event_id == records[-1].event_id
    assert [len(record.summary) for record in (newest, found)] == [MAX_SUMMARY_CHARACTERS] * 2
    (late, _) = await history.newest(address.profile_id, limit=2)
    assert (late.event_id, late.summary) == (records[4].event_id, "done after all")
