"""A house with one server over the run's NATS, and with two; and two servers without one."""

from collections.abc import AsyncIterator

import pytest

from cluster import make_token, running_server
from houses import House


@pytest.fixture
async def house(natsd, tmp_path) -> AsyncIterator[House]:
    """A profile with one server."""
    async with House.open(natsd, tmp_path) as house:
        yield house


@pytest.fixture
async def two(natsd, tmp_path) -> AsyncIterator[House]:
    """A profile with two servers on one NATS."""
    async with House.open(natsd, tmp_path, servers=2) as house:
        yield house


@pytest.fixture
async def servers(natsd, tmp_path):
    """The WebSocket URLs of two servers on the run's NATS."""
    async with running_server(natsd, tmp_path / "one") as one, running_server(natsd, tmp_path / "two") as two:
        yield one, two


@pytest.fixture
async def token(fabric):
    """A token of a profile of the test's own."""
    return await make_token(fabric)
