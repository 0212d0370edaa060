"""
Withdrawing the waiting events of a source that was deleted: a job that outlives its server.

The intention is in LATER before the source is gone (store/registry.py), so whichever server is there finishes it. What
waits at an address is ended by whoever serves its session, between two deliveries, or by a visit under its lease: so
nothing is ended that a session holds or is about to be given. What a session holds is left to it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from clawback.errors import BadPayload, Unavailable
from clawback.fabric import subjects
from clawback.fabric.jetstream import Stored
from clawback.model import Address, EventState, Held
from clawback.sessions.attempts import ending_span
from clawback.sessions.ending import Ending, Insist, end_record
from clawback.store.events import EventStore, decode_event, maker_of_deferred, turn_of
from clawback.store.history import History
from clawback.store.later import Due
from clawback.store.lines import Lines
from clawback.telemetry import metrics

if TYPE_CHECKING:
    from clawback.telemetry.tracing import Traces

SOURCE_DELETED = "source_deleted"
"""The reason of their dead letters."""

AT_ONCE = 32
"""Events that are ended side by side: the disk takes their writes together."""

ANSWER_SECONDS = 1.0
"""How long a deletion of a source waits for its job. Most jobs are done by then."""

STINT_SECONDS = 8.0
"""How long the job goes on before it is promised anew: other servers may have their turn, and the relay is not held."""

log = logging.getLogger("clawback.sessions")


class Withdraw(Struct, frozen=True, tag_field="type", tag="withdraw"):
    """What the holder of a session is asked: to end what waits there of a maker, for a reason."""

    maker: str
    reason: str


class Discard(Struct, frozen=True, tag_field="type", tag="discard"):
    """What the holder of a session is asked: to end for good what waits there at these places of its stream."""

    sequences: tuple[int, ...]
    reason: str


async def withdraw_page(
    address: Address,
    page: list[Stored],
    reason: str,
    *,
    state: EventState = EventState.DEAD,
    lines: Lines,
    events: EventStore,
    ending: Ending,
    insist: Insist,
    traces: "Traces | None" = None,
) -> None:
    """
    End some events that wait at an address in a state; only for whoever serves it, who gives none of them out.

    Raises:
        Unavailable: not all have ended; doing it again does no harm.
    """
    stream = subjects.event_stream(lines.shard(address))

    async def withdraw(stored: Stored) -> None:
        priority = subjects.parse_event_subject(stored.subject).priority
        try:
            event, _ = decode_event(stored.headers, stored.data)
        except BadPayload:
            await insist(lambda: events.bury_unreadable(address, stored.headers, stored.data))
            await insist(lambda: lines.acknowledge(address, stored.sequence, None))
            return
        waited = Held(event.id, stored.sequence, priority, event.attempts)
        record = end_record(event, waited, state, tag=address.tag, reason=reason)
        with ending_span(traces, stream, address, event, waited, state):
            decided = await ending.end(
                address, event, waited, record, turn=turn_of(stored.headers, event), stored=stored
            )
        if decided is not None:
            metrics.ENDED.labels(address.profile_id, decided.state.value).inc()

    for number in range(0, len(page), AT_ONCE):
        # Each to its end: what one could not do is done again, and is not left half done by another's failure.
        failures = await asyncio.gather(*map(withdraw, page[number : number + AT_ONCE]), return_exceptions=True)
        for failure in failures:
            if failure is not None:
                raise failure


async def end_deferred(
    address: Address, stored: Stored, state: EventState, reason: str, *, events: EventStore, history: History
) -> None:
    """
    End an event that waits out of line, as a dead letter or discarded.

    Raises:
        BadPayload: it is none.
        Unavailable: not known to have ended; doing it again does no harm.
    """
    event, body = decode_event(stored.headers, stored.data)
    turn = turn_of(stored.headers, event)
    waited = Held(event.id, 0, event.priority, event.attempts)
    decided = await history.decide(address, end_record(event, waited, state, tag=address.tag, reason=reason), turn)
    if decided.state is EventState.DEAD:
        await events.bury(address, event, body, reason=decided.reason or reason)
    if decided.state is state:
        metrics.ENDED.labels(address.profile_id, state.value).inc()
    await events.end_put_back(address, event.id, turn)


class Withdrawals:
    """
    The jobs of this server.

    `ask` has the holder of an address end what waits there, and says whether nothing is left; `delete` deletes a source
    by profile and id, where that was not done.
    """

    def __init__(
        self,
        lines: Lines,
        events: EventStore,
        history: History,
        *,
        ask: Callable[[Address, Withdraw], Awaitable[bool]],
        delete: Callable[[str, str], Awaitable[bool]],
    ) -> None:
        self._lines = lines
        self._events = events
        self._history = history
        self._ask = ask
        self._delete = delete
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self, profile_id: str, source_id: str) -> str | None:
        """Begin to withdraw what waits of a source that is deleted; names the job, or None where it is done at once."""
        task = asyncio.create_task(self._try(profile_id, source_id), name=f"withdraw {source_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        done, _ = await asyncio.wait([task], timeout=ANSWER_SECONDS)
        for each in done:
            each.result()
        left = await self._events.withdrawing(profile_id, source_id) if not task.done() else None
        return source_id if left else None

    async def carry_on(self, due: Due) -> None:
        """
        Go on with a job for a while; for the relay, which is given it again until nothing is left.

        Raises:
            Unavailable: not all is moved; doing it again moves it.
        """
        await self._delete(due.profile_id, due.name)
        if not await self._withdraw(due.profile_id, due.name):
            await self._events.promise_withdrawal(due.profile_id, due.name)

    async def _try(self, profile_id: str, source_id: str) -> None:
        try:
            await self._withdraw(profile_id, source_id)
        except Unavailable as error:
            log.info("the relay goes on to withdraw what waits of source %s: %s", source_id, error)

    async def _withdraw(self, profile_id: str, source_id: str) -> bool:
        """Withdraw for a while; whether nothing was left to be withdrawn."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STINT_SECONDS
        maker = subjects.source_maker(source_id)
        for address in await self._lines.addresses_of(profile_id, maker):
            while not await self._ask(address, Withdraw(maker, SOURCE_DELETED)):
                if loop.time() > deadline:
                    return False
        async for address, stored in self._events.deferred(profile_id):
            if maker_of_deferred(stored) == maker:
                with contextlib.suppress(BadPayload):  # the relay drops it when it is due
                    await end_deferred(
                        address,
                        stored,
                        EventState.DEAD,
                        SOURCE_DELETED,
                        events=self._events,
                        history=self._history,
                    )
        # What comes due at this moment is in its line in the next.
        return not await self._events.is_coming_back(profile_id, maker)
