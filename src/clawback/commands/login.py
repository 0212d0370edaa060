"""`clawback login`: check a token with its server, then save both where the plugin finds them."""

from urllib.parse import urlsplit, urlunsplit

import msgspec

from clawback.channel.settings import PluginConfig, check_config, config_path, saved_fields, write_config
from clawback.commands.inquiry import inquire
from clawback.errors import ConfigError, ProtocolViolation, Unauthorized, Unavailable

DEFAULT_SERVER = "http://127.0.0.1:8787"
"""Where `clawback serve` listens unless it is told otherwise; for a machine that has no config yet."""


async def log_in(server: str | None, token: str) -> str:
    """
    Save a token that the server accepts, and return what to tell the person.

    Without `server` it is the one that the config names already, else DEFAULT_SERVER. Where the server cannot be
    reached, the token is saved all the same and the text says so.

    Raises:
        ConfigError: the URL or the token has the wrong form, or the file cannot be written.
        Unauthorized: the server refuses the token; nothing is saved.
        ProtocolViolation: what answers there is no Clawback server; nothing is saved.
    """
    server, origin = choose_server(server)
    config = _merge(build_remote(server), token)
    check_config(config)
    try:
        # A session of its own: as an untagged one it would be handed the events that wait for that.
        async with inquire(config.remote, token, "login") as inquiry:
            profile_id = inquiry.welcome.profile_id
    except Unauthorized as error:
        raise Unauthorized(
            f"{error}. Nothing was saved. That server is {origin}. A token opens only the server that keeps it: make it"
            " with the data directory of that server (clawback token create --data-dir DIR), or name the token's own"
            " server with --server URL"
        ) from error
    except ProtocolViolation as error:
        raise ProtocolViolation(
            f"{error}. Nothing was saved. That server is {origin}; --server URL names another one"
        ) from error
    except Unavailable as error:
        path = write_config(config)
        return f"Saved to {path}, unchecked: {error}. The plugin connects once the server can be reached."
    path = write_config(config)
    return f"Saved to {path}: {config.remote}, profile {profile_id}. Claude Code's plugin finds it there."


def choose_server(named: str | None) -> tuple[str, str]:
    """
    Choose the server: the one that is named, else what the config has, else this machine's. Says also whose word it is.

    Raises:
        ConfigError: there is a config that does not say which server it is for.
    """
    if named is not None:
        return named, "the one that --server names"
    path = config_path()
    saved = saved_fields(path)
    if "remote" in saved:
        return saved["remote"], f"the one in {path}; --server URL names another one"
    if path.exists():
        raise ConfigError(f"{path} is there and does not say which server it is for: name the server with --server URL")
    return DEFAULT_SERVER, f"this machine's own, as there is no config at {path} yet"


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
    """Keep the other fields of a config, as far as they can be read."""
    return msgspec.convert({**saved_fields(config_path()), "remote": remote, "connectionToken": token}, PluginConfig)
