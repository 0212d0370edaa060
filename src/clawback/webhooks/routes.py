"""Routes: from an event type to what the session is told to do. Pure."""

from clawback.model import Source

ANY = "*"
"""The route of every type that has none of its own."""


def find_instruction(source: Source, event_type: str) -> str | None:
    """
    Choose the skill (`/review`) or prompt for an event; "" is the payload alone, None means no route: drop it.

    The exact type comes before `*`. Only a source without any routes falls back to its own skill: routes are also the
    list of what is wanted. Types compare as they are, case and all.
    """
    if not source.routes:
        return source.skill or ""
    return source.routes.get(event_type, source.routes.get(ANY))
