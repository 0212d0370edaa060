"""
The ledger's older entries, 1,000 to a message: packs.

An entry of the ledger is a message of its own first: the end of its event waits for it, and it can be looked up by its
subject. But that costs NATS some 430 bytes of memory, and reading it takes as long as any message. So a server moves
entries into packs, each of which is a message too: it stores a pack of their digests, and deletes the entries a minute
later.

Every server keeps what is in packs in memory: eight bytes of each digest, in groups of some packs, which are read to
confirm a match. A webhook may be called new by that only if the packs were read to their end at most TRUSTED_SECONDS
ago, by a reading that began then: an entry that is no more in its own message has been in a pack for KEPT_SECONDS,
which is far longer. Both are counted by the clock of the process that does it. See docs/adr/0030.
"""

import asyncio
import hashlib
import logging
import math
import sys
import time
from array import array
from collections import deque
from typing import Any, NamedTuple

from clawback.errors import Conflict, Unavailable
from clawback.fabric import subjects
from clawback.fabric.streams import PAGE_MESSAGES, Fabric

STREAM = "PACKS"
ENTRIES = "SEEN"
"""Where entries are messages of their own."""

PACK = 1000
"""Entries in a pack: 16 kB."""

DIGEST_BYTES = 16

MAX_PACKED = 8_000_000
"""Entries in packs, some 80 bytes of memory each: 640 MB. Beyond, entries stay messages and are looked up."""

GROUP = 32
"""Packs that are one set in memory. A look goes through all sets; a match is confirmed by reading as many packs."""

READ_BYTES = 256 * 1024
"""What is read of the packs at a time."""

TRUSTED_SECONDS = 5.0
"""How long a reading of the packs counts."""

KEPT_SECONDS = 60.0
"""How long an entry stays a message after it was packed: many times as long as a reading counts."""

LOOK_SECONDS = 30.0
"""How often is looked whether there is something to pack."""

AT_LEAST_EVERY_SECONDS = 3600.0
"""How often a pack is made however few entries there are. They are remembered longer by the time that they waited."""

OTHERS_SECONDS = 3 * KEPT_SECONDS
"""How long a server leaves the packing to another one that did it."""

SWEEP_SECONDS = 3600.0
"""How often what expired is taken out of memory."""

PAUSE_SHARE = 9
"""Between packs, in times of what one took: a tenth of the time is for packing."""

log = logging.getLogger("clawback.fabric")


class _Group:
    """Successive packs in memory: the first half of each digest in them."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.last = first
        self.packs = 0
        self.entries = 0
        self.halves: set[int] = set()

    def take(self, sequence: int, halves: "array[int]") -> None:
        self.last = sequence
        self.packs += 1
        self.entries += len(halves)
        self.halves.update(halves)


def digest_of(subject: str) -> bytes:
    """Shorten an entry's subject to what is kept of it."""
    return hashlib.blake2b(subject.encode(), digest_size=DIGEST_BYTES).digest()


def _halves(digests: bytes) -> "array[int]":
    numbers = array("Q", digests)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers[::2]


def _is_in(pack: bytes, digest: bytes) -> bool:
    place = pack.find(digest)
    while place % DIGEST_BYTES and place != -1:
        place = pack.find(digest, place + 1)
    return place != -1


class Packs:
    """What is in packs, as far as it was read."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._lock = asyncio.Lock()
        self._groups: list[_Group] = []
        self._generation = -1
        self._sequence = 0
        self._newest = b""
        """The digest of the pack at that sequence: a NATS from a backup has another one there, or none."""
        self._complete_at = -math.inf
        self.count = 0
        self.others_at = -math.inf
        """When a pack of another server was read last, by the loop's clock."""

    @property
    def are_known(self) -> bool:
        """Whether all packs were read to their end, by a reading that began a few seconds ago at most."""
        return self._generation == self._fabric.generation and 0 <= time.time() - self._complete_at < TRUSTED_SECONDS

    def may_have(self, subject: str) -> bool:
        """Tell whether an entry is in a pack as far as they were read; two entries may look alike."""
        return bool(self._groups_with(digest_of(subject)))

    async def have(self, subject: str) -> bool:
        """
        Tell whether an entry is in a pack that did not expire, as far as they were read.

        Raises:
            Unavailable: NATS does not answer.
        """
        digest = digest_of(subject)
        for group in reversed(self._groups_with(digest)):
            pages = self._fabric.pages(STREAM, subjects.PACKS_FILTER, first=group.first, max_bytes=READ_BYTES)
            async for page in pages:
                if any(_is_in(stored.data, digest) for stored in page if stored.sequence <= group.last):
                    return True
                if page[-1].sequence >= group.last:
                    break
        return False

    async def read(self) -> None:
        """
        Read what is new; all of it at the start, and where NATS has another pack than was read last.

        Raises:
            Unavailable: NATS does not answer.
        """
        async with self._lock:
            generation, begun_at = self._fabric.generation, time.time()
            if generation != self._generation:
                if not await self._still_there():
                    self._groups.clear()
                    self.count, self._sequence, self._newest = 0, 0, b""
                self._complete_at = -math.inf
                self._generation = generation
            pages = self._fabric.pages(STREAM, subjects.PACKS_FILTER, first=self._sequence + 1, max_bytes=READ_BYTES)
            async for page in pages:
                self.others_at = asyncio.get_running_loop().time()
                for stored in page:
                    self._take(stored.sequence, stored.data)
                    await asyncio.sleep(0)
            self._complete_at = begun_at

    async def add(self, digests: list[bytes]) -> bool:
        """
        Store a pack, unless another server stored one since the last reading.

        Raises:
            Unavailable: NATS did not take it; it may be stored, or may not.
        """
        async with self._lock:
            newest = await self._fabric.get(STREAM, subject=subjects.PACK)
            if newest is not None and newest.sequence > self._sequence:
                return False
            body = b"".join(digests)
            expected = 0 if newest is None else newest.sequence
            try:
                ack = await self._fabric.publish(subjects.PACK, body, expected_subject_sequence=expected)
            except Conflict:
                return False
            self._take(ack.sequence, body)
            return True

    async def forget_expired(self) -> None:
        """
        Take out of memory what NATS has no more.

        Raises:
            Unavailable: NATS does not answer.
        """
        page = await self._fabric.page(STREAM, subjects.PACKS_FILTER, first=1, most=1)
        first = page[0].sequence if page else self._sequence + 1
        while self._groups and self._groups[0].last < first:
            self.count -= self._groups.pop(0).entries

    def _groups_with(self, digest: bytes) -> list[_Group]:
        (half,) = _halves(digest)
        return [group for group in self._groups if half in group.halves]

    def _take(self, sequence: int, digests: bytes) -> None:
        halves = _halves(digests)
        if not self._groups or self._groups[-1].packs == GROUP:
            self._groups.append(_Group(sequence))
        self._groups[-1].take(sequence, halves)
        self.count += len(halves)
        self._sequence = sequence
        self._newest = hashlib.blake2b(digests).digest()

    async def _still_there(self) -> bool:
        if self._sequence == 0:
            return False
        stored = await self._fabric.get(STREAM, sequence=self._sequence)
        return stored is not None and hashlib.blake2b(stored.data).digest() == self._newest


class _Packed(NamedTuple):
    """Entries up to a sequence that are in packs, and since when."""

    at: float
    sequence: int


class Packer:
    """Moves entries into packs. One server does it at a time, mostly; two would store some twice."""

    def __init__(self, fabric: Fabric, packs: Packs) -> None:
        self._fabric = fabric
        self._packs = packs
        self._generation = -1
        self._up_to = 0
        """The sequence up to which entries are in packs that this server stored over this connection."""
        self._packed: deque[_Packed] = deque()
        now = asyncio.get_running_loop().time()
        self._packed_at = now
        self._swept_at = now

    async def keep_packing(self) -> None:
        """Pack and delete what is due, for ever."""
        while True:
            try:
                await self.step()
            except Unavailable as error:
                log.debug("the ledger's entries will be packed later: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def step(self) -> None:
        """
        Delete the entries that were packed long enough ago, then pack what there is.

        Raises:
            Unavailable: NATS does not answer, or does not let us delete.
        """
        now = asyncio.get_running_loop().time()
        if self._generation != self._fabric.generation:
            # What was packed and not deleted is packed again: NATS may have another stream now.
            self._packed.clear()
            self._up_to, self._generation = 0, self._fabric.generation
        while self._packed and now - self._packed[0].at >= KEPT_SECONDS:
            await self._purge({"seq": self._packed[0].sequence + 1})
            self._packed.popleft()
        if now - self._swept_at >= SWEEP_SECONDS:
            await self._packs.forget_expired()
            self._swept_at = now
        await self._packs.read()
        if now - self._packs.others_at >= OTHERS_SECONDS:
            is_time = now - self._packed_at >= AT_LEAST_EVERY_SECONDS
            await self._pack(at_least=1 if is_time else PACK)

    async def _pack(self, at_least: int) -> None:
        loop = asyncio.get_running_loop()
        while self._packs.count < MAX_PACKED and self._generation == self._fabric.generation:
            begun_at = loop.time()
            entries, last = await self._next()
            if len(entries) < at_least:
                return
            if not self._packed:
                # Without the right to delete, each start would pack the same again. This deletes nothing.
                await self._purge({"filter": subjects.NO_ENTRY})
            if not await self._packs.add([digest_of(subject) for subject in entries]):
                return
            self._up_to, self._packed_at = last, begun_at
            self._packed.append(_Packed(loop.time(), last))
            await asyncio.sleep((loop.time() - begun_at) * PAUSE_SHARE)

    async def _next(self) -> tuple[list[str], int]:
        """Read the oldest entries that are not packed, at most a pack of them, and the sequence of the last one."""
        entries: list[str] = []
        last = self._up_to
        while (most := min(PACK - len(entries), PAGE_MESSAGES)) > 0:
            page = await self._fabric.page(ENTRIES, subjects.SEEN_FILTER, first=last + 1, most=most)
            if not page:
                break
            entries += [stored.subject for stored in page]
            last = page[-1].sequence
        return entries, last

    async def _purge(self, which: dict[str, Any]) -> None:
        answer = await self._fabric.api(f"STREAM.PURGE.{ENTRIES}", which)
        if error := answer.get("error"):
            raise Unavailable(f"NATS did not delete what was packed of {ENTRIES}: {error.get('description')}")
