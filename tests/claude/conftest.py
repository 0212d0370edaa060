"""A server, a scripted model, and homes with the real Claude Code."""

import json
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

import github as sender
from claude.model import Model
from claude.terminal import Terminal
from legacy import LegacyClient
from processes import CLAWBACK, Server, Token, environment

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A running server."""
    server = Server(tmp_path / "server")
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def model() -> Iterator[Model]:
    """The API that Claude Code talks to."""
    with Model() as model:
        yield model


@pytest.fixture
def marketplace(tmp_path: Path) -> Path:
    """The repository's marketplace file with the plugin's folder, and nothing else of the repository."""
    folder = tmp_path / "marketplace"
    shutil.copytree(ROOT / ".claude-plugin", folder / ".claude-plugin")
    shutil.copytree(ROOT / "plugin", folder / "plugin")
    return folder


class GitHub:
    """A source of the session without a tag, what is sent to it, and what became of that."""

    def __init__(self, client: LegacyClient, http: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._http = http
        self._url = url

    async def post(self) -> str:
        """Send an opened pull request, for which the order is /review, and return its event's id."""
        return await sender.post(self._http, self._url)

    async def is_in(self, event_id: str, state: str) -> bool:
        """Say whether an event that has not ended is in this state."""
        listed = await self._client.request("event_list", states=[state])
        return event_id in [each["eventId"] for each in listed]

    async def ended(self, event_id: str) -> dict | None:
        """Find an event in the history."""
        history = await self._client.request("event_history")
        return next((each for each in history if each["eventId"] == event_id), None)


@pytest.fixture
def token(server: Server) -> Token:
    """A token of the profile that is used."""
    return server.token()


@pytest.fixture
async def github(server: Server, token: Token, http: httpx.AsyncClient) -> AsyncIterator[GitHub]:
    """GitHub, and a look at what becomes of its events."""
    async with LegacyClient(server.socket_url, token.value, "onlooker") as client:
        url = await sender.make_source(client, routes={"*": "/review"}, sessionTag="(untagged)")
        yield GitHub(client, http, url)


@pytest.fixture
def terminal(tmp_path: Path, model: Model, server: Server, token: Token) -> Terminal:
    """A home with a config for the server; `clawback` is on its PATH."""
    terminal = Terminal(tmp_path, model.url)
    terminal.env |= {name: value for name, value in environment(tmp_path).items() if name.startswith("XDG_")}
    terminal.env["PATH"] = f"{CLAWBACK.parent}:{terminal.env['PATH']}"
    config = terminal.config / "channels/clawback/config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"remote": server.socket_url, "connectionToken": token.value}))
    config.chmod(0o600)
    return terminal


@pytest.fixture
async def installed(terminal: Terminal, marketplace: Path) -> Terminal:
    """That home with the plugin installed from the marketplace's folder."""
    await terminal.run("plugin", "marketplace", "add", str(marketplace))
    await terminal.run("plugin", "install", "clawback@clawback")
    return terminal
