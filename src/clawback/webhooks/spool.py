"""
The spool: accepted webhooks on this machine's disk while NATS is away, and in JetStream as soon as it is back.

One file for each event, named by its place in the order and its source:

    put      write a draft → sync it → rename it → sync the directory → 202
    drain    of each source the first → EventStore.store, until the PubAck → remove the file → the next

Whatever is killed in between, the file is there or the event is in its stream, or both, and then the second store is a
duplicate by the event's id. A draft is what a crash left of an event whose 202 never left. See ADR 0017.

Order is kept within a source: while it has events here, its next ones come here too. A source whose line is full waits
by itself, and gets no further events in: they could not go anywhere. No source takes all of the bound, so there is room
for another.

What is no file of the spool is set aside at the start, and what cannot be read when its turn comes; the others go on.
"""

import asyncio
import errno
import logging
import os
import re
import secrets
import stat
from collections import Counter, deque
from pathlib import Path

from msgspec import Struct

from clawback.errors import BadPayload, ConfigError, QueueFull, RecordUnreadable, StoreFull, TooLarge, Unavailable
from clawback.fabric import subjects
from clawback.store.events import EventStore
from clawback.store.registry import Registry
from clawback.store.room import DiskRoom
from clawback.system import file_lock
from clawback.telemetry import metrics
from clawback.webhooks.spooled import Spooled, build_file, parse_file

SUFFIX = ".event"
DRAFT = ".draft"
DAMAGED = ".damaged"
"""What cannot be read, or never fits NATS; kept for the operator."""

BLOCK_BYTES = 4096
"""What a file takes at least of a disk, and of the bound: a million small events are no small thing either."""

SHARE = 7
"""What a source may hold, as a multiple of what is free: it is refused before the spool is full for others."""

STORE_SECONDS = 1.0
"""How long NATS is tried for one event before those of the next source have their turn."""

RETRY_SECONDS = 0.5
"""Between two rounds while NATS is away, or a line is full."""

_NAME = re.compile(r"([0-9]{16,18})-(src_[a-z0-9]{1,64})\.event", re.ASCII)
"""What `put` names a file: its place in the order, and its source."""

_LASTING = frozenset({errno.EACCES, errno.EPERM, errno.EISDIR, errno.EIO, errno.ELOOP, errno.ENXIO})
"""What keeps a file from being read now and later. Too many open files, for one, does not."""

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
        self._bytes_of: Counter[str] = Counter()
        self._damaged = 0
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
            self._lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            file_lock.lock(self._lock)
            for draft in self._directory.glob(f"*{DRAFT}"):
                if draft.is_file() or draft.is_symlink():
                    draft.unlink()
            found = self._find()
            self._damaged = sum(1 for _ in self._directory.glob(f"*{DAMAGED}"))
        except BlockingIOError:
            raise ConfigError(f"spool: {self._directory} is another server's; give each its own data_dir") from None
        except OSError as error:
            raise ConfigError(f"spool: cannot use {self._directory}: {error.strerror}") from error
        for place, source_id, file in sorted(found, key=lambda each: each[0]):
            self._next = place + 1
            self._add(source_id, file)
        if found:
            log.warning("the spool holds %d events of an earlier start", len(found))

    def _find(self) -> list[tuple[int, str, _File]]:
        """Find the files of an earlier process, each with its place and source; what is none is set aside."""
        found = []
        for path in self._directory.glob(f"*{SUFFIX}"):
            status = path.lstat()
            name = _NAME.fullmatch(path.name)
            if name is not None and stat.S_ISREG(status.st_mode):
                found.append((int(name[1]), name[2], _File(path, status.st_size, None)))
            else:
                _set_aside(path, "its name or kind is not that of a file of the spool")
        return found

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
        waits = f"{events} events wait for NATS, {self._bytes} bytes" if events else ""
        aside = f"{self._damaged} files are set aside as *{DAMAGED} in {self._directory}" if self._damaged else ""
        return "; ".join(filter(None, (waits, aside))) or None

    async def put(self, spooled: Spooled) -> bool:
        """
        Keep an event, synced; False where it is here already.

        Raises:
            TooLarge: it does not fit NATS.
            QueueFull: its source has as much here as it may, or a full line.
            Unavailable: the spool is full or its disk fails; the event is not kept.
        """
        await self._events.must_fit(spooled.event, spooled.body)
        if spooled.event.id in self._kept:
            return False
        if self._room is not None and (problem := await self._room.problem(len(spooled.body))) is not None:
            raise StoreFull(problem)
        data = build_file(spooled)
        size = max(len(data), BLOCK_BYTES)
        self._must_take(spooled.source_id, size)
        path = self._directory / f"{self._next:016d}-{spooled.source_id}{SUFFIX}"
        self._next += 1
        # Taken before it is written, or a hundred requests at once would all find room.
        self._count(spooled.source_id, size)
        try:
            await asyncio.to_thread(_write, path, data)
        except OSError as error:
            raise Unavailable(f"the spool cannot write {path}: {error.strerror}") from error
        finally:
            self._count(spooled.source_id, -size)
        self._add(spooled.source_id, _File(path, len(data), spooled.event.id))
        metrics.SPOOLED.inc()
        return True

    def _must_take(self, source_id: str, size: int) -> None:
        """
        Check that the spool takes so many bytes of a source.

        A source may hold SHARE times what is free: one alone 7/8 of the bound, the next 7/8 of the rest.
        """
        free = self._max_bytes - self._bytes
        if size > free:
            raise Unavailable(f"the spool is full: {self._bytes} of {self._max_bytes} bytes (spool_max_bytes)")
        if self._stuck.get(source_id) is QueueFull:
            raise QueueFull(f"{source_id} has a full line, and {len(self._queues[source_id])} events in the spool")
        held = self._bytes_of[source_id]
        if held > SHARE * free:
            raise QueueFull(
                f"{source_id} has {held} bytes in the spool, and the last {free} of {self._max_bytes} (spool_max_bytes)"
                " are for others"
            )

    def _count(self, source_id: str, size: int) -> None:
        self._bytes += size
        self._bytes_of[source_id] += size
        if not self._bytes_of[source_id]:
            del self._bytes_of[source_id]

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
            except Exception as error:
                # A bug that one event meets keeps those of its source, and no other's.
                if self._stuck.get(source_id) is not type(error):
                    log.exception("%d events of %s stay in the spool", len(queue), source_id)
                self._stuck[source_id] = type(error)
                return
            self._stuck.pop(source_id, None)
            done = queue.popleft()
            self._kept.discard(done.event_id or "")
            self._count(source_id, -max(done.size, BLOCK_BYTES))
            self._tell()
        del self._queues[source_id]

    async def _finish(self, file: _File) -> None:
        """Store an event, and remove its file; set aside what can never be stored."""
        try:
            await self._store(parse_file(await asyncio.to_thread(_read, file.path)))
        except FileNotFoundError:
            log.warning("somebody removed %s from the spool", file.path)
        except (BadPayload, TooLarge) as error:
            await asyncio.to_thread(_set_aside, file.path, str(error))
            self._damaged += 1
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
        self._count(source_id, max(file.size, BLOCK_BYTES))
        self._filled.set()
        self._tell()

    def _tell(self) -> None:
        metrics.SPOOL_EVENTS.set(sum(map(len, self._queues.values())))
        metrics.SPOOL_BYTES.set(self._bytes)


def _read(path: Path) -> bytes:
    """
    Read a file of the spool.

    Raises:
        BadPayload: it cannot be read, now or later.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno in _LASTING:
            raise BadPayload(f"it cannot be read: {error.strerror}") from error
        raise


def _set_aside(path: Path, reason: str) -> None:
    """Keep what cannot be stored for the operator, under a name of its own."""
    aside = path.with_suffix(DAMAGED)
    while os.path.lexists(aside):
        aside = path.with_suffix(f".{secrets.token_hex(4)}{DAMAGED}")
    path.rename(aside)
    log.critical("%s in the spool cannot be stored and is set aside as %s: %s", path, aside.name, reason)
    metrics.SPOOL_DAMAGED.inc()


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
