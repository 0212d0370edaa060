"""
Whether the disk has room for another event.

A nats-server that meets a full disk answers nothing, and version 2.15.1 was not seen to recover before it was started
again. So new events are refused while there is still room for what ends the old ones: acks, stacks and history.
"""

import shutil
import time
from pathlib import Path

RESERVE_BYTES = 256 * 1024 * 1024
"""Left free for sessions to work off what waits, and for whoever shares the disk."""

LOOK_SECONDS = 1.0
"""How long a look is good for; in this time no server takes a tenth of the reserve."""


class Room:
    """The room on the disk of a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._looked_at = float("-inf")
        self._problem: str | None = None

    def problem(self) -> str | None:
        """Say why no new event can be taken, and what to do, as a sentence; None where there is room."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            free = shutil.disk_usage(self._directory).free
            self._problem = None if free >= RESERVE_BYTES else self._sentence(free)
        return self._problem

    def _sentence(self, free: int) -> str:
        return (
            f"the disk of {self._directory} has {free // 2**20} MiB free, and new events are taken from"
            f" {RESERVE_BYTES // 2**20} MiB on: free space, or let sessions work off what waits"
        )
