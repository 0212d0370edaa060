"""Who serves a session: several connections, on one server and on two, that come, leave, freeze and vanish."""

import asyncio

import pytest

from cable import Cable
from clawback import wire
from clawback.errors import Unavailable
from clawback.fabric.auth import NatsAuth
from clawback.sessions import presence as times
from clawback.store import leases as lease_times
from houses import PATIENCE_SECONDS, House, counting
from waiting import eventually


def _servers(two, across):
    return two.servers if across else [two.servers[0]] * 2


@pytest.mark.parametrize("across", [False, True], ids=["one server", "two servers"])
@pytest.mark.parametrize("leave", ["close", "abort"])
async def test_a_standby_takes_over_when_the_active_one_leaves(two, leave, across):
    """Within 5 s it has the session, and the event in flight with its attempt raised; then what waits, in order."""
    first, second = _servers(two, across)
    active = await two.connect(first, instanceId="a")
    standby = await two.connect(second, instanceId="b")
    event_id = await two.publish("work")
    await two.publish("next")
    assert await active.event() == ("work", 1)
    if leave == "close":
        await active.close()
    else:
        active.abort()
    role = await standby.frame("role", timeout=5)
    again = await standby.event(timeout=1)
    await standby.ack(event_id)

    assert (active.welcome["role"], standby.welcome["role"]) == ("active", "standby")
    assert role == {"type": "role", "role": "active"}
    assert again == ("work", 2)
    assert await standby.event() == ("next", 1)


async def test_a_standby_is_given_nothing_while_the_active_one_serves(two):
    """The first to come keeps the session."""
    active = await two.connect(two.servers[0], instanceId="a")
    standby = await two.connect(two.servers[1], instanceId="b")
    for number in range(5):
        event_id = await two.publish(f"work {number}")
        await active.event()
        await active.ack(event_id)

    assert not [frame for frame in standby.frames if frame["type"] == "event"]


async def test_roles_are_told_only_to_clients_that_name_an_instance(house):
    """Existing clients know no `role` frame."""
    active = await house.connect(instanceId="a")
    old = await house.connect()
    await active.close()
    await house.publish("work")
    await old.event()

    assert [frame["type"] for frame in old.frames] == ["auth_ok", "event"]


@pytest.mark.parametrize("across", [False, True], ids=["one server", "two servers"])
async def test_the_same_instance_replaces_its_old_socket_and_resumes(two, across):
    """The old socket gets 4409; what the client lists in `inflight` is not sent again, and its ack counts."""
    first, second = _servers(two, across)
    old = await two.connect(first, instanceId="i")
    event_id = await two.publish("work")
    await two.publish("next")
    await old.event()
    new = await two.connect(second, instanceId="i", inflight=[event_id])
    code, _ = await old.ended()
    receipt = await new.ack(event_id)

    assert code == wire.CLOSE_REPLACED
    assert new.welcome["role"] == "active"
    assert receipt["settled"]
    assert await new.event() == ("next", 1)


async def test_the_same_instance_gets_again_what_it_does_not_list(two):
    """What it has lost it is sent once more."""
    old = await two.connect(two.servers[0], instanceId="i")
    await two.publish("work")
    await old.event()
    new = await two.connect(two.servers[1], instanceId="i")

    assert await new.event() == ("work", 2)


@pytest.mark.parametrize("across", [False, True], ids=["one server", "two servers"])
async def test_the_same_instance_replaces_its_old_socket_that_stands_by(two, across):
    """A dead socket that waits could take the session over before the one that lives."""
    first, second = _servers(two, across)
    active = await two.connect(first, instanceId="a")
    old = await two.connect(first, instanceId="i")
    await eventually(lambda: _roles(two, ["active", "standby"]))
    new = await two.connect(second, instanceId="i")
    code, _ = await old.ended()
    await active.close()

    assert code == wire.CLOSE_REPLACED
    assert (await new.frame("role", timeout=5))["role"] == "active"


async def _roles(house, expected, tag=None):
    return sorted((await house.sessions()).get(tag, [])) == expected


async def test_an_empty_instance_is_none(house):
    """Two clients that send an empty `instanceId` do not replace each other."""
    first = await house.connect(instanceId="")
    second = await house.connect(instanceId="")

    assert second.welcome["role"] == "standby"
    assert not first.closed.is_set()


@pytest.mark.parametrize("across", [False, True], ids=["one server", "two servers"])
async def test_a_holder_that_answers_no_ping_is_replaced(two, across, monkeypatch):
    """A frozen client has left, which counts as an unclean loss; its socket says that it may come back."""
    monkeypatch.setattr(times, "PROBE_SECONDS", 0.3)
    first, second = _servers(two, across)
    frozen = await two.connect(first, instanceId="a")
    await two.publish("work")
    await frozen.event()
    frozen.answers = False
    fresh = await two.connect(second, instanceId="b")
    code, _ = await frozen.ended()
    again = await fresh.event()

    assert fresh.welcome["role"] == "active"
    assert code == wire.CLOSE_SILENT
    assert again == ("work", 2)
    assert [held.losses for held in await two.held()] == [1]


async def test_a_holder_that_answers_its_ping_stays(two):
    """The newcomer stands by."""
    active = await two.connect(two.servers[0])
    newcomer = await two.connect(two.servers[1])

    assert newcomer.welcome["role"] == "standby"
    assert active.pings == 1


async def test_a_server_that_vanished_frees_its_sessions_within_seconds(house):
    """Nobody listens on its control subject for longer than it needs to come back: no lease has to run out."""
    async with Cable(house.natsd.port) as cable:
        far = await house.start(NatsAuth(f"nats://127.0.0.1:{cable.port}"))
        active = await house.connect(far, instanceId="a")
        standby = await house.connect(house.servers[0], instanceId="b")
        await house.publish("work")
        await active.event()
        cable.cut()
        taken_over = await standby.frame("role", timeout=5)
        again = await standby.event()
        newcomer = await house.connect(house.servers[0], instanceId="c")

        assert taken_over["role"] == "active"
        assert again == ("work", 2)
        assert newcomer.welcome["role"] == "standby"


async def test_a_lease_that_was_lost_makes_its_connection_a_standby(house, monkeypatch):
    """A server that was cut off finds its session served by another when it is back, and tells its client."""
    monkeypatch.setattr(times, "RENEW_SECONDS", 0.2)
    async with Cable(house.natsd.port) as cable:
        far = await house.start(NatsAuth(f"nats://127.0.0.1:{cable.port}"))
        lost = await house.connect(far, instanceId="a")
        old = await house.connect(far, sessionTag="old")
        other = await house.connect(house.servers[0], instanceId="b")
        old_other = await house.connect(house.servers[0], sessionTag="old")
        cable.cut()
        await other.frame("role", role="active")
        await eventually(lambda: len(house.servers[0].presence._held) == 2)
        cable.mend()
        demoted = await lost.frame("role", role="standby")
        event_id = await house.publish("work")
        await other.event()
        await eventually(lambda: _roles(house, ["active", "standby"]))
        receipt = await lost.ack(event_id)
        await house.publish("for old", "old")
        await old_other.event()

        assert demoted == {"type": "role", "role": "standby"}
        assert receipt["settled"]
        assert [frame["type"] for frame in old.frames] == ["auth_ok"]


async def test_the_holder_keeps_its_session_over_a_restart_of_nats(fresh_natsd, tmp_path):
    """The bucket is empty then; the standby leaves it to the one that served, and nothing is delivered twice."""
    async with House.open(fresh_natsd, tmp_path, servers=2) as house:
        active = await house.connect(house.servers[0], instanceId="a")
        standby = await house.connect(house.servers[1], instanceId="b")
        event_id = await house.publish("work")
        await active.event()
        await eventually(lambda: _roles(house, ["active", "standby"]))
        fresh_natsd.restart()
        await eventually(lambda: house.fabric.problem() is None)
        await eventually(lambda: _roles_again(house, ["active", "standby"]), timeout=10)
        await house.publish("next")
        receipt = await active.ack(event_id)

        assert receipt["settled"]
        assert await active.event() == ("next", 1)
        assert [frame["type"] for frame in standby.frames] == ["auth_ok"]


async def _roles_again(house, expected, tag=None):
    try:
        return await _roles(house, expected, tag)
    except Unavailable:
        return False


async def listed(peer):
    """Ask for the sessions, and check that they are as many as the account counts."""
    sessions = (await peer.ask("session_list"))["data"]
    account = (await peer.ask("account_info"))["data"]
    # Between two requests one may have come or gone.
    return account["connectedClients"] == len(sessions) and [
        (each["sessionTag"], each["current"], each["role"]) for each in sessions
    ]


async def lists(peer, expected):
    """Whether a client is told of exactly these sessions."""
    return await listed(peer) == expected


async def test_lists_are_true_on_every_server_within_two_seconds(two):
    """`session_list` and `connectedClients` know of each connection that came, and of none that left."""
    here = await two.connect(two.servers[0], sessionTag="here", instanceId="h")
    there = await two.connect(two.servers[1], instanceId="t")
    second = await two.connect(two.servers[0], sessionTag="here", instanceId="s")

    expected = [("here", True, "active"), (None, False, "active"), ("here", False, "standby")]
    await eventually(lambda: lists(here, expected), timeout=2)
    expected = [("here", False, "active"), (None, True, "active"), ("here", False, "standby")]
    await eventually(lambda: lists(there, expected), timeout=2)
    await here.close()
    expected = [(None, True, "active"), ("here", False, "active")]
    await eventually(lambda: lists(there, expected), timeout=2)
    await second.close()
    await eventually(lambda: lists(there, [(None, True, "active")]), timeout=2)


async def test_sessions_of_a_server_that_vanished_are_listed_no_more(house, monkeypatch):
    """Their leases run out; those of one that was only cut off are back when it is. For the real time: tests/faults."""
    monkeypatch.setattr(lease_times, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(times, "RENEW_SECONDS", 0.2)
    async with Cable(house.natsd.port) as cable:
        far = await house.start(NatsAuth(f"nats://127.0.0.1:{cable.port}"))
        # Not to the first server: its renewals began before they were made quick.
        here = await house.connect(await house.start(), sessionTag="here")
        await house.connect(far, sessionTag="far")
        here_and_far = [("here", True, "active"), ("far", False, "active")]
        await eventually(lambda: lists(here, here_and_far), timeout=10)
        cable.cut()
        await eventually(lambda: lists(here, [("here", True, "active")]), timeout=10)
        cable.mend()
        await eventually(lambda: lists(here, here_and_far), timeout=10)


async def test_a_connection_that_takes_over_is_listed_once(house):
    """Between its lease and the end of its standby entry it would be both."""
    server = house.servers[0]
    entry_of_both = []
    of_profile = server.presence._leases.of_profile

    async def both(profile_id):
        entries = await of_profile(profile_id)
        (active,) = entries
        entry_of_both.append(active)
        return [active, type(active)(active.address, active.lease, active.revision + 1, active=False)]

    server.presence._leases.of_profile = both
    peer = await house.connect()
    answer = await peer.ask("session_list")

    assert entry_of_both
    assert [each["role"] for each in answer["data"]] == ["active"]


async def test_a_renewal_whose_answer_was_lost_keeps_the_session(house):
    """The lease in NATS is the connection's own, whatever revision was known of it."""
    server = house.servers[0]
    peer = await house.connect(instanceId="a")
    (holding,) = server.presence._held.values()
    # What a renewal does that is stored while its answer is lost on the way.
    await house.leases.replace(holding.connection.address, holding.lease, holding.revision)
    await server.presence._renew_all()
    await asyncio.gather(server.presence._renew_all(), server.presence._renew_all())
    await house.publish("work")

    assert await peer.event() == ("work", 1)
    assert list(server.presence._held.values()) == [holding]


@pytest.mark.parametrize("stored", [False, True], ids=["before it is stored", "before that is known"])
async def test_a_lease_that_is_renewed_while_its_connection_leaves_is_released(house, monkeypatch, stored):
    """Nothing shows a connection that is gone: the renewal under way is not written after the release, or undone."""
    server = house.servers[0]
    presence = server.presence
    peer = await house.connect(instanceId="a")
    replace = presence._leases.replace
    renewing, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*arguments):
        revision = await replace(*arguments) if stored else None
        renewing.set()
        await go_on.wait()
        return revision if stored else await replace(*arguments)

    monkeypatch.setattr(presence._leases, "replace", slow)
    renewal = asyncio.create_task(presence._renew_all())
    await renewing.wait()
    await peer.close()
    await eventually(lambda: not presence._places)
    go_on.set()
    await renewal
    await eventually(lambda: not server.bridge._connections)

    assert not presence._held
    assert await house.sessions() == {}


async def test_a_client_that_leaves_while_its_lease_is_written_leaves_no_lease(house, monkeypatch):
    """The write under way is waited for, and undone."""
    server = house.servers[0]
    create = server.presence._leases.create
    writing, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*arguments):
        revision = await create(*arguments)
        writing.set()
        await go_on.wait()
        return revision

    monkeypatch.setattr(server.presence._leases, "create", slow)
    peer = await house.peer()
    await peer.say("auth", token=house.token.value)
    await writing.wait()
    peer.abort()
    await peer.ended()
    await eventually(lambda: all(connection.ended.is_set() for connection in server.bridge._connections))
    go_on.set()
    await eventually(lambda: not server.bridge._connections)

    assert await house.sessions() == {}


async def test_two_newcomers_share_no_session(two):
    """Whoever writes the lease first is active, the other stands by."""
    for number in range(10):
        peers = await asyncio.gather(
            *(two.connect(server, sessionTag=f"t{number}", instanceId=f"i{server.url}") for server in two.servers)
        )

        assert sorted(peer.welcome["role"] for peer in peers) == ["active", "standby"]


async def test_an_expired_lease_is_taken_back_by_its_server(house, monkeypatch):
    """A server that slept longer than its leases live, and that nobody missed, goes on."""
    monkeypatch.setattr(lease_times, "LEASE_SECONDS", 1.0)
    server = house.servers[0]
    peer = await house.connect(instanceId="a")
    await eventually(lambda: _nobody(house))
    await server.presence._renew_all()
    await house.publish("work")

    assert await _roles(house, ["active"])
    assert await peer.event() == ("work", 1)


async def _nobody(house):
    return await house.sessions() == {}


async def test_a_standby_asks_its_holders_server_and_not_its_client(house, monkeypatch):
    """Standing by costs the active client nothing."""
    monkeypatch.setattr(times, "STANDBY_SECONDS", 0.02)
    asked = []
    presence = house.servers[0].presence
    monkeypatch.setattr(presence, "_ask", counting(asked, presence._ask))
    active = await house.connect(instanceId="a")
    await house.connect(instanceId="b")
    pings = active.pings
    await eventually(lambda: len(asked) > 10)

    assert active.pings == pings == 1


async def test_being_cut_off_oneself_proves_nothing_of_the_holder(house, monkeypatch):
    """A server that has lost NATS does not take the session of one that serves."""
    monkeypatch.setattr(times, "STANDBY_SECONDS", 0.02)
    async with Cable(house.natsd.port) as cable:
        far = await house.start(NatsAuth(f"nats://127.0.0.1:{cable.port}"))
        active = await house.connect(house.servers[0], instanceId="a")
        standby = await house.connect(far, instanceId="b")
        for _ in range(3):
            cable.cut()
            await eventually(far.presence._fabric.problem)
            cable.mend()
            await eventually(lambda: far.presence._fabric.problem() is None)
        await house.publish("work")

        assert await active.event() == ("work", 1)
        assert [frame["type"] for frame in standby.frames] == ["auth_ok"]


async def test_who_comes_after_a_restart_of_nats_leaves_the_session_to_its_holder(fresh_natsd, tmp_path, monkeypatch):
    """NATS has forgotten the leases; one that connects before the holder's server is back stands by all the same."""
    monkeypatch.setattr(times, "GONE_SECONDS", 30.0)
    async with House.open(fresh_natsd, tmp_path) as house, Cable(fresh_natsd.port) as cable:
        far = await house.start(NatsAuth(f"nats://127.0.0.1:{cable.port}"))
        active = await house.connect(far, instanceId="a")
        one = await house.publish("one")
        await active.event()
        cable.cut()
        fresh_natsd.restart()
        near = house.servers[0].presence._fabric
        await eventually(lambda: near.generation > 1 and near.problem() is None, PATIENCE_SECONDS)
        newcomer = await house.connect(house.servers[0], instanceId="b")
        cable.mend()
        await active.ack(one)
        await house.publish("two")

        assert newcomer.welcome["role"] == "standby"
        assert await active.event() == ("two", 1)
        assert [frame for frame in newcomer.frames if frame["type"] == "event"] == []


async def test_who_comes_back_as_a_standby_is_told_to_leave_what_it_holds(two):
    """The active session is given that event, and the one that left it is given it anew when it becomes active."""
    first = await two.connect(two.servers[0], instanceId="a")
    event_id = await two.publish("work")
    await first.event()
    await first.close()
    other = await two.connect(two.servers[1], instanceId="b")
    assert await other.event() == ("work", 2)
    back = await two.connect(two.servers[0], instanceId="a", inflight=[event_id])
    left = await back.frame("role")
    await other.close()
    again = await back.event()

    assert back.welcome["role"] == "standby"
    assert left == {"type": "role", "role": "standby"}
    assert again == ("work", 3)
    assert [frame["role"] for frame in back.frames if frame["type"] == "role"] == ["standby", "active"]


async def test_a_server_that_loses_nats_for_a_moment_keeps_its_sessions(house):
    """Whoever looks meanwhile waits for longer than a reconnect takes; nobody notices anything."""
    async with Cable(house.natsd.port) as cable:
        far = await house.start(NatsAuth(f"nats://127.0.0.1:{cable.port}"))
        active = await house.connect(far, instanceId="a")
        standby = await house.connect(house.servers[0], instanceId="b")
        event_id = await house.publish("one")
        await house.publish("two")
        await active.event()
        near = house.servers[0].presence
        cable.cut()
        # As long as a cut of 1.5 s, by what the other server saw of it.
        await eventually(lambda: any(each.seen_at - each.since > 1.4 for each in near._missing.values()))
        newcomer = await house.connect(house.servers[0], instanceId="c")
        cable.mend()
        receipt = await active.ack(event_id)

        assert receipt["settled"]
        assert await active.event() == ("two", 1)
        assert newcomer.welcome["role"] == "standby"
        assert [frame["type"] for frame in active.frames] == ["auth_ok", "event", "response", "event"]
        assert [frame["type"] for frame in standby.frames] == ["auth_ok"]


async def test_a_server_that_was_away_for_long_gives_nothing_of_what_it_held(house):
    """The session moves; the former server neither ends what the new one gave, nor gives the next one."""
    async with Cable(house.natsd.port) as cable:
        far = await house.start(NatsAuth(f"nats://127.0.0.1:{cable.port}"))
        former = await house.connect(far, instanceId="a")
        latter = await house.connect(house.servers[0], instanceId="b")
        one = await house.publish("one")
        await house.publish("two")
        await former.event()
        cable.cut()
        again = await latter.event(timeout=15)
        # Its server cannot tell NATS yet.
        await former.say("ack", eventId=one, summary="done", requestId="late")
        cable.mend()
        receipt = await former.frame("response", requestId="late")
        demoted = await former.frame("role", role="standby")
        await latter.ack(one)
        second = await latter.event()

        assert again == ("one", 2)
        assert demoted["role"] == "standby"
        assert receipt["data"]["settled"]
        assert second == ("two", 1)
        assert [frame["type"] for frame in former.frames if frame["type"] == "event"] == ["event"]


async def test_no_session_moves_when_a_slow_nats_is_restarted(fresh_natsd, tmp_path):
    """With a long way to NATS a server is back seconds after another one: until then its sessions wait for it."""
    sessions = 30
    async with House.open(fresh_natsd, tmp_path) as house, Cable(fresh_natsd.port) as cable:
        far = await house.start(NatsAuth(f"nats://127.0.0.1:{cable.port}"))
        tags = [f"t{number}" for number in range(sessions)]
        holders = [await house.connect(far, sessionTag=tag, instanceId=f"a-{tag}") for tag in tags]
        standbys = [await house.connect(house.servers[0], sessionTag=tag, instanceId=f"b-{tag}") for tag in tags]
        cable.slow(0.15)
        await asyncio.to_thread(fresh_natsd.restart)
        for tag in tags:
            await eventually(lambda tag=tag: _roles_again(house, ["active", "standby"], tag), timeout=60)
            await house.publish("work", tag)
        for holder in holders:
            assert await holder.event(timeout=60) == ("work", 1)

        assert [peer.frames for peer in standbys if len(peer.frames) > 1] == []
