"""What sessions hold, as it is remembered."""

import asyncio
from datetime import UTC, datetime

import pytest

from clawback.errors import Conflict, Unavailable
from clawback.fabric import subjects
from clawback.model import Address, Event, Held, Origin, Priority, new_id, random_id
from clawback.store import stacks as times
from clawback.store.events import EventStore, decode_event
from clawback.store.ledger import Ledger
from clawback.store.lines import Lines
from clawback.store.stacks import Stacks, Tenure
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


async def forget(_record):
    """Keep nothing of a record that cannot be read: here there is none."""


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


async def test_who_was_written_over_stores_nothing_more(at, monkeypatch):
    """The newest to begin has the stack; the one before finds out by its next write, or when it looks."""
    monkeypatch.setattr(times, "FRESH_SECONDS", 0.0)
    held = await at.hold("work")
    former, latter = Tenure(at.stacks, at.address, "former"), Tenure(at.stacks, at.address, "latter")
    await former.begin(forget)
    await former.store([held])
    await former.check()
    restored = await latter.begin(forget)
    for late in (former.check, lambda: former.store([]), lambda: former.store([])):
        with pytest.raises(Conflict):
            await late()
    await latter.store([held])
    await latter.check()

    assert [each.held for each in restored] == [held]
    assert [each.held for each in await at.stacks.restore(at.address)] == [held]


async def test_a_write_that_was_stored_without_being_told_is_the_holders_own(at, monkeypatch):
    """An answer that was lost makes nobody a stranger to its own stack."""
    held = await at.hold("work")
    tenure = Tenure(at.stacks, at.address, "holder")
    await tenure.begin(forget)
    store = at.stacks.store

    async def lost(*arguments, **options):
        await store(*arguments, **options)
        raise Unavailable("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(at.stacks, "store", lost)
        with pytest.raises(Unavailable):
            await tenure.store([held])
    await tenure.store([held])
    await tenure.store([])

    assert await at.stacks.restore(at.address) == []


async def test_of_two_who_begin_at_once_the_last_has_the_stack(at, monkeypatch):
    """One that reads, and finds another's write when it writes, reads again."""
    tenures = [Tenure(at.stacks, at.address, name) for name in ("a", "b", "c")]
    await asyncio.gather(*(tenure.begin(forget) for tenure in tenures))
    monkeypatch.setattr(times, "FRESH_SECONDS", 0.0)
    outcomes = await asyncio.gather(*(tenure.check() for tenure in tenures), return_exceptions=True)

    assert sorted(str(type(outcome).__name__) for outcome in outcomes) == ["Conflict", "Conflict", "NoneType"]


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
