"""What is done by id about an event that a session holds: here, on another server, or with nobody connected."""

import asyncio
from datetime import UTC, datetime

import httpx
import pytest
import pytest_asyncio

from clawback.model import Lease, Priority, random_id
from clawback.sessions.dispatcher import Dispatcher
from described import Api
from houses import House
from waiting import eventually

HERE, THERE, NOWHERE = "on the server that is asked", "on another server", "not connected"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(natsd, tmp_path_factory):
    """Two servers for all of these tests."""
    async with House.open(natsd, tmp_path_factory.mktemp("house"), servers=2) as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def two(shared):
    """A profile of the test's own on both servers."""
    async with shared.newcomer() as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def api(two):
    """The API of the first server."""
    async with httpx.AsyncClient(base_url=two.servers[0].url, timeout=30, trust_env=False) as web:
        yield await Api.open(web, two.token.value)


async def hold(house, where, *texts):
    """Have the session `builds` hold the first of some events; the ids, and the session where it stays connected."""
    ids = [await house.publish(text, "builds") for text in texts]
    peer = await house.connect(house.servers[where == THERE], sessionTag="builds", instanceId="i")
    await peer.frame("event", id=ids[0])
    if where == NOWHERE:
        await peer.close()
        await eventually(lambda: not any(server.bridge._connections for server in house.servers))
        return ids, None
    return ids, peer


async def ended(house):
    """How events ended: their ids, states and summaries."""
    records = await house.history.newest(house.profile.id, limit=50)
    return [(record.event_id, record.state.value, record.summary) for record in records]


async def following(house, peer):
    """The next event of the session, which connects where it is not connected."""
    return await (peer or await house.connect(sessionTag="builds", instanceId="later")).frame("event")


@pytest.mark.parametrize("where", [HERE, THERE, NOWHERE])
async def test_an_ack_ends_the_event_and_the_next_one_leaves(two, api, where):
    """Once, wherever its session is; who holds it is told, and its own ack comes too late."""
    (first, second), peer = await hold(two, where, "one", "two")
    answer = await api.ask("POST", f"/events/{first}/ack", json={"summary": "by hand"})
    again = await api.ask("POST", f"/events/{first}/ack", json={"summary": "twice"})
    event = await following(two, peer)

    assert answer.json() == {"eventId": first, "settled": True}
    assert again.json() == {"eventId": first, "settled": False}
    assert (event["id"], event["meta"]["attempt"]) == (second, "1")
    assert await ended(two) == [(first, "acked", "by hand")]
    if peer is not None:
        assert [frame["eventId"] for frame in peer.frames if frame["type"] == "timed_out"] == [first]
        assert await peer.ack(first) == {"eventId": first, "settled": False}


@pytest.mark.parametrize("where", [HERE, THERE, NOWHERE])
async def test_more_time_is_stored(two, api, where):
    """With what the session holds, so it outlives everybody; the session keeps the event."""
    (event_id,), peer = await hold(two, where, "one")
    answer = await api.ask("POST", f"/events/{event_id}/extend", json={"seconds": 600})
    (held,) = await two.held("builds")

    assert answer.json() == {"eventId": event_id, "seconds": 600}
    assert held.allowed_seconds == 1800 + 600
    assert peer is None or not [frame for frame in peer.frames if frame["type"] == "timed_out"]


@pytest.mark.parametrize("where", [HERE, THERE, NOWHERE])
async def test_a_deferred_event_goes_behind_what_waits(two, api, where):
    """The next one leaves, and then it comes again."""
    (first, second), peer = await hold(two, where, "one", "two")
    answer = await api.ask("POST", f"/events/{first}/defer")
    peer = peer or await two.connect(sessionTag="builds", instanceId="later")
    event = await peer.frame("event")
    await peer.ack(event["id"])
    again = await peer.frame("event")

    assert answer.json() == {"eventId": first, "delaySeconds": 0}
    assert event["id"] == second
    assert (again["id"], again["meta"]["attempt"]) == (first, "2")


@pytest.mark.parametrize("where", [HERE, THERE, NOWHERE])
async def test_a_deferral_with_a_delay_waits_out_of_line(two, api, where):
    """And can be seen there."""
    (event_id,), _ = await hold(two, where, "one")
    await api.ask("POST", f"/events/{event_id}/defer", json={"delaySeconds": 3600})
    shown = (await api.ask("GET", f"/events/{event_id}")).json()

    assert shown["state"] == "queued"
    assert (datetime.fromisoformat(shown["returnsAt"]) - datetime.now(UTC)).total_seconds() > 3500
    assert await two.stored("builds") == 0


@pytest.mark.parametrize("where", [HERE, THERE, NOWHERE])
async def test_what_failed_three_times_is_dead(two, api, where):
    """With the reason that was given."""
    (event_id,), _ = await hold(two, where, "one")
    answers = [await api.ask("POST", f"/events/{event_id}/fail", json={"reason": f"no {n}"}) for n in range(3)]
    gone = await api.ask("POST", f"/events/{event_id}/fail", json={})
    shown = (await api.ask("GET", f"/events/{event_id}")).json()

    assert [answer.status_code for answer in answers] == [200] * 3
    assert gone.status_code == 409
    assert (shown["state"], shown["reason"]) == ("dead", "failed")
    assert await ended(two) == [(event_id, "dead", "no 2")]


@pytest.mark.parametrize("where", [HERE, NOWHERE])
async def test_a_suspended_event_is_ended_by_its_own_id(two, api, where):
    """The interrupt above it stays."""
    work = await two.publish("work", "builds")
    peer = await two.connect(sessionTag="builds", instanceId="i")
    await peer.frame("event", id=work)
    fire = await two.publish("fire", "builds", priority=Priority.INTERRUPT)
    await peer.frame("event", id=fire)
    if where == NOWHERE:
        await peer.close()
        await eventually(lambda: not two.servers[0].bridge._connections)
    answer = await api.ask("POST", f"/events/{work}/ack", json={})
    active = (await api.ask("GET", "/events/active", params={"sessionTag": "builds"})).json()

    assert answer.json()["settled"]
    assert [held.event_id for held in await two.held("builds")] == [fire]
    assert (active["eventId"], active["content"], active["meta"]["attempt"]) == (fire, "fire", "1")


async def test_the_active_event_is_shown_as_it_was_sent(two, api):
    """Of the session that is named; where none is active that is a 404."""
    (event_id,), peer = await hold(two, THERE, "one")
    shown = await api.ask("GET", "/events/active", params={"sessionTag": "builds"})
    nothing = await api.ask("GET", "/events/active")
    (event,) = (frame for frame in peer.frames if frame["type"] == "event")

    assert shown.json() == {"eventId": event_id, "content": event["content"], "meta": event["meta"]}
    assert nothing.status_code == 404


async def test_what_no_session_holds_is_a_conflict(two, api):
    """Nobody can have done what nobody was given; what ended stays as it ended."""
    waiting = await two.publish("one", "builds")
    acked = await two.publish("two", "other")
    peer = await two.connect(sessionTag="other", instanceId="i")
    await peer.frame("event")
    await peer.ack(acked, "done")
    answers = {
        event_id: [
            (await api.ask("POST", f"/events/{event_id}/{action}", json=body)).status_code
            for action, body in (("ack", {}), ("extend", {"seconds": 1}), ("defer", {}), ("fail", {}))
        ]
        for event_id in (waiting, acked, "evt_unknown")
    }

    assert answers == {waiting: [409] * 4, acked: [200, 409, 409, 409], "evt_unknown": [404] * 4}
    assert await ended(two) == [(acked, "acked", "done")]


async def test_a_late_ack_is_recorded_against_its_event(two, api, monkeypatch):
    """It stays timed out."""
    (event_id,), peer = await hold(two, HERE, "one")
    dispatcher = two.servers[0].bridge.serving(two.address("builds"))
    later = dispatcher._now() + 2000  # half an hour passes
    monkeypatch.setattr(dispatcher, "_now", lambda: later)
    dispatcher.wake(Priority.NORMAL)
    await peer.frame("timed_out", eventId=event_id)
    answer = await api.ask("POST", f"/events/{event_id}/ack", json={"summary": "it was done"})

    assert answer.json() == {"eventId": event_id, "settled": False}
    assert await ended(two) == [(event_id, "timed_out", "it was done")]


async def test_acks_from_everywhere_at_once_end_it_once(two, api):
    """One of them settles it, the others learn that it had ended; the next event leaves once."""
    (first, second), peer = await hold(two, THERE, "one", "two")
    receipts = await asyncio.gather(
        peer.ack(first, "session"),
        *(api.ask("POST", f"/events/{first}/ack", json={"summary": f"{n}"}) for n in range(10)),
    )
    await peer.frame("event", id=second)

    assert {receipt.status_code for receipt in receipts[1:]} == {200}
    assert len(await ended(two)) == 1
    assert [frame["id"] for frame in peer.frames if frame["type"] == "event"] == [first, second]


async def test_whoever_connects_meanwhile_waits_for_the_end(two, api, monkeypatch):
    """And finds the stack as it is then: never two who change it."""
    (first, second), _ = await hold(two, NOWHERE, "one", "two")
    under_way, go_on = asyncio.Event(), asyncio.Event()
    visit = Dispatcher.visit

    async def slow(self, request):
        under_way.set()
        await go_on.wait()
        return await visit(self, request)

    monkeypatch.setattr(Dispatcher, "visit", slow)
    asked = asyncio.create_task(api.ask("POST", f"/events/{first}/ack", json={}))
    await under_way.wait()
    connecting = asyncio.create_task(two.connect(two.servers[1], sessionTag="builds", instanceId="later"))
    await eventually(lambda: two.servers[1].presence._places)
    go_on.set()
    answer, peer = await asked, await connecting
    event = await peer.frame("event")

    assert answer.json()["settled"]
    assert event["id"] == second
    assert not [frame for frame in peer.frames if frame["type"] == "event" and frame["id"] == first]


async def test_a_server_that_is_gone_keeps_nothing_from_being_done(two, api):
    """Its lease stays for half a minute, and nobody answers for it."""
    (event_id,), _ = await hold(two, NOWHERE, "one")
    gone = Lease(server_id=random_id(), connection_id=random_id(), connected_at=datetime.now(UTC))
    await two.leases.create(two.address("builds"), gone)
    answer = await api.ask("POST", f"/events/{event_id}/ack", json={})

    assert answer.json()["settled"]
    assert await two.sessions() == {}


async def test_a_client_without_an_instance_is_left_in_peace(two, api):
    """It knows no `timed_out`; its later ack ends nothing, and it is given the next event."""
    first, second = await two.publish("one"), await two.publish("two")
    peer = await two.connect()
    await peer.frame("event", id=first)
    await api.ask("POST", f"/events/{first}/ack", json={})
    event = await peer.frame("event")

    assert event["id"] == second
    assert {frame["type"] for frame in peer.frames} == {"auth_ok", "event"}
    assert await peer.ack(first) == {"eventId": first, "settled": False}


async def test_the_owner_closes_a_session(two, api):
    """All connections of its tag, with 4401, and no others; a second time there are none."""
    active, standby = [await two.connect(server, sessionTag="builds") for server in two.servers]
    other = await two.connect(sessionTag="other")
    closed = await api.ask("DELETE", "/sessions", params={"sessionTag": "builds"})
    codes = [(await peer.ended())[0] for peer in (active, standby)]
    again = await api.ask("DELETE", "/sessions", params={"sessionTag": "builds"})

    assert (closed.json(), again.json()) == ({"closed": 2}, {"closed": 0})
    assert codes == [4401, 4401]
    assert not other.closed.is_set()
