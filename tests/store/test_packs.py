import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from clawback.fabric import subjects
from clawback.fabric.streams import Fabric
from clawback.model import random_id
from clawback.store import packs as packs_module
from clawback.store.ledger import Ledger
from clawback.store.packs import PACK, Packer, Packs
from waiting import eventually

STREAMS = ["EVT0"]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Entries are deleted by the step after the one that packed them, and everybody packs."""
    monkeypatch.setattr(packs_module, "KEPT_SECONDS", 0.0)
    monkeypatch.setattr(packs_module, "OTHERS_SECONDS", 0.0)


def names(number: int) -> list[str]:
    """Name so many events."""
    return [f"evt_{n}" for n in range(number)]


async def fill(fabric: Fabric, number: int) -> None:
    """Write entries as servers do."""
    ledger = Ledger(fabric)
    for name in names(number):
        ledger.note("p", name)
    await ledger.drain(30)


async def pack(fabric: Fabric, *, steps: int = 2) -> Packs:
    """Pack what fills a pack, and delete it."""
    packs = Packs(fabric)
    packer = Packer(fabric, packs)
    for _ in range(steps):
        await packer.step()
    return packs


async def left(fabric: Fabric) -> int:
    """Count the entries that are messages of their own."""
    return len(await fabric.counts("SEEN", "seen.>"))


async def seen(ledger: Ledger, number: int) -> int:
    """Count those of the first events that a ledger knows."""
    return sum([await ledger.seen("p", name) for name in names(number)])


@contextmanager
def reading(ledger: Ledger) -> Iterator[None]:
    """Let a ledger read while the block runs."""
    task = asyncio.create_task(ledger.keep_reading(STREAMS))
    yield
    task.cancel()


@pytest.mark.parametrize("reads", [True, False], ids=["from memory", "by looking up"])
async def test_what_was_packed_was_seen(fresh_fabric, reads):
    """Of each entry, those in packs and those that did not fill one; and nothing else is known by them."""
    number = 2 * PACK + 5
    await fill(fresh_fabric, number)
    packs = await pack(fresh_fabric)
    ledger = Ledger(fresh_fabric)
    with reading(ledger) if reads else reading(Ledger(fresh_fabric)):
        if reads:
            await eventually(ledger._is_complete)

        assert (await left(fresh_fabric), packs.count) == (5, 2 * PACK)
        assert await fresh_fabric.counts("PACKS", ">") == {subjects.PACK: 2}
        assert await seen(ledger, number) == number
        assert not await ledger.seen("p", "evt_new")
        assert not await ledger.seen("q", "evt_0")


async def test_an_entry_is_deleted_only_after_every_server_had_time_to_read_its_pack(fresh_fabric, monkeypatch):
    """Until then it is both."""
    monkeypatch.setattr(packs_module, "KEPT_SECONDS", 3600.0)
    await fill(fresh_fabric, PACK)
    packs = await pack(fresh_fabric, steps=3)

    assert (await left(fresh_fabric), packs.count) == (PACK, PACK)
    assert packs_module.TRUSTED_SECONDS * 10 < 60.0


async def test_a_few_entries_are_packed_once_it_is_time(fresh_fabric, monkeypatch):
    """Not before: each pack would have one or two."""
    await fill(fresh_fabric, 3)
    before = (await pack(fresh_fabric)).count
    monkeypatch.setattr(packs_module, "AT_LEAST_EVERY_SECONDS", 0.0)
    after = (await pack(fresh_fabric)).count

    assert (before, after, await left(fresh_fabric)) == (0, 3, 0)
    assert await seen(Ledger(fresh_fabric), 3) == 3


async def test_what_is_packed_while_a_look_up_waits_is_found(fresh_fabric, monkeypatch):
    """A server that was stopped with an old reading of the packs looks again before it calls an event new."""
    await fill(fresh_fabric, PACK)
    ledger, get, asked = Ledger(fresh_fabric), fresh_fabric.get, []

    async def stopped_get(stream: str, **options):
        if stream == "SEEN" and not asked:
            asked.append(stream)
            await pack(fresh_fabric)
            ledger._packs._complete_at -= 2 * packs_module.TRUSTED_SECONDS
        return await get(stream, **options)

    monkeypatch.setattr(fresh_fabric, "get", stopped_get)

    assert await ledger.seen("p", "evt_0")
    assert asked


async def test_a_reading_of_the_packs_counts_for_a_while_only(fresh_fabric):
    """An entry that was packed and deleted by another server meanwhile is found: in memory by the next reading."""
    ledger = Ledger(fresh_fabric)
    with reading(ledger):
        await eventually(ledger._is_complete)
        ledger._packs._complete_at -= 2 * packs_module.TRUSTED_SECONDS

        assert not ledger._is_complete()


async def test_two_servers_pack_an_entry_once(fresh_natsd, fresh_fabric):
    """Of two that would at the same moment one does."""
    await fill(fresh_fabric, PACK)
    other = await Fabric.open(fresh_natsd.auth, name="other")
    packers = [Packer(each, Packs(each)) for each in (fresh_fabric, other)]
    await asyncio.gather(*(packer.step() for packer in packers))
    stored = await fresh_fabric.get_many("PACKS", ">")
    await other.close()

    assert [len(each.data) for each in stored] == [16 * PACK]


async def test_a_server_leaves_the_packing_to_another_that_does_it(fresh_natsd, fresh_fabric, monkeypatch):
    """What that one has packed and not deleted yet is not packed again."""
    monkeypatch.setattr(packs_module, "KEPT_SECONDS", 3600.0)
    monkeypatch.setattr(packs_module, "OTHERS_SECONDS", 3600.0)
    await fill(fresh_fabric, PACK)
    await pack(fresh_fabric)
    other = await Fabric.open(fresh_natsd.auth, name="other")
    packs = await pack(other)
    await other.close()

    assert packs.count == PACK
    assert await fresh_fabric.counts("PACKS", ">") == {subjects.PACK: 1}


@pytest.mark.parametrize("lost", [False, True])
async def test_a_reconnect_reads_the_new_packs_and_no_more(fresh_natsd, fresh_fabric, monkeypatch, lost):
    """Unless NATS has another pack where the memory ends, or none: then all are read."""
    await fill(fresh_fabric, 2 * PACK)
    await pack(fresh_fabric)
    packs, asked, pages = Packs(fresh_fabric), [], fresh_fabric.pages
    await packs.read()
    if lost:
        await fresh_fabric.api("STREAM.MSG.DELETE.PACKS", {"seq": 2})

    def noted_pages(*arguments, first, **options):
        asked.append(first)
        return pages(*arguments, first=first, **options)

    monkeypatch.setattr(fresh_fabric, "pages", noted_pages)
    fresh_natsd.restart()
    await eventually(lambda: fresh_fabric.generation == 2 and fresh_fabric.problem() is None, 10.0)
    were_known = packs.are_known
    await packs.read()

    assert not were_known
    assert packs.are_known
    assert (asked, packs.count) == (([1], PACK) if lost else ([3], 2 * PACK))


async def test_entries_survive_a_kill_of_nats_between_the_pack_and_their_end(fresh_natsd, fresh_fabric):
    """They are there twice then, and packed again."""
    await fill(fresh_fabric, PACK)
    packs = Packs(fresh_fabric)
    packer = Packer(fresh_fabric, packs)
    await packer.step()
    fresh_natsd.restart()
    await eventually(lambda: fresh_fabric.generation == 2 and fresh_fabric.problem() is None, 10.0)
    in_between = await left(fresh_fabric)
    for _ in range(2):
        await packer.step()

    assert (in_between, await left(fresh_fabric)) == (PACK, 0)
    assert await seen(Ledger(fresh_fabric), PACK) == PACK


async def test_what_expired_is_new_again_and_leaves_the_memory(fresh_fabric):
    """NATS has the last word, and what it has no more is forgotten in time."""
    await fill(fresh_fabric, PACK)
    packs = await pack(fresh_fabric)
    await fresh_fabric.api("STREAM.PURGE.PACKS", {})
    known = packs.may_have("seen.p.evt_0"), await packs.have("seen.p.evt_0")
    await packs.forget_expired()

    assert known == (True, False)
    assert (packs.count, packs.may_have("seen.p.evt_0")) == (0, False)


async def test_an_entry_in_two_packs_is_known_by_the_one_that_is_left(fresh_fabric, monkeypatch):
    """It was noted again, or packed by two servers."""
    monkeypatch.setattr(packs_module, "GROUP", 1)
    for _ in range(2):
        await fill(fresh_fabric, PACK)
        await pack(fresh_fabric)
    packs = Packs(fresh_fabric)
    await packs.read()
    await fresh_fabric.api("STREAM.MSG.DELETE.PACKS", {"seq": 1})
    before = await packs.have("seen.p.evt_0")
    await packs.forget_expired()

    assert before
    assert await packs.have("seen.p.evt_0")
    assert packs.count == PACK


async def test_nothing_is_packed_without_the_right_to_delete(fresh_fabric):
    """It would be packed again at each start; entries stay what they are, and known."""
    config = (await fresh_fabric.api("STREAM.INFO.SEEN", {}))["config"]
    assert "error" not in await fresh_fabric.api("STREAM.UPDATE.SEEN", config | {"deny_purge": True})
    await fill(fresh_fabric, PACK)
    with pytest.raises(Exception, match="NATS did not delete what was packed of SEEN"):
        await pack(fresh_fabric)

    assert await fresh_fabric.counts("PACKS", ">") == {}
    assert await seen(Ledger(fresh_fabric), 10) == 10


async def test_the_memory_of_packs_has_a_bound(fresh_fabric, monkeypatch):
    """Beyond it entries stay messages, which are looked up."""
    monkeypatch.setattr(packs_module, "MAX_PACKED", PACK)
    await fill(fresh_fabric, 3 * PACK)
    packs = await pack(fresh_fabric, steps=3)
    ledger = Ledger(fresh_fabric)

    assert (packs.count, await left(fresh_fabric)) == (PACK, 2 * PACK)
    assert [await ledger.seen("p", f"evt_{n}") for n in (0, PACK, 3 * PACK - 1)] == [True] * 3


@pytest.mark.parametrize("reads", [True, False], ids=["that knows the ledger", "that has to ask"])
async def test_the_end_of_an_event_writes_nothing_that_is_packed(fresh_fabric, reads):
    """Whoever ends an event that waited for long finds its entry in the packs."""
    await fill(fresh_fabric, PACK)
    await pack(fresh_fabric)
    ledger = Ledger(fresh_fabric)
    with reading(ledger):
        await eventually(ledger._is_complete)
        if not reads:
            ledger._memory.give_up()
        await ledger.written("p", "evt_0")

        assert await left(fresh_fabric) == 0


async def test_what_the_server_notes_is_packed_in_the_background(fresh_fabric, monkeypatch):
    """By the server that reads it, whoever wrote it."""
    monkeypatch.setattr(packs_module, "LOOK_SECONDS", 0.05)
    await fill(fresh_fabric, PACK)
    ledger = Ledger(fresh_fabric)
    packing = asyncio.create_task(ledger.keep_packing())

    async def is_packed() -> bool:
        return await left(fresh_fabric) == 0

    await eventually(is_packed)
    packing.cancel()

    assert await seen(ledger, PACK) == PACK
    assert not await ledger.seen("p", random_id(26))
