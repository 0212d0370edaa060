"""
The ledger of accepted events: what makes a webhook that is sent again one event, for 7 days.

The streams' own window of message ids does not do: it is two hours long, and an event that was acked is forgotten by it
when NATS restarts. An entry is written after the event was stored and its sender was answered, and before the event's
end takes it out of its stream (`written`): until then a restarted NATS finds its id there.

A look-up costs a webhook an exchange with NATS, and nearly all of them find nothing. They are spared where a memory of
the ledger and the window tell as much. The memory is hashes of its entries: those noted here, and those of other
servers, read every second as long as webhooks come. What is among them is looked up as ever (two texts may share a
hash, and entries expire). What is not, was not accepted before the last reading began, and what was accepted since, the
window refuses. It must not have forgotten it meanwhile, which it does when NATS restarts:

  * NATS is one server, and we are connected to it and not to a leaf or a neighbour of it. Then its restart ends our
    connection. `_read` asks, and reads nothing otherwise: in a cluster the one server that has the stream can restart
    without any sign of it on a connection to another.
  * With the connection the memory counts no more, at once. What came over the new one is looked up until it was read
    to its end again: from where the memory ends, if the entry there is still the one that it has. What was decided
    before was published over the old connection, which does not reach a restarted NATS.
  * Whoever ends an event makes sure of its entry first, whichever server accepted it. So what is no more in its stream
    when NATS restarts is in the ledger that is read then.

A reading counts for TRUSTED_SECONDS by the time of day: a process that was stopped, or suspended with its machine,
knows nothing new. See ADR 0007.
"""

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice

from clawback.errors import Unavailable
from clawback.fabric import subjects
from clawback.fabric.jetstream import BatchMessage
from clawback.fabric.streams import PAGE_MESSAGES, Fabric
from clawback.store.packs import ENTRIES as _STREAM
from clawback.store.packs import Packer, Packs

GATHER_SECONDS = 0.5
"""
How long entries gather, to be written together: the disk is what events wait for (docs/performance.md), the next ones
to be stored, and the same ones on their way to a session. What somebody waits for is written at once.
"""

WORTH_A_BATCH = 8
MAX_BATCH = 1000
"""An entry takes one sync to disk; an atomic batch takes about seven, whatever its size. So few go one by one."""

PAUSE_SECONDS = 0.001
"""
Between a few messages of a batch that nobody waits for: sent in one go, it has webhooks wait that have nothing to do
with it, twice a second.
"""

WRITTEN_SECONDS = 5.0
"""How long `written` waits for NATS before it says so."""

RETRY_SECONDS = 0.25

READ_AGAIN_SECONDS = 1.0
TRUSTED_SECONDS = 5.0
"""How long a reading counts; see above. Far below the window of the event streams, which is 2 hours."""

FORGET_SECONDS = 3 * 3600
"""After this the memory is made anew: entries expire in the stream, or are packed, and stay in it."""

MAX_REMEMBERED = 2_000_000
"""Entries in memory, some 80 bytes each: 160 MB. A ledger that has more is looked up in for every webhook."""

PAUSE_SHARE = 9
"""Between pages, in times of what one took: a tenth of the time is for reading, and webhooks come in between."""

log = logging.getLogger("clawback.fabric")


class _Memory:
    """
    Hashes of the ledger's entries, as read over one connection or noted since.

    `sequence` is that up to which all of them are in it. What this server writes is covered without being read.
    """

    def __init__(self, generation: int, made_at: float) -> None:
        self.generation = generation
        self.made_at = made_at
        self.sequence = 0
        # The entry at that sequence: a NATS that lost its newest ones gives their sequences to others.
        self.subject = ""
        # The time of day when the last reading that reached the end began; what others wrote after it may be missing.
        self.complete_at = -math.inf
        # Whether nothing is to be had from it: it would be too large, or NATS can restart unnoticed.
        self.given_up = False
        self._hashes: set[int] = set()
        self._ahead: dict[int, tuple[int, str]] = {}
        """First and last sequence of what this server wrote beyond a gap, which others filled, and the last entry."""

    def add(self, subject: str) -> None:
        if self.given_up:
            return
        self._hashes.add(hash(subject))
        if len(self._hashes) > MAX_REMEMBERED:
            log.info("the ledger has more than %d entries: every webhook is looked up in it", MAX_REMEMBERED)
            self.give_up()

    def give_up(self) -> None:
        self.given_up = True
        self._hashes.clear()
        self._ahead.clear()

    def includes(self, subject: str) -> bool:
        return hash(subject) in self._hashes

    def cover(self, first: int, last: int, subject: str = "") -> None:
        """Note that all entries from one sequence to another are in it, the last of them `subject`."""
        if self.given_up:
            return
        self._ahead[first] = (last, subject)
        while (known := self._ahead.pop(self.sequence + 1, None)) is not None:
            self.sequence, self.subject = known

    def read_up_to(self, sequence: int, subject: str = "") -> None:
        """Note that all entries up to a sequence are in it, the last of them `subject`."""
        ahead, self._ahead = self._ahead, {}
        self.sequence, self.subject = sequence, subject
        for first, (last, newest) in sorted(ahead.items()):
            if last > self.sequence:
                self.cover(max(first, self.sequence + 1), last, newest)

    def go_on(self, generation: int) -> None:
        """Count again for a new connection, once it was read to its end over that."""
        self.generation = generation
        self.complete_at = -math.inf
        # What was written as the old one ended may have another place now.
        self._ahead.clear()

    @property
    def gap(self) -> int:
        """How many sequences are missing before those that it has; at most a page, which is what it is after them."""
        return min([PAGE_MESSAGES, *(first - self.sequence - 1 for first in self._ahead)])


class Ledger:
    """The ledger. `note` writes in the background; `drain` at the end."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._memory: _Memory | None = None
        self._packs = Packs(fabric)
        self._unwritten: dict[str, None] = {}
        self._writer: asyncio.Task[None] | None = None
        self._draining = False
        # Set when what is not written shall be at once: it fills a batch, is waited for, or the server is about to end.
        self._ripe = asyncio.Event()
        # Set, and made anew, whenever entries were written.
        self._progress = asyncio.Event()
        # Set when the memory was of use, or would have been, since the last reading began.
        self._wanted = asyncio.Event()

    async def seen(self, profile_id: str, event_id: str, *, timeout: float = 5.0) -> bool:  # noqa: ASYNC109 -- ends here as Unavailable
        """
        Tell whether an event was accepted before.

        Raises:
            Unavailable: NATS does not answer within `timeout` seconds.
        """
        subject = subjects.seen_subject(profile_id, event_id)
        self._wanted.set()
        try:
            async with asyncio.timeout(timeout):
                return await self._knows(subject)
        except TimeoutError as error:
            raise Unavailable(f"the ledger could not be asked within {timeout:g} s; try again") from error

    def note(self, profile_id: str, event_id: str) -> None:
        """Remember that an event was accepted. Written in the background, as often as it takes."""
        subject = subjects.seen_subject(profile_id, event_id)
        self._unwritten[subject] = None
        if self._memory is not None:
            self._memory.add(subject)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="ledger writer")
        if len(self._unwritten) >= MAX_BATCH:
            self._ripe.set()

    async def written(self, profile_id: str, event_id: str) -> None:
        """
        Return when the ledger has an event that is about to leave its stream: now, for nearly all.

        One that is missing is written: the server that accepted it may still have to, or was killed first.

        Raises:
            Unavailable: NATS did not take it within WRITTEN_SECONDS; it is tried on.
        """
        subject = subjects.seen_subject(profile_id, event_id)
        self._wanted.set()
        known = self._remembers(subject) or (self._packs.are_known and self._packs.may_have(subject))
        if subject not in self._unwritten and not known:
            stored = None if self._is_complete() else await self._fabric.get(_STREAM, subject=subject)
            if stored is None:
                self.note(profile_id, event_id)
        try:
            async with asyncio.timeout(WRITTEN_SECONDS):
                while subject in self._unwritten:
                    self._ripe.set()
                    await self._progress.wait()
        except TimeoutError as error:
            raise Unavailable(f"the ledger could not be written within {WRITTEN_SECONDS:g} s") from error

    async def keep_reading(self, event_streams: Sequence[str]) -> None:
        """Answer from memory what can be, for ever. The windows of `event_streams` make up for what is not read yet."""
        reconnected = asyncio.Event()

        async def read_anew() -> None:
            reconnected.set()
            self._wanted.set()

        self._fabric.on_reconnect(read_anew)
        while True:
            reconnected.clear()
            self._wanted.clear()
            try:
                # First what is read fast, and what no webhook can be taken without.
                await self._packs.read()
                await self._read(event_streams)
                if not self._packs.are_known:
                    await self._packs.read()
            except Unavailable as error:
                log.debug("the ledger will be read again: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(READ_AGAIN_SECONDS):
                    await reconnected.wait()
            # The first webhook after a quiet time is looked up, and has the next ones spared it.
            await self._wanted.wait()

    async def keep_packing(self) -> None:
        """Move entries into packs, for ever."""
        await Packer(self._fabric, self._packs).keep_packing()

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

    async def _knows(self, subject: str) -> bool:
        while True:
            if subject in self._unwritten:
                return True
            if self._is_complete() and not self._remembers(subject) and not self._packs.may_have(subject):
                return False
            generation = self._fabric.generation
            if not self._packs.are_known:
                await self._packs.read()
            if await self._fabric.get(_STREAM, subject=subject) is not None or await self._packs.have(subject):
                return True
            # An entry is deleted long after it was packed: what is not there now is in the packs, as they are known
            # now. And what NATS said before a restart tells nothing of what its window forgot by that.
            if self._packs.are_known and generation == self._fabric.generation:
                return False

    def _remembers(self, subject: str) -> bool:
        """Whether the ledger has an entry, or is about to; others may be missing in a memory that is not complete."""
        memory = self._memory
        return memory is not None and memory.generation == self._fabric.generation and memory.includes(subject)

    def _is_complete(self) -> bool:
        """Whether the memory has all that was written anywhere, up to some seconds ago."""
        memory = self._memory
        return (
            memory is not None
            and not memory.given_up
            and memory.generation == self._fabric.generation
            and self._packs.are_known
            and 0 <= time.time() - memory.complete_at < TRUSTED_SECONDS
        )

    async def _read(self, event_streams: Sequence[str]) -> None:
        """Take into memory what was written since the last reading; everything at the start, and once a day."""
        memory, generation = self._memory, self._fabric.generation
        expired = memory is None or time.time() - memory.made_at > FORGET_SECONDS
        if memory is None or memory.generation != generation or expired:
            alone = all([await self._fabric.is_alone_with(stream) for stream in (_STREAM, *event_streams)])
            if memory is None or expired or memory.given_up or not alone or not await self._still_has(memory):
                memory = self._memory = _Memory(generation, time.time())
            else:
                memory.go_on(generation)
            if not alone:
                memory.give_up()
            for subject in self._unwritten:
                memory.add(subject)
        begun_at = time.time()
        loop = asyncio.get_running_loop()
        while not memory.given_up:
            asked_at = loop.time()
            page = await self._fabric.page(_STREAM, subjects.SEEN_FILTER, first=memory.sequence + 1, most=memory.gap)
            if not page:
                memory.complete_at = begun_at
                return
            for stored in page:
                memory.add(stored.subject)
            memory.read_up_to(page[-1].sequence, page[-1].subject)
            await asyncio.sleep((loop.time() - asked_at) * PAUSE_SHARE)

    async def _still_has(self, memory: _Memory) -> bool:
        """Whether NATS has at the end of the memory what the memory does: then all before it is what it was."""
        if memory.sequence == 0:
            return False
        stored = await self._fabric.get(_STREAM, sequence=memory.sequence)
        return stored is not None and stored.subject == memory.subject

    async def _write(self) -> None:
        while self._unwritten:
            await self._gather()
            entries = list(islice(self._unwritten, MAX_BATCH))
            try:
                await self._store(entries)
            except Unavailable as error:
                log.debug("the ledger will try again: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            for subject in entries:
                del self._unwritten[subject]
            # Whoever waits still says so again.
            self._ripe.clear()
            self._progress.set()
            self._progress = asyncio.Event()

    async def _store(self, entries: list[str]) -> None:
        # One that is made meanwhile reads them.
        memory = self._memory
        if len(entries) >= WORTH_A_BATCH:
            messages = [BatchMessage(subject) for subject in entries]
            last = (await self._fabric.batch(messages, breathe=self._breathe)).sequence
            if memory is not None:
                memory.cover(last - len(entries) + 1, last, entries[-1])
            return
        for subject in entries:
            sequence = (await self._fabric.publish(subject, b"")).sequence
            if memory is not None:
                memory.cover(sequence, sequence, subject)

    async def _gather(self) -> None:
        if not self._draining and len(self._unwritten) < MAX_BATCH:
            await self._pause(GATHER_SECONDS)

    async def _breathe(self) -> None:
        await asyncio.sleep(0)
        await self._pause(PAUSE_SECONDS)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ripe.wait()
