"""
`clawback hook NAME`: hands what Claude Code tells a hook to the channel of that session, and prints its answer.

It decides nothing and parses nothing, because a prompt waits for it: link.py has the other end. Where no channel runs,
it says nothing, with one exception: Claude Code runs SessionStart before it starts its servers, so what that hook is
told is left beside the socket for the channel that comes.
"""

import contextlib
import os
import sys

from clawback.channel.claude import rendezvous

NAMES = ("SessionStart", "SessionEnd", "UserPromptSubmit", "Stop")
STARTS = "SessionStart"


def main(name: str) -> int:
    """Run one hook: its input is on stdin, its answer goes to stdout. Nothing here may fail a turn."""
    told = sys.stdin.buffer.read().strip() or b"{}"
    pid = rendezvous.claude_pid()
    try:
        # To the channel it is one line; in JSON a line break is no more than a space.
        answer = _ask(pid, b'{"hook":"%s","input":%s}\n' % (name.encode(), told.replace(b"\n", b" ")))
    except OSError:
        if name == STARTS:
            with contextlib.suppress(OSError):
                _leave(pid, told)
        return 0
    sys.stdout.buffer.write(answer)
    return 0


def _ask(pid: int, question: bytes) -> bytes:
    with rendezvous.connect(pid) as channel:
        channel.sendall(question)
        answer = b""
        while part := channel.recv(65536):
            answer += part
        return answer


def _leave(pid: int, told: bytes) -> None:
    os.makedirs(rendezvous.run_directory(), mode=0o700, exist_ok=True)  # noqa: PTH103 -- pathlib is slow
    path = f"{rendezvous.run_directory()}/{pid}.start"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
        file.write(told)
