"""How the pages say times, durations and strangers' text."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.model import EventState
from clawback.web import words

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (0.9, "now"),
        (1, "1 s ago"),
        (59, "59 s ago"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (2 * 86_400 - 1, "47 h ago"),
        (2 * 86_400, "2 days ago"),
        (-0.5, "now"),
        (-59, "in 59 s"),
        (-7200, "in 2 h"),
    ],
)
def test_a_time_is_said_from_now(seconds, text):
    """By its largest unit, in either direction."""
    assert words.ago(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (40, "< 0.1 s"),
        (1500, "1.5 s"),
        (59_999, "59 s"),
        (61_000, "1 min 1 s"),
        (1_800_000, "30 min"),
        (7_200_000, "2 h"),
        (7_500_000, "2 h 5 min"),
    ],
)
def test_a_duration_is_said_as_exactly_as_it_matters(milliseconds, text):
    """Tenths below ten seconds, no seconds above an hour."""
    assert words.lasted(milliseconds) == text


@pytest.mark.parametrize(
    ("when", "text"),
    [
        (NOW, "2026-11-23 12:00 UTC"),
        (NOW.replace(second=5), "2026-11-23 12:00:05 UTC"),
        (NOW.astimezone(ZoneInfo("Asia/Kolkata")), "2026-11-23 17:30 +05:30"),
        (NOW.astimezone(ZoneInfo("America/New_York")), "2026-11-23 07:00 -05:00"),
    ],
)
def test_an_instant_is_written_by_its_own_clock(when, text):
    """A cron's in its zone, with the offset."""
    assert words.moment(when) == text


def test_an_instant_for_machines_is_utc():
    """As browsers read it."""
    assert words.iso(NOW.astimezone(ZoneInfo("Asia/Kolkata"))) == "2026-11-23T12:00:00Z"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\nGrüße 👩‍💻", "plain\ttext\nGrüße 👩‍💻"),
        ("user\u202egnp.exe", "user⟨U+202E⟩gnp.exe"),
        ("a\x00b\x1b[31m", "a⟨U+0000⟩b⟨U+001B⟩[31m"),
        ("\u2066x\u2069\u200f", "⟨U+2066⟩x⟨U+2069⟩⟨U+200F⟩"),
    ],
)
def test_what_cannot_be_seen_is_made_visible(text, shown):
    """Nothing turns the direction of what follows, and emoji stay whole."""
    assert words.plain(text) == shown


@given(st.text())
def test_nothing_that_cannot_be_seen_is_left(text):
    """Whatever somebody sends."""
    shown = words.plain(text)

    assert words.plain(shown) == shown
    assert not set(shown) & set("\x00\x1b\x7f\x9f\u061c\u200e\u202a\u202e\u2066\u2069\u2028")


@pytest.mark.parametrize("text", ["", "no json", "[" * 100_000, '{"a": 1'])
def test_what_is_no_json_stays_as_it_is(text):
    """However it is broken."""
    assert words.pretty(text) == text


def test_json_is_laid_out():
    """Numbers and order stay."""
    assert words.pretty('{"b":1.0,"a":[]}') == '{\n  "b": 1.0,\n  "a": []\n}'


def test_every_state_has_a_word():
    """None is shown by its name in the protocol."""
    assert words.STATES.keys() == {state.value for state in EventState}
