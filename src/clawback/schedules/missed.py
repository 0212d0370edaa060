"""
What becomes of due instants once somebody looks at them, who may be late. Pure.

In good order that is one instant, a moment ago. After a time in which no server or no NATS was up there are more, and
the cron's policy says which of them still run.
"""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from clawback.model import Missed
from clawback.schedules.dues import count_due
from clawback.schedules.expression import Expression

IN_TIME = timedelta(seconds=60)
"""A run that is no later than this is not a missed one: a server that restarts is back by then."""

LATEST_WITHIN = timedelta(hours=24)
"""How old the most recent missed run may be for `latest` to catch up with it."""

MAX_CATCH_UP = 100
"""Runs that `all` catches up with, the newest ones."""


class Plan(Struct, frozen=True):
    """
    What to do about the instants that are due: those to run, oldest first, and how many before them are skipped.

    `last` is the newest instant that is due, run or not; what is due after it is still to come.
    """

    run: tuple[datetime, ...]
    skipped: int
    first_skipped: datetime | None
    last_skipped: datetime | None
    last: datetime


def plan_runs(expression: Expression, zone: ZoneInfo, first: datetime, now: datetime, policy: Missed) -> Plan:
    """Decide about everything that is due from `first`, which is, until `now`."""
    count, newest = count_due(expression, zone, first, now, MAX_CATCH_UP + 1)
    if not newest or newest[-1] < first:
        count, newest = 1, [first]  # a moment ago by another clock
    run = _choose(newest, now, policy)
    skipped = [due for due in newest if due not in run]
    if not skipped:
        return Plan(tuple(run), 0, None, None, newest[-1])
    return Plan(tuple(run), count - len(run), first, skipped[-1], newest[-1])


def choose_late(due: datetime, now: datetime, policy: Missed) -> bool:
    """Say whether a single due instant, of which there is no other, still runs."""
    return bool(_choose([due], now, policy))


def _choose(dues: list[datetime], now: datetime, policy: Missed) -> list[datetime]:
    """Choose what runs of the newest due instants."""
    match policy:
        case Missed.ALL:
            return dues[-MAX_CATCH_UP:]
        case Missed.LATEST:
            return [due for due in dues[-1:] if now - due <= LATEST_WITHIN]
        case Missed.NONE:
            return [due for due in dues[-1:] if now - due <= IN_TIME]
