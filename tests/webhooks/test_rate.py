"""What a source may send in a time, on a real server: the rest is told to come again, and nobody else is concerned."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest

import senders
from clawback.model import new_id
from clawback.store.refusals import Refusals
from clawback.telemetry.metrics import WEBHOOKS
from houses import House
from waiting import eventually

BURST = 5
FLOOD = 60
"""More than a source may send in the time that any machine takes to answer so many."""


class Source:
    """A source of the house, and its sender."""

    def __init__(self, web: httpx.AsyncClient, made: dict) -> None:
        self.id = made["id"]
        self._web = web
        self._path = httpx.URL(made["url"]).path

    async def post(self, delivery_id: str | None = None, *, secret=b"planted-secret", event="issues") -> httpx.Response:
        """Send a webhook as GitHub does, by default a new one."""
        body = b"{}"
        headers = {"X-GitHub-Event": event, "X-GitHub-Delivery": delivery_id or new_id("guid")}
        return await self._web.post(self._path, content=body, headers=headers | dict(senders.github(body, secret)))

    async def flood(self, count: int = FLOOD, **options) -> tuple[Counter, list[httpx.Response]]:
        """Send many, a few at a time; how often each status came, and the answers."""
        gate = asyncio.Semaphore(BURST)

        async def one() -> httpx.Response:
            async with gate:
                return await self.post(**options)

        answers = await asyncio.gather(*(one() for _ in range(count)))
        return Counter(answer.status_code for answer in answers), answers

    def counted(self, outcome: str) -> float:
        """Read the metric of this source."""
        return sum(
            sample.value
            for family in WEBHOOKS.collect()
            for sample in family.samples
            if sample.labels.get("source") == self.id and sample.labels["outcome"] == outcome
            if sample.name.endswith("_total")
        )


@pytest.fixture
async def house(natsd, tmp_path) -> AsyncIterator[House]:
    """A server whose sources may send five webhooks at once, and one a second."""
    async with House.open(natsd, tmp_path, max_webhooks_per_second=1, max_webhook_burst=BURST) as house:
        house.peer = await house.connect(instanceId="i")
        async with httpx.AsyncClient(base_url=house.servers[0].url, timeout=20) as house.web:
            yield house


async def make_source(house: House, slug: str = "hub", **fields) -> Source:
    """Make a source of GitHub's with a route for `issues`."""
    fields = {"verifierType": "github", "secret": "planted-secret", "routes": {"issues": "/go"}} | fields
    return Source(house.web, (await house.peer.ask("source_create", slug=slug, **fields))["data"])


async def test_what_is_more_than_a_source_may_send_is_429(house, caplog):
    """With the time to come again, the limits and their settings; what was accepted is stored, and counted and told."""
    caplog.set_level(logging.INFO, logger="clawback.webhooks")
    source, began = await make_source(house), time.monotonic()
    statuses, answers = await source.flood()
    passed = time.monotonic() - began
    refused = [answer for answer in answers if answer.status_code == 429]
    problem = refused[-1].json()

    assert statuses.keys() == {202, 429}
    assert BURST <= statuses[202] <= BURST + passed + 1
    assert await house.stored() == statuses[202]
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert (problem["title"], problem["status"]) == ("Too Many Requests", 429)
    assert "5 at once (max_webhook_burst) and then 1 a second (max_webhooks_per_second)" in problem["detail"]
    assert "again in 1 s" in problem["detail"]
    assert (source.counted("queued"), source.counted("rate_limited")) == (statuses[202], statuses[429])
    lines = [record for record in caplog.records if record.getMessage() == "rate_limited"]
    assert len(lines) == statuses[429]
    assert (lines[0].source, lines[0].status) == (source.id, 429)


async def test_who_comes_again_when_it_was_told_to_is_accepted(house):
    """Retry-After is no guess: what was refused is taken then."""
    source = await make_source(house)
    _, answers = await source.flood()
    refused = next(answer for answer in answers if answer.status_code == 429)
    due = time.monotonic() + int(refused.headers["retry-after"])
    await eventually(lambda: time.monotonic() >= due)

    assert (await source.post(refused.request.headers["X-GitHub-Delivery"])).status_code == 202


async def test_the_owner_sees_what_was_refused(house):
    """It is remembered as every refusal is, with the limit and the delivery id."""
    source = await make_source(house)
    await source.flood()
    [refusal, *_] = (await eventually(lambda: Refusals(house.fabric).of_profile(house.profile.id)))[source.id]

    assert refusal.status == 429
    assert "max_webhooks_per_second" in refusal.reason
    assert refusal.delivery_id.startswith("guid_")


async def test_one_source_uses_up_nothing_of_anothers(house):
    """Each has its own."""
    loud, calm = await make_source(house), await make_source(house, "calm")
    await loud.flood()

    assert {(await calm.post()).status_code for _ in range(BURST)} == {202}


async def test_strangers_use_up_nothing(house):
    """Neither requests that no secret verifies, nor one that was captured and is sent again and again."""
    source = await make_source(house)
    captured = await source.post("captured")
    forged, _ = await source.flood(secret=b"guessed")
    repeated = Counter([(await source.post("captured")).json()["status"] for _ in range(FLOOD)])
    accepted = [(await source.post()).status_code for _ in range(BURST - 1)]

    assert captured.status_code == 202
    assert forged == {401: FLOOD}
    assert repeated == {"duplicate": FLOOD}
    assert accepted == [202] * (BURST - 1)


async def test_what_no_route_takes_counts(house):
    """It is written to the history."""
    source = await make_source(house)
    statuses, answers = await source.flood(event="push")

    assert statuses.keys() == {200, 429}
    assert {answer.json()["status"] for answer in answers if answer.status_code == 200} == {"dropped"}


async def test_every_request_to_a_source_without_a_secret_counts(house):
    """Whoever knows the URL can use it up, and cannot fill the line faster than that."""
    source = await make_source(house, verifierType="none", secret=None, routes={}, skill="/go")
    statuses, _ = await source.flood(secret=b"anything")

    assert statuses.keys() == {202, 429}


async def test_nothing_is_refused_where_the_limit_is_off(natsd, tmp_path):
    """max_webhooks_per_second = 0."""
    async with House.open(natsd, tmp_path, max_webhooks_per_second=0, max_webhook_burst=1) as house:
        house.peer = await house.connect(instanceId="i")
        async with httpx.AsyncClient(base_url=house.servers[0].url, timeout=20) as house.web:
            statuses, _ = await (await make_source(house)).flood()

    assert statuses == {202: FLOOD}
