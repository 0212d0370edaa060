"""
How an event ends: by an ack, as a dead letter, discarded, or back in its line. One way, and each turn ends once.

    decide → make the dead letter, or the copy in the line → ledger → out of its stream

To decide is to store the history record: its message id is the turn, so the first is the only one, and who comes second
reads what was decided and finishes that. Whether there is anything left to end is asked of the stream, not of memory.
An end of one step needs nothing else: the removal is the end, and until then nothing has happened. Before an end of two
steps the intention is stored: in the stack of its session, which whoever serves that next finishes before anything
else, and in LATER for a dead letter, which any server finishes in a moment if nobody connects. A deferral waits for the
session, since nobody else would be given the event. Each step may be done twice. See ADR 0023.
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from msgspec import structs

from clawback import wire
from clawback.errors import BadPayload
from clawback.fabric import subjects
from clawback.fabric.jetstream import Stored
from clawback.fabric.layout import END_WINDOW_SECONDS
from clawback.model import Address, Event, EventState, Held, HistoryRecord
from clawback.sessions.attempts import ending_span, log_end, worked_ms
from clawback.store.events import STACK_HEADER, EventStore, decode_event, turn_of
from clawback.store.history import History
from clawback.store.later import Due
from clawback.store.lines import Lines, Pulled
from clawback.store.stacks import Stacks
from clawback.telemetry import metrics

if TYPE_CHECKING:
    from clawback.telemetry.tracing import Traces

T = TypeVar("T")


class Insist(Protocol):
    """How often a step is tried."""

    async def __call__(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Do a step, perhaps again."""


async def _once(attempt: Callable[[], Awaitable[T]]) -> T:
    return await attempt()


class Ending:
    """Ends events. `insist` says how often a step is tried while NATS is away; otherwise once, then it raises."""

    def __init__(self, lines: Lines, events: EventStore, history: History, *, insist: Insist = _once) -> None:
        self._lines = lines
        self._events = events
        self._history = history
        self._insist = insist

    async def end(
        self,
        address: Address,
        event: Event,
        held: Held,
        wanted: HistoryRecord,
        *,
        turn: str,
        pulled: Pulled | None = None,
        stored: Stored | None = None,
    ) -> HistoryRecord | None:
        """
        End a turn of an event as is `wanted`, or as was decided before; returns that, None where it had ended.

        `wanted` is from `end_record`; its state `queued` puts the event back. `pulled` is how it came, where that is
        known, `stored` what the stream has of it, where whoever serves the session has just read it.

        Raises:
            Unavailable: not known to have ended; doing it again does no harm.
        """
        if wanted.state is not EventState.ACKED or _may_have_ended(held):
            stored = stored or await self._read(address, held)
            if stored is None:
                return None
            if await self._insist(lambda: self._events.has_ended(address, event, turn)):
                # Whoever ended it was cut short before the last step.
                await self._insist(lambda: self._lines.acknowledge(address, held.sequence, pulled))
                return None
        decided = await self._insist(lambda: self._history.decide(address, wanted, turn))
        if decided.state not in (EventState.ACKED, EventState.DISCARDED):
            stored = stored or await self._read(address, held)
            if stored is None:
                return decided
            await self._copy(address, stored, held, decided)
        await self._insist(lambda: self._events.may_end(address, event, turn))
        await self._insist(lambda: self._lines.acknowledge(address, held.sequence, pulled))
        return decided

    async def set_aside(
        self,
        address: Address,
        event: Event,
        held: Held,
        wanted: HistoryRecord,
        *,
        turn: str,
        intend: Callable[[], Awaitable[None]],
        pulled: Pulled | None = None,
    ) -> HistoryRecord | None:
        """
        End a held event as a dead letter, as `end` does, with what makes others finish it.

        `intend` stores the stack that says so.

        Raises:
            Unavailable: not known to have ended; doing it again does no harm.
        """
        await self._insist(lambda: self._events.promise_end(address, event.id))
        await intend()
        decided = await self.end(address, event, held, wanted, turn=turn, pulled=pulled)
        await self._insist(lambda: self._events.keep_promise(address, event.id))
        return decided

    async def _read(self, address: Address, held: Held) -> Stored | None:
        return await self._insist(lambda: self._lines.read(address, held.sequence))

    async def _copy(self, address: Address, stored: Stored, held: Held, decided: HistoryRecord) -> None:
        """Make the dead letter or the copy in the line that was decided."""
        event, body = decode_event(stored.headers, stored.data)
        tried = structs.replace(event, attempts=decided.attempts)
        if decided.state is EventState.QUEUED:
            returns_at = decided.returns_at or 0.0
            at = datetime.fromtimestamp(returns_at, UTC) if returns_at > time.time() else None
            await self._insist(
                lambda: self._events.put_back(address, tried, body, sequence=held.sequence, at=at),
            )
        else:
            reason = decided.reason or decided.state.value
            await self._insist(lambda: self._events.bury(address, tried, body, reason=reason))


def _may_have_ended(held: Held) -> bool:
    """Whether somebody else may have ended this delivery so long ago that its end can be decided anew."""
    return not 0 <= time.time() - held.delivered_at < END_WINDOW_SECONDS / 2


class Finisher:
    """Finishes the ends of held events that their servers were cut short in; for the relay."""

    def __init__(self, ending: Ending, stacks: Stacks) -> None:
        self._ending = ending
        self._stacks = stacks

    async def finish(self, due: Due) -> None:
        """
        Set an event aside whose stack says so, if it is not yet; nothing where the session goes on with it.

        Raises:
            BadPayload: it says nothing that anybody could finish.
            Unavailable: not known to be done; doing it again does no harm.
        """
        try:
            address = subjects.parse_stack_subject(due.headers[STACK_HEADER])
        except (KeyError, ValueError):
            raise BadPayload("it does not say whose stack has it") from None
        for held, stored in await self._stacks.restore(address):
            if held.event_id == due.name and held.ends_as is not None:
                event, _ = decode_event(stored.headers, stored.data)
                state = EventState.TIMED_OUT if held.ends_as == EventState.TIMED_OUT else EventState.DEAD
                wanted = end_record(event, held, state, tag=address.tag, reason=held.ends_as)
                if (
                    await self._ending.end(address, event, held, wanted, turn=turn_of(stored.headers, event))
                    is not None
                ):
                    metrics.ENDED.labels(address.profile_id, state.value).inc()


async def settle_kept_acks(
    address: Address,
    acks: Iterable[wire.SettledAck],
    *,
    lines: Lines,
    stacks: Stacks,
    events: EventStore,
    history: History,
    traces: "Traces | None" = None,
) -> set[str]:
    """
    End what a client finished on an earlier connection, whoever holds the session now, and say which events ended so.

    What ended before stays as it is, and is not among them. What was put back into its line meanwhile ends there.

    An ack of an event that has timed out meanwhile is recorded against it.

    Raises:
        Unavailable: not all is confirmed; doing it again does no harm.
    """
    summaries = {ack.event_id: ack.summary for ack in acks}
    ended: set[str] = set()
    if not summaries:
        return ended
    ending = Ending(lines, events, history)
    for held, stored in await stacks.restore(address):
        if held.event_id not in summaries:
            continue
        event, _ = decode_event(stored.headers, stored.data)
        record = end_record(event, held, EventState.ACKED, tag=address.tag, summary=summaries[event.id])
        stream = subjects.event_stream(lines.shard(address))
        with ending_span(traces, stream, address, event, held, EventState.ACKED) as span:
            decided = await ending.end(address, event, held, record, turn=turn_of(stored.headers, event))
        if decided is not None and decided.state is EventState.ACKED:
            log_end(address, held, EventState.ACKED.value, None, span)
            metrics.ENDED.labels(address.profile_id, EventState.ACKED.value).inc()
            ended.add(event.id)
            del summaries[event.id]
    for event_id, summary in list(summaries.items()):
        if await _end_put_back(address, event_id, summary, events=events, history=history):
            metrics.ENDED.labels(address.profile_id, EventState.ACKED.value).inc()
            ended.add(event_id)
            del summaries[event_id]
    if summaries:
        await history.add_late_acks(address, summaries)
    return ended


async def _end_put_back(address: Address, event_id: str, summary: str, *, events: EventStore, history: History) -> bool:
    """Take an ack for the event where it waits now: its session was given it before it was put back."""
    record = await history.put_back(address, event_id)
    if record is None:
        return False
    return_id = events.return_id(event_id, record.sequence)
    if await events.turn_has_ended(address, return_id):
        return False
    wanted = structs.replace(
        record,
        state=EventState.ACKED,
        completed_at=datetime.now(UTC),
        summary=summary,
        reason=None,
        sequence=0,
        returns_at=None,
    )
    if (await history.decide(address, wanted, return_id)).state is not EventState.ACKED:
        return False
    await events.end_put_back(address, event_id, return_id)
    return True


def end_record(
    event: Event, held: Held, state: EventState, *, tag: str | None, summary: str = "", reason: str | None = None
) -> HistoryRecord:
    """Build the history record of a turn that ends now; pure but for the clock. `queued` is put back into its line."""
    now = datetime.now(UTC)
    is_back = state is EventState.QUEUED
    return HistoryRecord(
        event_id=event.id,
        source=event.origin.value,
        state=state,
        completed_at=now,
        path=event.path or event.cron_id or "",
        skill=event.skill or "",
        event_type=event.event_type or "",
        summary=summary,
        duration_ms=worked_ms(held, now),
        timed_out=state is EventState.TIMED_OUT,
        attempts=held.attempt,
        session_tag=tag,
        reason=reason,
        created_at=event.created_at,
        seen_at=datetime.fromtimestamp(held.seen_at, UTC) if held.seen_at else None,
        sequence=held.sequence if is_back else 0,
        returns_at=held.returns_at if is_back else None,
    )
