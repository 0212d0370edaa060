"""
Discarding what waits or is dead: jobs that outlive their server.

What is to be discarded is in LATER before anything is, so whichever server is there finishes it. What waits in line is
ended by whoever serves its session, as for a deleted source, and what a session holds is left to it. A dead letter is
promised to whoever discards it or to whoever replays it, so it is never both.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import msgspec

from clawback.errors import BadPayload
from clawback.fabric.streams import Fabric
from clawback.model import Address, EventState, Held, HistoryRecord, encode_json, random_id
from clawback.sessions.ending import end_record
from clawback.sessions.withdrawal import Discard, end_deferred
from clawback.store.discards import HELD, Discarded, Job, Words
from clawback.store.events import DISCARDED_BY_HEADER, EventStore
from clawback.store.history import History
from clawback.store.inventory import START, Inventory, Item
from clawback.store.later import DISCARD, Due, arm, disarm
from clawback.telemetry import metrics

PAGE_ITEMS = 128
"""Of a list, and of what the holder of a session is asked at a time."""

AT_ONCE = 32
"""What is ended side by side out of line: the disk takes their writes together."""

ANSWER_SECONDS = 2.0
"""How long whoever asked waits for the job. Most are done by then."""

STINT_SECONDS = 8.0
"""How long the job goes on before it is promised anew: other servers may have their turn, and the relay is not held."""

PROMISE_DELAY = timedelta(seconds=10)
"""Whoever began a job has promised it anew by then, or is done with it, or was killed."""

_decode_job = msgspec.json.Decoder(Job).decode


class Discards:
    """The jobs of this server; `ask` has the holder of an address end what waits there, and says whether all is."""

    def __init__(
        self,
        fabric: Fabric,
        inventory: Inventory,
        events: EventStore,
        history: History,
        *,
        ask: Callable[[Address, Discard], Awaitable[bool]],
    ) -> None:
        self._fabric = fabric
        self.inventory = inventory
        self._events = events
        self._history = history
        self._ask = ask

    async def count(self, profile_id: str, words: Words) -> Discarded:
        """
        Count what would be discarded, and what of the same words is held.

        Raises:
            Unavailable: NATS did not answer.
        """
        states = [item.state async for page in self._pages(profile_id, words) for item in page]
        held = sum(state in HELD for state in states)
        return Discarded(len(states) - held, held)

    async def discard(self, profile_id: str, job: Job) -> Discarded:
        """
        Discard what a job says; where that takes long, whichever server is there goes on.

        Raises:
            Unavailable: not known to be done; what was promised is done in a moment.
        """
        name = random_id()
        await self._promise(profile_id, name, job, datetime.now(UTC) + PROMISE_DELAY)
        done, count, held = await self._work(profile_id, job, ANSWER_SECONDS)
        if done:
            await disarm(self._fabric, DISCARD, profile_id, name)
        else:
            await self._promise(profile_id, name, job, datetime.now(UTC))
        return Discarded(count, held, None if done else name)

    async def carry_on(self, due: Due) -> None:
        """
        Go on with a job for a while; for the relay, which is given it again until nothing is left.

        Raises:
            BadPayload: it is none.
            Unavailable: not all is discarded; doing it again does it.
        """
        try:
            job = _decode_job(due.data)
        except msgspec.DecodeError:
            raise BadPayload("it does not say what is to be discarded") from None
        done, _, _ = await self._work(due.profile_id, job, STINT_SECONDS)
        if not done:
            await self._promise(due.profile_id, due.name, job, datetime.now(UTC))

    async def finish(self, due: Due) -> None:
        """
        See to a dead letter whose server was cut short: discard it, or replay it; for the relay.

        Raises:
            BadPayload: it says neither.
            QueueFull: the line of what is replayed is full.
            Unavailable: not known to be done; doing it again does no harm.
        """
        by = due.headers.get(DISCARDED_BY_HEADER)
        if by is None:
            await self._events.finish_replay(due)
        elif (found := await self.inventory.find_dead(due.profile_id, due.name)) is not None:
            await self._end_dead(due.profile_id, found, by)

    async def _promise(self, profile_id: str, name: str, job: Job, at: datetime) -> None:
        await arm(self._fabric, DISCARD, profile_id, name, at, encode_json(job), {})

    async def _pages(self, profile_id: str, words: Words) -> AsyncIterator[list[Item]]:
        """List what the words mean, what is held included."""
        states = words.states | HELD
        if words.event_id is not None:
            found = await self.inventory.find(profile_id, words.event_id)
            if found is not None and found.item.state in states and words.mean(found.item):
                yield [found.item]
            return
        seen = START
        while items := await self.inventory.oldest(
            profile_id, limit=PAGE_ITEMS, states=states, at=words.at, seen=seen, wanted=words.mean
        ):
            yield items
            seen = seen.after(items)

    async def _work(self, profile_id: str, job: Job, seconds: float) -> tuple[bool, int, int]:
        """Discard for a while; whether nothing was left, how many there were, and how many are held."""
        loop = asyncio.get_running_loop()
        deadline, count, is_coming = loop.time() + seconds, 0, True
        while True:
            found, held = 0, 0
            async for page in self._pages(profile_id, job.words):
                free = [item for item in page if item.state not in HELD]
                held += len(page) - len(free)
                found += await self._end_page(profile_id, free, job.reason)
                if loop.time() > deadline:
                    return False, count + found, held
            count += found
            # What was on its way back into its line may have been in neither place: one looks again then.
            if not found and not is_coming:
                return True, count, held
            is_coming = EventState.QUEUED in job.words.states and await self._events.is_coming_back(profile_id)
            if loop.time() > deadline:
                return False, count, held

    async def _end_page(self, profile_id: str, page: list[Item], reason: str) -> int:
        in_line: dict[Address, list[int]] = {}
        out_of_line: list[Item] = []
        for item in page:
            if item.state is EventState.QUEUED and item.returns_at is None:
                in_line.setdefault(item.address, []).append(item.sequence)
            else:
                out_of_line.append(item)
        ended = await self._end_side_by_side(profile_id, out_of_line, reason)
        for address, sequences in in_line.items():
            while not await self._ask(address, Discard(tuple(sequences), reason)):
                pass  # it was done for a while, and goes on with the rest
            ended += len(sequences)
        return ended

    async def _end_side_by_side(self, profile_id: str, items: list[Item], reason: str) -> int:
        ended = 0
        for first in range(0, len(items), AT_ONCE):
            some = items[first : first + AT_ONCE]
            outcomes = await asyncio.gather(
                *(self._end_out_of_line(profile_id, item, reason) for item in some), return_exceptions=True
            )
            ended += sum(map(_raised, outcomes))
        return ended

    async def _end_out_of_line(self, profile_id: str, item: Item, reason: str) -> bool:
        if item.state is not EventState.QUEUED:
            return await self._discard_dead(profile_id, item, reason)
        deferred = await self._events.find_deferred(profile_id, item.event_id)
        if deferred is None:
            return False
        address, stored = deferred
        try:
            await end_deferred(
                address, stored, EventState.DISCARDED, reason, events=self._events, history=self._history
            )
        except BadPayload:
            return False  # the relay drops it when it is due
        return True

    async def _discard_dead(self, profile_id: str, item: Item, reason: str) -> bool:
        if not await self._events.promise_discard(profile_id, item.event_id, reason):
            return False
        await self._end_dead(profile_id, item, reason)
        return True

    async def _end_dead(self, profile_id: str, item: Item, reason: str) -> None:
        """Record the end of a dead letter, and remove it."""
        if item.event is not None:
            was = Held(item.event_id, item.sequence, item.event.priority, item.attempts)
            record = end_record(item.event, was, EventState.DISCARDED, tag=item.address.tag, reason=reason)
        else:
            now = datetime.now(UTC)
            record = HistoryRecord(
                item.event_id, "", EventState.DISCARDED, now, session_tag=item.address.tag, reason=reason
            )
        await self._history.decide(item.address, record, f"{item.event_id}_dead_{item.sequence}")
        await self._events.remove_dead(profile_id, item.event_id, item.sequence)
        metrics.ENDED.labels(profile_id, EventState.DISCARDED.value).inc()


def _raised(outcome: bool | BaseException) -> bool:  # noqa: FBT001 -- what one of several came to
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
