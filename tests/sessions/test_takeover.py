"""`session_takeover`: the active connection changes on request, on one server and across two."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from clawback import wire
from clawback.model import TIMEOUT_SECONDS
from clawback.sessions import presence
from clawback.sessions.dispatcher import Dispatcher
from cluster import joined
from waiting import eventually

HERE, THERE = 0, 1


async def fill(sender, texts, **fields):
    """Send these to the session `builds`, in order."""
    for text in texts:
        await sender.tell("builds", content=text, **fields)


def seen(peer):
    """The text and attempt of each event, in order."""
    return [(event["content"], int(event["meta"]["attempt"])) for event in peer.events]


@pytest.mark.parametrize("where", [HERE, THERE])
async def test_the_event_in_flight_moves_with_the_session(servers, token, where):
    """The former holder stands by; what it held comes to the new one again, first, and the rest in order."""
    async with (
        joined(servers[HERE], token) as sender,
        joined(servers[HERE], token, "builds") as former,
        joined(servers[where], token, "builds") as latter,
    ):
        await fill(sender, ["one", "two", "three"])
        await former.event()
        answer = await latter.ask("session_takeover")
        for number in (1, 2, 3):
            await latter.ack(await latter.event(number))
        await eventually(lambda: former.roles == ["active", "standby"])
        listed = await sender.ask("session_list")
        account = await sender.ask("account_info")

    assert answer == {"role": "active"}
    assert latter.roles == ["standby", "active"]
    assert seen(former) == [("one", 1)]
    assert seen(latter) == [("one", 2), ("two", 1), ("three", 1)]
    assert [each["role"] for each in listed if each["sessionTag"] == "builds"] == ["standby", "active"]
    assert account["connectedClients"] == 3


@pytest.mark.parametrize("where", [HERE, THERE])
async def test_a_suspended_stack_moves_whole(servers, token, where):
    """An interrupt and what it interrupted come in that order, once the interrupt is done."""
    async with (
        joined(servers[HERE], token) as sender,
        joined(servers[HERE], token, "builds") as former,
        joined(servers[where], token, "builds") as latter,
    ):
        await fill(sender, ["work"])
        await former.event()
        await fill(sender, ["fire"], priority="interrupt")
        await former.event(2)
        await fill(sender, ["later"])
        await latter.ask("session_takeover")
        for number in (1, 2, 3):
            await latter.ack(await latter.event(number))

    assert seen(latter) == [("fire", 2), ("work", 2), ("later", 1)]


async def test_a_late_ack_of_the_former_holder_counts(servers, token):
    """It ends its own event, and the new holder's ack of the same does no harm."""
    async with (
        joined(servers[HERE], token) as sender,
        joined(servers[HERE], token, "builds") as former,
        joined(servers[THERE], token, "builds") as latter,
    ):
        await fill(sender, ["one", "two"])
        one = await former.event()
        await latter.ask("session_takeover")
        again = await latter.event()
        await former.ack(one)
        await latter.ack(again)
        await latter.event(2)

    assert again["id"] == one["id"]
    assert seen(latter) == [("one", 2), ("two", 1)]


async def test_an_event_that_a_late_ack_ended_does_not_time_out(servers, token, monkeypatch):
    """The new holder lets it run out of time: it stays acked, with its summary, and is no dead letter."""
    clock, ahead = Dispatcher._now, [0.0]
    monkeypatch.setattr(Dispatcher, "_now", lambda self: clock(self) + ahead[0])
    async with (
        joined(servers[HERE], token) as sender,
        joined(servers[HERE], token, "builds") as former,
        joined(servers[THERE], token, "builds") as latter,
    ):
        await fill(sender, ["one"])
        one = await former.event()
        await latter.ask("session_takeover")
        await latter.event()
        await former.ask("ack", eventId=one["id"], summary="was done")
        ahead[0] = TIMEOUT_SECONDS + 1.0
        await fill(sender, ["two"])
        await latter.event(2)
        records = await latter.ask("event_history")
        dead = await latter.ask("event_list", states=["dead"])

    assert [(record["state"], record["summary"]) for record in records] == [("acked", "was done")]
    assert dead == []
    assert seen(latter) == [("one", 2), ("two", 1)]
    assert [frame["eventId"] for frame in latter.frames if frame["type"] == "timed_out"] == [one["id"]]


async def test_a_late_ack_of_a_suspended_event_counts(servers, token):
    """The former holder acks what an interrupt had suspended: the new one is not given it after the interrupt."""
    async with (
        joined(servers[HERE], token) as sender,
        joined(servers[HERE], token, "builds") as former,
        joined(servers[THERE], token, "builds") as latter,
    ):
        await fill(sender, ["work"])
        work = await former.event()
        await fill(sender, ["fire"], priority="interrupt")
        await former.event(2)
        await fill(sender, ["later"])
        await latter.ask("session_takeover")
        fire = await latter.event()
        answer = await former.ack(work)
        await latter.ack(fire)
        await latter.event(2)

    assert answer["settled"] is True
    assert seen(latter) == [("fire", 2), ("later", 1)]


async def test_an_ack_that_comes_as_the_session_moves_counts(servers, token, monkeypatch):
    """Read by the former holder's server after it had stopped giving events, it still ends its event."""
    stop = Dispatcher.stop

    def stop_with_an_ack_behind(dispatcher):
        stop(dispatcher)
        for held in dispatcher._lane.stack:
            dispatcher.ack(wire.Ack(held.event_id, "just done"))

    monkeypatch.setattr(Dispatcher, "stop", stop_with_an_ack_behind)
    async with (
        joined(servers[HERE], token) as sender,
        joined(servers[HERE], token, "builds") as former,
        joined(servers[THERE], token, "builds") as latter,
    ):
        await fill(sender, ["one", "two"])
        await former.event()
        await latter.ask("session_takeover")
        await latter.event()
        (record,) = await latter.ask("event_history")

    assert seen(latter) == [("two", 1)]
    assert record["summary"] == "just done"


async def test_nothing_is_given_before_the_former_holder_has_stopped(servers, token, monkeypatch):
    """While it settles an ack, the session stays where it is; the event that ended so is not delivered again."""
    end = Dispatcher._end
    ending, may_end = asyncio.Event(), asyncio.Event()

    async def end_slowly(dispatcher, *arguments):
        ending.set()
        await may_end.wait()
        return await end(dispatcher, *arguments)

    monkeypatch.setattr(Dispatcher, "_end", end_slowly)
    async with (
        joined(servers[HERE], token) as sender,
        joined(servers[HERE], token, "builds") as former,
        joined(servers[THERE], token, "builds") as latter,
    ):
        await fill(sender, ["one", "two"])
        one = await former.event()
        await former.send(type="ack", eventId=one["id"], summary="")
        await ending.wait()
        asking = asyncio.create_task(latter.ask("session_takeover"))
        # Longer than a takeover takes, and than a standby waits between two looks.
        await asyncio.wait([asking], timeout=1.5)
        before = (asking.done(), list(latter.events), latter.roles)
        may_end.set()
        await asking
        await latter.event()

    assert before == (False, [], ["standby"])
    assert seen(latter) == [("two", 1)]


async def test_a_takeover_waits_for_no_clock(servers, token, monkeypatch):
    """The one that asked begins at once, however seldom standbys look."""
    monkeypatch.setattr(presence, "STANDBY_SECONDS", 3600.0)
    async with joined(servers[HERE], token, "builds"), joined(servers[THERE], token, "builds") as latter:
        assert await latter.ask("session_takeover") == {"role": "active"}


async def test_it_goes_back_and_forth(servers, token):
    """The former holder can ask for it again; each delivery says which it is."""
    async with (
        joined(servers[HERE], token) as sender,
        joined(servers[HERE], token, "builds") as one,
        joined(servers[THERE], token, "builds") as two,
    ):
        await fill(sender, ["work"])
        await one.event()
        for peer in (two, one, two, one):
            await peer.ask("session_takeover")
        await eventually(lambda: one.roles == ["active", "standby", "active", "standby", "active"])
        await eventually(lambda: two.roles == ["standby", "active", "standby", "active", "standby"])
        last = await one.event(len(one.events))
        await eventually(lambda: seen(one)[-1][1] == max(attempt for _, attempt in seen(one) + seen(two)))
        await one.ack(last)

    attempts = [attempt for _, attempt in seen(one) + seen(two)]
    assert len(attempts) == len(set(attempts)), "no attempt was given to both"


async def test_the_active_one_may_ask_too(servers, token):
    """It stays what it is, and is given nothing again."""
    async with joined(servers[HERE], token) as sender, joined(servers[HERE], token, "builds") as active:
        await fill(sender, ["one"])
        await active.event()
        answer = await active.ask("session_takeover")
        await active.ask("account_info")

    assert answer == {"role": "active"}
    assert active.roles == ["active"]
    assert seen(active) == [("one", 1)]


async def test_a_client_without_an_instance_may_ask(servers, token):
    """It is told by the answer; a former holder without one just gets no more events."""
    async with (
        joined(servers[HERE], token) as sender,
        joined(servers[HERE], token, "builds", instanceId=None) as former,
        joined(servers[THERE], token, "builds", instanceId=None) as latter,
    ):
        await fill(sender, ["one", "two"])
        await former.event()
        answer = await latter.ask("session_takeover")
        await latter.ack(await latter.event())
        await latter.event(2)

    assert answer == {"role": "active"}
    assert former.texts() == ["one"]
    assert latter.texts() == ["one", "two"]
    assert [peer.roles for peer in (former, latter)] == [["active"], ["standby"]]


async def test_other_tags_and_the_untagged_are_left_alone(servers, token):
    """A takeover is about one session."""
    async with (
        joined(servers[HERE], token, "other") as other,
        joined(servers[HERE], token) as untagged,
        joined(servers[HERE], token, "builds") as former,
        joined(servers[THERE], token, "builds") as latter,
    ):
        await latter.ask("session_takeover")
        await eventually(lambda: former.roles == ["active", "standby"])
        for peer in (other, untagged):
            await peer.ask("session_takeover")

    assert (other.roles, untagged.roles) == (["active"], ["active"])


@pytest.mark.parametrize("callers", [1, 2, 3, 5])
async def test_of_callers_at_the_same_moment_one_becomes_active(servers, token, callers):
    """Whoever was told `active` was, the others were refused; one is in the end, and no attempt was given to two."""
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(joined(servers[HERE], token))
        peers = [
            await stack.enter_async_context(joined(servers[number % 2], token, "builds"))
            for number in range(callers + 1)
        ]
        await fill(sender, ["one", "two"])
        await peers[0].event()
        answers = await asyncio.gather(*(peer.ask("session_takeover") for peer in peers[1:]), return_exceptions=True)
        # Listed as they connected.
        listed = [each["role"] for each in await sender.ask("session_list") if each["sessionTag"] == "builds"]
        active = peers[listed.index("active")]
        await active.ack(await active.event())
        await active.event(2)
        await eventually(lambda: [peer.roles[-1] for peer in peers] == listed)

    assert sorted(listed) == ["active", *["standby"] * callers]
    assert {"role": "active"} in answers
    for answer, peer in zip(answers, peers[1:], strict=True):
        assert answer == {"role": "active"} or "at the same moment" in str(answer)
        assert ("active" in peer.roles) == (answer == {"role": "active"})
    attempts = [attempt for peer in peers for text, attempt in seen(peer) if text == "one"]
    assert sorted(attempts) == list(range(1, len(attempts) + 1))
    assert active.texts() == ["one", "two"]


@pytest.mark.parametrize("where", [HERE, THERE])
async def test_a_takeover_from_one_that_is_leaving_waits_until_it_has_left(servers, token, monkeypatch, where):
    """Its socket has ended and its last ack is being settled; until that is done the session is nobody else's."""
    end = Dispatcher._end
    ending, may_end = asyncio.Event(), asyncio.Event()

    async def end_slowly(dispatcher, *arguments):
        ending.set()
        await may_end.wait()
        return await end(dispatcher, *arguments)

    monkeypatch.setattr(Dispatcher, "_end", end_slowly)
    # So that the standby does not find by itself that the session is free.
    monkeypatch.setattr(presence, "STANDBY_SECONDS", 3600.0)
    async with (
        joined(servers[HERE], token) as sender,
        joined(servers[HERE], token, "builds") as former,
        joined(servers[where], token, "builds") as latter,
    ):
        await fill(sender, ["one", "two"])
        one = await former.event()
        await former.send(type="ack", eventId=one["id"], summary="")
        await ending.wait()
        former._ws.transport.abort()
        asking = asyncio.create_task(latter.ask("session_takeover"))
        await asyncio.wait([asking], timeout=1.0)
        before = (asking.done(), list(latter.events), latter.roles)
        may_end.set()
        answer = await asking
        await latter.event()

    assert before == (False, [], ["standby"])
    assert answer == {"role": "active"}
    assert seen(latter) == [("two", 1)]


async def test_a_takeover_from_a_client_that_does_not_answer(servers, token):
    """The server of the former holder lets go of it, whatever its client does."""
    async with joined(servers[HERE], token) as sender, joined(servers[HERE], token, "builds") as former:
        await fill(sender, ["one"])
        await former.event()
        async with joined(servers[THERE], token, "builds") as latter:
            former._ws.transport.pause_reading()
            await latter.ask("session_takeover")
            await latter.ack(await latter.event())
            former._ws.transport.resume_reading()

    assert seen(latter) == [("one", 2)]


async def test_a_takeover_that_its_caller_does_not_live_to_see(servers, token):
    """Its lease leads nowhere, so the former holder has the session again within seconds."""
    async with joined(servers[HERE], token) as sender, joined(servers[HERE], token, "builds") as former:
        await fill(sender, ["one"])
        await former.event()
        async with joined(servers[THERE], token, "builds") as latter:
            await latter.send(type="session_takeover", requestId="1")
            latter._ws.transport.abort()
        await eventually(lambda: former.roles[-1] == "active" and seen(former)[-1][0] == "one", timeout=10)
        await former.ack(former.events[-1])
        await fill(sender, ["two"])
        await eventually(lambda: former.texts()[-1] == "two", timeout=10)
