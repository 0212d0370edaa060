"""How long a visit lasts."""

from datetime import UTC, datetime, timedelta

import pytest

from clawback.web.visit import IDLE, LONGEST, RENEW_AFTER, Visit

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
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
    assert Visit("p", "tok_1", "f", NOW - begun, NOW - seen).is_over(NOW) is over


def test_a_visit_is_renewed_once_a_day():
    """Not with every page."""
    assert not Visit("p", "tok_1", "f", NOW, NOW).is_to_be_renewed(NOW + RENEW_AFTER - MOMENT)
    assert Visit("p", "tok_1", "f", NOW, NOW).is_to_be_renewed(NOW + RENEW_AFTER)
