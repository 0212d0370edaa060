"""
Intake: one webhook request against its source, from bytes to a verdict. Pure.

The order is the promise: the signature first, over the bytes as received; only then is anything of them read, the
delivery id (else a stranger's request with a guessed id could block the real one) and the event type, by which the
route is found.
"""

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from msgspec import Struct, structs

from clawback.errors import BadPayload, BadSignature
from clawback.model import (
    WHOLE,
    Event,
    EventState,
    HistoryRecord,
    Origin,
    Route,
    Source,
    derive_event_id,
    encode_json,
)
from clawback.senders.contents import without_secrets
from clawback.senders.event_type import read_event_type
from clawback.senders.handshakes import MAX_HELLO_BYTES, Handshake, Reply, find_handshake, is_plain, read_place, reply
from clawback.senders.kinds import is_type_signed
from clawback.senders.preset import Preset
from clawback.senders.presets import PRESETS
from clawback.senders.request import MAX_TEXT_CHARACTERS, Headers, Request
from clawback.senders.signatures import TOKEN, InBody, InHeader, Row, signed_bytes
from clawback.senders.verifying import verify
from clawback.webhooks.routes import find_route
from clawback.webhooks.templates import MAX_VALUE_CHARACTERS, parse_order
from clawback.webhooks.wanted import Objection, find_objection

NO_ROUTE = "no_route"
CONDITION = "condition"


class Accepted(Struct, frozen=True):
    """Store it: the event; its body, None for the request's, as received: that was packed, a form, or had a secret."""

    event: Event
    body: bytes | None = None


class Dropped(Struct, frozen=True):
    """No route wants it, or a condition holds it back: what the history says of it."""

    record: HistoryRecord


class Greeted(Struct, frozen=True):
    """A handshake: answer it, store nothing."""

    reply: Reply


class EventIds(Struct, frozen=True):
    """What event ids are made of: the installation's key, and random ids for events that bring none of their own."""

    key: bytes
    fresh: Callable[[], str]


def take(
    request: Request, source: Source, secrets: Sequence[bytes], *, ids: EventIds, now: datetime
) -> Accepted | Dropped | Greeted:
    """
    Verify, name and route one request. `secrets` are the source's, opened.

    Raises:
        BadSignature: see `signatures.verify`; or the signed body is of another kind than a header says.
        BadPayload: the event type must be read from the body and cannot be, or a header that is read comes twice.
    """
    if source.scheme in _UNSIGNED and (greeted := greet_unsigned(request, source, secrets)) is not None:
        return greeted
    received = request.body if request.packed is None else b""
    request, row = _verify(request, source, secrets, now)
    if source.scheme in _ASKING and (greeted := _greet_verified(request, source, secrets, row)) is not None:
        return greeted
    delivery_id = _delivery_id(request, source, row)
    known_by = _same_bytes(request, row) if row is not None and row.clock and row.clock.late_s else delivery_id
    event_id = ids.fresh() if known_by is None else derive_event_id(ids.key, source.profile_id, source.id, known_by)
    event_type = read_event_type(request, source.scheme, source.event_type)
    type_signed = _is_type_signed(request, source, row, event_type)
    found = find_route(source, event_type)
    path = f"/{source.slug}"
    dropped = HistoryRecord(
        event_id=event_id,
        source=Origin.WEBHOOK,
        state=EventState.DROPPED,
        completed_at=now,
        path=path,
        event_type=event_type,
        session_tag=source.tag,
        reason=NO_ROUTE,
    )
    if found is None:
        return Dropped(dropped)
    route = found if isinstance(found, Route) else Route(found)
    if (objection := find_objection(request, source, route, event_type)) is not None:
        return Dropped(_filtered(dropped, objection))
    order, fields = _order(request, found)
    payload = source.payload if route.payload is None else route.payload
    content = _content(request, source, row, secrets)
    return Accepted(
        Event(
            id=event_id,
            origin=Origin.WEBHOOK,
            priority=route.priority or source.priority,
            created_at=now,
            source_id=source.id,
            path=path,
            event_type=event_type,
            skill=order or None,
            verified=row is not None,
            delivery_id=delivery_id,
            encoding=None if _is_text(request, content) else "base64",
            allowed_seconds=source.timeout_seconds,
            payload=None if payload == WHOLE else payload,
            fields=fields,
            type_signed=None if type_signed else False,
            set_by=source.set_by,
            items=_count_items(request, source),
        ),
        None if content is received else content,
    )


def _filtered(dropped: HistoryRecord, objection: Objection) -> HistoryRecord:
    return structs.replace(
        dropped,
        state=EventState.FILTERED,
        reason=CONDITION,
        condition=objection.condition,
        values=objection.values,
        note=objection.note,
    )


def _order(request: Request, found: str | Route) -> tuple[str, dict[str, str | None] | None]:
    """Return the order, and the values of what it names; a text names nothing."""
    if isinstance(found, str):
        return found, None
    named = parse_order(found.do)
    return named.text, named.read(partial(_optional_text, request, most=MAX_VALUE_CHARACTERS)) or None


def greet_unsigned(request: Request, source: Source, secrets: Sequence[bytes]) -> Greeted | None:
    """
    Answer a handshake that nobody signs; None where the request is none, or carries a signature, which must pass then.

    Raises:
        BadSignature: see `handshakes.reply`.
    """
    preset, handshakes = PRESETS[source.scheme], _UNSIGNED.get(source.scheme, ())
    if len(request.body) > MAX_HELLO_BYTES or any(read_place(request, row.place) for row in preset.rows):
        return None
    found = find_handshake(handshakes, request)
    answer = None if found is None else reply(found, request, secrets, _key(preset))
    return None if answer is None else Greeted(answer)


def greet_visitor(request: Request, source: Source, secrets: Sequence[bytes]) -> Greeted | None:
    """
    Answer a request that is no POST, and so no event: what its sender asks of a URL, or that the URL is there.

    None where the sender's question must not be answered: it does not have the source's token.

    Raises:
        BadSignature: see `handshakes.reply`.
    """
    preset = PRESETS.get(source.scheme)
    found = None if preset is None else find_handshake(preset.handshakes, request)
    if preset is None or found is None:
        body = encode_json({"status": "ready", "detail": "webhooks are sent here by POST"})
        return Greeted(Reply(handshake=_VISIT, content_type="application/json", body=body))
    answer = reply(found, request, secrets, _key(preset))
    return None if answer is None else Greeted(answer)


def _greet_verified(request: Request, source: Source, secrets: Sequence[bytes], row: Row | None) -> Greeted | None:
    preset = PRESETS[source.scheme]
    found = find_handshake(preset.handshakes, request)
    if found is None:
        if source.scheme in _SIGNS_FOR_ALL and is_plain(request.body):
            raise BadSignature("the body is one that a challenge could be, so its signature proves nothing: send JSON")
        return None
    # Who names the type of a ping in a route wants it as an event.
    if found.echo is None and read_event_type(request, source.scheme, source.event_type) in source.routes:
        return None
    answer = reply(found, request, secrets, _key(preset), verified=row is not None)
    return None if answer is None else Greeted(answer)


def _key(preset: Preset) -> Callable[[bytes], bytes] | None:
    return preset.rows[0].key if preset.rows else None


_VISIT = Handshake(when=(), method="GET", signed=False)

_ASKING = frozenset(name for name, preset in PRESETS.items() if preset.handshakes)
_UNSIGNED = {
    name: found for name in _ASKING if (found := tuple(each for each in PRESETS[name].handshakes if not each.signed))
}
"""Who asks anything at all, and what of it comes without a signature."""

_SIGNS_FOR_ALL = frozenset(name for name, found in _UNSIGNED.items() if any(each.mac for each in found))
"""Whose challenges anybody may have signed under the key of events."""


def _verify(request: Request, source: Source, secrets: Sequence[bytes], now: datetime) -> tuple[Request, Row | None]:
    """
    Verify a request in the forms that its sender may have signed, the usual one last: that one's refusal is told.

    Gogs and older Gitea sign what a form carries; a packed body may be signed before or after. Returns what to read.
    """
    if request.packed is not None:
        with contextlib.suppress(BadSignature):
            return request, verify(request.packed, source.scheme, secrets, now, source.signature)
    preset = PRESETS.get(source.scheme)
    if preset is not None and preset.signs_form_field and request.is_form:
        with contextlib.suppress(BadSignature, BadPayload):
            inner = request.carried()
            return inner, verify(inner, source.scheme, secrets, now, source.signature)
    return request, verify(request, source.scheme, secrets, now, source.signature)


def _content(request: Request, source: Source, row: Row | None, secrets: Sequence[bytes]) -> bytes:
    """Return what is stored: the body as received; of a form its JSON, and without a secret that came in it."""
    content = request.body
    if request.is_form:
        # Whoever needs nothing of it takes what there is.
        with contextlib.suppress(BadPayload):
            request.text_at("")
            content = request.content
    preset = PRESETS.get(source.scheme)
    for path in () if preset is None else preset.redact:
        if (found := _optional_text(request, path)) is not None:
            content = without_secrets(content, [found.encode()])
    if row is not None and row.algorithm == TOKEN and isinstance(row.place, InBody):
        return without_secrets(content, secrets)
    return content


def _count_items(request: Request, source: Source) -> int | None:
    """Say how many happenings a batch has; None of a sender that sends them one by one."""
    preset = PRESETS.get(source.scheme)
    if preset is None or preset.items is None:
        return None
    with contextlib.suppress(BadPayload):  # what is no JSON has none
        return request.count_items(preset.items)
    return None


def _is_text(request: Request, content: bytes) -> bool:
    if content is request.body:
        return request.is_utf8
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def claimed_delivery_id(headers: Headers, scheme: str) -> str | None:
    """Read what a request calls itself while nothing of it is verified: a stranger's text, of one short line."""
    preset = PRESETS.get(scheme)
    for row in () if preset is None else preset.rows:
        if not isinstance(row.delivery, InHeader) or len(headers.all(row.delivery.name)) > 1:
            continue
        if claimed := headers.get(row.delivery.name):
            return claimed if len(claimed) <= MAX_TEXT_CHARACTERS and claimed.isprintable() else None
    return None


def _delivery_id(request: Request, source: Source, row: Row | None) -> str | None:
    own = source.delivery_id
    if own is not None:
        found = request.headers.one(own.header) if own.header else None
        found = found or (_optional_text(request, own.body) if own.body else None)
        if found and len(found) <= MAX_TEXT_CHARACTERS:
            return found
    if row is None:
        return None
    match None if own is not None else row.delivery:
        case InHeader(name):
            found = request.headers.one(name)
        case InBody(path):
            found = _optional_text(request, path)
        case None:
            found = None
    if found and len(found) <= MAX_TEXT_CHARACTERS:
        return found
    # Its time is signed, or in its body, so the same bytes are the same request: what was caught makes no second event.
    return _same_bytes(request, row) if row.clock is not None or _is_dated(source) else None


def _is_dated(source: Source) -> bool:
    preset = PRESETS.get(source.scheme)
    return preset is not None and preset.dated


def _same_bytes(request: Request, row: Row) -> str:
    """Name a delivery by what was signed, which no change of an unsigned header makes another one."""
    return f"signed-{hashlib.sha256(signed_bytes(row, request)).hexdigest()[:40]}"


def _is_type_signed(request: Request, source: Source, row: Row | None, event_type: str) -> bool:
    """Say whether the type can be told from what was signed. A token signs nothing, and unsigned events say so."""
    if row is None or not event_type:
        return True
    return is_type_signed(request, source.scheme, source.event_type) and row.signs


def _optional_text(request: Request, path: str, *, most: int | None = None) -> str | None:
    """
    Read a value that the request can do without: whether its body must be JSON is for the event type to say.

    A text is cut one character beyond `most`, where given, and else is none where it is longer than a name may be.
    """
    try:
        return request.text_at(path) if most is None else request.text_at(path, cut_beyond=most)
    except BadPayload:
        return None
