import asyncio
import itertools
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.errors import Unavailable
from clawback.fabric import subjects
from clawback.fabric.streams import BURST_MESSAGES, PAGE_MESSAGES, Fabric
from clawback.model import Address, Event, Origin, Priority, new_id, random_id
from clawback.store import ledger as ledger_module
from clawback.store.events import EventStore
from clawback.store.ledger import MAX_BATCH, WORTH_A_BATCH, Ledger, _Memory
from waiting import eventually

STREAMS = ["EVT0"]


async def test_what_was_noted_was_seen(fabric):
    """At once on the server that noted it, and once it is written on every other; for its own profile only."""
    profile_id = random_id(16)
    ledger, other = Ledger(fabric), Ledger(fabric)
    before = await ledger.seen(profile_id, "evt_1")
    ledger.note(profile_id, "evt_1")
    at_once = await ledger.seen(profile_id, "evt_1")
    await ledger.drain()

    assert (before, at_once) == (False, True)
    assert await other.seen(profile_id, "evt_1")
    assert not await other.seen(profile_id, "evt_2")
    assert not await other.seen(random_id(16), "evt_1")


async def test_a_note_twice_is_one_entry(fabric):
    """A delivery that keeps coming leaves one record."""
    profile_id = random_id(16)
    ledger = Ledger(fabric)
    for _ in range(5):
        ledger.note(profile_id, "evt_1")
        await ledger.drain()

    assert await fabric.counts("SEEN", f"seen.{profile_id}.*") == {f"seen.{profile_id}.evt_1": 1}


@pytest.mark.parametrize("number", [1, 2, WORTH_A_BATCH - 1, WORTH_A_BATCH, MAX_BATCH, MAX_BATCH + 1, 5 * MAX_BATCH])
async def test_many_notes_are_all_written(fabric, number):
    """A burst of any size is written whole, in batches or one by one."""
    profile_id = random_id(16)
    ledger = Ledger(fabric)
    for n in range(number):
        ledger.note(profile_id, f"evt_{n}")
    await ledger.drain(30)

    assert len(await fabric.counts("SEEN", f"seen.{profile_id}.*")) == number


async def test_an_entry_survives_a_kill_of_nats(fresh_natsd, fresh_fabric):
    """What was accepted before a kill -9 is known after it."""
    ledger = Ledger(fresh_fabric)
    ledger.note("p", "evt_1")
    await ledger.drain()
    fresh_natsd.restart()
    await eventually(lambda: fresh_fabric.generation == 2 and fresh_fabric.problem() is None, 10.0)

    assert await Ledger(fresh_fabric).seen("p", "evt_1")


async def test_notes_wait_until_nats_is_back(fresh_natsd, fresh_fabric):
    """What could not be written is written later, in the background, and counts as seen meanwhile."""
    ledger = Ledger(fresh_fabric)
    fresh_natsd.kill9()
    await eventually(fresh_fabric.problem)
    for n in range(50):
        ledger.note("p", f"evt_{n}")
    meanwhile = await ledger.seen("p", "evt_0")
    draining = asyncio.create_task(ledger.drain(30))
    fresh_natsd.start()
    await draining

    assert meanwhile
    await eventually(lambda: fresh_fabric.problem() is None)
    assert len(await fresh_fabric.counts("SEEN", "seen.p.*")) == 50


async def test_a_drain_gives_up_in_time_and_says_what_is_lost(fresh_natsd, fresh_fabric, caplog):
    """A shutdown without NATS ends in time, with a warning that counts what is missing."""
    caplog.set_level(logging.WARNING, "clawback.fabric")
    ledger = Ledger(fresh_fabric)
    fresh_natsd.kill9()
    await eventually(fresh_fabric.problem)
    ledger.note("p", "evt_1")
    async with asyncio.timeout(5):
        await ledger.drain(0.1)

    assert "the ledger lacks 1 events" in caplog.text


async def test_an_empty_ledger_drains_at_once(fabric):
    """Nothing to write is nothing to wait for."""
    async with asyncio.timeout(1):
        await Ledger(fabric).drain(60)


# --- from memory --------------------------------------------------------------------------------------------------


class Server:
    """A ledger that reads into memory, and the look-ups that it still makes."""

    def __init__(self, fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fabric = fabric
        self.ledger = Ledger(fabric)
        self.looked_up: list[str] = []
        get = fabric.get

        async def counted_get(stream: str, **options):
            self.looked_up.append(stream)
            return await get(stream, **options)

        monkeypatch.setattr(fabric, "get", counted_get)

    async def asks(self, profile_id: str, event_id: str) -> tuple[bool, int]:
        """Tell what `seen` says, and how often it asked NATS for that."""
        before = len(self.looked_up)
        return await self.ledger.seen(profile_id, event_id), len(self.looked_up) - before

    async def answers_from_memory(self) -> bool:
        """Tell whether an event that nobody ever saw is known as new without asking."""
        return await self.asks("nobody", random_id(26)) == (False, 0)


@contextmanager
def reading(*ledgers: Ledger) -> Iterator[None]:
    """Let ledgers read while the block runs."""
    with ExitStack() as stack:
        for each in ledgers:
            stack.callback(asyncio.create_task(each.keep_reading(STREAMS)).cancel)
        yield


@pytest.fixture
async def server(fresh_fabric, monkeypatch) -> Server:
    """A server on a NATS of its own."""
    return Server(fresh_fabric, monkeypatch)


async def deliver(fabric: Fabric, ledger: Ledger, event: Event) -> bool:
    """Take a delivery as a server does, and let a session ack at once what is new; False: it is a duplicate."""
    new = await EventStore(fabric, ledger, 1).store(Address("p", None), event, b"", maker="w-src", patience_s=5)
    await ledger.drain()
    for stored in await fabric.get_many("EVT0", "evt.0.p.>"):
        await fabric.api("STREAM.MSG.DELETE.EVT0", {"seq": stored.sequence})
    return new


def a_delivery() -> Event:
    """Make an event that may come again."""
    return Event(new_id("evt"), Origin.WEBHOOK, Priority.NORMAL, datetime.now(UTC), delivery_id="d-1")


async def fill(fabric: Fabric, number: int) -> None:
    """Write entries as another server would."""
    other = Ledger(fabric)
    for n in range(number):
        other.note("p", f"evt_{n}")
    await other.drain(30)


async def test_without_reading_every_look_up_asks(server):
    """Nothing is answered from memory then, whatever was noted here."""
    server.ledger.note("p", "evt_1")
    await server.ledger.drain()

    assert await server.asks("p", "evt_1") == (True, 1)
    assert await server.asks("p", "evt_2") == (False, 1)


@pytest.mark.parametrize("number", [0, 1, 512, 513, 1300])
async def test_what_is_new_asks_nothing_and_what_was_seen_is_confirmed(server, number):
    """After a start on a ledger of any number of pages, of which every entry is found."""
    await fill(server.fabric, number)
    with reading(server.ledger):
        await eventually(server.answers_from_memory)
        found = [await server.asks("p", f"evt_{n}") for n in range(number)]

        assert found == [(True, 1)] * number
        assert await server.asks("q", "evt_0") == (False, 0)


async def test_a_duplicate_is_found_while_the_ledger_is_being_read(server, monkeypatch):
    """Until the last page is read every look-up asks, for the first page's entries and for the last's."""
    await fill(server.fabric, 1300)
    page, page_read, go_on = server.fabric.page, asyncio.Event(), asyncio.Event()

    async def held_page(*arguments, **options):
        if page_read.is_set():
            await go_on.wait()
        page_read.set()
        return await page(*arguments, **options)

    monkeypatch.setattr(server.fabric, "page", held_page)
    with reading(server.ledger):
        await page_read.wait()
        meanwhile = [await server.asks("p", each) for each in ("evt_0", "evt_1299", "evt_new")]
        server.ledger.note("p", "evt_noted")
        await server.ledger.drain()
        go_on.set()
        await eventually(server.answers_from_memory)

        assert meanwhile == [(True, 1), (True, 1), (False, 1)]
        assert await server.asks("p", "evt_noted") == (True, 1)


async def test_what_was_noted_here_is_found_without_being_read(server):
    """At once, and after it was written."""
    with reading(server.ledger):
        await eventually(server.answers_from_memory)
        server.ledger.note("p", "evt_1")
        at_once = await server.asks("p", "evt_1")
        await server.ledger.drain()

        assert at_once == (True, 0)
        assert await server.asks("p", "evt_1") == (True, 1)


async def test_what_waits_to_be_written_when_a_memory_is_made_is_in_it(server, monkeypatch):
    """It is written behind the back of the reading, and found without being read."""
    publish, go_on = server.fabric.publish, asyncio.Event()

    async def held_publish(*arguments, **options):
        await go_on.wait()
        return await publish(*arguments, **options)

    monkeypatch.setattr(server.fabric, "publish", held_publish)
    server.ledger.note("p", "evt_1")
    with reading(server.ledger):
        await eventually(server.answers_from_memory)
        go_on.set()
        await server.ledger.drain()

        assert await server.asks("p", "evt_1") == (True, 1)


async def test_another_servers_delivery_is_one_event_before_and_after_it_is_read(server, monkeypatch):
    """The window of message ids has it until the next reading, though it was acked; then the ledger has it."""
    monkeypatch.setattr(ledger_module, "READ_AGAIN_SECONDS", 2.0)
    elsewhere, event = Ledger(server.fabric), a_delivery()
    with reading(server.ledger):
        await eventually(server.answers_from_memory)
        first = await deliver(server.fabric, elsewhere, event)
        unread = await server.asks("p", event.id)
        again = await deliver(server.fabric, server.ledger, event)
        elsewhere.note("p", "evt_other")
        await elsewhere.drain()

        assert (first, unread, again) == (True, (False, 0), False)
        await eventually(lambda: server.ledger.seen("p", "evt_other"))


async def remembers_all(ledger: Ledger, names: list[str]) -> bool:
    """Tell whether all of these need a look-up, which is asked for one that does not: else nobody reads."""
    await ledger.seen("p", "evt_new")
    return all(ledger._remembers(f"seen.p.{name}") for name in names)


@pytest.mark.parametrize("burst", [1, 3 * WORTH_A_BATCH])
async def test_what_other_servers_write_in_between_is_read(fresh_natsd, monkeypatch, burst):
    """Two servers that write at the same time come to know all of each other's entries, and hardly read their own."""
    fabrics = [await Fabric.open(fresh_natsd.auth, name="server") for _ in range(2)]
    await fabrics[0].keep_layout(1)
    servers = [Server(fabric, monkeypatch) for fabric in fabrics]
    read: list[str] = []
    for number, fabric in enumerate(fabrics):

        async def noted_page(*arguments, page=fabric.page, own=f"evt_{number}_", **options):
            found = await page(*arguments, **options)
            read.extend(each.subject for each in found if own in each.subject)
            return found

        monkeypatch.setattr(fabric, "page", noted_page)
    with reading(*(server.ledger for server in servers)):
        for server in servers:
            await eventually(server.answers_from_memory)
        names = [[f"evt_{n}_{k}" for k in range(10 * burst)] for n in range(2)]
        for start in range(0, 10 * burst, burst):
            for server, own in zip(servers, names, strict=True):
                for name in own[start : start + burst]:
                    server.ledger.note("p", name)
                await server.ledger.written("p", own[start])
        await asyncio.gather(*(server.ledger.drain() for server in servers))
        for server in servers:
            await eventually(partial(remembers_all, server.ledger, [each for own in names for each in own]))
        for server in servers:
            await eventually(server.answers_from_memory)
    for fabric in fabrics:
        await fabric.close()

    # One of which NATS had not told yet that it is written may be among what is read.
    assert len(read) < len(names[0])


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40), st.integers(0, 6)), max_size=30))
def test_a_memory_is_whole_up_to_the_first_entry_that_is_missing(steps):
    """Whatever was written here or read, in whatever order."""
    memory, covered = _Memory(1, 0.0), set[int]()
    for is_read, first, more in steps:
        if is_read:
            sequence = memory.sequence + 1 + more
            memory.read_up_to(sequence)
            covered |= set(range(sequence + 1))
        elif not covered & set(range(first, first + more + 1)):
            memory.cover(first, first + more)
            covered |= set(range(first, first + more + 1))
        missing = next(n for n in itertools.count(1) if n not in covered)

        assert memory.sequence == missing - 1
        assert memory.gap == min([PAGE_MESSAGES, *(n - missing for n in covered if n > missing)])


async def test_a_reading_counts_for_a_while_only(server, monkeypatch):
    """One that is not repeated in time leaves every look-up to NATS."""
    with reading(server.ledger):
        await eventually(server.answers_from_memory)
        monkeypatch.setattr(ledger_module, "TRUSTED_SECONDS", 0)

        assert await server.asks("p", "evt_1") == (False, 1)


async def test_a_kill_of_nats_makes_no_second_event_of_another_servers_delivery(fresh_natsd, server, monkeypatch):
    """With the window the memory ends: what was neither read nor noted here is looked up, until all is read anew."""
    elsewhere, event = Ledger(server.fabric), a_delivery()
    with reading(server.ledger):
        await eventually(server.answers_from_memory)
        await deliver(server.fabric, elsewhere, event)
        page, go_on = server.fabric.page, asyncio.Event()

        async def held_page(*arguments, **options):
            await go_on.wait()
            return await page(*arguments, **options)

        monkeypatch.setattr(server.fabric, "page", held_page)
        fresh_natsd.restart()
        await eventually(lambda: server.fabric.generation == 2 and server.fabric.problem() is None, 10.0)
        again = await deliver(server.fabric, server.ledger, event)
        go_on.set()
        await eventually(server.answers_from_memory)

        assert not again
        assert await server.asks("p", event.id) == (True, 1)


@pytest.mark.parametrize("lost", [False, True])
async def test_a_reconnect_reads_what_is_new_and_no_more(fresh_natsd, server, monkeypatch, lost):
    """Unless NATS has another entry where the memory ends, or none: then all of it is read."""
    await fill(server.fabric, 1300)
    page, asked = server.fabric.page, []

    async def noted_page(*arguments, first, **options):
        asked.append(first)
        return await page(*arguments, first=first, **options)

    monkeypatch.setattr(server.fabric, "page", noted_page)
    with reading(server.ledger):
        await eventually(server.answers_from_memory)
        asked.clear()
        if lost:
            await server.fabric.api("STREAM.MSG.DELETE.SEEN", {"seq": 1300})
        fresh_natsd.restart()
        await eventually(lambda: server.fabric.generation == 2 and server.fabric.problem() is None, 10.0)
        await fill(server.fabric, 1)
        await eventually(server.answers_from_memory)

        assert min(asked) == (1 if lost else 1301)
        assert await server.asks("p", "evt_1") == (True, 1)


def test_all_of_the_stream_is_read_by_the_filter_that_costs_nothing():
    """NATS knows by this one alone that every entry matches (see there)."""
    assert subjects.SEEN_FILTER == ">"


async def test_a_new_connection_ends_the_memory_at_once(server):
    """Even before the first page is asked for, a webhook that comes over it is looked up."""
    with reading(server.ledger):
        await eventually(server.answers_from_memory)
        server.fabric.generation += 1

        assert await server.asks("p", "evt_1") == (False, 1)


async def test_more_entries_than_fit_are_all_looked_up(server, monkeypatch, caplog):
    """A ledger beyond the bound of the memory is asked each time, whether it was so at the start or grew to it."""
    caplog.set_level(logging.INFO, "clawback.fabric")
    monkeypatch.setattr(ledger_module, "MAX_REMEMBERED", 20)
    with reading(server.ledger):
        await eventually(server.answers_from_memory)
        await fill(server.fabric, 10)
        for n in range(21):
            server.ledger.note("q", f"evt_{n}")
        await server.ledger.drain(30)
        grown = [await server.asks(*each) for each in (("q", "evt_0"), ("p", "evt_new"))]
    restarted = Ledger(server.fabric)
    with reading(restarted):
        await eventually(lambda: "more than 20 entries" in caplog.text)
        server.ledger = restarted

        assert grown == [(True, 1), (False, 1)]
        assert await server.asks("q", "evt_20") == (True, 1)
        assert await server.asks("p", "evt_new") == (False, 1)


async def test_an_entry_that_expired_is_new_again(server):
    """The memory keeps its hash, NATS has the last word; once the memory is made anew nothing is asked."""
    server.ledger.note("p", "evt_1")
    await server.ledger.drain()
    with reading(server.ledger):
        await eventually(server.answers_from_memory)
        await server.fabric.api("STREAM.PURGE.SEEN", {"filter": subjects.seen_subject("p", "evt_1")})

        assert await server.asks("p", "evt_1") == (False, 1)


async def test_the_memory_is_made_anew_in_time(server, monkeypatch):
    """What expired is forgotten there too, so that the memory does not fill with it."""
    monkeypatch.setattr(ledger_module, "READ_AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(ledger_module, "FORGET_SECONDS", 0)
    server.ledger.note("p", "evt_1")
    await server.ledger.drain()
    with reading(server.ledger):
        await eventually(server.answers_from_memory)
        await server.fabric.api("STREAM.PURGE.SEEN", {})

        async def forgotten() -> bool:
            return await server.asks("p", "evt_1") == (False, 0)

        await eventually(forgotten)


async def test_what_is_waited_for_is_written_at_once(fabric, monkeypatch):
    """Whoever ends an event waits for its entry and not for the others to gather; what is written is not waited for."""
    monkeypatch.setattr("clawback.store.ledger.GATHER_SECONDS", 3600.0)
    ledger, profile_id = Ledger(fabric), random_id(16)
    for name in ("evt_first", "evt_second", "evt_third"):
        ledger.note(profile_id, name)
        async with asyncio.timeout(5):
            await ledger.written(profile_id, name)
            await ledger.written(profile_id, name)
    entries = await fabric.get_many("SEEN", f"seen.{profile_id}.*")
    await ledger.drain()

    assert [entry.subject.rpartition(".")[2] for entry in entries] == ["evt_first", "evt_second", "evt_third"]


async def test_a_batch_takes_its_time_until_somebody_waits_for_it(fabric, monkeypatch):
    """Between a few entries webhooks have their turn; whoever ends an event has the rest sent at once."""
    monkeypatch.setattr("clawback.store.ledger.GATHER_SECONDS", 0.0)
    monkeypatch.setattr("clawback.store.ledger.PAUSE_SECONDS", 3600.0)
    ledger, profile_id, sent = Ledger(fabric), random_id(16), []
    subscription = await fabric.subscribe(f"seen.{profile_id}.*", sent.append)
    for number in range(5 * BURST_MESSAGES):
        ledger.note(profile_id, f"evt_{number}")
    await eventually(lambda: sent)
    # What was sent before this has come back by its answer.
    await fabric.counts("SEEN", "none")
    in_the_pause = len(sent)
    async with asyncio.timeout(5):
        await ledger.written(profile_id, "evt_0")
    await subscription.unsubscribe()

    assert in_the_pause == BURST_MESSAGES
    assert len(await fabric.counts("SEEN", f"seen.{profile_id}.*")) == 5 * BURST_MESSAGES


async def test_an_entry_that_cannot_be_written_holds_its_event_back(fresh_fabric, fresh_natsd, monkeypatch):
    """While NATS is away the end of an event is told to wait, and goes through once it is back."""
    monkeypatch.setattr("clawback.store.ledger.WRITTEN_SECONDS", 0.3)
    ledger, profile_id = Ledger(fresh_fabric), random_id(16)
    fresh_natsd.kill9()
    ledger.note(profile_id, "evt_a")
    with pytest.raises(Unavailable, match="the ledger could not be written"):
        await ledger.written(profile_id, "evt_a")
    fresh_natsd.start()
    await eventually(lambda: fresh_fabric.problem() is None, 10.0)
    monkeypatch.setattr("clawback.store.ledger.WRITTEN_SECONDS", 10.0)
    await ledger.written(profile_id, "evt_a")

    assert await fresh_fabric.get("SEEN", subject=f"seen.{profile_id}.evt_a") is not None


@pytest.mark.parametrize("knows", [True, False], ids=["that knows the ledger", "that has to ask"])
async def test_an_entry_that_a_killed_server_left_out_is_made_up_for(server, knows):
    """A server writes what is missing of an event before that leaves its stream, once, and nothing that is there."""
    ledger, other = server.ledger, Ledger(server.fabric)
    other.note("p", "evt_there")
    await other.drain()
    with reading(*[ledger] * knows):
        if knows:
            await eventually(ledger._is_complete)
        for name in ("evt_left", "evt_there", "evt_left"):
            await ledger.written("p", name)
    await ledger.drain()
    found = [await server.fabric.get("SEEN", subject=f"seen.p.{name}") for name in ("evt_there", "evt_left")]

    assert [each.sequence for each in found] == [1, 2]
