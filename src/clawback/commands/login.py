"""`clawback login`: check a token with its server, then save both where the plugin finds them."""

from urllib.parse import urlsplit, urlunsplit

import msgspec

from clawback.channel.settings import PluginConfig, check_config, read_config, write_config
from clawback.commands.inquiry import inquire
from clawback.errors import ConfigError, Unavailable


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
        # A session of its own: as an untagged one it would be handed the events that wait for that.
        async with inquire(config.remote, token, "login") as inquiry:
            profile_id = inquiry.welcome.profile_id
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
