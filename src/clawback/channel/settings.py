"""
The plugin's configuration file: finding, checking, reading and rewriting it.

The file holds a token, so it is 0600 and is only ever replaced whole: a reader sees the old one or the new one. Every
error names the field, says what is accepted, and never quotes the token.
"""

import ipaddress
import json
import logging
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from clawback.channel.claude import rendezvous
from clawback.errors import ConfigError

MAX_CONFIG_BYTES = 64 * 1024
"""Far above any real config; a bound, so that a wrong path (a log, a device) is refused and not read."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Windows's editors begin UTF-8 with it; RFC 8259 section 8.1 lets a reader pass over it."""

_TOKEN = re.compile(r"cbt_[A-Za-z0-9_-]{8,}")

log = logging.getLogger("clawback.channel")


class PluginConfig(Struct, frozen=True, rename="camel", omit_defaults=True):
    """
    What the plugin needs to know.

    `remote` is the server's WebSocket URL and `connection_token` what opens it. `session_messaging` offers messages
    between sessions, `one_shot_events` has runs at which nobody sits (`claude -p`) take events, `data_dir` is where
    acks are kept until they are confirmed (None: the platform's directory), and `notifications` asks for a desktop
    notification when an event is done.
    """

    remote: str
    connection_token: str
    notifications: bool = False
    session_messaging: bool = True
    one_shot_events: bool = False
    data_dir: str | None = None

    def __repr__(self) -> str:
        """Leave the token out: a config may end up in a traceback."""
        return f"PluginConfig(remote={self.remote!r})"


def claude_directory() -> Path:
    """Find Claude Code's own directory, by its own rule."""
    return Path(rendezvous.claude_directory())


def config_path() -> Path:
    """
    Find the config file: `CLAWBACK_CONFIG`, else Claude Code's own directory, else `~/.config/claude` if it is there.

    The path may not exist yet; then it is where the file belongs.
    """
    if override := os.environ.get("CLAWBACK_CONFIG"):
        return Path(override).expanduser()
    usual = claude_directory() / "channels/clawback/config.json"
    other = Path("~/.config/claude/channels/clawback/config.json").expanduser()
    return other if other.exists() and not usual.exists() else usual


def read_config(path: Path | None = None) -> PluginConfig:
    """
    Read and check the config file; a mode that lets others read it is repaired to 0600, with a warning.

    Raises:
        ConfigError: the file is missing, unreadable, not ours to protect, no JSON object, or a field is wrong.
    """
    path = path or config_path()
    try:
        with path.open("rb") as file:
            _protect(path, file.fileno())
            content = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(
            f"There is no Clawback config at {path}. Run `clawback login` (or `clawback login --token-stdin`) in a "
            "terminal; it is picked up from there without a restart."
        ) from error
    except OSError as error:
        raise ConfigError(f"The Clawback config {path} cannot be read: {error.strerror}.") from error
    if len(content) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_CONFIG_BYTES} bytes, so it is no Clawback config.")
    try:
        config = msgspec.json.decode(content.removeprefix(BYTE_ORDER_MARK), type=PluginConfig)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The Clawback config {path} is wrong: {error}. It is a JSON object with `remote` and `connectionToken`; "
            "`clawback login` writes one."
        ) from error
    check_config(config)
    return config


def saved_fields(path: Path) -> dict[str, Any]:
    """Read what a config says, field by field: also one that `read_config` refuses for another field of it."""
    found = _existing_fields(path)
    good = {}
    for field in msgspec.structs.fields(PluginConfig):
        try:
            good[field.encode_name] = msgspec.convert(found[field.encode_name], field.type)
        except (KeyError, msgspec.ValidationError):
            continue  # it is not there, or broken: whoever writes the file says it anew
    return good


def write_config(config: PluginConfig, path: Path | None = None) -> Path:
    """
    Replace the config file atomically with mode 0600, keeping fields that this version does not know.

    Returns the path written. A symbolic link is followed, so a linked file stays linked.

    Raises:
        ConfigError: a field is wrong, or the directory cannot be written; the old file is then as it was.
    """
    check_config(config)
    path = (path or config_path()).resolve()
    known = {field.encode_name for field in msgspec.structs.fields(PluginConfig)}
    content = {name: value for name, value in _existing_fields(path).items() if name not in known}
    content |= msgspec.to_builtins(config)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(path, json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")
    except OSError as error:
        raise ConfigError(f"The Clawback config {path} cannot be written: {error.strerror}.") from error
    return path


def check_config(config: PluginConfig) -> None:
    """
    Check what a config says.

    Raises:
        ConfigError: `remote` is no WebSocket URL or an unencrypted one to another machine, or `connectionToken` is no
            Clawback token.
    """
    try:
        url = urlsplit(config.remote)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise ConfigError("`remote` is no URL; it looks like wss://clawback.example.com/ws.") from error
    if url.scheme not in {"ws", "wss"} or not host or url.username is not None or url.fragment:
        raise ConfigError(
            "`remote` must be a WebSocket URL without user name or fragment, like wss://clawback.example.com/ws "
            f"(or ws:// to this machine); its scheme reads {url.scheme!r}."
        )
    if url.scheme == "ws" and not is_loopback(host):
        raise ConfigError(
            f"`remote` is unencrypted and leads to {host}: the token would be readable on the way. Use wss://; "
            "ws:// is accepted for localhost, 127.0.0.0/8 and ::1 only."
        )
    if not _TOKEN.fullmatch(config.connection_token):
        raise ConfigError(
            "`connectionToken` is no Clawback token: it starts with `cbt_` and holds letters and digits only. Make one "
            "with `clawback token create`, or run `clawback login`."
        )


def is_loopback(host: str) -> bool:
    """Say whether a host name or address can only be this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _protect(path: Path, descriptor: int) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path} is not a regular file.")
    mode = stat.S_IMODE(status.st_mode)
    # On Windows the mode says nothing, and a home is its user's by its own rules.
    if not mode & 0o077 or os.name == "nt":
        return
    try:
        os.fchmod(descriptor, 0o600)
    except OSError as error:
        raise ConfigError(
            f"{path} has mode {mode:04o}, so others can read the token in it, and it cannot be changed "
            f"({error.strerror}). Make it yours with mode 0600, then rotate the token."
        ) from error
    log.warning("%s had mode %04o and has 0600 now; if others use this machine, rotate the token", path, mode)


def _existing_fields(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes().removeprefix(BYTE_ORDER_MARK), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}  # nothing there that could be kept: the file is being made, or made anew because it is broken


def _replace(path: Path, content: bytes) -> None:
    """Write a new file beside the old one, sync it, rename it over, sync the rename. mkstemp makes it 0600."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if os.name == "nt":
        return  # Windows opens no folder
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
