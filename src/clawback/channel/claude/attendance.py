"""
Which runs of Claude Code take events. Pure.

A one-shot run (`claude -p`, or a program that drives Claude Code) lives for one task. As the first to connect it would
be the active session of its tag, take the events that a person's session waits for, and be gone before they are done.
So a run at which nobody sits takes events only when it is told to. The others connect all the same, for their tools.
"""

from collections.abc import Mapping

EVENTS_VARIABLE = "CLAWBACK_EVENTS"
"""
`off` has a session take no events, whatever else is set; `on` has it take them.

`clawback work` sets it for its runs.
"""

TAG_VARIABLE = "CLAWBACK_SESSION"

_ENTRY_VARIABLE = "CLAUDE_CODE_ENTRYPOINT"
_UNATTENDED = ("sdk-", "mcp", "claude-code-github-action")
"""How Claude Code calls what is no person's session: `sdk-cli` is `claude -p` (seen on 2.1.330 and 2.1.332)."""

_ON, _OFF = frozenset({"on", "1", "true", "yes"}), frozenset({"off", "0", "false", "no"})


def is_attended(environment: Mapping[str, str]) -> bool:
    """Say whether a person sits at this session, as far as Claude Code tells its programs."""
    return not environment.get(_ENTRY_VARIABLE, "").startswith(_UNATTENDED)


def takes_events(environment: Mapping[str, str], *, one_shot_events: bool) -> bool:
    """Say whether this session takes events; `one_shot_events` is the config's word for runs at which nobody sits."""
    said = environment.get(EVENTS_VARIABLE, "").strip().lower()
    if said in _ON or said in _OFF:
        return said in _ON
    return is_attended(environment) or bool(environment.get(TAG_VARIABLE, "").strip()) or one_shot_events
