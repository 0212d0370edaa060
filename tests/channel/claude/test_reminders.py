"""Reminders: which are worth waking Claude, case by case and as a property of any half hour."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.channel.claude.reminders import Reminders, is_question
from clawback.model import TIMEOUT_SECONDS

EVERY_SECONDS = 120
"""How often the server reminds."""


def wakes(reminders, *, until=TIMEOUT_SECONDS, is_busy=False):
    """Name the minutes at which reminders are shown."""
    times = range(EVERY_SECONDS, int(until), EVERY_SECONDS)
    return [now // 60 for now in times if reminders.wants("a", is_busy=is_busy, now=float(now))]


def open_event():
    """Make the reminders of a session that was shown one event."""
    reminders = Reminders()
    reminders.shown("a", 0.0)
    return reminders


def test_an_idle_session_is_woken_twice():
    """At once, then at half of the time that is left; of fourteen reminders."""
    assert wakes(open_event()) == [2, 16]


def test_a_busy_session_is_reminded_each_time():
    """It costs no turn, and counts for nothing."""
    reminders = open_event()

    assert len(wakes(reminders, until=1000, is_busy=True)) == 8
    assert reminders.wants("a", is_busy=False, now=1000.0)


def test_a_turn_that_asked_the_user_is_not_woken():
    """Until it ends otherwise."""
    reminders = open_event()
    reminders.turn_ended("a", asks=True)
    asking = wakes(reminders)
    reminders.turn_ended("a", asks=False)

    assert asking == []
    assert reminders.wants("a", is_busy=False, now=1700.0)


def test_more_time_is_more_halves():
    """Each later than the one before by half of what was left; never three in half an hour."""
    reminders = open_event()
    reminders.extended("a", 86_400.0)
    reminders.extended("unknown", 1.0)

    assert wakes(reminders, until=TIMEOUT_SECONDS + 86_400) == [2, 736, 1104, 1288, 1380, 1426, 1448, 1460]


def test_each_event_counts_for_itself_and_is_forgotten_with_its_end():
    """A second one is new, and so is the first when it comes again."""
    reminders = open_event()
    wakes(reminders)
    reminders.shown("b", 1700.0)
    second = reminders.wants("b", is_busy=False, now=1800.0)
    reminders.keep(frozenset("b"))
    reminders.shown("a", 1900.0)

    assert second
    assert reminders.wants("a", is_busy=False, now=2000.0)


@given(
    st.lists(
        st.tuples(st.integers(1, 400), st.sampled_from(["idle", "busy", "asked", "answered", "longer"])), max_size=200
    )
)
def test_no_half_hour_wakes_an_idle_session_more_than_twice(happened):
    """Whatever else happens to it."""
    reminders, now, woken = open_event(), 0.0, []
    for wait, what in happened:
        now += wait
        if what in {"asked", "answered"}:
            reminders.turn_ended("a", asks=what == "asked")
        elif what == "longer":
            reminders.extended("a", 3600.0)
        elif reminders.wants("a", is_busy=what == "busy", now=now) and what == "idle":
            woken.append(now)

    assert all(third - first >= TIMEOUT_SECONDS for first, third in zip(woken, woken[2:], strict=False))


@pytest.mark.parametrize(
    ("text", "asks"),
    [("Shall I merge it?", True), ("Which one? (a or b)", True), ("\uff1f", True), ("Done.", False), ("", False),
     ("Why? " + "x" * 300, False)],
)  # fmt: skip
def test_a_question_is_known_by_its_mark(text, asks):
    """At the end of what was said."""
    assert is_question(text) is asks
