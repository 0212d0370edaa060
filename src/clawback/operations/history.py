"""Events that ended, newest first."""

from collections.abc import Collection, Sequence
from typing import Any

from clawback import wire
from clawback.errors import Rejected
from clawback.model import EventState, HistoryRecord
from clawback.operations.caller import Caller, Services
from clawback.operations.cursors import Page, read_cursor, write_cursor
from clawback.store.history import FINISHED

DEFAULT_LIMIT = 20
MAX_LIMIT = 100

CURSOR = "history"
"""The name of this list in its cursors."""

RECORDED = (
    EventState.ACKED,
    EventState.TIMED_OUT,
    EventState.DEAD,
    EventState.DROPPED,
    EventState.SKIPPED,
    EventState.FILTERED,
    EventState.DISCARDED,
)
"""The ends. Where an event that has not ended stands is in the streams and not in the history."""


async def event_history(services: Services, caller: Caller, request: wire.EventHistory) -> list[dict[str, Any]]:
    """
    List the profile's events that ended; what was never in a line only where its state is named.

    Raises:
        Rejected: the limit or a state is none.
        Unavailable: NATS does not answer.
    """
    return (await page_history(services, caller, request)).items


async def page_history(
    services: Services, caller: Caller, request: wire.EventHistory, cursor: str | None = None
) -> Page:
    """
    List the same from where a page before ended.

    Raises:
        Rejected: the limit, a state or the cursor is none.
        Unavailable: NATS does not answer.
    """
    limit, states = check_limit(request.limit), check_states(request.states)
    before = None if cursor is None else read_cursor(CURSOR, 1, cursor)[0]
    found = await services.history.page(caller.profile_id, limit=limit + 1, states=states, before=before)
    shown = found[:limit]
    following = write_cursor(CURSOR, shown[-1][0]) if len(found) > limit else None
    return Page([answer_record(record) for _, record in shown], following)


def check_limit(limit: int | None) -> int:
    """
    Check how many events are asked for.

    Raises:
        Rejected: none, or more than fit one answer.
    """
    if limit is None:
        return DEFAULT_LIMIT
    if not 1 <= limit <= MAX_LIMIT:
        raise Rejected(f"limit refused, read {limit}: accepted is 1 to {MAX_LIMIT} (default {DEFAULT_LIMIT})")
    return limit


def check_states(states: Sequence[str] | None) -> Collection[EventState]:
    """
    Check which ends are asked for.

    Raises:
        Rejected: a state is unknown, or is none that an event ends in.
    """
    if not states:
        return FINISHED
    names = ", ".join(RECORDED)
    for state in states:
        if state not in tuple(EventState):
            raise Rejected(f"state refused, read {ascii(state)[:80]}: accepted are {names}")
        if state not in RECORDED:
            raise Rejected(
                f"state {state} refused, the history has events that ended: accepted are {names};"
                " event_list has what waits"
            )
    return frozenset(EventState(state) for state in states)


def answer_record(record: HistoryRecord) -> dict[str, Any]:
    """Write a record in the shape of docs/protocol.md."""
    answer = {
        "eventId": record.event_id,
        "source": record.source,
        "path": record.path,
        "skill": record.skill,
        "eventType": record.event_type,
        "summary": record.summary,
        "completedAt": record.completed_at,
        "durationMs": record.duration_ms,
        "timedOut": record.timed_out,
        "attempts": record.attempts,
        "sessionTag": record.session_tag,
        "state": record.state.value,
    }
    optional = {
        "seenAt": record.seen_at,
        "reason": record.reason,
        "condition": record.condition,
        "values": record.values,
        "note": record.note,
    }
    return answer | {name: value for name, value in optional.items() if value is not None}
