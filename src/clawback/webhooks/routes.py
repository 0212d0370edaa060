"""Routes: from an event type to what the session is told to do. Pure."""

from clawback.model import Route, Source
from clawback.webhooks.patterns import choose


def find_route(source: Source, event_type: str) -> str | Route | None:
    """
    Choose what becomes of an event: an order, a route object, or None where no route wants it: drop it.

    An order is a skill (`/review`) or prompt; "" is the payload alone. Of the patterns that fit, the longest counts
    (patterns.py). Only a source without any routes falls back to its own skill: routes are also the list of what is
    wanted.
    """
    if not source.routes:
        return source.skill or ""
    chosen = choose(source.routes, event_type)
    return None if chosen is None else source.routes[chosen]
