"""
`clawback hook NAME`: hands what Claude Code tells a hook to the channel of that session, and prints its answer.

It decides nothing and parses nothing, because a prompt waits for it: link.py has the other end. Where no channel runs,
it says nothing, with one exception: Claude Code runs SessionStart before it starts its servers, so what that hook is
told is left beside the socket for the channel that comes. PreToolUse asks nobody: which tools are allowed stands here.
"""

import contextlib
import json
import os
import sys

from clawback.channel.claude import rendezvous

STARTS = "SessionStart"
ASKS = "PreToolUse"

OWN_TOOLS = "mcp__plugin_clawback_clawback__"
"""How Claude Code names the tools of the plugin's server."""

ALLOWED_TOOLS = frozenset(
    OWN_TOOLS + name
    for name in (
        "event_ack", "event_next", "event_extend", "event_defer", "event_fail",
        "event_list", "event_payload", "event_history",
    )
)  # fmt: skip
"""
What Claude may call without asking the user: it says what becomes of this session's own event, or reads events.

None of them changes anything outside of Clawback, starts work in another session, or makes or changes a source, cron or
token. A rule of the user's that denies or asks goes before this.
"""


def main(name: str) -> int:
    """Run one hook: its input is on stdin, its answer goes to stdout. Nothing here may fail a turn."""
    told = sys.stdin.buffer.read().strip() or b"{}"
    if name == ASKS:
        sys.stdout.write(allow(told))
        return 0
    pid = rendezvous.claude_pid()
    try:
        # To the channel it is one line; in JSON a line break is no more than a space.
        answer = _ask(pid, b'{"hook":"%s","input":%s}\n' % (name.encode(), told.replace(b"\n", b" ")))
    except OSError:
        if name == STARTS:
            with contextlib.suppress(OSError):
                _leave(pid, told)
            _say_at_the_start()
        return 0
    sys.stdout.buffer.write(answer)
    return 0


def allow(told: bytes) -> str:
    """Answer whether a tool may be called: yes, or nothing, which leaves it to the user's own rules."""
    try:
        tool = json.loads(told)["tool_name"]
    except (ValueError, LookupError, TypeError):
        return ""  # another Claude Code's way of asking: it asks the user then
    if not isinstance(tool, str) or tool not in ALLOWED_TOOLS:
        return ""
    reason = "one of Clawback's event tools, which change nothing outside of Clawback"
    decision = {"hookEventName": ASKS, "permissionDecision": "allow", "permissionDecisionReason": reason}
    return json.dumps({"hookSpecificOutput": decision})


def _ask(pid: int, question: bytes) -> bytes:
    with rendezvous.connect(pid) as channel:
        channel.sendall(question)
        answer = b""
        while part := channel.recv(65536):
            answer += part
        return answer


def _say_at_the_start() -> None:
    # Loaded late: it is 100 ms, once in a session, and the other hooks run at every prompt.
    from clawback.channel.claude.start import describe_start  # noqa: PLC0415 -- as said above

    if line := describe_start(os.environ):
        sys.stdout.write(json.dumps({"systemMessage": " ".join(line.split())}))


def _leave(pid: int, told: bytes) -> None:
    os.makedirs(rendezvous.run_directory(), mode=0o700, exist_ok=True)  # noqa: PTH103 -- pathlib is slow
    path = f"{rendezvous.run_directory()}/{pid}.start"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
        file.write(told)
