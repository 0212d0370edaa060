"""The API of a real server, which runs for all tests of a file; each test has a profile of its own on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from described import Api
from houses import House, share_loop


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of a file share its server."""
    share_loop(items, Path(__file__).parent)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(natsd, tmp_path_factory) -> AsyncIterator[House]:
    """The server of a file. Keep tests apart by `house`; stop it never, nor show it wrong tokens by the dozen."""
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
async def api(house, web) -> Api:
    """The API, asked with the house's token."""
    return await Api.open(web, house.token.value)
