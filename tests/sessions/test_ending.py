"""
Each turn of an event ends once: whatever is killed between two steps of an end, and whoever else ends it.

A server that dies is a connection to NATS that dies at a chosen message, before NATS has it or after. The next server
finds what it left.
"""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pytest

from clawback import wire
from clawback.fabric import subjects
from clawback.fabric.streams import Fabric
from clawback.model import Address, Event, EventState, Origin, Priority, new_id, random_id
from clawback.operations.events import derive_replay_id
from clawback.sessions.dispatcher import Dispatcher
from clawback.sessions.ending import Ending, Finisher, end_record, settle_kept_acks
from clawback.store import events as event_store
from clawback.store.events import PROMISED_END, PROMISED_REPLAY, EventStore, decode_event
from clawback.store.history import History
from clawback.store.later import Due
from clawback.store.ledger import Ledger
from clawback.store.lines import Lines
from clawback.store.stacks import Stacks
from conftest import SHARDS
from waiting import eventually

STEPS = (
    "evt.",
    "hist.",
    "dead.",
    "later.",
    "stack.",
    "seen.",
    "$JS.ACK",
    "$JS.API.STREAM.MSG.DELETE",
    "$JS.API.STREAM.PURGE",
)
"""What changes anything in NATS."""

ALLOWED_SECONDS = 0.05


class Killed(Exception):
    """What a dead server does next."""


class Mortal(Fabric):
    """A connection that dies at the change `dies_at`, counted from 1, once NATS has it or before."""

    dies_at = 0
    heard = False
    changes = 0

    @property
    def is_dead(self):
        """Whether it is."""
        return 0 < self.dies_at <= self.changes

    async def _transmit(self, subject, body, headers, reply=""):
        if self.is_dead:
            raise Killed
        self.changes += subject.startswith(STEPS)
        if self.is_dead and not self.heard:
            raise Killed
        await super()._transmit(subject, body, headers, reply)
        if self.is_dead:
            raise Killed


class Client:
    """Keeps what it is sent."""

    names_events = True

    def __init__(self):
        self.id = random_id()
        self.frames = []

    async def send(self, message):
        """Keep a frame."""
        self.frames.append(message)
        return True

    @property
    def events(self):
        """The ids and attempts it was given."""
        return [(frame.id, int(frame.meta["attempt"])) for frame in self.frames if isinstance(frame, wire.EventFrame)]

    @property
    def answers(self):
        """What became of its acks."""
        return [frame.data["settled"] for frame in self.frames if isinstance(frame, wire.Response)]


class Server:
    """The parts of a server that end events, over a connection of its own."""

    def __init__(self, fabric, address):
        self.fabric = fabric
        self.address = address
        self.lines = Lines(fabric, SHARDS)
        self.stacks = Stacks(fabric, SHARDS)
        self.events = EventStore(fabric, Ledger(fabric), SHARDS)
        self.history = History(fabric)
        self.finisher = Finisher(Ending(self.lines, self.events, self.history), self.stacks)

    @contextlib.asynccontextmanager
    async def serving(self, client, holds=()):
        """Serve the session; a server that dies meanwhile ends it."""
        dispatcher = Dispatcher(self.address, client, self.lines, self.stacks, self.events, self.history)
        running = asyncio.create_task(dispatcher.run(holds))
        try:
            yield dispatcher, running
        finally:
            dispatcher.stop()
            with contextlib.suppress(Killed):
                await running

    async def settle(self, event_id, summary="done"):
        """Take an ack that a client kept."""
        kept = [wire.SettledAck(event_id, summary)]
        parts = {"lines": self.lines, "stacks": self.stacks, "events": self.events, "history": self.history}
        return await settle_kept_acks(self.address, kept, **parts)


class Place:
    """An address, and servers for it that die when they are told to."""

    def __init__(self, natsd, stack):
        self._natsd = natsd
        self._stack = stack
        self.address = Address(random_id(16), "builds")

    async def server(self, dies_at=0, *, heard=False):
        """Start a server that dies at a change."""
        fabric = await Mortal.open(self._natsd.auth, name="mortal")
        self._stack.push_async_callback(fabric.close)
        server = Server(fabric, self.address)
        await server.lines.open()
        fabric.dies_at, fabric.heard = dies_at, heard
        return server

    async def publish(self, server, *, allowed_seconds=None):
        """Store an event."""
        event = Event(
            new_id("evt"),
            Origin.WEBHOOK,
            Priority.NORMAL,
            datetime.now(UTC),
            path="/a",
            allowed_seconds=allowed_seconds,
        )
        await server.events.store(self.address, event, b"work", maker=subjects.source_maker("src_a"), patience_s=5)
        return event.id

    async def dead(self, server):
        """The dead letters of the address, by id."""
        stored = await server.fabric.get_many("DEAD", subjects.address_dead_filter(self.address))
        return [decode_event(each.headers, each.data)[0].id for each in stored]

    async def waiting(self, server):
        """How many wait or run."""
        return sum((await server.lines.waiting(self.address)).values())

    async def promised(self, server, kind):
        """What of a kind is promised, as the relay is given it."""
        stored = await server.fabric.get_many("LATER", subjects.later_filter(kind, self.address.profile_id))
        return [
            Due(self.address.profile_id, each.subject.rsplit(".", 1)[1], each.headers, each.data) for each in stored
        ]

    async def ends(self, server, event_id):
        """How an event ended, by the newest record of it."""
        records = await server.history.of_event(self.address.profile_id, event_id)
        return records[-1].state if records else None


@pytest.fixture
async def place(natsd, fabric):  # noqa: ARG001 -- it keeps the layout
    """A place of the test's own."""
    async with contextlib.AsyncExitStack() as stack:
        yield Place(natsd, stack)


CUTS = [(number, heard) for number in range(1, 10) for heard in (False, True)]


def arm(server, dies_at, heard):
    """Have a server die at a change, counted from now."""
    server.fabric.changes, server.fabric.dies_at, server.fabric.heard = 0, dies_at, heard


@pytest.mark.parametrize(("dies_at", "heard"), CUTS)
async def test_a_kill_anywhere_in_a_time_out_leaves_one_end(place, dies_at, heard):
    """The dead letter and the event are never both there: set aside, or given again and acked, and never both."""
    first = await place.server()
    event_id = await place.publish(first, allowed_seconds=ALLOWED_SECONDS)
    given = Client()
    async with first.serving(given) as (_, running):
        await eventually(lambda: given.events)
        arm(first, dies_at, heard)
        await eventually(lambda: running.done() or any(isinstance(f, wire.TimedOut) for f in given.frames))
    second, again = await place.server(), Client()
    async with second.serving(again) as (dispatcher, _):
        next_id = await place.publish(second)
        await eventually(lambda: again.events)
        if again.events[0][0] == event_id:
            dispatcher.ack(wire.Ack(event_id, "done", "r"))
            await eventually(lambda: len(again.events) == 2 or await_timed_out(again))
        await eventually(lambda: again.events[-1][0] == next_id)
        dispatcher.ack(wire.Ack(next_id, "done", "n"))
        await eventually(lambda: len(again.answers) == len(again.events))

    was_acked = len(again.answers) == 2 and again.answers[0]
    assert await place.dead(second) == ([] if was_acked else [event_id])
    assert await place.ends(second, event_id) is (EventState.ACKED if was_acked else EventState.TIMED_OUT)
    assert await place.waiting(second) == 0


def await_timed_out(client):
    """Whether a client was told of a time-out."""
    return any(isinstance(frame, wire.TimedOut) for frame in client.frames)


@pytest.mark.parametrize(("dies_at", "heard"), CUTS)
async def test_a_dead_letter_is_finished_by_any_server(place, dies_at, heard):
    """Where nobody connects any more, what is promised in NATS ends the event or leaves it to its session."""
    first = await place.server()
    event_id = await place.publish(first, allowed_seconds=ALLOWED_SECONDS)
    given = Client()
    async with first.serving(given) as (_, running):
        await eventually(lambda: given.events)
        arm(first, dies_at, heard)
        await eventually(lambda: running.done() or await_timed_out(given))
    second = await place.server()
    for due in await place.promised(second, PROMISED_END):
        await second.finisher.finish(due)
    dead, waiting = await place.dead(second), await place.waiting(second)

    assert (dead, waiting) in [([event_id], 0), ([], 1)]
    # Once the stack says so it is done.
    assert (waiting == 0) == (dies_at > 2 or (dies_at == 2 and heard))


@pytest.mark.parametrize(("dies_at", "heard"), CUTS)
async def test_a_kill_anywhere_in_a_deferral_leaves_one_event(place, dies_at, heard):
    """It comes once more, whatever was done of it already."""
    first = await place.server()
    event_id = await place.publish(first)
    given = Client()
    async with first.serving(given) as (dispatcher, running):
        await eventually(lambda: given.events)
        arm(first, dies_at, heard)
        asking = asyncio.create_task(dispatcher.answer(wire.EventDefer(request_id="r", event_id=event_id)))
        # Longer than the ledger is waited for, whose writer dies alone.
        await eventually(lambda: running.done() or len(given.events) == 2, 15)
    await asyncio.gather(asking, return_exceptions=True)
    second, again = await place.server(), Client()
    async with second.serving(again) as (dispatcher, _):
        await eventually(lambda: again.events)
        dispatcher.ack(wire.Ack(event_id, "done", "r"))
        await eventually(lambda: again.answers)
        next_id = await place.publish(second)
        await eventually(lambda: len(again.events) == 2)

    assert [each for each, _ in again.events] == [event_id, next_id]
    assert again.answers == [True]
    assert await place.ends(second, event_id) is EventState.ACKED


@pytest.mark.parametrize(("dies_at", "heard"), CUTS[:6])
async def test_a_kill_anywhere_in_an_ack_leaves_one_end(place, dies_at, heard):
    """Handed in again, it ends the event; no dead letter, no second record of another kind."""
    first = await place.server()
    event_id = await place.publish(first)
    given = Client()
    async with first.serving(given) as (dispatcher, running):
        await eventually(lambda: given.events)
        arm(first, dies_at, heard)
        dispatcher.ack(wire.Ack(event_id, "done", "r"))
        await eventually(lambda: running.done() or given.answers)
    second = await place.server()
    await second.settle(event_id)

    assert await place.waiting(second) == 0
    assert await place.ends(second, event_id) is EventState.ACKED
    assert await place.dead(second) == []


@pytest.mark.parametrize(("dies_at", "heard"), CUTS[:10])
async def test_a_kill_anywhere_in_a_replay_leaves_one_event(place, dies_at, heard, monkeypatch):
    """Asked for again after the window of message ids, or finished by any server: it runs once, the letter is gone."""
    first = await place.server()
    event = Event(new_id("evt"), Origin.WEBHOOK, Priority.NORMAL, datetime.now(UTC), path="/a")
    await first.events.bury(place.address, event, b"work", reason="failed")
    letter = await first.events.find_dead(place.address.profile_id, event.id)
    replay_id = derive_replay_id(b"key", letter)
    arm(first, dies_at, heard)
    with contextlib.suppress(Killed):
        await first.events.replay(letter, replay_id, datetime.now(UTC))
    second = await place.server()
    # The window has forgotten the id: another takes its place, and time has passed.
    monkeypatch.setattr(event_store, "SURE_SECONDS", 0.0)
    publish = second.fabric.publish

    async def forgetful(subject, body, *, message_id=None, **options):
        is_copy = subject.startswith("evt.")
        return await publish(subject, body, message_id=None if is_copy else message_id, **options)

    monkeypatch.setattr(second.fabric, "publish", forgetful)
    for due in await place.promised(second, PROMISED_REPLAY):
        await second.events.finish_replay(due)
    if (left := await second.events.find_dead(place.address.profile_id, event.id)) is not None:
        await second.events.replay(left, replay_id, datetime.now(UTC))

    assert await place.waiting(second) == 1
    assert await place.dead(second) == []


async def test_a_replay_that_ran_is_not_run_again(place, monkeypatch):
    """Its server was killed before the letter was gone, the event was acked, and NATS has restarted since."""
    server, client = await place.server(), Client()
    event = Event(new_id("evt"), Origin.WEBHOOK, Priority.NORMAL, datetime.now(UTC), path="/a")
    await server.events.bury(place.address, event, b"work", reason="failed")
    letter = await server.events.find_dead(place.address.profile_id, event.id)
    replay_id = derive_replay_id(b"key", letter)
    publish = server.fabric.publish

    async def forgetful(subject, body, *, message_id=None, **options):
        is_copy = subject.startswith("evt.")
        return await publish(subject, body, message_id=None if is_copy else message_id, **options)

    monkeypatch.setattr(server.fabric, "publish", forgetful)
    monkeypatch.setattr(server.fabric, "delete", killed)
    with pytest.raises(Killed):
        await server.events.replay(letter, replay_id, datetime.now(UTC))
    monkeypatch.undo()
    monkeypatch.setattr(server.fabric, "publish", forgetful)
    async with server.serving(client) as (dispatcher, _):
        await eventually(lambda: client.events)
        dispatcher.ack(wire.Ack(replay_id, "done", "r"))
        await eventually(lambda: client.answers)
    await server.events.replay(letter, replay_id, datetime.now(UTC))

    assert await place.waiting(server) == 0
    assert await place.dead(server) == []


async def killed(*_arguments):
    """Die."""
    raise Killed


async def test_a_deferred_event_does_not_come_again_after_its_ack(place, monkeypatch):
    """A relay that was slow stores it in its line once more, and a restarted NATS does not know the message id."""
    server, client = await place.server(), Client()
    event_id = await place.publish(server)
    async with server.serving(client) as (dispatcher, _):
        await eventually(lambda: client.events)
        await dispatcher.answer(wire.EventDefer(request_id="r", event_id=event_id, delay_seconds=3600))
        ((_, deferred),) = [each async for each in server.events.deferred(place.address.profile_id)]
        due = Due(place.address.profile_id, event_id, deferred.headers, deferred.data)
        await server.events.take_back(due)
        await eventually(lambda: len(client.events) == 2)
        dispatcher.ack(wire.Ack(event_id, "done", "r"))
        await eventually(lambda: client.answers)
        publish = server.fabric.publish

        async def forgetful(*arguments, message_id=None, **options):  # noqa: ARG001 -- that is what is forgotten
            return await publish(*arguments, **options)

        monkeypatch.setattr(server.fabric, "publish", forgetful)
        await server.events.take_back(due)
        monkeypatch.undo()

    assert client.answers == [True]
    assert await place.waiting(server) == 0


@pytest.mark.parametrize("delay", [None, 3600])
async def test_a_kept_ack_ends_a_deferred_event(place, delay):
    """Its session did the work, and could not say so before the event was back in its line, or waited out of it."""
    server, client = await place.server(), Client()
    await place.publish(server)
    async with server.serving(client) as (dispatcher, _):
        await eventually(lambda: client.events)
        event_id = client.events[0][0]
        await place.publish(server)
        await dispatcher.answer(wire.EventDefer(request_id="r", event_id=event_id, delay_seconds=delay))
        await eventually(lambda: len(client.events) == 2)
        settled = await server.settle(event_id, "was done")
        dispatcher.ack(wire.Ack(client.events[1][0], "done", "r"))
        await eventually(lambda: client.answers)
        last = await place.publish(server)
        await eventually(lambda: len(client.events) == 3)
    record = (await server.history.of_event(place.address.profile_id, event_id))[-1]

    assert settled == {event_id}
    assert client.events[2] == (last, 1)
    assert (record.state, record.summary) == (EventState.ACKED, "was done")
    assert [each async for each in server.events.deferred(place.address.profile_id)] == []
    assert await server.settle(event_id) == set()


async def test_a_kept_ack_and_a_dead_letter_are_one_end(place, monkeypatch):
    """The ack is settled while the holder, which still has the body, sets the event aside: the first one counts."""
    server, other, client = await place.server(), await place.server(), Client()
    event_id = await place.publish(server, allowed_seconds=ALLOWED_SECONDS)
    decide, settled = server.history.decide, []

    async def late(*arguments):
        settled.append(await other.settle(event_id, "in time"))
        return await decide(*arguments)

    monkeypatch.setattr(server.history, "decide", late)
    async with server.serving(client):
        await eventually(lambda: await_timed_out(client))

    assert settled == [{event_id}]
    assert await place.dead(other) == []
    assert await place.ends(other, event_id) is EventState.ACKED
    assert await place.waiting(other) == 0


async def test_a_kept_ack_after_the_decision_is_a_late_one(place, monkeypatch):
    """The holder has decided, and has not made the dead letter yet: it is made, and the summary stands against it."""
    server, other, client = await place.server(), await place.server(), Client()
    event_id = await place.publish(server, allowed_seconds=ALLOWED_SECONDS)
    bury, settled = server.events.bury, []

    async def late(*arguments, **options):
        settled.append(await other.settle(event_id, "too late"))
        await bury(*arguments, **options)

    monkeypatch.setattr(server.events, "bury", late)
    async with server.serving(client):
        await eventually(lambda: await_timed_out(client))
    record = (await other.history.of_event(place.address.profile_id, event_id))[-1]

    assert settled == [set()]
    assert await place.dead(other) == [event_id]
    assert (record.state, record.summary) == (EventState.TIMED_OUT, "too late")
    assert await place.waiting(other) == 0


async def test_an_ack_of_what_was_set_aside_long_ago_ends_nothing(place):
    """Longer ago than message ids are known: the stream is asked, and no second end is recorded."""
    server = await place.server()
    event_id = await place.publish(server)
    client = Client()
    async with server.serving(client):
        await eventually(lambda: client.events)
        ((held, stored),) = await server.stacks.restore(place.address)
    event, _ = decode_event(stored.headers, stored.data)
    ending = Ending(server.lines, server.events, server.history)
    long_ago = (datetime.now(UTC) - timedelta(hours=1)).timestamp()
    held = type(held)(held.event_id, held.sequence, held.priority, 1, delivered_at=long_ago)
    await server.lines.acknowledge(place.address, held.sequence, None)
    wanted = end_record(event, held, EventState.ACKED, tag="builds")

    assert await ending.end(place.address, event, held, wanted, turn=event.id) is None
    assert await place.ends(server, event_id) is None
