"""Deliveries that come again, at a real server: none is lost, none is two events, and none is a replay."""

import json
from datetime import timedelta

import pytest

from clawback.senders.presets import PRESETS
from signers import SEALERS, SECRETS


def issue(moment, **more) -> bytes:
    """Write what Linear sends of an issue."""
    sent_at = int(moment.timestamp() * 1000)
    return json.dumps({"type": "Issue", "action": "create", "webhookTimestamp": sent_at, **more}).encode()


@pytest.mark.parametrize("age", [timedelta(minutes=1, seconds=5), timedelta(hours=1), timedelta(hours=7)])
async def test_a_retry_of_linear_is_no_replay(caller, age):
    """With the time of its first try: stored where that was not, a duplicate where it was; too old is refused."""
    linear = await caller("linear")
    body = issue(linear.now() - age)

    answers = [(await linear.send(body, delivery="d1")).json()["status"] for _ in range(2)]
    old = await linear.send(issue(linear.now() - timedelta(hours=9)))
    ahead = await linear.send(issue(linear.now() + timedelta(seconds=90)))

    assert answers == ["queued", "duplicate"]
    assert (old.status_code, ahead.status_code) == (401, 401)


async def test_a_caught_delivery_of_linear_is_no_second_event_under_another_id(caller):
    """Its id stands in a header that nobody signs. Another body is another event."""
    linear = await caller("linear", deliveryId={"header": "X-Own"})
    body = issue(linear.now() - timedelta(hours=2))

    told = [
        (await linear.send(body, {"X-Own": "a"}, delivery="d1")).json()["status"],
        (await linear.send(body, {"X-Own": "b"}, delivery="d2")).json()["status"],
        (await linear.send(issue(linear.now()), delivery="d3")).json()["status"],
    ]

    assert told == ["queued", "duplicate", "queued"]


@pytest.mark.parametrize("kind", [name for name, preset in PRESETS.items() if preset.dated])
async def test_who_names_no_delivery_is_known_by_its_bytes(caller, kind):
    """The same again is a duplicate; one byte more is another event."""
    sender = await caller(kind, secret=SECRETS.get(kind, b"planted-secret").decode())
    example = PRESETS[kind].example.encode()
    example = SEALERS[kind](sender.secret, example, sender.now()) if kind in SEALERS else example
    bodies = [example, example, example.replace(b"{", b"{ ", 1)]

    told = [(await sender.send(body)).json().get("status") for body in bodies]

    assert told == ["queued", "duplicate", "queued"]


async def test_equal_bodies_without_a_time_are_two_events(caller):
    """Dropbox says the same of each change of an account, and none of them may be lost."""
    dropbox = await caller("dropbox")

    told = [(await dropbox.send(b'{"list_folder":{"accounts":["a"]}}')).json()["status"] for _ in range(2)]

    assert told == ["queued", "queued"]
