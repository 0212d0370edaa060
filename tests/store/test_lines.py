"""Pulling events from lines and ending them, while NATS loses answers, consumers and wake-ups."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from clawback.errors import Unavailable
from clawback.fabric import subjects
from clawback.model import Address, Event, Origin, Priority, new_id, random_id
from clawback.store import lines as module
from clawback.store.events import EventStore
from clawback.store.ledger import Ledger
from clawback.store.lines import Lines
from conftest import SHARDS
from waiting import eventually

NORMAL, PRIORITY, INTERRUPT = Priority.NORMAL, Priority.PRIORITY, Priority.INTERRUPT
SOURCE = subjects.source_maker("src_a")


class Site:
    """An address of a test's own, with its lines."""

    def __init__(self, fabric):
        self.fabric = fabric
        self.lines = Lines(fabric, SHARDS)
        self.address = Address(random_id(16), "builds")
        self.shard = self.lines.shard(self.address)
        self.stream = subjects.event_stream(self.shard)
        self._events = EventStore(fabric, Ledger(fabric), SHARDS)

    async def publish(self, text="work", priority=NORMAL, maker=SOURCE):
        """Store an event."""
        event = Event(new_id("evt"), Origin.WEBHOOK, priority, datetime.now(UTC))
        await self._events.store(self.address, event, text.encode(), maker=maker, patience_s=5)

    async def pull(self, priority=NORMAL, limit=1):
        """Pull once."""
        return await self.lines.pull(self.address, priority, max_ack_pending=limit)

    async def start_pull(self):
        """Pull in a task, and return when NATS is being asked."""
        pulling = asyncio.create_task(self.pull())
        while not any(pull.inbox for pull in self.lines._waiting.values()):  # noqa: ASYNC110 -- nothing in it says when
            await asyncio.sleep(0)
        return pulling

    async def take(self, priority=NORMAL, limit=1):
        """Pull until NATS answers, as the dispatcher does."""
        while True:
            with suppress(Unavailable):
                return await self.pull(priority, limit)
            await asyncio.sleep(0)

    async def end(self, pulled):
        """Ack what was pulled."""
        await self.lines.acknowledge(self.address, pulled.sequence, pulled)

    async def stored(self):
        """How many events have not ended."""
        return sum((await self.lines.waiting(self.address)).values())

    async def delete_consumer(self, priority=NORMAL):
        """Take a line's consumer away."""
        name = subjects.consumer_name(self.address, priority)
        answer = await self.fabric.api(f"CONSUMER.DELETE.{self.stream}.{name}", {})
        assert answer.get("success"), answer


@pytest.fixture
async def at(fabric):
    """An address with lines over the run's NATS."""
    at = Site(fabric)
    await at.lines.open()
    return at


async def test_a_line_gives_its_events_in_order_and_then_none(at):
    """One line is one queue; the others are their own."""
    for text in ("one", "two"):
        await at.publish(text)
    await at.publish("urgent", PRIORITY)
    given = []
    for _ in range(2):
        pulled = await at.pull()
        given.append(pulled.data)
        await at.end(pulled)

    assert given == [b"one", b"two"]
    assert await at.pull() is None
    assert (await at.pull(PRIORITY)).data == b"urgent"


async def test_what_waits_is_counted_by_priority(at):
    """What is pulled and not ended counts as well."""
    for priority, count in ((NORMAL, 3), (PRIORITY, 2)):
        for number in range(count):
            await at.publish(priority=priority, maker=subjects.source_maker(f"src_{number}"))
    await at.pull()

    assert await at.lines.waiting(at.address) == {NORMAL: 3, PRIORITY: 2}


async def test_a_consumer_that_was_deleted_is_made_again(at):
    """The next pull fails at once, the one after it has the event that was held."""
    await at.publish("one")
    first = await at.pull()
    await at.delete_consumer()
    with pytest.raises(Unavailable, match="refused a pull"):
        await at.pull()

    assert (await at.pull()).sequence == first.sequence


async def test_an_ack_whose_consumer_is_gone_deletes_the_event(at):
    """Acked is acked, whatever became of the cursor; doing it again does no harm."""
    await at.publish("one")
    pulled = await at.pull()
    await at.delete_consumer()
    await at.end(pulled)
    await at.end(pulled)

    assert await at.stored() == 0


async def test_an_ack_by_sequence_ends_what_another_server_pulled(at):
    """All that is needed is the event's place; what is no more has ended."""
    await at.publish("one")
    pulled = await at.pull()
    for _ in range(2):
        await at.lines.acknowledge(at.address, pulled.sequence, None)

    assert await at.stored() == 0


async def test_an_ack_of_a_former_connection_ends_the_event(fresh_fabric, fresh_natsd):
    """Memory consumers do not outlive a killed NATS; their events do, and end by their sequence."""
    at = Site(fresh_fabric)
    await at.lines.open()
    await at.publish("one")
    await at.publish("two")
    pulled = await at.pull()
    generation = fresh_fabric.generation
    fresh_natsd.restart()
    await eventually(lambda: fresh_fabric.generation > generation and fresh_fabric.problem() is None, timeout=10)
    await at.end(pulled)

    assert (await at.take()).data == b"two"
    assert await at.stored() == 1


async def test_extending_is_harmless_while_nats_is_away(fresh_fabric, fresh_natsd):
    """Nothing is confirmed by it, so nothing fails."""
    at = Site(fresh_fabric)
    await at.lines.open()
    await at.publish("one")
    pulled = await at.pull()
    fresh_natsd.kill9()
    await eventually(fresh_fabric.problem)

    await at.lines.extend(pulled)


async def test_a_new_holder_is_given_at_once_what_the_former_one_pulled(at, fabric):
    """Nobody waits for the ack wait."""
    await at.publish("one")
    first = await at.pull()
    other = Lines(fabric, SHARDS)
    await other.open()
    again = await other.pull(at.address, NORMAL, max_ack_pending=1)
    at.lines.forget(at.address)

    assert again.sequence == first.sequence
    assert (await at.pull()).sequence == first.sequence


async def test_a_pull_whose_answer_is_lost_gives_its_event_to_the_next(at, monkeypatch):
    """The event counts as handed out in JetStream; the consumer starts anew instead of waiting for the ack wait."""
    await at.publish("one")
    monkeypatch.setattr(module, "PULL_TIMEOUT_SECONDS", 0.1)
    await at.pull()
    at.lines.forget(at.address)
    answered = at.lines._answered
    monkeypatch.setattr(at.lines, "_inbox", at.fabric.inbox())  # nobody listens there
    with pytest.raises(Unavailable, match="did not answer a pull"):
        await at.pull()
    monkeypatch.undo()

    assert (await at.pull()).data == b"one"
    assert at.lines._answered == answered


async def test_what_only_a_copy_that_is_behind_still_has_is_not_taken(at, monkeypatch):
    """In a cluster a consumer that starts anew may give what the stream's leader has deleted; one copy has no such."""
    await at.publish("ended")
    await at.publish("waits")
    ended = await at.pull()
    read = at.lines.read

    async def read_from_leader(address, sequence):
        return None if sequence == ended.sequence else await read(address, sequence)

    monkeypatch.setattr(at.lines, "read", read_from_leader)
    monkeypatch.setattr(at.fabric, "replicas", 3)
    at.lines.forget(at.address)
    with pytest.raises(Unavailable, match="a copy of its stream is behind"):
        await at.pull()
    await at.fabric.delete(at.stream, ended.sequence)  # the copy has caught up

    assert (await at.pull()).data == b"waits"


async def test_an_answer_that_comes_too_late_wakes_the_session(at, fabric):
    """Its pull has given up; without a wake-up the event would wait for a sweep."""
    await at.publish("one")
    woken = []
    async with at.lines.listen(at.address, woken.append):
        await at.pull()
        at.lines.forget(at.address)
        await at.lines._make(at.address, NORMAL, 1)
        consumer = subjects.consumer_name(at.address, NORMAL)
        await fabric.send(
            f"$JS.API.CONSUMER.MSG.NEXT.{at.stream}.{consumer}", b"1", reply=f"{at.lines._inbox}.{consumer}.0"
        )
        await eventually(lambda: woken)

        assert woken == [NORMAL]
        assert (await at.pull()).data == b"one"


async def test_a_late_status_ends_no_other_pull(at, fabric):
    """An empty answer to a pull that gave up says nothing about the one after it."""
    consumer = subjects.consumer_name(at.address, NORMAL)
    await at.publish("one")
    first = await at.pull()
    await at.end(first)
    pulling = await at.start_pull()
    pull = at.lines._waiting[consumer]
    await fabric.send(f"{at.lines._inbox}.{consumer}.0", b"")
    await fabric.send(f"{at.lines._inbox}.elsewhere.7", b"")
    result = await pulling

    assert result is None
    assert pull.inbox.endswith(f".{consumer}.2")


async def test_a_second_pull_from_one_line_waits_for_the_first(at):
    """A holder that has lost its lease does not take the answer of the next one."""
    at.lines._waiting[subjects.consumer_name(at.address, NORMAL)] = module._Pull()
    with pytest.raises(Unavailable, match="another pull"):
        await at.pull()

    assert await at.pull(PRIORITY) is None


async def test_a_pull_that_is_cancelled_leaves_nothing_behind(at):
    """The next holder's pull starts anew."""
    await at.publish("one")
    pulling = await at.start_pull()
    pulling.cancel()
    await asyncio.wait([pulling])

    left = dict(at.lines._waiting)
    # The next pull may be quicker than NATS's answer to the one that was given up; the one after that is not.
    taken = await eventually(at.pull)

    assert not left
    assert taken.data == b"one"


async def test_an_event_handed_out_while_its_consumer_is_made_comes_with_that_pull(at, monkeypatch):
    """NATS may answer a pull that was given up after it has looked at the consumer for the one that makes it anew."""
    consumer = subjects.consumer_name(at.address, NORMAL)
    await at.publish("one")
    make = at.lines._make

    async def make_and_hand_out(*line):
        monkeypatch.undo()
        await make(*line)
        await at.fabric.send(
            f"$JS.API.CONSUMER.MSG.NEXT.{at.stream}.{consumer}", b"1", reply=f"{at.lines._inbox}.{consumer}.0"
        )
        await eventually(lambda: at.lines._waiting[consumer].spoiled)

    monkeypatch.setattr(at.lines, "_make", make_and_hand_out)

    assert (await at.pull()).data == b"one"


async def test_an_event_wakes_who_listens(at):
    """The wake-up names the line; other addresses are not woken."""
    woken, elsewhere = [], []
    async with (
        at.lines.listen(at.address, woken.append),
        at.lines.listen(Address(at.address.profile_id), elsewhere.append),
    ):
        await at.publish(priority=INTERRUPT)
        await eventually(lambda: woken)

    assert woken == [INTERRUPT]
    assert elsewhere == []


async def test_a_sweep_finds_what_a_lost_wake_up_left(at):
    """Whoever has something waiting is woken; nobody else is."""
    await at.publish(priority=PRIORITY)
    woken, elsewhere = [], []
    async with (
        at.lines.listen(at.address, woken.append),
        at.lines.listen(Address(at.address.profile_id), elsewhere.append),
    ):
        await at.lines.sweep()

    assert woken == [PRIORITY]
    assert elsewhere == []


async def test_sweeping_goes_on_while_nats_is_away(fresh_fabric, fresh_natsd, monkeypatch):
    """A sweep that fails is followed by the next."""
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.05)
    at = Site(fresh_fabric)
    woken, failed = [], []
    sweep = at.lines.sweep

    async def sweep_and_tell():
        try:
            await sweep()
        except Unavailable as error:
            failed.append(error)
            raise

    monkeypatch.setattr(at.lines, "sweep", sweep_and_tell)
    async with at.lines.listen(at.address, woken.append):
        sweeping = asyncio.create_task(at.lines.keep_sweeping())
        fresh_natsd.kill9()
        await eventually(lambda: failed)
        fresh_natsd.start()
        await eventually(lambda: fresh_fabric.problem() is None, timeout=10)
        await at.publish()
        woken.clear()
        await eventually(lambda: woken)
        sweeping.cancel()
        await asyncio.wait([sweeping])

    assert set(woken) == {NORMAL}


async def test_what_was_published_by_hand_beside_every_line_stops_nobody(at, fabric):
    """A subject that is no event's is passed over, wherever subjects are read."""
    base = f"evt.{at.shard}.{at.address.profile_id}.builds"
    odd = [f"{base}.x.{SOURCE}", f"{base}.n", f"{base}.n.a.b", f"{base}.x", f"evt.{at.shard}.{at.address.profile_id}"]
    odd.append(f"evt.{at.shard}.{at.address.profile_id}._zz.n.{SOURCE}")
    for subject in odd:
        await fabric.publish(subject, b"by hand")
    await at.publish("one")
    woken = []
    async with at.lines.listen(at.address, woken.append):
        await at.lines.sweep()
        await fabric.publish(f"{base}.x.{SOURCE}", b"by hand")
        await at.publish("two")
        await eventually(lambda: len(woken) == 2)
    found = await at.lines.addresses_of(at.address.profile_id, SOURCE)

    assert await at.lines.waiting(at.address) == {NORMAL: 2}
    assert found == {at.address: 2}
    # What is by hand looks like something put back beside its bound: it is pulled too, and found to be no event.
    assert (await at.pull()).data == b"by hand"


async def test_a_former_holder_that_ends_late_leaves_the_next_ones_wake_ups(at):
    """Its session may be served by this very server already."""
    former, woken = [], []
    leaving = at.lines.listen(at.address, former.append)
    await leaving.__aenter__()
    async with at.lines.listen(at.address, woken.append):
        await leaving.__aexit__(None, None, None)
        await at.publish()
        await eventually(lambda: woken)
        woken.clear()
        await at.lines.sweep()

        assert woken == [NORMAL]
    assert not at.lines._wake_ups.listeners


async def test_stored_events_of_a_maker_are_read_in_pages_of_bounded_size(at, monkeypatch):
    """Whatever their bodies weigh, not all are in memory at once; a body larger than a page is one of its own."""
    monkeypatch.setattr(module, "PAGE_BYTES", 250_000)
    for text in ["x" * 100_000] * 6 + ["y" * 600_000, "z"]:
        await at.publish(text)
        await at.publish(text, maker=subjects.source_maker("src_b"))
    pages, first = [], 1
    while page := await at.lines.page_of(at.address, SOURCE, first=first):
        pages.append(page)
        first = page[-1].sequence + 1

    assert [len(page) for page in pages if len(page) > 3] == []
    assert len([stored for page in pages for stored in page]) == 8
    assert {subjects.parse_event_subject(stored.subject).maker for page in pages for stored in page} == {SOURCE}
