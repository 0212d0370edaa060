from collections.abc import AsyncIterator

import pytest
from driver import Chromium, Page

from houses import House


@pytest.fixture
async def house(natsd, tmp_path) -> AsyncIterator[House]:
    """A profile with one server."""
    async with House.open(natsd, tmp_path) as house:
        yield house


@pytest.fixture
async def chromium(tmp_path) -> AsyncIterator[Chromium]:
    """A browser that was never used."""
    async with Chromium(tmp_path / "chromium") as chromium:
        yield chromium


@pytest.fixture
async def page(chromium) -> Page:
    """An empty page of it."""
    return await chromium.page()
