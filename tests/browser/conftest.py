import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from driver import Chromium, Page

from github_standin import GithubStandIn
from houses import House
from processes import Server


@pytest.fixture
async def house(natsd, tmp_path) -> AsyncIterator[House]:
    """A profile with one server."""
    async with House.open(natsd, tmp_path) as house:
        yield house


@pytest.fixture
async def github() -> AsyncIterator[GithubStandIn]:
    """A GitHub of the test's own."""
    async with GithubStandIn.open() as github:
        yield github


@pytest.fixture
def server(tmp_path, github) -> Iterator[Server]:
    """The installed server, whose GitHub is the stand-in and whose list has the person at the browser."""
    server = Server(tmp_path / "server")
    github.redirect_uri = f"{server.url}/auth/github/callback"
    settings = github.settings | {"github_logins": github.person[0]}
    try:
        server.start(**{f"CLAWBACK_{name.upper()}": value for name, value in settings.items()})
        yield server
    finally:
        server.close()


@pytest.fixture
async def chromium(tmp_path) -> AsyncIterator[Chromium]:
    """A browser that was never used."""
    async with Chromium(tmp_path / "chromium") as chromium:
        yield chromium


@pytest.fixture
async def page(chromium) -> Page:
    """An empty page of it."""
    return await chromium.page()


@pytest.fixture
def album(tmp_path) -> Path:
    """Where pictures go: the folder that PICTURES names, to be looked at, or nowhere for long."""
    folder = Path(os.environ.get("PICTURES") or tmp_path / "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
