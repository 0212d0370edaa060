"""What every answer has, under which names pages are shown, and what is told of those who were not let in."""

import asyncio

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from clawback.server.answering import is_own_name
from counting import counted
from houses import House
from waiting import eventually


@pytest.fixture
async def house(natsd, tmp_path):
    """A profile with one server."""
    async with House.open(natsd, tmp_path) as house:
        yield house


@pytest.fixture
async def web(house):
    """An HTTP client of the server."""
    async with httpx.AsyncClient(base_url=house.servers[0].url, trust_env=False) as web:
        yield web


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8787",
        "127.0.0.1",
        "[::1]:8787",
        "192.0.2.7",
        "localhost",
        "clawback.localhost:1",
        "Hooks.Example.com",
    ],
)
def test_addresses_this_machine_and_the_public_name_are_ours(host):
    """Nobody else can have one of them lead here."""
    assert is_own_name(host, "hooks.example.com")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "hooks.example.com.evil.example",
        "[::1",
        "a@b",
    ],
)
def test_other_names_are_not(host):
    """However much of ours they hold."""
    assert not is_own_name(host, "hooks.example.com")


@pytest.mark.parametrize("path", ["/", "/login", "/metrics", "/nope"])
async def test_a_name_that_is_not_ours_is_shown_nothing(web, path):
    """A page elsewhere whose name was made to lead here would read it as its own."""
    answer = await web.get(path, headers={"Host": "evil.example"})

    assert answer.status_code == 421
    assert "public_url" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/schema/openapi.json"])
async def test_probes_come_by_any_name(web, path):
    """They have whatever name their platform gives."""
    assert (await web.get(path, headers={"Host": "clawback.cluster.internal"})).status_code == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/sources", "/api/v1/nope", "/nope", "/ws", "/webhooks/a/b"])
async def test_every_answer_says_how_it_may_be_read(web, path):
    """Refusals as well; each header once."""
    answer = await web.get(path)

    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert answer.headers.get_list("cache-control") == ["no-store"]


async def test_who_is_not_let_in_is_counted_and_told_once_a_second(house, caplog):
    """Wrong tokens, no token at all, and pages of other sites."""
    url = house.servers[0].url.replace("http", "ws") + "/ws"
    before = {why: counted("clawback_refused_total", limit=why) for why in ("wrong_token", "no_auth", "origin")}
    for frame in ('{"type": "auth", "token": "cbt_0123456789012345678901234567890123456789"}', "nonsense"):
        for _ in range(3):
            async with connect(url, proxy=None) as socket, asyncio.timeout(10):
                await socket.send(frame)
                with pytest.raises(ConnectionClosed):
                    await socket.recv()
    with pytest.raises(InvalidStatus):
        await connect(url, proxy=None, origin="https://evil.example")
    after = {why: counted("clawback_refused_total", limit=why) for why in before}
    told = "WebSockets were not let in: "
    await eventually(lambda: "origin 1" in caplog.text)

    assert {why: after[why] - before[why] for why in before} == {"wrong_token": 3, "no_auth": 3, "origin": 1}
    assert sum(message.startswith(told) for message in caplog.messages) <= 3
