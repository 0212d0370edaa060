"""The feed: who looks on is told what changes, and it costs nothing while nobody does."""

import asyncio
from datetime import UTC, datetime

import pytest

from clawback.errors import RateLimited, Unavailable
from clawback.model import Address, EventState, Held, HistoryRecord, Lease, Priority, new_id, random_id
from clawback.store import feed as module
from clawback.store.feed import MAX_LISTENERS, QUEUE_NEWS, Feed, Listener
from clawback.store.history import History
from clawback.store.leases import Leases
from clawback.store.news import News, NewsType
from clawback.store.stacks import Stacks
from conftest import SHARDS
from waiting import eventually

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PATIENCE = 5.0


@pytest.fixture
def address():
    """An address that no other test has."""
    return Address(random_id(16), "deploys")


@pytest.fixture
def feed(fabric):
    """A feed on the run's NATS."""
    return Feed(fabric, Leases(fabric), SHARDS)


def a_lease():
    """Make a lease of a connection."""
    return Lease(random_id(), random_id(), datetime.now(UTC))


async def next_news(listener):
    """Wait for the next batch, in short: type, state and tag or event id of each."""
    taken = await listener.take(PATIENCE)
    return [(each.type.value, each.state, each.event_id or each.session_tag) for each in taken]


async def test_the_first_news_is_that_it_listens(feed, address):
    """What is read after it is not missed."""
    async with feed.listen(address.profile_id, "k") as listener:
        first = await next_news(listener)
        assert await listener.take(0) == []

    assert first == [("listening", None, None)]


async def test_everybody_who_looks_is_told_of_their_own_profile_alone(fabric, feed, address):
    """Two tabs of one profile hear the same, another profile nothing."""
    event_id = new_id("evt")
    async with (
        feed.listen(address.profile_id, "k") as one,
        feed.listen(address.profile_id, "k") as two,
        feed.listen(random_id(16), "k") as stranger,
    ):
        for listener in (one, two, stranger):
            await next_news(listener)
        await Stacks(fabric, SHARDS).store(address, [Held(event_id, 1, Priority.NORMAL, 1)])
        await History(fabric).record(address, HistoryRecord(event_id, "webhook", EventState.ACKED, NOW))
        heard = [await next_news(one), await next_news(two)]
        while sum(map(len, heard)) < 4:
            heard.append(await next_news(one if len(heard[0]) < 2 else two))

        assert sorted(news for batch in heard for news in batch) == [
            ("event", "acked", event_id),
            ("event", "acked", event_id),
            ("event", "offered", event_id),
            ("event", "offered", event_id),
        ]
        assert await stranger.take(0) == []


async def test_nothing_is_subscribed_while_nobody_looks(fabric, feed, address):
    """The first listener subscribes, a second one shares that, the last one ends it."""
    before = len(fabric._subscriptions)
    async with feed.listen(address.profile_id, "k"):
        one = len(fabric._subscriptions)
        async with feed.listen(address.profile_id, "k"):
            two = len(fabric._subscriptions)
        again = len(fabric._subscriptions)

    assert one == two == again > before
    assert len(fabric._subscriptions) == before


async def test_sessions_come_change_and_leave_and_renewals_are_no_news(fabric, feed, address):
    """A lease is written every few seconds; only who has it is news."""
    leases = Leases(fabric)
    first, heir, standby = a_lease(), a_lease(), a_lease()
    async with feed.listen(address.profile_id, "k") as listener:
        await next_news(listener)
        revision = await leases.create(address, first)
        came = await next_news(listener)
        revision = await leases.replace(address, first, revision)
        await leases.stand_by(address, standby)
        stood_by = await next_news(listener)
        await leases.stand_down(address, standby)
        stood_down = await next_news(listener)
        revision = await leases.replace(address, heir, revision)
        inherited = await next_news(listener)
        await leases.release(address, revision)
        left = await next_news(listener)

    assert came == inherited == [("session", "active", "deploys")]
    assert stood_by == [("session", "standby", "deploys")]
    assert stood_down == left == [("session", "left", "deploys")]


async def test_a_release_that_came_too_late_is_no_news(fabric, feed, address):
    """Somebody else has the session by then."""
    leases = Leases(fabric)
    revision = await leases.create(address, a_lease())
    await leases.replace(address, a_lease(), revision)
    async with feed.listen(address.profile_id, "k") as listener:
        await next_news(listener)
        await leases.release(address, revision)
        await leases.stand_by(address, a_lease())
        heard = await next_news(listener)

    assert heard == [("session", "standby", "deploys")]


async def test_who_was_connected_before_is_no_news_and_who_vanishes_is(fabric, feed, address, monkeypatch):
    """A lease expires in silence, so the leases are read now and then."""
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.05)
    leases = Leases(fabric)
    lease = a_lease()
    revision = await leases.create(address, lease)
    async with feed.listen(address.profile_id, "k") as listener:
        await next_news(listener)
        await leases.replace(address, lease, revision)
        # As it is when it expires: nobody tells.
        await fabric.api("STREAM.PURGE.KV_sess", {"filter": f"$KV.sess.{address.profile_id}.deploys"})
        heard = await next_news(listener)

    assert heard == [("session", "left", "deploys")]


async def test_a_slow_reader_is_told_to_look_again():
    """What waits for it is bounded, and what comes after is told as ever."""
    listener = Listener("k")
    for number in range(QUEUE_NEWS * 3 + 5):
        listener.tell(News(NewsType.EVENT, NOW, event_id=str(number)))
    taken = await listener.take(0)

    assert len(taken) <= QUEUE_NEWS
    assert taken[0].type is NewsType.MISSED
    assert [news.event_id for news in taken[1:]] == [
        str(number) for number in range(QUEUE_NEWS * 3 + 6 - len(taken), QUEUE_NEWS * 3 + 5)
    ]


async def test_after_a_reconnect_everybody_is_told_to_look_again_and_hears_on(fresh_natsd, fresh_fabric, address):
    """What happened in between is in the streams, and not in the feed."""
    feed = Feed(fresh_fabric, Leases(fresh_fabric), SHARDS)
    async with feed.listen(address.profile_id, "k") as listener:
        await next_news(listener)
        fresh_natsd.kill9()
        fresh_natsd.start()
        missed = await next_news(listener)
        await Stacks(fresh_fabric, SHARDS).store(address, [Held("evt_a", 1, Priority.NORMAL, 1)])
        heard = await next_news(listener)

    assert missed == [("missed", None, None)]
    assert heard == [("event", "offered", "evt_a")]


async def test_without_nats_nobody_can_look_and_nothing_is_left(fresh_natsd, fresh_fabric, address):
    """It is refused at once, and works again later."""
    feed = Feed(fresh_fabric, Leases(fresh_fabric), SHARDS)
    before = len(fresh_fabric._subscriptions)
    fresh_natsd.kill9()
    await eventually(fresh_fabric.problem)
    with pytest.raises(Unavailable):
        async with feed.listen(address.profile_id, "k"):
            pass

    assert len(fresh_fabric._subscriptions) == before
    assert feed._channels == {}


async def test_a_profile_has_so_many_listeners_and_no_more(feed, address):
    """Each costs memory; another profile has its own."""
    async with asyncio.TaskGroup() as group:
        enough = asyncio.Event()

        async def look():
            async with feed.listen(address.profile_id, "k"):
                await enough.wait()

        for _ in range(MAX_LISTENERS):
            group.create_task(look())
        await eventually(lambda: len(feed._listeners()) == MAX_LISTENERS)
        with pytest.raises(RateLimited, match="32 live feeds of this profile are open, which is the limit: close one"):
            async with feed.listen(address.profile_id, "k"):
                pass
        async with feed.listen(random_id(16), "k") as other:
            assert await next_news(other) == [("listening", None, None)]
        enough.set()

    assert feed._channels == {}


async def test_a_listener_is_ended_by_its_key(feed, address):
    """A revoked token ends what it opened, and nothing else."""
    async with feed.listen(address.profile_id, "one") as one, feed.listen(address.profile_id, "two") as two:
        await next_news(one)
        feed.end("one")

        assert (one.ended, two.ended) == (True, False)
        assert await one.take(PATIENCE) == []


async def test_a_stopping_server_ends_all_and_lets_nobody_begin(feed, address):
    """Else it would wait for those who look on for ever."""
    async with feed.listen(address.profile_id, "k") as listener:
        feed.close()

        assert listener.ended
        with pytest.raises(Unavailable, match="the server is being stopped"):
            async with feed.listen(address.profile_id, "k"):
                pass
