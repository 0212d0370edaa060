"""
What of the store each source and each profile may take with events that wait.

A line is bounded in events, which may be of 25 MiB each: one source could fill the disk, and then everybody is refused.
NATS tells how many messages a subject has and not how many bytes, so that is reckoned here: what this server stored of
a maker, the newest as many as wait; older ones, and other servers', by the average of their stream. It is a bound and
no account: near it NATS is asked again, once a second at most.
"""

import asyncio
import logging
from array import array
from collections import Counter
from typing import NamedTuple

from clawback.errors import QueueFull, Unavailable
from clawback.fabric import subjects
from clawback.fabric.streams import Fabric
from clawback.store.room import MIB, Room

LOOK_SECONDS = 1.0
LOOK_TIMEOUT_SECONDS = 1.0

MESSAGE_BYTES = 600
"""What a message takes beside its body: its subject, its headers and NATS's own."""

MAX_RECENT = 20_000
"""Sizes of one maker that are remembered before NATS is asked how many of them still wait."""

MAX_PROFILES = 10_000
"""Profiles whose figures are remembered; beyond that the one that was looked at longest ago is forgotten."""

log = logging.getLogger("clawback.fabric")


class ShareFull(QueueFull):
    """A source or a profile has as many bytes waiting as it may; its text is for the sender too."""


class Bounds(NamedTuple):
    """How many bytes may wait; and of what is free in the store, how many times as much."""

    source: int = 4 * 1024 * MIB
    unsigned: int = 256 * MIB
    profile: int = 8 * 1024 * MIB
    source_of_free: float = 2.0
    unsigned_of_free: float = 0.25
    profile_of_free: float = 3.0


class _Profile:
    """What a profile has waiting, as it was reckoned last and since."""

    def __init__(self) -> None:
        self.looked_at = float("-inf")
        self.bytes: Counter[str] = Counter()
        """By maker."""
        self.total = 0
        self.recent: dict[str, array[int]] = {}

    def note(self, maker: str, size: int) -> None:
        self.bytes[maker] += size
        self.total += size
        self.recent.setdefault(maker, array("L")).append(size)

    def reckon(self, waiting: Counter[str], average: float) -> None:
        """Take over how many messages of each maker wait, of a stream whose messages have an average size."""
        self.bytes.clear()
        for maker, number in waiting.items():
            recent = self.recent.get(maker, array("L"))[-number:]
            self.recent[maker] = recent
            self.bytes[maker] = sum(recent) + int((number - len(recent)) * average)
        self.recent = {maker: self.recent[maker] for maker in waiting}
        self.total = self.bytes.total()


class Shares:
    """What all sources and profiles have waiting. `check` before an event is stored, `note` once it is."""

    def __init__(self, fabric: Fabric, shards: int, room: Room | None, bounds: Bounds) -> None:
        self._fabric = fabric
        self._shards = shards
        self._room = room
        self._bounds = bounds
        self._profiles: dict[str, _Profile] = {}

    async def check(self, profile_id: str, maker: str, size: int, *, unsigned: bool) -> None:
        """
        Check that so many bytes may be stored of one maker of a profile.

        Raises:
            ShareFull: it has as many waiting as it may, or its profile has.
        """
        profile = self._profiles.get(profile_id)
        if profile is None:
            profile = self._remember(profile_id)
            await self._look(profile_id, profile)
        problem = self._problem(profile, maker, size, unsigned=unsigned)
        if problem is not None or len(profile.recent.get(maker, ())) > MAX_RECENT:
            await self._look(profile_id, profile)
            problem = self._problem(profile, maker, size, unsigned=unsigned)
        if problem is not None:
            raise ShareFull(problem)

    def note(self, profile_id: str, maker: str, size: int) -> None:
        """Count what was stored."""
        if (profile := self._profiles.get(profile_id)) is not None:
            profile.note(maker, size + MESSAGE_BYTES)

    def _problem(self, profile: _Profile, maker: str, size: int, *, unsigned: bool) -> str | None:
        bounds, size = self._bounds, size + MESSAGE_BYTES
        allowed, share, setting = bounds.source, bounds.source_of_free, "max_source_bytes"
        if unsigned:
            allowed, share, setting = bounds.unsigned, bounds.unsigned_of_free, "max_unsigned_source_bytes"
        for held, most, times, whose, name in (
            (profile.bytes[maker], allowed, share, "this source", setting),
            (profile.total, bounds.profile, bounds.profile_of_free, "this profile", "max_profile_bytes"),
        ):
            left = None if self._room is None else self._room.left
            bound = most if left is None else min(most, int(left * times))
            if held + size > bound and held > 0:
                return (
                    f"{held // MIB} MiB of events of {whose} wait, and {bound // MIB} MiB may: {name}, or its part of"
                    " what is free; send this one again once its sessions have worked some off"
                )
        return None

    def _remember(self, profile_id: str) -> _Profile:
        while len(self._profiles) >= MAX_PROFILES:
            del self._profiles[next(iter(self._profiles))]
        profile = self._profiles[profile_id] = _Profile()
        return profile

    async def _look(self, profile_id: str, profile: _Profile) -> None:
        """Ask NATS how much waits, unless it was asked a moment ago; what it does not answer is as it was."""
        now = asyncio.get_running_loop().time()
        if now - profile.looked_at < LOOK_SECONDS:
            return
        profile.looked_at = now
        shard = subjects.shard_of(profile_id, self._shards)
        wanted = {"subjects_filter": subjects.profile_filter(shard, profile_id)}
        operation = f"STREAM.INFO.{subjects.event_stream(shard)}"
        try:
            answer = await self._fabric.api(operation, wanted, timeout=LOOK_TIMEOUT_SECONDS)
        except Unavailable as error:
            log.debug("what waits of %s is as it was: %s", profile_id, error)
            return
        state = answer.get("state", {})
        waiting: Counter[str] = Counter()
        for subject, number in (state.get("subjects") or {}).items():
            waiting[subject.rpartition(".")[2]] += number
        profile.reckon(waiting, state.get("bytes", 0) / max(1, state.get("messages", 0)))
