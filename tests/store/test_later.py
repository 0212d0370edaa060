"""Messages that NATS publishes later, and the relay, over a real nats-server."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from clawback.errors import BadPayload, QueueFull, Rejected, Unavailable
from clawback.fabric import subjects
from clawback.fabric.streams import Fabric
from clawback.model import random_id
from clawback.store import later
from clawback.store.later import Relay, arm, armed_for, disarm
from clawback.telemetry.aside import Aside
from waiting import eventually

KIND = "test"


class Taker:
    """Keeps what it is given; `failures` are raised first, one by one."""

    def __init__(self, *failures):
        self.taken = []
        self.failures = list(failures)

    async def __call__(self, due):
        """Take what came due."""
        self.taken.append((due.profile_id, due.name, due.data, due.headers.get("X-Mine")))
        if self.failures:
            raise self.failures.pop(0)

    def names(self):
        """What came, in order."""
        return [name for _, name, _, _ in self.taken]


@asynccontextmanager
async def relaying(fabric, kind, taker):
    """Run a server's relay for a while."""
    relay = Relay(fabric)
    relay.on_due(kind, taker)
    await relay.open()
    running = asyncio.create_task(relay.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def soon(seconds=0.0):
    """Return the time in so many seconds."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.fixture
def quick(monkeypatch):
    """Do not wait long before something is tried again."""
    monkeypatch.setattr(later, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(later, "PATIENT_RETRY_SECONDS", 0.05)


async def left(fabric):
    """How many messages are in the stream of what comes later."""
    return sum((await fabric.counts(later.STREAM, "later.>")).values())


async def test_a_message_comes_at_its_time_and_is_gone(fresh_fabric):
    """Not earlier, with its headers and body, once; nothing stays behind."""
    taker = Taker()
    async with relaying(fresh_fabric, KIND, taker):
        at = soon(1.0)
        await arm(fresh_fabric, KIND, "p", "a", at, b"body", {"X-Mine": "1"})
        stored = await fresh_fabric.get(later.STREAM, subject=subjects.later_subject(KIND, "p", "a"))
        await eventually(lambda: taker.taken)
        arrived = datetime.now(UTC)
        await eventually(lambda: is_empty(fresh_fabric))

    assert taker.taken == [("p", "a", b"body", "1")]
    assert arrived >= at - timedelta(milliseconds=1)
    assert abs(armed_for(stored.headers) - at) < timedelta(milliseconds=1)


async def is_empty(fabric):
    """Whether nothing comes later."""
    return await left(fabric) == 0


async def test_arming_again_replaces_and_disarming_forgets(fresh_fabric):
    """One message for each kind, profile and name."""
    taker = Taker()
    await arm(fresh_fabric, KIND, "p", "a", soon(3600), b"first", {})
    await arm(fresh_fabric, KIND, "p", "b", soon(0.5), b"never", {})
    await disarm(fresh_fabric, KIND, "p", "b")
    await disarm(fresh_fabric, KIND, "p", "unknown")
    await arm(fresh_fabric, KIND, "p", "a", soon(0.5), b"second", {})
    async with relaying(fresh_fabric, KIND, taker):
        await eventually(lambda: is_empty(fresh_fabric))

    assert [data for _, _, data, _ in taker.taken] == [b"second"]


async def test_what_came_due_while_nobody_relayed_is_relayed_later(fresh_fabric):
    """No server need be up at the time."""
    taker = Taker()
    await arm(fresh_fabric, KIND, "p", "a", soon(-60), b"", {})
    await eventually(lambda: fresh_fabric.get(later.STREAM, subject=subjects.due_subject(KIND, "p", "a")))
    async with relaying(fresh_fabric, KIND, taker):
        await eventually(lambda: taker.taken)

    assert taker.names() == ["a"]


async def test_what_came_due_while_nats_was_killed_is_made_up_for(fresh_fabric, fresh_natsd):
    """A schedule outlives kill -9, and so does the relay."""
    taker = Taker()
    async with relaying(fresh_fabric, KIND, taker):
        await arm(fresh_fabric, KIND, "p", "a", soon(1.0), b"", {})
        fresh_natsd.kill9()
        await until(soon(1.2))
        fresh_natsd.start()
        await eventually(lambda: taker.taken, timeout=15)
        await eventually(lambda: is_empty(fresh_fabric))

    assert taker.names() == ["a"]


async def until(moment):
    """Wait for a time of day: NATS is to be down for longer than until then."""
    while datetime.now(UTC) < moment:  # noqa: ASYNC110 -- a clock sets no event
        await asyncio.sleep(0.01)


async def test_two_servers_take_each_message_once(fresh_fabric):
    """The relay is shared."""
    one, two = Taker(), Taker()
    async with relaying(fresh_fabric, KIND, one), relaying(fresh_fabric, KIND, two):
        for number in range(20):
            await arm(fresh_fabric, KIND, "p", f"n{number}", soon(-1), b"", {})
        await eventually(lambda: is_empty(fresh_fabric))

    assert sorted(one.names() + two.names()) == sorted(f"n{number}" for number in range(20))


class Slow(Taker):
    """Works on what it is given until it is told to end."""

    def __init__(self):
        super().__init__()
        self.end = asyncio.Event()

    async def __call__(self, due):
        """Take what came due."""
        await super().__call__(due)
        await self.end.wait()


@pytest.fixture
def impatient(monkeypatch):
    """Give what a server is silent about to another one soon."""
    monkeypatch.setattr(later, "ACK_WAIT_SECONDS", 0.5)
    monkeypatch.setattr(later, "SIGN_SECONDS", 0.1)


async def test_what_a_killed_server_worked_on_is_given_to_another_within_seconds(fresh_fabric, fresh_natsd):
    """NATS hears nothing of it any more."""
    killed, other = Slow(), Taker()
    fabric = await Fabric.open(fresh_natsd.auth, name="killed")
    async with relaying(fabric, KIND, killed):
        await arm(fresh_fabric, KIND, "p", "a", soon(-1), b"", {})
        await eventually(lambda: killed.taken)
    await fabric.close()
    async with relaying(fresh_fabric, KIND, other):
        await eventually(lambda: other.taken, timeout=10)
        await eventually(lambda: is_empty(fresh_fabric))

    assert (killed.names(), other.names()) == (["a"], ["a"])


@pytest.mark.usefixtures("impatient")
async def test_what_a_server_still_works_on_is_given_to_no_other(fresh_fabric):
    """However long it takes, within reason."""
    slow, other = Slow(), Taker()
    async with relaying(fresh_fabric, KIND, slow):
        await arm(fresh_fabric, KIND, "p", "a", soon(-1), b"", {})
        await eventually(lambda: slow.taken)
        async with relaying(fresh_fabric, KIND, other):
            await until(soon(3 * later.ACK_WAIT_SECONDS))
            slow.end.set()
            await eventually(lambda: is_empty(fresh_fabric))

    assert (slow.names(), other.names()) == (["a"], [])


@pytest.mark.usefixtures("impatient")
async def test_what_a_handler_hangs_with_is_given_to_another(fresh_fabric, monkeypatch):
    """A server that lives and gets nowhere must not keep it for ever."""
    monkeypatch.setattr(later, "WORK_SECONDS", 0.3)
    hanging, other = Slow(), Taker()
    async with relaying(fresh_fabric, KIND, hanging):
        await arm(fresh_fabric, KIND, "p", "a", soon(-1), b"", {})
        await eventually(lambda: hanging.taken)
        async with relaying(fresh_fabric, KIND, other):
            await eventually(lambda: len(hanging.taken) + len(other.taken) > 1)
            hanging.end.set()
            await eventually(lambda: is_empty(fresh_fabric))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("failure", [Unavailable("away"), RuntimeError("a bug")])
async def test_a_handler_that_fails_is_given_the_message_again(fresh_fabric, failure):
    """Whatever it raised, and others are relayed meanwhile."""
    taker = Taker(failure)
    async with relaying(fresh_fabric, KIND, taker):
        await arm(fresh_fabric, KIND, "p", "a", soon(-1), b"", {})
        await eventually(lambda: len(taker.taken) == 2)
        await eventually(lambda: is_empty(fresh_fabric))

    assert taker.names() == ["a", "a"]


async def test_what_a_handler_cannot_read_is_dropped(fresh_fabric):
    """Somebody published it by hand; it would come for ever."""
    taker = Taker(BadPayload("not mine"))
    async with relaying(fresh_fabric, KIND, taker):
        await arm(fresh_fabric, KIND, "p", "a", soon(-1), b"", {})
        await eventually(lambda: taker.taken)
        await eventually(lambda: is_empty(fresh_fabric))

    assert taker.names() == ["a"]


@pytest.mark.usefixtures("quick")
async def test_what_nobody_here_knows_stays_for_a_server_that_does(fresh_fabric):
    """Two versions may run at a time."""
    old, new = Taker(), Taker()
    async with relaying(fresh_fabric, "other", old):
        await arm(fresh_fabric, KIND, "p", "a", soon(-1), b"", {})
        await eventually(lambda: was_refused(fresh_fabric))
        async with relaying(fresh_fabric, KIND, new):
            await eventually(lambda: new.taken)

    assert (old.names(), new.names()) == ([], ["a"])


async def was_refused(fabric):
    """Whether a message was given out more than once."""
    info = await fabric.api(f"CONSUMER.INFO.{later.STREAM}.{later.CONSUMER}", {})
    return info["delivered"]["consumer_seq"] > 1


async def test_a_relay_that_an_older_server_made_is_brought_up_to_date(fresh_fabric, monkeypatch):
    """Its consumer outlives servers, and what is being worked on stays with them."""
    with monkeypatch.context() as patch:
        patch.setattr(later, "ACK_WAIT_SECONDS", 30.0)
        patch.setattr(later, "AT_WORK", 16)
        await Relay(fresh_fabric).open()
    await Relay(fresh_fabric).open()
    config = (await fresh_fabric.api(f"CONSUMER.INFO.{later.STREAM}.{later.CONSUMER}", {}))["config"]

    assert config["ack_wait"] == later.ACK_WAIT_SECONDS * 10**9
    assert config["max_ack_pending"] == 16 * later.AT_WORK


async def test_many_that_come_due_at_once_are_at_work_together(fresh_fabric):
    """What each does first is not kept waiting by what others do last."""
    slow = Slow()
    async with relaying(fresh_fabric, KIND, slow):
        for number in range(3 * later.PULL_MESSAGES):
            await arm(fresh_fabric, KIND, "p", f"n{number}", soon(-1), b"", {})
        await eventually(lambda: len(slow.taken) == 3 * later.PULL_MESSAGES, timeout=15)
        slow.end.set()
        await eventually(lambda: is_empty(fresh_fabric), timeout=15)

    assert len(set(slow.names())) == len(slow.names()) == 3 * later.PULL_MESSAGES


def test_every_name_stays_one_token():
    """What is parsed is what was built."""
    profile_id = random_id(16)

    assert subjects.parse_due_subject(subjects.due_subject("event", profile_id, "evt_a")) == (
        "event",
        profile_id,
        "evt_a",
    )
    with pytest.raises(ValueError, match="not the subject"):
        subjects.parse_due_subject("later.at.event.p.evt_a")


async def pending_acks(fabric):
    """How many messages NATS has given out and not heard of."""
    info = await fabric.api(f"CONSUMER.INFO.{later.STREAM}.{later.CONSUMER}", {})
    return info["num_ack_pending"]


@pytest.mark.parametrize("failure", [QueueFull("full"), RuntimeError("a bug"), Rejected("not now"), None])
async def test_what_nobody_can_take_stops_nothing_else(fresh_fabric, monkeypatch, failure):
    """More of it than NATS gives out at a time, of a profile, or of a kind that nobody here knows."""
    monkeypatch.setattr(later, "AT_WORK", 2)  # so NATS gives out 32
    aside, taker = Aside(), Taker()

    async def refuse(_):
        raise failure

    relay = Relay(fresh_fabric, aside)
    relay.on_due(KIND, taker)
    if failure is not None:
        relay.on_due("bad", refuse)
    for number in range(100):
        await arm(fresh_fabric, "bad", "p", f"n{number}", soon(-1), b"body", {"X-Mine": "1"})
    await relay.open()
    running = asyncio.create_task(relay.run())
    await eventually(lambda: "100 of kind" in (aside.describe() or ""), timeout=15)
    await arm(fresh_fabric, KIND, "q", "good", soon(-1), b"", {})
    await eventually(lambda: taker.taken)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    kept = await fresh_fabric.get(later.STREAM, subject=subjects.later_subject("bad", "p", "n99"))

    assert (kept.data, kept.headers["X-Mine"]) == (b"body", "1")
    assert timedelta(seconds=10) < armed_for(kept.headers) - datetime.now(UTC) <= timedelta(seconds=30)
    assert "100 of kind message that came due" in aside.describe()


@pytest.mark.usefixtures("quick")
async def test_what_is_taken_in_the_end_is_no_more_set_aside(fresh_fabric):
    """Nothing is lost of it, and nothing stays behind."""
    aside, taker = Aside(), Taker(QueueFull("full"), QueueFull("full"))
    relay = Relay(fresh_fabric, aside)
    relay.on_due(KIND, taker)
    await relay.open()
    running = asyncio.create_task(relay.run())
    await arm(fresh_fabric, KIND, "p", "a", soon(-1), b"body", {"X-Mine": "1"})
    await eventually(lambda: len(taker.taken) == 3)
    await eventually(lambda: is_empty(fresh_fabric))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert taker.taken == [("p", "a", b"body", "1")] * 3
    assert aside.describe() is None
    assert await pending_acks(fresh_fabric) == 0


async def test_a_time_that_nats_cannot_count_to_is_refused(fresh_fabric):
    """It would be published at once."""
    for year in (2263, 9999):
        with pytest.raises(Rejected, match="nothing can be armed"):
            await arm(fresh_fabric, KIND, "p", "a", datetime(year, 1, 1, tzinfo=UTC), b"", {})


async def test_what_is_armed_is_named_whatever_else_is_in_the_stream(fresh_fabric):
    """Somebody may have published there by hand."""
    await fresh_fabric.publish(f"later.at.{KIND}.p.a.b.c", b"")
    await arm(fresh_fabric, KIND, "p", "a", soon(3600), b"", {})

    assert await later.pending(fresh_fabric, KIND) == {("p", "a")}
