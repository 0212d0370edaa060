"""The log's lines about attempts: one when it begins, one when it is over, whatever becomes of it."""

import logging

import pytest

from clawback.sessions import lane
from waiting import eventually


@pytest.fixture
def lines(caplog):
    """What the log says of an event: the `action` of each line, with its attempt and reason."""
    caplog.set_level(logging.INFO, "clawback.sessions")

    def of(event_id: str) -> list[str]:
        told = [
            record for record in caplog.records if record.name == "clawback.sessions" and hasattr(record, "attempt")
        ]
        return [
            " ".join([record.action, str(record.attempt), getattr(record, "reason", None) or ""]).strip()
            for record in told
            if record.event == event_id
        ]

    return of


async def test_every_attempt_has_a_line_that_says_how_it_ended(two, lines, monkeypatch):
    """Handed back, put off, taken over, lost, left, and acked by the next connection of its client."""
    monkeypatch.setattr(lane, "FAILURE_PAUSE_SECONDS", 0.05)
    event_id = await two.publish("a")
    peer = await two.connect(instanceId="i")
    await peer.frame("event")
    await peer.ask("event_fail", eventId=event_id)
    await peer.frame("event")
    await peer.ask("event_defer", eventId=event_id)
    await peer.frame("event")
    other = await two.connect(two.servers[1], instanceId="j")
    await other.ask("session_takeover")
    await other.frame("event")
    await peer.close()
    other.abort()
    peer = await two.connect(instanceId="k")
    await peer.frame("event")
    await peer.close()
    await eventually(lambda: "released 5 left" in lines(event_id))
    await two.connect(instanceId="k", acked=[{"eventId": event_id, "summary": "done"}])

    assert lines(event_id) == [
        "deliver 1",
        "failed 1",
        "deliver 2",
        "deferred 2",
        "deliver 3",
        "released 3 taken_over",
        "deliver 4",
        "released 4 lost",
        "deliver 5",
        "released 5 left",
        "acked 5",
    ]


async def test_an_event_that_fails_too_often_is_dead_and_not_failed(house, lines, monkeypatch):
    """Its last line says both that it is over for good and why."""
    monkeypatch.setattr(lane, "FAILURE_PAUSE_SECONDS", 0.05)
    event_id = await house.publish("a")
    peer = await house.connect(instanceId="i")
    for _ in range(lane.MAX_FAILURES):
        await peer.frame("event")
        await peer.ask("event_fail", eventId=event_id)

    assert [line for line in lines(event_id) if not line.startswith("deliver")] == [
        "failed 1",
        "failed 2",
        "dead 3 failed",
    ]


async def test_a_client_that_comes_back_goes_on_with_its_attempt(house, lines):
    """A lost connection is told, and is no further attempt."""
    event_id = await house.publish("a")
    peer = await house.connect(instanceId="i")
    await peer.frame("event")
    peer.abort()
    await eventually(lambda: "released 1 lost" in lines(event_id))
    peer = await house.connect(instanceId="i", inflight=[event_id])
    await peer.ack(event_id)

    assert lines(event_id) == ["deliver 1", "released 1 lost", "acked 1"]


async def test_what_a_stopping_server_lets_go_is_told(two, lines):
    """The server closed the connection; nobody lost it."""
    event_id = await two.publish("a")
    peer = await two.connect(two.servers[1], instanceId="i")
    await peer.frame("event")
    await two.stop(two.servers[1])

    assert lines(event_id) == ["deliver 1", "released 1 closed"]
