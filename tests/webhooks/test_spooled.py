"""Files of the spool: read back as they were written, or not at all."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.errors import BadPayload
from clawback.model import Event, Origin, Priority
from clawback.webhooks.spooled import MAGIC, Spooled, build_file, parse_file

EVENT = Event(
    "evt_a",
    Origin.WEBHOOK,
    Priority.NORMAL,
    datetime(2026, 11, 25, 12, 0, 0, 123456, UTC),
    source_id="src_a",
    path="/github",
    event_type="push",
    skill="/look grüße",
    verified=True,
    delivery_id="d1",
)


def spooled(body: bytes = b'{"a":1}', tag: str | None = "docs") -> Spooled:
    """Build an event of the spool."""
    return Spooled("prof_a", tag, "src_a", EVENT, body)


@given(st.binary(max_size=2000), st.none() | st.text(max_size=20))
def test_an_event_is_read_as_it_was_written(body, tag):
    """Whatever its body and tag."""
    assert parse_file(build_file(spooled(body, tag))) == spooled(body, tag)


@given(st.data())
def test_a_file_that_was_cut_off_is_none(data):
    """At any place."""
    whole = build_file(spooled())
    length = data.draw(st.integers(0, len(whole) - 1))

    with pytest.raises(BadPayload):
        parse_file(whole[:length])


@given(st.binary(min_size=1, max_size=100))
def test_a_file_that_grew_is_none(more):
    """By whatever."""
    with pytest.raises(BadPayload):
        parse_file(build_file(spooled()) + more)


@given(st.data())
def test_a_file_with_changed_bits_is_none(data):
    """One, or some close to each other, anywhere."""
    whole = bytearray(build_file(spooled()))
    position = data.draw(st.integers(0, len(whole) - 2))
    changed = data.draw(st.integers(1, 0xFFFF))
    whole[position] ^= changed >> 8
    whole[position + 1] ^= changed & 0xFF

    with pytest.raises(BadPayload):
        parse_file(bytes(whole))


@given(st.binary(max_size=200), st.booleans())
def test_other_bytes_are_none(data, begins_well):
    """And nothing but BadPayload comes of them."""
    with pytest.raises(BadPayload):
        parse_file(MAGIC + data if begins_well else data)
