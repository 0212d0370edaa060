"""The log's line of each request that is no webhook."""

import logging

import httpx
import pytest

from clawback.server.request_log import MAX_PATH_CHARACTERS, RequestLog
from houses import House


@pytest.fixture
async def house(natsd, tmp_path):
    """A profile with one server."""
    async with House.open(natsd, tmp_path) as house:
        yield house


@pytest.fixture
def lines(caplog):
    """The fields of the lines about requests, without how long they took."""
    caplog.set_level(logging.INFO, "clawback.requests")
    caplog.set_level(logging.INFO, "clawback.sessions")
    names = ("method", "path", "request", "status", "outcome", "profile", "token", "tag", "connection")

    def told() -> list[dict]:
        records = [record for record in caplog.records if getattr(record, "action", None) == "request"]
        assert all(record.duration_ms >= 0 for record in records)
        return [{name: getattr(record, name) for name in names if hasattr(record, name)} for record in records]

    return told


async def test_a_request_has_a_line_with_who_asked_and_what_was_answered(house, lines):
    """By a token, by nobody, and for what is not there; without the query."""
    async with httpx.AsyncClient(base_url=house.servers[0].url, trust_env=False) as web:
        await web.get("/api/v1/events?limit=1", headers={"Authorization": f"Bearer {house.token.value}"})
        await web.get("/api/v1/events", headers={"Authorization": "Bearer cbt_planted"})
        await web.get("/auth/cli?state=planted")
        await web.post("/nowhere")

    known = {"profile": house.profile.id, "token": house.token.record.id}
    assert lines() == [
        {"method": "GET", "path": "/api/v1/events", "status": 200, **known},
        {"method": "GET", "path": "/api/v1/events", "status": 401},
        {"method": "GET", "path": "/auth/cli", "status": 400},
        {"method": "POST", "path": "/nowhere", "status": 404},
    ]


async def test_what_a_session_asks_has_a_line(house, lines):
    """Whether it was done or refused."""
    peer = await house.connect(instanceId="i", sessionTag="builds")
    await peer.ask("session_list")
    await peer.ask("event_fail", eventId="evt_planted")

    (connection,) = house.connections
    known = {"profile": house.profile.id, "tag": "builds", "connection": connection.id}
    assert lines() == [
        {"request": "session_list", "outcome": "done", **known},
        {"request": "event_fail", "outcome": "refused", **known},
    ]


async def test_what_is_asked_all_the_time_has_none_while_it_works(house, lines):
    """Health and metrics, which are told where they are refused."""
    async with httpx.AsyncClient(base_url=house.servers[0].url, trust_env=False) as web:
        for path in ("/healthz", "/readyz", "/metrics"):
            await web.get(path)
        await web.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"})

    assert lines() == [{"method": "GET", "path": "/metrics", "status": 403}]


@pytest.mark.parametrize(("fails", "status"), [(False, 499), (True, 500)])
async def test_a_request_without_an_answer_has_a_line_too(lines, fails, status):
    """Its client has left, or there was a bug; a path is cut."""

    async def app(_scope, _receive, _send):
        if fails:
            raise RuntimeError("planted")

    scope = {"type": "http", "method": "GET", "path": "/" + "x" * 1000, "client": None}
    try:
        await RequestLog(app)(scope, None, None)
    except RuntimeError:
        assert fails

    (line,) = lines()
    assert line["status"] == status
    assert len(line["path"]) == MAX_PATH_CHARACTERS
