"""What a caller may do: so many at once, then so many a second."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.http.allowance import MAX_CALLERS, SLACK_S, Allowance


def test_a_burst_and_then_one_at_a_time():
    """Whoever used all of it waits for the next one, and has all of it again after a quiet time."""
    allowance = Allowance(20, 1 / 3)
    burst = [allowance.take("a", 0.0) for _ in range(20)]

    assert burst == [0.0] * 20
    assert allowance.take("a", 0.0) == pytest.approx(3)
    assert allowance.take("a", 2.5) == pytest.approx(0.5)
    assert allowance.take("b", 2.5) == 0.0
    assert allowance.take("a", 3.0) == 0.0
    assert allowance.take("a", 3.0) == pytest.approx(3)
    assert [allowance.take("a", 120.0) for _ in range(21)].count(0.0) == 20


def test_what_is_given_back_was_never_taken():
    """One that is given back can be taken again; more than all there never is."""
    allowance = Allowance(2, 1)
    taken = [allowance.take("a", 0.0) for _ in range(2)]
    allowance.give_back("a")
    again, more = allowance.take("a", 0.0), allowance.take("a", 0.0)
    for _ in range(9):
        allowance.give_back("a")
    allowance.give_back("stranger")
    whole = [allowance.take("a", 0.0) for _ in range(3)]

    assert taken == [0.0, 0.0]
    assert (again, more) == (0.0, 1.0)
    assert whole == [0.0, 0.0, 1.0]


def test_callers_are_forgotten():
    """Those that have all of it again, and beyond the limit whoever was counted longest ago."""
    allowance = Allowance(1, 1)
    for caller in range(MAX_CALLERS + 1):
        allowance.take(caller, 0.0)

    assert len(allowance._full_at) == MAX_CALLERS
    assert allowance.take(1, 0.0) == 1.0
    assert allowance.take(0, 0.0) == 0.0
    allowance.take(0, 1.0)
    assert len(allowance._full_at) == 1


@given(
    burst=st.integers(1, 50),
    per_second=st.sampled_from([0.3, 1, 7, 100, 1e6]),
    pauses=st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.01, 1 / 3]), max_size=200),
    began=st.sampled_from([0.0, 123_456.789]),
)
def test_nobody_does_more_than_the_burst_and_its_refill_or_waits_longer_than_told(burst, per_second, pauses, began):
    """Whatever the rhythm; and whoever comes when it was told to is let in."""
    allowance, now, taken = Allowance(burst, per_second), began, 0
    for pause in pauses:
        now += pause
        wait_s = allowance.take("a", now)
        if wait_s:
            assert taken >= burst
            assert wait_s <= 1 / per_second + SLACK_S
            now += wait_s
            assert allowance.take("a", now) == 0.0
        taken += 1

    assert taken <= burst + (now - began + 2 * SLACK_S) * per_second
