"""Cron expressions: what is read, and what a user is told of one that is none."""

from datetime import datetime

import pytest

from clawback.errors import Rejected
from clawback.schedules import parse_expression


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
    ],
)
def test_an_expression_means_the_same_as_another(text, same):
    """Names, ranges, lists, steps and words are ways to write numbers."""
    assert parse_expression(text) == parse_expression(same)


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
        ("* * * * FRI-MON", "its day of week reads 'FRI-MON'"),
        ("*/0 * * * *", r"its minute reads '\*/0'"),
        ("1,,2 * * * *", "its minute reads '1,,2'"),
        ("1- * * * *", "its minute reads '1-'"),
        ("-1 * * * *", "its minute reads '-1'"),
        ("\u0661 * * * *", "its minute reads"),
        ("0 0 L * *", "its day of month reads 'L'"),
        ("0 0 ? * *", r"its day of month reads '\?'"),
        ("0 0 * * 1#2", "its day of week reads '1#2'"),
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
