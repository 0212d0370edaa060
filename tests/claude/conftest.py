"""A server, a scripted model, and homes with the real Claude Code."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude.model import Model
from claude.terminal import Terminal
from processes import CLAWBACK, Server, environment

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


@pytest.fixture
def terminal(tmp_path: Path, model: Model, server: Server) -> Terminal:
    """A home with a config for the server; `clawback` is on its PATH."""
    terminal = Terminal(tmp_path, model.url)
    terminal.env |= {name: value for name, value in environment(tmp_path).items() if name.startswith("XDG_")}
    terminal.env["PATH"] = f"{CLAWBACK.parent}:{terminal.env['PATH']}"
    config = terminal.config / "channels/clawback/config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"remote": server.socket_url, "connectionToken": server.token().value}))
    config.chmod(0o600)
    return terminal


@pytest.fixture
async def installed(terminal: Terminal, marketplace: Path) -> Terminal:
    """That home with the plugin installed from the marketplace's folder."""
    await terminal.run("plugin", "marketplace", "add", str(marketplace))
    await terminal.run("plugin", "install", "clawback@clawback")
    return terminal
