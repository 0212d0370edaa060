"""
Intake: one webhook request against its source, from bytes to a verdict. Pure.

The order is the promise: the signature first, over the bytes as received; only then is anything of them read, the
delivery id (else a stranger's request with a guessed id could block the real one) and the event type, by which the
route is found.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec import Struct

from clawback.errors import BadPayload
from clawback.model import Event, EventState, HistoryRecord, Origin, Scheme, Source, derive_event_id
from clawback.senders.event_type import read_event_type
from clawback.senders.kinds import is_type_signed
from clawback.senders.presets import PRESETS
from clawback.senders.request import MAX_TEXT_CHARACTERS, Headers, Request
from clawback.senders.signatures import InBody, InHeader, Row, signed_bytes
from clawback.senders.verifying import verify
from clawback.webhooks.routes import find_instruction

NO_ROUTE = "no_route"


class Accepted(Struct, frozen=True):
    """Store it: the event; its body is the request's, as received."""

    event: Event


class Dropped(Struct, frozen=True):
    """No route wants it: what the history says of it."""

    record: HistoryRecord


class Challenge(Struct, frozen=True):
    """Slack asks whether somebody is there: answer with its text, store nothing."""

    text: str


class EventIds(Struct, frozen=True):
    """What event ids are made of: the installation's key, and random ids for events that bring none of their own."""

    key: bytes
    fresh: Callable[[], str]


def take(
    request: Request, source: Source, secrets: Sequence[bytes], *, ids: EventIds, now: datetime
) -> Accepted | Dropped | Challenge:
    """
    Verify, name and route one request. `secrets` are the source's, opened.

    Raises:
        BadSignature: see `signatures.verify`; or the signed body is of another kind than a header says.
        BadPayload: the event type must be read from the body and cannot be, or a header that is read comes twice.
    """
    row = verify(request, source.scheme, secrets, now, source.signature)
    if source.scheme == Scheme.SLACK and (text := _challenge(request)) is not None:
        return Challenge(text)
    delivery_id = _delivery_id(request, row)
    event_id = (
        ids.fresh() if delivery_id is None else derive_event_id(ids.key, source.profile_id, source.id, delivery_id)
    )
    event_type = read_event_type(request, source.scheme, source.event_type)
    type_signed = _is_type_signed(request, source, row, event_type)
    instruction = find_instruction(source, event_type)
    path = f"/{source.slug}"
    if instruction is None:
        return Dropped(
            HistoryRecord(
                event_id=event_id,
                source=Origin.WEBHOOK,
                state=EventState.DROPPED,
                completed_at=now,
                path=path,
                event_type=event_type,
                session_tag=source.tag,
                reason=NO_ROUTE,
            )
        )
    return Accepted(
        Event(
            id=event_id,
            origin=Origin.WEBHOOK,
            priority=source.priority,
            created_at=now,
            source_id=source.id,
            path=path,
            event_type=event_type,
            skill=instruction or None,
            verified=row is not None,
            delivery_id=delivery_id,
            encoding=None if request.is_utf8 else "base64",
            allowed_seconds=source.timeout_seconds,
            payload=source.payload,
            type_signed=None if type_signed else False,
            set_by=source.set_by,
        )
    )


def claimed_delivery_id(headers: Headers, scheme: str) -> str | None:
    """Read what a request calls itself while nothing of it is verified: a stranger's text, of one short line."""
    preset = PRESETS.get(scheme)
    for row in () if preset is None else preset.rows:
        if not isinstance(row.delivery, InHeader) or len(headers.all(row.delivery.name)) > 1:
            continue
        if claimed := headers.get(row.delivery.name):
            return claimed if len(claimed) <= MAX_TEXT_CHARACTERS and claimed.isprintable() else None
    return None


def _delivery_id(request: Request, row: Row | None) -> str | None:
    if row is None:
        return None
    match row.delivery:
        case InHeader(name):
            found = request.headers.one(name)
        case InBody(path):
            found = _optional_text(request, path)
        case None:
            found = None
    if found and len(found) <= MAX_TEXT_CHARACTERS:
        return found
    if row.clock is not None:
        # Its time is signed, so the same bytes are the same request: what a stranger caught makes no second event.
        return f"signed-{hashlib.sha256(signed_bytes(row, request)).hexdigest()[:40]}"
    return None


def _is_type_signed(request: Request, source: Source, row: Row | None, event_type: str) -> bool:
    """Say whether the type can be told from what was signed. A token signs nothing, and unsigned events say so."""
    if row is None or not event_type:
        return True
    return is_type_signed(request, source.scheme, source.event_type) and row.signs


def _challenge(request: Request) -> str | None:
    if _optional_text(request, "type") != "url_verification":
        return None
    return _optional_text(request, "challenge")


def _optional_text(request: Request, path: str) -> str | None:
    """Read a value that the request can do without: whether its body must be JSON is for the event type to say."""
    try:
        return request.text_at(path)
    except BadPayload:
        return None
