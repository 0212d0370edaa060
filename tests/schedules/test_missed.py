"""What runs after a time in which nobody was up, by policy."""

from datetime import UTC, datetime, timedelta

import pytest

from clawback.model import Missed
from clawback.schedules import parse_expression, parse_zone, plan_runs

UTC_ZONE = parse_zone("UTC")
FIRST = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def plan(text, late, policy):
    """Decide so long after the first."""
    return plan_runs(parse_expression(text), UTC_ZONE, FIRST, FIRST + late, policy)


@pytest.mark.parametrize("policy", Missed)
def test_what_is_due_now_runs_whatever_the_policy(policy):
    """A server that was restarted, or slow, has missed nothing."""
    for late in (timedelta(0), timedelta(seconds=59)):
        found = plan("0 * * * *", late, policy)

        assert (found.run, found.skipped, found.last) == ((FIRST,), 0, FIRST)


def test_latest_catches_up_once():
    """With the most recent one; those before it are skipped."""
    found = plan("0 * * * *", 3.5 * HOUR, Missed.LATEST)

    assert found.run == (FIRST + 3 * HOUR,)
    assert (found.skipped, found.first_skipped, found.last_skipped) == (3, FIRST, FIRST + 2 * HOUR)
    assert found.last == FIRST + 3 * HOUR


def test_latest_does_not_catch_up_with_what_is_older_than_a_day():
    """Nobody wants last week's reminder; at a day it still runs."""
    weekly = "0 8 * * TUE"

    assert plan(weekly, DAY, Missed.LATEST).run == (FIRST,)
    found = plan(weekly, DAY + timedelta(seconds=1), Missed.LATEST)
    assert (found.run, found.skipped, found.last_skipped) == ((), 1, FIRST)


def test_none_skips_what_is_late():
    """All but one that is due at this very moment."""
    assert plan("0 * * * *", 3.5 * HOUR, Missed.NONE).run == ()
    found = plan("0 * * * *", 3 * HOUR, Missed.NONE)
    assert (found.run, found.skipped) == ((FIRST + 3 * HOUR,), 3)


def test_all_runs_everything_in_order_up_to_a_hundred():
    """The newest hundred, where there are more."""
    assert plan("0 * * * *", 3.5 * HOUR, Missed.ALL).run == tuple(FIRST + number * HOUR for number in range(4))
    found = plan("* * * * *", 10 * HOUR, Missed.ALL)
    assert (len(found.run), found.skipped) == (100, 501)
    assert found.run[-1] == FIRST + 10 * HOUR
    assert found.last_skipped == found.run[0] - timedelta(minutes=1)


def test_a_rare_cron_catches_up_with_months():
    """`all` has no limit of time."""
    assert len(plan("0 8 * * TUE", 70 * DAY, Missed.ALL).run) == 11


@pytest.mark.parametrize("policy", Missed)
def test_years_of_minutes_are_counted_and_not_gone_through(policy):
    """The result is that of looking at all of them."""
    found = plan("* * * * *", 900 * DAY, policy)

    assert found.last == FIRST + 900 * DAY
    assert found.run[-1] == found.last
    assert found.skipped + len(found.run) == 900 * 24 * 60 + 1
    assert (found.first_skipped, found.last_skipped) == (FIRST, found.run[0] - timedelta(minutes=1))
