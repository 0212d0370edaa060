"""
Event types: the string that routes go by, such as `pull_request.opened`. Pure.

A source says where its type stands, or its scheme does: in a header, else at a dotted path of the body; and, appended
with a dot, at a second path (`action`). No place, or nothing there, is the empty type, which only `*` routes.
"""

from msgspec import Struct

from clawback.model import EventTypeRule, Scheme
from clawback.senders.request import MAX_TEXT_CHARACTERS, Request


class _Places(Struct, frozen=True):
    """Where to look: the header first, then each path; `action` is appended to what was found."""

    header: str | None = None
    paths: tuple[str, ...] = ()
    action: str | None = None


_DEFAULTS: dict[Scheme, _Places] = {
    Scheme.GITHUB: _Places(header="X-GitHub-Event", action="action"),
    Scheme.STRIPE: _Places(paths=("type",)),
    # The specification's payload: `type`, `timestamp`, `data`.
    Scheme.STANDARD_WEBHOOKS: _Places(paths=("type",)),
    # An event's own type is inside an `event_callback`; interactions have theirs outside, slash commands a name.
    Scheme.SLACK: _Places(paths=("event.type", "type", "command")),
    Scheme.SHOPIFY: _Places(header="X-Shopify-Topic"),
    # `Issue` and `create`, `update` or `remove`: `Issue.create`.
    Scheme.LINEAR: _Places(header="Linear-Event", action="action"),
    # `Push Hook`, as GitLab's documentation names each event; `push` where a proxy strips the header.
    Scheme.GITLAB: _Places(header="X-Gitlab-Event", paths=("object_kind",)),
    Scheme.GENERIC: _Places(),
    Scheme.NONE: _Places(),
}


def read_event_type(request: Request, scheme: Scheme, rule: EventTypeRule | None) -> str:
    """
    Find a request's event type; a source's own `rule` replaces its scheme's as a whole.

    At most `MAX_TEXT_CHARACTERS` for each half. The body is read only where a path must be.

    Raises:
        BadPayload: a path must be read and the body is not JSON in UTF-8; or the header comes twice.
    """
    places = _DEFAULTS[scheme] if rule is None else _places(rule)
    kind = _header(request, places.header)
    for path in places.paths:
        kind = kind or request.text_at(path)
    if not kind:
        return ""
    action = request.text_at(places.action) if places.action else None
    return f"{kind}.{action}" if action else kind


def _places(rule: EventTypeRule) -> _Places:
    return _Places(header=rule.header, paths=(rule.body,) if rule.body else (), action=rule.action)


def _header(request: Request, name: str | None) -> str | None:
    value = request.headers.one(name) if name else None
    return value if value is None or len(value) <= MAX_TEXT_CHARACTERS else None
