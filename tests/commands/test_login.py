"""`clawback login`: what is checked before the plugin's config is written."""

import json
import stat
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import serve

from clawback import wire
from clawback.accounts.tokens import format_token
from clawback.commands.login import build_remote, choose_server, log_in
from clawback.errors import ConfigError, ProtocolViolation, Unauthorized
from natsd import free_port

TOKEN = format_token(bytes(range(32)))


@pytest.fixture(autouse=True)
def config_file(tmp_path, monkeypatch):
    """Point the plugin's config at a file of the test's own."""
    path = tmp_path / "claude" / "config.json"
    monkeypatch.setenv("CLAWBACK_CONFIG", str(path))
    return path


@asynccontextmanager
async def server(answer, requests):
    """Run a server that notes the first message of each connection and answers it with `answer(socket)`."""

    async def handle(socket):
        requests.append((socket.request.path, json.loads(await socket.recv())))
        await answer(socket)
        await socket.wait_closed()

    async with serve(handle, "127.0.0.1", 0) as running:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"


async def accept(socket):
    """Accept any token."""
    await socket.send(wire.encode(wire.AuthOk(protocol=1, profile_id="p1")).decode())


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("http://127.0.0.1:8787", "ws://127.0.0.1:8787/ws"),
        ("https://claw.example.com", "wss://claw.example.com/ws"),
        ("https://claw.example.com/base/", "wss://claw.example.com/base/ws"),
        ("wss://claw.example.com/ws", "wss://claw.example.com/ws"),
        (" http://[::1]:1/ ", "ws://[::1]:1/ws"),
    ],
)
def test_a_servers_url_becomes_its_websockets(url, remote):
    """From http to ws, from https to wss, with /ws at the end."""
    assert build_remote(url) == remote


@pytest.mark.parametrize("url", ["claw.example.com", "ftp://x", "", "localhost:8787", "http://[::1"])
def test_what_is_no_url_of_a_server_is_refused(url):
    """The refusal shows one."""
    with pytest.raises(ConfigError, match="accepted is a URL such as https://"):
        build_remote(url)


async def test_an_accepted_token_is_saved_privately(config_file):
    """Checked first, then written with mode 0600."""
    requests = []
    async with server(accept, requests) as url:
        told = await log_in(url, TOKEN)

    assert json.loads(config_file.read_text()) == {
        "remote": url.replace("http", "ws") + "/ws",
        "connectionToken": TOKEN,
    }
    assert stat.S_IMODE(config_file.stat().st_mode) == 0o600
    assert str(config_file) in told
    assert "profile p1" in told
    assert TOKEN not in told


async def test_the_check_takes_no_sessions_events():
    """It authenticates under a tag of its own: as the untagged session it would be handed what waits for that."""
    requests = []
    async with server(accept, requests) as url:
        await log_in(url, TOKEN)
        await log_in(url, TOKEN)
    (path, first), (_, second) = requests

    assert path == "/ws"
    assert (first["type"], first["token"]) == ("auth", TOKEN)
    assert first["sessionTag"].startswith("login-")
    assert first["sessionTag"] != second["sessionTag"]


async def test_other_settings_of_the_plugin_stay(config_file):
    """A new token does not reset what a person chose."""
    config_file.parent.mkdir()
    config_file.write_text(
        json.dumps({"remote": "wss://old/ws", "connectionToken": "cbt_oldoldold", "notifications": True, "mine": 1})
    )
    config_file.chmod(0o600)
    async with server(accept, []) as url:
        await log_in(url, TOKEN)
    written = json.loads(config_file.read_text())

    assert written["connectionToken"] == TOKEN
    assert (written["notifications"], written["mine"]) == (True, 1)


@pytest.mark.parametrize("token", ["cbt_oldoldold", "broken", 7, None])
async def test_the_server_of_a_config_stays_unless_another_is_named(config_file, token):
    """A token says nothing of a server; neither does a config that is broken elsewhere."""
    config_file.parent.mkdir()
    async with server(accept, []) as url:
        remote = url.replace("http", "ws") + "/ws"
        config_file.write_text(json.dumps({"remote": remote, "connectionToken": token, "notifications": True}))
        await log_in(None, TOKEN)
        kept = json.loads(config_file.read_text())
        await log_in("https://claw.example.invalid", TOKEN)
        named = json.loads(config_file.read_text())

    assert kept == {"remote": remote, "connectionToken": TOKEN, "notifications": True}
    assert named["remote"] == "wss://claw.example.invalid/ws"


def test_without_a_config_it_is_this_machines_server(config_file):
    """The address where `clawback serve` listens unless it is told otherwise."""
    server, origin = choose_server(None)

    assert server == "http://127.0.0.1:8787"
    assert str(config_file) in origin


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"remote": 7}'])
def test_a_config_that_names_no_server_is_not_overwritten(config_file, text):
    """What is there and cannot be read may be somebody's server."""
    config_file.parent.mkdir()
    config_file.write_text(text)
    with pytest.raises(ConfigError, match=r"name the server with --server URL"):
        choose_server(None)

    assert choose_server("https://claw.example.com")[0] == "https://claw.example.com"
    assert config_file.read_text() == text


async def test_a_refused_token_is_told_where_it_was_tried(config_file):
    """The token of another store is the usual reason, so the message says whose word the server is."""

    async def refuse(socket):
        await socket.close(wire.CLOSE_UNAUTHORIZED, "this token is unknown")

    async with server(refuse, []) as url:
        config_file.parent.mkdir()
        config_file.write_text(json.dumps({"remote": url.replace("http", "ws") + "/ws", "connectionToken": TOKEN}))
        with pytest.raises(Unauthorized) as refused:
            await log_in(None, TOKEN)

    assert f"That server is the one in {config_file}" in str(refused.value)
    assert "clawback token create --data-dir DIR" in str(refused.value)
    assert TOKEN not in str(refused.value)


async def test_a_refused_token_is_not_saved(config_file):
    """The server's reason is passed on."""

    async def refuse(socket):
        await socket.close(wire.CLOSE_UNAUTHORIZED, "this token was revoked")

    async with server(refuse, []) as url:
        with pytest.raises(Unauthorized, match="refuses the token: this token was revoked"):
            await log_in(url, TOKEN)
    assert not config_file.exists()


async def test_something_else_at_that_url_is_not_saved(config_file):
    """A WebSocket that speaks otherwise, and a web server that speaks none."""

    async def chat(socket):
        await socket.send("hello")

    async with server(chat, []) as url:
        with pytest.raises(ProtocolViolation, match=r"is not a Clawback server .*: check its URL"):
            await log_in(url, TOKEN)

    async with serve(chat, "127.0.0.1", 0, process_request=lambda socket, _: socket.respond(404, "no")) as running:
        url = f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"
        with pytest.raises(ProtocolViolation, match="HTTP 404"):
            await log_in(url, TOKEN)
    assert not config_file.exists()


async def test_an_unreachable_server_is_saved_with_a_note(config_file):
    """One may set up the plugin first: nobody listens there, or its proxy says so."""
    told = await log_in(f"http://127.0.0.1:{free_port()}", TOKEN)
    saved = json.loads(config_file.read_text())
    async with serve(accept, "127.0.0.1", 0, process_request=lambda socket, _: socket.respond(502, "no")) as running:
        also_told = await log_in(f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}", TOKEN)

    assert saved["connectionToken"] == TOKEN
    assert "unchecked" in told
    assert "cannot be reached" in told
    assert "answers HTTP 502 for now" in also_told


async def test_a_server_that_restarts_is_no_refusal(config_file):
    """Only a refusal of the token is one."""

    async def restart(socket):
        await socket.close(wire.CLOSE_RESTART, "the server is restarting")

    async with server(restart, []) as url:
        told = await log_in(url, TOKEN)

    assert "unchecked" in told
    assert config_file.exists()


@pytest.mark.parametrize(
    ("url", "token", "message"),
    [
        ("http://claw.example.com", TOKEN, "unencrypted"),
        ("https://claw.example.com", "planted", "`connectionToken` is no Clawback token"),
        ("https://claw.example.com", "", "`connectionToken` is no Clawback token"),
    ],
)
async def test_what_cannot_be_saved_is_not_sent(config_file, url, token, message):
    """A token never leaves over an open network, and what is no token not at all."""
    with pytest.raises(ConfigError, match=message) as caught:
        await log_in(url, token)
    assert "planted" not in str(caught.value)
    assert not config_file.exists()
