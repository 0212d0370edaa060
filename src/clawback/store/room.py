"""
Whether there is room for another event: on the disk of the server's own NATS, or within what another NATS allows.

A nats-server that meets a full disk answers nothing, and version 2.15.1 was not seen to recover before it was started
again. One that has reached a limit refuses whatever is new, and so the stacks and the history of sessions as well: they
could not work off what fills it. So new events are refused while there is still room for what ends the old ones
(docs/adr/0020).
"""

import logging
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from clawback.errors import StoreFull, Unavailable
from clawback.fabric import subjects
from clawback.fabric.streams import Fabric

MIB = 1024 * 1024

RESERVE_BYTES = 256 * MIB
"""Left free: sessions need room to work off what waits, and others share the disk."""

RESERVE_SHARE = 10
"""Where a NATS allows so little that the reserve would be much of it, a tenth of it is left free instead."""

LOOK_SECONDS = 1.0
"""How long a look is good for, unless a tenth of the reserve is taken sooner."""

LOOK_TIMEOUT_SECONDS = 1.0

log = logging.getLogger("clawback.fabric")


class Room(ABC):
    """
    What both kinds of room have in common: when they are looked at anew.

    `left` is what new events may still take, in bytes, at the last look; None where nobody knows.
    """

    left: int | None = None

    def __init__(self) -> None:
        self._reserve = RESERVE_BYTES
        self._looked_at = float("-inf")
        self._taken = 0
        self._looking = False
        self._problem: str | None = None

    async def problem(self, size: int = 0) -> str | None:
        """
        Say why no new event can be taken, and what to do, as a sentence; None where there is room.

        `size` is what is to be stored then, in bytes.
        """
        self._taken += size
        # Whoever comes during a look goes by the one before.
        if self._is_due() and not self._looking:
            self._looking = True
            try:
                self._problem = await self._look()
            finally:
                self._looking, self._looked_at, self._taken = False, time.monotonic(), 0
        return self._problem

    def _is_due(self) -> bool:
        return time.monotonic() - self._looked_at >= LOOK_SECONDS or self._taken > self._reserve // 10

    @abstractmethod
    async def _look(self) -> str | None:
        """Look, and say what `problem` says."""


class DiskRoom(Room):
    """The room on the disk of a directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory

    async def _look(self) -> str | None:
        free = shutil.disk_usage(self._directory).free
        self.left = max(0, free - RESERVE_BYTES)
        if free >= RESERVE_BYTES:
            return None
        return (
            f"the disk of {self._directory} has {free // MIB} MiB free, and new events are taken from"
            f" {RESERVE_BYTES // MIB} MiB on: free space, or let sessions work off what waits"
        )


class Bound(NamedTuple):
    """How much may be stored, how much is, and whose word that is, for people."""

    allowed: int
    used: int
    name: str
    advice: str

    @property
    def reserve(self) -> int:
        """What new events leave free of it."""
        return min(RESERVE_BYTES, self.allowed // RESERVE_SHARE)

    @property
    def left(self) -> int:
        """What they may still take; less than nothing where they took more."""
        return self.allowed - self.reserve - self.used


class NatsRoom(Room):
    """
    The room in a NATS whose disk is not ours to see: what it allows our account, and what `nats_max_bytes` does.

    Where neither is set only NATS knows its limit, and tells when it is reached.
    """

    def __init__(self, fabric: Fabric, *, max_bytes: int | None, replicas: int) -> None:
        super().__init__()
        self._fabric = fabric
        self._max_bytes = max_bytes
        self._replicas = replicas

    async def open(self) -> None:
        """
        Warn where no bound is known; call once.

        Raises:
            Unavailable: NATS does not answer.
        """
        if not self._bounds(await self._fabric.api("INFO", {})):
            log.warning(
                "NATS sets this account no limit, and nats_max_bytes is unset: where its max_file_store is used up,"
                " sessions cannot work off what waits either. Set nats_max_bytes below it"
            )

    def _is_due(self) -> bool:
        return super()._is_due() or (self._problem is None and self._fabric.refusal is not None)

    async def _look(self) -> str | None:
        try:
            info = await self._fabric.api("INFO", {}, timeout=LOOK_TIMEOUT_SECONDS)
        except Unavailable:
            # That NATS does not answer is for others to say; what it said last still holds.
            return self._problem
        bounds = self._bounds(info)
        self._reserve = min((bound.reserve for bound in bounds), default=RESERVE_BYTES)
        self.left = max(0, min(bound.left for bound in bounds)) if bounds else None
        for bound in bounds:
            if bound.left < 0:
                return (
                    f"NATS stores {bound.used // MIB} MiB of the {bound.allowed // MIB} MiB that {bound.name} allows,"
                    f" and new events leave {bound.reserve // MIB} MiB of them free: let sessions work off what waits,"
                    f" or {bound.advice}"
                )
        return await self._probe()

    async def _probe(self) -> str | None:
        """Find out whether NATS has room again, by storing next to nothing, where it had none."""
        if self._fabric.refusal is None:
            return None
        try:
            await self._fabric.publish(subjects.ROOM_PROBE, b"", ttl_s=LOOK_SECONDS, timeout=LOOK_TIMEOUT_SECONDS)
        except StoreFull as error:
            return (
                f"{error}, and its limit is not known here: raise its max_file_store or free some of it, then set"
                " nats_max_bytes below it, so that sessions can always work off what waits"
            )
        except Unavailable:
            return self._problem
        self._fabric.refusal = None
        return None

    def _bounds(self, info: Mapping[str, Any]) -> list[Bound]:
        return read_bounds(info, max_bytes=self._max_bytes, replicas=self._replicas)


def read_bounds(info: Mapping[str, Any], *, max_bytes: int | None, replicas: int) -> list[Bound]:
    """
    Read what bounds an account from NATS's answer to `$JS.API.INFO`. Pure.

    NATS counts every copy, and so does an account's limit; `max_bytes` is for one copy of everything. An account with
    tiers has a limit for each number of replicas (JetStreamAccountStats of nats-server 2.15).
    """
    tier = info.get("tiers", {}).get(f"R{replicas}", info)
    used: int = tier.get("storage", 0)
    allowed: int = tier.get("limits", {}).get("max_storage", -1)
    bounds = []
    if max_bytes is not None:
        advice = "raise it, and NATS's max_file_store above it"
        bounds.append(Bound(max_bytes, used // replicas, "nats_max_bytes", advice))
    if allowed >= 0:
        bounds.append(Bound(allowed, used, "its account's limit (max_file)", "have that raised in NATS"))
    return bounds
