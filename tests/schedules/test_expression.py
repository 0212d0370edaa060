"""Cron expressions: what is read, and what a user is told of one that is none."""

import calendar
from datetime import date, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawback.errors import Rejected
from clawback.schedules import expression, parse_expression, read_expression

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@Weekly", "0 0 * * SUN"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 JAN *"),
        ("@annually", "0 0 1 1 *"),
        ("0 9 * * MON-FRI", "0 9 * * 1,2,3,4,5"),
        ("0 9 * jan,Jul sat-sun", "0 9 * 1,7 6,0"),
        ("0 9 * * 5-7", "0 9 * * 0,5,6"),
        ("0 9 * * 7", "0 9 * * 0"),
        ("5/15 0 1 1 0", "5,20,35,50 0 1 1 0"),
        ("10-30/10 0 1 1 0", "10,20,30 0 1 1 0"),
        ("  1  2\t3 4 5 ", "1 2 3 4 5"),
        ("0 0 * * */2", "0 0 * * */2"),
        ("0 0 * * FRI-MON", "0 0 * * 0,1,5,6"),
        ("0 0 * * 5-1", "0 0 * * FRI-MON"),
        ("0 0 * * SAT-TUE/2", "0 0 * * 6,1"),
        ("0 0 * * 7-1", "0 0 * * 0,1"),
        ("0 0 * * 5-5", "0 0 * * 5"),
        ("0 0 5-5/3 * *", "0 0 5 * *"),
        ("0 0 * * SUN-SAT", "0 0 * * *"),
        ("0 0 * * LFRI", "0 0 * * L5"),
        ("0 0 * * L0", "0 0 * * L7"),
        ("0 0 * * sun#1", "0 0 * * 7#1"),
        ("0 0 l * *", "0 0 L * *"),
        ("0 0 1-31 * FRI", "0 0 1 * MON-SUN"),
    ],
)
def test_an_expression_means_the_same_as_another(text, same):
    """Names, ranges, lists, steps and words are ways to write numbers."""
    assert parse_expression(text) == parse_expression(same)


@pytest.mark.parametrize(("number", "name"), list(enumerate(MONTHS, 1)))
def test_each_month_has_its_name(number, name):
    """In any case, alone and at either end of a range."""
    same = parse_expression(f"0 0 1 {number} *")

    assert parse_expression(f"0 0 1 {name} *") == parse_expression(f"0 0 1 {name.lower()} *") == same
    assert parse_expression(f"0 0 1 JAN-{name} *") == parse_expression(f"0 0 1 1-{number} *")
    assert parse_expression(f"0 0 1 {name}-DEC *") == parse_expression(f"0 0 1 {number}-12 *")


@pytest.mark.parametrize(("number", "name"), list(enumerate(WEEKDAYS)))
def test_each_weekday_has_its_name(number, name):
    """In any case, alone, as the last of a month and as its first."""
    for form in ("{}", "L{}", "{}#1"):
        same = parse_expression(f"0 0 * * {form.format(number)}")

        assert parse_expression(f"0 0 * * {form.format(name)}") == same
        assert parse_expression(f"0 0 * * {form.format(name.lower())}") == same


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("60 * * * *", r"its minute reads '60': accepted is 0 to 59, \*, ranges"),
        ("* 24 * * *", r"its hour reads '24': accepted is 0 to 23"),
        ("* * 0 * *", r"its day of month reads '0': accepted is 1 to 31"),
        ("* * * 13 *", r"its month reads '13': accepted is 1 to 12 or JAN to DEC"),
        ("* * * * 8", r"its day of week reads '8': accepted is 0 to 7 or SUN to SAT"),
        ("MON * * * *", "its minute reads 'MON'"),
        ("* * * * MONDAY", "its day of week reads 'MONDAY'"),
        ("*/0 * * * *", r"its minute reads '\*/0'"),
        ("1,,2 * * * *", "its minute reads '1,,2'"),
        ("1- * * * *", "its minute reads '1-'"),
        ("-1 * * * *", "its minute reads '-1'"),
        ("\u0661 * * * *", "its minute reads"),
        ("0 0 L-3 * *", "its day of month reads 'L-3'.* L alone is the last day of the month"),
        ("0 0 15W * *", "its day of month reads '15W'.* the nearest weekday, W, is not offered"),
        ("0 0 20-L * *", "its day of month reads '20-L'"),
        ("0 0 * * L", "its day of week reads 'L'.* its last Friday L5"),
        ("0 0 * * 5L", "its day of week reads '5L'.* its last Friday L5"),
        ("0 0 * * MON#6", "its day of week reads 'MON#6'.* is MON#1, up to MON#5"),
        ("0 0 * * MON#0", "its day of week reads 'MON#0'"),
        ("0 0 * * 8#1", "its day of week reads '8#1'"),
        ("0 0 * * L8", "its day of week reads 'L8'"),
        ("0 0 1#1 * *", "its day of month reads '1#1'"),
        ("0 0 * * FRI,MON#1", "its day of week reads 'FRI,MON#1': days by their place .* make two crons"),
        ("0 0 1 * MON#1", "it has both a day of month, '1', and a weekday by its place"),
        ("0 22-2 * * *", "its hour reads '22-2', a range that runs backwards: write it as two, 22-23,0-2"),
        ("50-10/5 * * * *", "write it as two, 50-59/5,0-10/5"),
        ("0 0 28-3 * *", "write it as two, 28-31,1-3"),
        ("0 0 1 NOV-FEB *", "its month reads 'NOV-FEB', a range that runs backwards: write it as two, 11-12,1-2"),
        ("*/90 * * * *", r"its minute reads '\*/90': a step of 90 goes past 59, so it would mean 0 alone"),
        ("5/60 * * * *", "a step of 60 goes past 59, so it would mean 5 alone"),
        ("0 */24 * * *", "a step of 24 goes past 23"),
        ("0 0 */32 * *", "a step of 32 goes past 31"),
        ("0 0 * * */8", "a step of 8 goes past 7"),
        ("CRON_TZ=Asia/Tokyo 0 9 * * *", "a zone is no part of a schedule; leave 'CRON_TZ=Asia/Tokyo' out"),
        ("TZ=Asia/Tokyo 0 9 * * *", "a zone is no part of a schedule"),
        ("0 9 1 1 * 2027", "it has 6 fields: .* a year is not offered, and the last field reads '2027': .*`once`"),
        ("0 9 1 1 * 2027-2029", "a year is not offered"),
        ("0 0 9 1 1 ? 2027", "it has 7 fields: .* neither seconds, the first of seven, nor a year"),
        ("0 9 * * * echo hi", "such as 30 8 [*] [*] MON-FRI$"),
        ("H H * * *", "its minute reads 'H'"),
        ("0 0 ? * *", r"its day of month reads '\?'"),
        ("0 0 * * * *", "it has 6 fields: accepted are five fields.*seconds are not offered"),
        ("* * * *", "it has 4 fields: accepted are five fields"),
        ("", "it has 0 fields"),
        ("every day", "it has 2 fields"),
        ("@reboot", "read '@reboot': of the words .* accepted are @hourly, @daily"),
        ("@every 5m", "read '@every 5m'"),
        ("30 2 31 2 *", "can never be due: its day of month reads '31', which no month .* '2' names"),
        ("0 0 30 FEB *", "can never be due"),
        ("0 0 31 4,6,9,11 */2", "can never be due"),
        ("* " * 501, "it has 1002 characters"),
    ],
)
def test_what_is_none_is_refused_with_the_field_that_is_wrong(text, said):
    """And with what is accepted there."""
    with pytest.raises(Rejected, match=f"^schedule refused, .*{said}"):
        parse_expression(text)


@pytest.mark.parametrize("text", ["0 0 29 2 *", "0 0 31 2,3 *", "0 0 31 2 MON", "0 0 30-31 4 *"])
def test_what_is_due_now_and_then_is_accepted(text):
    """29 February comes, and either day field is enough where both are restricted."""
    parse_expression(text)


def test_both_day_fields_must_match_only_where_one_has_a_star():
    """The rule of every crontab, which surprises everybody."""
    start = datetime(2026, 11, 1)  # noqa: DTZ001 -- a clock on the wall has no zone
    either, both = parse_expression("0 0 13 * FRI"), parse_expression("0 0 */13 * FRI")

    assert either.next_on_the_wall(start).day == 6
    assert both.next_on_the_wall(start).day == 27


DAY = timedelta(days=1)


def matches(day, text):
    """Say by the calendar alone whether a day matches the day fields of an expression: `L`, `#`, numbers, `*`."""
    in_month, month, in_week = text.split()[2:]
    last = calendar.monthrange(day.year, day.month)[1]
    weekday = day.isoweekday() % 7
    month_day = any(
        each == "*" or (day.day == last if each == "L" else day.day == int(each)) for each in in_month.split(",")
    )

    def is_weekday(each):
        if "#" in each:
            number, nth = map(int, each.split("#"))
            return weekday == number % 7 and (day.day - 1) // 7 + 1 == nth
        if each.startswith("L"):
            return weekday == int(each[1:]) % 7 and day.day + 7 > last
        return each == "*" or weekday == int(each) % 7

    week_day = any(map(is_weekday, in_week.split(",")))
    either = "*" not in (in_month, in_week)
    return (month_day or week_day if either else month_day and week_day) and month in ("*", str(day.month))


month_days = st.lists(st.one_of(st.integers(1, 31).map(str), st.just("L")), min_size=1, max_size=4).map(",".join)
numbers = st.lists(st.integers(0, 7).map(str), min_size=1, max_size=3).map(",".join)
places = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 7), st.integers(1, 5)).map("{0[0]}#{0[1]}".format), st.integers(0, 7).map("L{}".format)
    ),
    min_size=1,
    max_size=3,
).map(",".join)
months = st.one_of(st.just("*"), st.integers(1, 12).map(str))
day_fields = st.one_of(
    st.tuples(month_days, months, st.one_of(st.just("*"), numbers)),
    st.tuples(st.just("*"), months, st.one_of(st.just("*"), numbers, places)),
)


@settings(max_examples=300, deadline=None)
@given(day_fields, st.dates(date(2024, 1, 1), date(2034, 12, 31)))
def test_days_are_those_of_the_calendar(fields, first):
    """Whatever croniter makes of them, for two years from any day."""
    text = "0 0 " + " ".join(fields)
    last = first + 730 * DAY
    try:
        found = parse_expression(text)
    except Rejected:
        assert not any(matches(date(2000, 1, 1) + number * DAY, text) for number in range(29 * 366))
        return

    assert list(found.days_between(first, last)) == [
        day for day in (first + number * DAY for number in range(731)) if matches(day, text)
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0 0 L * *", ["2027-01-31", "2027-02-28", "2027-03-31", "2027-04-30"]),
        ("0 0 L 2 *", ["2027-02-28", "2028-02-29"]),
        ("0 0 * * MON#1", ["2027-01-04", "2027-02-01", "2027-03-01"]),
        ("0 0 * * L5", ["2027-01-29", "2027-02-26", "2027-03-26"]),
        ("0 0 * 2 MON#5", ["2044-02-29", "2072-02-29"]),
        ("0 0 15,L * *", ["2027-01-15", "2027-01-31", "2027-02-15", "2027-02-28"]),
        ("0 0 * * MON#1,L5", ["2027-01-04", "2027-01-29", "2027-02-01", "2027-02-26"]),
    ],
)
def test_last_days_and_nth_weekdays_are_found(text, found):
    """What people ask of a cron besides numbers."""
    days = parse_expression(text).days_between(date(2027, 1, 1), date.max - DAY)

    assert [day.isoformat() for day in islice(days, len(found))] == found


@pytest.mark.parametrize("text", ["0 0 31 2 *", "0 0 30 2 */2", "0 0 31 4,6,9,11 *", "59 23 31 11 *", "0 0 30,31 2 *"])
def test_what_never_comes_is_refused_without_a_search_of_centuries(text, monkeypatch):
    """It is asked once, and looks 50 years ahead."""
    looked = []
    step = expression._next_day.__wrapped__
    monkeypatch.setattr(expression, "_next_day", lambda *key: looked.append(key) or step(*key))
    with pytest.raises(Rejected, match="can never be due"):
        parse_expression(text)

    assert len(looked) == 1


@pytest.mark.parametrize("text", ["*/90 * * * *", "0 */24 * * *"])
def test_what_was_stored_by_an_earlier_version_runs_on(text):
    """It meant its first value, and does."""
    with pytest.raises(Rejected):
        parse_expression(text)
    found = read_expression(text)

    assert 0 in (found.minutes[0], found.hours[0])
    assert 1 in (len(found.minutes), len(found.hours))
