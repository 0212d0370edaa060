"""What Prometheus is told, and who may ask."""

import json
from datetime import UTC, datetime, timedelta

import httpx
import prometheus_client
import pytest
from litestar import Litestar

from clawback.model import Address, Priority
from clawback.server import scrape
from clawback.server.scrape import Scrape, build_metrics
from clawback.settings import load_settings
from clawback.store import depths
from clawback.store.depths import read_depths
from clawback.store.room import DiskRoom
from houses import House
from waiting import eventually

TOKEN = "planted-metrics-token"


@pytest.fixture
async def house(natsd, tmp_path):
    """A profile with one server."""
    async with House.open(natsd, tmp_path) as house:
        yield house


@pytest.fixture(autouse=True)
def _looks_each_time(monkeypatch):
    """A look at the streams is good for no time."""
    monkeypatch.setattr(scrape, "LOOK_SECONDS", 0.0)


@pytest.fixture
async def web(house):
    """An HTTP client of the server."""
    async with httpx.AsyncClient(base_url=house.servers[0].url) as web:
        yield web


def samples(text: str, name: str, **labels: str) -> list[float]:
    """Read the samples of a metric that have these labels."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    lines = [line for line in text.splitlines() if line.startswith((name + " ", name + "{"))]
    return [float(line.rsplit(" ", 1)[1]) for line in lines if all(each in line for each in wanted)]


# --- who may ask -----------------------------------------------------------------------------------------------------


async def test_metrics_are_for_this_machine(web):
    """Loopback reads them."""
    answer = await web.get("/metrics")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == prometheus_client.CONTENT_TYPE_LATEST
    assert "clawback_webhooks_total" in answer.text


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"])
async def test_metrics_are_not_for_the_world_behind_a_proxy(web, header):
    """Behind a proxy on this machine every request comes from loopback."""
    answer = await web.get("/metrics", headers={header: "127.0.0.1"})

    assert answer.status_code == 403
    assert "set metrics_token" in answer.text


@pytest.mark.parametrize(
    ("client", "proxies", "authorization", "status"),
    [
        ("127.0.0.1", "", None, 200),
        ("::1", "", None, 200),
        ("192.0.2.7", "", None, 401),
        ("2001:db8::1", "", None, 401),
        (None, "", None, 401),
        ("unknown", "", None, 401),
        ("127.0.0.1", "10.0.0.1", None, 401),
        ("192.0.2.7", "", f"Bearer {TOKEN}", 200),
        ("192.0.2.7", "10.0.0.1", f"bearer {TOKEN}", 200),
        ("192.0.2.7", "", f"Bearer {TOKEN}x", 401),
        ("192.0.2.7", "", f"Bearer {TOKEN[:-1]}", 401),
        ("192.0.2.7", "", "Bearer ", 401),
        ("192.0.2.7", "", f"Basic {TOKEN}", 401),
        ("192.0.2.7", "", "Bearer \xff", 401),
    ],
)
async def test_metrics_are_for_the_bearer_of_the_token(house, fabric, tmp_path, client, proxies, authorization, status):
    """From anywhere; without it for this machine, unless a proxy is configured. Nobody is told what would be right."""
    variables = {"CLAWBACK_METRICS_TOKEN": TOKEN} | ({"CLAWBACK_TRUSTED_PROXIES": proxies} if proxies else {})
    settings = load_settings({}, variables)
    look = Scrape(fabric, house.servers[0].bridge, house.servers[0].registry.install.shards, DiskRoom(tmp_path))
    page = build_metrics(look, settings.metrics_token, settings.trusted_proxies)
    transport = httpx.ASGITransport(Litestar([page]), client=client and (client, 1234))
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    async with httpx.AsyncClient(transport=transport, base_url="http://clawback") as web:
        answer = await web.get("/metrics", headers=headers)

    assert answer.status_code == status
    assert TOKEN not in answer.text
    assert status != 401 or answer.headers["www-authenticate"] == "Bearer"


# --- what they say ---------------------------------------------------------------------------------------------------


async def test_what_waits_is_told_by_profile_and_tag(house, web, monkeypatch):
    """How many, and since when the oldest waits; an address with nothing has no series."""
    monkeypatch.setattr(depths, "MAX_ADDRESSES", 1_000_000)  # other tests' events are deeper
    await house.publish("a", "docs")
    await house.publish("b", "docs", priority=Priority.INTERRUPT)
    await house.publish("c")
    text = (await web.get("/metrics")).text
    profile = house.profile.id

    assert samples(text, "clawback_queue_events", profile=profile, tag="docs") == [2]
    assert samples(text, "clawback_queue_events", profile=profile, tag="") == [1]
    assert all(0 <= age < 60 for age in samples(text, "clawback_queue_oldest_seconds", profile=profile))
    assert len(samples(text, "clawback_queue_oldest_seconds", profile=profile)) == 2
    assert samples(text, "clawback_queue_events", profile=profile, tag="other") == []


async def test_only_the_deepest_are_told_apart(house, fabric, monkeypatch):
    """However many addresses there are, the series are bounded, and no event is left uncounted."""
    shards = house.servers[0].registry.install.shards
    everywhere = await read_depths(fabric, shards)
    for tag, events in (("one", 1), ("two", 2), ("three", 3)):
        for number in range(events):
            await house.publish(str(number), tag)
    monkeypatch.setattr(depths, "MAX_ADDRESSES", 1)
    looked = await read_depths(fabric, shards)
    total = sum(each.events for each in everywhere.listed) + everywhere.unlisted_events

    assert len(looked.listed) == 1
    assert looked.listed[0].events + looked.unlisted_events == total + 6


async def test_the_oldest_is_the_first_that_was_stored(house, fabric):
    """Whatever its priority."""
    before = datetime.now(UTC)
    await house.publish("a", "docs")
    await house.publish("b", "docs", priority=Priority.INTERRUPT)
    looked = await read_depths(fabric, house.servers[0].registry.install.shards)
    depth = next(each for each in looked.listed if each.address == Address(house.profile.id, "docs"))
    first = await fabric.first(f"EVT{house.lines.shard(depth.address)}", f"evt.*.{house.profile.id}.>")

    assert depth.oldest == first.time
    assert abs(depth.oldest - before) < timedelta(seconds=10)


async def test_sessions_latencies_and_dead_letters_are_told(house, web):
    """From a delivery to an ack, and to a dead letter."""
    before = (await web.get("/metrics")).text
    peer = await house.connect(instanceId="i")
    standby = await house.connect(instanceId="j")
    first, second = await house.publish("a"), await house.publish("b")
    await peer.frame("event")
    await peer.ack(first)
    await peer.frame("event")
    for _ in range(3):
        await peer.ask("event_fail", eventId=second)

    async def told():
        return samples((await web.get("/metrics")).text, "clawback_dead_letters", profile=house.profile.id) == [1]

    await eventually(told)
    after = (await web.get("/metrics")).text

    def more(name: str) -> float:
        return samples(after, name)[0] - samples(before, name)[0]

    assert not standby.closed.is_set()
    assert samples(after, "clawback_sessions", role="active") == [1]
    assert samples(after, "clawback_sessions", role="standby") == [1]
    assert more("clawback_delivery_wait_seconds_count") == 2
    assert more("clawback_ack_seconds_count") == 1
    assert samples(after, "clawback_nats_up") == [1]


async def test_metrics_are_told_while_nats_is_away(fresh_natsd, tmp_path):
    """That it is, and nothing of what was known before; the reconnect is counted."""
    async with (
        House.open(fresh_natsd, tmp_path) as house,
        httpx.AsyncClient(base_url=house.servers[0].url) as web,
    ):
        await house.publish("a", "docs")
        before = (await web.get("/metrics")).text
        fresh_natsd.kill9()
        await eventually(house.servers[0].presence._fabric.problem)
        away = (await web.get("/metrics")).text
        fresh_natsd.start()

        async def back():
            return samples((await web.get("/metrics")).text, "clawback_nats_up") == [1]

        await eventually(back, timeout=15)
        after = (await web.get("/metrics")).text

    assert samples(before, "clawback_nats_up") == [1]
    assert samples(away, "clawback_nats_up") == [0]
    (counted_before,) = samples(before, "clawback_nats_reconnects_total")
    assert samples(after, "clawback_nats_reconnects_total")[0] > counted_before


async def test_a_frozen_nats_holds_no_scrape_up(fresh_natsd, tmp_path):
    """The page comes in time, without what only NATS knows."""
    async with House.open(fresh_natsd, tmp_path) as house, httpx.AsyncClient(base_url=house.servers[0].url) as web:
        fresh_natsd.freeze()
        try:
            answer = await web.get("/metrics", timeout=9)
        finally:
            fresh_natsd.thaw()

    assert answer.status_code == 200
    assert samples(answer.text, "clawback_nats_up") == [0]


def test_the_token_is_never_shown():
    """The settings that a log shows hide it."""
    settings = load_settings({}, {"CLAWBACK_METRICS_TOKEN": TOKEN})

    assert TOKEN not in json.dumps(settings.describe())
    assert isinstance(settings.metrics_token, str)
