"""The API of a real server."""

import httpx
import pytest

from described import Api
from houses import House


@pytest.fixture
async def house(natsd, tmp_path):
    """A profile with one server."""
    async with House.open(natsd, tmp_path) as house:
        yield house


@pytest.fixture
async def web(house):
    """An HTTP client of the server."""
    async with httpx.AsyncClient(base_url=house.servers[0].url, timeout=30, trust_env=False) as web:
        yield web


@pytest.fixture
async def api(house, web):
    """The API, asked with the house's token."""
    return await Api.open(web, house.token.value)
