"""
How many connections there may be, and how long each may take: the count and the clock of `protocols`.

One timer looks at all connections once a second. That costs a request nothing, and makes each deadline up to a second
longer than it says. Where all places are taken, the connection gives way that has waited longest without a request.
"""

import asyncio
import logging
import math
import resource
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from ipaddress import ip_address
from typing import NamedTuple, Protocol

from msgspec import Struct

from clawback.settings import Network
from clawback.system.addresses import block_of
from clawback.telemetry import metrics

CLOSING_SECONDS = 10.0
"""How long a closed connection may take to read what was written to it, before the rest is thrown away."""

OWN_FILES = 100
"""Descriptors that are no connections: libraries, logs, NATS, the event loop."""

NEVER = math.inf

log = logging.getLogger("clawback.guard")


class ConnectionLimits(Struct, frozen=True, kw_only=True):
    """
    The limits of connections, their requests' heads and their WebSockets' frames.

    `total` and `per_address` count connections of every kind. `answer_s` is how long a client may leave an answer
    unread. `head_bytes` is the request line and all headers; trailers and the like are held to it too. `fragments` are
    those of one WebSocket message, `control_frames` pings and pongs between two looks, which are `sweep_s` apart.
    """

    total: int = 2_000
    per_address: int = 500
    head_s: float = 10.0
    body_s: float = 30.0
    idle_s: float = 75.0
    answer_s: float = 30.0
    headers: int = 100
    head_bytes: int = 32 * 1024
    fragments: int = 1_000
    control_frames: int = 200
    sweep_s: float = 1.0


class Fault(NamedTuple):
    """Why something is refused: the answer, and the name it is counted under."""

    limit: str
    status: HTTPStatus
    detail: str


class Guarded(Protocol):
    """A connection, as the guard sees it."""

    transport: asyncio.Transport
    closing_until: float

    def look(self, now: float) -> None:
        """End the connection if one of its deadlines has passed."""


class Guard:
    """All connections of one server: how many they are, and when each is late."""

    def __init__(self, limits: ConnectionLimits, trusted_proxies: Iterable[Network] = ()) -> None:
        self.limits = limits
        self._proxies = tuple(trusted_proxies)
        self._addresses: dict[Guarded, str] = {}
        self._per_address: Counter[str] = Counter()
        self._without_head: dict[Guarded, None] = {}
        """Those that no request has come on, the one that waits longest first."""
        self._unfinished: dict[Guarded, None] = {}
        """Those whose request has no whole body yet, the one that began first at the front."""
        self._refused: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._is_proxy = lru_cache(maxsize=4096)(self._look_up_proxy)

    def enter(self, connection: Guarded, address: str) -> Fault | None:
        """
        Count a connection in, or say why not.

        Where all places are taken, one without a request gives up its own, else one whose body is not whole: of the
        address that has most of these, unless that is the newcomer's.
        """
        proxy, address = address, block_of(address)
        if self._per_address[address] >= self.limits.per_address and not self._is_proxy(proxy):
            return Fault(
                "address",
                HTTPStatus.SERVICE_UNAVAILABLE,
                "your address has as many connections here as it may: use them, or close one",
            )
        if len(self._addresses) >= self.limits.total:
            longest = next(iter(self._without_head), None) or self._largest_unfinished(address)
            if longest is None:
                return Fault(
                    "connections", HTTPStatus.SERVICE_UNAVAILABLE, "all connections are taken: come again in a while"
                )
            self.count("connections")
            longest.transport.abort()
            self.leave(longest)
        self._add(connection, address)
        self._without_head[connection] = None
        return None

    def _largest_unfinished(self, newcomer: str) -> Guarded | None:
        """Find the connection whose body is awaited longest, of the address that has most of them."""
        counts = Counter(self._addresses[each] for each in self._unfinished)
        if not counts or counts[newcomer] == max(counts.values()):
            return None
        ((most, _),) = counts.most_common(1)
        return next(each for each in self._unfinished if self._addresses[each] == most)

    def go_on(self, connection: Guarded, address: str) -> None:
        """Count a connection that was let in as HTTP and goes on as a WebSocket."""
        self._add(connection, block_of(address))

    def leave(self, connection: Guarded) -> None:
        """Count a connection out, once."""
        address = self._addresses.pop(connection, None)
        if address is not None:
            self._per_address[address] -= 1
            if not self._per_address[address]:
                del self._per_address[address]
        self._without_head.pop(connection, None)
        self._unfinished.pop(connection, None)

    def has_request(self, connection: Guarded) -> None:
        """Note that a head has come: the connection keeps its place until the answer, once its body is whole."""
        self._without_head.pop(connection, None)
        if connection in self._addresses:
            self._unfinished[connection] = None

    def has_body(self, connection: Guarded) -> None:
        """Note that a request is whole."""
        self._unfinished.pop(connection, None)

    def waits_for_request(self, connection: Guarded) -> None:
        """Note that a connection is idle."""
        if connection in self._addresses:
            self._without_head[connection] = None

    def count(self, limit: str) -> None:
        """Count what a limit refused or ended; the log has one line about all of a second."""
        self._refused[limit] += 1
        metrics.REFUSED.labels(limit).inc()
        self._set_timer()

    def _add(self, connection: Guarded, address: str) -> None:
        self._addresses[connection] = address
        self._per_address[address] += 1
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.limits.sweep_s, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for connection in list(self._addresses):
            if connection.transport.is_closing():
                connection.closing_until = min(connection.closing_until, now + CLOSING_SECONDS)
                if now >= connection.closing_until:
                    connection.transport.abort()
            else:
                connection.look(now)
        if self._refused:
            counts = ", ".join(f"{limit} {number}" for limit, number in sorted(self._refused.items()))
            log.warning("limits refused or ended connections: %s", counts, extra={"action": "refused"})
            self._refused.clear()
        if self._addresses:
            self._set_timer()

    def _look_up_proxy(self, address: str) -> bool:
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._proxies)


def allow_connections(wanted: int) -> int:
    """
    Let the process have a file descriptor for each connection and say how many it may have.

    Raises the soft limit, which is low for the sake of programs that call `select()`, up to the hard one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OWN_FILES
    if hard != resource.RLIM_INFINITY and needed > hard:
        allowed = max(1, hard - OWN_FILES)
        log.warning(
            "max_connections = %d needs %d open files, and this process may have %d (ulimit -Hn): it is %d now",
            wanted,
            needed,
            hard,
            allowed,
        )
        wanted, needed = allowed, hard
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return wanted
