"""
The inventory: what waits, what a session holds and what is dead, without keeping a body in memory.

It is read from the streams themselves, so it is never out of date and costs nothing until somebody asks. The history
(history.py) has what ended.
"""

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from datetime import datetime

from msgspec import Struct

from clawback.errors import BadPayload
from clawback.fabric import subjects
from clawback.fabric.connection import Fabric, Stored
from clawback.fabric.events import DEAD_STREAM, EventStore, decode_event_header
from clawback.fabric.later import armed_for
from clawback.fabric.stacks import Stacks
from clawback.model import Address, Event, EventState

LISTED = (EventState.QUEUED, EventState.OFFERED, EventState.TIMED_OUT, EventState.DEAD)
"""The states of what has not ended well: it waits, a session holds it, or it is a dead letter."""


class Item(Struct, frozen=True):
    """
    An event that waits, is held, or is dead.

    `event` is None for a dead letter that nobody can read. `since` is when it came to where it is, `attempts` how often
    it was delivered, `returns_at` when a deferred one goes back into its line, `reason` why a dead one is.
    """

    event_id: str
    state: EventState
    address: Address
    since: datetime
    event: Event | None = None
    attempts: int = 0
    returns_at: datetime | None = None
    reason: str | None = None


class Inventory:
    """What is in the streams of events, of deferred events and of dead letters."""

    def __init__(self, fabric: Fabric, events: EventStore, stacks: Stacks, shards: int) -> None:
        self._fabric = fabric
        self._events = events
        self._stacks = stacks
        self._shards = shards

    async def oldest(
        self, profile_id: str, *, limit: int, states: Collection[EventState] = LISTED, at: Address | None = None
    ) -> list[Item]:
        """
        List a profile's items in one of `states`, those that are where they are for the longest time first.

        `at` narrows it to one address.

        Raises:
            Unavailable: NATS did not answer.
        """
        found: list[Item] = []
        for items in (self._waiting(profile_id, at), self._deferred(profile_id, at), self._dead(profile_id, at)):
            taken = 0
            async with aclosing(items):
                async for item in items:
                    if item.state in states:
                        found.append(item)
                        taken += 1
                    if taken == limit:
                        break
        return sorted(found, key=lambda item: item.since)[:limit]

    async def _waiting(self, profile_id: str, at: Address | None) -> AsyncGenerator[Item, None]:
        held = await self._stacks.held_by_profile(profile_id)
        shard = subjects.shard_of(profile_id, self._shards)
        subject_filter = subjects.profile_filter(shard, profile_id) if at is None else subjects.lane_filter(shard, at)
        async for stored in self._fabric.walk(subjects.event_stream(shard), subject_filter):
            event = _event_of(stored)
            if event is None:
                continue  # it becomes a dead letter when its turn comes
            address = subjects.parse_event_subject(stored.subject).address
            holding = held.get(stored.sequence)
            state = EventState.QUEUED if holding is None else EventState.OFFERED
            attempts = event.attempts if holding is None else holding.attempt
            yield Item(event.id, state, address, stored.time, event, attempts)

    async def _deferred(self, profile_id: str, at: Address | None) -> AsyncGenerator[Item, None]:
        async for address, stored in self._events.deferred(profile_id):
            event = _event_of(stored)
            if event is not None and at in (None, address):
                returns_at = armed_for(stored.headers)
                yield Item(event.id, EventState.QUEUED, address, stored.time, event, event.attempts, returns_at)

    async def _dead(self, profile_id: str, at: Address | None) -> AsyncGenerator[Item, None]:
        subject_filter = subjects.profile_dead_filter(profile_id) if at is None else subjects.address_dead_filter(at)
        async for stored in self._fabric.walk(DEAD_STREAM, subject_filter):
            address, reason, event_id = subjects.parse_dead_subject(stored.subject)
            state = EventState.TIMED_OUT if reason == EventState.TIMED_OUT else EventState.DEAD
            event = _event_of(stored)
            attempts = 0 if event is None else event.attempts
            yield Item(event_id, state, address, stored.time, event, attempts, reason=reason)


def _event_of(stored: Stored) -> Event | None:
    try:
        return decode_event_header(stored.headers)
    except BadPayload:
        return None
