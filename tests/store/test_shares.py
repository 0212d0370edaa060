"""How many bytes of a store a source and a profile may take, against a real NATS."""

from datetime import UTC, datetime

import pytest

from clawback.fabric import subjects
from clawback.model import Address, Event, Origin, Priority, new_id, random_id
from clawback.store import shares as module
from clawback.store.events import EventStore
from clawback.store.ledger import Ledger
from clawback.store.registry import Registry
from clawback.store.shares import Bounds, ShareFull, Shares

SHARDS = 2
KIB = 1024
BODY = b"a" * 50 * KIB
BOUNDS = Bounds(source=1024 * KIB, unsigned=256 * KIB, profile=2048 * KIB)


class Disk:
    """A room with so much left, and no more is asked of it."""

    def __init__(self, left) -> None:
        self.left = left

    async def problem(self, size=0):
        """Never."""


class House:
    """A store with shares, and a profile."""

    def __init__(self, fabric, *, left=None, bounds=BOUNDS) -> None:
        self.fabric = fabric
        room = Disk(left)
        self.events = EventStore(fabric, Ledger(fabric), SHARDS, room, shares=Shares(fabric, SHARDS, room, bounds))
        self.address = Address(random_id(16), None)

    async def store(self, source="a", *, verified=False, body=BODY, address=None) -> None:
        """Take an event of a source."""
        event = Event(
            new_id("evt"), Origin.WEBHOOK, Priority.NORMAL, datetime.now(UTC), source_id=source, verified=verified
        )
        maker = subjects.source_maker(source)
        await self.events.store(address or self.address, event, body, maker=maker, patience_s=5)

    async def fill(self, source="a", **how) -> int:
        """Store until it is refused; says how many were taken."""
        for number in range(200):
            try:
                await self.store(source, **how)
            except ShareFull:
                return number
        raise AssertionError("it is never refused")

    async def work_off(self, number) -> None:
        """End the oldest events."""
        shard = subjects.shard_of(self.address.profile_id, SHARDS)
        stream = subjects.event_stream(shard)
        page = await self.fabric.page(stream, subjects.profile_filter(shard, self.address.profile_id), first=1)
        for stored in page[:number]:
            await self.fabric.api(f"STREAM.MSG.DELETE.{stream}", {"seq": stored.sequence})


@pytest.fixture
async def fabric_with_streams(fresh_fabric, monkeypatch):
    """A NATS of its own, asked as often as a test wants."""
    await Registry.open(fresh_fabric, shards=SHARDS)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    return fresh_fabric


async def test_an_unsigned_source_fills_its_share_and_no_more(fabric_with_streams):
    """A stranger's flood to it is refused by its name; another source, and another profile, go on."""
    house = House(fabric_with_streams)
    taken = await house.fill("a")
    with pytest.raises(ShareFull, match=r"this source.*max_unsigned_source_bytes"):
        await house.store("a")
    await house.store("b")
    await house.store("a", address=Address(random_id(16), None))

    assert taken == 256 * KIB // (len(BODY) + module.MESSAGE_BYTES)


async def test_a_signed_source_has_more(fabric_with_streams):
    """As many bytes as the setting says."""
    taken = await House(fabric_with_streams).fill("a", verified=True)

    assert taken == 1024 * KIB // (len(BODY) + module.MESSAGE_BYTES)


async def test_a_profile_is_bounded_with_all_its_sources(fabric_with_streams):
    """More sources are no way to more; another profile goes on."""
    house = House(fabric_with_streams)
    taken = 0
    for number in range(10):
        taken += await house.fill(f"source-{number}")
    with pytest.raises(ShareFull, match=r"this profile.*max_profile_bytes"):
        await house.store("one-more")
    await house.store(address=Address(random_id(16), None))

    assert taken == 2048 * KIB // (len(BODY) + module.MESSAGE_BYTES)


async def test_what_is_worked_off_gives_its_bytes_back(fabric_with_streams):
    """As NATS says how much still waits."""
    house = House(fabric_with_streams)
    await house.fill("a")
    await house.work_off(2)

    assert await house.fill("a") == 2


async def test_a_small_disk_makes_shares_smaller(fabric_with_streams):
    """A quarter of what is free for one that verifies nothing, whatever the setting."""
    house = House(fabric_with_streams, left=512 * KIB)

    assert await house.fill("a") == 128 * KIB // (len(BODY) + module.MESSAGE_BYTES)


async def test_a_restart_forgets_nothing_that_waits(fabric_with_streams):
    """What an earlier process stored is reckoned by the average of its stream."""
    house = House(fabric_with_streams)
    await house.fill("a")
    again = House(fabric_with_streams)
    again.address = house.address

    assert await again.fill("a") == 0


async def test_small_ones_are_no_cover_for_large_ones(fabric_with_streams):
    """The sizes of the newest that wait count, and not what went through before."""
    house = House(fabric_with_streams)
    for _ in range(50):
        await house.store("a", body=b"x")
    await house.work_off(50)

    assert await house.fill("a") == 256 * KIB // (len(BODY) + module.MESSAGE_BYTES)
