"""The payload of an event, part by part, as it was received."""

import base64
import json
from typing import Any

from clawback import wire
from clawback.errors import BadPayload, NotFound, Rejected
from clawback.fabric.jetstream import Stored
from clawback.fabric.subjects import is_id
from clawback.operations.caller import Caller, Services
from clawback.payloads.narrow import MAX_INDEX, child, is_wide, mend
from clawback.payloads.paths import parse_path, value_at
from clawback.store.events import decode_event
from clawback.system.heavy import run_heavy

DEFAULT_CHARACTERS = 20_000
"""Some 5,000 tokens: a file's worth, and far from filling a context window."""

MAX_CHARACTERS = 100_000

_KINDS = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}


async def read_payload(services: Services, caller: Caller, request: wire.EventPayload) -> dict[str, Any]:
    """
    Read what stands at a dotted path of an event's payload, or all of it, from an offset on and up to a limit.

    Raises:
        NotFound: the profile has no such event, or it has ended; or the path leads nowhere.
        Rejected: the path, offset or limit is none, or there are no paths in this payload.
        Unavailable: NATS does not answer.
    """
    offset, limit = request.offset or 0, DEFAULT_CHARACTERS if request.limit is None else request.limit
    if offset < 0 or not 1 <= limit <= MAX_CHARACTERS:
        raise Rejected(
            f"offset {offset} and limit {limit} refused: accepted are an offset from 0 and a limit of 1 to"
            f" {MAX_CHARACTERS} characters"
        )
    stored = await _find(services, caller, request.event_id)
    path = request.path or ""
    # In a thread, as a body may be 25 MiB; in one of few, as many may ask.
    kind, part, total = await run_heavy(_read, stored, path, offset, limit)
    answer = {
        "eventId": request.event_id,
        "path": path,
        "kind": kind,
        "text": part,
        "offset": offset,
        "totalCharacters": total,
    }
    end = offset + len(part)
    return answer | {"nextOffset": end} if part and end < total else answer


async def fetch_payload(services: Services, caller: Caller, event_id: str) -> bytes:
    """
    Return the whole payload of an event, byte for byte as it was received.

    Raises:
        NotFound: the profile has no such event, or it has ended.
        Rejected: it is no event that anybody could read.
        Unavailable: NATS does not answer.
    """
    stored = await _find(services, caller, event_id)
    try:
        _, body = await run_heavy(decode_event, stored.headers, stored.data)
    except BadPayload as error:
        raise Rejected("this is no event that anybody could read") from error
    return body


async def _find(services: Services, caller: Caller, event_id: str) -> Stored:
    known = is_id(event_id)  # anybody's text
    found = await services.inventory.find(caller.profile_id, event_id) if known else None
    if found is None:
        raise NotFound(
            f"there is no event {event_id[:80]!a} with a payload: it has ended, or never was; event_list shows"
            " those that wait, are held or are dead"
        )
    return found.stored


def _read(stored: Stored, path: str, offset: int, limit: int) -> tuple[str, str, int]:
    """
    Say what is at a path, and write a part of it: a string as it is, all else as JSON, the whole as it was received.

    Returns its kind, the part and the characters of all of it.
    """
    try:
        event, body = decode_event(stored.headers, stored.data)
        text = body.decode() if event.encoding is None else base64.b64encode(body).decode()
    except (BadPayload, UnicodeDecodeError) as error:
        raise Rejected("this is no event that anybody could read") from error
    kind = "payload"
    if path:
        del text
        kind, text = _value(body, path)
    return kind, text[offset : offset + limit], len(text)


def _value(body: bytes, path: str) -> tuple[str, str]:
    """Say what kind of value is at a path, and write it."""
    try:
        steps, text = parse_path(path), body
        while steps and is_wide(text):
            step, *steps = steps
            found = child(mend(text) if text is body else text, step)
            if found is None:
                raise NotFound(
                    f"there is no {step!a} on the way of this path, or an array there has too many values to read one"
                    f" above {MAX_INDEX} by itself"
                )
            text = bytes(found)
        if text[:1] in (b"{", b"[") and is_wide(text):
            # Shown as it was received: a tree of it would be many times as large.
            return ("object" if text[:1] == b"{" else "array"), text.decode()
        value = value_at(json.loads(text), ".".join(steps))
        written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        raise Rejected("this payload is not JSON, so there are no paths in it: leave the path out") from error
    return _KINDS.get(type(value), "null"), written.encode("utf-8", "replace").decode()
