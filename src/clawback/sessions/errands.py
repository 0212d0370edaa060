"""
Errands: what is asked about a held event by somebody who is not its session, from any server.

An event is held by one session, and that session's stack says so. Where a server serves the session, it is asked on
`ctl.<server id>.held`, and the session's dispatcher does it in order with acks and deliveries. Where nobody is
connected this server takes the session's lease for as long as it needs, and does it with a dispatcher that delivers
nothing. So there is never more than one who changes a stack, and an event ends one way, whoever asked.

While that lasts, some milliseconds, the session is listed as connected, and whoever connects waits for its end.
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import msgspec
from msgspec import Struct

from clawback import wire
from clawback.errors import NotFound, Unavailable
from clawback.fabric import subjects
from clawback.fabric.jetstream import CoreMessage
from clawback.fabric.streams import Fabric
from clawback.model import Address, encode_json, random_id
from clawback.sessions.dispatcher import Client, Dispatcher
from clawback.sessions.presence import Presence
from clawback.sessions.showing import show_event
from clawback.sessions.withdrawal import Discard, Withdraw
from clawback.store.events import decode_event
from clawback.store.leases import Leases
from clawback.store.stacks import Stacks
from clawback.system.waits import Signal

SERVE_SECONDS = 8.0
"""How long the server of a session may take; its dispatcher insists while NATS is away."""

ASK_SECONDS = 10.0
"""How long it is waited for: a little longer."""

PATIENCE_SECONDS = 15.0
"""How long a session is followed that moves from one server to the next; after a restart of NATS that takes some."""

RETRY_SECONDS = 0.1


class _Errand(Struct, frozen=True):
    """What one server has another do for the session of an address."""

    address: Address
    request: wire.HeldEventRequest | wire.Ack | Withdraw | Discard


class _Receipt(Struct, frozen=True):
    """
    What became of it: `elsewhere` where the session is not served there, `unknown` where it ended meanwhile.

    `not_held` of a withdrawal says that something is left.
    """

    outcome: Literal["done", "not_held", "elsewhere", "unknown"]


_decode_errand = msgspec.json.Decoder(_Errand).decode
_decode_receipt = msgspec.json.Decoder(_Receipt).decode


class _Visitor:
    """A connection to presence, and a client to a dispatcher, for a session that nobody is connected for."""

    def __init__(self, address: Address) -> None:
        self.names_events = True
        self.instance_id: str | None = None
        # So that no message to everybody takes it for a session that is there.
        self.messaging = False
        self.id = random_id()
        self.address = address
        self.connected_at = datetime.now(UTC)
        self.ended = Signal()
        self.left = Signal()

    async def send(self, message: wire.ServerMessage) -> bool:  # noqa: ARG002 -- a client is sent something
        """Tell nobody."""
        return False

    async def probe(self, within: float) -> bool:
        """Make a connection that comes meanwhile wait for the end; tell whether the errand still runs."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self.left.wait()
        return not self.left.is_set()

    async def close(self, _code: int, _reason: str) -> None:
        """End; nobody has to be told."""
        self.ended.set()


class Errands:
    """Runs errands, this server's and others'. `open` before use."""

    def __init__(
        self,
        fabric: Fabric,
        presence: Presence,
        leases: Leases,
        stacks: Stacks,
        *,
        served: Callable[[Address], Dispatcher | None],
        dispatcher: Callable[[Address, Client], Dispatcher],
    ) -> None:
        self._fabric = fabric
        self._presence = presence
        self._leases = leases
        self._stacks = stacks
        self._served = served
        self._dispatcher = dispatcher
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Take other servers' errands for the sessions of this one."""
        await self._fabric.subscribe(subjects.errand_subject(self._presence.server_id), self._asked)

    async def carry_out(self, profile_id: str, request: wire.HeldEventRequest | wire.Ack) -> bool:
        """
        Do what is asked about an event that a session of the profile holds; False where none does.

        Raises:
            Unavailable: not known to be done.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        while (address := await self._stacks.holder(profile_id, request.event_id)) is not None:
            outcome = await self._try(_Errand(address, request))
            if outcome == "done":
                return True
            # To ack twice does no harm; what else is asked may have been done.
            if loop.time() > deadline or (outcome == "unknown" and not isinstance(request, wire.Ack)):
                raise Unavailable(
                    f"the session that holds {request.event_id} ended or moved at the same moment: look where the event"
                    " is before you ask again"
                )
            await asyncio.sleep(RETRY_SECONDS)
        return False

    async def withdraw(self, address: Address, wanted: Withdraw | Discard) -> bool:
        """
        Have whoever serves a session end some of what waits there, for a while; whether nothing is left.

        Raises:
            Unavailable: not known to be done; doing it again does no harm.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        while (outcome := await self._try(_Errand(address, wanted))) not in ("done", "not_held"):
            if loop.time() > deadline:
                raise Unavailable("the session moves from one server to the next; try again")
            await asyncio.sleep(RETRY_SECONDS)
        return outcome == "done"

    async def active(self, address: Address) -> wire.EventFrame | None:
        """
        Show the active event of a session as it was sent; that is no delivery.

        Raises:
            Unavailable: NATS did not answer.
        """
        held = [each for each in await self._stacks.restore(address) if each.held.returns_at is None]
        if not held:
            return None
        event, body = await asyncio.to_thread(decode_event, held[-1].stored.headers, held[-1].stored.data)
        return await show_event(event, body, held[-1].held, names_events=True)

    async def _try(self, errand: _Errand) -> str:
        entry = await self._leases.read(errand.address)
        if entry is not None:
            # Its server is gone where nobody answers; presence finds out whether the session is free then.
            with contextlib.suppress(NotFound):
                answer = await self._fabric.request(
                    subjects.errand_subject(entry.lease.server_id), encode_json(errand), timeout=ASK_SECONDS
                )
                receipt = _decode_receipt(answer)
                if receipt.outcome != "elsewhere":
                    return receipt.outcome
        return await self._visit(errand)

    async def _visit(self, errand: _Errand) -> str:
        visitor = _Visitor(errand.address)
        dispatcher = self._dispatcher(errand.address, visitor)
        try:
            if not await self._presence.take(visitor, dispatcher.stop):
                return "elsewhere"
            async with asyncio.timeout(SERVE_SECONDS):
                return "done" if await dispatcher.visit(errand.request) else "not_held"
        except TimeoutError:
            return "unknown"
        finally:
            visitor.ended.set()
            await self._presence.leave(visitor)
            visitor.left.set()

    def _asked(self, message: CoreMessage) -> None:
        task = asyncio.create_task(self._serve(message), name="errand")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, message: CoreMessage) -> None:
        errand = _decode_errand(message.data)
        receipt = encode_json(_Receipt(await self._do(errand)))
        with contextlib.suppress(Unavailable):
            await self._fabric.send(message.reply, receipt)

    async def _do(self, errand: _Errand) -> Literal["done", "not_held", "elsewhere", "unknown"]:
        dispatcher = self._served(errand.address)
        if dispatcher is None:
            return "elsewhere"
        try:
            async with asyncio.timeout(SERVE_SECONDS):
                if isinstance(errand.request, Withdraw | Discard):
                    return "done" if await dispatcher.withdraw(errand.request) else "not_held"
                return "done" if await dispatcher.carry_out(errand.request) else "not_held"
        except (TimeoutError, Unavailable):
            return "unknown"
