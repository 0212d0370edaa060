"""
`clawback monitor`: prints a line for each event that the channel wants to announce, which Claude Code shows to Claude.

Claude Code starts it with the session and reads its stdout for as long as it runs. It holds no state: what it prints,
the channel decides (ways.py). The standard library only: it lives as long as the session and should stay small.
"""

import os
import socket
import sys
import time

from clawback.channel.claude import rendezvous

AGAIN_SECONDS = 0.5
"""Between two looks for the channel, which may start later, and is started anew by /mcp."""


def main() -> int:
    """
    Print until Claude Code is gone, and never end before: Claude Code begins a turn when a monitor ends.

    A shell may stand between the two, so it is Claude Code's own process that counts.
    """
    pid = rendezvous.claude_pid()
    while rendezvous.is_alive(pid):
        try:
            with rendezvous.connect(pid) as channel:
                channel.sendall(b'{"monitor":true}\n')
                _print(channel, pid)
        except OSError:
            time.sleep(AGAIN_SECONDS)
    return 0


def _print(channel: socket.socket, pid: int) -> None:
    """Print what comes, until the channel or Claude Code is gone."""
    while rendezvous.is_alive(pid):
        try:
            lines = channel.recv(65536)
        except TimeoutError:
            continue
        if not lines:
            raise ConnectionResetError
        # One write to the pipe for whole lines: the channel sends a line at a time, and waits for nothing.
        try:
            sys.stdout.buffer.write(lines)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            os._exit(0)  # Claude Code reads no more; Python would complain of what is left in the buffer
