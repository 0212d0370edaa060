"""
How often an address may fail to show who it is: a token bucket for each address. Pure.

Tokens have 256 random bits, so nobody guesses one. What the limit keeps away is the work and the noise of those who
try: a lookup in NATS for each guess, and a line in the log.
"""

from ipaddress import IPv6Address, ip_address

FAILURES = 60
"""How many failures an address has at once."""

REFILL_SECONDS = 60.0
"""How long an empty bucket takes to be full again."""

MAX_ADDRESSES = 10_000
"""How many addresses are remembered; beyond that the one that failed longest ago is forgiven."""

IPV6_PREFIX = 64
"""What one customer has of IPv6 is a /64 at least, so that is one address here."""


class Throttle:
    """The failures of each address. `now` is in seconds of any clock that does not go back."""

    def __init__(self) -> None:
        # What is left to an address, and when that was so; the one that failed longest ago is first.
        self._left: dict[str, tuple[float, float]] = {}

    def refuses(self, address: str | None, now: float) -> bool:
        """Tell whether an address has used up its failures."""
        # Nobody failed: then no address need be read, which takes longer than all else here.
        return bool(self._left) and self._remaining(name_of(address), now) < 1

    def failed(self, address: str | None, now: float) -> None:
        """Count a failure of an address."""
        name = name_of(address)
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


def name_of(address: str | None) -> str:
    """Write an address as what counts as one: IPv4 whole, of IPv6 the network. Whoever has none counts together."""
    try:
        parsed = ip_address((address or "").partition("%")[0])
    except ValueError:
        return address or ""
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> (128 - IPV6_PREFIX) << (128 - IPV6_PREFIX)))
    return str(parsed)
