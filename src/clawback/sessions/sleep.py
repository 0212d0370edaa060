"""
Whether this server slept: frozen, or suspended with its machine, it answered nobody, and whoever left left for that.

It goes by the time of day, which goes on while a machine is suspended. A clock that is set forward looks like a sleep;
all it costs is that a loss or two is not counted.
"""

import asyncio
import math
import time
from collections.abc import Callable

BEAT_SECONDS = 1.0

SLEEP_SECONDS = 5.0
"""A longer time between two beats is no busy machine. Clients wait four times as long for a sign, or longer."""

AFTERMATH_SECONDS = 30.0
"""For so long after it woke up, connections that end are ascribed to the sleep."""


class Watch:
    """Tells when the server has slept. Keep `run` running."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._beat_at = clock()
        self._woke_at = -math.inf

    async def run(self) -> None:
        """Beat, for as long as the server runs."""
        while True:
            self._beat()
            await asyncio.sleep(BEAT_SECONDS)

    def slept(self) -> bool:
        """Tell whether the server slept until a moment ago."""
        # It may be asked before the next beat.
        self._beat()
        return self._beat_at - self._woke_at < AFTERMATH_SECONDS

    def _beat(self) -> None:
        now = self._clock()
        if now - self._beat_at > SLEEP_SECONDS:
            self._woke_at = now
        self._beat_at = now
