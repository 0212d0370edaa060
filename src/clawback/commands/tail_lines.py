"""
The lines of `clawback tail`: what each record of the feed looks like on a terminal. Pure.

Paths, event types, tags and summaries are others' text, so nothing of a record reaches the terminal unless it prints.
"""

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any

from clawback.commands.terminal import printable
from clawback.model import UNTAGGED_NAME

_RED, _GREEN, _YELLOW, _CYAN, _DIM = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m", "\x1b[2m"
_PLAIN = "\x1b[0m"

_COLOURS = {
    "acked": _GREEN,
    "offered": _YELLOW,
    "claimed": _YELLOW,
    "dead": _RED,
    "timed_out": _RED,
    "refused": _RED,
    "active": _CYAN,
    "standby": _CYAN,
    "left": _CYAN,
    "dropped": _DIM,
    "skipped": _DIM,
    "filtered": _DIM,
    "discarded": _DIM,
}

_WORDS = {
    "listening": "listening",
    "missed": "something was not told: the feed was too fast, or NATS was away",
}


def wants(record: Mapping[str, Any], tag: str | None) -> bool:
    """Say whether a record is about a tag, `(untagged)` included; with no tag everything is wanted."""
    if tag is None or record.get("type") in _WORDS:
        return True
    return record.get("type") in {"event", "session"} and record.get("sessionTag", UNTAGGED_NAME) == tag


def write_line(record: Mapping[str, Any], zone: tzinfo | None, *, colour: bool) -> str:
    """Write a record on one line, its time in `zone` (None: this machine's)."""
    kind = str(record.get("type", ""))
    state = kind if kind in _WORDS or kind == "refused" else str(record.get("state", ""))
    text = printable(f"{_time(record, zone)}  {state:<9}  {_describe(kind, record)}").rstrip()
    # The colour goes around what is printable already, so it is the only thing here that a terminal obeys.
    dye = _COLOURS.get(state, "") if colour else ""
    return f"{dye}{text}{_PLAIN}" if dye else text


def _describe(kind: str, record: Mapping[str, Any]) -> str:
    match kind:
        case "listening" | "missed":
            return _WORDS[kind] if kind == "missed" else ""
        case "event":
            parts = [
                str(record.get("eventId", "")),
                str(record.get("sessionTag", UNTAGGED_NAME)),
                *(str(record[name]) for name in ("source", "path", "eventType") if record.get(name)),
                *_remarks(record),
            ]
            return "  ".join(parts)
        case "session":
            return f"session {record.get('sessionTag', UNTAGGED_NAME)}"
        case "refused":
            return f"{record.get('id', '')}  HTTP {record.get('state', '')}  {record.get('reason', '')}"
        case _:
            return f"{kind} {record.get('id', '')}"


def _remarks(record: Mapping[str, Any]) -> list[str]:
    remarks = []
    if record.get("priority") not in (None, "normal"):
        remarks.append(str(record["priority"]))
    if isinstance(attempt := record.get("attempt"), int) and attempt > 1:
        remarks.append(f"attempt {attempt}")
    if isinstance(took := record.get("durationMs"), int):
        remarks.append(f"{took / 1000:.1f} s")
    if record.get("returnsAt"):
        remarks.append(f"returns at {record['returnsAt']}")
    return remarks + [str(record[name]) for name in ("reason", "summary") if record.get(name)]


def _time(record: Mapping[str, Any], zone: tzinfo | None) -> str:
    try:
        return f"{datetime.fromisoformat(str(record.get('at'))).astimezone(zone):%H:%M:%S}"
    except ValueError:
        return "--:--:--"
