"""
Cron expressions: five fields, read as Debian's cron reads them. Pure.

Minute, hour, day of month, month, day of week; each `*`, a number, a range, a list, with steps; names for months and
weekdays; or one word such as `@daily`. Where both day fields are restricted, either of them is enough; where one of
them begins with `*`, both have to match. The last day of a month is `L`; the first Monday of one is `MON#1`, the last
Friday `L5`.

What is wrong is found here, field by field, and said in words. What is right is written in one way, which croniter
reads, and it steps from day to day on the wall. It reads some expressions otherwise than Debian does (docs/adr/0013
has the list); those are written here so that it cannot.
"""

import re
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from croniter import CroniterBadDateError, croniter
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

_NUMBER = re.compile(r"[0-9]{1,2}")
_YEAR = re.compile(r"(?:19|20|21)[0-9]{2}\b")
_ZONE = re.compile(r"(?:CRON_)?TZ=", re.IGNORECASE)
_CRON_TEXT = re.compile(f"(?:[0-9*,/#?LW-]|{'|'.join([*_MONTH_NAMES, *_WEEKDAY_NAMES])})+", re.IGNORECASE)
_NTH = re.compile(r"(?P<day>[0-9A-Z]+)#(?P<nth>[1-5])")
_LAST = re.compile(r"L(?P<day>[0-7]|[A-Z]{3})")

_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)

RAREST_YEARS = 50
"""How far ahead a day is looked for. 29 February is a certain weekday every 28 years, and over a century every 40."""


class Expression(Struct, frozen=True):
    """
    A parsed expression. `floating` ones begin minute or hour with `*`: they keep their beat when clocks change.

    `days` are its day fields as croniter reads them, None where every day is meant. `either_day` says that day of month
    or day of week is enough.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: str | None
    either_day: bool
    floating: bool

    def next_on_the_wall(self, after: datetime) -> datetime:
        """Return the first time a clock on the wall shows after a given one (both without a zone) that matches."""
        moment = after.replace(second=0, microsecond=0) + _MINUTE
        day = self.next_day(moment.date())
        if day == moment.date() and (found := self._first_of_day(moment)) is not None:
            return found
        if day == moment.date():
            day = self.next_day(day + _DAY)
        return datetime(day.year, day.month, day.day, self.hours[0], self.minutes[0])  # noqa: DTZ001 -- a wall has none

    def next_day(self, day: date) -> date:
        """Return the first day, this one or later, on which it is due."""
        return day if self.days is None else _next_day(self.days, self.either_day, day)

    def days_between(self, first: date, last: date) -> Iterator[date]:
        """Go through the days on which it is due, from one to another."""
        day = self.next_day(first)
        while day <= last:
            yield day
            day = self.next_day(day + _DAY)

    def count_on_the_wall(self, start: datetime, end: datetime) -> int:
        """Count the times that match from one until just before another."""
        start, end = _next_minute(start), _next_minute(end)
        if start >= end:
            return 0
        first, last = start.date(), end.date()
        if first == last:
            return (self.next_day(first) == first) * (self._pairs_before(end) - self._pairs_before(start))
        between = (last - first).days - 1
        if self.days is not None:
            between = sum(1 for _ in self.days_between(first + _DAY, last - _DAY))
        pairs = len(self.hours) * len(self.minutes)
        count = between * pairs
        if self.next_day(first) == first:
            count += pairs - self._pairs_before(start)
        if self.next_day(last) == last:
            count += self._pairs_before(end)
        return count

    def latest_on_the_wall(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Go through the same times, the latest first."""
        if start >= end:
            return
        for day in reversed(list(self.days_between(start.date(), end.date()))):
            for hour in reversed(self.hours):
                for minute in reversed(self.minutes):
                    found = datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001 -- a wall has no zone
                    if found < start:
                        return
                    if found < end:
                        yield found

    def _pairs_before(self, moment: datetime) -> int:
        """Count the hours and minutes that match before a time of day."""
        place = bisect_left(self.hours, moment.hour)
        in_hour = place < len(self.hours) and self.hours[place] == moment.hour
        return place * len(self.minutes) + (bisect_left(self.minutes, moment.minute) if in_hour else 0)

    def _first_of_day(self, moment: datetime) -> datetime | None:
        """Return the first match on this day that is not before this moment."""
        for hour in self.hours[bisect_left(self.hours, moment.hour) :]:
            earliest = moment.minute if hour == moment.hour else 0
            place = bisect_left(self.minutes, earliest)
            if place < len(self.minutes):
                return moment.replace(hour=hour, minute=self.minutes[place])
        return None


def _next_minute(moment: datetime) -> datetime:
    """Return a full minute, this one or the next."""
    full = moment.replace(second=0, microsecond=0)
    return full if full == moment else full + _MINUTE


_steppers: dict[tuple[str, bool], croniter] = {}
_stepping = threading.Lock()
"""croniter keeps where it is, and crons are planned in threads too."""

MAX_STEPPERS = 2048


@lru_cache(maxsize=8192)
def _next_day(days: str, either_day: bool, day: date) -> date:  # noqa: FBT001 -- of the cache's key
    """
    Step with croniter, which is slow, to the first day that matches, this one or later.

    Raises:
        CroniterBadDateError: there is none.
    """
    start = datetime(day.year, day.month, day.day) - _MINUTE  # noqa: DTZ001 -- a wall has no zone
    with _stepping:
        stepper = _steppers.get((days, either_day))
        if stepper is None:
            if len(_steppers) >= MAX_STEPPERS:
                _steppers.clear()
            stepper = croniter(days, start, day_or=either_day, max_years_between_matches=RAREST_YEARS)
            _steppers[days, either_day] = stepper
        found: datetime = stepper.get_next(datetime, start_time=start)
    return found.date()


def parse_expression(text: str) -> Expression:
    """
    Read a cron expression as somebody gives it.

    Raises:
        Rejected: names the field that is wrong, what was read and what is accepted.
    """
    return _parse(text, strict=True)


@lru_cache(maxsize=2048)
def read_expression(text: str) -> Expression:
    """
    Read one that was stored: an earlier version took some that would be refused today, and those run on.

    Raises:
        Rejected: it is none.
    """
    return _parse(text, strict=False)


def _parse(text: str, *, strict: bool) -> Expression:
    parts = _split(text)
    terms = [_parse_field(field, part.upper(), strict=strict) for field, part in zip(_FIELDS, parts, strict=True)]
    starred = [part.startswith("*") for part in parts]
    either_day = not starred[2] and not starred[4]
    if either_day and _is_nth(terms[4]):
        raise Rejected(
            f"schedule refused, it has both a day of month, {_quoted(parts[2])}, and a weekday by its place in the"
            f" month, {_quoted(parts[4])}: accepted is one of them, with * for the other"
        )
    expanded, _ = croniter.expand(" ".join([*terms[:2], "* * *"]))
    minutes, hours = (_numbers(field, values) for field, values in zip(_FIELDS[:2], expanded[:2], strict=True))
    days = _build_days(terms, either_day=either_day)
    found = Expression(minutes, hours, days, either_day and days is not None, starred[0] or starred[1])
    try:
        found.next_day(_CENTURY)
    except CroniterBadDateError:
        raise Rejected(
            f"schedule refused, it can never be due: its day of month reads {_quoted(parts[2])}, which no month has"
            f" that its month field {_quoted(parts[3])} names{_beside(parts[4])}; choose a day that comes"
        ) from None
    return found


_CENTURY = date(2072, 3, 1)
"""Over 2100, which has no 29 February: what does not come within RAREST_YEARS of here never does."""


def _beside(weekday: str) -> str:
    return "" if weekday == "*" else f" on a weekday {_quoted(weekday)}"


def _split(text: str) -> list[str]:
    """
    Part an expression into its five fields.

    Raises:
        Rejected: it has others.
    """
    if len(text) > MAX_CHARACTERS:
        raise Rejected(f"schedule refused, it has {len(text)} characters: accepted are at most {MAX_CHARACTERS}")
    parts = _WORDS.get(text.strip().lower(), text).split()
    if parts and _ZONE.match(parts[0]):
        raise Rejected(
            f"schedule refused, read {_quoted(text)}: a zone is no part of a schedule; leave {_quoted(parts[0])} out"
            f" and give timezone, an IANA name such as Asia/Tokyo"
        )
    if parts and parts[0].startswith("@"):
        raise Rejected(
            f"schedule refused, read {_quoted(text)}: of the words that begin with @ accepted are {', '.join(_WORDS)}"
        )
    if len(parts) != len(_FIELDS):
        raise Rejected(f"schedule refused, it has {len(parts)} fields: accepted are {_FORM}{_surplus(parts)}")
    return parts


def _surplus(parts: list[str]) -> str:
    """Say what the fields are that are too many, where that shows."""
    if len(parts) not in (len(_FIELDS) + 1, len(_FIELDS) + 2) or not all(map(_CRON_TEXT.fullmatch, parts)):
        return ""
    if len(parts) == len(_FIELDS) + 2:
        return "; neither seconds, the first of seven, nor a year, the last, are offered"
    if _YEAR.search(parts[-1]):
        return (
            f"; a year is not offered, and the last field reads {_quoted(parts[-1])}: leave it out, or give `once`, a"
            " time such as 2027-01-31T09:00"
        )
    return "; seconds are not offered"


def _build_days(terms: list[str], *, either_day: bool) -> str | None:
    """Write the day fields for croniter, None where every day is meant."""
    day, month, weekday = terms[2:]
    if either_day and "*" in (day, weekday):
        # Every day of the month, or any weekday: croniter would leave that field out and look at the other alone.
        day = weekday = "*"
    fields = (day, month, weekday)
    return None if fields == ("*", "*", "*") else f"0 0 {' '.join(fields)}"


def _numbers(field: _Field, values: list[int | str]) -> tuple[int, ...]:
    """Read what croniter makes of a field."""
    return tuple(range(field.least, field.most + 1)) if "*" in values else tuple(sorted(map(int, values)))


def _is_nth(term: str) -> bool:
    return "#" in term or "l" in term


def _parse_field(field: _Field, text: str, *, strict: bool) -> str:
    """Read a field, and write it for croniter: as `*`, or as the numbers that it means, in their order."""
    numbers: set[int] = set()
    special: set[str] = set()
    for term in text.split(","):
        if (found := _parse_special(field, term)) is not None:
            special.add(found)
        elif (values := _parse_term(field, term, strict=strict)) is not None:
            numbers.update(values)
        else:
            raise Rejected(_refusal(field, text, term))
    if field.names is _WEEKDAYS:
        numbers = {number % _SUNDAY for number in numbers}
        if special and numbers:
            raise Rejected(
                f"schedule refused, its day of week reads {_quoted(text)}: days by their place in the month, such as"
                " MON#1 and L5, cannot stand in one list with others; make two crons"
            )
    whole = range(field.least, _SUNDAY if field.names is _WEEKDAYS else field.most + 1)
    if numbers.issuperset(whole):
        return "*"
    return ",".join([*map(str, sorted(numbers)), *sorted(special)])


def _parse_special(field: _Field, term: str) -> str | None:
    """Read the last day of a month, or a weekday by its place in it; None where it is neither."""
    if field.name == "day of month" and term == "L":
        return "l"
    if field.names is not _WEEKDAYS:
        return None
    nth, last = _NTH.fullmatch(term), _LAST.fullmatch(term)
    named = nth or last
    day = _value(field, named["day"]) if named else None
    if day is None or day > _SUNDAY:
        return None
    return f"{day % _SUNDAY}#{nth['nth']}" if nth else f"l{day % _SUNDAY}"


def _parse_term(field: _Field, term: str, *, strict: bool) -> list[int] | None:
    """
    Read one part of a list; None where it is none.

    Raises:
        Rejected: it is one that would not do what it says.
    """
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
    if not step or first is None or last is None:
        return None
    if not (field.least <= first <= field.most and field.least <= last <= field.most):
        return None
    if strict and step > field.most:
        raise Rejected(
            f"schedule refused, its {field.name} reads {_quoted(term)}: a step of {step} goes past {field.most}, so it"
            f" would mean {first} alone. Write {first}, or a step of at most {field.most}"
        )
    if first <= last:
        return list(range(first, last + 1, step))
    if field.names is _WEEKDAYS:
        # Over the week's end.
        return [number % _SUNDAY for number in range(first, last + _SUNDAY + 1, step)]
    steps = f"/{step}" if slash else ""
    raise Rejected(
        f"schedule refused, its {field.name} reads {_quoted(term)}, a range that runs backwards: write it as two,"
        f" {first}-{field.most}{steps},{field.least}-{last}{steps}"
    )


def _refusal(field: _Field, text: str, term: str) -> str:
    hint = ""
    if term == "?":
        hint = "; write * for ?"
    elif field.name == "day of month" and term.startswith("L"):
        hint = "; L alone is the last day of the month"
    elif field.name == "day of month" and "W" in term:
        hint = "; the nearest weekday, W, is not offered"
    elif field.names is _WEEKDAYS and (term.endswith("L") or "#" in term):
        hint = "; the first Monday of a month is MON#1, up to MON#5, and its last Friday L5"
    return f"schedule refused, its {field.name} reads {_quoted(text)}: {field.accepted}{hint}"


def _value(field: _Field, text: str, *, last: bool = False) -> int | None:
    if last and text == "SUN" and field.names is _WEEKDAYS:
        return _SUNDAY
    named = field.names.get(text)
    return _number(text) if named is None else named


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def _quoted(text: str) -> str:
    return ascii(text[:80])
