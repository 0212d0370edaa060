"""`/events`: what waits, is held or is dead, and what can be done about it."""

from datetime import datetime
from typing import Annotated, Any, Literal

from litestar import Controller, Response, delete, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, Meta, UnsetType

from clawback import wire
from clawback.api.answers import Answer, created, documented
from clawback.api.asking import NO_ID, Ask
from clawback.api.requests import Body
from clawback.errors import NotFound
from clawback.fabric.subjects import normalise_tag
from clawback.model import EventState, Priority
from clawback.operations.event_payload import DEFAULT_CHARACTERS, MAX_CHARACTERS, fetch_payload
from clawback.operations.events import (
    MAX_DELAY_SECONDS,
    MAX_EXTENSION_SECONDS,
    MAX_PAYLOAD_CHARACTERS,
    MAX_REASON_CHARACTERS,
    fetch_event,
    page_events,
)
from clawback.operations.history import DEFAULT_LIMIT, MAX_LIMIT

BINARY = "application/octet-stream"

Limit = Annotated[
    int | None,
    QueryParameter(ge=1, le=MAX_LIMIT, description=f"How many to show at most; {DEFAULT_LIMIT} where it is left out"),
]
Cursor = Annotated[
    str | None,
    QueryParameter(pattern="^[A-Za-z0-9_-]+$", description="nextCursor of the page before; the first page has none"),
]
NextCursor = Annotated[str | None, Meta(description="The cursor of the next page; null: this is the last")]


class Event(Answer, frozen=True):
    """An event that waits (`queued`), is held by a session (`offered`), or is a dead letter."""

    event_id: str
    state: EventState
    source: Annotated[str, Meta(description="webhook, cron or session; empty where nobody can read it")]
    path: Annotated[str, Meta(description="Of a webhook: a slash and its source's slug")]
    event_type: str
    session_tag: Annotated[str | None, Meta(description="null: for sessions without a tag")]
    attempts: Annotated[int, Meta(description="How often it was delivered")]
    priority: Priority | UnsetType = UNSET
    created_at: datetime | UnsetType = UNSET
    returns_at: Annotated[datetime, Meta(description="When a deferred one goes back into its line")] | UnsetType = UNSET
    reason: Annotated[str, Meta(description="Why a dead letter is one")] | UnsetType = UNSET


class EventList(Answer, frozen=True):
    """A page of events, those first that are where they are for the longest time."""

    items: list[Event]
    next_cursor: NextCursor


class Step(Answer, frozen=True):
    """A step on an event's way."""

    state: EventState
    at: datetime
    attempt: int | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    summary: str | UnsetType = UNSET
    returns_at: datetime | UnsetType = UNSET


class Payload(Answer, frozen=True):
    """The beginning of a payload."""

    text: Annotated[str, Meta(description=f"At most {MAX_PAYLOAD_CHARACTERS:,} characters")]
    bytes: Annotated[int, Meta(description="How long the whole payload is")]
    encoding: Annotated[str, Meta(description="base64 where it is not UTF-8")] | UnsetType = UNSET
    cut: Annotated[bool, Meta(description="Whether there is more than this")] | UnsetType = UNSET


class EventDetail(Event, frozen=True, kw_only=True):
    """One event, wherever it is: as in the list, or as in the history once it has ended, with its way and payload."""

    timeline: Annotated[list[Step], Meta(description="What is known of its way, oldest first")]
    payload: Annotated[Payload | None, Meta(description="null once it was acked, which deletes it")]
    skill: str | UnsetType = UNSET
    delivery_id: str | UnsetType | None = UNSET
    replay: Annotated[str, Meta(description="The dead letter that it repeats")] | UnsetType | None = UNSET
    summary: str | UnsetType = UNSET
    completed_at: datetime | UnsetType = UNSET
    duration_ms: int | UnsetType = UNSET
    timed_out: bool | UnsetType = UNSET
    condition: Annotated[str, Meta(description="What held it back, where it was filtered")] | UnsetType = UNSET
    values: Annotated[dict[str, str | None], Meta(description="What the condition looked at")] | UnsetType = UNSET
    note: Annotated[str, Meta(description="Why the condition could not tell")] | UnsetType = UNSET


class PayloadPart(Answer, frozen=True):
    """What stands at a path of a payload, cut to a limit."""

    event_id: str
    path: str
    kind: Literal["payload", "object", "array", "string", "number", "boolean", "null"]
    text: str
    offset: int
    total_characters: int
    next_offset: Annotated[int, Meta(description="The offset of what follows; absent at the end")] | UnsetType = UNSET


class ActiveEvent(Answer, frozen=True):
    """An event as its session was sent it."""

    event_id: str
    content: str
    meta: dict[str, str]


class AckBody(Body, frozen=True):
    """What is to be said of the event in the history."""

    summary: str | None = None


class Acked(Answer, frozen=True):
    """Whether the event ended now; false where it had ended before."""

    event_id: str
    settled: bool


class Extension(Body, frozen=True):
    """How much more time an event gets."""

    seconds: Annotated[int, Meta(ge=1, le=MAX_EXTENSION_SECONDS)]


class Extended(Answer, frozen=True):
    """The event that got more time, and how much."""

    event_id: str
    seconds: int


class Deferral(Body, frozen=True):
    """How long an event is put off; left out: to the end of its line at once."""

    delay_seconds: Annotated[int, Meta(ge=0, le=MAX_DELAY_SECONDS)] | None = None


class Deferred(Answer, frozen=True):
    """The event that was put off, and for how long."""

    event_id: str
    delay_seconds: int


class Failure(Body, frozen=True):
    """Why the event could not be taken."""

    reason: Annotated[str, Meta(max_length=MAX_REASON_CHARACTERS)] | None = None


class Failed(Answer, frozen=True):
    """The event that was handed back."""

    event_id: str


class Discarding(Body, frozen=True):
    """Which events are discarded: those of which the list says all that is said here."""

    states: tuple[Literal["queued", "timed_out", "dead"], ...] | None = None
    session_tag: Annotated[str | None, Meta(description="Only this session's; (untagged): those without a tag")] = None
    source: Literal["webhook", "cron", "session"] | None = None
    path: Annotated[str | None, Meta(description="Of a webhook: a slash and its source's slug")] = None
    event_type: str | None = None
    dry_run: Annotated[bool, Meta(description="Only count them")] = False


class Discarded(Answer, frozen=True):
    """What was discarded, or would be."""

    count: int
    held: Annotated[int, Meta(description="What of them sessions hold; that is left to them")]
    dry_run: bool
    job: Annotated[str, Meta(description="It takes longer, and goes on")] | UnsetType = UNSET


class Replay(Answer, frozen=True):
    """A new event that was made of a dead letter."""

    event_id: str
    replay: Annotated[str, Meta(description="The dead letter that it was")]


EXAMPLE = {
    "eventId": "evt_9f86d081884c7d659a2feaa0c55ad015",
    "state": "queued",
    "source": "webhook",
    "path": "/github",
    "eventType": "pull_request.opened",
    "priority": "normal",
    "sessionTag": "builds",
    "createdAt": "2027-01-31T09:00:00.123456Z",
    "attempts": 0,
}
DETAIL = EXAMPLE | {
    "skill": "/review",
    "deliveryId": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    "timeline": [{"state": "queued", "at": EXAMPLE["createdAt"]}],
    "payload": {"text": '{"action": "opened"}', "bytes": 20},
}
PART = {
    "eventId": EXAMPLE["eventId"],
    "path": "pull_request.head.sha",
    "kind": "string",
    "text": "6dcb09b5b57875f334f61aebed695e2e4193db5e",
    "offset": 0,
    "totalCharacters": 40,
}
ACTIVE = {
    "eventId": EXAMPLE["eventId"],
    "content": '/review\n\n{"action": "opened"}',
    "meta": {"source": "webhook", "eventId": EXAMPLE["eventId"], "priority": "normal", "attempt": "1"},
}
REPLAY = {"eventId": "evt_v4d2k6bqj3s7x5nwz2m8c9h1fa", "replay": EXAMPLE["eventId"]}


class EventController(Controller):
    """Events."""

    path = "/events"
    tags = ("events",)

    @get(
        operation_id="event_list",
        summary="List what waits, is held or is dead",
        responses=documented(200, EventList, {"items": [EXAMPLE], "nextCursor": "ZXZlbnRzLTQyLTAtNw"}),
    )
    async def list_all(
        self,
        ask: Ask,
        states: Annotated[
            list[Literal["queued", "offered", "claimed", "timed_out", "dead"]] | None,
            QueryParameter(name="state", description="Only these; all of them where it is left out"),
        ] = None,
        session_tag: Annotated[
            str | None,
            QueryParameter(name="sessionTag", description="Only this session's; (untagged): those without a tag"),
        ] = None,
        source: Annotated[
            Literal["webhook", "cron", "session"] | None, QueryParameter(description="Only these")
        ] = None,
        path: Annotated[
            str | None, QueryParameter(description="Only a source's: a slash and its slug, as the list has it")
        ] = None,
        event_type: Annotated[str | None, QueryParameter(name="eventType", description="Only this type's")] = None,
        limit: Limit = None,
        cursor: Cursor = None,
    ) -> object:
        """List events that have not ended well, those first that are where they are for the longest time."""
        request = wire.EventList(
            request_id=NO_ID,
            states=tuple(states) if states else None,
            session_tag=session_tag,
            source=source,
            path=path,
            event_type=event_type,
            limit=limit,
        )
        page = await page_events(ask.services, ask.caller, request, cursor)
        return {"items": page.items, "nextCursor": page.cursor}

    @get(
        "/active",
        operation_id="event_next",
        summary="Show a session's active event",
        responses=documented(200, ActiveEvent, ACTIVE, 404),
    )
    async def active(
        self,
        ask: Ask,
        session_tag: Annotated[
            str | None, QueryParameter(name="sessionTag", description="Which session; left out: the one without a tag")
        ] = None,
    ) -> object:
        """Show the event that a session works on, connected or not, as it was sent. That is no delivery."""
        answer = await ask.of_session(normalise_tag(session_tag))(wire.EventNext)
        if answer is None:
            raise NotFound("no event is active there; GET /api/v1/events shows what waits")
        return answer

    @get(
        "/{event_id:str}",
        operation_id="event_get",
        summary="Show an event",
        responses=documented(200, EventDetail, DETAIL, 404),
    )
    async def one(self, ask: Ask, event_id: FromPath[str]) -> object:
        """
        Show where an event is, how it got there, and the beginning of its payload.

        What waits in line has no index: with very many events waiting this takes a while.
        """
        return await fetch_event(ask.services, ask.caller, event_id)

    @get(
        "/{event_id:str}/payload",
        operation_id="event_payload_whole",
        summary="Fetch a payload",
        media_type=BINARY,
        responses=documented(200, bytes, None, 404, media_type=BINARY),
    )
    async def payload(self, ask: Ask, event_id: FromPath[str]) -> Response[bytes]:
        """Fetch the whole payload of an event that has not been acked, byte for byte as it came."""
        body = await fetch_payload(ask.services, ask.caller, event_id)
        # A stranger wrote it: a browser is to keep it, and not to show it as a page of this site.
        headers = {"Content-Disposition": "attachment", "X-Content-Type-Options": "nosniff"}
        return Response(body, media_type=BINARY, headers=headers)

    @get(
        "/{event_id:str}/payload/part",
        operation_id="event_payload",
        summary="Read a part of a payload",
        responses=documented(200, PayloadPart, PART, 404),
    )
    async def payload_part(
        self,
        ask: Ask,
        event_id: FromPath[str],
        path: Annotated[
            str | None,
            QueryParameter(description="Dotted, such as pull_request.head.sha; without one the whole payload"),
        ] = None,
        # More than -1, as Litestar does not describe a limit of 0.
        offset: Annotated[int | None, QueryParameter(gt=-1, description="Characters to leave out")] = None,
        limit: Annotated[
            int | None,
            QueryParameter(
                ge=1,
                le=MAX_CHARACTERS,
                description=f"How many characters at most; {DEFAULT_CHARACTERS} where it is left out",
            ),
        ] = None,
    ) -> object:
        """Read what stands at a path of a payload: a string as it is, all else as JSON."""
        return await ask(wire.EventPayload, event_id=event_id, path=path, offset=offset, limit=limit)

    @post(
        "/{event_id:str}/ack",
        operation_id="event_ack",
        summary="End an event",
        status_code=200,
        responses=documented(200, Acked, {"eventId": EXAMPLE["eventId"], "settled": True}, 404, 409, body=True),
    )
    async def ack(self, ask: Ask, event_id: FromPath[str], data: JSONBody[AckBody]) -> object:
        """
        End an event that a session holds, connected or not, as the session's own ack would; the next one leaves.

        The session is told to let go of it. An event that has timed out stays so, and keeps the summary.
        """
        return await ask(wire.Ack, event_id=event_id, summary=data.summary or "")

    @post(
        "/{event_id:str}/extend",
        operation_id="event_extend",
        summary="Give an event more time",
        status_code=200,
        responses=documented(200, Extended, {"eventId": EXAMPLE["eventId"], "seconds": 600}, 404, 409, body=True),
    )
    async def extend(self, ask: Ask, event_id: FromPath[str], data: JSONBody[Extension]) -> object:
        """Give an event that a session holds more time before it times out."""
        return await ask.body(wire.EventExtend, data, event_id=event_id)

    @post(
        "/{event_id:str}/defer",
        operation_id="event_defer",
        summary="Put an event off",
        status_code=200,
        responses=documented(200, Deferred, {"eventId": EXAMPLE["eventId"], "delaySeconds": 60}, 404, 409, body=True),
    )
    async def defer(self, ask: Ask, event_id: FromPath[str], data: JSONBody[Deferral]) -> object:
        """Put an event that a session holds back at the end of its line, now or after a while. The session lets go."""
        return await ask.body(wire.EventDefer, data, event_id=event_id)

    @post(
        "/{event_id:str}/fail",
        operation_id="event_fail",
        summary="Hand an event back",
        status_code=200,
        responses=documented(200, Failed, {"eventId": EXAMPLE["eventId"]}, 404, 409, body=True),
    )
    async def fail(self, ask: Ask, event_id: FromPath[str], data: JSONBody[Failure]) -> object:
        """Say that a session could not take an event: it is delivered again, the third time it is a dead letter."""
        return await ask.body(wire.EventFail, data, event_id=event_id)

    @post(
        "/{event_id:str}/replay",
        operation_id="event_replay",
        summary="Replay a dead letter",
        responses=documented(201, Replay, REPLAY, 404),
    )
    async def replay(self, ask: Ask, event_id: FromPath[str]) -> Response[dict[str, Any]]:
        """Make a new event of a dead letter, at the end of its line; it is no dead letter any more."""
        answer = await ask(wire.EventReplay, event_id=event_id)
        return created(answer, f"/events/{answer['eventId']}")

    @post(
        "/discard",
        operation_id="event_discard",
        summary="Discard events",
        status_code=200,
        responses=documented(200, Discarded, {"count": 3, "held": 0, "dryRun": True}, body=True),
    )
    async def discard(self, ask: Ask, data: JSONBody[Discarding]) -> object:
        """
        End for good what waits or is dead and is meant by all that is said; dryRun counts it first.

        The history says of each by whom it was discarded. What takes long goes on after the answer.
        """
        return await ask.body(wire.EventDiscard, data)

    @delete(
        "/{event_id:str}",
        operation_id="event_discard_one",
        summary="Discard an event",
        responses=documented(204, None, None, 404, 409),
    )
    async def discard_one(self, ask: Ask, event_id: FromPath[str]) -> None:
        """End for good an event that waits or is dead. What a session holds is acked or deferred instead."""
        await ask(wire.EventDiscard, event_id=event_id)
