"""What doctor finds: Claude Code's files as 2.1.330 lays them out, and the channels that run."""

import json
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from clawback.channel.claude.ways import Standing, Way
from clawback.commands.checks import RunningChannel
from clawback.commands.facts import ClaudeFiles, build_base_url, find_channels, variables_of

PLUGIN = Path(__file__).parents[2] / "plugin"

OURS = {"type": "stdio", "command": sys.executable, "args": ["-m", "clawback", "channel"], "env": {}}
"""A command that is there; a module of that name is ours too."""


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home, with nothing of Claude Code's in it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write(path: Path, content: object) -> Path:
    """Write a file of JSON, and the folders to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def found(home: Path, **environment: str) -> list[tuple[str, str]]:
    """List the registrations for sessions in the home's folder `project`."""
    files = ClaudeFiles(environment, home / "project")
    return [(each.entry, each.where) for each in files.registrations()]


def test_a_server_is_found_in_every_scope(home):
    """User and local scope are in one file, the project's in `.mcp.json`, also of a folder above."""
    state = write(
        home / ".claude.json",
        {
            "mcpServers": {"mine": OURS, "other": {"command": "npx", "args": ["channel"]}},
            "projects": {str(home / "project"): {"mcpServers": {"local": OURS}}, "/else": {"mcpServers": {"x": OURS}}},
        },
    )
    shared = write(home / "project/.mcp.json", {"mcpServers": {"shared": OURS}})
    above = write(home / ".mcp.json", {"mcpServers": {"above": OURS}})

    assert found(home) == [
        ("server:local", f"{state}, this folder only"),
        ("server:shared", str(shared)),
        ("server:above", str(above)),
        ("server:mine", str(state)),
    ]


def test_a_chosen_config_directory_is_followed(home):
    """Then nothing is read from the usual place."""
    write(home / ".claude.json", {"mcpServers": {"usual": OURS}})
    state = write(home / "chosen/.claude.json", {"mcpServers": {"chosen": OURS}})

    assert found(home, CLAUDE_CONFIG_DIR=str(home / "chosen")) == [("server:chosen", str(state))]


@pytest.mark.parametrize(
    ("command", "arguments", "ours", "runs"),
    [
        ("clawback", ["channel"], True, None),
        ("/no/such/clawback", ["channel"], True, False),
        (sys.executable, ["-m", "clawback", "channel"], True, True),
        ("no-such-uvx", ["--from", "git+https://example.com/clawback", "clawback", "channel"], True, False),
        ("clawback", ["serve"], False, None),
        ("clawback", [], False, None),
        ("claw", ["channel"], False, None),
    ],
)
def test_a_server_is_ours_however_it_is_started(home, command, arguments, ours, runs):
    """By its path, as a module, or through another program; and whether that is there."""
    write(home / ".claude.json", {"mcpServers": {"it": {"command": command, "args": arguments}}})
    registrations = ClaudeFiles({}, home).registrations()

    assert bool(registrations) is ours
    assert runs is None or registrations[0].runs is runs


def install_plugin(home: Path, *, enabled: bool = True) -> Path:
    """Lay out what Claude Code keeps of an installed plugin, and return the folder of its copy."""
    name = "clawback@market"
    copy = home / ".claude/plugins/cache/market/clawback/0.1.0"
    write(home / ".claude/settings.json", {"enabledPlugins": {name: enabled, "telegram@official": True}})
    installed = {"version": 2, "plugins": {name: [{"scope": "user", "installPath": str(copy), "version": "0.1.0"}]}}
    write(home / ".claude/plugins/installed_plugins.json", installed)
    shutil.copytree(PLUGIN, copy)
    return copy


@pytest.mark.parametrize("enabled", [True, False])
def test_an_installed_plugin_is_found_while_it_is_enabled(home, enabled):
    """Which one, and where it is installed."""
    copy = install_plugin(home, enabled=enabled)

    assert found(home) == ([("plugin:clawback@market", f"installed in {copy}")] if enabled else [])


@pytest.mark.parametrize(
    "place",
    [
        ".claude/channels/clawback/bin/clawback",
        "clone/.venv/bin/clawback",
        "bin/clawback",
        ".local/bin/clawback",
        ".local/share/uv/tools/clawback/bin/clawback",
        ".local/share/pipx/venvs/clawback/bin/clawback",
        "",
    ],
)
def test_the_plugin_starts_the_program_that_its_script_finds(home, monkeypatch, place):
    """Linked, in the clone, on the PATH or where uv and pipx put it: doctor names what the script becomes."""
    monkeypatch.setenv("PATH", f"{home / 'bin'}:/usr/bin:/bin")
    install_plugin(home)
    # Claude Code uses the plugin of a marketplace that is a folder where it is.
    copy = home / "clone/plugin"
    shutil.copytree(PLUGIN, copy)
    market = {"market": {"source": {"source": "directory", "path": str(home / "clone")}}}
    write(home / ".claude/plugins/known_marketplaces.json", market)
    if place:
        write(home / place, "#!/bin/sh\necho $0").chmod(0o700)
    (plugin,) = ClaudeFiles({}, home).registrations()
    started = subprocess.run([copy / "start", "channel"], capture_output=True, text=True, check=False)

    assert plugin.runs is (started.returncode == 0) is bool(place)
    assert not place or plugin.command == started.stdout.strip() == str(home / place)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"mcpServers": []}', '{"mcpServers": {"a": 1}}', '{"projects": {"x": null}}', "null"]
)
def test_a_file_that_is_none_counts_as_empty(home, content):
    """Another program's file in another shape is no reason to fail."""
    for name in (".claude.json", ".claude/settings.json", ".mcp.json", ".claude/plugins/installed_plugins.json"):
        write(home / name, content)

    assert found(home) == []
    assert ClaudeFiles({}, home).variables() == {}


def test_variables_are_found_in_the_shell_and_in_settings(home):
    """With every place where one is set."""
    user = write(home / ".claude/settings.json", {"env": {"DO_NOT_TRACK": "1", "A": 2}})
    local = write(home / "project/.claude/settings.local.json", {"env": {"DO_NOT_TRACK": "0"}})
    variables = variables_of({"DO_NOT_TRACK": "yes"}, ClaudeFiles({}, home / "project"))

    assert variables["DO_NOT_TRACK"] == [("this shell's environment", "yes"), (str(user), "1"), (str(local), "0")]
    assert variables["A"] == [(str(user), "2")]


@pytest.mark.parametrize(
    ("remote", "base"),
    [
        ("ws://127.0.0.1:8787/ws", "http://127.0.0.1:8787"),
        ("wss://claw.example.com/ws", "https://claw.example.com"),
        ("wss://claw.example.com/base/ws?key=planted", "https://claw.example.com/base"),
        ("wss://claw.example.com", "https://claw.example.com"),
    ],
)
def test_the_servers_pages_are_beside_its_websocket(remote, base):
    """Behind the same proxy path, and without what stands in a query."""
    assert build_base_url(remote) == base


def answer_once(listener: socket.socket, answer: bytes) -> None:
    """Be a channel that is asked once."""
    asked, _ = listener.accept()
    with asked:
        assert json.loads(asked.makefile("rb").readline()) == {"standing": True}
        asked.sendall(answer)


def test_each_channel_that_runs_is_asked_for_its_way(home, monkeypatch):
    """One that says something else is listed as well; what a killed one left is not. The folder stays the same."""
    run = home / "claude/channels/clawback/run"
    run.mkdir(parents=True)
    (home / "here").mkdir()
    monkeypatch.chdir(run)
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", "../claude")
    answers = {
        "7.sock": b'{"way":"monitor","seen":true,"gate":"DO_NOT_TRACK"}',
        "30.sock": b'{"way":"drone"}',
        "9.sock": b"",
    }
    listeners = {name: socket.socket(socket.AF_UNIX) for name in (*answers, "8.sock", "x.sock")}
    for name, listener in listeners.items():
        listener.bind(name)
        listener.listen()
    for name in ("8.sock", "x.sock"):
        listeners[name].close()
    (run / "7.start").touch()
    monkeypatch.chdir(home / "here")
    threads = [threading.Thread(target=answer_once, args=(listeners[name], answer)) for name, answer in answers.items()]
    for thread in threads:
        thread.start()
    found = find_channels()
    for thread in threads:
        thread.join()
    for listener in listeners.values():
        listener.close()

    assert found == [
        RunningChannel(7, Standing(Way.MONITOR, seen=True, gate="DO_NOT_TRACK")),
        RunningChannel(9),
        RunningChannel(30),
    ]
    assert Path.cwd() == home / "here"


def test_where_no_channel_ever_ran_none_is_found(home, monkeypatch):
    """There is not even the folder then."""
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(home))

    assert find_channels() == []
