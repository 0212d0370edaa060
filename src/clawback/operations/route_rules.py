"""
What a source's routes may be: each pattern and each route checked, each refusal a sentence with the rule. Pure.

A route is an order in a text, or an object with more to say. Both are stored as they were given.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from clawback.errors import Rejected
from clawback.fields import MAX_ROUTES, RouteFields, fields_of
from clawback.model import WHOLE, Priority, Projection, Route
from clawback.operations.source_rules import (
    check_condition,
    check_instruction,
    check_names,
    check_payload,
    check_text,
    quoted,
    write_payload,
)
from clawback.senders.kinds import KNOWN_TYPES
from clawback.senders.request import MAX_TEXT_CHARACTERS
from clawback.webhooks.patterns import check_pattern
from clawback.webhooks.templates import parse_order

MAX_SOURCE_BYTES = 512 * 1024
"""Of all instructions of a source together: half of the largest frame that a client may send."""


def check_routes(
    routes: Mapping[str, str | RouteFields] | None, scheme: str = "", *, own_types: bool = False
) -> dict[str, str | Route]:
    """
    Check the map from patterns of event types to skills, prompts and route objects.

    `scheme` says which types there are, unless the source reads its types from a place of its own.

    Raises:
        Rejected: there are too many, or one of them routes nothing or to nothing.
    """
    routes = routes or {}
    if len(routes) > MAX_ROUTES:
        raise Rejected(f"{len(routes)} routes: accepted are at most {MAX_ROUTES}; use * for all other event types")
    known = () if own_types else KNOWN_TYPES.get(scheme, ())
    checked: dict[str, str | Route] = {}
    total = 0
    for event_type, route in routes.items():
        # Twice the bound of what is read from a request, and a dot: the type and its action.
        if len(event_type) > 2 * MAX_TEXT_CHARACTERS + 1:
            raise Rejected(
                f"route refused, its event type reads {quoted(event_type)}: it is text such as pull_request.opened,"
                f" or * for all others, of at most {2 * MAX_TEXT_CHARACTERS + 1} characters"
            )
        total += len(check_text(event_type, "the event type of a route"))
        check_pattern(event_type, known)
        name = f"the route of {quoted(event_type)}"
        order = _check_order(route if isinstance(route, str) else route.do, name)
        total += len(order.encode())
        checked[event_type] = order if isinstance(route, str) else _check_route(route, name, scheme)
    if total > MAX_SOURCE_BYTES:
        raise Rejected(
            f"the routes have {total} bytes in all: accepted are {MAX_SOURCE_BYTES}; put prompts into skills"
        )
    return checked


def write_routes(routes: Mapping[str, str | Route]) -> dict[str, str | dict[str, Any]]:
    """Write them as they are asked for."""
    return {event_type: route if isinstance(route, str) else _write(route) for event_type, route in routes.items()}


def write_orders(routes: Mapping[str, str | Route]) -> dict[str, str]:
    """Write the orders alone, for clients that know of no more."""
    return {event_type: route if isinstance(route, str) else route.do for event_type, route in routes.items()}


def route_priorities(routes: Mapping[str, str | Route]) -> list[Priority]:
    """List the priorities that routes give."""
    return [route.priority for route in routes.values() if isinstance(route, Route) and route.priority is not None]


def _check_order(text: str, name: str) -> str:
    order = check_instruction(text, name)
    if order is None or not order.strip():
        raise Rejected(
            f"{name} is empty: give a skill such as /review or a prompt, or leave the route out to drop such events"
        )
    return order


def _check_route(route: RouteFields, name: str, scheme: str) -> Route:
    parse_order(route.do, f"do of {name}")
    payload: Projection | None = None
    if route.payload:
        payload = WHOLE if route.payload == "full" else check_payload(route.payload, scheme)
    return Route(
        route.do,
        condition=check_condition(route.condition, f"if of {name}"),
        not_from=check_names(route.not_from, f"notFrom of {name}"),
        priority=route.priority,
        payload=payload,
    )


def _write(route: Route) -> dict[str, Any]:
    written = structs.asdict(route) | {"payload": "full" if route.payload == WHOLE else write_payload(route.payload)}
    return {
        field.wire_name: written[field.name]
        for field in fields_of(RouteFields)
        if written[field.name] not in (None, ())
    }
