import asyncio
import os
import zlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.errors import BadPayload, QueueFull, TooLarge, Unavailable
from clawback.fabric import subjects
from clawback.fabric.jetstream import Stored
from clawback.fabric.streams import Fabric
from clawback.model import Address, Event, Origin, Priority, encode_json, new_id, random_id
from clawback.store.events import (
    COMPRESS_BYTES,
    EVENT_HEADER,
    LINE_HEADER,
    MAX_BODY_BYTES,
    RETURN_ID_HEADER,
    EventStore,
    decode_event,
    decode_event_header,
    turn_of,
)
from clawback.store.later import Due
from clawback.store.ledger import Ledger
from waiting import eventually

SHARDS = 2
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MAKER = subjects.source_maker("src_test")
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def address() -> Address:
    """An address that no other test has."""
    return Address(random_id(16), "Déploys")


@pytest.fixture
async def events(fabric) -> EventStore:
    """The event store of one server."""
    return EventStore(fabric, Ledger(fabric), SHARDS)


def an_event(**fields) -> Event:
    """Make an event, with a delivery id unless `delivery_id=None`."""
    fields = {"id": new_id("evt"), "delivery_id": "d-1", "path": "/github", "skill": "/review", **fields}
    return Event(origin=Origin.WEBHOOK, priority=Priority.NORMAL, created_at=NOW, **fields)


async def stored_at(fabric: Fabric, address: Address) -> list[Stored]:
    """Read what waits at an address."""
    shard = subjects.shard_of(address.profile_id, SHARDS)
    return await fabric.get_many(subjects.event_stream(shard), subjects.lane_filter(shard, address))


# --- storing ------------------------------------------------------------------------------------------------------


async def test_an_event_comes_back_as_it_was(fabric, events, address):
    """Fields and body survive, and the subject says where it waits, how urgent it is and who made it."""
    event = an_event(event_type="push", verified=True, skill="Grüße\nund mehr", source_id="src_test")
    new = await events.store(address, event, b'{"a":1}\n', maker=MAKER, patience_s=5)
    (stored,) = await stored_at(fabric, address)

    assert new
    assert decode_event(stored.headers, stored.data) == (event, b'{"a":1}\n')
    assert decode_event_header(stored.headers) == event
    assert subjects.parse_event_subject(stored.subject)[1:] == (address, Priority.NORMAL, MAKER)
    assert stored.headers["Nats-Msg-Id"] == event.id


@pytest.mark.parametrize("size", [0, 1, COMPRESS_BYTES, COMPRESS_BYTES + 1, 25 * 1024 * 1024])
async def test_a_body_of_any_size_comes_back(fabric, events, address, size):
    """Around the bound of compression, and up to the largest webhook, the body is what came in, byte for byte."""
    body = (b'{"repository": "octo-org/hello", "n": 17}' * (size // 40 + 1))[:size]
    event = an_event()
    await events.store(address, event, body, maker=MAKER, patience_s=20)
    (stored,) = await stored_at(fabric, address)

    assert decode_event(stored.headers, stored.data) == (event, body)
    assert (len(stored.data) == size) == (size <= COMPRESS_BYTES)


async def test_a_body_that_does_not_compress_enough_is_refused(fabric, events, address):
    """9 MB of noise fit NATS in no way; the sentence says what was read and what is accepted."""
    body = os.urandom(9 * 1024 * 1024)
    with pytest.raises(TooLarge, match=r"the body of 9437184 bytes has \d+ compressed; at most 8323072"):
        await events.store(address, an_event(), body, maker=MAKER, patience_s=20)

    assert await stored_at(fabric, address) == []


async def test_the_largest_body_that_fits_is_stored_with_its_headers(fabric, events, address):
    """Noise just below the bound goes through, with a long header."""
    event = an_event(skill="x" * 50_000)
    body = os.urandom(8 * 1024 * 1024 - 64 * 1024 - 4096)
    await events.store(address, event, body, maker=MAKER, patience_s=20)
    (stored,) = await stored_at(fabric, address)

    assert decode_event(stored.headers, stored.data) == (event, body)


async def test_events_wait_in_the_order_they_came(fabric, events, address):
    """What was stored first is first in its line."""
    sent = [an_event() for _ in range(20)]
    for event in sent:
        await events.store(address, event, b"", maker=MAKER, patience_s=5)

    assert [decode_event_header(stored.headers) for stored in await stored_at(fabric, address)] == sent


# --- once ---------------------------------------------------------------------------------------------------------


async def test_a_delivery_that_comes_again_is_stored_once(fabric, events, address):
    """Sent again at once or by another server, it is a duplicate and nothing is stored."""
    other = EventStore(fabric, Ledger(fabric), SHARDS)
    event = an_event()
    first = await events.store(address, event, b"1", maker=MAKER, patience_s=5)
    again = [await each.store(address, event, b"2", maker=MAKER, patience_s=5) for each in (events, other)]

    assert (first, again) == (True, [False, False])
    assert [stored.data for stored in await stored_at(fabric, address)] == [b"1"]


async def test_a_delivery_that_comes_many_times_at_once_is_stored_once(fabric, address):
    """Of concurrent servers exactly one has stored it."""
    stores = [EventStore(fabric, Ledger(fabric), SHARDS) for _ in range(8)]
    event = an_event()
    outcomes = await asyncio.gather(*(each.store(address, event, b"", maker=MAKER, patience_s=5) for each in stores))

    assert sorted(outcomes) == [False] * 7 + [True]
    assert len(await stored_at(fabric, address)) == 1


async def test_a_delivery_is_remembered_after_its_ack_and_a_kill_of_nats(fresh_natsd, fresh_fabric, address):
    """The stream forgets the id of an acked event at a restart (shown by one without); the ledger does not."""
    ledger = Ledger(fresh_fabric)
    events = EventStore(fresh_fabric, ledger, SHARDS)
    remembered, forgotten = an_event(), an_event(delivery_id=None)
    for event in (remembered, forgotten):
        await events.store(address, event, b"", maker=MAKER, patience_s=5)
    await ledger.drain()
    await end_all(fresh_fabric, address)
    fresh_natsd.restart()
    await eventually(lambda: fresh_fabric.generation == 2 and fresh_fabric.problem() is None, 10.0)
    restarted = EventStore(fresh_fabric, Ledger(fresh_fabric), SHARDS)
    new = [await restarted.store(address, each, b"", maker=MAKER, patience_s=5) for each in (remembered, forgotten)]

    assert new == [False, True]


async def end_all(fabric: Fabric, address: Address) -> None:
    """Delete what waits at an address, as acks do."""
    stream = subjects.event_stream(subjects.shard_of(address.profile_id, SHARDS))
    for stored in await stored_at(fabric, address):
        await fabric.api(f"STREAM.MSG.DELETE.{stream}", {"seq": stored.sequence})


async def test_an_event_without_a_delivery_id_leaves_the_ledger_alone(fabric, address):
    """Nobody can send it again under its id, so nothing is remembered of it."""
    ledger = Ledger(fabric)
    events = EventStore(fabric, ledger, SHARDS)
    await events.store(address, an_event(delivery_id=None), b"", maker=MAKER, patience_s=5)
    await ledger.drain()

    assert await fabric.counts("SEEN", f"seen.{address.profile_id}.*") == {}
    assert len(await stored_at(fabric, address)) == 1


# --- trouble ------------------------------------------------------------------------------------------------------


async def test_a_short_outage_of_nats_is_waited_out(fresh_natsd, fresh_fabric, address):
    """Within the patience an event is stored, once, as soon as NATS is back."""
    events = EventStore(fresh_fabric, Ledger(fresh_fabric), SHARDS)
    fresh_natsd.kill9()
    event = an_event()
    storing = asyncio.create_task(events.store(address, event, b"1", maker=MAKER, patience_s=20))
    await eventually(fresh_fabric.problem)
    fresh_natsd.start()
    new = await storing

    assert new
    await eventually(lambda: fresh_fabric.problem() is None)
    assert [decode_event_header(stored.headers) for stored in await stored_at(fresh_fabric, address)] == [event]


LOADED_SECONDS = 3.0
"""What a loaded machine may add; without the patience it would be far more."""


@pytest.mark.parametrize("patience", [0.1, 0.6])
async def test_a_long_outage_is_told_within_the_patience(fresh_natsd, fresh_fabric, address, patience):
    """Whoever sent it is told in time that it is not stored; what it tries again is still one event."""
    events = EventStore(fresh_fabric, Ledger(fresh_fabric), SHARDS)
    fresh_natsd.kill9()
    event = an_event()
    begun = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable):
        await events.store(address, event, b"", maker=MAKER, patience_s=patience)
    took = asyncio.get_running_loop().time() - begun
    fresh_natsd.start()
    await eventually(lambda: fresh_fabric.problem() is None, 10.0)
    again = await events.store(address, event, b"", maker=MAKER, patience_s=5)

    assert took < patience + LOADED_SECONDS
    assert again
    assert len(await stored_at(fresh_fabric, address)) == 1


async def test_a_frozen_nats_is_told_within_the_patience(fresh_natsd, fresh_fabric, address):
    """A server that takes the message and answers nothing leaves the outcome open; a repeat stores no second."""
    events = EventStore(fresh_fabric, Ledger(fresh_fabric), SHARDS)
    fresh_natsd.freeze()
    event = an_event(delivery_id=None)
    begun = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable, match="did not answer"):
        await events.store(address, event, b"", maker=MAKER, patience_s=0.5)
    took = asyncio.get_running_loop().time() - begun
    fresh_natsd.thaw()
    await events.store(address, event, b"", maker=MAKER, patience_s=10)

    assert took < 0.5 + LOADED_SECONDS
    assert len(await stored_at(fresh_fabric, address)) == 1


async def test_a_lost_puback_does_not_make_an_event_a_duplicate(fresh_natsd, fresh_fabric, address, monkeypatch):
    """What an attempt stored without being told is found by the next one; to the sender it is new."""
    attempts: list[str] = []
    publish = fresh_fabric.publish

    async def counted_publish(subject: str, *arguments, **options):
        attempts.append(subject)
        return await publish(subject, *arguments, **options)

    monkeypatch.setattr(fresh_fabric, "publish", counted_publish)
    events = EventStore(fresh_fabric, Ledger(fresh_fabric), SHARDS)
    fresh_natsd.freeze()
    storing = asyncio.create_task(events.store(address, an_event(delivery_id=None), b"", maker=MAKER, patience_s=20))
    await eventually(lambda: len(attempts) == 2)
    fresh_natsd.thaw()

    assert await storing
    assert len(await stored_at(fresh_fabric, address)) == 1


async def test_a_full_line_is_told_at_once(fresh_fabric, address):
    """A bound that is reached is no matter of patience; a delivery that is already stored is still a duplicate."""
    events = EventStore(fresh_fabric, Ledger(fresh_fabric), SHARDS)
    stream = subjects.event_stream(subjects.shard_of(address.profile_id, SHARDS))
    config = (await fresh_fabric.api(f"STREAM.INFO.{stream}", {}))["config"]
    await fresh_fabric.api(f"STREAM.UPDATE.{stream}", config | {"max_msgs_per_subject": 1})
    first = an_event()
    await events.store(address, first, b"", maker=MAKER, patience_s=5)
    async with asyncio.timeout(5):
        with pytest.raises(QueueFull):
            await events.store(address, an_event(), b"", maker=MAKER, patience_s=60)

    assert not await events.store(address, first, b"", maker=MAKER, patience_s=5)


# --- dead letters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, COMPRESS_BYTES + 1])
async def test_a_dead_letter_keeps_the_whole_event(fabric, events, address, size):
    """Event and body are as they were, under the address and the reason, once however often it is buried."""
    event = an_event()
    for _ in range(3):
        await events.bury(address, event, b"x" * size, reason="timed_out")
    found = await fabric.get_many("DEAD", f"dead.{address.profile_id}.>")

    assert [stored.subject for stored in found] == [subjects.dead_subject(address, "timed_out", event.id)]
    assert decode_event(found[0].headers, found[0].data) == (event, b"x" * size)


async def test_what_is_no_event_is_buried_as_it_is(fabric, events, address):
    """A message that somebody published by hand is kept, with its own headers and none of NATS's."""
    headers = {"X-Mine": "1", "Nats-Msg-Id": "theirs", "Nats-Expected-Last-Sequence": "7"}
    for _ in range(2):
        await events.bury_unreadable(address, headers, b"by hand")
    (stored,) = await fabric.get_many("DEAD", f"dead.{address.profile_id}.>")

    assert stored.subject.startswith(subjects.dead_subject(address, "unreadable", "raw_"))
    assert stored.data == b"by hand"
    assert stored.headers.keys() == {"X-Mine", "Nats-Msg-Id"}


# --- reading ------------------------------------------------------------------------------------------------------


def a_message(data: bytes, **fields) -> tuple[dict[str, str], bytes]:
    """Make a message of an event, as the store would."""
    return {EVENT_HEADER: encode_json(an_event(**fields)).decode()}, data


@given(st.text(), st.binary())
def test_no_message_breaks_the_reader(header, data):
    """Whatever somebody publishes by hand is BadPayload."""
    for headers in ({EVENT_HEADER: header}, {}):
        with pytest.raises(BadPayload):
            decode_event(headers, data)


@given(st.binary())
def test_no_compressed_body_breaks_the_reader(data):
    """What does not decompress is BadPayload, and what does is the body."""
    headers, _ = a_message(b"", compression="deflate")
    try:
        _, body = decode_event(headers, data)
    except BadPayload:
        return

    assert zlib.decompress(data) == body


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda _: b"",
        lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:],
    ],
)
def test_a_spoilt_body_is_refused(spoil):
    """A body that is cut off, longer than it should be or changed is not handed out."""
    headers, data = a_message(zlib.compress(os.urandom(100)), compression="deflate")
    with pytest.raises(BadPayload):
        decode_event(headers, spoil(data))


def test_a_bomb_is_refused():
    """A small message that would grow beyond any webhook is refused without growing."""
    headers, data = a_message(zlib.compress(bytes(MAX_BODY_BYTES + 1)), compression="deflate")
    with pytest.raises(BadPayload, match=f"larger than {MAX_BODY_BYTES} bytes"):
        decode_event(headers, data)


def test_an_unknown_compression_is_refused():
    """A newer version's way of storing is named, not guessed."""
    with pytest.raises(BadPayload, match="compressed in a way that this version does not know"):
        decode_event(*a_message(b"", compression="zstd"))


def test_a_header_of_a_newer_version_is_read():
    """Fields that this version does not know are passed over."""
    headers, data = a_message(b"body")
    newer = msgspec.json.decode(headers[EVENT_HEADER]) | {"newField": 1}
    event, body = decode_event({EVENT_HEADER: msgspec.json.encode(newer).decode()}, data)

    assert (event.path, body) == ("/github", b"body")


async def test_events_stored_together_are_in_each_line_or_in_none(events, fabric, address):
    """Each as it was given, with the same body, however large."""
    copies = {Address(address.profile_id, tag): an_event() for tag in (None, "a", "b")}
    body = os.urandom(COMPRESS_BYTES) * 4
    await events.store_together(copies, body, maker=MAKER, patience_s=20)
    stored = [
        await fabric.get_many(
            subjects.event_stream(subjects.shard_of(address.profile_id, SHARDS)),
            subjects.lane_filter(subjects.shard_of(address.profile_id, SHARDS), each),
        )
        for each in copies
    ]

    assert [decode_event(only.headers, only.data) for (only,) in stored] == [(each, body) for each in copies.values()]


async def test_events_stored_together_outlive_a_kill_of_nats(fresh_natsd, fresh_fabric):
    """While NATS is away it tries again; what was stored by an attempt of unknown outcome is not stored twice."""
    store = EventStore(fresh_fabric, Ledger(fresh_fabric), SHARDS)
    profile_id = random_id(16)
    for number in range(5):
        copies = {Address(profile_id, f"{number}-{tag}"): an_event() for tag in range(3)}
        storing = asyncio.create_task(store.store_together(copies, b"", maker=MAKER, patience_s=20))
        await asyncio.sleep(0)
        fresh_natsd.restart()
        await storing
    shard = subjects.shard_of(profile_id, SHARDS)
    counts = await fresh_fabric.counts(subjects.event_stream(shard), f"evt.{shard}.{profile_id}.>")

    assert list(counts.values()) == [1] * 15


# --- the way back into its line ---


async def test_an_event_that_returned_and_was_acked_does_not_return_again(fresh_fabric, fresh_natsd, address):
    """Its relay was slow to say that it is done, and NATS forgot what it had stored."""
    events = EventStore(fresh_fabric, Ledger(fresh_fabric), SHARDS)
    event = an_event()
    await events.store(address, event, b"{}", maker=MAKER, patience_s=5)
    (stored,) = await stored_at(fresh_fabric, address)
    at = datetime.now(UTC) + timedelta(hours=1)
    await events.put_back(address, event, b"{}", sequence=stored.sequence, at=at)
    ((_, deferred),) = [each async for each in events.deferred(address.profile_id)]
    due = Due(address.profile_id, event.id, deferred.headers, deferred.data)
    await events.take_back(due)
    stream = subjects.event_stream(subjects.shard_of(address.profile_id, SHARDS))
    for each in await stored_at(fresh_fabric, address):
        await events.may_end(address, event, turn_of(each.headers, event))
        await fresh_fabric.delete(stream, each.sequence)
    fresh_natsd.restart()
    other = EventStore(fresh_fabric, Ledger(fresh_fabric), SHARDS)

    async def is_taken():
        with suppress(Unavailable):
            await other.take_back(due)
            return True
        return False

    await eventually(is_taken, timeout=15)

    assert await stored_at(fresh_fabric, address) == []


# --- the trace it belongs to ----------------------------------------------------------------------------------------


async def test_a_trace_goes_where_its_event_goes(fabric, events, address):
    """Into its line, back into it, out of line and back, to the dead letters; not into a replay, which begins anew."""
    event = an_event(traceparent=TRACEPARENT)
    await events.store(address, event, b"{}", maker=MAKER, patience_s=5)
    (stored,) = await stored_at(fabric, address)
    await events.put_back(address, event, b"{}", sequence=stored.sequence)
    at = datetime.now(UTC) + timedelta(hours=1)
    await events.put_back(address, event, b"{}", sequence=stored.sequence, at=at)
    ((_, deferred),) = [each async for each in events.deferred(address.profile_id)]
    other, shard = Address(address.profile_id, "other"), subjects.shard_of(address.profile_id, SHARDS)
    elsewhere = {LINE_HEADER: subjects.event_subject(shard, other, event.priority, MAKER), RETURN_ID_HEADER: "other"}
    await events.take_back(Due(address.profile_id, event.id, deferred.headers | elsewhere, deferred.data))
    await events.bury(address, event, b"{}", reason="failed")
    dead = await events.find_dead(address.profile_id, event.id)
    everywhere = [*await stored_at(fabric, address), *await stored_at(fabric, other), deferred, dead]
    await events.replay(dead, new_id("evt"), NOW)
    replay = (await stored_at(fabric, address))[-1]

    assert [each.headers["traceparent"] for each in everywhere] == [TRACEPARENT] * 5
    assert all(decode_event(each.headers, each.data) == (event, b"{}") for each in everywhere)
    assert "traceparent" not in replay.headers


async def test_a_trace_is_nothing_that_an_older_version_would_see(fabric, events, address):
    """It stands in a header of its own; an event without one is stored as ever."""
    event = an_event()
    plain, traced = Address(address.profile_id, "a"), Address(address.profile_id, "b")
    await events.store(plain, event, b"", maker=MAKER, patience_s=5)
    copy = msgspec.structs.replace(event, id=new_id("evt"), delivery_id="d-2", traceparent=TRACEPARENT)
    await events.store(traced, copy, b"", maker=MAKER, patience_s=5)
    (without,), (with_one,) = await stored_at(fabric, plain), await stored_at(fabric, traced)

    assert with_one.headers.keys() - without.headers.keys() == {"traceparent"}
    assert "traceparent" not in with_one.headers[EVENT_HEADER]


@pytest.mark.parametrize("header", ["", "00-abc", "x" * 10_000, f"ff{TRACEPARENT[2:]}"])
def test_a_trace_that_is_none_is_left_out(header):
    """The event is read all the same, whatever stands in the header or among the fields."""
    headers, data = a_message(b"{}", id="evt_a", traceparent="planted")

    assert decode_event(headers | {"traceparent": header}, data)[0].traceparent is None
    assert decode_event(headers, data)[0].traceparent is None
    assert decode_event(headers | {"traceparent": TRACEPARENT}, data)[0].traceparent == TRACEPARENT
