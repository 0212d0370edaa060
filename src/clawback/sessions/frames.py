"""
The event frame: what a session is sent of an event. Pure.

`content` of a webhook is the matched skill or prompt, a blank line, and the payload as received, or the part of it that
its source asks for; the values that the order names in braces stand before it. Of a cron it is its prompt; of a message
its text. Nothing is fenced or escaped here: what is safe to show a model is the plugin's to decide, and other clients
want the payload byte for byte.
"""

import base64
import contextlib
import json
from collections.abc import Mapping

from clawback.model import UNTAGGED_NAME, Event, Held, Origin, Priority
from clawback.payloads.projection import project
from clawback.wire import MAX_CONTENT_CHARACTERS, EventFrame


def build_event_frame(event: Event, body: bytes, held: Held, *, names_events: bool) -> EventFrame:
    """
    Build the frame of one delivery.

    `names_events` is false for clients that send no `instanceId`: to those a redelivery is `normal`, since they would
    take their own first copy for something to interrupt.
    """
    encoding, payload = _read(body, event.encoding)
    again = held.attempt > 1
    meta = {
        "source": event.origin.value,
        "eventId": event.id,
        "priority": (Priority.NORMAL if again and not names_events else event.priority).value,
        "attempt": str(held.attempt),
    }
    if event.origin is Origin.WEBHOOK:
        meta |= {
            "path": event.path or "",
            "eventType": event.event_type or "",
            "skill": event.skill or "",
            "verified": "true" if event.verified else "false",
        }
    if event.origin is Origin.SESSION:
        meta |= {"from": event.sender or UNTAGGED_NAME, "broadcast": "true" if event.broadcast else "false"}
    if event.origin is Origin.CRON:
        meta["cronId"] = event.cron_id or ""
        if event.label:
            meta["label"] = event.label
        if event.scheduled_at is not None:
            meta["scheduledAt"] = f"{event.scheduled_at:%Y-%m-%dT%H:%M:%SZ}"
    elif event.delivery_id is not None:
        meta["deliveryId"] = event.delivery_id
    if encoding is not None:
        meta["encoding"] = encoding
    elif event.payload is not None and (part := project(body, event.payload)) is not None:
        meta["payload"] = "fields" if event.payload.fields else "compact"
        payload = f"{part}\n\n[a part, chosen by Clawback, of {len(payload):,} characters; event_payload has the rest]"
    if event.type_signed is False:
        meta["typeSigned"] = "false"
    fields = None if event.fields is None else str(len(event.fields))
    items = None if event.items is None else str(event.items)
    told = {"items": items, "setBy": event.set_by, "runBy": event.run_by, "replay": event.replay, "fields": fields}
    meta |= {name: value for name, value in told.items() if value is not None}
    content = _shorten(payload, event, held)
    parts = [event.skill or "", _list_fields(event.fields or {})]
    return EventFrame(id=event.id, content="".join(f"{part}\n\n" for part in parts if part) + content, meta=meta)


def _list_fields(fields: Mapping[str, str | None]) -> str:
    """Write what the order names, one on a line, as JSON: so that no value goes over a line or passes for another."""
    return "\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items())


def _read(body: bytes, encoding: str | None) -> tuple[str | None, str]:
    if encoding is None:
        # Where the body is no text after all, somebody published it by hand. It must not stop the session.
        with contextlib.suppress(UnicodeDecodeError):
            return None, body.decode()
    return "base64", base64.b64encode(body).decode()


def _shorten(payload: str, event: Event, held: Held) -> str:
    if len(payload) <= MAX_CONTENT_CHARACTERS:
        return payload
    return (
        f"{payload[:MAX_CONTENT_CHARACTERS]}\n\n[cut here by Clawback: {MAX_CONTENT_CHARACTERS:,} of {len(payload):,}"
        f" characters. The whole payload of {event.id} is kept until the event is acked: event_payload reads it part by"
        f" part; in NATS it is sequence {held.sequence} of its event stream (docs/operations.md, 'Read one event').]"
    )
