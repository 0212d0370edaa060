from collections.abc import AsyncIterator

import pytest

from browsing import Browser
from github_standin import GithubStandIn
from houses import House


@pytest.fixture
async def house(natsd, tmp_path) -> AsyncIterator[House]:
    """A profile with one server."""
    async with House.open(natsd, tmp_path) as house:
        yield house


@pytest.fixture
async def browser(house) -> AsyncIterator[Browser]:
    """A browser of the house's server, with nobody logged in."""
    async with Browser(house.servers[0].url) as browser:
        yield browser


@pytest.fixture
async def stranger(house) -> AsyncIterator[Browser]:
    """Another browser of the same server."""
    async with Browser(house.servers[0].url) as browser:
        yield browser


@pytest.fixture
async def github() -> AsyncIterator[GithubStandIn]:
    """A GitHub of the test's own."""
    async with GithubStandIn.open() as github:
        yield github
