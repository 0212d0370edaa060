"""Who hears that an event was stored: this server at once, others through NATS, nobody twice."""

from datetime import UTC, datetime

import pytest

from clawback.errors import Unavailable
from clawback.fabric import subjects
from clawback.model import Address, Event, Origin, Priority, new_id, random_id
from clawback.store.events import EventStore, decode_wake_up
from clawback.store.ledger import Ledger
from clawback.store.lines import Lines
from clawback.store.wakeups import WakeUps
from conftest import SHARDS
from waiting import eventually

NORMAL, PRIORITY = Priority.NORMAL, Priority.PRIORITY
MAKER = subjects.source_maker("src_a")


class Server:
    """What one server of a test has: a store of events, and lines that share its wake-ups."""

    def __init__(self, fabric):
        self.wake_ups = WakeUps(fabric)
        self.lines = Lines(fabric, SHARDS, self.wake_ups)
        self.events = EventStore(fabric, Ledger(fabric), SHARDS, wake_ups=self.wake_ups)


@pytest.fixture
def address():
    """A session of nobody else's."""
    return Address(random_id(16), "builds")


@pytest.fixture
def here(fabric):
    """The server that takes the events."""
    return Server(fabric)


@pytest.fixture
def there(fabric):
    """Another one, which hears of them through NATS."""
    return Server(fabric)


def new_event(priority=NORMAL):
    """Make an event of nobody else's."""
    return Event(new_id("evt"), Origin.WEBHOOK, priority, datetime.now(UTC), event_type="push")


async def store(server, address, event):
    """Store an event as a webhook does."""
    return await server.events.store(address, event, b"work", maker=MAKER, patience_s=5)


async def test_who_stored_an_event_has_heard_of_it_by_then(here, address):
    """Whoever has its 202 may rely on the event being chosen from with the next ack."""
    woken = []
    async with here.lines.listen(address, woken.append):
        await store(here, address, new_event(PRIORITY))

        assert woken == [PRIORITY]


async def test_each_server_hears_once(here, there, address, fabric):
    """Its own wake-up comes back to the server that sent it, which has heard of the event before."""
    at_home, elsewhere = [], []
    async with here.lines.listen(address, at_home.append), there.lines.listen(address, elsewhere.append):
        await store(here, address, new_event(PRIORITY))
        await store(there, address, new_event(NORMAL))
        await eventually(lambda: len(elsewhere) == 2 and len(at_home) == 2)
        # What was on the way to this connection has come before the answer.
        await fabric.counts("EVT0", "none")

    assert at_home == [PRIORITY, NORMAL]
    assert sorted(elsewhere) == [NORMAL, PRIORITY]


async def test_a_wake_up_says_what_the_event_is_and_not_what_it_carries(here, address, fabric):
    """Whoever watches a profile shows it; the body stays where it is."""
    heard = []
    subscription = await fabric.subscribe(subjects.wake_filter(here.lines.shard(address), address), heard.append)
    event = new_event()
    await store(here, address, event)
    await eventually(lambda: heard)
    await subscription.unsubscribe()

    assert decode_wake_up(heard[0].data) == event
    assert b"work" not in heard[0].data


async def test_a_webhook_that_came_before_wakes_nobody(here, address):
    """Its event may have ended since."""
    woken = []
    event = new_event()
    assert await store(here, address, event)
    async with here.lines.listen(address, woken.append):
        assert not await store(here, address, event)

    assert woken == []


async def test_copies_an_event_put_off_and_a_replay_wake_their_sessions(here, address):
    """Each way into a line is heard of."""
    await here.lines.open()
    woken = []
    event = new_event()
    async with here.lines.listen(address, woken.append):
        await here.events.store_together({address: event}, b"hi", maker=MAKER, patience_s=5)
        pulled = await here.lines.pull(address, NORMAL, max_ack_pending=1)
        await here.events.put_back(address, event, b"hi", sequence=pulled.sequence)
        await here.events.bury(address, event, b"hi", reason="failed")
        dead = await here.events.find_dead(address.profile_id, event.id)
        await here.events.replay(dead, new_id("evt"), datetime.now(UTC))

    assert woken == [NORMAL] * 3


async def test_an_event_is_stored_though_nobody_can_be_woken(here, address, monkeypatch):
    """NATS may go between the PubAck and the wake-up: whoever sent the event is told the truth."""

    async def refuse(*_, **__):
        raise Unavailable("NATS is away")

    monkeypatch.setattr(here.wake_ups._fabric, "send", refuse)

    assert await store(here, address, new_event())


@pytest.mark.parametrize("subject", ["evt.0.p._.x.m", "evt.0.p", "evt.0.p._zz.n.m"])
async def test_what_lies_beside_every_line_wakes_nobody(here, subject):
    """Somebody published it by hand, and the sweep comes across it."""
    here.wake_ups.wake(subject)
