"""The lines of tail: what each record looks like, and that none of them commands a terminal."""

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.commands.tail_lines import wants, write_line

AT = "2027-01-31T08:00:00.25Z"
EVENT = {"type": "event", "at": AT, "eventId": "evt_1", "priority": "normal"}


@pytest.mark.parametrize(
    ("record", "line"),
    [
        ({"type": "listening", "at": AT}, "08:00:00  listening"),
        ({"type": "missed", "at": AT}, "08:00:00  missed     something was not told"),
        (
            EVENT | {"state": "queued", "sessionTag": "ci", "source": "webhook", "path": "/hub", "eventType": "push"},
            "08:00:00  queued     evt_1  ci  webhook  /hub  push",
        ),
        (
            EVENT | {"state": "offered", "priority": "interrupt", "attempt": 2},
            "08:00:00  offered    evt_1  (untagged)  interrupt  attempt 2",
        ),
        (
            EVENT | {"state": "acked", "attempt": 1, "durationMs": 60100, "summary": "Merged."},
            "08:00:00  acked      evt_1  (untagged)  60.1 s  Merged.",
        ),
        (EVENT | {"state": "dead", "reason": "failed"}, "08:00:00  dead       evt_1  (untagged)  failed"),
        (
            EVENT | {"state": "queued", "returnsAt": "2027-01-31T09:00:00Z"},
            "08:00:00  queued     evt_1  (untagged)  returns at 2027-01-31T09:00:00Z",
        ),
        ({"type": "session", "at": AT, "state": "left", "sessionTag": "ci"}, "08:00:00  left       session ci"),
        ({"type": "source", "at": AT, "state": "changed", "id": "src_1"}, "08:00:00  changed    source src_1"),
        (
            {"type": "refused", "at": AT, "state": "401", "id": "src_1", "reason": "no signature"},
            "08:00:00  refused    src_1  HTTP 401  no signature",
        ),
        ({"type": "later", "at": "nonsense"}, "--:--:--             later"),
    ],
)  # fmt: skip
def test_a_record_is_a_line(record, line):
    """Time, what happened, to what, and what is known of it; also of a type that is not known here."""
    assert write_line(record, UTC, colour=False).partition(": the feed")[0] == line


@pytest.mark.parametrize(("state", "colour"), [("acked", "\x1b[32m"), ("dead", "\x1b[31m"), ("queued", "")])
def test_a_colour_goes_around_the_whole_line(state, colour):
    """And ends with it."""
    plain = write_line(EVENT | {"state": state}, UTC, colour=False)
    dyed = write_line(EVENT | {"state": state}, UTC, colour=True)

    assert dyed == (f"{colour}{plain}\x1b[0m" if colour else plain)


@given(
    st.dictionaries(
        st.sampled_from(["type", "at", "state", "eventId", "sessionTag", "source", "path", "eventType", "priority"])
        | st.sampled_from(["attempt", "durationMs", "returnsAt", "reason", "summary", "id"]),
        st.text() | st.integers() | st.none() | st.sampled_from(["event", "session", "refused", "\x1b]0;pwned\x07"]),
    )
)
def test_no_record_commands_a_terminal(record):
    """Whatever anybody wrote into it: no control character, and no second line."""
    assert write_line(record, UTC, colour=False).isprintable()


@pytest.mark.parametrize(
    ("record", "tag", "wanted"),
    [
        (EVENT | {"sessionTag": "ci"}, None, True),
        (EVENT | {"sessionTag": "ci"}, "ci", True),
        (EVENT | {"sessionTag": "ci"}, "other", False),
        (EVENT, "(untagged)", True),
        (EVENT, "ci", False),
        ({"type": "session", "sessionTag": "ci"}, "ci", True),
        ({"type": "source", "id": "src_1"}, "ci", False),
        ({"type": "source", "id": "src_1"}, None, True),
        ({"type": "missed"}, "ci", True),
        ({"type": "listening"}, "ci", True),
    ],
)
def test_a_tag_narrows_it_down(record, tag, wanted):
    """To events and sessions of that tag; what is about the feed itself is always told."""
    assert wants(record, tag) is wanted
