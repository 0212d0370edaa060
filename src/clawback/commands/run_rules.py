"""
What a run means for its event, and what a run is told of it. Pure.

Exit code 0 acknowledges the event, with the end of the output as its summary. Anything else hands it back: the server
delivers it again, and the third time it is a dead letter.
"""

import re
from collections.abc import Mapping

from msgspec import Struct

from clawback.commands.terminal import printable
from clawback.wire import EventFrame

MAX_TEXT_CHARACTERS = 1000
"""Of a summary, and of a reason, which the server takes no longer."""

MAX_VALUE_CHARACTERS = 256

_VARIABLES = {
    "CLAWBACK_EVENT_ORIGIN": "source",
    "CLAWBACK_EVENT_PRIORITY": "priority",
    "CLAWBACK_EVENT_ATTEMPT": "attempt",
    "CLAWBACK_EVENT_PATH": "path",
    "CLAWBACK_EVENT_TYPE": "eventType",
    "CLAWBACK_EVENT_VERIFIED": "verified",
}
"""What a run is told of its event beside the text, by the event's `meta`; and `CLAWBACK_EVENT_ID`."""

_APART = {"CLAWBACK_EVENTS": "off"}
"""For a plugin that the command may have: a tag alone is not enough, as Claude Code's settings may set another one."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_./:@+-]")


class Ended(Struct, frozen=True):
    """How a run ended: its exit code (negative: the signal that ended it), and the ends of its two outputs."""

    code: int
    timed_out: bool
    seconds: float
    output: str
    errors: str


class Done(Struct, frozen=True):
    """The event is done; what was said about it at the end."""

    summary: str


class Failed(Struct, frozen=True):
    """The event could not be taken, and why."""

    reason: str


def judge(ended: Ended) -> Done | Failed:
    """Say what the end of a run means for its event."""
    if ended.code == 0 and not ended.timed_out:
        return Done(_tail(ended.output) or "done")
    if ended.timed_out:
        how = f"stopped after {ended.seconds:.0f} s"
    else:
        how = f"exit code {ended.code}" if ended.code > 0 else f"ended by signal {-ended.code}"
    said = _tail(ended.errors or ended.output, MAX_TEXT_CHARACTERS - len(how) - 2)
    return Failed(f"{how}: {said}" if said else how)


def build_environment(own: Mapping[str, str], event: EventFrame, session_tag: str) -> dict[str, str]:
    """
    Build a run's environment: ours, what names its event, and a session tag of its own.

    Senders write some of the values, so they are letters, digits and `_./:@+-`, begin with no dash, and have at most
    256 characters: neither a shell nor a program's options can be made of them. The tag is for a plugin that the
    command may have, which takes no events: else it would be the session that waits for the same ones.
    """
    named = {name: _safe(event.meta.get(key, "")) for name, key in _VARIABLES.items()}
    return {**own, **named, "CLAWBACK_EVENT_ID": _safe(event.id), **_APART, "CLAWBACK_SESSION": session_tag}


def _safe(value: str) -> str:
    return _UNSAFE.sub("_", value[:MAX_VALUE_CHARACTERS]).lstrip("-")


def _tail(text: str, most: int = MAX_TEXT_CHARACTERS) -> str:
    """Keep the end of what was said, on one line."""
    line = " ".join(printable(text.replace("\n", " ").replace("\t", " ")).split())
    return line if len(line) <= most else f"…{line[1 - most :]}"
