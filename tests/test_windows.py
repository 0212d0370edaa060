"""The plugin and the command line run where there is no `fcntl`, `resource`, `uvloop` and the like."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import clawback
from processes import environment

ROOT = Path(clawback.__file__).parent
PROGRAM = Path(__file__).parent / "support/as_on_windows.py"
SERVERS_OWN = {"clawback.server.app", "clawback.server.guard", "clawback.server.protocols"}

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


def run(home, *words):
    """Run `clawback`, or the import of modules, with a home of its own."""
    return subprocess.run(
        [sys.executable, PROGRAM, *words],
        input="",
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def modules():
    """Name all modules but those that the server alone loads."""
    paths = [path.relative_to(ROOT.parent).with_suffix("") for path in sorted(ROOT.rglob("*.py"))]
    names = {".".join(path.parts).removesuffix(".__init__") for path in paths}
    return sorted(names - SERVERS_OWN - {"clawback.__main__"})


def test_everything_but_the_server_is_imported(tmp_path):
    """No module asks for what Windows has not, when it is loaded."""
    ran = run(tmp_path, "import", *modules())

    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("words", [["serve"], ["work", "--", "true"]], ids=lambda words: words[0])
def test_what_needs_unix_says_so(tmp_path, words):
    """One sentence, and what to do instead."""
    ran = run(tmp_path, *words)

    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.startswith(f"clawback: `clawback {words[0]}` wants Linux or macOS; on Windows run it in WSL")
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--version"], 0, "clawback "),
        (["--help"], 0, "serve"),
        (["trigger", "--list"], 0, "github.pull_request.opened"),
        (["keys", "list", "--nats-url", "nats://127.0.0.1:1"], 1, ""),
        (["tail"], 2, "There is no Clawback config"),
        (["login", "--token-stdin", "--server", "http://127.0.0.1:1"], 2, "no token came"),
        (["hook", "Stop"], 0, ""),
        (["hook", "SessionStart"], 0, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_the_other_commands_run(tmp_path, words, code, said):
    """They do what they can without a server, and fail only for what is missing."""
    ran = run(tmp_path, *words)

    assert (ran.returncode, "Traceback" in ran.stderr) == (code, False), ran.stderr
    assert said in ran.stdout + ran.stderr


def test_the_channel_runs(tmp_path):
    """It answers Claude Code, says that no hook can reach it, and ends when stdin does."""
    channel = subprocess.Popen(
        [sys.executable, PROGRAM, "channel"],
        env=environment(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with channel:
        channel.stdin.write(json.dumps(INITIALIZE) + "\n")
        channel.stdin.flush()
        answer = json.loads(channel.stdout.readline())
        _, said = channel.communicate(timeout=50)

    assert channel.returncode == 0, said
    assert answer["result"]["serverInfo"]["name"] == "clawback"
    assert "hooks cannot reach this channel" in said
    assert "Traceback" not in said
