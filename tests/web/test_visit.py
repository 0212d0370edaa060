"""How long a visit lasts."""

from datetime import UTC, datetime, timedelta

import pytest

from clawback.web.visit import IDLE, LONGEST, RENEW_AFTER, ByToken, Visit

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def visit(begun_at, seen_at):
    """Make a visit."""
    return Visit("v", "p", ByToken("tok_1"), "f", begun_at, seen_at)


MOMENT = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("begun", "seen", "over"),
    [
        (timedelta(0), timedelta(0), False),
        (IDLE - MOMENT, IDLE - MOMENT, False),
        (IDLE, IDLE, True),
        (IDLE, timedelta(0), False),
        (LONGEST - MOMENT, timedelta(0), False),
        (LONGEST, timedelta(0), True),
    ],
)
def test_a_visit_ends_idle_or_at_its_longest(begun, seen, over):
    """30 days without a sign, 90 in all."""
    assert visit(NOW - begun, NOW - seen).is_over(NOW) is over


def test_a_visit_is_renewed_once_a_day():
    """Not with every page."""
    assert not visit(NOW, NOW).is_to_be_renewed(NOW + RENEW_AFTER - MOMENT)
    assert visit(NOW, NOW).is_to_be_renewed(NOW + RENEW_AFTER)
