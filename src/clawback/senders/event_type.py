"""
Event types: the string that routes go by, such as `pull_request.opened`. Pure.

A source says where its type stands, or its scheme does: in a header, else at a dotted path of the body; and, appended
with a dot, at a second path (`action`). Some senders name no type: a key of the body tells it, or there is one alone.
No place, or nothing there, is the empty type, which only `*` routes.
"""

from clawback.model import EventTypeRule
from clawback.senders.preset import Places
from clawback.senders.presets import PRESETS
from clawback.senders.request import MAX_TEXT_CHARACTERS, Request


def type_places(scheme: str) -> Places:
    """Say where a preset has its event types; nowhere where a newer server made the source."""
    preset = PRESETS.get(scheme)
    return Places() if preset is None else preset.type


def read_event_type(request: Request, scheme: str, rule: EventTypeRule | None) -> str:
    """
    Find a request's event type; a source's own `rule` replaces its scheme's as a whole.

    At most `MAX_TEXT_CHARACTERS` for each half. The body is read only where a path must be.

    Raises:
        BadPayload: a path must be read and the body is not JSON in UTF-8; or the header comes twice.
    """
    places = type_places(scheme) if rule is None else _places(rule)
    kind = _header(request, places.header)
    for path in places.paths:
        kind = kind or request.text_at(path)
    if not kind and places.keys:
        kind = next((told for key, told in places.keys.items() if request.has(key)), None)
    kind = kind or places.always
    if not kind:
        return ""
    action = request.text_at(places.action) if places.action else None
    return f"{kind}.{action}" if action else kind


def _places(rule: EventTypeRule) -> Places:
    return Places(header=rule.header, paths=(rule.body,) if rule.body else (), action=rule.action)


def _header(request: Request, name: str | None) -> str | None:
    value = request.headers.one(name) if name else None
    return value if value is None or len(value) <= MAX_TEXT_CHARACTERS else None
