"""
Cron expressions: five fields, read as Debian's cron reads them. Pure.

Minute, hour, day of month, month, day of week; each `*`, a number, a range, a list, with steps; names for months and
weekdays; or one word such as `@daily`. Where both day fields are restricted, either of them is enough; where one of
them begins with `*`, both have to match.
"""

import re
from bisect import bisect_left
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec import Struct

from clawback.errors import Rejected

MAX_CHARACTERS = 1000
"""Of an expression. Every minute as a list has 169."""

_MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAY_NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_WEEKDAYS = {name: number for number, name in enumerate(_WEEKDAY_NAMES)}
_SUNDAY = 7
"""Another name of 0."""


class _Field(NamedTuple):
    name: str
    least: int
    most: int
    names: Mapping[str, int]

    @property
    def accepted(self) -> str:
        """Say what may stand here."""
        names = f" or {next(iter(self.names))} to {list(self.names)[-1]}" if self.names else ""
        return (
            f"accepted is {self.least} to {self.most}{names}, *, ranges such as {self.least}-{self.least + 2},"
            f" steps such as */2, and lists of these with commas"
        )


_FIELDS = (
    _Field("minute", 0, 59, {}),
    _Field("hour", 0, 23, {}),
    _Field("day of month", 1, 31, {}),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, _SUNDAY, _WEEKDAYS),
)
_FORM = "five fields: minute, hour, day of month, month, day of week, such as 30 8 * * MON-FRI"

_WORDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_LONGEST_MONTHS = {4: 30, 6: 30, 9: 30, 11: 30, 2: 29}

_NUMBER = re.compile(r"[0-9]{1,2}")
_MINUTE = timedelta(minutes=1)


class Expression(Struct, frozen=True):
    """
    A parsed expression. `floating` ones begin minute or hour with `*`: they keep their beat when clocks change.

    `either_day` says that day of month or day of week is enough.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    floating: bool

    def next_on_the_wall(self, after: datetime) -> datetime:
        """Return the first time a clock on the wall shows after a given one (both without a zone) that matches."""
        moment = after.replace(second=0, microsecond=0) + _MINUTE
        while True:
            if moment.month not in self.months:
                moment = _midnight(moment.replace(day=1) + timedelta(days=32)).replace(day=1)
            elif found := self._matches_day(moment) and self._first_of_day(moment):
                return found
            else:
                moment = _midnight(moment + timedelta(days=1))

    def _matches_day(self, moment: datetime) -> bool:
        in_month, in_week = moment.day in self.days, moment.isoweekday() % 7 in self.weekdays
        return in_month or in_week if self.either_day else in_month and in_week

    def _first_of_day(self, moment: datetime) -> datetime | None:
        """Return the first match on this day that is not before this moment."""
        for hour in self.hours[bisect_left(self.hours, moment.hour) :]:
            earliest = moment.minute if hour == moment.hour else 0
            place = bisect_left(self.minutes, earliest)
            if place < len(self.minutes):
                return moment.replace(hour=hour, minute=self.minutes[place])
        return None


def parse_expression(text: str) -> Expression:
    """
    Read a cron expression.

    Raises:
        Rejected: names the field that is wrong, what was read and what is accepted.
    """
    if len(text) > MAX_CHARACTERS:
        raise Rejected(f"schedule refused, it has {len(text)} characters: accepted are at most {MAX_CHARACTERS}")
    parts = _WORDS.get(text.strip().lower(), text).split()
    if parts and parts[0].startswith("@"):
        raise Rejected(
            f"schedule refused, read {_quoted(text)}: of the words that begin with @ accepted are {', '.join(_WORDS)}"
        )
    if len(parts) != len(_FIELDS):
        six = "; seconds are not offered" if len(parts) == len(_FIELDS) + 1 else ""
        raise Rejected(f"schedule refused, it has {len(parts)} fields: accepted are {_FORM}{six}")
    minutes, hours, days, months, weekdays = (
        _parse_field(field, part.upper()) for field, part in zip(_FIELDS, parts, strict=True)
    )
    if _SUNDAY in weekdays:
        weekdays = weekdays - {_SUNDAY} | {0}
    starred = [part.startswith("*") for part in parts]
    either_day = not starred[2] and not starred[4]
    if not either_day and min(days) > max(_LONGEST_MONTHS.get(month, 31) for month in months):
        raise Rejected(
            f"schedule refused, it can never be due: its day of month reads {_quoted(parts[2])}, which no month has"
            f" that its month field {_quoted(parts[3])} names; choose a day of month that comes"
        )
    return Expression(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(weekdays),
        either_day=either_day,
        floating=starred[0] or starred[1],
    )


def _parse_field(field: _Field, text: str) -> set[int]:
    found: set[int] = set()
    for term in text.split(","):
        values = _parse_term(field, term)
        if values is None:
            raise Rejected(f"schedule refused, its {field.name} reads {_quoted(text)}: {field.accepted}")
        found.update(values)
    return found


def _parse_term(field: _Field, term: str) -> range | None:
    """Read one part of a list; None where it is none."""
    span, slash, step_text = term.partition("/")
    step = _number(step_text) if slash else 1
    first_text, dash, last_text = span.partition("-")
    first: int | None
    last: int | None
    if span == "*":
        # Sunday has two numbers; a star means each day once, so that steps count from 0 to 6.
        first, last = field.least, min(field.most, _SUNDAY - 1) if field.names is _WEEKDAYS else field.most
    else:
        first = _value(field, first_text)
        # 5/15 is 5-59/15, as most readers of crontabs have it.
        last = _value(field, last_text, last=True) if dash else (field.most if slash else first)
    if not step or first is None or last is None or not field.least <= first <= last <= field.most:
        return None
    return range(first, last + 1, step)


def _value(field: _Field, text: str, *, last: bool = False) -> int | None:
    if last and text == "SUN" and field.names is _WEEKDAYS:
        return _SUNDAY
    named = field.names.get(text)
    return _number(text) if named is None else named


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0)


def _quoted(text: str) -> str:
    return ascii(text[:80])
