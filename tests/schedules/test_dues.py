"""When crons are due: cronsim, which follows Debian's cron, says so for every change of clocks of ten years."""

import warnings
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import groupby, islice, pairwise, takewhile
from zoneinfo import ZoneInfo, available_timezones

import pytest
from cronsim import CronSim
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clawback.errors import Rejected
from clawback.schedules import count_due, due_times, dues, next_due, parse_expression, parse_zone

ZONES = (
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/St_Johns",
    "America/Santiago",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
)
"""Changes at 1, 2, 3 and 24 o'clock, by half an hour, an hour and two, in both hemispheres, and around Ramadan."""

EXPRESSIONS = (
    "*/15 * * * *",
    "30 * * * *",
    "*/20 2 * * *",
    "5 */2 * * *",
    "30 2 * * *",
    "0,30 0-3 * * *",
    "15 1,3 * * *",
    "0 0 * * *",
    "45 23 * * *",
    "59 2 * * SUN",
    "10 2 31 3 *",
    "0 3 25-31 10 SUN",
)
BEGIN, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2035, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@cache
def changes(zone):
    """Find the hours, in UTC, in which the clocks of a zone change."""
    hours = (BEGIN + number * HOUR for number in range(int((END - BEGIN) / HOUR)))
    offsets = [(hour, hour.astimezone(zone).utcoffset()) for hour in hours if hour.hour % 6 == 0]
    return [late for (_, before), (late, after) in pairwise(offsets) if before != after]


def between(text, zone, start, end):
    """What is due after `start`, until `end`."""
    dues = due_times(parse_expression(text), zone, start)
    return list(takewhile(lambda due: due <= end, dues))


def by_cronsim(text, zone, start, end):
    """The same by the oracle. What it moves out of a gap to an instant that is due anyway is one instant of ours."""
    dues = (due.astimezone(UTC) for due in CronSim(text, start.astimezone(zone)))
    return [due for due, _ in groupby(takewhile(lambda due: due <= end, dues))]


def by_the_minute(text, zone, start, end):
    """The same without cronsim, which is an hour off where clocks change by half an hour; for what keeps its beat."""
    expression = parse_expression(text)
    minutes = (start + number * MINUTE for number in range(1, int((end - start) / MINUTE) + 1))
    walls = ((minute, minute.astimezone(zone).replace(tzinfo=None)) for minute in minutes)
    return [minute for minute, wall in walls if expression.next_on_the_wall(wall - MINUTE) == wall]


@pytest.mark.parametrize("name", ZONES)
def test_every_change_of_clocks_is_as_in_debians_cron(name):
    """From a day before each to a day after, the instants are those of the oracle."""
    zone = parse_zone(name)
    found = changes(zone)

    assert len(found) >= 20
    for change in found:
        for text in EXPRESSIONS:
            start, end = change - DAY, change + DAY
            by_wall = name == "Australia/Lord_Howe" and parse_expression(text).floating
            oracle = by_the_minute if by_wall else by_cronsim
            assert between(text, zone, start, end) == oracle(text, zone, start, end), (text, change)


def test_a_job_in_the_gap_runs_once_right_after_it():
    """In Berlin, 2:00 to 2:59 do not exist on 30 March 2025."""
    berlin = parse_zone("Europe/Berlin")
    start, end = datetime(2025, 3, 29, 12, tzinfo=UTC), datetime(2025, 3, 30, 12, tzinfo=UTC)

    assert between("30 2 * * *", berlin, start, end) == [datetime(2025, 3, 30, 1, tzinfo=UTC)]
    assert between("*/30 2 * * *", berlin, start, end) == []


def test_a_job_in_the_hour_that_comes_twice_runs_once():
    """In Berlin, 2:00 to 2:59 come twice on 26 October 2025; what has a star keeps its beat."""
    berlin = parse_zone("Europe/Berlin")
    start, end = datetime(2025, 10, 25, 12, tzinfo=UTC), datetime(2025, 10, 26, 12, tzinfo=UTC)
    beat = between("*/5 * * * *", berlin, start, end)

    assert between("30 2 * * *", berlin, start, end) == [datetime(2025, 10, 26, 0, 30, tzinfo=UTC)]
    assert {later - earlier for earlier, later in pairwise(beat)} == {timedelta(minutes=5)}


def test_looking_in_the_second_of_two_hours_finds_the_next_day():
    """A server that starts in it does not run again what ran in the first."""
    berlin = parse_zone("Europe/Berlin")
    second_time = datetime(2025, 10, 26, 1, 15, tzinfo=UTC)

    assert next_due(parse_expression("30 2 * * *"), berlin, second_time) == datetime(2025, 10, 27, 1, 30, tzinfo=UTC)


def test_a_due_instant_is_not_due_again():
    """After means after, to the second and below."""
    minutely, utc = parse_expression("* * * * *"), parse_zone("UTC")
    due = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

    assert next_due(minutely, utc, due) == due + timedelta(minutes=1)
    assert next_due(minutely, utc, due - timedelta(microseconds=1)) == due


def test_rare_days_are_found():
    """29 February that is a Monday, over the century's missing one."""
    leap = parse_expression("0 0 29 2 */7")
    found = list(islice(due_times(parse_expression("0 0 29 2 *"), parse_zone("UTC"), BEGIN), 3))
    sunday = next_due(leap, parse_zone("UTC"), datetime(2080, 1, 1, tzinfo=UTC))

    assert [due.year for due in found] == [2024, 2028, 2032]
    assert (sunday.month, sunday.day, sunday.isoweekday()) == (2, 29, 7)


@pytest.mark.parametrize(
    "name",
    [
        "right/Europe/Berlin",
        "posix/Europe/Berlin",
        "localtime",
        "posixrules",
        "Factory",
        "right/UTC",
        "europe/berlin",
        "Europe/Berlin ",
        "leapseconds",
        "zone.tab",
        "tzdata.zi",
        "America",
        "UTC+1",
        "EST5EDT,M3.2.0,M11.1.0",
    ],
)
def test_a_zone_that_iana_does_not_name_is_refused(name):
    """Though the machine has a file for it; one that was stored is found as before."""
    with pytest.raises(Rejected, match=r"timezone refused, read .*: accepted is UTC or an IANA name such as"):
        parse_zone(name)


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "Etc/GMT+5", "US/Eastern", "GB", "America/Argentina/Ushuaia"])
def test_a_zone_that_iana_names_is_found(name):
    """Old names too."""
    assert parse_zone(name).key == name


@settings(max_examples=300, deadline=None)
@example("59 23 * * *", "Asia/Beirut", datetime(2027, 10, 30, 21, 29, tzinfo=UTC), 86_400.0)
@example("0-59 0-3 * * *", "Australia/Lord_Howe", datetime(2025, 4, 5, 15, 1, tzinfo=UTC), 50_000.0)
@given(
    st.sampled_from((*EXPRESSIONS, "* * * * *", "0-59 0-3 * * *", "0 0 L * *", "30 2 * * L0", "0 2 13 * FRI")),
    st.sampled_from(ZONES),
    st.datetimes(datetime(2024, 1, 1), datetime(2034, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 -- bounds have none
    st.floats(0, 10 * 86_400),
)
def test_counting_is_going_through_all(text, name, first, seconds):
    """From any instant, in what clocks show twice and skip too."""
    zone, expression, end = parse_zone(name), parse_expression(text), first + timedelta(seconds=seconds)
    change = next((change for change in changes(zone) if change > first), None)
    for start, last in ((first, end), *([(change - DAY, change + DAY)] if change is not None else [])):
        every = between(text, zone, start - timedelta(microseconds=1), last)
        found = count_due(expression, zone, start, last, 101)

        assert (found.total, found.newest) == (len(every), every[-101:])


def test_ten_years_of_minutes_are_counted_without_going_through_them(monkeypatch):
    """Nothing but what clocks do is looked up."""
    monkeypatch.setattr(dues, "next_due", None)
    found = count_due(parse_expression("* * * * *"), parse_zone("Europe/Berlin"), BEGIN, BEGIN + 3650 * DAY, 101)

    assert found.total == 3650 * 24 * 60 + 1
    assert len(found.newest) == 101


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../UTC", "/etc/passwd", "Europe", "CET+1", "a\0b", "x" * 5000])
def test_what_is_no_zone_is_refused(name):
    """Whatever file it names."""
    with pytest.raises(Rejected, match=r"timezone refused, read .*: accepted is UTC or an IANA name such as"):
        parse_zone(name)


def field(least, most, names=()):
    """Draw one field of an expression."""
    number = st.integers(least, most)
    # Of two different numbers: 3-3/2 is 3 to us, and 3 to the end to cronsim.
    span = st.sets(number, min_size=2, max_size=2).map(lambda ends: f"{min(ends)}-{max(ends)}")
    step = st.integers(1, most)
    term = st.one_of(
        number.map(str),
        span,
        st.tuples(span, step).map(lambda parts: f"{parts[0]}/{parts[1]}"),
        *([st.sampled_from(names)] if names else []),
    )
    return st.one_of(
        st.just("*"), step.map(lambda number: f"*/{number}"), st.lists(term, min_size=1, max_size=3).map(",".join)
    )


expressions = st.tuples(
    field(0, 59),
    field(0, 23),
    field(1, 28),
    field(1, 12, ("JAN", "jun", "Dec")),
    field(0, 6, ("SUN", "mon", "Fri")),
).map(" ".join)


@settings(max_examples=300, deadline=None)
@example("30 2 * * *", "Europe/Berlin", datetime(2025, 3, 29, 12, tzinfo=UTC))
@given(
    expressions,
    st.sampled_from(sorted(available_timezones() - {"localtime"})),
    st.datetimes(datetime(2024, 1, 1), datetime(2034, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 -- bounds have none
)
def test_any_expression_anywhere_is_due_when_the_oracle_says(text, name, start):
    """Ten zones do not have everything, nor do a dozen expressions."""
    zone, expression = ZoneInfo(name), parse_expression(text)
    with warnings.catch_warnings(action="ignore"):
        oracle = (due.astimezone(UTC) for due in CronSim(text, start.astimezone(zone)))
        expected = [due for due, _ in groupby(islice(oracle, 5))]
    found = list(islice(due_times(expression, zone, start), len(expected)))

    if found != expected and expression.floating:
        # cronsim steps over the change of clocks by the hour; what the wall shows decides.
        first = min(set(found) ^ set(expected)) - HOUR
        assert between(text, zone, first, first + DAY) == by_the_minute(text, zone, first, first + DAY)
    else:
        assert found == expected
