"""The payload of an event, read part by part: wherever it is, and by nobody else."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest

from clawback import wire
from clawback.errors import NotFound, Rejected
from clawback.fabric import subjects
from clawback.model import Address, Event, Held, Origin, Priority, Projection, Scheme, new_id
from clawback.operations import perform
from clawback.store.stacks import Stacks
from conftest import SHARDS

BODY = json.dumps({"pr": {"title": "Ünï", "n": 3, "draft": False, "none": None}, "list": [1, {"a": "b"}]}).encode()
TEXT = BODY.decode()


async def store(services, caller, body=BODY, **fields):
    """Store an event that waits for the caller's session, and return it."""
    event = Event(new_id("evt"), Origin.WEBHOOK, Priority.NORMAL, datetime.now(UTC), source_id="src_a", **fields)
    address = Address(caller.profile_id, caller.session_tag)
    await services.events.store(address, event, body, maker=subjects.source_maker("src_a"), patience_s=5)
    return event


async def read(services, caller, event_id, **fields):
    """Ask for a payload."""
    return await perform(services, caller, wire.EventPayload(request_id="1", event_id=event_id, **fields))


@pytest.mark.parametrize(
    ("path", "kind", "text"),
    [
        (None, "payload", TEXT),
        ("", "payload", TEXT),
        ("pr.title", "string", "Ünï"),
        ("pr.n", "number", "3"),
        ("pr.draft", "boolean", "false"),
        ("pr.none", "null", "null"),
        ("list", "array", '[1,{"a":"b"}]'),
        ("list.1", "object", '{"a":"b"}'),
    ],
)
async def test_what_is_at_a_path_is_read(services, alice, path, kind, text):
    """Text as it is, all else as JSON, the whole as it was received."""
    event = await store(services, alice, payload=Projection(compact=Scheme.GITHUB))

    assert await read(services, alice, event.id, path=path) == {
        "eventId": event.id,
        "path": path or "",
        "kind": kind,
        "text": text,
        "offset": 0,
        "totalCharacters": len(text),
    }


@pytest.mark.parametrize(
    ("path", "kind", "text"),
    [
        ("action", "string", "opened"),
        ("all.3", "object", '{"n":3}'),
        ("all.3.n", "number", "3"),
        ("all", "array", None),
    ],
)
async def test_a_payload_of_very_many_values_is_read_too(services, alice, path, kind, text):
    """By the slice at its path: what is wide itself is shown as it came."""
    wide = "[" + ",".join(f'{{"n":{number}}}' for number in range(60_000)) + "]"
    event = await store(services, alice, f'{{"all":{wide},"action":"opened"}}'.encode())
    answer = await read(services, alice, event.id, path=path)

    assert (answer["kind"], answer["text"]) == (kind, wide[:20_000] if text is None else text)
    with pytest.raises(NotFound, match="missing"):
        await read(services, alice, event.id, path="all.missing")


async def test_a_long_payload_is_read_in_pieces(services, alice):
    """Each says where the next begins; the last says no more. A megabyte is stored compressed, which nobody sees."""
    text = "äß" * 500_000
    event = await store(services, alice, text.encode())
    pieces, offset = [], 0
    while offset is not None:
        piece = await read(services, alice, event.id, offset=offset, limit=100_000)
        pieces.append(piece["text"])
        offset = piece.get("nextOffset")
    usual = await read(services, alice, event.id)
    behind = await read(services, alice, event.id, offset=len(text))

    assert "".join(pieces) == text
    assert len(usual["text"]) == 20_000
    assert (behind["text"], behind.get("nextOffset")) == ("", None)


async def test_wherever_an_event_is_its_payload_is_read(services, fabric, alice):
    """It waits, behind others; a session holds it; it waits out of line; it is dead. Ended, it is gone."""
    address = Address(alice.profile_id, alice.session_tag)
    stream = subjects.event_stream(subjects.shard_of(alice.profile_id, SHARDS))
    held, deferred, dead, waiting = [await store(services, alice, f'{{"n":{n}}}'.encode()) for n in range(4)]
    line = subjects.profile_filter(subjects.shard_of(alice.profile_id, SHARDS), alice.profile_id)
    sequences = [stored.sequence async for stored in fabric.walk(stream, line)]
    await Stacks(fabric, SHARDS).store(address, [Held(held.id, sequences[0], Priority.NORMAL, attempt=1)])
    later = datetime.now(UTC) + timedelta(days=1)
    await services.events.put_back(address, deferred, b'{"n":1}', sequence=sequences[1], at=later)
    await services.events.bury(address, dead, b'{"n":2}', reason="failed")
    for sequence in sequences[1:3]:
        await fabric.delete(stream, sequence)
    texts = [(await read(services, alice, event.id, path="n"))["text"] for event in (held, deferred, dead, waiting)]
    await fabric.delete(stream, sequences[0])

    assert texts == ["0", "1", "2", "3"]
    with pytest.raises(NotFound, match="it has ended, or never was"):
        await read(services, alice, held.id)


async def test_nobody_else_reads_it(services, alice, charlie):
    """Another profile's event is as unknown as none, and so is what is no id."""
    event = await store(services, alice)

    for event_id in (event.id, "evt_none", "evt.>", "*", ""):
        with pytest.raises(NotFound, match="there is no event"):
            await read(services, charlie, event_id)


async def test_bytes_that_are_no_text_are_base64(services, alice):
    """As a whole; there are no paths in them, nor in text that is no JSON."""
    raw = await store(services, alice, b"\xff\x00", encoding="base64")
    form = await store(services, alice, b"payload=%7B%7D")

    assert (await read(services, alice, raw.id))["text"] == base64.b64encode(b"\xff\x00").decode()
    for event in (raw, form):
        with pytest.raises(Rejected, match="not JSON, so there are no paths in it"):
            await read(services, alice, event.id, path="a")


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"limit": 0}, Rejected, "a limit of 1 to 100000"),
        ({"limit": 100_001}, Rejected, "a limit of 1 to 100000"),
        ({"offset": -1}, Rejected, "an offset from 0"),
        ({"path": "a..b"}, Rejected, "accepted are at most 12 names"),
        ({"path": "pr.tilte"}, NotFound, "no 'tilte' at pr: an object with title, n, draft, none"),
    ],
)
async def test_a_wrong_wish_says_what_is_accepted(services, alice, fields, error, message):
    """Or what is there."""
    event = await store(services, alice)

    with pytest.raises(error, match=message):
        await read(services, alice, event.id, **fields)
