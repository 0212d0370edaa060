"""
What is told of each attempt to deliver an event: a line in the log when it begins and when it is over, metrics, a span.

An attempt is with one connection from its delivery until it ends there: `acked`, `timed_out`, `dead`, `deferred`,
`failed` (it will be delivered again), `ended_elsewhere`, or `released` because the connection has it no more. A client
that comes back with an event goes on with the same attempt. Nothing is decided here.
"""

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from clawback.model import Address, Event, EventState, Held
from clawback.store.lines import Pulled
from clawback.telemetry import metrics

if TYPE_CHECKING:
    from clawback.telemetry.tracing import Span, Traces

log = logging.getLogger("clawback.sessions")


class Attempts:
    """The attempts that one connection has, each with its span where `traces` are made."""

    def __init__(self, address: Address, stream: str, connection_id: str, traces: "Traces | None") -> None:
        self._address = address
        self._stream = stream
        self._connection_id = connection_id
        self._traces = traces
        self._open: dict[str, Span | None] = {}

    def begin(self, event: Event, held: Held, pulled: Pulled | None) -> None:
        """Tell that an event was sent; `pulled` is how it came, where this connection took it from its line."""
        # What is delivered again has not been in its line in between.
        if self._traces is not None and pulled is not None and held.attempt == event.attempts + 1:
            self._traces.waited(self._stream, self._address, event, pulled.stored_at, held.delivered_at)
        span = self._open[held.event_id] = self._begin_span(event, held)
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
                **({} if span is None else span.log_fields),
            },
        )

    def resume(self, event: Event, held: Held) -> None:
        """Note that the client came back with an event that it was given on an earlier connection."""
        self._open[held.event_id] = self._begin_span(event, held, resumed=True)

    def ending(self, event: Event, held: Held, state: EventState) -> "AbstractContextManager[Span | None]":
        """Span the end of an event in JetStream."""
        return ending_span(self._traces, self._stream, self._address, event, held, state, self._open.get(event.id))

    def end(self, held: Held, outcome: str, reason: str | None = None, ending: "Span | None" = None) -> None:
        """Tell that an attempt is over; `ending` is the span of the event's end, where it has ended."""
        span = self._open.pop(held.event_id, None)
        if span is not None:
            span.delivered(outcome, reason=reason, seen_at=held.seen_at)
        log_end(self._address, held, outcome, reason, span or ending)

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

    def _begin_span(self, event: Event, held: Held, *, resumed: bool = False) -> "Span | None":
        if self._traces is None:
            return None
        return self._traces.delivering(
            self._stream, self._address, event, held, connection=self._connection_id, resumed=resumed
        )


def ending_span(
    traces: "Traces | None",
    stream: str,
    address: Address,
    event: Event,
    held: Held,
    state: EventState,
    attempt: "Span | None" = None,
) -> "AbstractContextManager[Span | None]":
    """Span the end of an event in JetStream, where traces are made."""
    return nullcontext() if traces is None else traces.ending(stream, address, event, held, state, attempt)


def log_end(address: Address, held: Held, outcome: str, reason: str | None, span: "Span | None") -> None:
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
            **({} if span is None else span.log_fields),
        },
    )


def worked_ms(held: Held, now: datetime) -> int:
    """Return how long ago an event was delivered, in milliseconds; 0 where it was not."""
    return max(0, round((now.timestamp() - held.delivered_at) * 1000)) if held.delivered_at else 0
