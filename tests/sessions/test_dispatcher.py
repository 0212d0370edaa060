"""One session served over a real nats-server, with a scripted client in place of the socket."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from clawback import wire
from clawback.fabric import subjects
from clawback.model import Address, Event, EventState, Origin, Priority, new_id, random_id
from clawback.sessions.dispatcher import Dispatcher
from clawback.sessions.ending import settle_kept_acks
from clawback.store.events import EventStore
from clawback.store.history import History
from clawback.store.ledger import Ledger
from clawback.store.lines import Lines
from clawback.store.stacks import Stacks
from conftest import SHARDS
from waiting import eventually

NORMAL, PRIORITY, INTERRUPT = Priority.NORMAL, Priority.PRIORITY, Priority.INTERRUPT


class ScriptedClient:
    """Keeps what it is sent, and acks when it is told to; once it has `hung_up` it is sent nothing."""

    def __init__(self, *, names_events=True):
        self.id = "connection"
        self.names_events = names_events
        self.hung_up = False
        self.frames = []

    async def send(self, message):
        """Keep a frame."""
        if not self.hung_up:
            self.frames.append(message)
        return not self.hung_up

    @property
    def events(self):
        """The event frames, in order."""
        return [frame for frame in self.frames if isinstance(frame, wire.EventFrame)]

    def seen(self):
        """The text and attempt of each event, in order."""
        return [(frame.content, int(frame.meta["attempt"])) for frame in self.events]


class Session:
    """An address with everything needed to publish to it and to serve it."""

    def __init__(self, fabric, tag="builds"):
        self.fabric = fabric
        self.address = Address(random_id(16), tag)
        self.lines = Lines(fabric, SHARDS)
        self.stacks = Stacks(fabric, SHARDS)
        self.events = EventStore(fabric, Ledger(fabric), SHARDS)
        self.history = History(fabric)

    async def publish(self, text, priority=NORMAL, delivery_id=None):
        """Store an event with this text and return its id."""
        now = datetime.now(UTC)
        event = Event(
            new_id("evt"), Origin.WEBHOOK, priority, now, path="/github", verified=True, delivery_id=delivery_id
        )
        await self.events.store(self.address, event, text.encode(), maker=subjects.source_maker("src_a"), patience_s=5)
        return event.id

    @asynccontextmanager
    async def served(self, client, holds=(), *, clean=True):
        """Serve the session to a client for a while; `clean` says how the client leaves."""
        dispatcher = Dispatcher(self.address, client, self.lines, self.stacks, self.events, self.history)
        running = asyncio.create_task(dispatcher.run(holds))
        try:
            yield dispatcher
        finally:
            dispatcher.stop()
            await running
            await dispatcher.store_loss(clean=clean)

    async def stored(self):
        """How many events wait or run."""
        return sum((await self.lines.waiting(self.address)).values())


@pytest.fixture
async def session(fabric):
    """A session of a profile of its own."""
    session = Session(fabric)
    await session.lines.open()
    return session


async def test_events_come_one_at_a_time_in_order(session):
    """The next event is sent when the one before was acked, and not earlier."""
    client = ScriptedClient()
    for text in ("one", "two", "three"):
        await session.publish(text)
    async with session.served(client) as dispatcher:
        for count in (1, 2, 3):
            await eventually(lambda count=count: len(client.events) == count)
            dispatcher.ack(wire.Ack(client.events[-1].id, "done"))
        await eventually(lambda: session_is_empty(session))

    assert client.seen() == [("one", 1), ("two", 1), ("three", 1)]


async def session_is_empty(session):
    """Whether nothing waits or runs."""
    return await session.stored() == 0


async def test_an_event_published_to_an_idle_session_arrives_by_its_wake_up(session):
    """A session with nothing to do is given an event as it is stored."""
    client = ScriptedClient()
    async with session.served(client):
        await session.publish("now")
        await eventually(lambda: client.seen() == [("now", 1)])

    assert client.events[0].meta["source"] == "webhook"


async def test_a_pull_that_comes_before_its_event_is_tried_again(session):
    """An event is given to an idle session although NATS, asked too early, said that its line is empty."""
    client = ScriptedClient()
    async with session.served(client) as dispatcher:
        # Served and idle: what was pulled at the start found nothing.
        await session.publish("first")
        await eventually(lambda: client.events)
        dispatcher.ack(wire.Ack(client.events[0].id, "done"))
        await eventually(lambda: session_is_empty(session))
        pull, early = session.lines.pull, iter([None])

        async def pull_too_early(*args, **kwargs):
            """Answer as NATS does at first: its wake-up runs ahead of its consumers."""
            try:
                return next(early)
            except StopIteration:
                return await pull(*args, **kwargs)

        session.lines.pull = pull_too_early
        await session.publish("second")
        await eventually(lambda: len(client.events) == 2)

    assert client.seen() == [("first", 1), ("second", 1)]


async def test_an_ack_is_confirmed_after_jetstream_has_it(session):
    """The answer to an ack comes when the event has left the stream."""
    client = ScriptedClient()
    await session.publish("one")
    async with session.served(client) as dispatcher:
        await eventually(lambda: client.events)
        dispatcher.ack(wire.Ack(client.events[0].id, "done", "r1"))
        answer = await eventually(lambda: [f for f in client.frames if isinstance(f, wire.Response)])
        left = await session.stored()

    assert answer == [wire.Response("r1", {"eventId": client.events[0].id, "settled": True})]
    assert left == 0


async def test_every_ack_that_asks_for_it_is_answered(session):
    """Two acks of one event, the second while the first is being settled, are both confirmed."""
    client = ScriptedClient()
    await session.publish("one")
    async with session.served(client) as dispatcher:
        await eventually(lambda: client.events)
        for request_id in ("r1", "r2"):
            dispatcher.ack(wire.Ack(client.events[0].id, "done", request_id))
        await eventually(lambda: len([f for f in client.frames if isinstance(f, wire.Response)]) == 2)
    answered = {frame.request_id for frame in client.frames if isinstance(frame, wire.Response)}

    assert answered == {"r1", "r2"}


async def test_an_ack_of_a_stranger_touches_nothing(session):
    """An ack of an event that this session does not hold is answered, and the one in flight stays."""
    client = ScriptedClient()
    await session.publish("one")
    async with session.served(client) as dispatcher:
        await eventually(lambda: client.events)
        dispatcher.ack(wire.Ack("evt_stranger", "done", "r1"))
        answer = await eventually(lambda: [f for f in client.frames if isinstance(f, wire.Response)])

    assert answer == [wire.Response("r1", {"eventId": "evt_stranger", "settled": False})]
    assert await session.stored() == 1


async def test_an_event_ends_only_when_its_delivery_is_in_the_ledger(session, monkeypatch):
    """While entries gather, an ack has its own written first: the stream forgets the delivery with the event."""
    monkeypatch.setattr("clawback.store.ledger.GATHER_SECONDS", 3600.0)
    client = ScriptedClient()
    ids = [await session.publish(text, delivery_id=text) for text in ("one", "two")]
    async with session.served(client) as dispatcher:
        for count, event_id in enumerate(ids, start=1):
            await eventually(lambda count=count: len(client.events) == count)
            dispatcher.ack(wire.Ack(event_id, ""))
        await eventually(lambda: session_is_empty(session))
    subject = subjects.seen_subject(session.address.profile_id, ids[1])

    assert await session.fabric.get("SEEN", subject=subject) is not None


async def test_history_tells_what_was_done_and_how_long_it_took(session):
    """An acked event stands in the history with its summary, attempts and duration."""
    client = ScriptedClient()
    event_id = await session.publish("one")
    async with session.served(client) as dispatcher:
        await eventually(lambda: client.events)
        dispatcher.ack(wire.Ack(event_id, "merged it"))
        (record,) = await eventually(lambda: session.history.newest(session.address.profile_id, limit=5))

    assert (record.event_id, record.state, record.summary) == (event_id, EventState.ACKED, "merged it")
    assert (record.attempts, record.session_tag, record.path) == (1, "builds", "/github")
    assert 0 <= record.duration_ms < 60_000


async def test_priority_goes_before_waiting_normal_events(session):
    """A priority event overtakes normal ones that wait, but not the one in flight."""
    client = ScriptedClient()
    await session.publish("first")
    async with session.served(client) as dispatcher:
        await eventually(lambda: client.events)
        await session.publish("later")
        await session.publish("urgent", PRIORITY)
        for count in (2, 3):
            dispatcher.ack(wire.Ack(client.events[-1].id, ""))
            await eventually(lambda count=count: len(client.events) == count)

    assert [text for text, _ in client.seen()] == ["first", "urgent", "later"]


async def test_a_line_is_asked_once_however_often_the_session_was_woken(session, monkeypatch):
    """A thousand webhooks for a busy session are one look at its line, and one that finds it empty at the end."""
    client, asked = ScriptedClient(), []
    pull = session.lines.pull

    async def count(address, priority, **kwargs):
        asked.append(priority)
        return await pull(address, priority, **kwargs)

    monkeypatch.setattr(session.lines, "pull", count)
    await session.publish("first")
    async with session.served(client) as dispatcher:
        await eventually(lambda: client.events)
        await session.publish("second")
        for _ in range(1_000):
            dispatcher.wake(NORMAL)
        before = len(asked)
        dispatcher.ack(wire.Ack(client.events[-1].id, ""))
        await eventually(lambda: len(client.events) == 2)
        between = asked[before:]

    assert between == [NORMAL]


async def test_an_interrupt_is_sent_while_another_event_is_in_flight(session):
    """An interrupt leaves at once; after its ack the client resumes the suspended event, which is not sent again."""
    client = ScriptedClient()
    await session.publish("work")
    async with session.served(client) as dispatcher:
        await eventually(lambda: client.events)
        await session.publish("fire", INTERRUPT)
        await eventually(lambda: len(client.events) == 2)
        dispatcher.ack(wire.Ack(client.events[1].id, ""))
        await eventually(lambda: stored_is(session, 1))
        dispatcher.ack(wire.Ack(client.events[0].id, ""))
        await eventually(lambda: session_is_empty(session))

    assert client.seen() == [("work", 1), ("fire", 1)]


async def stored_is(session, count):
    """Whether this many events wait or run."""
    return await session.stored() == count


async def test_events_wait_while_nobody_serves_them(session):
    """What comes while the session is offline is delivered, in order, when it is back."""
    client = ScriptedClient()
    for text in ("one", "two"):
        await session.publish(text)
    async with session.served(client) as dispatcher:
        await eventually(lambda: client.events)
        dispatcher.ack(wire.Ack(client.events[0].id, ""))
        await eventually(lambda: len(client.events) == 2)

    assert client.seen() == [("one", 1), ("two", 1)]


async def test_a_new_client_is_given_the_unacked_event_again(session):
    """A session that was lost with an event in flight gets it again, first, marked as the second attempt."""
    first, second = ScriptedClient(), ScriptedClient()
    await session.publish("one")
    await session.publish("two")
    async with session.served(first, clean=False):
        await eventually(lambda: first.events)
    async with session.served(second) as dispatcher:
        await eventually(lambda: second.events)
        dispatcher.ack(wire.Ack(second.events[0].id, ""))
        await eventually(lambda: len(second.events) == 2)

    assert second.seen() == [("one", 2), ("two", 1)]


@pytest.mark.parametrize("clean", [True, False])
async def test_a_repeat_that_met_the_end_of_its_connection_counts_as_before(session, clean):
    """A client that hangs up while its event is on the way there costs neither an attempt nor a loss."""
    first, gone, third = ScriptedClient(), ScriptedClient(), ScriptedClient()
    gone.hung_up = True
    await session.publish("one")
    async with session.served(gone, clean=clean):
        await eventually(lambda: stack_is(session, []))
    async with session.served(first):
        await eventually(lambda: first.events)
    async with session.served(gone, clean=clean):
        await eventually(lambda: stack_is(session, [(1, 0)]))
    async with session.served(third):
        await eventually(lambda: third.events)

    assert first.seen() == [("one", 1)]
    assert third.seen() == [("one", 2)]


async def stack_is(session, expected):
    """Whether the session holds events of these attempts and losses, as far as is stored."""
    return [(held.attempt, held.losses) for held, _ in await session.stacks.restore(session.address)] == expected


async def test_the_same_client_resumes_what_it_still_holds(session):
    """A client that lists an event as in flight is not sent it again, and its ack counts."""
    client = ScriptedClient()
    event_id = await session.publish("one")
    async with session.served(client, clean=False):
        await eventually(lambda: client.events)
    async with session.served(client, [event_id]) as dispatcher:
        dispatcher.ack(wire.Ack(event_id, ""))
        await eventually(lambda: session_is_empty(session))

    assert client.seen() == [("one", 1)]


async def test_suspended_events_come_back_from_the_top_after_a_crash(session):
    """Another server, knowing only what is stored, restores the stack: the interrupt first, then what it suspended."""
    first, second = ScriptedClient(), ScriptedClient()
    await session.publish("work")
    async with session.served(first, clean=False):
        await eventually(lambda: first.events)
        await session.publish("fire", INTERRUPT)
        await eventually(lambda: len(first.events) == 2)
    async with session.served(second) as dispatcher:
        for count in (1, 2):
            await eventually(lambda count=count: len(second.events) == count)
            dispatcher.ack(wire.Ack(second.events[-1].id, ""))
        await eventually(lambda: session_is_empty(session))

    assert second.seen() == [("fire", 2), ("work", 2)]


async def test_what_a_client_holds_but_ended_is_called_back(session):
    """A client that lists an event which has ended elsewhere is told that it is not its own any more."""
    client = ScriptedClient()
    async with session.served(client, ["evt_gone"]):
        await eventually(lambda: client.frames)

    assert client.frames == [wire.TimedOut("evt_gone")]


async def test_a_client_that_names_no_instance_hands_in_its_acks_before_it_is_given_anything(session):
    """Acks that such a client kept while offline are settled first, so the acked event does not run twice."""
    first, second = ScriptedClient(names_events=False), ScriptedClient(names_events=False)
    await session.publish("one")
    await session.publish("two")
    async with session.served(first, clean=False):
        await eventually(lambda: first.events)
    async with session.served(second) as dispatcher:
        dispatcher.ack(wire.Ack(first.events[0].id, ""))
        await eventually(lambda: second.events)

    assert second.seen() == [("two", 1)]


async def test_a_redelivery_to_a_client_that_names_no_instance_is_not_an_interrupt(session):
    """Such a client would take its own first copy for something to interrupt, so a repeat is called normal."""
    first, second = ScriptedClient(names_events=False), ScriptedClient(names_events=False)
    await session.publish("fire", INTERRUPT)
    async with session.served(first, clean=False):
        await eventually(lambda: first.events)
    async with session.served(second):
        await eventually(lambda: second.events)

    assert [client.events[0].meta["priority"] for client in (first, second)] == ["interrupt", "normal"]


async def test_kept_acks_are_settled_without_serving_the_session(session):
    """The journal of a client that stands by ends its events, whoever is active."""
    client = ScriptedClient()
    event_id = await session.publish("one")
    async with session.served(client, clean=False):
        await eventually(lambda: client.events)
    acks = [wire.SettledAck(event_id, "done"), wire.SettledAck("evt_unknown", "")]
    await settle_kept_acks(
        session.address,
        acks,
        lines=session.lines,
        stacks=session.stacks,
        events=session.events,
        history=session.history,
    )
    (record,) = await session.history.newest(session.address.profile_id, limit=5)

    assert await session.stored() == 0
    assert (record.event_id, record.summary) == (event_id, "done")


async def test_an_event_lost_five_times_in_a_row_becomes_a_dead_letter(session):
    """What kills its session again and again is set aside with its reason, and the next event goes out."""
    event_id = await session.publish("killer")
    await session.publish("next")
    for attempt in range(1, 6):
        client = ScriptedClient()
        async with session.served(client, clean=False):
            await eventually(lambda client=client: client.events)
        assert client.seen() == [("killer", attempt)]
    client = ScriptedClient()
    async with session.served(client):
        await eventually(lambda: client.events)
    (record,) = await session.history.newest(session.address.profile_id, limit=5)

    assert client.seen() == [("next", 1)]
    assert (record.event_id, record.state, record.reason) == (event_id, EventState.DEAD, "crash_loop")


async def test_a_message_that_is_no_event_is_set_aside(session):
    """Somebody's own publish to an event subject does not stop the line."""
    client = ScriptedClient()
    shard = session.lines.shard(session.address)
    await session.fabric.publish(subjects.event_subject(shard, session.address, NORMAL, "x"), b"junk")
    await session.publish("real")
    async with session.served(client) as dispatcher:
        await eventually(lambda: client.events)
        dispatcher.ack(wire.Ack(client.events[0].id, ""))
        await eventually(lambda: session_is_empty(session))

    assert client.seen() == [("real", 1)]


async def test_a_killed_nats_costs_neither_event_nor_order(fresh_fabric, fresh_natsd):
    """With NATS killed while an event is in flight, its ack and the next event go through once NATS is back."""
    session = Session(fresh_fabric)
    await session.lines.open()
    client = ScriptedClient()
    for text in ("one", "two", "three"):
        await session.publish(text)
    async with session.served(client) as dispatcher:
        await eventually(lambda: client.events)
        fresh_natsd.kill9()
        dispatcher.ack(wire.Ack(client.events[0].id, "", "r1"))
        fresh_natsd.start()
        await eventually(lambda: len(client.events) == 2, timeout=20)
        dispatcher.ack(wire.Ack(client.events[1].id, ""))
        await eventually(lambda: len(client.events) == 3, timeout=20)

    assert client.seen() == [("one", 1), ("two", 1), ("three", 1)]
