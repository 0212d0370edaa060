"""The config file: found, checked, protected, and replaced whole."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.channel.settings import (
    PluginConfig,
    check_config,
    config_path,
    is_loopback,
    read_config,
    saved_fields,
    write_config,
)
from clawback.errors import ConfigError

TOKEN = "cbt_0123456789abcdef"
GOOD = PluginConfig(remote="wss://clawback.example.com/ws", connection_token=TOKEN)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home directory without a config."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CLAWBACK_CONFIG", "CLAUDE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_path_follows_claude_code(home, monkeypatch):
    """The usual place, the other if only that exists, Claude Code's setting, and the override come in that order."""
    usual = home / ".claude/channels/clawback/config.json"
    other = home / ".config/claude/channels/clawback/config.json"

    assert config_path() == usual
    write_config(GOOD, other)
    assert config_path() == other
    write_config(GOOD, usual)
    assert config_path() == usual
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(home / "elsewhere"))
    assert config_path() == other
    monkeypatch.setenv("CLAWBACK_CONFIG", "~/mine.json")
    assert config_path() == home / "mine.json"


def test_what_is_written_is_read(tmp_path):
    """Every field survives a round trip, in a 0600 file of camelCase JSON."""
    path = tmp_path / "deep/config.json"
    config = PluginConfig("ws://127.0.0.1:8787/ws", TOKEN, notifications=True, session_messaging=False, data_dir="/d")
    written = write_config(config, path)

    assert written == path
    assert read_config(path) == config
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert set(json.loads(path.read_text())) == {
        "remote",
        "connectionToken",
        "notifications",
        "sessionMessaging",
        "dataDir",
    }


def test_a_rewrite_keeps_unknown_fields_and_links(tmp_path):
    """Fields of a newer version stay, a field that is back at its default goes, and a linked file stays linked."""
    real, link = tmp_path / "real.json", tmp_path / "config.json"
    real.write_text(json.dumps({"future": 1, "notifications": True}))
    link.symlink_to(real)
    write_config(GOOD, link)

    assert link.is_symlink()
    assert json.loads(real.read_text()) == {"future": 1, "remote": GOOD.remote, "connectionToken": TOKEN}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_loose_mode_is_repaired_and_told(tmp_path, caplog):
    """A file that others could read is 0600 afterwards, and the advice to rotate is logged."""
    path = write_config(GOOD, tmp_path / "config.json")
    path.chmod(0o644)

    assert read_config(path) == GOOD
    assert path.stat().st_mode & 0o777 == 0o600
    assert "rotate the token" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "is wrong"),
        ("{", "is wrong"),
        ("[]", "object"),
        ("\xff", "is wrong"),
        ('{"remote": "wss://x/ws"}', "connectionToken"),
        ('{"connectionToken": "cbt_canarycanary"}', "remote"),
        ('{"remote": 5, "connectionToken": "cbt_canarycanary"}', "remote"),
        ('{"remote": "wss://x/ws", "connectionToken": "canarycanary"}', "connectionToken"),
        ('{"remote": "wss://x/ws", "connectionToken": "cbt_canary canary"}', "connectionToken"),
        ('{"remote": "wss://x/ws", "connectionToken": "cbt_canarycanary\\n"}', "connectionToken"),
        (
            '{"remote": "wss://x/ws", "connectionToken": "cbt_canarycanary", "sessionMessaging": "no"}',
            "sessionMessaging",
        ),
        ('{"remote": "https://x/ws", "connectionToken": "cbt_canarycanary"}', "`remote`"),
        ('{"remote": "wss:///ws", "connectionToken": "cbt_canarycanary"}', "`remote`"),
        ('{"remote": "wss://x:port/ws", "connectionToken": "cbt_canarycanary"}', "`remote`"),
        ('{"remote": "wss://canary:canary@x/ws", "connectionToken": "cbt_canarycanary"}', "`remote`"),
        ('{"remote": "ws://192.168.1.5/ws", "connectionToken": "cbt_canarycanary"}', "wss://"),
        ('{"remote": "ws://localhost.example.com/ws", "connectionToken": "cbt_canarycanary"}', "wss://"),
        (" " * 70_000, "larger"),
    ],
)
def test_errors_name_the_field_and_no_token(tmp_path, content, named):
    """Each wrong file is refused with what is wrong, and never quotes what may be a secret."""
    path = tmp_path / "config.json"
    path.write_text(content, encoding="latin-1")

    with pytest.raises(ConfigError, match=named) as refused:
        read_config(path)
    assert "canary" not in str(refused.value)


def test_a_missing_file_says_what_to_do(tmp_path):
    """Without a file the sentence names the place and the command."""
    with pytest.raises(ConfigError, match=r"no Clawback config at .*clawback login"):
        read_config(tmp_path / "none.json")


def test_only_a_file_is_read(tmp_path):
    """A directory or a device in its place is refused."""
    with pytest.raises(ConfigError):
        read_config(tmp_path)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "::1"])
def test_loopback(host):
    """Plain ws:// is for this machine only."""
    check_config(PluginConfig(f"ws://[{host}]/ws" if ":" in host else f"ws://{host}:8787/ws", TOKEN))

    assert is_loopback(host)


@given(st.text(max_size=60))
def test_any_remote_is_accepted_or_refused(remote):
    """No text makes the check fail otherwise."""
    try:
        check_config(PluginConfig(remote, TOKEN))
    except ConfigError:
        return
    assert remote.strip().lower().startswith(("ws://", "wss://"))


def test_the_token_is_not_in_the_repr():
    """A config in a traceback gives nothing away."""
    assert TOKEN not in repr(GOOD)


def test_an_unwritable_place_changes_nothing(tmp_path):
    """A file that cannot be replaced stays as it was, and the error says so."""
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="cannot be written"):
        write_config(GOOD, tmp_path / "file" / "config.json")


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path):
    """Killed 20 times in the middle of endless rewriting, the file is always the old or the new config, and 0600."""
    path = write_config(GOOD, tmp_path / "config.json")
    program = (
        "import pathlib, sys\n"
        "from clawback.channel.settings import PluginConfig, write_config\n"
        "number = 0\n"
        "while True:\n"
        "    number += 1\n"
        "    config = PluginConfig('wss://x/ws', f'cbt_{number:016d}' + 'x' * (number % 5000))\n"
        "    write_config(config, pathlib.Path(sys.argv[1]))\n"
    )
    for round_number in range(20):
        before = path.stat().st_ino
        writer = subprocess.Popen([sys.executable, "-c", program, str(path)])
        while path.stat().st_ino == before:
            time.sleep(0.001)
        time.sleep(round_number * 0.0007)  # the moment of the kill, which is what varies
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()

        assert read_config(path).connection_token.startswith("cbt_")
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_byte_order_mark_is_passed_over(tmp_path):
    """Windows's editors write one in front of a text."""
    path = tmp_path / "config.json"
    path.touch(mode=0o600)
    path.write_bytes(b'\xef\xbb\xbf{"remote": "ws://127.0.0.1:8787/ws", "connectionToken": "cbt_0123456789"}')
    kept = saved_fields(path)

    assert read_config(path).remote == "ws://127.0.0.1:8787/ws"
    assert kept["remote"] == "ws://127.0.0.1:8787/ws"
