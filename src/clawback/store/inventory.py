"""
The inventory: what waits, what a session holds and what is dead, without keeping a body in memory.

It is read from the streams themselves, so it is never out of date and costs nothing until somebody asks. The history
(history.py) has what ended.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Container, Iterable
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import NamedTuple

from msgspec import Struct

from clawback.errors import BadPayload, Unavailable
from clawback.fabric import subjects
from clawback.fabric.jetstream import Stored
from clawback.fabric.streams import Fabric
from clawback.model import Address, Event, EventState, Held, Priority
from clawback.store.events import DEAD_STREAM, EventStore, decode_event_header
from clawback.store.later import armed_for
from clawback.store.stacks import Stacks

LISTED = (EventState.QUEUED, EventState.OFFERED, EventState.CLAIMED, EventState.TIMED_OUT, EventState.DEAD)
"""The states of what has not ended well: it waits, a session holds it or has seen it, or it is a dead letter."""

WALKS_AT_ONCE = 2
"""Of all profiles together. A walk asks NATS for a page once it has the last one."""

MAX_WAITING_WALKS = 32
"""Of one profile, the one that walks included."""

_LIVE = frozenset({EventState.QUEUED, EventState.OFFERED, EventState.CLAIMED})
_DEAD = frozenset({EventState.TIMED_OUT, EventState.DEAD})


class Item(Struct, frozen=True):
    """
    An event that waits, is held, or is dead.

    `event` is None for a dead letter that nobody can read. `since` is when it came to where it is, `attempts` how often
    it was delivered, `returns_at` when a deferred one goes back into its line, `reason` why a dead one is,
    `held` how its session has it. `sequence` is its place in the stream where it is.
    """

    event_id: str
    state: EventState
    address: Address
    since: datetime
    event: Event | None = None
    attempts: int = 0
    returns_at: datetime | None = None
    reason: str | None = None
    held: Held | None = None
    sequence: int = 0


class Position(NamedTuple):
    """How far a reader has come: the sequences that it has seen of what is in line, out of line, and dead."""

    line: int = 0
    later: int = 0
    dead: int = 0

    def after(self, items: Iterable[Item]) -> "Position":
        """Say how far it has come with these."""
        line, later, dead = self
        for item in items:
            if item.state in _DEAD:
                dead = max(dead, item.sequence)
            elif item.returns_at is not None:
                later = max(later, item.sequence)
            else:
                line = max(line, item.sequence)
        return Position(line, later, dead)


START = Position()


class Lane(Struct, frozen=True):
    """
    What is at an address: `held` by its session, active event last, and the first that wait, in the order they leave.

    `waiting` counts all that wait in the lines, `deferred` are the first that wait out of line.
    """

    address: Address
    held: list[Item]
    first: list[Item]
    waiting: int
    deferred: list[Item]


class Found(Struct, frozen=True):
    """One event where it is stored: what the list says of it, and its message."""

    item: Item
    stored: Stored


class Inventory:
    """What is in the streams of events, of deferred events and of dead letters."""

    def __init__(self, fabric: Fabric, events: EventStore, stacks: Stacks, shards: int) -> None:
        self._fabric = fabric
        self._events = events
        self._stacks = stacks
        self._shards = shards
        self._room = asyncio.Semaphore(WALKS_AT_ONCE)
        # Of each profile that looks through its lines now: whose turn it is, and how many wait or walk.
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    async def oldest(
        self,
        profile_id: str,
        *,
        limit: int,
        states: Collection[EventState] = LISTED,
        at: Address | None = None,
        seen: Position = START,
        wanted: Callable[[Item], bool] = lambda _: True,
    ) -> list[Item]:
        """
        List a profile's items in one of `states`, those that are where they are for the longest time first.

        `at` narrows it to one address, `wanted` further, `seen` leaves out what a reader has seen.

        Raises:
            Unavailable: NATS did not answer.
        """
        places: list[AsyncGenerator[Item, None]] = []
        if not _LIVE.isdisjoint(states):
            places += [self._waiting(profile_id, at, seen.line), self._deferred(profile_id, at, seen.later)]
        if not _DEAD.isdisjoint(states):
            places.append(self._dead(profile_id, at, seen.dead))
        found = []
        for items in places:
            taken: list[Item] = []
            async with aclosing(items):
                async for item in items:
                    if item.state in states and wanted(item):
                        taken.append(item)
                    if len(taken) == limit:
                        break
            found.append(taken)
        # Merged, not sorted: of each place it takes the beginning, even if a clock jumped, so a reader skips nothing.
        return list(islice(merge(*found, key=lambda item: item.since), limit))

    async def lanes(self, profile_id: str, *, first: int, most: int) -> list[Lane]:
        """
        List what is at a profile's addresses, of `most` of them, with the `first` that wait at each.

        However much waits, this reads little more than it returns.

        Raises:
            Unavailable: NATS did not answer.
        """
        shard = subjects.shard_of(profile_id, self._shards)
        stream = subjects.event_stream(shard)
        stored: defaultdict[Address, Counter[Priority]] = defaultdict(Counter)
        for subject, count in (await self._fabric.counts(stream, subjects.profile_filter(shard, profile_id))).items():
            with suppress(ValueError):  # a stranger's: no address of ours
                line = subjects.parse_event_subject(subject)
                stored[line.address][line.priority] += count
        deferred: dict[Address, list[Item]] = {}
        async with aclosing(self._deferred(profile_id, None, 0)) as items:
            async for item in items:
                deferred.setdefault(item.address, []).append(item)
                if sum(map(len, deferred.values())) == most:
                    break

        async def lane(address: Address) -> Lane:
            held, lines = await self._held(address), stored[address]
            waiting = max(lines.total() - len(held), 0)
            waits = await self._first(address, lines, first, {item.event_id for item in held}) if waiting else []
            return Lane(address, held, waits, waiting, deferred.get(address, []))

        addresses = sorted(stored.keys() | deferred.keys(), key=lambda address: address.tag or "")
        return list(await asyncio.gather(*(lane(address) for address in addresses[:most])))

    async def used_tags(self, profile_id: str) -> set[str | None]:
        """
        List the tags of a profile that some session was ever served under.

        Raises:
            Unavailable: NATS did not answer.
        """
        return await self._stacks.used_tags(profile_id)

    async def find_dead(self, profile_id: str, event_id: str) -> Item | None:
        """
        Find a dead letter of a profile; `event_id` may be anybody's text.

        Raises:
            Unavailable: NATS did not answer.
        """
        dead = await self._events.find_dead(profile_id, event_id)
        return None if dead is None else _dead_item(dead)

    async def find(self, profile_id: str, event_id: str) -> Found | None:
        """
        Find an event of a profile where it waits, is held, was put off or is dead; `event_id` may be anybody's text.

        What waits in line has no index: this reads through it, a megabyte or one message at a time.

        Raises:
            Unavailable: NATS did not answer, or too many such look-ups are under way.
        """
        dead = await self._events.find_dead(profile_id, event_id)
        if dead is not None:
            return Found(_dead_item(dead), dead)
        deferred = await self._events.find_deferred(profile_id, event_id)
        if deferred is not None:
            address, stored = deferred
            event = _event_of(stored)
            if event is not None and (item := _deferred_item(address, stored, event)):
                return Found(item, stored)
        held = await self._stacks.held_by_profile(profile_id)
        stream = subjects.event_stream(subjects.shard_of(profile_id, self._shards))
        for sequence, holding in held.items():
            if holding.event_id == event_id and (stored_now := await self._fabric.get(stream, sequence=sequence)):
                event = _event_of(stored_now)
                if event is not None:
                    return Found(_stored_item(stored_now, event, holding), stored_now)
        async with self._walks(profile_id):
            return await self._look_through_lines(profile_id, event_id, held)

    async def _look_through_lines(self, profile_id: str, event_id: str, held: dict[int, Held]) -> Found | None:
        shard = subjects.shard_of(profile_id, self._shards)
        stream = subjects.event_stream(shard)
        async for stored in self._fabric.walk(stream, subjects.profile_filter(shard, profile_id)):
            event = _event_of(stored)
            if event is not None and event.id == event_id:
                with suppress(ValueError):  # a stranger's: in no line of ours
                    return Found(_stored_item(stored, event, held.get(stored.sequence)), stored)
        return None

    @asynccontextmanager
    async def _walks(self, profile_id: str) -> AsyncIterator[None]:
        """Walk through the lines one at a time for a profile, and few at a time for all: each reads bodies."""
        turn, waiting = self._turns.get(profile_id, (asyncio.Lock(), 0))
        if waiting >= MAX_WAITING_WALKS:
            raise Unavailable("too many look-ups by id are under way in this profile; try again in a moment")
        self._turns[profile_id] = (turn, waiting + 1)
        try:
            async with turn, self._room:
                yield
        finally:
            _, waiting = self._turns.pop(profile_id)
            if waiting > 1:
                self._turns[profile_id] = (turn, waiting - 1)

    async def _held(self, address: Address) -> list[Item]:
        return [
            _stored_item(stored, event, holding)
            for holding, stored in await self._stacks.restore(address)
            if (event := _event_of(stored)) is not None
        ]

    async def _first(
        self, address: Address, lines: Container[Priority], limit: int, held: Collection[str]
    ) -> list[Item]:
        shard = subjects.shard_of(address.profile_id, self._shards)
        found: list[Item] = []
        for priority in (Priority.INTERRUPT, Priority.PRIORITY, Priority.NORMAL):
            if priority not in lines:
                continue
            line = subjects.line_filter(shard, address, priority)
            enough = limit - len(found) + len(held)
            async for stored in self._fabric.walk(subjects.event_stream(shard), line, at_a_time=max(enough, 1)):
                if len(found) == limit:
                    return found
                event = _event_of(stored)
                if event is not None and event.id not in held:
                    found.append(_stored_item(stored, event, None))
        return found

    async def _waiting(self, profile_id: str, at: Address | None, seen: int) -> AsyncGenerator[Item, None]:
        held = await self._stacks.held_by_profile(profile_id)
        shard = subjects.shard_of(profile_id, self._shards)
        subject_filter = subjects.profile_filter(shard, profile_id) if at is None else subjects.lane_filter(shard, at)
        async for stored in self._fabric.walk(subjects.event_stream(shard), subject_filter, first=seen + 1):
            event = _event_of(stored)
            if event is None:
                continue  # it becomes a dead letter when its turn comes
            try:
                item = _stored_item(stored, event, held.get(stored.sequence))
            except ValueError:
                continue  # a stranger's: in no line of ours
            yield item

    async def _deferred(self, profile_id: str, at: Address | None, seen: int) -> AsyncGenerator[Item, None]:
        async for address, stored in self._events.deferred(profile_id, first=seen + 1):
            event = _event_of(stored)
            if event is not None and at in (None, address) and (item := _deferred_item(address, stored, event)):
                yield item

    async def _dead(self, profile_id: str, at: Address | None, seen: int) -> AsyncGenerator[Item, None]:
        subject_filter = subjects.profile_dead_filter(profile_id) if at is None else subjects.address_dead_filter(at)
        async for stored in self._fabric.walk(DEAD_STREAM, subject_filter, first=seen + 1):
            try:
                item = _dead_item(stored)
            except ValueError:
                continue  # a stranger's: no dead letter of ours
            yield item


def _stored_item(stored: Stored, event: Event, holding: Held | None) -> Item:
    address = subjects.parse_event_subject(stored.subject).address
    state = EventState.QUEUED if holding is None else holding.state
    attempts = event.attempts if holding is None else holding.attempt
    return Item(event.id, state, address, stored.time, event, attempts, held=holding, sequence=stored.sequence)


def _deferred_item(address: Address, stored: Stored, event: Event) -> Item | None:
    """Build what the list says of a deferred event; None where nothing says when it returns: it is a stranger's."""
    try:
        returns_at = armed_for(stored.headers)
    except (KeyError, ValueError):
        return None
    return Item(
        event.id, EventState.QUEUED, address, stored.time, event, event.attempts, returns_at, sequence=stored.sequence
    )


def _dead_item(stored: Stored) -> Item:
    address, reason, event_id = subjects.parse_dead_subject(stored.subject)
    state = EventState.TIMED_OUT if reason == EventState.TIMED_OUT else EventState.DEAD
    event = _event_of(stored)
    attempts = 0 if event is None else event.attempts
    return Item(event_id, state, address, stored.time, event, attempts, reason=reason, sequence=stored.sequence)


def _event_of(stored: Stored) -> Event | None:
    """Read the event of a message; None where that cannot be, which is set aside by whoever it is delivered to."""
    try:
        return decode_event_header(stored.headers)
    except BadPayload:
        return None
