"""The `traceparent` that anybody may have written."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clawback.telemetry.traceparent import parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"00-{TRACE}-{SPAN}-ff", f"00-{TRACE}-{SPAN}-ff"),
        (f"01-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", f"00-{TRACE}-{SPAN}-01"),
    ],
)
def test_a_traceparent_is_read(text, read):
    """Of this version, and of later ones what is as in this."""
    assert parse_traceparent(text) == read


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01x",
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0\u0661",
    ],
)
def test_anything_else_is_none(text):
    """What is almost one, and two of them."""
    assert parse_traceparent(text) is None


@given(st.one_of(st.text(), st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")))
@example("x" * 100_000)
def test_what_is_read_is_bounded_and_reads_as_itself(text):
    """No text breaks the reader, and none makes an event's headers grow."""
    read = parse_traceparent(text)

    assert read is None or (len(read) == 55 and parse_traceparent(read) == read)
