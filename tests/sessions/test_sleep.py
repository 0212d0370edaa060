"""A server's watch over itself, by a clock that the test sets."""

import pytest

from clawback.sessions.sleep import AFTERMATH_SECONDS, BEAT_SECONDS, SLEEP_SECONDS, Watch


class Clock:
    """A time of day."""

    now = 1_000_000.0

    def __call__(self):
        """Read it."""
        return self.now


@pytest.fixture
def clock():
    """A clock at some time."""
    return Clock()


def test_a_server_that_beats_has_not_slept(clock):
    """However long it runs, and if the machine is busy for a while."""
    watch = Watch(clock)
    for _ in range(1000):
        clock.now += BEAT_SECONDS * 4
        assert not watch.slept()


def test_a_sleep_shows_before_the_next_beat_and_for_a_while_after(clock):
    """Whoever is dealt with first when the server wakes up asks first."""
    watch = Watch(clock)
    clock.now += SLEEP_SECONDS + 0.1

    assert watch.slept()
    for _ in range(int(AFTERMATH_SECONDS / 3)):
        assert watch.slept()
        clock.now += 3.0
    assert not watch.slept()


def test_a_clock_that_is_set_back_is_no_sleep(clock):
    """Nor does it hide the next one."""
    watch = Watch(clock)
    clock.now -= 3600.0
    assert not watch.slept()
    clock.now += SLEEP_SECONDS + 0.1

    assert watch.slept()
