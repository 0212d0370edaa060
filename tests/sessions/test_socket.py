"""The WebSocket bridge: a real server in this process, real clients, a real NATS."""

import asyncio
import inspect
import json
import struct
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from clawback import __version__, wire
from clawback.accounts import throttle
from clawback.accounts.tokens import new_token
from clawback.errors import Unavailable
from clawback.fabric.streams import Fabric
from clawback.operations import OPERATIONS
from clawback.sessions import socket as bridge
from clawback.store.stacks import Stacks
from houses import House, counting
from waiting import eventually


async def test_auth_is_answered_with_who_and_where_one_is(house):
    """`auth_ok` tells protocol, profile, tag, role, heartbeat and version."""
    peer = await house.connect(sessionTag="builds", instanceId="i1", client={"name": "tests", "version": "1"})

    assert peer.welcome == {
        "type": "auth_ok",
        "protocol": 1,
        "profileId": house.profile.id,
        "sessionTag": "builds",
        "role": "active",
        "heartbeatSeconds": wire.HEARTBEAT_SECONDS,
        "server": {"version": __version__},
        "features": ["event_seen"],
    }


@pytest.mark.parametrize("tag", [None, "", "(untagged)"])
async def test_no_tag_an_empty_one_and_untagged_are_the_same_address(house, tag):
    """All three are untagged, and get untagged events."""
    peer = await house.connect(sessionTag=tag)
    await house.publish("hello")

    assert peer.welcome.get("sessionTag") is None
    assert await peer.event() == ("hello", 1)


async def test_the_first_frame_must_be_auth(house):
    """Anything else closes with 4400."""
    peer = await house.peer()
    await peer.say("account_info", requestId="1")

    assert await peer.ended() == (wire.CLOSE_VIOLATION, "the first message must be auth")


async def test_auth_must_come_in_time(house, monkeypatch):
    """A socket that says nothing is closed with 4400, and counts as unauthenticated no longer."""
    monkeypatch.setattr(bridge, "AUTH_SECONDS", 0.1)
    peer = await house.peer()

    assert await peer.ended() == (wire.CLOSE_VIOLATION, "no auth message within 0 s")
    assert not house.servers[0].bridge._unauthenticated


@pytest.mark.parametrize(
    "frame", ["", "{", "[]", '{"type":"auth"}', '{"type":"nope"}', '{"token":"x"}', "\ud7ff", "[" * 50_000]
)
async def test_a_first_frame_that_is_none_closes_with_4400(house, frame):
    """Nothing that cannot be read gets further, or is quoted."""
    peer = await house.peer()
    await peer.websocket.send(frame)
    code, reason = await peer.ended()

    assert code == wire.CLOSE_VIOLATION
    assert reason.startswith("frame not understood: ")


async def test_a_bad_auth_never_has_its_token_in_the_reason(house):
    """A token in the wrong place is not repeated."""
    peer = await house.peer()
    await peer.say("auth", token=house.token.value, sessionTag=[house.token.value])
    code, reason = await peer.ended()

    assert code == wire.CLOSE_VIOLATION
    assert house.token.value[:12] not in reason


@pytest.mark.parametrize("token", ["", "nope", "cbt_" + "0" * 49])
async def test_a_bad_token_closes_with_4401(house, token):
    """The reason says what to do."""
    peer = await house.peer()
    await peer.say("auth", token=token)
    code, reason = await peer.ended()

    assert code == wire.CLOSE_UNAUTHORIZED
    assert "copy it again" in reason


async def test_an_unknown_token_closes_with_4401(house):
    """A token of the right form that nobody made opens nothing."""
    other = await house.tokens.create(house.profile.id, None)
    await house.tokens.revoke(house.profile.id, other.record.id)
    peer = await house.peer()
    await peer.say("auth", token=other.value)

    assert await peer.ended() == (
        wire.CLOSE_UNAUTHORIZED,
        "this token is unknown or was revoked: make a new one with `clawback token create`",
    )


@pytest.mark.parametrize("tag", ["a b", "x" * 65, "\u0000", "*", "a>b", "\ud83d\ude80"])
async def test_a_bad_tag_closes_with_4400_and_the_rule(house, tag):
    """The whole rule fits into the close reason."""
    peer = await house.peer()
    await peer.say("auth", token=house.token.value, sessionTag=tag)
    code, reason = await peer.ended()

    assert code == wire.CLOSE_VIOLATION
    assert reason.startswith("session tag refused, it has ")
    assert reason.endswith("at most 64 bytes of UTF-8")


async def test_an_auth_or_an_instance_that_is_too_long_is_refused(house):
    """Neither may grow what is kept of a client."""
    long = await house.peer()
    await long.say("auth", token=house.token.value, inflight=["evt_" + "x" * 300_000])
    instance = await house.peer()
    await instance.say("auth", token=house.token.value, instanceId="i" * 129)

    assert await long.ended() == (wire.CLOSE_VIOLATION, "the auth message is over 262144 bytes")
    assert await instance.ended() == (wire.CLOSE_VIOLATION, "the instanceId is over 128 characters")


async def test_a_second_auth_is_a_violation(house):
    """Who one is does not change on a connection."""
    peer = await house.connect()
    await peer.say("auth", token=house.token.value)

    assert await peer.ended() == (wire.CLOSE_VIOLATION, "already authenticated; open a new connection instead")


async def test_a_browser_is_refused_before_the_socket_opens(house):
    """A handshake with an Origin gets 403, whatever the origin."""
    with pytest.raises(InvalidStatus) as refused:
        await house.peer(origin="http://127.0.0.1")

    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("bound", ["MAX_UNAUTHENTICATED", "MAX_UNAUTHENTICATED_OF_ADDRESS"])
async def test_sockets_that_have_not_authenticated_are_bounded(house, monkeypatch, bound):
    """Above a bound the oldest of them is closed with 4008; whoever is in stays, and whoever comes gets in."""
    monkeypatch.setattr(bridge, bound, 2)
    inside = await house.connect()
    waiting = [await house.peer(), await house.peer()]
    later = await house.peer()
    code, _ = await waiting[0].ended()
    newcomer = await house.connect(sessionTag="new")
    for peer in (waiting[1], later):
        peer.abort()
    await eventually(lambda: not house.servers[0].bridge._unauthenticated)

    assert code == wire.CLOSE_FLOOD
    assert newcomer.welcome["role"] == "active"
    assert not inside.closed.is_set()


async def test_four_addresses_keep_nobody_out(house, monkeypatch):
    """However many sockets they hold together: a session connects, and the oldest of theirs is closed."""
    monkeypatch.setattr(bridge, "MAX_UNAUTHENTICATED", 16)
    monkeypatch.setattr(bridge, "MAX_UNAUTHENTICATED_OF_ADDRESS", 4)
    server = house.servers[0].bridge
    strangers = [bridge._Stranger(f"192.0.2.{number % 4}") for number in range(16)]
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        ended = []

        async def waits(stranger):
            try:
                async with asyncio.timeout_at(loop.time() + 60) as stranger.deadline:
                    await asyncio.Event().wait()
            except TimeoutError:
                ended.append(stranger)

        tasks = [group.create_task(waits(stranger)) for stranger in strangers]
        await eventually(lambda: all(stranger.deadline is not None for stranger in strangers))
        server._unauthenticated.update(dict.fromkeys(strangers))
        peer = await house.connect()
        await eventually(lambda: bool(ended))
        server._unauthenticated.clear()
        for task in tasks:
            task.cancel()

    assert peer.welcome["role"] == "active"
    assert ended == strangers[:1]


async def test_nobody_gives_way_who_is_being_checked(house, monkeypatch):
    """A socket that has sent its token keeps its place; the newcomer gets 503 and when to come again."""
    monkeypatch.setattr(bridge, "MAX_UNAUTHENTICATED", 1)
    server = house.servers[0].bridge
    server._unauthenticated[bridge._Stranger("192.0.2.1")] = None
    with pytest.raises(InvalidStatus) as refused:
        await house.peer()
    server._unauthenticated.clear()

    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["Retry-After"] == "5"


async def test_a_flood_of_frames_closes_with_4008(house, monkeypatch):
    """A client has a budget of frames that refills."""
    monkeypatch.setattr(bridge, "FRAME_BUDGET", 20)
    peer = await house.connect()
    with suppress(ConnectionClosed):
        for _ in range(100):
            await peer.say("pong")

    assert await peer.ended() == (wire.CLOSE_FLOOD, "more than 200 frames a second")


async def test_acks_of_events_are_no_flood(house, monkeypatch):
    """However fast a session acks what it is given, it is given the next."""
    monkeypatch.setattr(bridge, "FRAME_BUDGET", 5)
    monkeypatch.setattr(bridge, "FRAMES_PER_SECOND", 0.0)
    published = [await house.publish(str(number)) for number in range(20)]
    peer = await house.connect(instanceId="quick")
    for event_id in published:
        await peer.frame("event", id=event_id)
        await peer.say("ack", eventId=event_id, summary="done")

    assert not peer.closed.is_set()


async def test_too_many_unanswered_requests_close_with_4400(house, monkeypatch):
    """A client that asks without reading answers is stopped."""
    monkeypatch.setattr(bridge, "MAX_REQUESTS", 3)
    released = asyncio.Event()

    async def slow(*_):
        await released.wait()

    monkeypatch.setitem(OPERATIONS, wire.AccountInfo, slow)
    peer = await house.connect()
    for number in range(6):
        await peer.say("account_info", requestId=str(number))

    assert await peer.ended() == (wire.CLOSE_VIOLATION, "more than 3 requests wait for their answer")


async def test_a_frame_that_is_too_large_closes_with_1009(house):
    """The limit is enforced before the frame is in memory."""
    peer = await house.connect()
    with suppress(ConnectionClosed):
        await peer.websocket.send("x" * (wire.MAX_FRAME_BYTES + 1))

    assert (await peer.ended())[0] == 1009


@pytest.mark.parametrize("authenticated", [False, True])
async def test_a_binary_frame_closes_with_4400(house, authenticated):
    """The protocol is text."""
    peer = await (house.connect() if authenticated else house.peer())
    await peer.websocket.send(b"{}")

    assert await peer.ended() == (wire.CLOSE_VIOLATION, "frames are JSON text, not binary")


async def test_an_unknown_type_closes_with_4400(house):
    """A message that this server does not know is not passed over in silence."""
    peer = await house.connect()
    await peer.say("frobnicate", requestId="1")
    code, reason = await peer.ended()

    assert code == wire.CLOSE_VIOLATION
    assert "frobnicate" in reason


async def test_a_malformed_request_is_answered_and_the_session_goes_on(house):
    """A wrong field is the user's mistake: its response has the sentence, and null data."""
    peer = await house.connect()
    await peer.say("source_create", requestId="1", slug=7)
    answer = await peer.frame("response", requestId="1")
    after = await peer.ask("account_info")

    assert answer["data"] is None
    assert answer["error"] == "frame not understood: Expected `str`, got `int` - at `$.slug`"
    assert after["data"]["profileId"] == house.profile.id


async def test_requests_are_answered_in_order(house, monkeypatch):
    """The slow, the malformed and the fast come back as they were asked."""
    released = asyncio.Event()

    async def slow(*_):
        await released.wait()
        return {}

    monkeypatch.setitem(OPERATIONS, wire.TokenList, slow)
    peer = await house.connect()
    await peer.say("token_list", requestId="1")
    await peer.say("source_create", requestId="2", slug=7)
    await peer.say("source_list", requestId="3")
    await peer.say("cron_list", requestId="4")
    released.set()
    await peer.frame("response", requestId="4")

    assert [frame["requestId"] for frame in peer.frames if frame["type"] == "response"] == ["1", "2", "3", "4"]


async def test_data_is_always_there_and_an_error_only_where_there_is_one(house):
    """Existing clients reject an `error` that is null, and want `data` even then."""
    peer = await house.connect()
    right, wrong = await peer.ask("source_list"), await peer.ask("cron_run_now", cronId="crn_x")

    assert right == {"type": "response", "requestId": right["requestId"], "data": []}
    assert wrong["data"] is None
    assert "there is no cron 'crn_x'" in wrong["error"]


@pytest.mark.parametrize("bug", ["raises", "answers with what no JSON can hold"])
async def test_a_bug_in_an_operation_is_answered_with_a_sentence(house, monkeypatch, caplog, bug):
    """The client learns that it failed, the log why, and the session goes on."""

    async def broken(*_):
        if bug == "raises":
            raise ZeroDivisionError("secret detail")
        return object()

    monkeypatch.setitem(OPERATIONS, wire.SourceList, broken)
    peer = await house.connect()
    answer, after = await peer.ask("source_list"), await peer.ask("account_info")

    assert answer["data"] is None
    assert answer["error"] == "the server had an error; its log says more"
    assert "request SourceList failed" in caplog.text
    assert "error" not in after


async def test_a_client_is_pinged_and_may_be_quiet_as_long_as_it_answers(house, monkeypatch):
    """Pongs are signs of life."""
    monkeypatch.setattr(wire, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(wire, "SILENCE_SECONDS", 0.2)
    peer = await house.connect()
    await eventually(lambda: peer.pings >= 10)

    assert not peer.closed.is_set()


async def test_a_silent_client_is_closed_at_its_time_and_not_later(house, monkeypatch):
    """After the silence the connection ends with a code that says: come back."""
    monkeypatch.setattr(wire, "HEARTBEAT_SECONDS", 30.0)
    monkeypatch.setattr(wire, "SILENCE_SECONDS", 1.1)
    since = asyncio.get_running_loop().time()
    peer = await house.connect()
    peer.answers = False
    code, _ = await peer.ended()
    lasted = asyncio.get_running_loop().time() - since

    assert code == wire.CLOSE_SILENT
    assert 1.0 < lasted < 29.0, "the next heartbeat is not waited for"


async def test_a_client_that_reads_nothing_ends_its_connection(house, monkeypatch):
    """Neither the dispatcher nor the server's stop waits for it for ever."""
    monkeypatch.setattr(bridge, "SEND_SECONDS", 0.3)
    monkeypatch.setattr(bridge, "CLOSE_FRAME_SECONDS", 0.1)
    server = house.servers[0]
    # A limit is all it takes: asyncio reads no more than twice of it until somebody asks.
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]), limit=1024)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    writer.write(_masked({"type": "auth", "token": house.token.value, "instanceId": "i"}))
    await eventually(lambda: server.bridge._dispatchers)
    for _ in range(40):
        writer.write(_masked({"type": "account_info", "requestId": "r" * 500_000}))
    await eventually(lambda: not server.bridge._connections)
    writer.transport.abort()

    assert not server.presence._held


def _masked(message: dict) -> bytes:
    """Build a client's text frame (RFC 6455, 5.2) with a mask of zeros."""
    data = json.dumps(message).encode()
    size = struct.pack("!BBQ", 0x81, 0x80 | 127, len(data))
    return size + b"\0\0\0\0" + data


async def test_acked_is_settled_before_auth_ok(house):
    """What a client finished offline is not given to it again, and is in the history before it is greeted."""
    first = await house.connect(instanceId="i")
    event_id = await house.publish("work")
    await house.publish("next")
    await first.event()
    first.abort()
    second = await house.connect(instanceId="i", acked=[{"eventId": event_id, "summary": "did it"}])
    history = await house.history.newest(house.profile.id, limit=5)

    assert [(record.event_id, record.summary) for record in history] == [(event_id, "did it")]
    assert await second.event() == ("next", 1)


async def test_inflight_events_that_ended_are_called_back(house):
    """A client that holds what is no more is told `timed_out`."""
    peer = await house.connect(instanceId="i", inflight=["evt_gone"])

    assert await peer.frame("timed_out") == {"type": "timed_out", "eventId": "evt_gone"}


async def test_an_ack_that_comes_before_auth_ok_counts(house):
    """Existing clients take an open socket for an authenticated one."""
    first = await house.connect()
    event_id = await house.publish("work")
    await first.event()
    first.abort()
    second = await house.peer()
    await second.say("auth", token=house.token.value)
    await second.say("ack", eventId=event_id, summary="did it")
    await second.frame("auth_ok")
    await eventually(lambda: _is_empty(house))

    assert await house.stored() == 0


async def _is_empty(house: House) -> bool:
    return await house.stored() == 0


async def test_acks_that_a_standby_sends_are_settled(house):
    """A late ack counts, whoever has the session now; and the one that asks is told."""
    active = await house.connect(instanceId="a")
    standby = await house.connect(instanceId="b")
    event_id = await house.publish("work")
    await active.event()
    receipt = await standby.ack(event_id, "did it")

    assert standby.welcome["role"] == "standby"
    assert receipt == {"eventId": event_id, "settled": True}
    assert await house.stored() == 0


async def test_an_ack_of_nothing_is_not_called_settled(house):
    """`settled` is false for an event that no session of this address holds, whoever asks."""
    active = await house.connect(instanceId="a")
    standby = await house.connect(instanceId="b")
    answers = [await peer.ack("evt_unknown") for peer in (active, standby)]

    assert answers == [{"eventId": "evt_unknown", "settled": False}] * 2


async def test_a_standbys_ack_waits_for_nats(fresh_natsd, tmp_path):
    """It is neither lost nor does it end the connection."""
    async with House.open(fresh_natsd, tmp_path) as house:
        active = await house.connect(instanceId="a")
        standby = await house.connect(instanceId="b")
        event_id = await house.publish("work")
        await active.event()
        fresh_natsd.kill9()
        acking = asyncio.create_task(standby.ack(event_id))
        await eventually(house.servers[0].presence._fabric.problem)
        fresh_natsd.start()
        receipt = await acking
        await eventually(lambda: house.fabric.problem() is None)

        assert receipt["settled"]
        assert await house.stored() == 0


async def test_revoking_a_token_closes_what_it_opened_on_every_server(two):
    """4401 within a second, everywhere; connections of other tokens stay."""
    other = await two.tokens.create(two.profile.id, "other")
    doomed = [await two.connect(server, sessionTag=f"t{number}") for number, server in enumerate(two.servers)]
    spared = await two.connect(two.servers[1], token=other.value, sessionTag="spared")
    await two.tokens.revoke(two.profile.id, two.token.record.id)
    ends = [await peer.ended(timeout=1) for peer in doomed]

    assert ends == [(wire.CLOSE_UNAUTHORIZED, "this token was revoked; run: clawback login")] * 2
    assert not spared.closed.is_set()


async def test_rotating_a_token_closes_all_but_the_caller(two):
    """A thief's socket too, on every server, with 4401; the old token opens no new one, the new one does."""
    caller, *others = [
        await two.connect(server, sessionTag=f"t{number}") for number, server in enumerate([*two.servers, *two.servers])
    ]
    answer = await caller.ask("token_rotate")
    ends = [await peer.ended() for peer in others]
    refused = await two.peer(two.servers[1])
    await refused.say("auth", token=two.token.value)
    code, _ = await refused.ended()
    await two.connect(two.servers[1], token=answer["data"]["token"], sessionTag="new")
    await caller.ask("account_info")

    assert code == wire.CLOSE_UNAUTHORIZED
    assert [code for code, _ in ends] == [wire.CLOSE_UNAUTHORIZED] * 3
    assert not caller.closed.is_set()


async def test_a_token_that_was_rotated_can_be_revoked(two):
    """That closes the one connection that went on; after that it is unknown."""
    caller = await two.connect(two.servers[0], sessionTag="a")
    await caller.ask("token_rotate")
    assert await two.tokens.revoke(two.profile.id, two.token.record.id)
    code, _ = await caller.ended()

    assert code == wire.CLOSE_UNAUTHORIZED
    assert not await two.tokens.revoke(two.profile.id, two.token.record.id)


async def test_a_token_revoked_while_it_is_checked_opens_nothing(house, monkeypatch):
    """Between the look-up and the list of connections there is no gap to slip through."""
    server = house.servers[0]
    verify = server.bridge._verify

    async def revoked_meanwhile(value, address):
        found = await verify(value, address)
        await house.tokens.revoke(house.profile.id, house.token.record.id)
        return found

    monkeypatch.setattr(server.bridge, "_verify", revoked_meanwhile)
    peer = await house.peer()
    await peer.say("auth", token=house.token.value)

    assert (await peer.ended())[0] == wire.CLOSE_UNAUTHORIZED
    assert not server.bridge._connections


async def test_stopping_closes_with_1012_and_frees_the_sessions(two):
    """The other server's standby takes over at once, and no loss is counted."""
    first, second = two.servers
    active = await two.connect(first, instanceId="a")
    standby = await two.connect(second, instanceId="b")
    await two.publish("work")
    await active.event()
    await two.stop(first)
    code, _ = await active.ended()

    assert code == wire.CLOSE_RESTART
    assert await standby.event(timeout=5) == ("work", 2)
    assert [held.losses for held in await two.held()] == [0]


async def test_an_event_that_met_the_stop_of_its_server_is_a_first_attempt(two, monkeypatch):
    """It was about to leave when the socket closed: nobody was shown it, so the next holder is told of no other."""
    store, began, closed = Stacks.store, asyncio.Event(), asyncio.Event()

    async def slow(stacks, address, stack, **fence):
        revision = await store(stacks, address, stack, **fence)
        if stack and not closed.is_set():
            began.set()
            await closed.wait()
        return revision

    monkeypatch.setattr(Stacks, "store", slow)
    active = await two.connect(two.servers[0], instanceId="a")
    standby = await two.connect(two.servers[1], instanceId="b")
    await two.publish("work")
    await began.wait()
    stopping = asyncio.create_task(two.stop(two.servers[0]))
    await active.ended()
    closed.set()
    await stopping

    assert await standby.event(timeout=5) == ("work", 1)
    assert [frame["type"] for frame in active.frames] == ["auth_ok"]


async def test_an_ack_sent_just_before_the_end_is_settled(house):
    """What was read is done, even though nobody is left to be told."""
    peer = await house.connect(instanceId="i")
    event_id = await house.publish("work")
    await peer.event()
    await peer.say("ack", eventId=event_id)
    await peer.close()
    await eventually(lambda: not house.servers[0].bridge._connections)

    assert await house.stored() == 0


@pytest.mark.parametrize(
    ("leave", "losses"),
    [
        ("abort", 1),
        ("1000", 0),
        ("1001", 0),
        ("no code", 0),
        ("1002", 1),
        ("violation", 1),
        ("replaced", 0),
        ("revoked", 0),
    ],
)
async def test_only_unclean_losses_of_the_client_count(house, leave, losses):
    """A killed or misbehaving client counts against what it held; a goodbye or the server's doing does not."""
    peer = await house.connect(instanceId="i")
    await house.publish("work")
    await peer.event()
    match leave:
        case "abort":
            peer.abort()
        case "no code":
            peer.websocket.transport.write(b"\x88\x80\0\0\0\0")
        case "violation":
            await peer.websocket.send(b"binary")
        case "replaced":
            await house.connect(instanceId="i", inflight=[(await house.held())[0].event_id])
        case "revoked":
            await house.tokens.revoke(house.profile.id, house.token.record.id)
        case code:
            await peer.close(int(code))
    await peer.ended()
    await eventually(lambda: len(house.servers[0].bridge._connections) == (leave == "replaced"))

    assert [held.losses for held in await house.held()] == [losses]


async def test_an_event_that_kills_its_session_five_times_is_set_aside(house):
    """The sixth client is given the next one; goodbyes in between would have cleared the count."""
    killer = await house.publish("killer")
    await house.publish("next")
    for attempt in range(1, 6):
        peer = await house.connect(instanceId=f"i{attempt}")
        assert await peer.event() == ("killer", attempt)
        peer.abort()
        await eventually(lambda: not house.servers[0].bridge._connections)
    survivor = await house.connect(instanceId="i6")
    after = await survivor.event()
    (record,) = await house.history.newest(house.profile.id, limit=5)

    assert after == ("next", 1)
    assert (record.event_id, record.reason, record.attempts) == (killer, "crash_loop", 5)


async def test_nats_away_at_auth_closes_with_1012(house, monkeypatch):
    """A token that cannot be checked is not called wrong."""

    async def away(*_):
        raise Unavailable("no NATS")

    monkeypatch.setattr(house.servers[0].bridge, "_verify", away)
    peer = await house.peer()
    await peer.say("auth", token=house.token.value)

    assert await peer.ended() == (wire.CLOSE_RESTART, "the server cannot reach NATS; try again")


async def test_a_bug_while_serving_closes_with_1011_and_frees_the_session(house, monkeypatch, caplog):
    """The next connection is served."""
    monkeypatch.setattr(house.servers[0].presence, "take", counting([], lambda *_: 1 / 0))
    peer = await house.peer()
    await peer.say("auth", token=house.token.value)
    ended = await peer.ended()
    monkeypatch.undo()
    after = await house.connect()

    assert ended == (wire.CLOSE_ERROR, "the server had an error; try again")
    assert "ZeroDivisionError" in caplog.text
    assert after.welcome["role"] == "active"


async def test_nothing_is_left_behind_by_connections(house, monkeypatch):
    """No task, dict entry or subscription stays after 200 of them, however they came, asked and went."""
    server = house.servers[0]
    fabric: Fabric = server.presence._fabric
    first = await house.connect(instanceId="warm")
    lines = next(iter(server.bridge._dispatchers.values()))._lines
    await first.close()
    await eventually(lambda: not server.bridge._connections)
    tasks, subscriptions = len(asyncio.all_tasks()), len(fabric._subscriptions)
    lines._made_in.clear()
    messages = inspect.getclosurevars(server.bridge._operate).nonlocals["services"].messages
    made, make = [], server.bridge._dispatcher
    monkeypatch.setattr(server.bridge, "_dispatcher", lambda connection: made.append(make(connection)) or made[-1])
    # So that lines are pulled from, too.
    for number in range(20):
        await house.publish("work", f"t{number % 2}")

    for number in range(50):
        token = "x" if number % 5 == 4 else house.token.value
        peers = [await house.peer() for _ in range(4)]
        for position, peer in enumerate(peers):
            # Two pairs of one tag each, so that there are standbys, and one of each is gone before it is greeted.
            await peer.say("auth", token=token, sessionTag=f"t{position % 2}", instanceId=f"i{position}")
        for peer in peers[::2] if token != "x" else ():
            await peer.frame("auth_ok")
            # Its connection ends before these are answered.
            await peer.say("event_defer", requestId="1", eventId="evt_x")
            await peer.say("session_takeover", requestId="2")
            await peer.say("session_send", requestId="3", targets=["*"], content="hi")
        for position, peer in enumerate(peers):
            peer.abort() if position % 3 else await peer.close()
        for peer in peers:
            await peer.ended()
    await eventually(lambda: not server.bridge._connections)
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks)

    assert not server.bridge._unauthenticated
    assert not server.bridge._dispatchers
    assert not server.presence._places
    assert not server.presence._held
    assert not server.presence._tasks
    assert not messages._rounds
    assert not messages._tasks
    assert made
    assert not any(dispatcher._wishes for dispatcher in made)
    assert not lines._wake_ups.listeners
    assert not lines._made_in
    assert not lines._waiting
    assert len(fabric._subscriptions) == subscriptions
    assert not fabric._exchanges
    assert await house.sessions() == {}


async def test_who_guesses_tokens_is_told_to_wait(house, monkeypatch):
    """A token that is known opens all the same, from the same address."""
    monkeypatch.setattr(throttle, "FAILURES", 2)
    codes = []
    for _ in range(3):
        peer = await house.peer()
        await peer.say("auth", token=new_token())
        codes.append((await peer.ended())[0])
    known = await house.connect()

    assert codes == [wire.CLOSE_UNAUTHORIZED] * 2 + [wire.CLOSE_FLOOD]
    assert known.welcome["profileId"] == house.profile.id
