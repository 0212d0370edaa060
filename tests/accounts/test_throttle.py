"""How often an address may fail."""

from hypothesis import given
from hypothesis import strategies as st

from clawback.accounts.throttle import FAILURES, MAX_ADDRESSES, REFILL_SECONDS, Throttle


def fail(throttle, address, times, now):
    """Have an address fail."""
    for _ in range(times):
        throttle.failed(address, now)


def test_an_address_is_refused_once_it_has_failed_too_often():
    """And no other."""
    throttle = Throttle()
    fail(throttle, "192.0.2.1", FAILURES - 1, 0)
    before = throttle.refuses("192.0.2.1", 0)
    fail(throttle, "192.0.2.1", 1, 0)

    assert not before
    assert throttle.refuses("192.0.2.1", 0)
    assert not throttle.refuses("192.0.2.2", 0)


def test_one_more_is_allowed_each_second():
    """Failing while refused makes it no longer than a minute."""
    throttle = Throttle()
    fail(throttle, "192.0.2.1", FAILURES * 10, 0)
    second = REFILL_SECONDS / FAILURES

    assert throttle.refuses("192.0.2.1", 0.99 * second)
    assert not throttle.refuses("192.0.2.1", second)
    throttle.failed("192.0.2.1", second)
    assert throttle.refuses("192.0.2.1", second)
    assert not throttle.refuses("192.0.2.1", 2 * second)


def test_addresses_are_forgotten():
    """Those that would be full again, and beyond the limit whoever failed longest ago."""
    throttle = Throttle()
    fail(throttle, "192.0.2.1", FAILURES, 0)
    for number in range(MAX_ADDRESSES):
        throttle.failed(f"10.0.{number // 256}.{number % 256}", 1)

    assert len(throttle._left) == MAX_ADDRESSES
    assert not throttle.refuses("192.0.2.1", 1)
    throttle.failed("192.0.2.2", 1 + REFILL_SECONDS)
    assert len(throttle._left) == 1


@given(st.lists(st.floats(0, 30), max_size=200))
def test_nobody_fails_more_often_than_a_full_bucket_and_its_refill(pauses):
    """Whatever the rhythm, counting only the failures that were not refused."""
    throttle, now, allowed = Throttle(), 0.0, 0
    for pause in pauses:
        now += pause
        if not throttle.refuses("192.0.2.1", now):
            throttle.failed("192.0.2.1", now)
            allowed += 1

    assert allowed <= FAILURES + now * FAILURES / REFILL_SECONDS + 1e-6
