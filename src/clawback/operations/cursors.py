"""
Cursors: where a page of a list ended, as one opaque word. Pure.

A cursor holds positions in streams and names no profile: what it is used for is looked up under the caller's own, so
somebody else's cursor shows nothing of theirs.
"""

import base64
import re
from typing import Any, NamedTuple

from clawback.errors import Rejected

_WRITTEN = re.compile(r"([a-z]+)((?:-[0-9]{1,18})+)")
"""The list's name and its positions. 18 digits are below 2^63, which NATS takes for a sequence."""


class Page(NamedTuple):
    """A part of a list; `cursor` asks for the next one, None where this is the last."""

    items: list[dict[str, Any]]
    cursor: str | None


def write_cursor(name: str, *positions: int) -> str:
    """Write positions in a list as a cursor."""
    written = f"{name}{''.join(f'-{position}' for position in positions)}"
    return base64.urlsafe_b64encode(written.encode()).decode().rstrip("=")


def read_cursor(name: str, count: int, cursor: str) -> tuple[int, ...]:
    """
    Read the `count` positions of a cursor of this list; it may be anybody's text.

    Raises:
        Rejected: it is none, or another list's.
    """
    try:
        written = base64.b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:
        written = ""
    found = _WRITTEN.fullmatch(written)
    positions = tuple(int(position) for position in found[2].split("-")[1:]) if found else ()
    if found is None or found[1] != name or len(positions) != count:
        raise Rejected(
            f"cursor refused, read {cursor[:80]!a}: accepted is nextCursor of a page before, as it was; without one the"
            " list begins anew"
        )
    return positions
