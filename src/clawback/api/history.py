"""`/history`: how events ended."""

from datetime import datetime
from typing import Annotated, Literal

from litestar import Controller, get
from litestar.params import QueryParameter
from msgspec import UNSET, Meta, UnsetType

from clawback import wire
from clawback.api.answers import Answer, documented
from clawback.api.asking import NO_ID, Ask
from clawback.api.events import Cursor, Limit, NextCursor
from clawback.model import EventState
from clawback.operations.history import page_history


class Ended(Answer, frozen=True):
    """How an event ended."""

    event_id: str
    source: str
    path: str
    skill: str
    event_type: str
    summary: Annotated[str, Meta(description="What its session said of it")]
    completed_at: datetime
    duration_ms: Annotated[int, Meta(description="From its delivery to its end")]
    timed_out: bool
    attempts: int
    session_tag: str | None
    state: EventState
    reason: Annotated[str, Meta(description="Why, where it timed out, is dead or was skipped")] | UnsetType = UNSET
    condition: Annotated[str, Meta(description="What held it back, where it was filtered")] | UnsetType = UNSET
    values: Annotated[dict[str, str | None], Meta(description="What the condition looked at")] | UnsetType = UNSET
    note: Annotated[str, Meta(description="Why the condition could not tell")] | UnsetType = UNSET


class History(Answer, frozen=True):
    """A page of the history, newest first."""

    items: list[Ended]
    next_cursor: NextCursor


EXAMPLE = {
    "eventId": "evt_9f86d081884c7d659a2feaa0c55ad015",
    "source": "webhook",
    "path": "/github",
    "skill": "/review",
    "eventType": "pull_request.opened",
    "summary": "Reviewed, two remarks",
    "completedAt": "2027-01-31T09:04:12.5Z",
    "durationMs": 252377,
    "timedOut": False,
    "attempts": 1,
    "sessionTag": "builds",
    "state": "acked",
}


class HistoryController(Controller):
    """The history."""

    path = "/history"
    tags = ("events",)

    @get(
        operation_id="event_history",
        summary="List how events ended",
        responses=documented(200, History, {"items": [EXAMPLE], "nextCursor": "aGlzdG9yeS00Mg"}),
    )
    async def list_all(
        self,
        ask: Ask,
        states: Annotated[
            list[Literal["acked", "timed_out", "dead", "dropped", "skipped", "discarded", "filtered"]] | None,
            QueryParameter(
                name="state", description="Only these; all but dropped, skipped and filtered where it is left out"
            ),
        ] = None,
        limit: Limit = None,
        cursor: Cursor = None,
    ) -> object:
        """List the profile's events that ended, newest first. Of each session the newest 200 are kept, for 90 days."""
        request = wire.EventHistory(request_id=NO_ID, states=tuple(states) if states else None, limit=limit)
        page = await page_history(ask.services, ask.caller, request, cursor)
        return {"items": page.items, "nextCursor": page.cursor}
