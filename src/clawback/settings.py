"""
The server's settings: one table, read from flags, then `CLAWBACK_…` variables, then a TOML file, then defaults.

A secret may be named by file instead of value: `CLAWBACK_MASTER_KEY_FILE`, or `master_key_file` in TOML. Whatever is
wrong stops the start with a ConfigError that names the setting, where it was read, what was read (never of a secret)
and what is accepted. An unknown key of the file is an error too: a typing mistake must not quietly become the default.
An unknown variable is a warning: the environment belongs to others as well.
"""

import difflib
import logging
import re
import tomllib
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import platformdirs
from msgspec import Struct

from clawback.accounts.keyring import parse_ring
from clawback.channel.settings import is_loopback
from clawback.errors import ConfigError
from clawback.system.private_files import read_private_file

PREFIX = "CLAWBACK_"
CONFIG_FILE_VARIABLE = "CLAWBACK_CONFIG_FILE"
CONFIG_FILE_NAME = "clawback.toml"

PLUGIN_VARIABLES = frozenset(
    {"CLAWBACK_SESSION", "CLAWBACK_CONFIG", "CLAWBACK_EVENTS", "CLAWBACK_TOKEN", "CLAWBACK_SERVER"}
)
"""Read by `clawback channel`, or by the commands over the API; a shell that has them may start a server too."""

TRACE_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""OpenTelemetry's own, of which one must be set for traces; the first has the path in it."""

RUN_VARIABLES = frozenset(
    f"CLAWBACK_EVENT_{name}" for name in ("ID", "ORIGIN", "PRIORITY", "ATTEMPT", "PATH", "TYPE", "VERIFIED")
)
"""Set by `clawback work` for what it runs, which may call any of our commands."""

Network = IPv4Network | IPv6Network

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

GITHUB_URL = "https://github.com"

MAX_BODY_BYTES = 25 * MIB
"""GitHub's own cap. A larger body could be stored, but nothing that reads events takes it: store/events.py."""

MIN_METRICS_TOKEN = 16
"""Characters. Whoever guesses it learns which profiles and tags there are, and how busy they are."""


class ServerSettings(Struct, frozen=True, kw_only=True):
    """
    What `clawback serve` runs with; each field's meaning stands in `SETTINGS`.

    `nats_url` is None where the server starts its own NATS under `data_dir`. URLs have no slash at their end.
    `trace_endpoint` is where traces go, as scheme, host and port; OpenTelemetry reads its own variables for the rest.
    `origins` says where each setting that is not a default was read.
    """

    host: str = "127.0.0.1"
    port: int = 8787
    data_dir: Path = msgspec.field(default_factory=lambda: platformdirs.user_data_path("clawback", appauthor=False))
    public_url: str = ""
    nats_url: str | None = None
    nats_user: str | None = None
    nats_password: str | None = None
    nats_max_bytes: int | None = None
    shards: int = 8
    replicas: int = 1
    max_body_bytes: int = MAX_BODY_BYTES
    max_held_bytes: int = 256 * MIB
    max_source_bytes: int = 4 * GIB
    max_unsigned_source_bytes: int = 256 * MIB
    max_profile_bytes: int = 8 * GIB
    spool: bool = False
    spool_max_bytes: int = GIB
    max_webhooks_per_second: int = 100
    max_webhook_burst: int = 1_000
    max_messages_per_minute: int = 20
    max_crons: int = 1_000
    max_sources: int = 500
    max_tokens: int = 200
    max_connections: int = 2_000
    max_connections_per_address: int = 500
    trusted_proxies: tuple[Network, ...] = ()
    metrics_token: str | None = None
    master_key: str | None = None
    github_client_id: str | None = None
    github_client_secret: str | None = None
    github_logins: tuple[str, ...] = ()
    github_url: str = GITHUB_URL
    github_api_url: str = ""
    trace_endpoint: str | None = None
    origins: dict[str, str] = {}

    def __post_init__(self) -> None:
        """Fill in the URLs that follow from other settings."""
        if not self.public_url:
            msgspec.structs.force_setattr(self, "public_url", f"http://{_reachable(self.host)}:{self.port}")
        if not self.github_api_url:
            known = "https://api.github.com" if self.github_url == GITHUB_URL else f"{self.github_url}/api/v3"
            msgspec.structs.force_setattr(self, "github_api_url", known)

    def __repr__(self) -> str:
        return f"ServerSettings({', '.join(self.describe())})"

    def describe(self) -> list[str]:
        """Write each setting that was given, with its origin, secrets hidden; for the log at the start."""
        lines = []
        for setting in SETTINGS:
            if setting.name not in self.origins:
                continue
            value = getattr(self, setting.name)
            shown = "unset" if value in (None, "", ()) else setting.show(_write(value))
            lines.append(f"{setting.name} = {shown} ({self.origins[setting.name]})")
        if self.trace_endpoint is not None:
            lines.append(f"traces to {self.trace_endpoint}")
        return lines


def _write(value: object) -> str:
    """Write a setting's value as it is given."""
    match value:
        case bool():
            return "on" if value else "off"
        case tuple():
            return ",".join(map(str, value))
    return str(value)


def _reachable(host: str) -> str:
    """Write a listen address as the host of a URL for this machine: a wildcard is no place to connect to."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


# --- what a setting's text may be; each parser raises ValueError ---------------------------------------------------


def _text(text: str) -> str:
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError
    return text


def _host(text: str) -> str:
    """Read a host; an IPv6 address may stand in brackets, as in a URL."""
    if match := re.fullmatch(r"\[(.*)\]", text):
        return str(IPv6Address(match[1]))
    if "[" in text or "]" in text:
        raise ValueError
    return _text(text)


def _secret_text(text: str) -> str:
    return text


def _metrics_token(text: str) -> str:
    if not re.fullmatch(rf"[!-~]{{{MIN_METRICS_TOKEN},}}", text):
        raise ValueError
    return text


def _key_text(text: str) -> str:
    parse_ring(text)
    return text


def _number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        # int() would also take "1_0", "+5" and the digits of any script.
        if not re.fullmatch(r"[0-9]{1,12}", text) or not low <= int(text) <= high:
            raise ValueError
        return int(text)

    return parse


def _replicas(text: str) -> int:
    if text not in ("1", "3", "5"):
        raise ValueError
    return int(text)


def _size(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        match = re.fullmatch(r"([0-9]{1,15}) ?(KiB|MiB|GiB)?", text)
        if match is None:
            raise ValueError
        size = int(match[1]) * {None: 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}[match[2]]
        if not low <= size <= high:
            raise ValueError
        return size

    return parse


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError
    return text == "on"


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ip_network(part.strip()) for part in text.split(","))


def _directory(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _public_url(text: str) -> str:
    # It stands in commands that people paste into a shell, so it may hold nothing that a shell knows.
    if not re.fullmatch(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?", text):
        raise ValueError
    _ = urlsplit(text).port  # raises ValueError where it is no port
    return text.rstrip("/")


def _github_url(text: str) -> str:
    url = _public_url(text)
    if not url.startswith("https:") and not is_loopback(urlsplit(url).hostname or ""):
        raise ValueError
    return url


def _logins(text: str) -> tuple[str, ...]:
    """Read logins, of which GitHub knows `name` and, of managed users, `name_company`, and numeric ids."""
    entries = [entry.strip().lower() for entry in text.split(",")]
    if not all(re.fullmatch(r"[a-z0-9](?:[a-z0-9_-]{0,98})", entry) for entry in entries):
        raise ValueError
    return tuple(dict.fromkeys(entries))


def _nats_url(text: str) -> str:
    for part in _text(text).split(","):
        url = urlsplit(part)
        if url.scheme not in ("nats", "tls") or not url.hostname:
            raise ValueError
        _ = url.port
    return text


def _plain(text: str) -> str:
    return repr(text) if not text.isprintable() or text != text.strip() else text


def _hidden(_text: str) -> str:
    return "(hidden)"


def _without_userinfo(text: str) -> str:
    # All from the scheme to the last @ of all: a password that was not escaped may hold a comma, / or @ itself.
    return re.sub(r"^(\w+://)?.*@", r"\1…@", _plain(text))


class Setting(NamedTuple):
    """One row of the table. `flag` rows are also flags of `clawback serve`; `show` writes a value without a secret."""

    name: str
    parse: Callable[[str], Any]
    accepts: str
    help: str
    flag: bool = False
    show: Callable[[str], str] = _plain

    @property
    def variable(self) -> str:
        """The environment variable it is read from."""
        return PREFIX + self.name.upper()

    @property
    def secret(self) -> bool:
        """Whether it may be given as a file, and is never shown."""
        return self.show is _hidden


SETTINGS = (
    Setting("host", _host, "a host name or an IP address", "address to listen on", flag=True),
    Setting("port", _number(1, 65535), "a number from 1 to 65535", "port to listen on", flag=True),
    Setting("data_dir", _directory, "a path", "where the server keeps its NATS and its key", flag=True),
    Setting(
        "public_url",
        _public_url,
        "an http:// or https:// URL in ASCII, without user, query and fragment",
        "the server's URL as senders of webhooks see it (default: where it listens)",
        flag=True,
    ),
    Setting(
        "nats_url",
        _nats_url,
        "nats:// or tls:// URLs, separated by commas",
        "a NATS with JetStream to use (default: the server starts its own under the data directory)",
        flag=True,
        show=_without_userinfo,
    ),
    Setting("nats_user", _text, "a name without white space", "user at nats_url"),
    Setting("nats_password", _secret_text, "any text", "password at nats_url", show=_hidden),
    Setting(
        "nats_max_bytes",
        _size(MIB, 65_536 * GIB),
        "bytes, or a number with KiB, MiB or GiB, from 1 MiB to 65536 GiB",
        "how much one copy of everything may take in the NATS at nats_url; set it below its max_file_store",
    ),
    Setting(
        "shards",
        _number(1, 64),
        "a number from 1 to 64",
        "streams that events are spread over; what the first start on a NATS chose stays",
    ),
    Setting("replicas", _replicas, "1, 3 or 5", "copies that a NATS cluster keeps of everything"),
    Setting(
        "max_body_bytes",
        _size(KIB, MAX_BODY_BYTES),
        "bytes, or a number with KiB or MiB, from 1 KiB to 25 MiB",
        "the largest webhook body (default 25 MiB, GitHub's own limit and the most there can be)",
    ),
    Setting(
        "max_held_bytes",
        _size(64 * MIB, 64 * GIB),
        "bytes, or a number with MiB or GiB, from 64 MiB to 64 GiB",
        "webhook bodies in memory at one time; one source and one address may have half of it (default 256 MiB)",
    ),
    Setting(
        "max_source_bytes",
        _size(MIB, 65_536 * GIB),
        "bytes, or a number with KiB, MiB or GiB, from 1 MiB to 65536 GiB",
        "events of one source that may wait, and no more than twice what is free (default 4 GiB)",
    ),
    Setting(
        "max_unsigned_source_bytes",
        _size(MIB, 65_536 * GIB),
        "bytes, or a number with KiB, MiB or GiB, from 1 MiB to 65536 GiB",
        "the same of a source that verifies nothing, and no more than a quarter of what is free (default 256 MiB)",
    ),
    Setting(
        "max_profile_bytes",
        _size(MIB, 65_536 * GIB),
        "bytes, or a number with KiB, MiB or GiB, from 1 MiB to 65536 GiB",
        "events of one profile that may wait, and no more than three times what is free (default 8 GiB)",
    ),
    Setting(
        "spool",
        _switch,
        "on or off",
        "whether accepted webhooks are kept in <data_dir>/spool while NATS is away, and answered 202 (default off)",
    ),
    Setting(
        "spool_max_bytes",
        _size(MIB, 1024 * GIB),
        "bytes, or a number with KiB, MiB or GiB, from 1 MiB to 1024 GiB",
        "how much of the disk the spool may take (default 1 GiB)",
    ),
    Setting(
        "max_webhooks_per_second",
        _number(0, 1_000_000),
        "a number from 0 to 1000000, where 0 is no limit",
        "verified webhooks that a source may send each second for long; each server counts for itself (default 100)",
    ),
    Setting(
        "max_webhook_burst",
        _number(1, 1_000_000),
        "a number from 1 to 1000000",
        "verified webhooks that a source may send at once, after it sent none (default 1000)",
    ),
    Setting(
        "max_messages_per_minute",
        _number(0, 1_000_000),
        "a number from 0 to 1000000, where 0 is no limit",
        "messages, and orders for other sessions, of all sessions of a profile; each server counts for itself"
        " (default 20)",
    ),
    *(
        Setting(
            f"max_{what}",
            _number(0, 1_000_000),
            "a number from 0 to 1000000, where 0 is no limit",
            f"{what} that a profile may have (default {most})",
        )
        for what, most in (("crons", 1000), ("sources", 500), ("tokens", 200))
    ),
    Setting(
        "max_connections",
        _number(1, 1_000_000),
        "a number from 1 to 1000000",
        "open connections, sessions among them (default 2000)",
    ),
    Setting(
        "max_connections_per_address",
        _number(1, 1_000_000),
        "a number from 1 to 1000000",
        "open connections of one address; those of trusted_proxies have no such bound (default 500)",
    ),
    Setting(
        "trusted_proxies",
        _networks,
        "addresses or networks, separated by commas, as in 10.0.0.1,10.1.0.0/16",
        "proxies whose X-Forwarded-For and X-Forwarded-Proto are believed (default: nobody's)",
    ),
    Setting(
        "metrics_token",
        _metrics_token,
        f"at least {MIN_METRICS_TOKEN} characters of printable ASCII without spaces",
        "opens /metrics from anywhere (default: it is for this machine alone)",
        show=_hidden,
    ),
    Setting(
        "master_key",
        _key_text,
        "base64 of 32 bytes",
        "seals webhook secrets; further ones behind it, with commas between, open what they sealed (default: the first"
        " start makes <data_dir>/master.key)",
        show=_hidden,
    ),
    Setting("github_client_id", _text, "the client id of an OAuth app", "lets people log in with GitHub"),
    Setting("github_client_secret", _text, "that app's client secret", "goes with github_client_id", show=_hidden),
    Setting(
        "github_logins",
        _logins,
        "GitHub logins or numeric account ids, separated by commas",
        "who may log in with GitHub (default: nobody)",
    ),
    Setting(
        "github_url",
        _github_url,
        "an https:// URL, or http:// on this machine",
        "the GitHub where people log in: github.com, or an Enterprise Server's URL",
    ),
    Setting(
        "github_api_url",
        _github_url,
        "an https:// URL, or http:// on this machine",
        "that GitHub's API (default: follows from github_url)",
    ),
)

_SERVICE_LINK = re.compile(
    r"CLAWBACK_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)

log = logging.getLogger("clawback")

_BY_NAME = {setting.name: setting for setting in SETTINGS}


class _Reading(NamedTuple):
    """A setting's text and where it was read."""

    text: str
    origin: str


def load_settings(flags: Mapping[str, str | None], environment: Mapping[str, str]) -> ServerSettings:
    """
    Read the settings: `flags` by setting name (and `config`, the TOML file's path), None where not given.

    Raises:
        ConfigError: a setting is wrong, unknown, given twice or does not go with another.
    """
    _warn_of_unknown_variables(environment)
    readings = _read_environment(environment) | _read_flags(flags)
    path = _config_path(flags, environment, readings)
    if path is not None:
        readings = _read_file(path) | readings
    values = {name: _parse(_BY_NAME[name], reading) for name, reading in readings.items()}
    settings = ServerSettings(
        **values,
        trace_endpoint=find_trace_endpoint(environment),
        origins={name: reading.origin for name, reading in readings.items()},
    )
    _check_together(settings)
    return settings


def find_trace_endpoint(environment: Mapping[str, str]) -> str | None:
    """
    Say where OpenTelemetry's variables send traces, without what may be secret in the URL; None where they send none.

    Raises:
        ConfigError: it is no URL.
    """
    off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if off or environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return None
    name = next((name for name in TRACE_VARIABLES if environment.get(name)), None)
    if name is None:
        return None
    try:
        url = urlsplit(environment[name])
        host = _reachable(url.hostname or "") + (f":{url.port}" if url.port else "")
    except ValueError:
        url, host = urlsplit(""), ""
    if url.scheme not in ("http", "https") or not host:
        raise ConfigError(
            f"{name}: read '{_without_userinfo(environment[name])}'; accepted is the http:// or https:// URL of an"
            " OpenTelemetry collector, such as http://127.0.0.1:4318, or set OTEL_TRACES_EXPORTER=none"
        )
    return f"{url.scheme}://{host}"


def _parse(setting: Setting, reading: _Reading) -> Any:  # noqa: ANN401 - a setting's type is its parser's
    if not reading.text:
        raise ConfigError(
            f"{setting.name}: {reading.origin} is empty; give {setting.accepts}, or leave it out for the default"
        )
    try:
        return setting.parse(reading.text)
    except ValueError as error:
        found = (str(error) or setting.show(reading.text)) if setting.secret else f"'{setting.show(reading.text)}'"
        # `from None`: the text of a parser's own error may quote a value that `show` hides.
        raise ConfigError(
            f"{setting.name}: read {found} from {reading.origin}; accepted is {setting.accepts}"
        ) from None


def _read_flags(flags: Mapping[str, str | None]) -> dict[str, _Reading]:
    return {
        name: _Reading(text, "--" + name.replace("_", "-"))
        for name, text in flags.items()
        if text is not None and name in _BY_NAME
    }


def _read_environment(environment: Mapping[str, str]) -> dict[str, _Reading]:
    readings = {}
    for setting in SETTINGS:
        by_value, by_file = setting.variable, setting.variable + "_FILE"
        if by_value in environment and not is_service_link(by_value, environment[by_value]):
            readings[setting.name] = _Reading(environment[by_value], by_value)
        if setting.secret and by_file in environment:
            if setting.name in readings:
                raise ConfigError(f"{setting.name}: both {by_value} and {by_file} are set; unset one of them")
            readings[setting.name] = _read_secret(setting, environment[by_file], by_file)
    return readings


def _read_secret(setting: Setting, path: str, origin: str) -> _Reading:
    if not path:
        raise ConfigError(f"{setting.name}: {origin} is empty; name the file that holds it, or leave it out")
    return _Reading(read_private_file(Path(path).expanduser(), setting=origin), f"{origin} {path}")


def _config_path(
    flags: Mapping[str, str | None], environment: Mapping[str, str], readings: Mapping[str, _Reading]
) -> Path | None:
    """Find the TOML file: the named one, which must exist, else the one in the data directory, which may."""
    named = flags.get("config")
    if named is None:
        named = environment.get(CONFIG_FILE_VARIABLE)
    if named is not None:
        return Path(named).expanduser()
    found = readings.get("data_dir")
    data_dir = _parse(_BY_NAME["data_dir"], found) if found else ServerSettings().data_dir
    path: Path = data_dir / CONFIG_FILE_NAME
    return path if path.exists() else None


def _read_file(path: Path) -> dict[str, _Reading]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # a byte order mark is no mistake of who wrote it
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"config: cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"config: {path} is not TOML: {error}") from error
    readings = {}
    for key, value in table.items():
        origin = f"{path} line {_line_of(key, text)}"
        setting, by_file = _BY_NAME.get(key), _BY_NAME.get(key.removesuffix("_file"))
        if setting is None and (by_file is None or not by_file.secret):
            raise ConfigError(f"{key}: {origin} is no setting; {_nearest(key, _toml_keys())}")
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ConfigError(f'{key}: {origin} is neither text nor a number; write: {key} = "…"')
        if setting is None:
            assert by_file is not None, "the first check let only known keys through"
            if by_file.name in table:
                raise ConfigError(f"{by_file.name}: {path} has both {by_file.name} and {key}; remove one of them")
            readings[by_file.name] = _read_secret(by_file, str(value), f"{origin}, {key}")
        else:
            readings[key] = _Reading(str(value), origin)
            if setting.secret or "@" in str(value):
                read_private_file(path, setting=key)  # it holds a secret now, so it must be as private as one
    return readings


def _line_of(key: str, text: str) -> int:
    """Find the line of a key, or of the table that it names."""
    match = re.search(rf"""^[ \t]*\[*["']?{re.escape(key)}\b""", text, re.MULTILINE)
    return text.count("\n", 0, match.start()) + 1 if match else 1


def _warn_of_unknown_variables(environment: Mapping[str, str]) -> None:
    """Name the variables that look like ours and are not; others may have good reasons for theirs."""
    known = {setting.variable for setting in SETTINGS} | {s.variable + "_FILE" for s in SETTINGS if s.secret}
    known |= {CONFIG_FILE_VARIABLE} | PLUGIN_VARIABLES | RUN_VARIABLES
    for name, value in environment.items():
        if name.startswith(PREFIX) and name not in known and not is_service_link(name, value):
            log.warning("%s: this variable is no setting and has no effect; %s", name, _nearest(name, known))


def is_service_link(name: str, value: str) -> bool:
    """
    Tell whether Kubernetes set a variable for one of its Services, which may be named `clawback` or `clawback-…`.

    Their names are fixed: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables.
    """
    return bool(_SERVICE_LINK.fullmatch(name)) or (
        name.endswith("_PORT") and bool(re.fullmatch(r"(tcp|udp|sctp)://[0-9A-Fa-f.:\[\]]+", value))
    )


def _toml_keys() -> set[str]:
    return set(_BY_NAME) | {setting.name + "_file" for setting in SETTINGS if setting.secret}


def _nearest(name: str, known: set[str]) -> str:
    (nearest,) = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0)
    return f"the nearest is {nearest}"


def _check_together(settings: ServerSettings) -> None:
    """Refuse settings that are right alone and wrong together."""
    _check_github(settings)
    if settings.nats_url is None:
        for name, given in (
            ("nats_user", settings.nats_user is not None),
            ("nats_password", settings.nats_password is not None),
            ("nats_max_bytes", settings.nats_max_bytes is not None),
            ("replicas", settings.replicas > 1),
        ):
            if given:
                raise ConfigError(
                    f"{name}: read from {settings.origins[name]}, but nats_url is unset and the server's own NATS has"
                    f" no use for it; set nats_url, or leave {name} out"
                )
        return
    if (settings.nats_user is None) != (settings.nats_password is None):
        missing = "nats_user" if settings.nats_user is None else "nats_password"
        raise ConfigError(f"{missing}: unset, and the other half of the login is set; give both, or neither")
    if settings.nats_user is not None and "@" in settings.nats_url:
        raise ConfigError(
            f"nats_user: read from {settings.origins['nats_user']}, and nats_url holds a login too; keep one of them"
        )


def _check_github(settings: ServerSettings) -> None:
    given = {name for name in settings.origins if name.startswith("github_")}
    for name in ("github_client_id", "github_client_secret"):
        if given and name not in given:
            one = min(given)
            raise ConfigError(
                f"{name}: unset, but {one} was read from {settings.origins[one]}; a login with GitHub needs both halves"
                " of an OAuth app, or leave out every github_ setting"
            )
