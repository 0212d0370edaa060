"""`clawback install`, with a stand-in for Claude Code's command; tests/claude has the real one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clawback import __version__

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("clawback")
CLAUDE = """
import json, os, sys
from pathlib import Path

kept = Path(os.environ["HOME"]) / "claude.json"
state = json.loads(kept.read_text()) if kept.exists() else {"markets": [], "plugins": [], "asked": []}
asked = sys.argv[1:]
state["asked"].append(" ".join(asked))
match asked:
    case ["--version"]:
        print(os.environ.get("CLAUDE_SAYS", "2.1.330 (Claude Code)"))
    case ["plugin", "marketplace", "list", "--json"]:
        print(json.dumps(state["markets"]))
    case ["plugin", "list", "--json"]:
        print(json.dumps(state["plugins"]))
    case ["plugin", "marketplace", "add", path]:
        state["markets"] = [{"name": "clawback", "source": "directory", "path": path}]
    case ["plugin", "install", name] if "CLAUDE_FAILS" not in os.environ:
        manifest = Path(state["markets"][0]["path"]) / "plugin/.claude-plugin/plugin.json"
        state["plugins"] = [{"id": name, "version": json.loads(manifest.read_text())["version"], "enabled": True}]
    case ["plugin", "enable", name]:
        state["plugins"][0]["enabled"] = True
    case _:
        sys.exit("no disk left")
kept.write_text(json.dumps(state))
"""


@pytest.fixture
def home(tmp_path):
    """A home of the test's own with a `claude` that keeps what it is told."""
    claude = tmp_path / "bin/claude"
    claude.parent.mkdir()
    claude.write_text(f"#!{sys.executable}\n{CLAUDE}")
    claude.chmod(0o755)
    return tmp_path


def install(home, *arguments, path=None, **env):
    """Run the command in a home."""
    search = path or f"{home / 'bin'}:/usr/bin:/bin"
    own = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    return subprocess.run(
        [PROGRAM, "install", *arguments],
        env=own | {"HOME": str(home), "PATH": search} | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def kept(home):
    """What the stand-in knows."""
    return json.loads((home / "claude.json").read_text())


def link(home):
    """Where the plugin's folder finds the program."""
    return home / ".claude/channels/clawback/bin/clawback"


def test_one_command_installs_the_plugin(home):
    """The marketplace, the plugin and the link are there, and each change was told, as was the next step."""
    ran = install(home)

    assert ran.returncode == 0, ran.stderr
    assert kept(home)["markets"][0]["path"] == str(ROOT)
    assert kept(home)["plugins"] == [{"id": "clawback@clawback", "version": __version__, "enabled": True}]
    assert link(home).readlink() == PROGRAM
    assert [line.partition(":")[0] for line in ran.stdout.splitlines()][:3] == ["done"] * 3
    assert "clawback login --token-stdin" in ran.stdout
    assert "--dangerously-load-development-channels plugin:clawback@clawback" in ran.stdout


def test_a_second_run_changes_nothing(home):
    """It looks, and finds everything done."""
    install(home)
    before = len(kept(home)["asked"])
    ran = install(home)

    assert ran.returncode == 0
    assert [line.partition(":")[0] for line in ran.stdout.splitlines()][:3] == ["unchanged"] * 3
    assert kept(home)["asked"][before:] == ["--version", "plugin marketplace list --json", "plugin list --json"]


def test_a_dry_run_only_says(home):
    """What it would do is told, and nothing is there afterwards."""
    ran = install(home, "--dry-run")

    assert ran.returncode == 0
    assert [line.partition(":")[0] for line in ran.stdout.splitlines()][:3] == ["would do"] * 3
    assert not link(home).parent.exists()
    assert (kept(home)["markets"], kept(home)["plugins"]) == ([], [])


def test_a_plugin_that_was_switched_off_is_switched_on(home):
    """Not installed again."""
    install(home)
    state = kept(home)
    state["plugins"][0]["enabled"] = False
    (home / "claude.json").write_text(json.dumps(state))
    ran = install(home)

    assert "done: claude plugin enable clawback@clawback" in ran.stdout


@pytest.mark.parametrize(
    ("path", "env", "code", "message"),
    [
        ("/usr/bin:/bin", {}, 2, "Claude Code is not installed"),
        (None, {"CLAUDE_SAYS": "1.0.24 (Claude Code)"}, 2, "run `claude update` for 2.1.128 or newer"),
        (None, {"CLAUDE_SAYS": "hello"}, 2, "'hello'"),
        (None, {"CLAUDE_FAILS": "1"}, 1, "plugin install clawback@clawback failed with 1: no disk left"),
    ],
    ids=["missing", "too old", "something else", "failing"],
)
def test_what_is_wrong_is_told(home, path, env, code, message):
    """In a sentence that says what to do, with what `claude` said."""
    ran = install(home, path=path, **env)

    assert ran.returncode == code
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr


# --- the plugin's folder ---------------------------------------------------------------------------------------------


def start(copy, home, **env):
    """Start the folder's program, as its .mcp.json does."""
    server = json.loads((copy / ".mcp.json").read_text())["mcpServers"]["clawback"]
    command = [each.replace("${CLAUDE_PLUGIN_ROOT}", str(copy)) for each in (server["command"], *server["args"])]
    return subprocess.run(
        command,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"} | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def copy(tmp_path):
    """The plugin's folder alone, somewhere else: what Claude Code makes of it."""
    return Path(shutil.copytree(ROOT / "plugin", tmp_path / "cache/a folder/0.1.0"))


@pytest.mark.parametrize("place", [".claude/channels/clawback/bin", "elsewhere", ".local/bin"])
def test_a_copied_folder_becomes_the_installed_program(copy, tmp_path, place):
    """Linked by `clawback install`, on the PATH, or where uv and pipx put it; the process is the program itself."""
    program = tmp_path / place / "clawback"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho $PPID $1\n")
    program.chmod(0o755)
    ran = start(copy, tmp_path, PATH=f"/usr/bin:/bin:{tmp_path / 'elsewhere'}")

    assert ran.stdout == f"{os.getpid()} channel\n"


def test_a_folder_without_a_program_says_what_is_missing(copy, tmp_path):
    """On stderr, which Claude Code keeps."""
    ran = start(copy, tmp_path)

    assert ran.returncode == 127
    assert "clawback install" in ran.stderr
    assert not ran.stdout


def test_only_the_user_calls_the_skill():
    """No event may have Claude change the token: the skill cannot be called by the model."""
    skill = (ROOT / "plugin/skills/configure/SKILL.md").read_text()
    front = skill.split("---\n")[1]

    assert "name: configure\n" in front
    assert "disable-model-invocation: true\n" in front


def test_the_manifests_agree():
    """The marketplace lists the plugin, the plugin has the program's version, and its channel is its server."""
    market = json.loads((ROOT / ".claude-plugin/marketplace.json").read_text())
    plugin = json.loads((ROOT / "plugin/.claude-plugin/plugin.json").read_text())
    servers = json.loads((ROOT / "plugin/.mcp.json").read_text())["mcpServers"]

    assert [(each["name"], each["source"]) for each in market["plugins"]] == [("clawback", "./plugin")]
    assert plugin["name"] == market["name"] == "clawback"
    assert plugin["version"] == __version__
    assert [channel["server"] for channel in plugin["channels"]] == list(servers)
