"""
The spool: accepted webhooks on this machine's disk while NATS is away, and in JetStream as soon as it is back.

One file for each event, named by its place in the order and its source:

    put      write a draft → sync it → rename it → sync the directory → 202
    drain    of each source the first → EventStore.store, until the PubAck → remove the file → the next

Whatever is killed in between, the file is there or the event is in its stream, or both, and then the second store is a
duplicate by the event's id. A draft is what a crash left of an event whose 202 never left. See ADR 0017.

Order is kept within a source: while it has events here, its next ones come here too. A source whose line is full waits
by itself.
"""

import asyncio
import fcntl
import logging
import os
from collections import deque
from pathlib import Path

from msgspec import Struct

from clawback.errors import BadPayload, ConfigError, QueueFull, RecordUnreadable, StoreFull, TooLarge, Unavailable
from clawback.fabric import subjects
from clawback.store.events import EventStore
from clawback.store.registry import Registry
from clawback.store.room import DiskRoom
from clawback.telemetry import metrics
from clawback.webhooks.spooled import Spooled, build_file, parse_file

SUFFIX = ".event"
DRAFT = ".draft"
DAMAGED = ".damaged"
"""What cannot be read, or never fits NATS; kept for whoever runs the server."""

BLOCK_BYTES = 4096
"""What a file takes at least of a disk, and of the bound: a million small events are no small thing either."""

STORE_SECONDS = 1.0
"""How long NATS is tried for one event before those of the next source have their turn."""

RETRY_SECONDS = 0.5
"""Between two rounds while NATS is away, or a line is full."""

SOURCE_DELETED = "source_deleted"
"""The reason of the dead letter of an event whose source was deleted meanwhile, as of one that waited in its line."""

log = logging.getLogger("clawback.webhooks")


class _File(Struct, frozen=True):
    path: Path
    size: int
    event_id: str | None
    """None where an earlier process wrote it: its name does not say."""


class Spool:
    """
    The spool of one server, in a directory of its own. `open` before use; `drain` for as long as it is used.

    `max_bytes` and `room` bound what it takes of the disk. With 0 bytes it takes nothing new, and still gives back what
    an earlier start left.
    """

    def __init__(
        self, directory: Path, events: EventStore, registry: Registry, *, max_bytes: int, room: DiskRoom | None = None
    ) -> None:
        self._directory = directory
        self._room = room
        self._events = events
        self._registry = registry
        self._max_bytes = max_bytes
        self._queues: dict[str, deque[_File]] = {}
        self._kept: set[str] = set()
        self._bytes = 0
        self._next = 0
        self._filled = asyncio.Event()
        self._stuck: dict[str, type[Exception]] = {}
        """Why a source's events stay here, so that the log says it once."""
        self._lock: int | None = None

    def open(self) -> None:
        """
        Take the directory, and find what an earlier process left in it.

        Raises:
            ConfigError: it cannot be used, or another server does.
        """
        if self._max_bytes == 0 and not self._directory.exists():
            return
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for draft in self._directory.glob(f"*{DRAFT}"):
                draft.unlink()
            found = sorted(self._directory.glob(f"*{SUFFIX}"))
            sizes = [path.stat().st_size for path in found]
        except BlockingIOError:
            raise ConfigError(f"spool: {self._directory} is another server's; give each its own data_dir") from None
        except OSError as error:
            raise ConfigError(f"spool: cannot use {self._directory}: {error.strerror}") from error
        for path, size in zip(found, sizes, strict=True):
            place, _, source_id = path.name.removesuffix(SUFFIX).partition("-")
            self._next = max(self._next, int(place) + 1)
            self._add(source_id, _File(path, size, None))
        if found:
            log.warning("the spool holds %d events of an earlier start", len(found))

    @property
    def takes_events(self) -> bool:
        """Whether the spool is switched on."""
        return self._max_bytes > 0

    def has_events_of(self, source_id: str) -> bool:
        """Whether the next event of a source must come here, because earlier ones are."""
        return source_id in self._queues

    def describe(self) -> str | None:
        """Say what it holds; None where that is nothing."""
        events = sum(map(len, self._queues.values()))
        return f"{events} events wait for NATS, {self._bytes} bytes" if events else None

    async def put(self, spooled: Spooled) -> bool:
        """
        Keep an event, synced; False where it is here already.

        Raises:
            TooLarge: it does not fit NATS.
            Unavailable: the spool is full or its disk fails; the event is not kept.
        """
        await self._events.must_fit(spooled.event, spooled.body)
        if spooled.event.id in self._kept:
            return False
        if self._room is not None and (problem := await self._room.problem(len(spooled.body))) is not None:
            raise StoreFull(problem)
        data = build_file(spooled)
        size = max(len(data), BLOCK_BYTES)
        if self._bytes + size > self._max_bytes:
            raise Unavailable(f"the spool is full: {self._bytes} of {self._max_bytes} bytes (spool_max_bytes)")
        path = self._directory / f"{self._next:016d}-{spooled.source_id}{SUFFIX}"
        self._next += 1
        # Taken before it is written, or a hundred requests at once would all find room.
        self._bytes += size
        try:
            await asyncio.to_thread(_write, path, data)
        except OSError as error:
            raise Unavailable(f"the spool cannot write {path}: {error.strerror}") from error
        finally:
            self._bytes -= size
        self._add(spooled.source_id, _File(path, len(data), spooled.event.id))
        metrics.SPOOLED.inc()
        return True

    async def drain(self) -> None:
        """Store what is here, whenever NATS takes it; runs for ever, and gives the directory back when it is ended."""
        try:
            while True:
                await self._filled.wait()
                for source_id in list(self._queues):
                    await self._drain_source(source_id)
                if not self._queues:
                    self._filled.clear()
                    log.info("the spool is empty")
                else:
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            if self._lock is not None:
                os.close(self._lock)

    async def _drain_source(self, source_id: str) -> None:
        """Store a source's events one after another, as far as that goes now."""
        queue = self._queues[source_id]
        while queue:
            try:
                await self._finish(queue[0])
            except (QueueFull, Unavailable, OSError) as error:
                if self._stuck.get(source_id) is not type(error):
                    log.warning("%d events of %s stay in the spool: %s", len(queue), source_id, error)
                self._stuck[source_id] = type(error)
                return
            self._stuck.pop(source_id, None)
            done = queue.popleft()
            self._kept.discard(done.event_id or "")
            self._bytes -= max(done.size, BLOCK_BYTES)
            self._tell()
        del self._queues[source_id]

    async def _finish(self, file: _File) -> None:
        """Store an event, and remove its file; set aside what can never be stored."""
        try:
            await self._store(parse_file(await asyncio.to_thread(file.path.read_bytes)))
        except FileNotFoundError:
            log.warning("somebody removed %s from the spool", file.path)
        except (BadPayload, TooLarge) as error:
            log.critical("an accepted event cannot be stored, %s is set aside: %s", file.path, error)
            await asyncio.to_thread(file.path.rename, file.path.with_suffix(DAMAGED))
            metrics.SPOOL_DAMAGED.inc()
        else:
            await asyncio.to_thread(file.path.unlink, missing_ok=True)

    async def _store(self, spooled: Spooled) -> None:
        if await self._is_deleted(spooled):
            await self._events.bury(spooled.address, spooled.event, spooled.body, reason=SOURCE_DELETED)
            return
        maker = subjects.source_maker(spooled.source_id)
        await self._events.store(
            spooled.address, spooled.event, spooled.body, maker=maker, patience_s=STORE_SECONDS, tells_failure=False
        )

    async def _is_deleted(self, spooled: Spooled) -> bool:
        try:
            return await self._registry.find_source_by_id(spooled.profile_id, spooled.source_id) is None
        except RecordUnreadable:
            return False  # it is there, and somebody may mend it

    def _add(self, source_id: str, file: _File) -> None:
        self._queues.setdefault(source_id, deque()).append(file)
        if file.event_id is not None:
            self._kept.add(file.event_id)
        self._bytes += max(file.size, BLOCK_BYTES)
        self._filled.set()
        self._tell()

    def _tell(self) -> None:
        metrics.SPOOL_EVENTS.set(sum(map(len, self._queues.values())))
        metrics.SPOOL_BYTES.set(self._bytes)


def _write(path: Path, data: bytes) -> None:
    """Make a file that is whole and on the disk, or not there under its name."""
    draft = path.with_suffix(DRAFT)
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
