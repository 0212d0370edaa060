"""The feed over HTTP: what a script or a page that follows a profile receives."""

import asyncio
import json
from contextlib import asynccontextmanager

import httpx
import pytest

from clawback.accounts.profiles import ensure_profile
from clawback.http import event_stream
from clawback.model import random_id
from houses import House
from processes import Server
from waiting import eventually

STREAM = "/api/v1/events/stream"


@pytest.fixture
async def house(natsd, tmp_path):
    """A profile with one server."""
    async with House.open(natsd, tmp_path) as house:
        yield house


@pytest.fixture
async def web(house):
    """An HTTP client of the server."""
    async with httpx.AsyncClient(base_url=house.servers[0].url, timeout=10, trust_env=False) as web:
        yield web


class Follower:
    """What has come of a stream so far: its records, and its lines."""

    def __init__(self, answer):
        self.answer = answer
        self.lines = []
        self.ended = False

    @property
    def records(self):
        """The records, read as a browser would."""
        return [json.loads(line.removeprefix("data: ")) for line in self.lines if line.startswith("data: ")]

    async def record(self, **fields):
        """Wait for a record with these fields."""
        return await eventually(lambda: next((each for each in self.records if each.items() >= fields.items()), None))

    async def read(self):
        """Read to the end."""
        async for line in self.answer.aiter_lines():
            self.lines.append(line)
        self.ended = True


@asynccontextmanager
async def following(web, token):
    """Follow a profile, from its first record on."""
    async with web.stream("GET", STREAM, headers={"Authorization": f"Bearer {token}"}) as answer:
        assert answer.status_code == 200, (await answer.aread()).decode()
        follower = Follower(answer)
        reading = asyncio.create_task(follower.read())
        try:
            await follower.record(type="listening")
            yield follower
        finally:
            reading.cancel()
            await asyncio.wait([reading])


async def test_an_event_is_followed_from_its_line_to_its_end(house, web):
    """Queued, offered, acked, each as it happens; the session and the source as well."""
    async with following(web, house.token.value) as follower:
        peer = await house.connect(sessionTag="deploys", instanceId="i")
        made = (await peer.ask("source_create", slug="hub", verifierType="none", skill="/planted-order"))["data"]
        accepted = await web.post(httpx.URL(made["url"]).path, json={"planted": "body"})
        event_id = accepted.json()["eventId"]
        await peer.frame("event")
        await peer.ack(event_id, "all is well")
        await follower.record(type="event", state="acked", eventId=event_id)
        await peer.close()
        await follower.record(type="session", state="left", sessionTag="deploys")

    seen = [each for each in follower.records if each.get("eventId") == event_id]
    assert [each["state"] for each in seen] == ["queued", "offered", "acked"]
    assert (
        seen[0].items() >= {"source": "webhook", "path": "/hub", "sessionTag": "deploys", "priority": "normal"}.items()
    )
    assert seen[1]["attempt"] == 1
    assert seen[2]["summary"] == "all is well"
    assert {"type": "source", "state": "changed", "id": made["id"]}.items() <= follower.records[2].items()
    assert follower.records[1].items() >= {"type": "session", "state": "active", "sessionTag": "deploys"}.items()
    assert "planted" not in "".join(follower.lines)


async def test_a_stream_is_what_browsers_and_proxies_expect(house, web):
    """Its type, no caching or collecting on the way, and how soon to connect again."""
    async with following(web, house.token.value) as follower:
        headers = follower.answer.headers

    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "no-store, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert follower.lines[0] == "retry: 2000"


async def test_silence_is_filled_with_comments(house, web, monkeypatch):
    """A proxy would take it for a dead connection."""
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.01)
    async with following(web, house.token.value) as follower:
        await eventually(lambda: follower.lines.count(":") > 3)

    assert [each["type"] for each in follower.records] == ["listening"]


async def test_what_is_anothers_is_not_told(house, web):
    """Each follows the profile of its own token."""
    other = await ensure_profile(house.servers[0].registry, f"other-{random_id(8)}")
    token = await house.tokens.create(other.id, "other")
    async with following(web, token.value) as stranger, following(web, house.token.value) as owner:
        await house.publish("x", "deploys")
        await owner.record(type="event", state="queued")
        await house.tokens.create(other.id, "a sign of life")
        await stranger.record(type="token")

    assert {each["type"] for each in stranger.records} == {"listening", "token"}


@pytest.mark.parametrize("header", [{}, {"Authorization": "Basic x"}, {"Authorization": "Bearer cbt_wrong"}])
async def test_without_a_token_nothing_is_told(web, header):
    """The problem says what to send."""
    answer = await web.get(STREAM, headers=header)

    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert "token" in answer.json()["detail"]


async def test_a_revoked_token_ends_its_streams(house, web):
    """On every server that has one, at once."""
    token = await house.tokens.create(house.profile.id, "short-lived")
    async with following(web, token.value) as follower, following(web, house.token.value) as other:
        await house.tokens.revoke(house.profile.id, token.record.id)
        await eventually(lambda: follower.ended, timeout=1)

    assert not other.ended


async def test_a_reader_that_leaves_is_forgotten(house, web):
    """So that nothing is heard for nobody."""
    feed = house.servers[0].application.feed
    async with following(web, house.token.value):
        assert feed._channels

    await eventually(lambda: not feed._channels)


async def test_a_stopping_server_ends_its_streams_in_good_order(tmp_path):
    """A stream never ends by itself: cut off, it would be an error to its reader, and have held up the server."""
    server = Server(tmp_path / "server")
    try:
        server.start()
        async with (
            httpx.AsyncClient(base_url=server.url, trust_env=False) as web,
            following(web, server.token().value) as follower,
        ):
            code = await asyncio.to_thread(server.stop)
            await eventually(lambda: follower.ended)
    finally:
        server.close()

    assert code == 0
