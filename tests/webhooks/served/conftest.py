"""A real server, which runs for all tests of a file, and senders that call it; each test has a profile of its own."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from houses import House, Peer, share_loop
from signers import SECRETS, SIGNERS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of a file share its server."""
    share_loop(items, Path(__file__).parent)


class Caller:
    """A sender: it knows the URL and the secret of one source, and signs as its kind does."""

    def __init__(self, web: httpx.AsyncClient, peer: Peer, house: House, kind: str, source: dict) -> None:
        self.web = web
        self.peer = peer
        self.house = house
        self.kind = kind
        self.source = source
        self.url = source["url"]
        self.secret = SECRETS.get(kind, b"planted-secret")

    async def send(self, body: bytes = b"", fields=None, *, signed=True, query="", delivery="msg_1", now=None):
        """Post a body, signed rightly unless told otherwise."""
        signature = SIGNERS[self.kind](self.secret, body, now or datetime.now(UTC), delivery) if signed else {}
        headers = {"Content-Type": "application/json"} | signature | (fields or {})
        return await self.web.post(self.url + query, content=body, headers=headers)

    def now(self) -> datetime:
        """Say what time it is at the sender's."""
        return datetime.now(UTC)

    async def ask(self, method: str = "GET", query: str = "", fields=None):
        """Call the URL by another method."""
        return await self.web.request(method, self.url + query, headers=fields or {})

    async def listed(self) -> dict:
        """Return the source as source_list has it."""
        listed = await self.peer.ask("source_list")
        assert "data" in listed, listed
        [source] = [each for each in listed["data"] if each["id"] == self.source["id"]]
        return source

    async def stored(self) -> int:
        """How many events wait."""
        return await self.house.stored()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(natsd, tmp_path_factory) -> AsyncIterator[House]:
    """The server of a file."""
    async with House.open(natsd, tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def house(shared) -> AsyncIterator[House]:
    """A profile of the test's own."""
    async with shared.newcomer() as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def web(house) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of the server."""
    async with httpx.AsyncClient(base_url=house.servers[0].url, timeout=30, trust_env=False) as web:
        yield web


@pytest_asyncio.fixture(loop_scope="module")
async def caller(house, web):
    """Make a source of a kind, and the sender that calls it."""
    peer = await house.connect()

    async def make(kind: str, **fields) -> Caller:
        secret = SECRETS.get(kind, b"planted-secret").decode()
        given = {"slug": kind, "verifierType": kind, "secret": secret} | fields
        made = await peer.ask("source_create", **{name: value for name, value in given.items() if value is not None})
        assert "data" in made, made
        return Caller(web, peer, house, kind, made["data"])

    return make
