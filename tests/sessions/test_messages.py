"""Messages between sessions: two servers on one NATS, and clients on either."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest

from clawback.model import Address, Lease
from clawback.sessions import messages
from clawback.sessions.messages import PER_MINUTE
from clawback.store.leases import Leases
from clawback.wire import MAX_CONTENT_CHARACTERS
from cluster import Refused, joined, make_token, running_server
from waiting import eventually

UNTAGGED = "(untagged)"


async def nothing_comes(*peers):
    """Check that none of these has an event, after each has proved that its frames come through."""
    for peer in peers:
        await peer.ask("account_info")
        assert peer.events == []


async def offline(asker, tag):
    """Wait until the server has noticed that a session left, which takes it a moment after the client."""

    async def is_gone():
        return tag not in [each["sessionTag"] for each in await asker.ask("session_list")]

    await eventually(is_gone)


@pytest.mark.parametrize("target", ["builds", UNTAGGED])
@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("others", [(), ("builds", UNTAGGED, "builds.eu")])
async def test_a_message_reaches_its_session_and_no_other(servers, token, target, connected, others):
    """Tagged or not, connected or not, whoever else is there: only the target gets it, now or when it comes."""

    def tag_of(name):
        return None if name == UNTAGGED else name

    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(joined(servers[0], token, "sender"))
        strangers = [
            await stack.enter_async_context(joined(servers[number % 2], token, tag_of(other)))
            for number, other in enumerate(others)
            if other != target
        ]
        if connected:
            receiver = await stack.enter_async_context(joined(servers[1], token, tag_of(target)))
        outcome = await sender.tell(target)
        if not connected:
            receiver = await stack.enter_async_context(joined(servers[1], token, tag_of(target)))
        event = await receiver.event()
        await nothing_comes(sender, *strangers)

    never_used = not connected and target != UNTAGGED
    unknown = {"unknown": [target]} if never_used else {}

    assert {name: outcome[name] for name in ("sent", "queued")} == {
        "sent": int(connected),
        "queued": int(not connected),
    }
    assert {name: found for name, found in outcome.items() if name == "unknown"} == unknown
    assert event["content"] == "hello"
    assert event["meta"] == {
        "source": "session",
        "eventId": event["id"],
        "priority": "normal",
        "attempt": "1",
        "from": "sender",
        "broadcast": "false",
    }


async def test_several_targets_are_counted_by_whether_they_are_connected(servers, token):
    """Each of a list gets its own event; named twice, in whatever writing, means once."""
    async with (
        joined(servers[0], token) as sender,
        joined(servers[1], token, "caf\u00e9") as here,
        joined(servers[0], token, "idle"),
    ):
        outcome = await sender.tell("caf\u00e9", "cafe\u0301", "idle", "away", "away", "far")
        event = await here.event()
        await nothing_comes(sender)
        async with joined(servers[1], token, "away") as away:
            other = await away.event()

    assert (outcome["sent"], outcome["queued"], outcome["unknown"]) == (2, 2, ["away", "far"])
    assert event["meta"]["from"] == UNTAGGED
    assert event["id"] != other["id"]


async def test_a_tag_that_nothing_ever_used_is_named_with_the_nearest_that_exists(servers, token):
    """A tag that was used once, or that a source or cron addresses, is no typing error; nor is the untagged session."""
    async with joined(servers[0], token, "sender") as sender:
        async with joined(servers[1], token, "Builds.eu"):
            pass
        await sender.ask("source_create", slug="from-github", verifierType="none", sessionTag="reviews")
        await sender.ask("cron_create", schedule="0 9 * * *", prompt="look", sessionTag="mornings")
        await offline(sender, "Builds.eu")
        known = await sender.tell("Builds.eu", "reviews", "mornings", "sender", UNTAGGED)
        unknown = await sender.tell("builds.ue", "reviews", "mornigns", "xyzzy")
        again = await sender.tell("builds.ue")

    assert known == {"sent": 1, "queued": 4}
    assert unknown == {
        "sent": 0,
        "queued": 4,
        "unknown": ["builds.ue", "mornigns", "xyzzy"],
        "nearest": {"builds.ue": "Builds.eu", "mornigns": "mornings"},
    }
    assert again == {"sent": 0, "queued": 1, "unknown": ["builds.ue"], "nearest": {"builds.ue": "Builds.eu"}}


async def test_tags_of_another_profile_are_neither_known_nor_nearest(servers, token, fabric):
    """Whoever types them learns nothing of whether they exist there."""
    stranger = await make_token(fabric)
    async with joined(servers[0], stranger, "payroll"), joined(servers[1], token, "sender") as sender:
        outcome = await sender.tell("payroll", "payrol")

    assert outcome == {"sent": 0, "queued": 2, "unknown": ["payroll", "payrol"]}


async def test_messages_to_an_offline_session_come_in_order(servers, token):
    """As they were sent, whichever server took them, interrupts and priority before normal ones."""
    async with joined(servers[0], token, "a") as first, joined(servers[1], token, "b") as second:
        for number, sender in enumerate([first, second, second, first]):
            await sender.tell("away", content=f"n{number}")
        await second.tell("away", content="p", priority="priority")
        await first.tell("away", content="i", priority="interrupt")
    async with joined(servers[0], token, "away") as away:
        for number in range(1, 7):
            await away.ack(await away.event(number))

    assert away.texts() == ["i", "p", "n0", "n1", "n2", "n3"]
    assert {event["meta"]["attempt"] for event in away.events} == {"1"}


async def test_everybody_is_each_connected_session_but_the_senders(servers, token, fabric):
    """On both servers, once each, standbys included in their session; not the offline, nor another profile's."""
    stranger_token = await make_token(fabric)
    async with (
        joined(servers[0], token, "sender") as sender,
        joined(servers[1], token, "sender") as twin,
        joined(servers[0], token) as untagged,
        joined(servers[0], token, "here") as here,
        joined(servers[1], token, "there") as there,
        joined(servers[0], token, "there") as standby,
        joined(servers[1], stranger_token, "here") as stranger,
    ):
        async with joined(servers[1], token, "gone"):
            pass
        await offline(sender, "gone")
        outcome = await sender.tell("*", content="all hands")
        events = [await peer.event() for peer in (untagged, here, there)]
        await nothing_comes(sender, twin, standby, stranger)
        async with joined(servers[1], token, "gone") as gone:
            await nothing_comes(gone)
        await asyncio.gather(*(peer.ack(event) for peer, event in zip((untagged, here, there), events, strict=True)))

    assert outcome == {"sent": 3, "queued": 0}
    assert len({event["id"] for event in events}) == 3
    assert {(e["content"], e["meta"]["from"], e["meta"]["broadcast"]) for e in events} == {
        ("all hands", "sender", "true")
    }


async def test_asking_again_stores_nothing_twice(servers, token, monkeypatch):
    """A server that is slow to answer is asked again, and its sessions still get one event each."""
    monkeypatch.setattr(messages, "ASK_SECONDS", 0.0)
    async with (
        joined(servers[0], token) as sender,
        joined(servers[0], token, "here") as here,
        joined(servers[1], token, "there") as there,
    ):
        outcome = await sender.tell("*", content="news")
        for peer in (here, there):
            await peer.ack(await peer.event())
        await sender.tell("here", "there", content="end")
        for peer in (here, there):
            await peer.event(2)

    assert outcome == {"sent": 2, "queued": 0}
    assert here.texts() == there.texts() == ["news", "end"]


async def test_a_message_to_everybody_waits_for_a_busy_session(servers, token):
    """Whoever was connected gets it, also after a disconnect: once accepted it is as durable as any event."""
    async with joined(servers[0], token, "sender") as sender:
        async with joined(servers[1], token, "busy") as busy:
            await sender.tell("busy", content="work")
            work = await busy.event()
            outcome = await sender.tell("*", content="news")
        async with joined(servers[0], token, "busy") as busy:
            await busy.ack(await busy.event())
            await busy.event(2)

    assert outcome == {"sent": 1, "queued": 0}
    assert work["content"] == "work"
    assert [(event["content"], event["meta"]["attempt"]) for event in busy.events] == [("work", "2"), ("news", "1")]


async def test_everybody_is_nobody_when_no_other_is_connected(servers, token):
    """That is no error."""
    async with joined(servers[0], token) as sender:
        assert await sender.tell("*") == {"sent": 0, "queued": 0}


async def test_a_server_that_does_not_store_is_reported(servers, token, fabric):
    """A session whose server is not heard counts as unconfirmed, not as sent."""
    async with joined(servers[0], token) as sender, joined(servers[1], token, "there") as there:
        lease = Lease("vanished-server", "its-connection", datetime.now(UTC))
        await Leases(fabric).create(Address(sender.welcome["profileId"], "vanished"), lease)
        outcome = await sender.tell("*")
        await there.event()

    assert outcome == {"sent": 1, "queued": 0, "unconfirmed": 1}


async def test_the_sender_cannot_be_forged(servers, token):
    """Whatever a client puts beside its request, `from` is its own tag."""
    async with joined(servers[0], token, "mallory") as mallory, joined(servers[1], token, "bob") as bob:
        forged = {"from": "alice", "sender": "alice", "sessionTag": "alice", "broadcast": True}
        await mallory.tell("bob", meta=forged, **forged)
        event = await bob.event()

    assert (event["meta"]["from"], event["meta"]["broadcast"]) == ("mallory", "false")


async def test_a_message_to_oneself_comes_after_the_current_event(servers, token):
    """A note for later; it does not come in between unless it is an interrupt."""
    async with joined(servers[0], token, "me") as me:
        await me.tell("me", content="one")
        one = await me.event()
        outcome = await me.tell("me", content="two")
        await me.ack(one)
        await me.event(2)

    assert outcome == {"sent": 1, "queued": 0}
    assert me.texts() == ["one", "two"]


async def test_another_profile_is_out_of_reach(servers, token, fabric):
    """The same tag elsewhere is another session."""
    other = await make_token(fabric)
    async with joined(servers[0], token) as alice, joined(servers[0], other, "builds") as charlie:
        outcome = await alice.tell("builds")
        await nothing_comes(charlie)

    assert (outcome["sent"], outcome["queued"]) == (0, 1)


@pytest.mark.parametrize(
    ("targets", "content", "rule"),
    [
        ([], "x", "no target is given: accepted are tags, (untagged) for sessions without one, or * for"),
        (["a", ""], "x", "a target is empty"),
        (["*", "a"], "x", "* means every connected session, and cannot stand with other targets"),
        (["two words"], "x", "session tag refused, it has ' '"),
        (["a.>*"], "x", "session tag refused, it has '>'"),
        ([f"t{n}" for n in range(101)], "x", "101 targets: accepted are at most 100"),
        (["a"], "", "the message is empty"),
        (["a"], " \n", "the message is empty"),
        (["a"], "x" * 200_001, "the message has 200,001 characters: accepted are at most 200,000"),
        (["a"], "x" * 1_000_000, "accepted are at most 200,000"),
    ],
)
async def test_what_is_no_message_is_refused_with_the_rule(servers, token, targets, content, rule):
    """The refusal is an answer, and the connection goes on; nothing is stored."""
    async with joined(servers[0], token) as sender:
        with pytest.raises(Refused) as refused:
            await sender.tell(*targets, content=content)
        async with joined(servers[0], token, "a") as named:
            await nothing_comes(named)

    assert rule in str(refused.value)


async def test_a_message_arrives_as_it_was_written(servers, token):
    """The longest one, to many at once, and characters that no terminal should see: not one is changed."""
    head = "\x00\x1b[31m</channel>\r\n"
    longest = head + "\U0001f9f6" * (MAX_CONTENT_CHARACTERS - len(head))
    async with joined(servers[0], token) as sender, joined(servers[1], token, "t7") as one:
        outcome = await sender.tell(*(f"t{n}" for n in range(100)), content=longest)
        event = await one.event()

    assert (outcome["sent"], outcome["queued"]) == (1, 99)
    assert event["content"] == longest


async def test_a_session_with_messages_off_is_no_target(servers, token):
    """Sending to it is refused by name and reaches nobody; `*` passes it; its own calls fail; it gets other events."""
    async with (
        joined(servers[0], token, "sender") as sender,
        joined(servers[1], token, "quiet", sessionMessaging=False) as quiet,
        joined(servers[1], token, "open") as listener,
    ):
        with pytest.raises(Refused, match="nothing was sent: quiet takes no messages, because sessionMessaging is fal"):
            await sender.tell("open", "quiet")
        outcome = await sender.tell("*")
        event = await listener.event()
        for call in (quiet.tell("open"), quiet.tell("*"), quiet.ask("session_list")):
            with pytest.raises(Refused, match="switched off for this session: set sessionMessaging to true"):
                await call
        await nothing_comes(quiet)

    assert outcome == {"sent": 1, "queued": 0}
    assert event["meta"]["broadcast"] == "true"
    assert len(listener.events) == 1


async def test_the_last_setting_holds_while_a_session_is_offline(servers, token):
    """Off stays off, on comes back, and each server knows at once; the untagged session has its own."""
    async with joined(servers[0], token, "sender") as sender, joined(servers[1], token, "sender") as other:
        for sender_now in (sender, other):
            for messaging in (False, True):
                async with joined(servers[1], token, sessionMessaging=messaging):
                    pass
                await offline(sender, None)
                if messaging:
                    assert await sender_now.tell(UNTAGGED) == {"sent": 0, "queued": 1}
                else:
                    with pytest.raises(Refused, match=r"\(untagged\) takes no messages"):
                        await sender_now.tell(UNTAGGED)


async def test_the_setting_is_that_of_the_active_connection(servers, token):
    """A standby's counts from when it takes over."""
    async with joined(servers[0], token, "sender") as sender, AsyncExitStack() as stack:
        async with joined(servers[0], token, "builds"):
            standby = await stack.enter_async_context(joined(servers[1], token, "builds", sessionMessaging=False))
            before = await sender.tell("builds")
        await eventually(lambda: standby.roles == ["standby", "active"])
        with pytest.raises(Refused, match="builds takes no messages"):
            await sender.tell("builds")

    assert before == {"sent": 1, "queued": 0}


async def test_messages_to_everybody_go_on_after_a_kill_of_nats(fresh_natsd, tmp_path, fresh_fabric):
    """Each server listens again, and the sessions that it serves are there again."""
    token = await make_token(fresh_fabric)
    async with (
        running_server(fresh_natsd, tmp_path / "s") as url,
        joined(url, token) as sender,
        joined(url, token, "there") as there,
    ):
        fresh_natsd.restart()

        async def sent():
            try:
                return (await sender.tell("*"))["sent"]
            except Refused:
                await asyncio.sleep(0.2)  # NATS is not back yet; each try counts against the allowance
                return 0

        assert await eventually(sent, timeout=20) == 1
        event = await there.event()

    assert event["meta"]["broadcast"] == "true"


async def test_the_sessions_of_a_profile_send_so_many_messages_a_minute(servers, token, fabric):
    """The next is refused with the rule and the time to wait, whatever its tag; another profile is not concerned."""
    other = await make_token(fabric)
    async with joined(servers[0], token, "chatty") as chatty, joined(servers[0], token, "calm") as calm:
        for number in range(PER_MINUTE):
            await (chatty, calm)[number % 2].tell("*")
        for peer in (chatty, calm):
            with pytest.raises(Refused, match=r"sessions of this profile have sent 20 .* is accepted in [123] s"):
                await peer.tell("away")
        async with joined(servers[0], token, "new-tag") as disguised:
            with pytest.raises(Refused, match="accepted in"):
                await disguised.tell("away")
        async with joined(servers[0], other, "chatty") as stranger:
            assert (await stranger.tell("away"))["queued"] == 1
