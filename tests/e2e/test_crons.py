"""Crons the whole way: made by Claude, due by NATS's clock, delivered like any event, across every end of a server."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

from channel.claude import Claude, read_list
from legacy import LegacyClient
from processes import CLAWBACK, environment
from waiting import eventually


def in_seconds(seconds):
    """Say a time of day that is so many whole seconds from now, at least."""
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds + 1)
    return moment, f"{moment:%Y-%m-%dT%H:%M:%SZ}"


async def until(moment):
    """Wait for a time of day: the server is to be down for longer than until then."""
    while datetime.now(UTC) < moment:  # noqa: ASYNC110 -- a clock sets no event
        await asyncio.sleep(0.01)


async def test_a_cron_that_claude_makes_comes_back_as_an_event(server, token, tmp_path):
    """Not before its time, with its prompt as the order, and it waits for its ack like any other."""
    config = server.log_in(token, tmp_path)
    async with Claude(config, command=[str(CLAWBACK), "channel"], **environment(tmp_path)) as claude:
        due, text = in_seconds(2)
        answer, failed = await claude.call("cron_create", prompt="Tidy up.", once=text, label="tidy")
        assert not failed, answer
        made = json.loads(answer)
        await eventually(lambda: claude.events, timeout=15)
        arrived = datetime.now(UTC)
        (event,) = claude.events
        await claude.call("event_ack", event_id=event["meta"]["event_id"], summary="Tidied.")
        crons = read_list((await claude.call("cron_list"))[0])
        history = read_list((await claude.call("event_history"))[0])

    assert made["nextRuns"] == [due.isoformat()]
    assert arrived >= due
    assert event["content"].startswith("Tidy up.\n\n")
    assert (
        event["meta"].items() >= {"origin": "cron", "cronId": made["id"], "label": "tidy", "scheduledAt": text}.items()
    )
    assert crons == []
    assert [(each["source"], each["path"], each["summary"]) for each in history] == [("cron", made["id"], "Tidied.")]


async def test_what_is_due_while_the_server_is_down_runs_once_when_it_is_back(own_server):
    """Killed before, started after, and stopped: each has run once, and what is not due is as it was."""
    own_server.start()
    token = own_server.token()
    due, text = in_seconds(4)
    async with LegacyClient(own_server.socket_url, token.value) as client:
        for prompt in ("one", "two", "three"):
            await client.request("cron_create", prompt=prompt, once=text)
        kept = await client.request("cron_create", prompt="yearly", schedule="@yearly", timezone="Europe/Berlin")
    own_server.kill9()
    await until(due)
    own_server.start()
    async with LegacyClient(own_server.socket_url, token.value) as client:
        events = [await client.event()]
        own_server.stop()
    own_server.start()
    async with LegacyClient(own_server.socket_url, token.value) as client:
        for _ in range(3):
            events.append(await client.event())
            await client.ack(events[-1])
        await eventually(lambda: settled(client, 3), timeout=10)
        assert await only(client, kept)

    assert events[0]["id"] == events[1]["id"], "it was not acked"
    assert sorted(event["content"] for event in events[1:]) == ["one", "three", "two"]
    assert {event["meta"]["scheduledAt"] for event in events} == {text}


async def only(client, kept):
    """Whether this is the only cron."""
    return await client.request("cron_list") == [kept]


async def settled(client, number):
    """Whether so many events have ended, and none waits."""
    ended, waiting = await client.request("event_history"), await client.request("event_list")
    return len(ended) == number and not waiting
