"""The whole way: a signed webhook, the server, its NATS, the plugin, Claude Code, the ack, and the next."""

import asyncio
import json
import re
import signal
import time

import pytest
from websockets.exceptions import ConnectionClosed

import senders
from channel.claude import Claude, read_list
from github import BODIES, PULL_REQUEST, delivery, kind_of, make_source, post
from legacy import PATIENCE_SECONDS, LegacyClient
from processes import CLAWBACK, Server, environment, is_free, processes_of
from waiting import eventually

SECRET = senders.SECRET.decode()
ROUTES = {"pull_request.opened": "/review"}
TEXT = PULL_REQUEST.decode()

EVENT_ID = re.compile("evt_[0-9a-f]{32}")


def claude_of(config, home, **env) -> Claude:
    """Make a Claude Code whose home is `home`, with the installed plugin and the config that `login` saved."""
    return Claude(config, command=[str(CLAWBACK), "channel"], **environment(home), **env)


def fenced(content: str) -> tuple[str, str]:
    """Part a notification into what stands before the fence and what is in it."""
    found = re.fullmatch(r"(.*)-----BEGIN DATA (\w+)-----\n(.*)\n-----END DATA \2-----\n.*", content, re.DOTALL)
    assert found, content
    return found[1], found[3]


async def test_a_webhook_reaches_claude_and_the_next_one_waits_for_its_ack(server, token, http, tmp_path):
    """Token, login, plugin, source, two signed webhooks: one event in front of Claude at a time, and its history."""
    config = server.log_in(token, tmp_path)
    async with claude_of(config, tmp_path) as claude:
        text, failed = await claude.call("source_create", slug="github", type="github", secret=SECRET, routes=ROUTES)
        assert not failed, text
        source = json.loads(text)
        sent_at = time.monotonic()
        first = await http.post(source["url"], **delivery())
        shown = await claude.event(1)
        shown_at = time.monotonic()
        second = await post(http, source["url"])
        # Two round trips to the server and back, behind the 202: an event that was let out has arrived.
        await claude.call("account_info")
        await claude.call("event_history")
        shown_before_ack = len(claude.events)
        held_for = time.monotonic() - shown_at
        acked, ack_failed = await claude.call("event_ack", event_id=first.json()["eventId"], summary="Reviewed it.")
        after = await claude.shown(2)
        took = time.monotonic() - sent_at
        history = read_list((await claude.call("event_history"))[0])
        meta, content = shown["meta"], shown["content"]

    assert config.stat().st_mode & 0o777 == 0o600
    assert source["url"] == f"{server.url}/webhooks/{token.webhook_id}/github"
    assert first.status_code == 202
    assert first.json() == {
        "status": "queued",
        "eventId": meta["event_id"],
        "eventType": "pull_request.opened",
    }
    assert EVENT_ID.fullmatch(meta["event_id"])
    assert content.startswith("/review\n\n")
    assert fenced(content)[1] == TEXT
    assert all(isinstance(value, str) and re.fullmatch(r"\w+", key, re.ASCII) for key, value in meta.items())
    assert meta.items() >= {"origin": "webhook", "path": "/github", "verified": "true", "attempt": "1"}.items()
    assert "source" not in meta, "Claude Code names the channel itself"
    assert shown_before_ack == 1
    assert not ack_failed, acked
    assert after == second
    assert [(each["eventId"], each["summary"], each["state"]) for each in history] == [
        (first.json()["eventId"], "Reviewed it.", "acked")
    ]
    assert held_for * 1000 - 5 <= history[0]["durationMs"] <= took * 1000 + 5
    assert history[0]["attempts"] == 1
    assert history[0]["timedOut"] is False


async def test_what_comes_while_the_plugin_is_away_waits_in_order(server, token, http, tmp_path):
    """Nobody is connected: every webhook is accepted; on connecting they come one by one, in order of acceptance."""
    config = server.log_in(token, tmp_path)
    async with LegacyClient(server.socket_url, token.value, "elsewhere") as client:
        url = await make_source(client, sessionTag="(untagged)")
    sent = [await post(http, url) for _ in range(5)]
    async with claude_of(config, tmp_path) as claude:
        for number in range(1, 6):
            shown = await claude.shown(number)
            await claude.call("event_ack", event_id=shown, summary="done")
        events = [event["meta"]["event_id"] for event in claude.events]

    assert events == sent


async def test_a_tagged_session_gets_the_events_of_its_tag(server, token, http, tmp_path):
    """CLAWBACK_SESSION names the session: sources it makes are its own, and other sessions see nothing of them."""
    config = server.log_in(token, tmp_path)
    async with claude_of(config, tmp_path) as plain, claude_of(config, tmp_path, CLAWBACK_SESSION="api") as tagged:
        made = json.loads((await tagged.call("source_create", slug="github", type="github", secret=SECRET))[0])
        sent = await post(http, made["url"])
        shown = await tagged.shown(1)
        await plain.call("account_info")

        assert made["sessionTag"] == "api"
        assert shown == sent
        assert plain.events == []


@pytest.mark.parametrize("path", [each for each in BODIES if kind_of(each) != "ping"], ids=lambda path: path.stem)
async def test_real_bodies_arrive_byte_for_byte(server, token, http, path):
    """On the wire, content is the skill, a blank line and the payload exactly as GitHub sent it."""
    body = path.read_bytes()
    async with LegacyClient(server.socket_url, token.value) as client:
        url = await make_source(client, routes={"*": "/review"})
        event_id = await post(http, url, **delivery(kind_of(path), body))
        event = await client.event()

    action = json.loads(body).get("action")
    assert event["content"].encode() == b"/review\n\n" + body
    assert event["id"] == event["meta"]["eventId"] == event_id
    assert event["meta"]["eventType"] == kind_of(path) + (f".{action}" if action else "")
    assert event["meta"]["source"] == "webhook"
    assert event["meta"]["skill"] == "/review"
    assert event["meta"]["deliveryId"].startswith("delivery-")


async def test_a_delivery_sent_again_is_a_duplicate(server, token, http):
    """The same delivery id is one event, before and after its ack; the answer names it again."""
    again = delivery()
    async with LegacyClient(server.socket_url, token.value) as client:
        url = await make_source(client)
        event_id = await post(http, url, **again)
        waiting = await http.post(url, **again)
        await client.ack(await client.event())
        await eventually(lambda: history_of(client))
        done = await http.post(url, **again)
        other = await post(http, url)
        event = await client.event()

    assert waiting.status_code == done.status_code == 200
    assert waiting.json() == done.json() == {"status": "duplicate", "eventId": event_id}
    assert event["id"] == other != event_id


async def history_of(client: LegacyClient, **fields) -> list[dict]:
    """Ask for what ended."""
    return await client.request("event_history", **fields)


async def test_what_no_route_takes_is_dropped_and_visible(server, token, http):
    """200, not queued, listed as dropped, counted; the same delivery is taken once a route exists."""
    push = delivery("push", b'{"ref":"refs/heads/main"}')
    async with LegacyClient(server.socket_url, token.value) as client:
        url = await make_source(client, routes=ROUTES)
        answer = await http.post(url, **push)
        dropped = await history_of(client, states=["dropped"])
        finished = await history_of(client)
        sources = await client.request("source_list")
        await client.request("source_delete", sourceId=sources[0]["id"])
        routed = await make_source(client, routes={"push": "/deploy"})
        accepted = await http.post(routed, **push)

    assert answer.status_code == 200
    assert answer.json() == {"status": "dropped", "reason": "no_route", "eventType": "push"}
    assert [(each["eventType"], each["state"], each["path"]) for each in dropped] == [("push", "dropped", "/github")]
    assert finished == []
    assert accepted.status_code == 202


# --- a client of the existing protocol -----------------------------------------------------------------------------


async def test_an_existing_client_is_given_one_event_at_a_time(server, token, http):
    """Bare auth, acks without a requestId: the next event comes after each ack."""
    async with LegacyClient(server.socket_url, token.value) as client:
        url = await make_source(client)
        sent = [await post(http, url) for _ in range(3)]
        got = []
        for _ in sent:
            got.append(await client.event())
            early = len(await history_of(client))
            assert early == len(got) - 1
            await client.ack(got[-1])

    assert [event["id"] for event in got] == sent
    assert [event["meta"]["attempt"] for event in got] == ["1", "1", "1"]


@pytest.mark.parametrize("goodbye", [True, False], ids=["closed", "killed"])
async def test_an_existing_client_gets_an_unacked_event_again(server, token, http, goodbye):
    """Redelivery: same id and content, a higher attempt, and priority normal, which it does not take for new."""
    async with LegacyClient(server.socket_url, token.value) as client:
        url = await make_source(client, priority="priority")
        await post(http, url)
        later = await post(http, url)
        first = await client.event()
        if not goodbye:
            client.vanish()
    async with LegacyClient(server.socket_url, token.value) as client:
        again = await client.event()
        await client.ack(again)
        following = await client.event()

    assert again["id"] == first["id"]
    assert again["content"] == first["content"]
    assert (first["meta"]["attempt"], first["meta"]["priority"]) == ("1", "priority")
    assert (again["meta"]["attempt"], again["meta"]["priority"]) == ("2", "normal")
    assert following["id"] == later
    assert following["meta"]["attempt"] == "1"


async def test_an_existing_client_hands_in_the_acks_it_kept(server, token, http):
    """An ack sent right after auth_ok for an event of the connection before ends it, instead of a second run."""
    async with LegacyClient(server.socket_url, token.value) as client:
        url = await make_source(client)
        await post(http, url)
        later = await post(http, url)
        kept = await client.event()
        client.vanish()
    async with LegacyClient(server.socket_url, token.value) as client:
        await client.ack(kept, "finished while offline")
        following = await client.event()
        history = await history_of(client)

    assert following["id"] == later
    assert [(each["eventId"], each["summary"]) for each in history] == [(kept["id"], "finished while offline")]


async def test_an_existing_client_keeps_its_session_while_it_answers_pings(server, token, http):
    """A second client of a tag makes the server ask the first, whose pong keeps it active; then the second follows."""
    second = LegacyClient(server.socket_url, token.value, "api")
    async with LegacyClient(server.socket_url, token.value, "api") as first:
        url = await make_source(first)
        held = await post(http, url)
        event = await first.event()
        listening = asyncio.create_task(first.event())
        await second.__aenter__()
        pings = first.pings

        async def are_listed():
            listed = await second.request("session_list")
            return sorted(session["role"] for session in listed) == ["active", "standby"]

        await eventually(are_listed)
        await first.ack(event)
        left = await post(http, url)
        kept = await listening
    async with second.socket:
        followed = await second.event()

    assert event["id"] == held
    assert pings >= 1
    assert kept["id"] == followed["id"] == left
    assert followed["meta"]["attempt"] == "2"


async def test_an_existing_client_is_refused_in_sentences(server, token):
    """Errors are sentences with null data; success has no error field at all."""
    async with LegacyClient(server.socket_url, token.value) as client:
        sentences = [
            await client.refused("source_create", slug="no good", verifierType="github", secret=SECRET),
            await client.refused("source_create", slug="github", verifierType="telegraph"),
            await client.refused("source_create", slug=7),
            await client.refused("event_history", limit=0),
            await client.refused("session_send", targets="everybody", content="hello"),
        ]
        answers = [await client.request(kind) for kind in ("account_info", "source_list", "token_list", "session_list")]
        removed = await client.request("source_delete", sourceId="src_unknown")

    assert all(len(sentence) > 10 for sentence in sentences)
    assert answers[0].items() >= {"profileId": token.profile_id, "webhookId": token.webhook_id}.items()
    assert removed == {"removed": False}


# --- starts and stops ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
async def test_a_second_start_finds_everything_again(own_server: Server, http, again):
    """Token, source with its secret, waiting and held events, history and delivery ids outlive any end."""
    server = own_server
    server.start()
    first_words = server.output
    token = server.token()
    remembered = delivery()
    async with LegacyClient(server.socket_url, token.value) as client:
        url = await make_source(client)
        done = await post(http, url, **remembered)
        await client.ack(await client.event(), "before")
        held = await post(http, url)
        waiting = await post(http, url)
        holding = await client.event()
        await ended_with(server, again)
    server.start()
    duplicate = await http.post(url, **remembered)
    new = await post(http, url)
    async with LegacyClient(server.socket_url, token.value) as client:
        history = await history_of(client)
        events = []
        for _ in range(3):
            events.append(await client.event())
            await client.ack(events[-1])

    assert first_words.startswith(f"Clawback is ready at {server.url}")
    assert "token create" in first_words
    assert holding["id"] == held
    assert duplicate.json() == {"status": "duplicate", "eventId": done}
    assert [(each["eventId"], each["summary"]) for each in history] == [(done, "before")]
    assert [event["id"] for event in events] == [held, waiting, new]
    assert [event["meta"]["attempt"] for event in events] == ["2", "1", "1"]


async def ended_with(server: Server, number: signal.Signals) -> None:
    """End the server in good order, or without a warning."""
    ending = server.kill9 if number is signal.SIGKILL else server.stop
    await asyncio.to_thread(ending)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
async def test_a_signal_ends_the_server_and_its_nats(own_server: Server, number):
    """Exit code 0, sessions are told, no process and no listener is left."""
    server = own_server
    server.start()
    token = server.token()
    async with LegacyClient(server.socket_url, token.value) as client:
        running = processes_of(server.home)
        code = await asyncio.to_thread(server.stop, number)
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await client.socket.recv()

    assert len(running) == 2, "the server and its NATS"
    assert code == 0
    assert closed.value.rcvd.code == 1012
    assert processes_of(server.home) == []
    assert is_free(server.port)
    assert "Traceback" not in server.errors
