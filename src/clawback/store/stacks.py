"""
The durable memory of what each session holds: one small record for each address, of which the newest counts.

It is stored before an event leaves, so whoever serves the session next, after a crash of anything, knows what was
current, what was suspended below it, and how often each was tried. Nothing is stored after an ack: an entry whose event
is gone from its stream has ended, and is left out when the stack is read.
"""

from typing import NamedTuple

import msgspec

from clawback.fabric import subjects
from clawback.fabric.jetstream import Stored
from clawback.fabric.streams import Fabric
from clawback.model import Address, Held, encode_json

_decoder = msgspec.json.Decoder(list[Held])


class Restored(NamedTuple):
    """An entry of a stack, with its event as it is stored."""

    held: Held
    stored: Stored


class Stacks:
    """The stacks of every session, in the stream STACK."""

    def __init__(self, fabric: Fabric, shards: int) -> None:
        self._fabric = fabric
        self._shards = shards

    async def store(self, address: Address, stack: list[Held]) -> None:
        """
        Remember what a session holds, active event last.

        Raises:
            Unavailable: not known to be stored.
        """
        await self._fabric.publish(subjects.stack_subject(address), encode_json(stack))

    async def restore(self, address: Address) -> list[Restored]:
        """
        Read what a session held and has not ended, active event last.

        Raises:
            Unavailable: NATS did not answer.
        """
        record = await self._fabric.get("STACK", subject=subjects.stack_subject(address))
        if record is None:
            return []
        stream = subjects.event_stream(subjects.shard_of(address.profile_id, self._shards))
        restored = []
        for held in _decoder.decode(record.data):
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
        return {held.sequence: held for stack in stacks for held in _decoder.decode(stack.data)}

    async def holder(self, profile_id: str, event_id: str) -> Address | None:
        """
        Find where a session of a profile holds an event that has not ended; what is being put back is held no more.

        Raises:
            Unavailable: NATS did not answer.
        """
        stream = subjects.event_stream(subjects.shard_of(profile_id, self._shards))
        for stack in await self._fabric.get_last_many("STACK", subjects.stack_filter(profile_id)):
            for held in _decoder.decode(stack.data):
                if held.event_id == event_id and held.returns_at is None:
                    ended = await self._fabric.get(stream, sequence=held.sequence) is None
                    return None if ended else subjects.parse_stack_subject(stack.subject)
        return None
