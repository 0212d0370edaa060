"""A server that cannot start says why in one sentence, ends with a code that is not 0, and leaves nothing running."""

import socket
from pathlib import Path

import pytest

from processes import START_SECONDS, Server, processes_of


def refusal(server: Server, *arguments: str, **environment: str) -> tuple[str, int]:
    """Start a server that must not come up; return its last words, and its exit code."""
    server.launch(*arguments, **environment)
    code = server.process.wait(START_SECONDS)
    said = [line for line in server.errors.splitlines() if line.startswith("clawback: ")]

    assert len(said) == 1, server.errors
    assert server.errors.endswith(said[0] + "\n"), "the sentence comes last"
    assert "Traceback" not in server.errors
    assert server.output == ""
    assert processes_of(server.home) == []
    return said[0], code


def test_a_taken_port(own_server):
    """Names the port and the flag; no NATS was started for it."""
    with socket.create_server(("127.0.0.1", own_server.port)):
        said, code = refusal(own_server)

    assert f"cannot listen on 127.0.0.1 port {own_server.port}" in said
    assert "--port" in said
    assert code == 2
    assert not (own_server.data_dir / "nats").exists()


@pytest.mark.parametrize("place", ["under a file", "/proc/clawback"])
def test_a_data_directory_that_cannot_be_written(own_server, place):
    """Names the directory and the flag."""
    if place == "under a file":
        (own_server.home / "file").touch()
        own_server.data_dir = own_server.home / "file" / "data"
    else:
        own_server.data_dir = Path(place)
    said, code = refusal(own_server)

    assert f"the data directory {own_server.data_dir} cannot be written" in said
    assert "--data-dir" in said
    assert code == 2


def test_a_directory_of_streams_that_is_a_file(own_server):
    """nats-server ends at once: its own reason is in the sentence."""
    home = own_server.data_dir / "nats"
    home.mkdir(parents=True)
    (home / "jetstream").touch()
    said, code = refusal(own_server)

    assert "nats-server ended at once" in said
    assert "storage directory is not a directory" in said
    assert code == 1


def test_streams_that_cannot_be_read(own_server):
    """What the disk lost of JetStream's own files is told when the server starts, never served as an empty store."""
    own_server.start()
    own_server.token()
    own_server.stop()
    account = own_server.data_dir / "nats/jetstream/jetstream/$G"
    assert account.is_dir(), "where nats-server keeps its streams"
    account.rename(account.with_name("kept"))
    account.touch()
    said, code = refusal(own_server)

    assert "NATS refused stream" in said
    assert code == 1


def test_a_login_file_that_is_broken(own_server):
    """Names the file and says what to do; quotes nothing of it."""
    home = own_server.data_dir / "nats"
    home.mkdir(parents=True)
    (home / "credentials.json").write_text('{"port": 1, "user": "u", "password": 7, "x": "planted"}')
    said, code = refusal(own_server)

    assert str(home / "credentials.json") in said
    assert "planted" not in said
    assert code == 2


def test_a_second_server_on_the_same_directory(own_server, tmp_path):
    """Names the directory and the process that has it; the first goes on."""
    second = Server(tmp_path / "second")
    second.data_dir = own_server.data_dir
    own_server.start()
    try:
        said, code = refusal(second)
    finally:
        second.close()

    assert f"{own_server.data_dir} is in use by another `clawback serve` (process {own_server.process.pid})" in said
    assert "--data-dir" in said
    assert code == 2
    assert own_server.token().value.startswith("cbt_")


def test_a_nats_that_is_not_there(own_server):
    """Names the URL."""
    said, code = refusal(own_server, "--nats-url", "nats://127.0.0.1:1")

    assert "nats://127.0.0.1:1" in said
    assert code == 1


def test_a_master_key_that_others_can_read(own_server):
    """A key that is no secret any more stops the start, by name."""
    own_server.start()
    own_server.stop()
    key = own_server.data_dir / "master.key"
    key.chmod(0o644)
    said, code = refusal(own_server)

    assert str(key) in said
    assert "chmod 600" in said
    assert code == 2


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--port", "http"], {}, ["port: read 'http' from --port", "1 to 65535"]),
        (["--public-url", "hooks.example.com"], {}, ["public_url", "--public-url", "http"]),
        ([], {"CLAWBACK_SHARDS": "0"}, ["shards: read '0' from CLAWBACK_SHARDS", "1 to 64"]),
        ([], {"CLAWBACK_MAX_BODY_BYTES": "lots"}, ["max_body_bytes", "'lots'", "MiB"]),
        ([], {"CLAWBACK_MASTER_KEY": "planted-no-key"}, ["master_key", "CLAWBACK_MASTER_KEY", "32 bytes"]),
        (["--config", "/nowhere.toml"], {}, ["/nowhere.toml"]),
    ],
    ids=str,
)
def test_a_wrong_setting(own_server, arguments, environment, words):
    """Names the setting, what was read where, and what is accepted; never a secret's value."""
    said, code = refusal(own_server, *arguments, **environment)

    assert all(word in said for word in words), said
    assert "planted" not in said
    assert code == 2
