"""
The instants at which an expression is due in a time zone. Pure.

When clocks change, we do as Debian's cron does. A job at fixed times (minute and hour do not begin with `*`) runs once
for each of them: right after the gap where it lies in the gap that clocks skip in spring, and the first time of two
where they show an hour twice in autumn. A job with a star in front of minute or hour runs whenever the wall
clock matches, so `*/5` keeps its beat through both.
"""

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

from clawback.errors import Rejected
from clawback.schedules.expression import Expression

_SECOND = timedelta(seconds=1)
_TICK = timedelta(microseconds=1)
_LOOKAHEAD = timedelta(days=1)
"""No zone changes its clocks twice within this time."""


@lru_cache(maxsize=1)
def _iana_names() -> frozenset[str]:
    """List the names that IANA gives zones; Factory is its word for a clock that nobody has set."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text().split()) - {"Factory"}


def parse_zone(name: str) -> ZoneInfo:
    """
    Find a time zone by its IANA name, as somebody gives it.

    Other names that the machine has files for are none: `localtime` is another zone on each machine, and the zones
    under `right/` count leap seconds.

    Raises:
        Rejected: there is none.
    """
    if name not in _iana_names():
        raise Rejected(f"timezone refused, read {name[:80]!a}: accepted is UTC or an IANA name such as Europe/Berlin")
    return find_zone(name)


@lru_cache(maxsize=1024)
def find_zone(name: str) -> ZoneInfo:
    """
    Find a zone that was stored: an earlier version took whatever the machine had a file for.

    Raises:
        Rejected: there is none.
    """
    try:
        # A file's path, a directory of zones and a name with a NUL are no zones either.
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise Rejected(
            f"timezone refused, read {name[:80]!a}: accepted is UTC or an IANA name such as Europe/Berlin"
        ) from None


def next_due(expression: Expression, zone: ZoneInfo, after: datetime) -> datetime:
    """Return the first instant after another at which an expression is due, in UTC."""
    after = after.astimezone(UTC)
    return _next_floating(expression, zone, after) if expression.floating else _next_fixed(expression, zone, after)


def due_times(expression: Expression, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Go through the instants after another at which an expression is due, without end."""
    while True:
        after = next_due(expression, zone, after)
        yield after


class Passed(NamedTuple):
    """How many instants were due in a time, and the newest of them, oldest first."""

    total: int
    newest: list[datetime]


def count_due(expression: Expression, zone: ZoneInfo, first: datetime, now: datetime, most: int) -> Passed:
    """
    Count what is due from `first` until `now`, both included, and list the newest, `most` at most.

    Nothing is gone through but the newest: while clocks stand, each match on the wall is one instant, and matches are
    counted by days. So years of every minute take milliseconds.
    """
    count, newest = 0, deque[datetime]()
    for stretch in reversed(list(_stretches(zone, first.astimezone(UTC), now.astimezone(UTC) + _TICK))):
        start, moved = stretch.start, None
        if stretch.before is not None and not expression.floating:
            passed = _wall(stretch.at, stretch.before)
            if passed > start:
                start = passed  # what clocks show again has been due
            elif expression.count_on_the_wall(passed, start) and not expression.count_on_the_wall(start, start + _TICK):
                moved = stretch.at  # what they skip is due right after
        count += expression.count_on_the_wall(start, stretch.end) + (moved is not None)
        wanted = islice(expression.latest_on_the_wall(start, stretch.end), most - len(newest))
        newest.extendleft(wall.replace(tzinfo=UTC) - stretch.offset for wall in wanted)
        if moved is not None and len(newest) < most:
            newest.appendleft(moved)
    return Passed(count, list(newest))


class _Stretch(NamedTuple):
    """
    A time in which clocks keep their offset: what the wall shows at its `start`, and at its `end`, which is not in it.

    It begins `at` an instant; `before` is the offset until then, None where no change began it.
    """

    at: datetime
    start: datetime
    end: datetime
    offset: timedelta
    before: timedelta | None


def _stretches(zone: ZoneInfo, first: datetime, end: datetime) -> Iterator[_Stretch]:
    """Part a time into those between changes of clocks."""
    before: timedelta | None = None
    at = moment = first
    if first.astimezone(zone).fold:
        # It begins in what clocks show for the second time.
        before = _offset(zone, first - _LOOKAHEAD)
        at = _first_change(zone, first - _LOOKAHEAD, first, before) or first
    while moment < end:
        offset, start = _offset(zone, moment), _wall(moment, _offset(zone, moment))
        change = None
        while moment < end and change is None:
            horizon = min(moment + _LOOKAHEAD, end)
            change = _first_change(zone, moment, horizon, offset)
            moment = horizon if change is None else change
        yield _Stretch(at, start, _wall(moment, offset), offset, before)
        at, before = moment, offset


def _wall(moment: datetime, offset: timedelta) -> datetime:
    return (moment + offset).replace(tzinfo=None)


def _next_fixed(expression: Expression, zone: ZoneInfo, after: datetime) -> datetime:
    wall = after.astimezone(zone).replace(tzinfo=None)
    while True:
        wall = expression.next_on_the_wall(wall)
        # Of a time that is shown twice this is the first; one that is skipped is read with the offset before the gap.
        due = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
        if due.astimezone(zone).replace(tzinfo=None) != wall:
            start = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
            change = _first_change(zone, start, due, _offset(zone, start))
            assert change is not None, "a time that is skipped has a change of clocks around it"
            due = change
        if due > after:
            return due


def _next_floating(expression: Expression, zone: ZoneInfo, after: datetime) -> datetime:
    moment, offset = after, _offset(zone, after)
    while True:
        wall = expression.next_on_the_wall((moment + offset).replace(tzinfo=None))
        due = wall.replace(tzinfo=UTC) - offset
        horizon = min(due, moment + _LOOKAHEAD)
        change = _first_change(zone, moment, horizon, offset)
        if change is not None:
            # From just before the change, by the new clock: what it shows at once counts as well.
            moment, offset = change - _SECOND, _offset(zone, change)
        elif horizon == due:
            return due
        else:
            # Nothing matches until shortly before `due`, whatever the offset; changes on the way do not matter.
            moment = max(horizon, due - 2 * _LOOKAHEAD)
            offset = _offset(zone, moment)


def _first_change(zone: ZoneInfo, start: datetime, end: datetime, before: timedelta) -> datetime | None:
    """Return the instant after `start`, up to `end`, at which clocks leave an offset; they do so once at most."""
    if _offset(zone, end) == before:
        return None
    start, end = start.replace(microsecond=0), end.replace(microsecond=0)
    while end - start > _SECOND:
        middle = (start + (end - start) / 2).replace(microsecond=0)
        if _offset(zone, middle) == before:
            start = middle
        else:
            end = middle
    return end


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None, "a zone always has one"
    return offset
