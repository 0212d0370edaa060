"""Cursors: opaque, and nobody's mistake or malice gets further than a refusal."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.errors import Rejected
from clawback.operations.cursors import read_cursor, write_cursor

POSITION = st.integers(0, 10**18 - 1)


@given(st.lists(POSITION, min_size=1, max_size=4))
def test_a_cursor_is_read_as_it_was_written(positions):
    """In a form that needs no escaping in a URL."""
    cursor = write_cursor("events", *positions)

    assert read_cursor("events", len(positions), cursor) == tuple(positions)
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(st.text())
def test_any_text_is_a_cursor_or_refused(text):
    """Nothing else comes of it."""
    try:
        positions = read_cursor("events", 3, text)
    except Rejected as error:
        assert "begins anew" in str(error)  # noqa: PT017 -- whether it raises is the text's to say
    else:
        assert len(positions) == 3


@pytest.mark.parametrize(
    "written",
    [
        "events-1-2",
        "events-1-2-3-4",
        "history-1-2-3",
        "events-1-2--3",
        f"events-1-2-{10**18}",
        "events-1-2-\uff13",
        "-1-2-3",
    ],
)
def test_what_is_not_this_lists_cursor_is_refused(written):
    """Another list's, too few or too many positions, and numbers that NATS would not take."""
    with pytest.raises(Rejected, match="cursor refused"):
        read_cursor("events", 3, base64.urlsafe_b64encode(written.encode()).decode())
