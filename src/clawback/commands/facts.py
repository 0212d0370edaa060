"""
What `clawback doctor` looks at: this machine's files and programs, and the server. Judges nothing.

Claude Code is never started but for its version: `claude mcp get` would start every server that it knows, so its files
are read instead.
"""

import asyncio
import contextlib
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import msgspec

from clawback import wire
from clawback.channel.claude import rendezvous
from clawback.channel.claude.ways import Standing
from clawback.channel.settings import PluginConfig, config_path, is_loopback, read_config
from clawback.commands.checks import ConfigFile, Greeting, Page, Program, Registration, RunningChannel
from clawback.commands.inquiry import inquire
from clawback.errors import ClawbackError, ConfigError, Unauthorized
from clawback.model import UNTAGGED_NAME
from clawback.system.trust import system_trust

HTTP_SECONDS = 10.0
VERSION_SECONDS = 15.0
"""Claude Code says its version in a fraction of a second; a machine that is busy takes longer."""

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Claude Code keeps every project in one file, which grows; beyond this it is no file of settings."""

MAX_ANSWER_BYTES = 64 * 1024
"""Of a channel, which says a line."""


def look_at_config() -> tuple[ConfigFile, PluginConfig | None]:
    """Look at the config file, then read it, which repairs its mode."""
    path = config_path()
    mode = folder_mode = None
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        folder_mode = stat.S_IMODE(path.parent.stat().st_mode)
    except OSError:
        pass  # reading it says why
    try:
        config = read_config(path)
    except ConfigError as error:
        return ConfigFile(str(path), mode, folder_mode, problem=str(error)), None
    return ConfigFile(str(path), mode, folder_mode, None, config.remote, config.session_messaging), config


def build_base_url(remote: str) -> str:
    """Turn the WebSocket's URL into the server's: wss to https, without `/ws` and query."""
    url = urlsplit(remote)
    scheme = {"ws": "http", "wss": "https"}[url.scheme]
    return urlunsplit((scheme, url.netloc, url.path.rstrip("/").removesuffix("/ws"), "", ""))


def http_client(url: str) -> httpx.AsyncClient:
    """Make a client for a server; a proxy for the outside world cannot reach this machine's loopback."""
    return httpx.AsyncClient(
        verify=system_trust(), timeout=HTTP_SECONDS, trust_env=not is_loopback(urlsplit(url).hostname or "")
    )


async def fetch_page(client: httpx.AsyncClient, url: str) -> tuple[Page, float | None]:
    """Fetch a page of the server; returns with it how far the server's clock is ahead of ours, in seconds."""
    before = time.time()
    try:
        answer = await client.get(url)
    except httpx.HTTPError as error:
        return Page(url, problem=str(error) or type(error).__name__), None
    middle = (before + time.time()) / 2
    return Page(url, answer.status_code, reason=_reason(answer)), _skew(answer.headers.get("date"), middle)


def _reason(answer: httpx.Response) -> str:
    try:
        content = answer.json()
    except ValueError:
        return ""
    return str(content.get("reason", "")) if isinstance(content, dict) else ""


def _skew(date: str | None, now: float) -> float | None:
    """Compare a `Date`, which is cut to the second (RFC 9110, section 6.6.1), with a Unix time."""
    try:
        return parsedate_to_datetime(date or "").timestamp() + 0.5 - now
    except ValueError:
        return None


async def greet(config: PluginConfig) -> Greeting:
    """Try the token, and ask who is connected, under a tag that is nobody's."""
    try:
        async with inquire(config.remote, config.connection_token, "doctor") as inquiry:
            sessions = await inquiry.ask(wire.SessionList(request_id=""))
            sources = await inquiry.ask(wire.SourceList(request_id=""))
            welcome = inquiry.welcome
    except ClawbackError as error:
        return Greeting(problem=str(error), refused=isinstance(error, Unauthorized))
    others = [each for each in sessions if not each["current"]]
    names = tuple(f"{each['sessionTag'] or UNTAGGED_NAME} ({each['role']})" for each in others)
    version = welcome.server.version if welcome.server is not None else ""
    known = tuple(_source(each) for each in sources)
    return Greeting(None, False, welcome.protocol, version, welcome.profile_id, names, known)  # noqa: FBT003 -- not refused


def _source(listed: Mapping[str, Any]) -> str:
    name = f"{listed.get('slug') or listed['id']} ({listed.get('type') or 'unreadable'})"
    if listed.get("disabled"):
        return f"{name} is disabled"
    return f"{name} connected, said so at {listed['connectedAt']}" if listed.get("connectedAt") else name


async def find_claude() -> Program:
    """Find Claude Code and ask its version, which starts no session."""
    path = shutil.which("claude")
    if path is None:
        return Program()
    process = await asyncio.create_subprocess_exec(
        path,
        "--version",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(VERSION_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return Program(path)
    return Program(path, output.decode("utf-8", "replace").strip() or None)


def find_channels() -> list[RunningChannel]:
    """
    Find the channels that run for this user, and ask each by which way its events go.

    What a killed one left of its socket is passed over. Changes the working directory meanwhile.
    """
    sockets = Path(rendezvous.run_directory()).glob("*.sock")
    pids = sorted(int(path.stem) for path in sockets if path.stem.isdecimal())
    return [channel for pid in pids if (channel := _ask_channel(pid)) is not None]


def _ask_channel(pid: int) -> RunningChannel | None:
    with contextlib.chdir("."):  # connecting leaves it
        try:
            channel = rendezvous.connect(pid)
        except OSError:
            return None
    with channel, channel.makefile("rb") as answer:
        try:
            channel.sendall(b'{"standing":true}\n')
            return RunningChannel(pid, msgspec.json.decode(answer.read(MAX_ANSWER_BYTES), type=Standing))
        except (OSError, msgspec.DecodeError):
            return RunningChannel(pid)


class ClaudeFiles:
    """Claude Code's files, as its sessions started in `folder` read them. A file that is none counts as empty."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        chosen = environment.get("CLAUDE_CONFIG_DIR")
        home = Path(chosen or "~/.claude").expanduser()
        self._home = home
        self._folder = folder
        self._state = home / ".claude.json" if chosen else Path("~/.claude.json").expanduser()
        self._installed = home / "plugins/installed_plugins.json"
        self._settings = (
            home / "settings.json",
            folder / ".claude/settings.json",
            folder / ".claude/settings.local.json",
        )

    def registrations(self) -> list[Registration]:
        """Find every place that has Claude Code start `clawback channel`: as a server, and as a plugin."""
        return [*self._servers(), *self._plugins()]

    def variables(self) -> dict[str, list[tuple[str, str]]]:
        """Read what the `env` of its settings sets: for each name where, and to what."""
        found: dict[str, list[tuple[str, str]]] = {}
        for path in self._settings:
            for name, value in _table(_read(path), "env").items():
                found.setdefault(name, []).append((str(path), str(value)))
        return found

    def _servers(self) -> Iterator[Registration]:
        state = _read(self._state)
        project = _table(_table(state, "projects"), str(self._folder))
        yield from _ours(_table(project, "mcpServers"), f"{self._state}, this folder only")
        for folder in (self._folder, *self._folder.parents):
            path = folder / ".mcp.json"
            yield from _ours(_table(_read(path), "mcpServers"), str(path))
        yield from _ours(_table(state, "mcpServers"), str(self._state))

    def _plugins(self) -> Iterator[Registration]:
        enabled: dict[str, Any] = {}
        for path in self._settings:
            enabled |= _table(_read(path), "enabledPlugins")
        installed = _table(_read(self._installed), "plugins")
        for name, switched_on in enabled.items():
            if name.partition("@")[0] != "clawback" or not switched_on:
                continue
            copies = installed.get(name)
            for copy in copies if isinstance(copies, list) else []:
                where = f"installed in {copy.get('installPath')}" if isinstance(copy, dict) else "installed"
                program = self._plugins_program()
                yield Registration(f"plugin:{name}", where, program or "clawback", program is not None)

    def _plugins_program(self) -> str | None:
        """Find the program that the plugin becomes, where its `start` looks and in that order."""
        home = Path("~").expanduser()
        places = (
            self._home / "channels/clawback/bin/clawback",
            *(folder.parent / ".venv/bin/clawback" for folder in self._plugin_folders()),
            Path("clawback"),
            Path(os.environ.get("XDG_BIN_HOME") or home / ".local/bin") / "clawback",
            home / ".local/bin/clawback",
            home / ".local/share/uv/tools/clawback/bin/clawback",
            home / ".local/share/pipx/venvs/clawback/bin/clawback",
            Path("/opt/homebrew/bin/clawback"),
            Path("/usr/local/bin/clawback"),
        )
        return next((found for place in places if (found := shutil.which(str(place)))), None)

    def _plugin_folders(self) -> Iterator[Path]:
        """Name the plugin's folder in each marketplace that is a folder of this machine: it is used where it is."""
        known = _read(self._home / "plugins/known_marketplaces.json")
        for market in known.values() if isinstance(known, dict) else ():
            if isinstance(place := _table(market, "source").get("path"), str):
                yield Path(place) / "plugin"


def _ours(servers: dict[str, Any], where: str) -> Iterator[Registration]:
    """Pick the servers that are `clawback channel`, however it is started."""
    for name, server in servers.items():
        if not isinstance(server, dict):
            continue
        command, arguments = str(server.get("command", "")), server.get("args")
        words = [command, *(str(word) for word in arguments if isinstance(arguments, list))] if arguments else [command]
        if "channel" in words[1:] and any(Path(word).name == "clawback" for word in words):
            yield Registration(f"server:{name}", where, command, shutil.which(command) is not None)


def _read(path: Path) -> Any:  # noqa: ANN401 -- another program's JSON
    try:
        with path.open("rb") as file:
            return json.loads(file.read(MAX_FILE_BYTES))
    except (OSError, ValueError):
        return {}  # not there, or not JSON: Claude Code says so itself at its start


def _table(value: Any, key: str) -> dict[str, Any]:  # noqa: ANN401 -- another program's JSON
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def variables_of(environment: Mapping[str, str], files: ClaudeFiles) -> dict[str, list[tuple[str, str]]]:
    """Join what this shell and Claude Code's settings set."""
    found = files.variables()
    for name, value in environment.items():
        found.setdefault(name, []).insert(0, ("this shell's environment", value))
    return found


def here() -> ClaudeFiles:
    """Read Claude Code's files for this folder."""
    return ClaudeFiles(os.environ, Path.cwd())
