"""
What a session is told at its start: one line where no events come to it, and nothing where they do.

Claude Code runs the hook SessionStart before it starts its servers, so the channel cannot be asked. The hook looks for
itself: into the config, and at the server, under a tag of its own and without taking events. A start waits for it, so
it gives up soon.
"""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from clawback import __version__, wire
from clawback.channel.claude.attendance import TAG_VARIABLE, is_attended, takes_events
from clawback.channel.remote import MAX_SERVER_FRAME_BYTES
from clawback.channel.settings import PluginConfig, config_path, is_loopback, read_config
from clawback.errors import ConfigError, ProtocolViolation
from clawback.model import UNTAGGED_NAME, random_id

LOOK_SECONDS = 2.0
"""For connecting and both answers; the hook may take 5 s in all."""


def describe_start(environment: Mapping[str, str]) -> str:
    """Say in one line why no events come to a session that starts now, or nothing."""
    if not is_attended(environment):
        return ""  # nobody reads it
    path = config_path()
    try:
        config = read_config(path)
    except ConfigError as error:
        if not path.exists():
            return "Clawback: no events here yet, as no server is set up. Run: clawback login"
        return f"Clawback: no events here. {error}"
    if not takes_events(environment, one_shot_events=config.one_shot_events):
        return ""
    return asyncio.run(_look(config, environment.get(TAG_VARIABLE, "").strip() or None))


async def _look(config: PluginConfig, tag: str | None) -> str:
    host = urlsplit(config.remote).netloc
    try:
        async with (
            asyncio.timeout(LOOK_SECONDS),
            connect(
                config.remote,
                compression=None,
                max_size=MAX_SERVER_FRAME_BYTES,
                # A proxy for the outside world cannot reach this machine's loopback.
                proxy=None if is_loopback(urlsplit(config.remote).hostname or "") else True,
                close_timeout=0.2,
            ) as socket,
        ):
            sessions = await _ask_sessions(socket, config.connection_token)
    except ConnectionClosed as error:
        if error.rcvd is not None and error.rcvd.code == wire.CLOSE_UNAUTHORIZED:
            return f"Clawback: no events here, as {host} refuses the token in {config_path()}. Run: clawback login"
        return _offline(host)
    except (OSError, TimeoutError, WebSocketException, ProtocolViolation):
        return _offline(host)
    if not any(each.get("sessionTag") == tag and each.get("role") == "active" for each in sessions):
        return ""
    return (
        f"Clawback: this session stands by, as another one is active for {tag or UNTAGGED_NAME}. Give it a tag of its"
        f" own with {TAG_VARIABLE}=NAME claude, or ask Claude for session_takeover."
    )


async def _ask_sessions(socket: ClientConnection, token: str) -> list[dict[str, Any]]:
    """List the sessions that are connected; to an old server this is a session too, so it has a tag of its own."""
    auth = wire.Auth(
        token,
        f"start-{random_id(12)}",
        session_messaging=True,
        observes=True,
        client=wire.ClientInfo("clawback start", __version__),
    )
    for message in (auth, wire.SessionList(request_id="1")):
        await socket.send(wire.encode(message), text=True)
    while True:
        frame = wire.decode_server(await socket.recv())
        if isinstance(frame, wire.Response):
            data = frame.data
            return [each for each in data if isinstance(each, dict)] if isinstance(data, list) else []


def _offline(host: str) -> str:
    return f"Clawback: {host} cannot be reached now. Events wait there and come once it can; clawback doctor says more."
