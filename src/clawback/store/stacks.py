"""
The durable memory of what each session holds: one small record for each address, of which the newest counts.

It is stored before an event leaves, so whoever serves the session next, after a crash of anything, knows what was
current, what was suspended below it, and how often each was tried. Nothing is stored after an ack: an entry whose event
is gone from its stream has ended, and is left out when the stack is read.

It is the fence between holders too (docs/adr/0022). Whoever begins to serve a session writes its stack once more, in
its own name and against the revision it read; so does each later write. One that was written over, because its server
was frozen or cut off, is told so by its next write, and does nothing more.
"""

import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Struct

from clawback.errors import Conflict
from clawback.fabric import subjects
from clawback.fabric.jetstream import Stored
from clawback.fabric.streams import Fabric
from clawback.model import Address, Held, encode_json
from clawback.telemetry.aside import Aside

HOLDER_HEADER = "Clawback-Holder"
"""Who wrote the stack: `<server id>.<connection id>.<a random name of its time there>`."""

FRESH_SECONDS = 1.0
"""
How long a write proves that the stack is the writer's. Nobody takes a session whose server answers, or has been silent
for less than that (sessions/presence.py).
"""

KIND = "stack"
"""What unreadable ones are called among what was set aside."""

UNREADABLE = (
    "what a session held cannot be read: when it connects next, it is given that again from its line, as if for the"
    " first time, and the record becomes a dead letter"
)

log = logging.getLogger("clawback.fabric")

_decoder = msgspec.json.Decoder(list[Held])


class Restored(NamedTuple):
    """An entry of a stack, with its event as it is stored."""

    held: Held
    stored: Stored


class Stack(Struct, frozen=True):
    """
    A stack as it is stored: `revision` is what the next write has to name, 0 where nothing was ever stored.

    `unreadable` is its message where nobody can read what was held; that is in its line, and comes from there.
    """

    held: list[Held]
    revision: int = 0
    holder: str = ""
    unreadable: Stored | None = None


class Tenure:
    """
    The time in which one holder has the stack of an address, from `begin` until somebody else's.

    `stored` is what it wrote last. Not for two tasks at once.
    """

    def __init__(self, stacks: "Stacks", address: Address, holder: str) -> None:
        self.stored: Sequence[Held] = ()
        self._stacks = stacks
        self._address = address
        self._holder = holder
        self._revision = 0
        self._proved_at = -math.inf

    async def begin(self, keep: Callable[[Stored], Awaitable[None]]) -> list[Restored]:
        """
        Take the stack over: read what was held and has not ended, and write it in this holder's name.

        A record that nobody can read is handed to `keep` before it is written over.

        Raises:
            Unavailable: not known to be done; again does no harm.
        """
        while True:
            newest = await self._stacks.read(self._address)
            restored = await self._stacks.with_events(self._address, newest.held)
            self._revision = newest.revision
            if newest.unreadable is not None:
                await keep(newest.unreadable)
            try:
                await self.store([each.held for each in restored])
            except Conflict:
                # The former holder has not noticed yet, and wrote in between.
                continue
            self._stacks.mended(self._address)
            return restored

    async def store(self, stack: Sequence[Held]) -> None:
        """
        Remember what the session holds, active event last.

        Raises:
            Conflict: somebody else has the session now.
            Unavailable: not known to be stored; again does no harm.
        """
        asked_at = _now()
        try:
            self._revision = await self._stacks.store(self._address, stack, revision=self._revision, by=self._holder)
        except Conflict:
            await self._find_own()
            self._revision = await self._stacks.store(self._address, stack, revision=self._revision, by=self._holder)
        self.stored, self._proved_at = list(stack), asked_at

    async def check(self) -> None:
        """
        Make sure that the stack is still this holder's.

        Raises:
            Conflict: somebody else has the session now.
            Unavailable: NATS did not answer.
        """
        asked_at = _now()
        if asked_at - self._proved_at > FRESH_SECONDS:
            await self._find_own()
            self._proved_at = asked_at

    async def _find_own(self) -> None:
        """Find the newest write to be this holder's, by one that was stored without its being told."""
        newest = await self._stacks.read(self._address)
        if newest.holder != self._holder:
            raise Conflict("another connection has this session now")
        self._revision = newest.revision


class Stacks:
    """The stacks of every session, in the stream STACK."""

    def __init__(self, fabric: Fabric, shards: int, aside: Aside | None = None) -> None:
        self._fabric = fabric
        self._shards = shards
        self.aside = aside or Aside()

    async def store(self, address: Address, stack: Sequence[Held], *, revision: int | None = None, by: str = "") -> int:
        """
        Remember what a session holds, active event last, and return its revision; holders do it by their `Tenure`.

        Raises:
            Conflict: the newest revision is another than this one; nothing is stored.
            Unavailable: not known to be stored.
        """
        ack = await self._fabric.publish(
            subjects.stack_subject(address),
            encode_json(stack),
            headers={HOLDER_HEADER: by} if by else None,
            expected_subject_sequence=revision,
        )
        return ack.sequence

    async def read(self, address: Address) -> Stack:
        """
        Read what a session held when it was last given something, and who wrote that.

        Raises:
            Unavailable: NATS did not answer.
        """
        record = await self._fabric.get("STACK", subject=subjects.stack_subject(address))
        if record is None:
            return Stack([])
        held = self._decode(record)
        unreadable = record if held is None else None
        return Stack(held or [], record.sequence, record.headers.get(HOLDER_HEADER, ""), unreadable)

    async def restore(self, address: Address) -> list[Restored]:
        """
        Read what a session held and has not ended, active event last.

        Raises:
            Unavailable: NATS did not answer.
        """
        return await self.with_events(address, (await self.read(address)).held)

    async def with_events(self, address: Address, stack: Sequence[Held]) -> list[Restored]:
        """
        Read the events of a stack, and leave out what has ended.

        Raises:
            Unavailable: NATS did not answer.
        """
        stream = subjects.event_stream(subjects.shard_of(address.profile_id, self._shards))
        restored = []
        for held in stack:
            event = await self._fabric.get(stream, sequence=held.sequence)
            if event is not None:
                restored.append(Restored(held, event))
        return restored

    async def held_by_profile(self, profile_id: str) -> dict[int, Held]:
        """
        List by its sequence what the sessions of a profile held when they were last given something.

        Raises:
            Unavailable: NATS did not answer.
        """
        stacks = await self._fabric.get_last_many("STACK", subjects.stack_filter(profile_id))
        return {held.sequence: held for stack in stacks for held in self._decode(stack) or ()}

    async def used_tags(self, profile_id: str) -> set[str | None]:
        """
        List the tags of a profile that some session was ever served under: each has had its stack written.

        Raises:
            Unavailable: NATS did not answer.
        """
        counted = await self._fabric.counts("STACK", subjects.stack_filter(profile_id))
        return {subjects.parse_stack_subject(subject).tag for subject in counted}

    async def holder(self, profile_id: str, event_id: str) -> Address | None:
        """
        Find where a session of a profile holds an event that has not ended; what is being put back is held no more.

        Raises:
            Unavailable: NATS did not answer.
        """
        stream = subjects.event_stream(subjects.shard_of(profile_id, self._shards))
        for stack in await self._fabric.get_last_many("STACK", subjects.stack_filter(profile_id)):
            for held in self._decode(stack) or ():
                if held.event_id == event_id and held.returns_at is None:
                    ended = await self._fabric.get(stream, sequence=held.sequence) is None
                    return None if ended else subjects.parse_stack_subject(stack.subject)
        return None

    def mended(self, address: Address) -> None:
        """Note that the stack of an address can be read again."""
        self.aside.clear(KIND, subjects.stack_subject(address))

    def _decode(self, record: Stored) -> list[Held] | None:
        """Read a stack; None where it cannot be read, which costs the others of its profile nothing."""
        try:
            return _decoder.decode(record.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # The error may quote somebody's data.
            if self.aside.put(KIND, record.subject, UNREADABLE):
                log.error("%s: %s", record.subject, UNREADABLE, extra={"action": "stack_unreadable"})  # noqa: TRY400 -- see above
            return None


def _now() -> float:
    """Read a clock that goes on while the machine is suspended, where there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.time()
