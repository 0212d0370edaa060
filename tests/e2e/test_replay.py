"""A request that somebody captured and sends again: one event, whatever happened, as long as it says who it is."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

import senders
from clawback.model import Scheme
from github import delivery, make_source
from legacy import LegacyClient


def stripe(body=b'{"id":"evt_captured","type":"invoice.paid"}'):
    """Build a delivery of Stripe's, which signs its time and names itself in its body."""
    return {"content": body, "headers": dict(senders.stripe(body, b"whsec_planted", datetime.now(UTC)))}


@pytest.mark.parametrize("scheme", [Scheme.GITHUB, Scheme.STRIPE])
async def test_a_captured_request_is_one_event(own_server, http, scheme):
    """Many at once, after its ack, after a kill of the server with its NATS, and again."""
    await asyncio.to_thread(own_server.start)
    token = await asyncio.to_thread(own_server.token)
    captured = delivery(delivery_id="captured") if scheme is Scheme.GITHUB else stripe()
    secret = "planted-secret" if scheme is Scheme.GITHUB else "whsec_planted"
    async with LegacyClient(own_server.socket_url, token.value) as client:
        url = await make_source(client, verifierType=scheme, secret=secret)
        first = await asyncio.gather(*(http.post(url, **captured) for _ in range(20)))
        event = await client.event()
        again = [await http.post(url, **captured)]
        await client.request("ack", eventId=event["id"], summary="done")
        history = await client.request("event_history")
        again.append(await http.post(url, **captured))
    for _ in range(2):
        await asyncio.to_thread(own_server.kill9)
        await asyncio.to_thread(own_server.start)
        again.append(await http.post(url, **captured))
    async with LegacyClient(own_server.socket_url, token.value) as client:
        waiting = await client.request("event_list")
        after = await client.request("event_history")

    assert sorted(answer.json()["status"] for answer in first) == ["duplicate"] * 19 + ["queued"]
    assert [answer.json() for answer in again] == [{"status": "duplicate", "eventId": event["id"]}] * 4
    assert waiting == []
    assert after == history
    assert [each["eventId"] for each in after] == [event["id"]]


async def test_a_captured_request_under_a_new_id_is_a_new_event(own_server, http):
    """
    By design, where the sender does not sign its id: nothing tells it from a second delivery of the same content.

    What has another body is refused, and what claims another time where that is signed.
    """
    await asyncio.to_thread(own_server.start)
    token = await asyncio.to_thread(own_server.token)
    captured, signed = delivery(delivery_id="captured"), stripe()
    moved = {name: value.replace("t=1", "t=2") for name, value in signed["headers"].items()}
    async with LegacyClient(own_server.socket_url, token.value) as client:
        url = await make_source(client)
        timed = await make_source(client, "timed", verifierType="stripe", secret="whsec_planted")
    answers = [
        await http.post(url, **captured),
        await http.post(url, **captured | {"headers": captured["headers"] | {"X-GitHub-Delivery": "changed"}}),
        await http.post(url, **captured | {"content": captured["content"] + b" "}),
        await http.post(timed, **signed),
        await http.post(timed, **signed | {"headers": moved}),
    ]

    assert [answer.status_code for answer in answers] == [202, 202, 401, 202, 401]
    assert json.loads(answers[0].text)["eventId"] != json.loads(answers[1].text)["eventId"]
