"""What is said of events that are listed or discarded, and a job of discarding as it is kept in LATER."""

from datetime import datetime

from msgspec import Struct

from clawback.model import Address, EventState
from clawback.store.inventory import Item

HELD = frozenset({EventState.OFFERED, EventState.CLAIMED})
"""What is left to its session."""

DISCARDABLE = frozenset({EventState.QUEUED, EventState.TIMED_OUT, EventState.DEAD})


class Words(Struct, frozen=True):
    """
    What is said of events, in the words of their list; what is None is not asked for.

    `before` is the time of the question: what is newer was not meant.
    """

    states: frozenset[EventState] = DISCARDABLE
    at: Address | None = None
    event_id: str | None = None
    source: str | None = None
    path: str | None = None
    event_type: str | None = None
    before: datetime | None = None

    def mean(self, item: Item) -> bool:
        """Say whether they are about an item, but for its state and address."""
        event = item.event
        origin, path, event_type, made = ("", "", "", item.since)
        if event is not None:
            origin, path, event_type = event.origin.value, event.path or "", event.event_type or ""
            made = event.created_at
        return (
            self.event_id in (None, item.event_id)
            and self.source in (None, origin)
            and self.path in (None, path)
            and self.event_type in (None, event_type)
            and (self.before is None or made <= self.before)
        )


class Job(Struct, frozen=True):
    """What is to be discarded, and why: by whom it was asked for."""

    words: Words
    reason: str


class Discarded(Struct, frozen=True):
    """How many were discarded, or would be; `held` are left to their sessions. `job` goes on with the rest."""

    count: int
    held: int
    job: str | None = None
