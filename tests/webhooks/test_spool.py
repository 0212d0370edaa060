"""The spool against a real NATS: what it keeps, gives back in order, and says when it cannot."""

import asyncio
import logging
import os
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from clawback.errors import ConfigError, QueueFull, TooLarge, Unavailable
from clawback.fabric import subjects
from clawback.fabric.streams import Fabric
from clawback.model import Address, Event, Origin, Priority, Profile, Scheme, Source, new_id, random_id
from clawback.store.events import DEAD_STREAM, EventStore, decode_event
from clawback.store.ledger import Ledger
from clawback.store.registry import Registry
from clawback.webhooks.spool import BLOCK_BYTES, Spool
from clawback.webhooks.spooled import Spooled
from counting import counted
from waiting import eventually

SHARDS = 2
NOW = datetime.now(UTC)
MIB = 1024 * 1024


class House:
    """A profile with two sources, and the stores behind a spool."""

    def __init__(self, fabric: Fabric, registry: Registry, directory) -> None:
        self.fabric = fabric
        self.registry = registry
        self.directory = directory
        self.ledger = Ledger(fabric)
        self.events = EventStore(fabric, self.ledger, SHARDS)
        self.profile = Profile(random_id(16), f"house-{random_id(8)}", random_id(26), NOW)
        self.sources = [new_id("src"), new_id("src")]

    def spool(self, max_bytes: int = MIB) -> Spool:
        """Open the spool as a start of a server does."""
        spool = Spool(self.directory, self.events, self.registry, max_bytes=max_bytes)
        spool.open()
        return spool

    def event(self, name: str, source: int = 0, body: bytes | None = None) -> Spooled:
        """Make an accepted event."""
        source_id = self.sources[source]
        event = Event(f"evt_{name}", Origin.WEBHOOK, Priority.NORMAL, NOW, source_id=source_id, delivery_id=name)
        return Spooled(self.profile.id, None, source_id, event, name.encode() if body is None else body)

    async def stored(self) -> list[bytes]:
        """Read the bodies of what waits in the line, in its order."""
        shard = subjects.shard_of(self.profile.id, SHARDS)
        line = subjects.lane_filter(shard, Address(self.profile.id, None))
        return [decode_event(each.headers, each.data)[1] async for each in self.fabric.walk(f"EVT{shard}", line)]

    def files(self, pattern: str = "*.event") -> list[str]:
        """List the spool's files in the order of their names."""
        return sorted(path.name for path in self.directory.glob(pattern))


@pytest.fixture
async def house(fresh_fabric, tmp_path):
    """A house on a NATS of its own."""
    house = House(fresh_fabric, await Registry.open(fresh_fabric, shards=SHARDS), tmp_path / "spool")
    await house.registry.create_profile(house.profile)
    for number, source_id in enumerate(house.sources):
        await house.registry.create_source(Source(source_id, house.profile.id, f"hub-{number}", Scheme.NONE, NOW))
    yield house
    await house.ledger.drain()


@asynccontextmanager
async def draining(spool: Spool):
    """Let the spool give back what it has."""
    task = asyncio.create_task(spool.drain())
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def abandoned(spool: Spool):
    """Leave a spool as a killed process does: its directory is free, and nothing else is done."""
    yield
    os.close(spool._lock)


async def test_what_was_kept_is_stored_in_order_when_nats_is_back(house, fresh_natsd):
    """Each event once, under its id; then the spool is empty and the source is direct again."""
    spool = house.spool()
    fresh_natsd.kill9()
    for name in "abcd":
        assert await spool.put(house.event(name))
    async with draining(spool):
        kept = spool.has_events_of(house.sources[0])
        await asyncio.to_thread(fresh_natsd.start)
        await eventually(lambda: spool.describe() is None, timeout=15)
        stored = await house.stored()

    assert stored == [b"a", b"b", b"c", b"d"]
    assert kept
    assert not spool.has_events_of(house.sources[0])
    assert house.files("*") == ["lock"]


async def test_an_event_that_is_kept_already_is_a_duplicate(house):
    """A sender that sends it again is told so."""
    spool = house.spool()

    assert await spool.put(house.event("a"))
    assert not await spool.put(house.event("a"))
    assert len(house.files()) == 1


async def test_what_a_killed_server_kept_is_stored_by_the_next(house):
    """In its order, and before what comes after it; a draft is of an event whose 202 never left."""
    spool = house.spool()
    async with abandoned(spool):
        for name in "abc":
            await spool.put(house.event(name))
        (house.directory / "0000000000000003-src.draft").write_bytes(b"half of it")
    again = house.spool()
    await again.put(house.event("d"))
    numbers = [name.partition("-")[0] for name in house.files()]
    async with draining(again):
        await eventually(lambda: again.describe() is None)

    assert numbers == [f"{number:016d}" for number in range(4)]
    assert await house.stored() == [b"a", b"b", b"c", b"d"]
    assert house.files("*.draft") == []


async def test_a_kill_between_store_and_removal_repeats_nothing(house):
    """The file is there and the event in its stream: the second store is a duplicate. Also where it ended meanwhile."""
    spool = house.spool()
    async with abandoned(spool):
        for name in "ab":
            await spool.put(house.event(name))
    first = house.event("a")
    maker = subjects.source_maker(first.source_id)
    await house.events.store(first.address, first.event, first.body, maker=maker, patience_s=5)
    again = house.spool()
    async with draining(again):
        await eventually(lambda: again.describe() is None)

    assert await house.stored() == [b"a", b"b"]


async def test_a_damaged_file_holds_nothing_up(house, caplog):
    """It is set aside, and said; the ones behind it are stored."""
    before = counted("clawback_spool_damaged_total")
    spool = house.spool()
    async with abandoned(spool):
        for name in "abc":
            await spool.put(house.event(name))
    damaged = house.directory / house.files()[1]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    again = house.spool()
    async with draining(again):
        await eventually(lambda: not again.has_events_of(house.sources[0]))

    assert await house.stored() == [b"a", b"c"]
    assert house.files("*.damaged") == [damaged.with_suffix(".damaged").name]
    assert counted("clawback_spool_damaged_total") == before + 1
    assert [record.levelno for record in caplog.records if "set aside" in record.message] == [logging.CRITICAL]


async def test_a_bug_that_one_sources_event_meets_holds_up_no_other(house, monkeypatch):
    """It stays, and is tried again."""
    spool, bugs = house.spool(), [RuntimeError("planted")]
    for number, name in enumerate("ab"):
        await spool.put(house.event(name, number))
    store = house.events.store

    async def store_or_fail(address, event, *arguments, **options):
        if bugs and event.id == "evt_a":
            raise bugs[0]
        return await store(address, event, *arguments, **options)

    monkeypatch.setattr(house.events, "store", store_or_fail)
    async with draining(spool):
        await eventually(lambda: came(house, [b"b"]))
        bugs.clear()
        await eventually(lambda: came(house, [b"b", b"a"]))

    assert house.files() == []


async def came(house, bodies):
    """Whether these are in the line."""
    return await house.stored() == bodies


async def test_a_full_spool_takes_nothing(house):
    """Small events take a block each; the refusal names the bound, and what is kept stays."""
    spool = house.spool(max_bytes=3 * BLOCK_BYTES)
    for name in "abc":
        await spool.put(house.event(name))
    with pytest.raises(Unavailable, match=r"spool_max_bytes"):
        await spool.put(house.event("d"))

    assert len(house.files()) == 3


async def test_no_source_takes_all_of_the_spool(house):
    """One that sends without end is refused by its own name; another one's webhook is kept."""
    spool = house.spool(max_bytes=24 * BLOCK_BYTES)
    for number in range(22):
        await spool.put(house.event(f"a{number}"))
    with pytest.raises(QueueFull, match=rf"{house.sources[0]}.*spool_max_bytes"):
        await spool.put(house.event("a22"))

    assert await spool.put(house.event("b", 1))
    assert len(house.files()) == 23


async def test_the_share_of_a_source_outlives_a_restart(house):
    """What an earlier process kept counts, and what was given back does not."""
    spool = house.spool(max_bytes=16 * BLOCK_BYTES)
    async with abandoned(spool):
        for number in range(15):
            await spool.put(house.event(f"a{number}"))
    again = house.spool(max_bytes=16 * BLOCK_BYTES)
    with pytest.raises(QueueFull):
        await again.put(house.event("b"))
    async with draining(again):
        await eventually(lambda: again.describe() is None)

    assert await again.put(house.event("b"))


STRAYS = (
    "notes.event",
    "00000000000000zz-src_a.event",
    "\N{ARABIC-INDIC DIGIT ZERO}" * 16 + "-src_a.event",
    "9" * 40 + "-src_a.event",
    "0000000000000007-.event",
    ".event",
)


async def test_a_stray_file_does_not_stop_the_start(house, caplog):
    """It is set aside, whatever it is, and an owner sees it; what was accepted is stored."""
    spool = house.spool()
    async with abandoned(spool):
        await spool.put(house.event("a"))
    for name in STRAYS:
        (house.directory / name).write_bytes(b"not ours")
    (house.directory / "0000000000000003-src_dir.event").mkdir()
    (house.directory / "0000000000000004-src_link.event").symlink_to("nowhere")
    (house.directory / "0000000000000004-src_link.damaged").mkdir()
    os.mkfifo(house.directory / "0000000000000005-src_pipe.event")
    (house.directory / "0000000000000006-src.draft").mkdir()
    again = house.spool()
    async with draining(again):
        await eventually(lambda: not again.has_events_of(house.sources[0]))

    assert await house.stored() == [b"a"]
    assert house.files() == []
    assert len(house.files("*.damaged")) + len(house.files(".*damaged")) >= len(STRAYS) + 3
    assert "set aside" in again.describe()
    assert caplog.text.count("is set aside") == len(STRAYS) + 3


async def test_a_file_that_cannot_be_read_any_more_holds_nothing_up(house):
    """It became something else after the start: it is set aside, the next of its source is stored."""
    spool = house.spool()
    for name in "ab":
        await spool.put(house.event(name))
    first = house.directory / house.files()[0]
    first.unlink()
    first.mkdir()
    async with draining(spool):
        await eventually(lambda: not spool.has_events_of(house.sources[0]))

    assert await house.stored() == [b"b"]
    assert "1 files are set aside" in spool.describe()


async def test_requests_at_once_do_not_exceed_the_bound(house):
    """Room is taken before it is written."""
    spool = house.spool(max_bytes=3 * BLOCK_BYTES)
    puts = [spool.put(house.event(str(number))) for number in range(10)]
    results = await asyncio.gather(*puts, return_exceptions=True)

    assert results.count(True) == len(house.files()) == 3
    assert all(isinstance(result, Unavailable) for result in results if result is not True)


async def test_a_disk_that_fails_is_unavailable(house):
    """Nothing is left of the event, and no room is lost."""
    spool = house.spool()
    house.directory.chmod(0o700)
    moved = house.directory.rename(house.directory.with_name("elsewhere"))
    with pytest.raises(Unavailable, match="cannot write"):
        await spool.put(house.event("a"))
    moved.rename(house.directory)

    assert await spool.put(house.event("a"))
    assert spool.describe() == f"1 events wait for NATS, {BLOCK_BYTES} bytes"


async def test_what_never_fits_nats_is_not_kept(house):
    """The sender is told now, since nobody could be told later."""
    spool = house.spool(max_bytes=100 * MIB)
    with pytest.raises(TooLarge):
        await spool.put(house.event("a", body=os.urandom(9 * MIB)))

    assert house.files() == []


async def test_files_are_their_owners_alone(house):
    """They hold payloads as they came."""
    spool = house.spool()
    await spool.put(house.event("a"))
    modes = {path.stat().st_mode & 0o777 for path in house.directory.iterdir()}

    assert modes == {0o600}
    assert house.directory.stat().st_mode & 0o777 == 0o700


async def test_a_source_that_is_deleted_meanwhile_leaves_dead_letters(house):
    """As of what waited in its line."""
    spool = house.spool()
    await spool.put(house.event("a", 0))
    await spool.put(house.event("b", 1))
    await house.registry.delete_source(house.profile.id, house.sources[0])
    async with draining(spool):
        await eventually(lambda: spool.describe() is None)
    dead = await house.fabric.counts(DEAD_STREAM, subjects.profile_dead_filter(house.profile.id))

    assert await house.stored() == [b"b"]
    assert list(dead) == [subjects.dead_subject(Address(house.profile.id, None), "source_deleted", "evt_a")]


async def test_a_full_line_holds_its_own_source_up_alone(house, caplog):
    """It is tried again until there is room, and the log says so once."""
    stream = f"EVT{subjects.shard_of(house.profile.id, SHARDS)}"
    info = await house.fabric.api(f"STREAM.INFO.{stream}", {})
    room = info["config"]["max_msgs_per_subject"]
    await house.fabric.api(f"STREAM.UPDATE.{stream}", info["config"] | {"max_msgs_per_subject": 1})
    spool = house.spool()
    for name, source in (("a", 0), ("b", 0), ("c", 1)):
        await spool.put(house.event(name, source))
    async with draining(spool):
        await eventually(lambda: not spool.has_events_of(house.sources[1]))
        await eventually(lambda: "stay in the spool" in caplog.text)
        with pytest.raises(QueueFull, match="full line"):
            await spool.put(house.event("d", 0))
        before = await house.stored()
        await house.fabric.api(f"STREAM.UPDATE.{stream}", info["config"] | {"max_msgs_per_subject": room})
        await eventually(lambda: spool.describe() is None)

    assert sorted(before) == [b"a", b"c"]
    assert await house.stored() == [b"a", b"c", b"b"]
    assert caplog.text.count("stay in the spool") == 1


async def test_two_servers_have_no_spool_in_common(house):
    """The second is told which setting to change."""
    house.spool()

    with pytest.raises(ConfigError, match="data_dir"):
        house.spool()


async def test_a_spool_that_is_off_makes_nothing_and_gives_back_what_is_there(house):
    """What was accepted before it was switched off is not forgotten."""
    off = house.spool(max_bytes=0)
    made = house.directory.exists()
    spool = house.spool()
    async with abandoned(spool):
        await spool.put(house.event("a"))
    again = house.spool(max_bytes=0)
    async with draining(again):
        await eventually(lambda: again.describe() is None)

    assert not made
    assert not off.takes_events
    assert await house.stored() == [b"a"]
