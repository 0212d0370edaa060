"""
The bodies of webhooks that are in memory: how many bytes each source and each address may have of them.

Nobody has shown who they are before their body is whole, so all of this is about strangers. The rules:

  * Of every body the first SMALL_BYTES are small. They may take all of the bound, and nearly every webhook is no more.
  * What is above may take 7/8 of the bound together, and half of it for one source and for one address.
  * Where that is used up, the largest holder gives way: of a source that is full the address with the most, of an
    address the source with the most, and of the whole whichever of both has most. Its largest unfinished body is
    refused; the newcomer is, where it is one of the largest holder's.
  * A body that is no longer small has to go on: LEAST_BYTES in each LOOK_SECONDS.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

from clawback.errors import Unavailable
from clawback.system.addresses import block_of

SMALL_BYTES = 64 * 1024

RESERVE_SHARE = 8
"""A part of so many of the bound is for small bodies alone."""

HOLDER_SHARE = 2
"""One source, or one address, may have a part of so many of the bound."""

LOOK_SECONDS = 5.0
LEAST_BYTES = 40 * 1024
"""8 KiB a second: slower than any network of a sender, faster than somebody who holds memory for nothing."""


class BodiesFull(Unavailable):
    """There is no room for the body of a webhook now; says who has it."""


class Body:
    """One body as it comes. `stop` ends its reading with an error."""

    __slots__ = ("block", "looked_at_size", "peer", "size", "source_id", "stop", "timer", "whole")

    def __init__(self, source_id: str, peer: str, stop: Callable[[Exception], None]) -> None:
        self.source_id = source_id
        self.peer = peer
        self.stop = stop
        self.size = 0
        self.whole = False
        self.block = ""
        """Set once it is more than small, and counts against its source and address."""
        self.looked_at_size = 0
        self.timer: asyncio.TimerHandle | None = None


class TooSlow(Exception):
    """A body came more slowly than one may."""


class Bodies:
    """All bodies of one server. `max_bytes` is the bound."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._large: dict[Body, None] = {}
        self._by_source: Counter[str] = Counter()
        self._by_block: Counter[str] = Counter()

    def add(self, body: Body, size: int) -> None:
        """
        Count so many further bytes of a body, before they are kept.

        Raises:
            BodiesFull: there is no room for them, and it is this body that has to give way.
        """
        if body.size + size <= SMALL_BYTES:
            while self._bytes + size > self._max_bytes:
                self._make_room(body, self._large, f"more than {self._max_bytes} bytes of bodies are being received")
        else:
            self._add_large(body, size)
        self._count(body, size)

    def leave(self, body: Body) -> None:
        """Count a body out: its request is answered, or will not be."""
        if body.timer is not None:
            body.timer.cancel()
        self._count(body, -body.size)
        self._large.pop(body, None)

    def _add_large(self, body: Body, size: int) -> None:
        if not body.block:
            # Once for each, as reading an address takes longer than all else here.
            body.block = block_of(body.peer) or "unknown"
            self._large[body] = None
            self._by_source[body.source_id] += body.size
            self._by_block[body.block] += body.size
            body.looked_at_size = body.size
            body.timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look, body)
        share = self._max_bytes // HOLDER_SHARE
        while self._by_source[body.source_id] + size > share:
            of_source = [each for each in self._large if each.source_id == body.source_id]
            self._make_room(body, of_source, f"this source has {share} bytes of bodies, which is its share")
        while self._by_block[body.block] + size > share:
            of_block = [each for each in self._large if each.block == body.block]
            self._make_room(body, of_block, f"your address has {share} bytes of bodies, which is its share")
        most = self._max_bytes - self._max_bytes // RESERVE_SHARE
        while self._bytes + size > most:
            self._make_room(body, self._large, f"more than {most} bytes of large bodies are being received")

    def _make_room(self, body: Body, among: Iterable[Body], problem: str) -> None:
        """Refuse one body of the largest holder; raises where that is the one that asks."""
        holders: Counter[tuple[str, str]] = Counter()
        for each in among:
            holders["source", each.source_id] += each.size
            holders["address", each.block] += each.size
        unfinished = [each for each in among if not each.whole and each is not body]
        # A holder that all of them are of is no reason to prefer one to another.
        total = sum(each.size for each in among)
        for (kind, name), held in holders.most_common():
            if held == total and len(holders) > 2:  # noqa: PLR2004 -- one source and one address
                continue
            if name == (body.source_id if kind == "source" else body.block or block_of(body.peer)):
                break
            theirs = [each for each in unfinished if name == (each.source_id if kind == "source" else each.block)]
            if theirs:
                largest = max(theirs, key=lambda each: each.size)
                # Counted out now: its request takes its turn to end.
                self.leave(largest)
                largest.size, largest.whole = 0, True
                largest.stop(BodiesFull(f"{problem}, and this {kind} has most of them: send this one again"))
                return
        raise BodiesFull(f"{problem}: send this one again")

    def _count(self, body: Body, size: int) -> None:
        self._bytes += size
        body.size += size
        if body.block:
            _add(self._by_source, body.source_id, size)
            _add(self._by_block, body.block, size)

    def _look(self, body: Body) -> None:
        if body.whole:
            return
        if body.size - body.looked_at_size < LEAST_BYTES:
            body.stop(TooSlow(f"at {LEAST_BYTES / LOOK_SECONDS:g} bytes a second or more"))
            return
        body.looked_at_size = body.size
        body.timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look, body)


def _add(counts: Counter[str], name: str, size: int) -> None:
    """Count, and forget who has nothing."""
    counts[name] += size
    if not counts[name]:
        del counts[name]
