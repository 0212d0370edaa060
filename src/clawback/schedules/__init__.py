"""When a cron is due: what a five-field expression means in a time zone, and what becomes of runs that were missed."""

from clawback.schedules.dues import count_due, due_times, find_zone, next_due, parse_zone
from clawback.schedules.expression import Expression, parse_expression, read_expression
from clawback.schedules.missed import Plan, plan_runs

__all__ = [
    "Expression",
    "Plan",
    "count_due",
    "due_times",
    "find_zone",
    "next_due",
    "parse_expression",
    "parse_zone",
    "plan_runs",
    "read_expression",
]
