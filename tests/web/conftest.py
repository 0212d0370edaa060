"""A server that runs for all tests of a file, a profile of its own for each test, and browsers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from browsing import Browser
from github_standin import GithubStandIn
from houses import House, share_loop


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of a file share its server."""
    share_loop(items, Path(__file__).parent)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(natsd, tmp_path_factory) -> AsyncIterator[House]:
    """The server of a file. Keep tests apart by `house`; stop it never, nor guess on it: see `own_house`."""
    async with House.open(natsd, tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def house(shared) -> AsyncIterator[House]:
    """A profile of the test's own."""
    async with shared.newcomer() as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def own_house(natsd, tmp_path) -> AsyncIterator[House]:
    """A profile with a server of the test's own, to try its patience."""
    async with House.open(natsd, tmp_path) as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def browser(house) -> AsyncIterator[Browser]:
    """A browser of the house's server, with nobody logged in."""
    async with Browser(house.servers[0].url) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def stranger(house) -> AsyncIterator[Browser]:
    """Another browser of the same server."""
    async with Browser(house.servers[0].url) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def github() -> AsyncIterator[GithubStandIn]:
    """A GitHub of the test's own."""
    async with GithubStandIn.open() as github:
        yield github
