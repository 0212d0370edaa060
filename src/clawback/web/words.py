"""
How the pages say things: times, durations, states and reasons, and strangers' text made safe to look at. Pure.

`static/overview.js` says times in the same words, as they pass.
"""

import re
from datetime import UTC, datetime, timedelta

import msgspec

UNTAGGED = "untagged"

MINUTE, HOUR, DAY = 60, 3600, 86_400

STATES = {
    "queued": "waiting",
    "offered": "in flight",
    "claimed": "in flight, seen",
    "acked": "acked",
    "timed_out": "timed out",
    "dead": "dead letter",
    "dropped": "dropped",
    "skipped": "skipped",
    "discarded": "discarded",
    "filtered": "filtered",
}

REASONS = {
    "timed_out": "no ack came in time",
    "failed": "its session could not take it, three times",
    "crash_loop": "its session was lost five times in a row while it held it",
    "source_deleted": "its source was deleted",
    "unreadable": "it cannot be read",
    "no_route": "no route of its source matches",
    "condition": "a condition of its source held it back",
    "missed": "nothing was up when it was due",
    "messages_off": "another session set it, and this one takes no messages",
    "overlap": "an earlier run had not ended",
}

MAX_SHOWN_CHARACTERS = 64 * 1024
"""Of a payload on a page: more than anybody reads there."""

# Control characters but tab and line ends, and the marks that change the direction of what follows them (Unicode
# Standard Annex #9): with those, text reads as what it is not (CVE-2021-42574).
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """Make what cannot be seen in a stranger's text visible, as `⟨U+202E⟩`."""
    return _UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def ago(when: datetime, now: datetime) -> str:
    """Say how long ago something was, or in how long it will be."""
    seconds = (now - when).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{_about(seconds)} ago" if seconds > 0 else f"in {_about(-seconds)}"


def _about(seconds: float) -> str:
    """Say a duration by its largest unit."""
    whole = int(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min"
    if whole < 2 * DAY:
        return f"{whole // HOUR} h"
    return f"{whole // DAY} days"


def lasted(milliseconds: int) -> str:
    """Say how long something took."""
    if milliseconds < 100:  # noqa: PLR2004 -- what rounds to nothing
        return "< 0.1 s"
    if milliseconds < 10_000:  # noqa: PLR2004 -- below ten seconds a tenth still matters
        return f"{milliseconds / 1000:.1f} s"
    minutes, seconds = divmod(milliseconds // 1000, MINUTE)
    if minutes < 1:
        return f"{seconds} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 1:
        return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def moment(when: datetime) -> str:
    """Write an instant: `2027-01-31 09:00 UTC`, by the clock that it is in; with seconds where it has some."""
    shown = when.strftime("%Y-%m-%d %H:%M:%S" if when.second else "%Y-%m-%d %H:%M")
    offset = when.utcoffset() or timedelta()
    if not offset:
        return f"{shown} UTC"
    hours, minutes = divmod(abs(offset) // timedelta(minutes=1), 60)
    return f"{shown} {'-' if offset < timedelta() else '+'}{hours:02}:{minutes:02}"


def iso(when: datetime) -> str:
    """Write an instant for machines."""
    return when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def state(name: str) -> str:
    """Say where an event is."""
    return STATES.get(name, name)


def reason(name: str) -> str:
    """Say why an event ended as it did."""
    return REASONS.get(name, name)


def count(number: int, one: str, many: str) -> str:
    """Say how many there are of something."""
    return f"{number:,} {one if number == 1 else many}"


def pretty(text: str) -> str:
    """Lay JSON out over lines; what is none stays as it is."""
    try:
        return msgspec.json.format(text, indent=2)
    except (msgspec.DecodeError, RecursionError):
        return text


FILTERS = {each.__name__: each for each in (plain, ago, lasted, moment, iso, state, reason, count)}
