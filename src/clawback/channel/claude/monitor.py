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
    """Print until Claude Code is gone."""
    parent = os.getppid()
    pid = rendezvous.claude_pid()
    while os.getppid() == parent:
        try:
            with rendezvous.connect(pid) as channel:
                channel.sendall(b'{"monitor":true}\n')
                _print(channel, parent)
        except OSError:
            time.sleep(AGAIN_SECONDS)
    return 0


def _print(channel: socket.socket, parent: int) -> None:
    """Print what comes, until the channel or Claude Code is gone."""
    while os.getppid() == parent:
        try:
            lines = channel.recv(65536)
        except TimeoutError:
            continue
        if not lines:
            raise ConnectionResetError
        # One write to the pipe for whole lines: the channel sends a line at a time, and waits for nothing.
        sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()
