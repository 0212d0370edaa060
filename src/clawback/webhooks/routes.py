"""Routes: from an event type to what the session is told to do. Pure."""

from clawback.model import Source
from clawback.webhooks.patterns import choose


def find_instruction(source: Source, event_type: str) -> str | None:
    """
    Choose the skill (`/review`) or prompt for an event; "" is the payload alone, None means no route: drop it.

    Of the patterns that fit, the longest counts (patterns.py). Only a source without any routes falls back to its own
    skill: routes are also the list of what is wanted.
    """
    if not source.routes:
        return source.skill or ""
    chosen = choose(source.routes, event_type)
    return None if chosen is None else source.routes[chosen]
