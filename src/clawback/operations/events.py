"""Events that have not ended, or not well: what a session holds, what waits, and what is dead."""

import asyncio
import base64
import hmac
import logging
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from clawback import wire
from clawback.errors import BadPayload, Conflict, NotFound, Rejected
from clawback.fabric.jetstream import Stored
from clawback.fabric.subjects import is_id, normalise_tag
from clawback.model import Address, EventState, HistoryRecord, Origin, Priority
from clawback.operations.authors import name_caller
from clawback.operations.caller import Caller, Services
from clawback.operations.cursors import Page, read_cursor, write_cursor
from clawback.operations.history import MAX_LIMIT, answer_record, check_limit
from clawback.store.discards import DISCARDABLE, HELD, Job, Words
from clawback.store.events import decode_event
from clawback.store.inventory import LISTED, START, Found, Item, Position

MAX_EXTENSION_SECONDS = 24 * 3600
"""A day at a time; an event may be extended again."""

MAX_DELAY_SECONDS = 30 * 24 * 3600
"""Later than this is a matter for a cron."""

MAX_REASON_CHARACTERS = 1000

CURSOR = "events"
"""The name of this list in its cursors."""

LANE_EVENTS = 5
"""Of what waits at an address; the rest is counted."""

MAX_PAYLOAD_CHARACTERS = 200_000
"""What a session is given of a payload too."""

log = logging.getLogger("clawback.operations")


async def extend_event(services: Services, caller: Caller, request: wire.EventExtend) -> dict[str, Any]:
    """
    Give an event that the session holds more time before it times out.

    Raises:
        Rejected: the seconds are too few or too many, or the session does not hold the event.
    """
    _check_seconds("seconds", request.seconds, 1, MAX_EXTENSION_SECONDS)
    await _ask_holder(services, caller, request)
    return {"eventId": request.event_id, "seconds": request.seconds}


async def defer_event(services: Services, caller: Caller, request: wire.EventDefer) -> dict[str, Any]:
    """
    Put an event that the session holds back at the end of its line, now or after a delay out of line.

    Raises:
        Rejected: the delay is too short or too long, or the session does not hold the event.
        Unavailable: not known to be done.
    """
    if request.delay_seconds is not None:
        _check_seconds("delaySeconds", request.delay_seconds, 0, MAX_DELAY_SECONDS)
    await _ask_holder(services, caller, request)
    return {"eventId": request.event_id, "delaySeconds": request.delay_seconds or 0}


async def fail_event(services: Services, caller: Caller, request: wire.EventFail) -> dict[str, Any]:
    """
    Note that the session could not take an event: it is delivered again, the third time it becomes a dead letter.

    Raises:
        Rejected: the reason is too long, or the session does not hold the event.
        Unavailable: not known to be noted.
    """
    if request.reason is not None and len(request.reason) > MAX_REASON_CHARACTERS:
        raise Rejected(f"the reason has {len(request.reason)} characters: accepted are {MAX_REASON_CHARACTERS}")
    await _ask_holder(services, caller, request)
    return {"eventId": request.event_id}


async def note_seen(services: Services, caller: Caller, request: wire.EventSeen) -> dict[str, Any]:
    """
    Note that the session's model has an event: it is `claimed` from then on, until this delivery of it ends.

    Raises:
        Rejected: the session does not hold the event.
        Unavailable: not known to be noted.
    """
    await _ask_holder(services, caller, request)
    return {"eventId": request.event_id}


async def ack_event(services: Services, caller: Caller, request: wire.Ack) -> dict[str, Any]:
    """
    End an event that a session of the caller's profile holds, as its own ack would; for who asks over no connection.

    `settled` is false where it had ended before. If it has timed out, the summary is recorded against it.

    Raises:
        NotFound: the profile has no such event, or has forgotten it.
        Conflict: it waits, and nobody can have done what nobody was given.
        Unavailable: not known to be done; doing it again does no harm.
    """
    settled = await services.errands.carry_out(caller.profile_id, request)
    if not settled:
        state, address = await _look_up(services, caller, request.event_id)
        if state in (EventState.QUEUED, EventState.OFFERED, EventState.CLAIMED):
            raise Conflict(f"event {request.event_id} is {state}, and no session holds it: only what is held is acked")
        if state is EventState.TIMED_OUT:
            await services.history.add_late_acks(address, {request.event_id: request.summary})
    return {"eventId": request.event_id, "settled": settled}


async def _ask_holder(services: Services, caller: Caller, request: wire.HeldEventRequest) -> None:
    """Ask the caller's session about an event that it holds, or whichever does where the caller is none."""
    if caller.connection_id is not None:
        await services.ask_session(caller.connection_id, request)
    elif not await services.errands.carry_out(caller.profile_id, request):
        state, _ = await _look_up(services, caller, request.event_id)
        raise Conflict(f"event {request.event_id} is {state}, and no session holds it")


async def _look_up(services: Services, caller: Caller, event_id: str) -> tuple[EventState, Address]:
    """Say where an event is that no session holds, and at which address."""
    found = await services.inventory.find(caller.profile_id, event_id) if is_id(event_id) else None
    if found is not None:
        return found.item.state, found.item.address
    records = await services.history.of_event(caller.profile_id, event_id)
    if not records:
        raise NotFound(f"there is no event {event_id[:80]!a}; event_list and event_history show those there are")
    return records[-1].state, Address(caller.profile_id, records[-1].session_tag)


async def next_event(services: Services, caller: Caller, request: wire.EventNext) -> dict[str, Any] | None:
    """
    Return the session's active event once more, or None where it has none; that is no further delivery.

    Raises:
        Rejected: the connection stands by, so it has no events.
    """
    if caller.connection_id is None:
        frame = await services.errands.active(Address(caller.profile_id, caller.session_tag))
    else:
        frame = await services.ask_session(caller.connection_id, request)
    return None if frame is None else {"eventId": frame.id, "content": frame.content, "meta": frame.meta}


async def list_events(services: Services, caller: Caller, request: wire.EventList) -> list[dict[str, Any]]:
    """
    List what waits, is held or is dead in the caller's profile, oldest first.

    Raises:
        Rejected: the limit, a state or the tag is none.
        Unavailable: NATS does not answer.
    """
    return (await page_events(services, caller, request)).items


async def page_events(services: Services, caller: Caller, request: wire.EventList, cursor: str | None = None) -> Page:
    """
    List the same from where a page before ended. What moves meanwhile may be in two pages or in none.

    Raises:
        Rejected: the limit, a state, the tag or the cursor is none.
        Unavailable: NATS does not answer.
    """
    limit, states = check_limit(request.limit), _check_states(request.states, LISTED)
    words = _read_words(caller, request, states)
    seen = START if cursor is None else Position(*read_cursor(CURSOR, len(START), cursor))
    items = await services.inventory.oldest(
        caller.profile_id, limit=limit + 1, states=states, at=words.at, seen=seen, wanted=words.mean
    )
    shown = items[:limit]
    following = write_cursor(CURSOR, *seen.after(shown)) if len(items) > limit else None
    return Page([_answer(item) for item in shown], following)


async def list_lanes(services: Services, caller: Caller) -> list[dict[str, Any]]:
    """
    List what is at the addresses of the caller's profile: what sessions hold, what leaves next, how much waits.

    Of `held` the last is the active event, those before it are suspended. `next` are the first of `waiting`, in the
    order in which they leave; `deferred` wait out of line.

    Raises:
        Unavailable: NATS does not answer.
    """
    lanes = await services.inventory.lanes(caller.profile_id, first=LANE_EVENTS, most=MAX_LIMIT)
    return [
        {
            "sessionTag": lane.address.tag,
            "held": [_answer(item) for item in lane.held],
            "next": [_answer(item) for item in lane.first],
            "waiting": lane.waiting,
            "deferred": [_answer(item) for item in lane.deferred],
        }
        for lane in lanes
    ]


async def fetch_event(services: Services, caller: Caller, event_id: str) -> dict[str, Any]:
    """
    Return one event of the caller's profile: where it is, how it got there, and its payload as long as that is stored.

    `timeline` has what is known of its way, oldest first: `{state, at, attempt?, reason?, summary?, returnsAt?}`.
    `payload` is None once the event has ended, since an ack deletes it (docs/adr/0003); else `{text, bytes, encoding?,
    cut?}`: text of at most MAX_PAYLOAD_CHARACTERS, which are base64 where `encoding` says so.

    Raises:
        NotFound: the profile has no such event, or has forgotten it.
        Unavailable: NATS does not answer.
    """
    found = await services.inventory.find(caller.profile_id, event_id) if is_id(event_id) else None
    records = await services.history.of_event(caller.profile_id, event_id)
    if found is None and not records:
        raise NotFound(
            f"there is no event {event_id[:80]!a}: it may have ended so long ago that the history has forgotten it"
        )
    answer = answer_record(records[-1]) if found is None else _answer(found.item)
    if found is not None and (event := found.item.event) is not None:
        answer |= {"skill": event.skill or "", "deliveryId": event.delivery_id, "replay": event.replay}
    return answer | {
        "timeline": build_timeline(None if found is None else found.item, records),
        "payload": None if found is None else await _payload(found),
    }


def build_timeline(item: Item | None, records: Sequence[HistoryRecord]) -> list[dict[str, Any]]:
    """Tell an event's way from what is stored of it: itself, if it is still there, and its history, oldest first."""
    steps: list[dict[str, Any]] = []
    event = None if item is None else item.event
    created_at = event.created_at if event is not None else next((each.created_at for each in records), None)
    if created_at is not None:
        steps.append({"state": EventState.QUEUED.value, "at": created_at})
    # A late ack repeats its record with a summary: the newest of each end is what is known of it.
    for record in {(each.state, each.completed_at): each for each in records}.values():
        if record.duration_ms:
            delivered_at = record.completed_at - timedelta(milliseconds=record.duration_ms)
            steps.append({"state": EventState.OFFERED.value, "at": delivered_at, "attempt": record.attempts})
        if record.seen_at is not None:
            steps.append({"state": EventState.CLAIMED.value, "at": record.seen_at})
        ended = {"state": record.state.value, "at": record.completed_at}
        steps.append(ended | {k: v for k, v in (("reason", record.reason), ("summary", record.summary)) if v})
    if item is not None and item.held is not None and item.held.delivered_at:
        delivered_at = datetime.fromtimestamp(item.held.delivered_at, UTC)
        steps.append({"state": EventState.OFFERED.value, "at": delivered_at, "attempt": item.attempts})
        if item.held.seen_at:
            seen_at = datetime.fromtimestamp(item.held.seen_at, UTC)
            steps.append({"state": EventState.CLAIMED.value, "at": seen_at})
    if item is not None and item.returns_at is not None:
        steps.append({"state": EventState.QUEUED.value, "at": item.since, "returnsAt": item.returns_at})
    if item is not None and item.reason is not None and not records:
        steps.append({"state": item.state.value, "at": item.since, "reason": item.reason})
    return steps


async def _payload(found: Found) -> dict[str, Any] | None:
    try:
        # In a thread: it may have to be decompressed.
        _, body = await asyncio.to_thread(decode_event, found.stored.headers, found.stored.data)
    except BadPayload:
        return None
    try:
        text, encoding = body.decode(), None
    except UnicodeDecodeError:
        text, encoding = base64.b64encode(body[:MAX_PAYLOAD_CHARACTERS]).decode(), "base64"
    payload = {"text": text[:MAX_PAYLOAD_CHARACTERS], "bytes": len(body)}
    if encoding is not None:
        payload["encoding"] = encoding
    return payload | {"cut": True} if len(text) > MAX_PAYLOAD_CHARACTERS else payload


async def replay_event(services: Services, caller: Caller, request: wire.EventReplay) -> dict[str, Any]:
    """
    Store a dead letter again, as a new event at the end of its line; it is no dead letter any more.

    Raises:
        NotFound: the profile has no such dead letter.
        Rejected: it is no event that anybody could read.
        QueueFull: its line is full.
        Unavailable: not known to be done; again does no harm.
    """
    dead = await services.events.find_dead(caller.profile_id, request.event_id)
    if dead is None:
        raise NotFound(
            f"there is no dead letter {ascii(request.event_id)[:80]}: it may have been replayed already;"
            " event_list shows those there are (states dead and timed_out)"
        )
    new_id = derive_replay_id(services.registry.install.id_key, dead)
    try:
        await services.events.replay(dead, new_id, datetime.now(UTC))
    except BadPayload as error:
        raise Rejected(f"{request.event_id} cannot be replayed: {error}") from error
    log.info(
        "replayed",
        extra={"action": "replayed", "profile": caller.profile_id, "event": new_id, "replay": request.event_id},
    )
    return {"eventId": new_id, "replay": request.event_id}


async def discard_events(services: Services, caller: Caller, request: wire.EventDiscard) -> dict[str, Any]:
    """
    End what waits or is dead for good: one event by its id, or all that the words of `event_list` mean.

    `dryRun` only counts. What a session holds is left to it. The history says of each by whom it was discarded.

    Raises:
        Rejected: it names nothing, or an id and words too, or a state in which nothing is discarded.
        NotFound: there is no such event.
        Conflict: a session holds the event.
        Unavailable: not known to be done; again does no harm.
    """
    given = (request.states, request.session_tag, request.source, request.path, request.event_type)
    has_words = any(word is not None for word in given)
    if (request.event_id is None) != has_words:
        raise Rejected(
            "event_discard takes eventId, or words that say which events: states, sessionTag, source, path, eventType;"
            " with dryRun it only counts them"
        )
    states = _check_states(request.states, DISCARDABLE)
    words = msgspec.structs.replace(
        _read_words(caller, request, states), event_id=request.event_id, before=datetime.now(UTC)
    )
    if request.event_id is not None:
        state, _ = await _look_up(services, caller, request.event_id)
        if state in HELD:
            raise Conflict(f"event {request.event_id} is {state}: what a session holds is acked or deferred there")
        if state not in DISCARDABLE:
            raise Conflict(f"event {request.event_id} has ended: it is {state}")
    if request.dry_run:
        found = await services.discards.count(caller.profile_id, words)
        return {"count": found.count, "held": found.held, "dryRun": True}
    by = name_caller(caller)
    done = await services.discards.discard(caller.profile_id, Job(words, f"by {by}"))
    log.info("discarded", extra={"action": "discarded", "profile": caller.profile_id, "by": by, "count": done.count})
    answer = {"count": done.count, "held": done.held, "dryRun": False}
    return answer if done.job is None else answer | {"job": done.job}


def derive_replay_id(key: bytes, dead: Stored) -> str:
    """Name the replay of a dead letter: asked for twice, it is the same event."""
    digest = hmac.digest(key, f"replay\0{dead.subject}\0{dead.sequence}".encode(), "sha256")
    return "evt_" + base64.b32encode(digest).decode().lower()[:26]


def _check_seconds(name: str, seconds: int, least: int, most: int) -> None:
    if not least <= seconds <= most:
        raise Rejected(f"{name} refused, read {seconds}: accepted is {least} to {most}")


def _check_states(states: Sequence[str] | None, accepted: Collection[EventState]) -> frozenset[EventState]:
    if not states:
        return frozenset(accepted)
    for state in states:
        if state not in accepted:
            raise Rejected(
                f"state refused, read {ascii(state)[:80]}: accepted are"
                f" {', '.join(each for each in LISTED if each in accepted)}; event_history has what ended"
            )
    return frozenset(EventState(state) for state in states)


def _read_words(caller: Caller, request: wire.EventList | wire.EventDiscard, states: frozenset[EventState]) -> Words:
    at = None if request.session_tag is None else Address(caller.profile_id, normalise_tag(request.session_tag))
    if request.source is not None and request.source not in tuple(Origin):
        raise Rejected(f"source refused, read {ascii(request.source)[:80]}: accepted are {', '.join(Origin)}")
    return Words(states, at, source=request.source, path=request.path, event_type=request.event_type)


def _answer(item: Item) -> dict[str, Any]:
    event = item.event
    answer = {
        "eventId": item.event_id,
        "state": item.state.value,
        "source": event.origin.value if event else "",
        "path": (event.path if event else None) or "",
        "eventType": (event.event_type if event else None) or "",
        "priority": (event.priority if event else Priority.NORMAL).value,
        "sessionTag": item.address.tag,
        "createdAt": event.created_at if event else item.since,
        "attempts": item.attempts,
    }
    if item.returns_at is not None:
        answer["returnsAt"] = item.returns_at
    return answer if item.reason is None else answer | {"reason": item.reason}
