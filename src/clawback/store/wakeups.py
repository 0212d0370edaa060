"""
Wake-ups: whoever stored an event tells the holder of its session, wherever that is.

A holder on this server hears at once, before the sender of a webhook has its 202: what it chooses next, it chooses
among all that senders know to be stored. Another server hears through NATS, by a core message that may be lost; then
its next sweep finds the event.

NATS could do that itself (a stream's `republish`), and did: docs/adr/0021 says what that costs.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from clawback.errors import Unavailable
from clawback.fabric import subjects
from clawback.fabric.jetstream import CoreMessage
from clawback.fabric.streams import Fabric
from clawback.model import Address, Priority

Wake = Callable[[Priority], None]


class WakeUps:
    """What one server hears and tells of; its stores of events and its lines share one."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._listeners: dict[Address, Wake] = {}
        # The sender's name, by which a server knows its own. Nobody answers there.
        self._name = fabric.inbox()

    @property
    def listeners(self) -> Mapping[Address, Wake]:
        """Who listens on this server now, and where."""
        return self._listeners

    async def tell(self, subject: str, event: bytes) -> None:
        """Say that an event, whose fields are this JSON, was stored under this subject."""
        self.wake(subject)
        # Stored is stored: where NATS has gone since, everybody sweeps once it is back.
        with suppress(Unavailable):
            await self._fabric.send(subjects.wake_subject(subject), event, reply=self._name)

    def wake(self, subject: str) -> None:
        """Wake who listens on this server for what is stored under a subject, if anybody does."""
        try:
            stored = subjects.parse_event_subject(subject)
        except ValueError:
            # Somebody published it by hand beside every line, where no session looks.
            return
        if (wake := self._listeners.get(stored.address)) is not None:
            wake(stored.priority)

    @asynccontextmanager
    async def listen(self, shard: int, address: Address, wake: Wake) -> AsyncIterator[None]:
        """Call `wake` whenever an event was stored in a line of this address."""

        def heard(message: CoreMessage) -> None:
            # Of its own this server heard when the event was stored.
            if message.reply != self._name:
                with suppress(ValueError):  # see above
                    wake(subjects.parse_event_subject(message.subject).priority)

        self._listeners[address] = wake
        try:
            subscription = await self._fabric.subscribe(subjects.wake_filter(shard, address), heard)
            try:
                yield
            finally:
                await subscription.unsubscribe()
        finally:
            # A lease that was lost may be served by the next holder already, and by this very server.
            if self._listeners.get(address) is wake:
                del self._listeners[address]
