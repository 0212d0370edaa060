"""A request that somebody captured and sends again: one event, whatever happened, as long as it says who it is."""

import asyncio
import json
from datetime import UTC, datetime

import senders
from github import delivery, make_source
from legacy import LegacyClient


def stripe(body=b'{"id":"evt_captured","type":"invoice.paid"}'):
    """Build a delivery of Stripe's, which signs its time and names itself in its body."""
    return {"content": body, "headers": dict(senders.stripe(body, b"whsec_planted", datetime.now(UTC)))}


async def test_a_captured_request_is_one_event(own_server, http):
    """Of a sender that signs its time, and of one that does not: many at once, after acks, after kills, and again."""
    await asyncio.to_thread(own_server.start)
    token = await asyncio.to_thread(own_server.token)
    captured, first, again = {}, [], []
    async with LegacyClient(own_server.socket_url, token.value) as client:
        captured[await make_source(client)] = delivery(delivery_id="captured")
        captured[await make_source(client, "timed", verifierType="stripe", secret="whsec_planted")] = stripe()
        for url, request in captured.items():
            first += await asyncio.gather(*(http.post(url, **request) for _ in range(20)))
            event = await client.event()
            again.append(await http.post(url, **request))
            await client.request("ack", eventId=event["id"], summary="done")
            again.append(await http.post(url, **request))
        history = await client.request("event_history")
    for _ in range(2):
        await asyncio.to_thread(own_server.kill9)
        await asyncio.to_thread(own_server.start)
        again += [await http.post(url, **request) for url, request in captured.items()]
    async with LegacyClient(own_server.socket_url, token.value) as client:
        waiting = await client.request("event_list")
        after = await client.request("event_history")

    assert sorted(answer.json()["status"] for answer in first) == ["duplicate"] * 38 + ["queued"] * 2
    assert [answer.json()["status"] for answer in again] == ["duplicate"] * 8
    assert {answer.json()["eventId"] for answer in again} == {each["eventId"] for each in history}
    assert waiting == []
    assert after == history
    assert len(after) == 2


async def test_a_captured_request_under_a_new_id_is_a_new_event(server, token, http):
    """
    By design, where the sender does not sign its id: nothing tells it from a second delivery of the same content.

    What has another body is refused, and what claims another time where that is signed.
    """
    captured, signed = delivery(delivery_id="captured"), stripe()
    moved = {name: value.replace("t=1", "t=2") for name, value in signed["headers"].items()}
    async with LegacyClient(server.socket_url, token.value) as client:
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
