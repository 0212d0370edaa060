"""What sessions hold, as it is remembered."""

from datetime import UTC, datetime

import pytest

from clawback.errors import Unavailable
from clawback.fabric import subjects
from clawback.model import Address, Event, Held, Origin, Priority, new_id, random_id
from clawback.store.events import EventStore, decode_event
from clawback.store.ledger import Ledger
from clawback.store.lines import Lines
from clawback.store.stacks import Stacks
from conftest import SHARDS
from waiting import eventually


class Site:
    """An address of a test's own, with its stack."""

    def __init__(self, fabric, profile_id=None, tag="builds"):
        self.address = Address(profile_id or random_id(16), tag)
        self.stacks = Stacks(fabric, SHARDS)
        self.lines = Lines(fabric, SHARDS)
        self._events = EventStore(fabric, Ledger(fabric), SHARDS)

    async def hold(self, text):
        """Store an event, pull it and say how it is held."""
        event = Event(new_id("evt"), Origin.WEBHOOK, Priority.INTERRUPT, datetime.now(UTC))
        maker = subjects.source_maker("src_a")
        await self._events.store(self.address, event, text.encode(), maker=maker, patience_s=5)
        # A consumer may know of an event a moment after it is stored.
        pulled = await eventually(lambda: self.lines.pull(self.address, Priority.INTERRUPT, max_ack_pending=8))
        return Held(event.id, pulled.sequence, Priority.INTERRUPT, attempt=2, delivered_at=12.5, losses=1)


@pytest.fixture
async def at(fabric):
    """An address over the run's NATS."""
    at = Site(fabric)
    await at.lines.open()
    return at


async def test_an_address_that_never_held_anything_has_an_empty_stack(at):
    """Nothing is stored of it."""
    assert await at.stacks.restore(at.address) == []


async def test_a_stack_comes_back_in_its_order_with_its_events(at):
    """Every field survives, and the event is there to be sent again."""
    stack = [await at.hold("below"), await at.hold("top")]
    await at.stacks.store(at.address, stack)
    restored = await at.stacks.restore(at.address)

    assert [held for held, _ in restored] == stack
    assert [decode_event(stored.headers, stored.data)[1] for _, stored in restored] == [b"below", b"top"]


async def test_what_ended_is_left_out(at):
    """Nothing is stored after an ack: the event's own end says it."""
    below, top = await at.hold("below"), await at.hold("top")
    await at.stacks.store(at.address, [below, top])
    await at.lines.acknowledge(at.address, top.sequence, None)

    assert [held for held, _ in await at.stacks.restore(at.address)] == [below]


async def test_the_newest_stack_counts(at):
    """Each one replaces the one before."""
    held = await at.hold("work")
    await at.stacks.store(at.address, [held])
    await at.stacks.store(at.address, [])

    assert await at.stacks.restore(at.address) == []


async def test_what_a_profile_holds_is_told_across_its_tags(at, fabric):
    """Another profile's sessions are not among it."""
    other_tag, other_profile = Site(fabric, at.address.profile_id, None), Site(fabric)
    held = []
    for site in (at, other_tag, other_profile):
        await site.lines.open()
        held.append(await site.hold("work"))
        await site.stacks.store(site.address, held[-1:])

    assert await at.stacks.held_by_profile(at.address.profile_id) == {each.sequence: each for each in held[:2]}


async def test_a_stack_survives_a_killed_nats(fresh_fabric, fresh_natsd):
    """It is on disk; and while NATS is away, nobody is told that it is empty."""
    at = Site(fresh_fabric)
    await at.lines.open()
    held = await at.hold("work")
    await at.stacks.store(at.address, [held])
    generation = fresh_fabric.generation
    fresh_natsd.kill9()
    await eventually(fresh_fabric.problem)
    with pytest.raises(Unavailable):
        await at.stacks.restore(at.address)
    fresh_natsd.start()
    await eventually(lambda: fresh_fabric.generation > generation and fresh_fabric.problem() is None, timeout=10)

    assert [held for held, _ in await at.stacks.restore(at.address)] == [held]
