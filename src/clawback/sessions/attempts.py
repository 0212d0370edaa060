"""
What is told of each attempt to deliver an event: a line in the log when it begins and when it is over, and metrics.

An attempt is with one connection from its delivery until it ends there: `acked`, `timed_out`, `dead`, `deferred`,
`failed` (it will be delivered again), `ended_elsewhere`, or `released` because the connection has it no more. A client
that comes back with an event goes on with the same attempt. Nothing is decided here.
"""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from clawback import metrics
from clawback.model import Address, Event, Held

log = logging.getLogger("clawback.sessions")


class Attempts:
    """The attempts that one connection has."""

    def __init__(self, address: Address, connection_id: str) -> None:
        self._address = address
        self._connection_id = connection_id
        self._open: set[str] = set()

    def begin(self, event: Event, held: Held) -> None:
        """Tell that an event was sent."""
        self._open.add(held.event_id)
        metrics.DELIVERIES.labels(self._address.profile_id, "true" if held.attempt > 1 else "false").inc()
        waited_s = held.delivered_at - event.created_at.timestamp()
        if held.attempt == 1:
            metrics.WAITED.observe(waited_s)
        log.info(
            "delivered",
            extra={
                "action": "deliver",
                "profile": self._address.profile_id,
                "tag": self._address.tag,
                "event": held.event_id,
                "attempt": held.attempt,
                "priority": held.priority,
                "connection": self._connection_id,
                "waited_ms": round(waited_s * 1000),
            },
        )

    def resume(self, event_id: str) -> None:
        """Note that the client came back with an event that it was given on an earlier connection."""
        self._open.add(event_id)

    def end(self, held: Held, outcome: str, reason: str | None = None) -> None:
        """Tell that an attempt is over."""
        self._open.discard(held.event_id)
        log_end(self._address, held, outcome, reason)

    def fail(self, stack: Iterable[Held], event_id: str) -> None:
        """Tell that a session could not take an event, unless it has been set aside for it."""
        for held in stack:
            if held.event_id == event_id and event_id in self._open:
                self.end(held, "failed")

    def let_go(self, stack: Iterable[Held], why: str) -> None:
        """
        Tell that the connection has none of its events any more.

        `why` is `left` (it said goodbye), `lost` (it did not), `closed` (this server ended it) or `taken_over`.
        """
        for held in stack:
            if held.event_id in self._open:
                self.end(held, "released", why)


def log_end(address: Address, held: Held, outcome: str, reason: str | None) -> None:
    """Write the line of an attempt that is over; `outcome` is its `action`."""
    log.info(
        "released" if outcome == "released" else "ended",
        extra={
            "action": outcome,
            "profile": address.profile_id,
            "tag": address.tag,
            "event": held.event_id,
            "attempt": held.attempt,
            "duration_ms": worked_ms(held, datetime.now(UTC)),
            "reason": reason,
        },
    )


def worked_ms(held: Held, now: datetime) -> int:
    """Return how long ago an event was delivered, in milliseconds; 0 where it was not."""
    return max(0, round((now.timestamp() - held.delivered_at) * 1000)) if held.delivered_at else 0
