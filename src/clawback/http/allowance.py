"""
How much each of many callers may do: so many at once, then so many a second. Pure.

A token bucket, kept as one number for each caller: the time at which its bucket would be full again (the generic cell
rate algorithm, ITU-T I.371). A caller whose bucket is full needs no number, so those who are quiet cost nothing.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

MAX_CALLERS = 10_000
"""How many callers are remembered at one time; beyond, the caller counted longest ago starts afresh."""

SLACK_S = 1e-6
"""Sums of fractions are a little off, and nobody is to wait for what they are off by. It does not add up."""

Caller = TypeVar("Caller", bound=Hashable)


class Allowance(Generic[Caller]):
    """
    `burst` at once, and one more every 1 / `per_second` seconds.

    `now` is in seconds of any clock that does not go back.
    """

    def __init__(self, burst: int, per_second: float) -> None:
        self.burst = burst
        self.per_second = per_second
        self._each_s = 1 / per_second
        self._whole_s = burst / per_second
        # Whoever was counted longest ago is first.
        self._full_at: dict[Caller, float] = {}

    def take(self, caller: Caller, now: float) -> float:
        """Count one and return 0.0, or return how many seconds to wait and count nothing."""
        full_at = max(self._full_at.get(caller, now), now) + self._each_s
        if (wait_s := full_at - now - self._whole_s) > SLACK_S:
            return wait_s
        self._full_at.pop(caller, None)
        self._full_at[caller] = full_at
        self._forget(now)
        return 0.0

    def give_back(self, caller: Caller) -> None:
        """Take back one that was counted."""
        if caller in self._full_at:
            self._full_at[caller] -= self._each_s

    def _forget(self, now: float) -> None:
        """Forget the first of all while it has nothing to remember, or there are too many."""
        while self._full_at:
            caller = next(iter(self._full_at))
            if self._full_at[caller] > now and len(self._full_at) <= MAX_CALLERS:
                return
            del self._full_at[caller]
