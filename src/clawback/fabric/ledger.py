"""
The ledger of accepted events: what makes a webhook that is sent again one event, for 7 days.

The streams' own window of message ids does not do: it is two hours long, and an event that was acked is forgotten by it
when NATS restarts. An entry is written after the event was stored and its sender was answered, and before the event's
end takes it out of its stream (`written`): until then a restarted NATS finds its id there.

A look-up costs a webhook an exchange with NATS, and nearly all of them find nothing. Where NATS is the server's own
they are spared: its data directory admits one server, so what is in the ledger was either there when `keep_reading`
read it, or was noted here. Both are kept in memory as hashes, and a webhook whose hash is not among them is new.
Everything else is looked up as ever: a hash that is known (two texts may share one, and entries expire), and all of
them while the memory is not complete, which is from each (re)connect until the stream was read anew.

Should somebody point a second server at that NATS after all, then what it accepted since the last reading is missing
here. Readings are repeated, and count for a quarter of the window of message ids: the window refuses those. Only a
restart of NATS empties it, and that ends our connection and with it the memory. With a NATS of somebody else's nobody
calls `keep_reading`, and each webhook is looked up: in a cluster the restart of the one server that has the stream is
not seen from a connection to another, and a server that was cut off may write its entries long after.
"""

import asyncio
import logging
import math
from contextlib import suppress
from itertools import islice

from clawback.errors import Unavailable
from clawback.fabric import subjects
from clawback.fabric.connection import BatchMessage, Fabric

_STREAM = "SEEN"

GATHER_SECONDS = 0.5
"""
How long after a write the next entries gather, to be written together: the disk is what events wait for
(docs/performance.md). The first after a pause is written at once, and so is what somebody waits for.
"""

WORTH_A_BATCH = 8
MAX_BATCH = 1000
"""An entry takes one sync to disk; an atomic batch takes about seven, whatever its size. So few go one by one."""

WRITTEN_SECONDS = 5.0
"""How long `written` waits for NATS before it says so."""

RETRY_SECONDS = 0.25

READ_AGAIN_SECONDS = 10 * 60
TRUSTED_SECONDS = 30 * 60
"""How long a reading counts; see above. Far below the window of the event streams, which is 2 hours."""

FORGET_SECONDS = 24 * 3600
"""After this the memory is made anew: entries expire in the stream, not in it."""

MAX_REMEMBERED = 500_000
"""Entries in memory, some 80 bytes each: 40 MB. A ledger that has more is looked up in for every webhook."""

PAGE_PAUSE_SECONDS = 0.01
"""Between pages: half the CPU at most is for reading, and whoever waits for NATS comes in between."""

log = logging.getLogger("clawback.fabric")


class _Memory:
    """Hashes of the ledger's entries up to a sequence, as read over one connection, and of what was noted since."""

    def __init__(self, generation: int, made_at: float) -> None:
        self.generation = generation
        self.made_at = made_at
        self.sequence = 0
        # When the last reading that reached the end began; what another server wrote after it may be missing.
        self.complete_at = -math.inf
        self.full = False
        self._hashes: set[int] = set()

    def add(self, subject: str) -> None:
        self._hashes.add(hash(subject))
        if len(self._hashes) > MAX_REMEMBERED:
            self.full = True
            self._hashes.clear()

    def excludes(self, subject: str) -> bool:
        return not self.full and hash(subject) not in self._hashes


class Ledger:
    """The ledger. `note` writes in the background; `drain` at the end."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._memory: _Memory | None = None
        self._unwritten: dict[str, None] = {}
        self._writer: asyncio.Task[None] | None = None
        self._draining = False
        # Set when what gathers shall be written now: it fills a batch, is waited for, or the server is about to end.
        self._ripe = asyncio.Event()
        # Set, and made anew, whenever entries were written.
        self._progress = asyncio.Event()

    async def seen(self, profile_id: str, event_id: str, *, timeout: float = 5.0) -> bool:  # noqa: ASYNC109 -- ends here as Unavailable
        """
        Tell whether an event was accepted before.

        Raises:
            Unavailable: NATS does not answer within `timeout` seconds.
        """
        subject = subjects.seen_subject(profile_id, event_id)
        if subject in self._unwritten:
            return True
        if self._is_new(subject):
            return False
        return await self._fabric.get(_STREAM, subject=subject, timeout=timeout) is not None

    def note(self, profile_id: str, event_id: str) -> None:
        """Remember that an event was accepted. Written in the background, as often as it takes."""
        subject = subjects.seen_subject(profile_id, event_id)
        self._unwritten[subject] = None
        if self._memory is not None and not self._memory.full:
            self._memory.add(subject)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="ledger writer")
        if len(self._unwritten) >= MAX_BATCH:
            self._ripe.set()

    async def written(self, profile_id: str, event_id: str, *, surely: bool = False) -> None:
        """
        Return when the ledger has an event that is about to leave its stream: now, for nearly all.

        One that is known to be missing is written: the server that should have done so was killed first. With `surely`
        one of which that is not known is written as well, maybe again: another server may still have to, or be dead.

        Raises:
            Unavailable: NATS did not take it within WRITTEN_SECONDS; it is tried on.
        """
        subject = subjects.seen_subject(profile_id, event_id)
        if self._is_new(subject) or (surely and not self._is_complete()):
            self.note(profile_id, event_id)
        try:
            async with asyncio.timeout(WRITTEN_SECONDS):
                while subject in self._unwritten:
                    self._ripe.set()
                    await self._progress.wait()
        except TimeoutError as error:
            raise Unavailable(f"the ledger could not be written within {WRITTEN_SECONDS:g} s") from error

    async def keep_reading(self) -> None:
        """Answer from memory what can be, for ever. Only where NATS is this server's own: see above."""
        reconnected = asyncio.Event()

        async def read_anew() -> None:
            reconnected.set()

        self._fabric.on_reconnect(read_anew)
        while True:
            reconnected.clear()
            try:
                await self._read()
            except Unavailable as error:
                log.debug("the ledger will be read again: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(READ_AGAIN_SECONDS):
                    await reconnected.wait()

    async def drain(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 -- what is left is told, not raised
        """Wait until everything is written, for `timeout` seconds at most; what is left then is given up and told."""
        if self._writer is None:
            return
        self._draining = True
        self._ripe.set()
        await asyncio.wait([self._writer], timeout=timeout)
        if self._unwritten:
            log.warning("the ledger lacks %d events: sent again, they would be delivered again", len(self._unwritten))
        self._writer.cancel()
        with suppress(asyncio.CancelledError):
            await self._writer
        self._draining = False

    def _is_new(self, subject: str) -> bool:
        return self._memory is not None and self._memory.excludes(subject) and self._is_complete()

    def _is_complete(self) -> bool:
        """Whether the memory has all that was noted anywhere."""
        memory = self._memory
        return (
            memory is not None
            and not memory.full
            and memory.generation == self._fabric.generation
            and asyncio.get_running_loop().time() - memory.complete_at < TRUSTED_SECONDS
        )

    async def _read(self) -> None:
        """Take into memory what was written since the last reading; everything after a reconnect, and once a day."""
        begun_at = asyncio.get_running_loop().time()
        memory = self._memory
        if memory is None or memory.generation != self._fabric.generation or begun_at - memory.made_at > FORGET_SECONDS:
            # Not only what is new: a NATS that lost its newest entries gives their sequences to others.
            memory = self._memory = _Memory(self._fabric.generation, begun_at)
            for subject in self._unwritten:
                memory.add(subject)
        async for page in self._fabric.pages(_STREAM, subjects.SEEN_FILTER, first=memory.sequence + 1):
            for stored in page:
                memory.add(stored.subject)
            if memory.full:
                log.info("the ledger has more than %d entries: every webhook is looked up in it", MAX_REMEMBERED)
                return
            memory.sequence = page[-1].sequence
            await asyncio.sleep(PAGE_PAUSE_SECONDS)
        memory.complete_at = begun_at

    async def _write(self) -> None:
        while self._unwritten:
            self._ripe.clear()
            entries = list(islice(self._unwritten, MAX_BATCH))
            try:
                await self._store(entries)
            except Unavailable as error:
                log.debug("the ledger will try again: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            for subject in entries:
                del self._unwritten[subject]
            self._progress.set()
            self._progress = asyncio.Event()
            await self._gather()

    async def _store(self, entries: list[str]) -> None:
        if len(entries) >= WORTH_A_BATCH:
            await self._fabric.batch([BatchMessage(subject) for subject in entries])
            return
        for subject in entries:
            await self._fabric.publish(subject, b"")

    async def _gather(self) -> None:
        if self._draining or len(self._unwritten) >= MAX_BATCH:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(GATHER_SECONDS):
                await self._ripe.wait()
