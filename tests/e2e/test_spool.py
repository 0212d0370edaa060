"""Webhooks while NATS is away and the spool is switched on, as their sender and its session see it."""

import asyncio
import json

from github import delivery, make_source, post
from legacy import LegacyClient
from processes import frozen
from waiting import eventually

SPOOL = {"CLAWBACK_SPOOL": "on", "CLAWBACK_SPOOL_MAX_BYTES": "1 MiB"}


def numbered(number: int, size: int = 0) -> bytes:
    """Build a body that tells itself from others."""
    return json.dumps({"action": "opened", "number": number, "filler": "x" * size}).encode()


async def test_webhooks_are_kept_while_nats_answers_nothing(own_server, http):
    """They are accepted in time, said to be kept, and come in the order in which they were accepted, each once."""
    own_server.start(**SPOOL)
    token = own_server.token()
    async with LegacyClient(own_server.socket_url, token.value) as client:
        url = await make_source(client)
        before = await post(http, url, **delivery(body=numbered(0)))
        await client.ack(await client.event())
        with frozen(own_server.nats_pid):
            kept = [await http.post(url, **delivery(body=numbered(number))) for number in range(1, 4)]
            again = await http.post(url, **delivery(body=numbered(4), delivery_id="twice"))
            twice = await http.post(url, **delivery(body=numbered(4), delivery_id="twice"))
            ready = await http.get(f"{own_server.url}/readyz")
            metrics = await http.get(f"{own_server.url}/metrics")
        shown = []
        for _ in range(4):
            event = await client.event()
            shown.append((event["meta"]["eventId"], json.loads(event["content"])["number"]))
            await client.ack(event)

        async def ready_again():
            answer = await http.get(f"{own_server.url}/readyz")
            return answer.json() == {"status": "ready"}

        await eventually(ready_again, timeout=15)
        after = await post(http, url, **delivery(body=numbered(5)))
        last = await client.event()

    assert [answer.status_code for answer in (*kept, again)] == [202] * 4
    assert max(answer.elapsed.total_seconds() for answer in kept) < 3
    assert (twice.status_code, twice.json()["status"]) == (200, "duplicate")
    assert shown == [(answer.json()["eventId"], number) for number, answer in enumerate((*kept, again), start=1)]
    assert ready.status_code == 503
    assert ready.json()["spool"].startswith("4 events wait for NATS")
    assert "clawback_spool_events 4.0" in metrics.text
    assert 'outcome="spooled"' in metrics.text
    assert last["meta"]["eventId"] == after != before


async def test_a_full_spool_is_a_503(own_server, http):
    """With the time to come again; what fits is kept."""
    own_server.start(**SPOOL)
    token = own_server.token()
    async with LegacyClient(own_server.socket_url, token.value) as client:
        url = await make_source(client)
        with frozen(own_server.nats_pid):
            answers = [await http.post(url, **delivery(body=numbered(number, 300_000))) for number in range(4)]
        event = await client.event()

    assert [answer.status_code for answer in answers] == [202, 202, 202, 503]
    assert answers[3].headers["retry-after"]
    assert event["meta"]["eventId"] == answers[0].json()["eventId"]


async def test_what_was_accepted_outlives_kill_9_of_everything(own_server, http):
    """Server and NATS are killed with events in the spool; started again without one, it gives them back."""
    own_server.start(**SPOOL)
    token = own_server.token()
    async with LegacyClient(own_server.socket_url, token.value) as client:
        url = await make_source(client)
    with frozen(own_server.nats_pid):
        kept = [await http.post(url, **delivery(body=numbered(number))) for number in range(3)]
        await asyncio.to_thread(own_server.kill9)
    await asyncio.to_thread(own_server.start)
    async with LegacyClient(own_server.socket_url, token.value) as client:
        shown = []
        for _ in kept:
            event = await client.event()
            shown.append(event["meta"]["eventId"])
            await client.ack(event)

    assert [answer.status_code for answer in kept] == [202] * 3
    assert shown == [answer.json()["eventId"] for answer in kept]
