"""
News: what one message means to somebody who looks at a profile. Pure.

Everything that changes for a profile passes through NATS on a subject of its own, so whoever listens to those subjects
need not be told by anybody. News are small: ids, states, tags, never a payload, a prompt or a secret. They are a hint
to look again, and what is stored counts: some are heard just before that is stored, and a repeat is heard twice.

    wake.…               an event is in its line               event     queued
    stack.…              a session was given an event          event     offered
                         its model is known to have it         event     claimed
                         and put it off                        event     queued, with `returnsAt`
    hist.…, drop.…       an event ended, or never began        event     acked, timed_out, dead, dropped, skipped
    $KV.sess.…, left.…   who is connected                      session   active, standby, left
    refused.…            a webhook was refused                 refused   its status
    changed.cfg.…        what the profile consists of          source, cron, token, profile   changed, removed

Nothing is heard of dead letters, whose messages have bodies: their history records tell.
"""

from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from clawback.errors import BadPayload
from clawback.fabric import subjects
from clawback.fabric.jetstream import CoreMessage
from clawback.fabric.subjects import LeaseSubject
from clawback.model import Event, EventState, Held, HistoryRecord, Lease, Origin, Priority, Record, Refusal
from clawback.store.events import decode_wake_up
from clawback.store.records import OPERATION_HEADER

MAX_SUMMARY_CHARACTERS = 300
"""Of what a session said at the end of an event; the history has all of it."""

ACTIVE, STANDBY, LEFT = "active", "standby", "left"
CHANGED, REMOVED = "changed", "removed"


class NewsType(StrEnum):
    """What news are about; the first two are about the feed itself."""

    LISTENING = "listening"
    MISSED = "missed"
    EVENT = "event"
    SESSION = "session"
    SOURCE = "source"
    CRON = "cron"
    TOKEN = "token"  # noqa: S105 -- the word, not one
    PROFILE = "profile"
    REFUSED = "refused"


class News(Record, frozen=True):
    """
    One change; `type` says of what, and `at` when this server heard of it.

    `state` is an event's, a session's role, or what became of a source, cron, token or profile, whose id is `id`; of a
    refused webhook the status that its sender got, and `id` is its source.
    `session_tag` is absent for the untagged session. `attempt` counts an event's deliveries so far, `returns_at` is
    when one that was put off comes back, `replay` which dead letter it repeats.
    """

    type: NewsType
    at: datetime
    state: str | None = None
    id: str | None = None
    event_id: str | None = None
    session_tag: str | None = None
    source: Origin | None = None
    path: str | None = None
    event_type: str | None = None
    priority: Priority | None = None
    attempt: int | None = None
    duration_ms: int | None = None
    returns_at: datetime | None = None
    reason: str | None = None
    summary: str | None = None
    replay: str | None = None


_CONFIG = {
    "src": NewsType.SOURCE,
    "cron": NewsType.CRON,
    "tokid": NewsType.TOKEN,
    "prof": NewsType.PROFILE,
    # Whether a session takes messages; the listing of sessions is where it would be looked for.
    "quiet": NewsType.SESSION,
}

_decode_stack = msgspec.json.Decoder(list[Held]).decode
_decode_record = msgspec.json.Decoder(HistoryRecord).decode
_decode_refusal = msgspec.json.Decoder(Refusal).decode
_decode_lease = msgspec.json.Decoder(Lease).decode


def read_news(message: CoreMessage, now: datetime) -> list[News]:
    """
    Say what a message of `subjects.news_filters` means, leases excepted; nothing where it cannot be read.

    One that cannot be read is a stranger's, or of a newer server: it is not for a listener to complain of it.
    """
    try:
        match message.subject.partition(".")[0]:
            case "wake":
                return [_queued(message, now)]
            case "stack":
                return _held(message, now)
            case "hist" | "drop":
                return [_ended(_decode_record(message.data), now)]
            case "refused":
                return [_refused(message, now)]
            case "changed":
                return [_changed(message, now)]
    except (BadPayload, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return []
    raise AssertionError(f"nobody asked for {message.subject}")


def read_lease(message: CoreMessage) -> tuple[LeaseSubject, str | None] | None:
    """Read which connection a lease is of, none where it was given up; None where it cannot be read."""
    try:
        lease = subjects.parse_lease_subject(message.subject)
        return lease, None if subjects.is_of_leaving(message.subject) else _decode_lease(message.data).connection_id
    except (ValueError, RecursionError):
        return None


def session_news(lease: LeaseSubject, state: str, now: datetime) -> News:
    """Say that a session has an active connection, or one that stands by, or that such a one has left."""
    return News(NewsType.SESSION, now, state, session_tag=lease.address.tag)


def _queued(message: CoreMessage, now: datetime) -> News:
    event = decode_wake_up(message.data)
    address, priority = subjects.parse_event_subject(message.subject)[1:3]
    return _event(event, priority, now, address.tag)


def _event(event: Event, priority: Priority, now: datetime, tag: str | None) -> News:
    return News(
        NewsType.EVENT,
        now,
        EventState.QUEUED,
        event_id=event.id,
        session_tag=tag,
        source=event.origin,
        path=event.path,
        event_type=event.event_type or None,
        priority=priority,
        attempt=event.attempts or None,
        replay=event.replay,
    )


def _held(message: CoreMessage, now: datetime) -> list[News]:
    """Tell of the active event, and of those that the session put off; what else it holds has been told before."""
    _, _, token = message.subject.split(".")
    tag = subjects.parse_tag_token(token)
    stack = _decode_stack(message.data)
    active = [held for held in stack if held.returns_at is None][-1:]
    put_off = [held for held in stack if held.returns_at is not None]
    return [
        News(
            NewsType.EVENT,
            now,
            held.state if held.returns_at is None else EventState.QUEUED,
            event_id=held.event_id,
            session_tag=tag,
            priority=held.priority,
            attempt=held.attempt,
            returns_at=None if held.returns_at is None else datetime.fromtimestamp(held.returns_at, UTC),
        )
        for held in (*put_off, *active)
    ]


def _ended(record: HistoryRecord, now: datetime) -> News:
    return News(
        NewsType.EVENT,
        now,
        record.state,
        event_id=record.event_id,
        session_tag=record.session_tag,
        source=Origin(record.source),
        path=record.path or None,
        event_type=record.event_type or None,
        attempt=record.attempts or None,
        duration_ms=record.duration_ms or None,
        reason=record.reason,
        summary=record.summary[:MAX_SUMMARY_CHARACTERS] or None,
    )


def _refused(message: CoreMessage, now: datetime) -> News:
    refusal = _decode_refusal(message.data)
    source_id = subjects.parse_refused_subject(message.subject)
    return News(NewsType.REFUSED, now, str(refusal.status), id=source_id, reason=refusal.reason)


def _changed(message: CoreMessage, now: datetime) -> News:
    kind, *names = subjects.parse_config_subject(message.subject).split(".")
    news = _CONFIG[kind]
    if news is NewsType.SESSION:
        return News(news, now, CHANGED, session_tag=subjects.parse_tag_token(names[-1]))
    return News(news, now, REMOVED if OPERATION_HEADER in message.headers else CHANGED, id=names[-1])
