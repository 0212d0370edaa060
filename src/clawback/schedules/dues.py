"""
The instants at which an expression is due in a time zone. Pure.

When clocks change, we do as Debian's cron does. A job at fixed times (minute and hour do not begin with `*`) runs once
for each of them: right after the gap where it lies in the gap that clocks skip in spring, and the first time of two
where they show an hour twice in autumn. A job with a star in front of minute or hour runs whenever the wall
clock matches, so `*/5` keeps its beat through both.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from clawback.errors import Rejected
from clawback.schedules.expression import Expression

_SECOND = timedelta(seconds=1)
_LOOKAHEAD = timedelta(days=1)
"""No zone changes its clocks twice within this time."""


@lru_cache(maxsize=1024)
def parse_zone(name: str) -> ZoneInfo:
    """
    Find a time zone by its IANA name.

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
