"""
The projection: which part of a payload a session is shown, by what its source says. Pure.

`full` is the payload byte for byte. `compact` leaves out what is empty and, of the services that are known here, what a
reader does not need; a list of fields keeps those alone. What cannot be read as JSON, or is very large, is shown in
full.
"""

import json
from typing import Any

from clawback.model import Projection, Scheme
from clawback.payloads import compact, github
from clawback.payloads.narrow import is_wide
from clawback.payloads.paths import parse_selection, select

MAX_BYTES = 4 * 1024 * 1024
"""A larger one is cut instead, and so is one with more values than `narrow.MAX_VALUES`: a tree of them is made here."""


def project(body: bytes, projection: Projection) -> str | None:
    """Make the text of the part that is wanted, as JSON on one line; None where the body has to be shown as it is."""
    if len(body) > MAX_BYTES or is_wide(body):
        return None
    try:
        part = json.dumps(_choose(json.loads(body), projection), ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return None  # no JSON, or nested deeper than Python follows
    return part.encode("utf-8", "replace").decode()


def _choose(payload: Any, projection: Projection) -> Any:  # noqa: ANN401 -- JSON
    if projection.fields:
        return select(payload, parse_selection(projection.fields))
    if projection.compact == Scheme.GITHUB and isinstance(payload, dict):
        payload = github.shorten(payload)
    elif projection.compact in compact.PATHS and isinstance(payload, dict):
        payload = compact.shorten(payload, projection.compact)
    return without_empty(payload)


def without_empty(value: Any) -> Any:  # noqa: ANN401 -- JSON
    """Leave out fields that say nothing: null, and empty text, arrays and objects. False and 0 say something."""
    if isinstance(value, dict):
        kept = {name: without_empty(below) for name, below in value.items()}
        return {name: below for name, below in kept.items() if below is not None and below not in ("", [], {})}
    if isinstance(value, list):
        return [without_empty(item) for item in value]
    return value
