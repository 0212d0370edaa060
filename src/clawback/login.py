"""`clawback login`: check a token with its server, then save both where the plugin finds them."""

import asyncio
from urllib.parse import urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from clawback import __version__, wire
from clawback.channel.settings import PluginConfig, check_config, read_config, write_config
from clawback.errors import ClawbackError, ConfigError, ProtocolViolation, Unauthorized, Unavailable
from clawback.model import random_id

CHECK_SECONDS = 10.0
"""For all of connecting and authenticating; a server that takes longer counts as unreachable."""

PROXY_STATUSES = frozenset({502, 503, 504})
"""What a proxy answers while its server is away."""


async def log_in(server: str, token: str) -> str:
    """
    Save a token that the server accepts, and return what to tell the person.

    Where the server cannot be reached, it is saved all the same and the text says so.

    Raises:
        ConfigError: the URL or the token has the wrong form, or the file cannot be written.
        Unauthorized: the server refuses the token; nothing is saved.
        ProtocolViolation: what answers there is no Clawback server; nothing is saved.
    """
    config = _merge(build_remote(server), token)
    check_config(config)
    try:
        profile_id = await _authenticate(config.remote, token)
    except Unavailable as error:
        path = write_config(config)
        return f"Saved to {path}, unchecked: {error}. The plugin connects once the server can be reached."
    path = write_config(config)
    return f"Saved to {path}: {config.remote}, profile {profile_id}. Claude Code's plugin finds it there."


def build_remote(server: str) -> str:
    """
    Turn a server's URL into its WebSocket's: http to ws, https to wss, and `/ws` at the end.

    Raises:
        ConfigError: it is no URL of a server.
    """
    try:
        url = urlsplit(server.strip())
        scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}[url.scheme]
    except (ValueError, KeyError):
        raise ConfigError(
            f"--server: read {server!a}; accepted is a URL such as https://clawback.example.com"
        ) from None
    path = url.path.rstrip("/")
    return urlunsplit((scheme, url.netloc, path if path.endswith("/ws") else f"{path}/ws", url.query, url.fragment))


def _merge(remote: str, token: str) -> PluginConfig:
    """Keep the other fields of a config that is there and readable; a broken one is made anew."""
    try:
        before = read_config()
    except ConfigError:
        return PluginConfig(remote, token)
    return msgspec.structs.replace(before, remote=remote, connection_token=token)


async def _authenticate(remote: str, token: str) -> str:
    """
    Ask the server whether it accepts the token; returns the profile's id.

    Raises:
        Unauthorized: it does not.
        ProtocolViolation: it is no Clawback server.
        Unavailable: it cannot be reached.
    """
    # A session of its own: as an untagged one it would be handed the events that wait for that.
    auth = wire.Auth(token, f"login-{random_id(12)}", client=wire.ClientInfo("clawback login", __version__))
    try:
        async with (
            asyncio.timeout(CHECK_SECONDS),
            connect(remote, open_timeout=None, max_size=wire.MAX_FRAME_BYTES) as socket,
        ):
            await socket.send(wire.encode(auth).decode())
            answer = wire.decode_server(await socket.recv())
    except InvalidStatus as error:
        if error.response.status_code in PROXY_STATUSES:
            raise Unavailable(f"{remote} answers HTTP {error.response.status_code} for now") from error
        raise _not_clawback(remote, f"it answers HTTP {error.response.status_code}") from error
    except (InvalidHandshake, InvalidURI) as error:
        raise _not_clawback(remote, str(error)) from error
    except ConnectionClosed as error:
        raise _closed(remote, error) from error
    except ProtocolViolation as error:
        raise _not_clawback(remote, str(error)) from error
    except TimeoutError as error:
        raise Unavailable(f"{remote} does not answer within {CHECK_SECONDS:.0f} s") from error
    except OSError as error:
        raise Unavailable(f"{remote} cannot be reached ({error.strerror or error})") from error
    if not isinstance(answer, wire.AuthOk):
        raise _not_clawback(remote, "it does not answer the token")
    return answer.profile_id


def _closed(remote: str, error: ConnectionClosed) -> ClawbackError:
    code, reason = (error.rcvd.code, error.rcvd.reason) if error.rcvd is not None else (None, "")
    if code == wire.CLOSE_UNAUTHORIZED:
        return Unauthorized(f"{remote} refuses the token: {reason or 'it is unknown or was revoked'}")
    if code == wire.CLOSE_VIOLATION:
        return _not_clawback(remote, reason)
    return Unavailable(f"{remote} closed the connection ({reason or code or 'without a word'})")


def _not_clawback(remote: str, found: str) -> ProtocolViolation:
    return ProtocolViolation(f"{remote} is not a Clawback server this program can talk to ({found}): check --server")
