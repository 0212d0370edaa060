"""
Deliveries that come again and again, to two servers on one NATS, while each of the three is killed.

A server is what takes and ends events: a connection, a ledger and a store. Killed, nothing of it runs any more, and
what it had only in memory is gone. What waits is ended at once, by either server: then the window of message ids
forgets it at the next restart of NATS, and the ledger alone knows it. FAULT_ROUNDS says how often something is killed,
FAULT_SEED repeats what is drawn.
"""

import asyncio
import random
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from clawback.errors import Unavailable
from clawback.fabric import subjects
from clawback.fabric.auth import NatsAuth
from clawback.fabric.streams import Fabric
from clawback.model import Address, Event, Origin, Priority, new_id
from clawback.store import packs
from clawback.store.events import EventStore, decode_event_header
from clawback.store.ledger import Ledger
from faults.extent import IS_LONG, ROUNDS
from waiting import eventually

pytestmark = pytest.mark.timeout(60 + 40 * ROUNDS)

SHARDS = 1
STREAM = subjects.event_stream(0)
ADDRESS = Address("p", None)

SENDERS = 60
"""Deliveries that come at the same time, each several times."""

COPIES = 4
SETTLE_SECONDS = 30.0


class Server:
    """One that runs until it is killed."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.ledger = Ledger(fabric)
        self.events = EventStore(fabric, self.ledger, SHARDS)
        self._reading = asyncio.create_task(self.ledger.keep_reading([STREAM]))
        self._packing = asyncio.create_task(self.ledger.keep_packing())

    @classmethod
    async def start(cls, auth: NatsAuth) -> "Server":
        """Start one."""
        fabric = await Fabric.open(auth, name="server")
        await fabric.keep_layout(SHARDS)
        return cls(fabric)

    async def kill(self) -> None:
        """Let nothing of it run any more."""
        tasks = [task for task in (self._reading, self._packing, self.ledger._writer) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.fabric.close()


class Run:
    """The two servers, everything that is sent to them, and what came of it."""

    def __init__(self, auth: NatsAuth, servers: list[Server], dice: random.Random) -> None:
        self.servers = servers
        self.accepted: set[str] = set()
        self.stored: dict[str, set[int]] = defaultdict(set)
        """The sequences at which each event was found."""
        self._auth = auth
        self._dice = dice

    async def rain(self) -> None:
        """Send deliveries, each at random moments and to either server, for ever."""
        while True:
            event = Event(new_id("evt"), Origin.WEBHOOK, Priority.NORMAL, datetime.now(UTC), delivery_id="d")
            await asyncio.gather(*(self._send_sometime(event) for _ in range(COPIES)))

    async def _send_sometime(self, event: Event) -> None:
        await asyncio.sleep(self._dice.expovariate(1.5))
        with suppress(Unavailable):
            await self.send(event)

    async def send(self, event: Event) -> None:
        """Send a delivery to either server."""
        await self._dice.choice(self.servers).events.store(ADDRESS, event, b"", maker="w-src", patience_s=1.0)
        self.accepted.add(event.id)

    async def end(self) -> None:
        """End what is stored, by either server, for ever."""
        while True:
            await self.has_ended()
            await asyncio.sleep(0.01)

    async def end_all(self) -> None:
        """End what is stored now."""
        server = self._dice.choice(self.servers)
        for stored in await server.fabric.get_many(STREAM, f"evt.0.{ADDRESS.profile_id}.>"):
            event = decode_event_header(stored.headers)
            self.stored[event.id].add(stored.sequence)
            await server.events.may_end(ADDRESS, event)
            await server.fabric.delete(STREAM, stored.sequence)

    async def has_ended(self) -> bool:
        """End what is stored, and tell whether NATS was there for all of it."""
        with suppress(Unavailable):
            await self.end_all()
            return True
        return False

    async def replace(self) -> None:
        """Kill a server, and start another in its place."""
        place = self._dice.randrange(len(self.servers))
        await self.servers[place].kill()
        self.servers[place] = await Server.start(self._auth)


@pytest.fixture
def busy_packing(monkeypatch):
    """Entries are packed and deleted within seconds, a few at a time and by both servers."""
    monkeypatch.setattr(packs, "PACK", 7)
    monkeypatch.setattr(packs, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(packs, "TRUSTED_SECONDS", 0.3)
    monkeypatch.setattr(packs, "KEPT_SECONDS", 1.0)
    monkeypatch.setattr(packs, "OTHERS_SECONDS", 0.2)


@pytest.mark.usefixtures("busy_packing")
async def test_no_kill_makes_two_events_of_a_delivery(fresh_natsd, dice):
    """Each delivery that was accepted is found at one sequence, however often it came and whoever was killed."""
    servers = [await Server.start(fresh_natsd.auth) for _ in range(2)]
    run = Run(fresh_natsd.auth, servers, dice)
    going = [asyncio.create_task(each) for each in (*(run.rain() for _ in range(SENDERS)), run.end())]
    for _ in range(10 * ROUNDS if IS_LONG else 6):
        await asyncio.sleep(dice.uniform(0.2, 1.2))
        if dice.random() < 0.6:
            fresh_natsd.kill9()
            if dice.random() < 0.5:
                await asyncio.sleep(dice.uniform(0, 0.5))
            fresh_natsd.start()
        else:
            await run.replace()
    for task in going:
        task.cancel()
    failed = [each for each in await asyncio.gather(*going, return_exceptions=True) if isinstance(each, Exception)]
    await eventually(run.has_ended, SETTLE_SECONDS)
    packed = sum([len(each.data) async for page in run.servers[0].fabric.pages("PACKS", ">") for each in page])
    twice = {event_id: places for event_id, places in run.stored.items() if len(places) > 1}
    for server in run.servers:
        await server.kill()

    assert not failed
    assert not twice
    assert run.accepted <= set(run.stored)
    assert len(run.accepted) > SENDERS
    assert packed > 0
