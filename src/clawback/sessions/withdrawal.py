"""Withdrawing the waiting events of a source that was deleted."""

from typing import TYPE_CHECKING

from clawback.errors import BadPayload
from clawback.fabric import subjects
from clawback.fabric.jetstream import Stored
from clawback.model import Address, Event, EventState, Held
from clawback.sessions.attempts import ending_span
from clawback.sessions.ending import end_record
from clawback.store.events import EventStore, decode_event
from clawback.store.history import History
from clawback.store.lines import Lines
from clawback.store.stacks import Stacks
from clawback.telemetry import metrics

if TYPE_CHECKING:
    from clawback.telemetry.tracing import Traces

SOURCE_DELETED = "source_deleted"
"""The reason of their dead letters."""


async def withdraw_source(
    profile_id: str,
    source_id: str,
    *,
    lines: Lines,
    stacks: Stacks,
    events: EventStore,
    history: History,
    traces: "Traces | None" = None,
) -> None:
    """
    Move what waits of a source to the dead letters, whatever its session; what a session holds is left to it.

    Raises:
        Unavailable: not all is moved; what is left will be delivered. Doing it again moves it.
    """
    async for page in lines.stored_of(profile_id, subjects.source_maker(source_id)):
        # Read for each page: sessions go on meanwhile, and what one was given since is its own.
        held = await stacks.held_by_profile(profile_id)
        for stored in page:
            if stored.sequence not in held:
                await _withdraw(stored, lines=lines, events=events, history=history, traces=traces)
    async for address, stored in events.deferred(profile_id):
        event, body = decode_event(stored.headers, stored.data)
        if event.source_id == source_id:
            waited = Held(event.id, stored.sequence, event.priority, event.attempts)
            await _bury(address, event, body, waited, lines=lines, events=events, history=history, traces=traces)
            await events.forget_deferred(profile_id, event.id)


async def _withdraw(
    stored: Stored, *, lines: Lines, events: EventStore, history: History, traces: "Traces | None"
) -> None:
    _, address, priority, _ = subjects.parse_event_subject(stored.subject)
    try:
        event, body = decode_event(stored.headers, stored.data)
    except BadPayload:
        await events.bury_unreadable(address, stored.headers, stored.data)
    else:
        waited = Held(event.id, stored.sequence, priority)
        await _bury(address, event, body, waited, lines=lines, events=events, history=history, traces=traces)
    await lines.acknowledge(address, stored.sequence, None)


async def _bury(
    address: Address,
    event: Event,
    body: bytes,
    waited: Held,
    *,
    lines: Lines,
    events: EventStore,
    history: History,
    traces: "Traces | None",
) -> None:
    record = end_record(event, waited, EventState.DEAD, tag=address.tag, reason=SOURCE_DELETED)
    stream = subjects.event_stream(lines.shard(address))
    with ending_span(traces, stream, address, event, waited, EventState.DEAD):
        await events.bury(address, event, body, reason=SOURCE_DELETED)
        await history.record(address, record)
        await events.may_end(address, event)
    metrics.ENDED.labels(address.profile_id, EventState.DEAD.value).inc()
