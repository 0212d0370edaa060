"""How much waits, and for how long: a look at all streams of events at once, for whoever watches a server."""

import asyncio
import heapq
from contextlib import suppress
from datetime import datetime

from msgspec import Struct

from clawback.fabric import subjects
from clawback.fabric.streams import Fabric
from clawback.model import Address
from clawback.store.events import DEAD_STREAM

MAX_ADDRESSES = 100
"""Addresses that are told apart. Of each the oldest event is read, with its body: 100 of 22 kB take NATS 20 ms."""

AT_ONCE = 8
"""Of them, so that a look takes no more memory than some bodies."""


class Depth(Struct, frozen=True):
    """What is at an address: how many events, and since when the oldest is stored; None where it has just ended."""

    address: Address
    events: int
    oldest: datetime | None


class Depths(Struct, frozen=True):
    """The addresses with the most events, how many are at all others, and the dead letters of each profile."""

    listed: list[Depth]
    unlisted_events: int
    dead: dict[str, int]


async def read_depths(fabric: Fabric, shards: int) -> Depths:
    """
    Count what waits, what is held and what is dead.

    Raises:
        Unavailable: NATS did not answer.
    """
    stored: dict[Address, int] = {}
    for shard in range(shards):
        counts = await fabric.counts(subjects.event_stream(shard), subjects.shard_filter(shard))
        for subject, count in counts.items():
            with suppress(ValueError):  # a stranger's: no address of ours
                address = subjects.parse_event_subject(subject).address
                stored[address] = stored.get(address, 0) + count
    deepest = heapq.nlargest(MAX_ADDRESSES, stored, key=lambda address: stored[address])
    turn = asyncio.Semaphore(AT_ONCE)

    async def look(address: Address) -> Depth:
        shard = subjects.shard_of(address.profile_id, shards)
        async with turn:
            first = await fabric.first(subjects.event_stream(shard), subjects.lane_filter(shard, address))
        return Depth(address, stored[address], None if first is None else first.time)

    listed = await asyncio.gather(*map(look, deepest))
    dead: dict[str, int] = {}
    for subject, count in (await fabric.counts(DEAD_STREAM, subjects.DEAD_LETTERS)).items():
        with suppress(ValueError):
            profile_id = subjects.parse_dead_subject(subject).address.profile_id
            dead[profile_id] = dead.get(profile_id, 0) + count
    return Depths(listed, sum(stored.values()) - sum(depth.events for depth in listed), dead)
