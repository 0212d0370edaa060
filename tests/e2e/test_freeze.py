"""A nats-server that hangs with its connections open: what cannot be stored is refused in time, and all goes on."""

import asyncio
import time

import pytest

import senders
from clawback.fabric.embedded import read_auth
from clawback.fabric.streams import Fabric
from clawback.model import Address
from clawback.sessions.sleep import SLEEP_SECONDS
from clawback.store.registry import DEFAULT_SHARDS
from clawback.store.stacks import Stacks
from github import delivery, make_source, post
from legacy import LegacyClient
from processes import frozen
from waiting import eventually

GITHUB_PATIENCE, GENERIC_PATIENCE = 8.0, 4.0
"""Until a 503: GitHub gives up after 10 s and comes never again, the most impatient others after 5 s."""

SLACK = 3.0
"""For a busy machine. Both stay below what the sender would wait."""

WAITING = 3


@pytest.mark.timeout(120)
async def test_a_nats_that_hangs_for_some_seconds_costs_no_github_webhook(own_server, http):
    """Impatient senders get 503 within their patience, GitHub's webhooks are stored once NATS is back; order holds."""
    own_server.start()
    token = own_server.token()
    body = b'{"hello":"world"}'
    impatient = {"content": body, "headers": dict(senders.generic(body))}
    async with LegacyClient(own_server.socket_url, token.value) as client:
        github = await make_source(client)
        generic = await make_source(client, "generic", verifierType="generic", sessionTag="elsewhere")
        before = await post(http, github)
        held = await client.event()
        with frozen(own_server.nats_pid):
            started = time.monotonic()
            kept = [asyncio.create_task(http.post(github, **delivery())) for _ in range(WAITING)]
            refused = await asyncio.gather(*(http.post(generic, **impatient) for _ in range(WAITING)))
            refused_after = time.monotonic() - started
        stored = await asyncio.gather(*kept)
        stored_after = time.monotonic() - started
        after = await post(http, github)
        await client.ack(held)
        events = []
        for _ in range(WAITING + 1):
            events.append(await client.event())
            await client.ack(events[-1])

    assert held["id"] == before
    assert [answer.status_code for answer in refused] == [503] * WAITING
    assert all(answer.headers["retry-after"] for answer in refused)
    assert GENERIC_PATIENCE - 1 < refused_after < GENERIC_PATIENCE + SLACK
    assert [answer.status_code for answer in stored] == [202] * WAITING, [answer.text for answer in stored]
    assert stored_after < GITHUB_PATIENCE + SLACK
    assert sorted(event["id"] for event in events[:-1]) == sorted(answer.json()["eventId"] for answer in stored)
    assert events[-1]["id"] == after


async def test_a_session_that_left_a_frozen_server_is_not_to_blame(own_server, http):
    """To it the server was as good as dead, so no loss is counted."""
    own_server.start()
    token = own_server.token()
    async with LegacyClient(own_server.socket_url, token.value) as client:
        url = await make_source(client)
        await post(http, url)
        given = [await client.event()]
        with frozen(own_server.process.pid):
            client.vanish()
            # The time that passes here is what tells.
            await asyncio.sleep(SLEEP_SECONDS + 1.0)
    async with LegacyClient(own_server.socket_url, token.value) as client:
        given.append(await client.event())
        fabric = await Fabric.open(read_auth(own_server.data_dir), name="tests")
        (held, _), *more = await Stacks(fabric, DEFAULT_SHARDS).restore(Address(token.profile_id, None))
        await fabric.close()

    assert [event["meta"]["attempt"] for event in given] == ["1", "2"]
    assert (held.event_id, held.losses, more) == (given[0]["id"], 0, [])


async def test_readiness_follows_nats(own_server, http):
    """Not ready while NATS hangs, ready again when it is back; alive all the time."""
    own_server.start()
    with frozen(own_server.nats_pid):
        await eventually(lambda: answers(http, f"{own_server.url}/readyz", 503), 30.0)
        alive = await http.get(f"{own_server.url}/healthz")
    await eventually(lambda: answers(http, f"{own_server.url}/readyz", 200), 30.0)

    assert alive.status_code == 200


async def answers(http, url: str, status: int) -> bool:
    """Whether a URL answers with a status now."""
    return (await http.get(url)).status_code == status
