"""
What becomes of each declared field of a source: how it is checked, stored and answered. Pure.

clawback/fields.py declares them. One without a row here is plain: it is stored under its own name, a text is one line,
and it is answered as it is stored.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from clawback.fabric.subjects import normalise_tag
from clawback.fields import SourceFields, fields_of
from clawback.model import Source
from clawback.operations import source_rules as rules
from clawback.operations.route_rules import check_routes, write_routes


def _as_it_is(value: Any) -> Any:  # noqa: ANN401 -- of any field
    return value


class Kind(NamedTuple):
    """What a check may know of the source: its scheme, and whether it reads event types from a place of its own."""

    scheme: str
    own_types: bool


class Rule(NamedTuple):
    """
    How one field is treated.

    `check` gets what was asked and the source's kind, and returns what is stored; an empty value becomes the default.
    `write` turns that into what is answered. `stored` is its name in the record, where that is another. `orders` marks
    a field that decides which order a source gives, to whom, or how urgently: to set it for another session takes that
    session's leave.
    """

    check: Callable[[Any, Kind], Any]
    write: Callable[[Any], Any] = _as_it_is
    stored: str | None = None
    orders: bool = False


RULES: dict[str, Rule] = {
    "skill": Rule(lambda text, _: rules.check_instruction(text, "skill"), orders=True),
    "routes": Rule(
        lambda routes, kind: check_routes(routes, kind.scheme, own_types=kind.own_types), write_routes, orders=True
    ),
    "event_type": Rule(lambda rule, _: rules.check_event_type(rule)),
    "signature": Rule(lambda rule, kind: rules.check_signature(rule, kind.scheme)),
    "delivery_id": Rule(lambda rule, _: rules.check_delivery_id(rule)),
    "answer": Rule(lambda status, _: rules.check_answer(status)),
    "session_tag": Rule(lambda tag, _: normalise_tag(tag), stored="tag", orders=True),
    "priority": Rule(lambda priority, _: priority, orders=True),
    "condition": Rule(lambda text, _: rules.check_condition(text, "if"), orders=True),
    "not_from": Rule(lambda names, _: rules.check_names(names, "notFrom"), orders=True),
    "timeout_seconds": Rule(lambda seconds, _: rules.check_timeout(seconds)),
    "payload": Rule(lambda payload, kind: rules.check_payload(payload, kind.scheme), rules.write_payload),
}
"""The fields that are more than plain."""


def _plain(wire_name: str) -> Rule:
    return Rule(lambda value, _: rules.check_line(value, wire_name) if isinstance(value, str) else value)


FIELDS = [(each, RULES.get(each.name) or _plain(each.wire_name)) for each in fields_of(SourceFields)]


def check_fields(request: SourceFields, scheme: str, known: Source | None = None) -> dict[str, Any]:
    """
    Check what a request gives, and return it by the names that it is stored under.

    An empty text, map or list becomes the default, and so does 0 for a source that is `known` already.

    Raises:
        Rejected: a field is wrong; the text has the rule.
    """
    own_types = request.event_type or (known and known.event_type)
    kind = Kind(scheme, own_types is not None)
    checked = {}
    for field, rule in FIELDS:
        if (value := getattr(request, field.name)) is not None:
            reset = known is not None and value == 0 and not isinstance(value, bool)
            checked[rule.stored or field.name] = None if reset else rule.check(value, kind)
    return checked


def write_fields(source: Source) -> dict[str, Any]:
    """Write what a source has, by the names on the wire; None where it has the default that needs no words."""
    return {field.wire_name: rule.write(getattr(source, rule.stored or field.name)) or None for field, rule in FIELDS}


def gives_order(changes: Mapping[str, Any]) -> bool:
    """Whether changes touch what a source orders. All others change only what it reads, accepts and shows."""
    return any(rule.orders and (rule.stored or field.name) in changes for field, rule in FIELDS)
