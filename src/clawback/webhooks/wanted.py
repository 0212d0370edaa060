"""
Whether an event is wanted: the conditions of its source and of its route, asked about one verified request. Pure.

All must let it pass, `notFrom` first. What cannot be told holds the event back and says so.
"""

from collections.abc import Sequence

from msgspec import Struct

from clawback.errors import BadPayload, Rejected, TooLarge
from clawback.model import Route, Source
from clawback.senders.request import Request
from clawback.webhooks.conditions import Condition, Facts, Outcome, compile_condition

MAX_BODY_BYTES = 2 * 1024 * 1024
"""Of what one condition reads of a body. How many values that may be is for the condition to say."""

SENDERS = (
    *("sender.login", "sender.username", "user.username", "user.login", "user_username", "actor.username"),
    *("actor.nickname", "actor.display_name", "actor.name", "event.user", "event.bot_id", "user.name", "user_name"),
)
"""Where code hosts, trackers and chats say who caused an event."""


class Objection(Struct, frozen=True):
    """What held an event back: the condition, what it looked at, and why it could not tell, where it could not."""

    condition: str
    values: dict[str, str | None]
    note: str | None = None


def has_conditions(source: Source) -> bool:
    """Whether events of a source may be asked about in CEL."""
    routes = (route for route in source.routes.values() if isinstance(route, Route))
    return source.condition is not None or any(route.condition is not None for route in routes)


def find_objection(request: Request, source: Source, route: Route, event_type: str) -> Objection | None:
    """Ask every condition about an event; None where all let it pass."""
    names = (*source.not_from, *route.not_from)
    if names and (objection := _find_sender(request, names)) is not None:
        return objection
    for text in (source.condition, route.condition):
        if text is not None and not (outcome := _ask(text, request, source, event_type)).passed:
            return Objection(text, outcome.values, outcome.note)
    return None


def _find_sender(request: Request, names: Sequence[str]) -> Objection | None:
    condition = f"notFrom: {', '.join(names)}"
    held_back = {name.casefold() for name in names}
    try:
        found = {path: value for path in SENDERS if (value := request.text_at(path))}
    except BadPayload:
        found = {}
    if not found:
        return Objection(condition, {}, "nothing in the body says who sent it")
    # Names of code hosts are the same in capitals, and a bot's stands in one place or another.
    named = {path: value for path, value in found.items() if value.casefold() in held_back}
    return Objection(condition, dict(named)) if named else None


def _ask(text: str, request: Request, source: Source, event_type: str) -> Outcome:
    try:
        condition = compile_condition(text)
    except Rejected as error:
        # It was checked when it was saved, by another version.
        return Outcome(passed=False, note=str(error), values={})
    try:
        body = _read(request, condition)
    except TooLarge:
        return condition.too_much()
    headers = request.headers.told() if condition.reads_headers else {}
    if source.signature is not None:
        headers.pop(source.signature.header.lower(), None)
    return condition.evaluate(Facts(body, headers, event_type, source.slug))


def _read(request: Request, condition: Condition) -> object:
    if condition.wanted == {}:
        return None
    try:
        return request.pick(condition.wanted, MAX_BODY_BYTES)
    except BadPayload:
        return None
