"""
The W3C `traceparent`: which trace an event or a request belongs to, and which of its spans came before. Pure.

    00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
    version, trace id, span id, flags (01: sampled); https://www.w3.org/TR/trace-context/
"""

import re

HEADER = "traceparent"
"""As HTTP and NATS have it (nats-server, ADR-41). NATS tells upper case from lower."""

_FORM = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_CHARACTERS = 55


def parse_traceparent(text: str | None) -> str | None:
    """
    Read a `traceparent` that anybody may have written; what is none is None.

    One of a later version may say more, which is left out: what is returned has 55 characters and version 00.
    """
    if text is None or (match := _FORM.match(text)) is None:
        return None
    if len(text) > _CHARACTERS and (match[1] == "00" or text[_CHARACTERS] != "-"):
        return None
    return f"00{match[0][2:]}"
