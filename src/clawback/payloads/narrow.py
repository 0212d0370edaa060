"""
Single values out of JSON without building the rest, for texts that hold very many of them. Pure.

A tree of Python objects takes up to 60 times the text: 25 MiB of `{"a":0,…}` are 1.5 GB. Here a step reads the text
once, checks all of it, and keeps the one slice that was asked for.
"""

import re
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw

MAX_VALUES = 50_000
"""Of a text that is made into a tree. That takes 0.1 s in a thread; GitHub's largest payloads have some 20,000."""

MAX_INDEX = 999
"""Of an element that is read by itself in an array that is wide."""

_INDEX = re.compile("[0-9]{1,9}")

_ESCAPED = re.compile(r'["\\\x00-\x1f]')
"""Of a name that JSON writes with an escape: not found here, as msgspec does not compare it."""

_NOTHING = Raw(b"")

# A whole escape at a time, so that the second half of `\\` is never taken for the start of `\ud800`.
_ESCAPE = re.compile(
    rb"(\\[^u]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def is_wide(text: bytes) -> bool:
    """Tell whether a text holds more values than may be made into a tree. Commas in strings count: it is a bound."""
    return text.count(b",") + text.count(b"[") + text.count(b"{") > MAX_VALUES


def mend(text: bytes) -> bytes:
    """Write half a surrogate pair as U+FFFD, which RFC 8259 section 8.2 allows and msgspec does not read."""
    return _ESCAPE.sub(lambda escape: escape[1] or rb"\ufffd", text)


def child(text: bytes | Raw, step: str) -> Raw | None:
    """
    Find what stands at one step of an object or array; None where nothing does. Of equal keys the last one counts.

    Raises:
        msgspec.DecodeError: the text is no JSON.
        RecursionError: it is nested too deeply.
    """
    first = bytes(memoryview(text)[:64]).lstrip()[:1]
    found = _NOTHING
    if first == b"{" and not _ESCAPED.search(step):
        found = _field(step)(text).value
    elif first == b"[" and _INDEX.fullmatch(step) and int(step) <= MAX_INDEX:
        found = _element(int(step))(text).value
    return None if found is _NOTHING else found


@lru_cache(maxsize=256)
def _field(name: str) -> Any:  # noqa: ANN401 -- a decoder of a type that is made here
    kind = msgspec.defstruct("Field", [("value", Raw, _NOTHING)], rename={"value": name})
    return msgspec.json.Decoder(kind).decode


@lru_cache(maxsize=64)
def _element(index: int) -> Any:  # noqa: ANN401 -- the same
    before: list[tuple[str, Any, Any]] = [(f"skipped{number}", Raw, _NOTHING) for number in range(index)]
    kind = msgspec.defstruct("Element", [*before, ("value", Raw, _NOTHING)], array_like=True)
    return msgspec.json.Decoder(kind).decode
