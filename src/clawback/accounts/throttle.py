"""
How often an address may fail to show who it is: a token bucket for each address. Pure.

Tokens have 256 random bits, so nobody guesses one. What the limit keeps away is the work and the noise of those who
try: a lookup in NATS for each guess, and a line in the log.
"""

from clawback.system.addresses import block_of

FAILURES = 60
"""How many failures an address has at once."""

REFILL_SECONDS = 60.0
"""How long an empty bucket takes to be full again."""

MAX_ADDRESSES = 10_000
"""How many addresses are remembered; beyond that the one that failed longest ago is forgiven."""


class Throttle:
    """The failures of each address. `now` is in seconds of any clock that does not go back."""

    def __init__(self) -> None:
        # What is left to an address, and when that was so; the one that failed longest ago is first.
        self._left: dict[str, tuple[float, float]] = {}

    def refuses(self, address: str | None, now: float) -> bool:
        """Tell whether an address has used up its failures."""
        # Nobody failed: then no address need be read, which takes longer than all else here.
        return bool(self._left) and self._remaining(block_of(address), now) < 1

    def failed(self, address: str | None, now: float) -> None:
        """Count a failure of an address."""
        name = block_of(address)
        left = max(0.0, self._remaining(name, now) - 1)
        self._left.pop(name, None)
        self._left[name] = (left, now)
        self._forget(now)

    def _remaining(self, name: str, now: float) -> float:
        left, at = self._left.get(name, (FAILURES, now))
        return min(FAILURES, left + (now - at) * FAILURES / REFILL_SECONDS)

    def _forget(self, now: float) -> None:
        while self._left:
            name, (_, at) = next(iter(self._left.items()))
            if now - at < REFILL_SECONDS and len(self._left) <= MAX_ADDRESSES:
                return
            del self._left[name]
