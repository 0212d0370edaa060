"""
What NATS passed over of its own files because it could not read it.

nats-server 2.15.1 starts without a word over a damaged block of a stream, and gives up all that lies behind the damaged
place. It says so in one place alone, the details of the stream's state, and only until it is started again.

What it passed over need not have been an event: a server that is killed while it writes leaves the beginning of a
message, whose sender was never told that it is stored (seen a few times in a hundred kills under load with messages of
up to 2 MB, not once in sixty with up to 200 kB). Nothing tells the two apart afterwards, so the sentence names both.
"""

import contextlib
import logging

from clawback.errors import Unavailable
from clawback.fabric.layout import streams
from clawback.fabric.streams import Fabric
from clawback.telemetry import metrics

MAX_DELETED = 100_000
"""
Details list every deleted sequence before the last one. With more than so many gaps they are not asked for: the answer
would come near to what NATS puts into a message.
"""

log = logging.getLogger("clawback.fabric")


class Damage:
    """What was found so far; `open` looks, and again after each reconnect."""

    def __init__(self, fabric: Fabric, shards: int) -> None:
        self._fabric = fabric
        self._names = [each["name"] for each in streams(shards, 1) if each["storage"] == "file"]
        self._found: dict[str, int] = {}

    async def open(self) -> None:
        """Look, now and after each reconnect: only a NATS that was started anew can have passed over something."""
        self._fabric.on_reconnect(self._look)
        # What NATS does not answer now is asked again when it is back.
        with contextlib.suppress(Unavailable):
            await self._look()

    def describe(self) -> str | None:
        """Say what was found since this server started, as a sentence; None where that is nothing."""
        if not self._found:
            return None
        each = ", ".join(f"{lost} bytes of stream {name}" for name, lost in sorted(self._found.items()))
        return (
            f"NATS could not read {each} when it started, and passed over them: if it was killed while it wrote, that"
            " may be what nobody was told is stored; else what waited there is gone. Compare with the sender's list"
            " and send again, or restore a backup"
        )

    async def _look(self) -> None:
        for name in self._names:
            lost = await self._lost(name)
            if lost > self._found.get(name, 0):
                self._found[name] = lost
                metrics.NATS_LOST.labels(name).set(lost)
                log.critical("%s", self.describe(), extra={"action": "nats_lost", "stream": name, "bytes": lost})

    async def _lost(self, name: str) -> int:
        """Ask for the bytes of a stream that NATS could not read."""
        state = (await self._fabric.api(f"STREAM.INFO.{name}", {})).get("state", {})
        if state.get("num_deleted", 0) > MAX_DELETED:
            log.warning("stream %s has too many gaps to be asked whether NATS could read all of it", name)
            return 0
        answer = await self._fabric.api(f"STREAM.INFO.{name}", {"deleted_details": True})
        lost: int = (answer.get("state", {}).get("lost") or {}).get("bytes", 0)
        return lost
