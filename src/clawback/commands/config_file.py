"""
The file of `clawback apply`: YAML that becomes plain values, each with its line, and secrets that it only names.

What YAML reads in surprising ways is not: a time is text, and only `true` and `false` are yes and no. A key that comes
twice is a mistake, and so is a secret that stands in the file itself.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from clawback.commands.terminal import printable
from clawback.errors import ConfigError
from clawback.operations.config import Config, ConfigCron, ConfigSource
from clawback.system.private_files import read_private_file

MAX_BYTES = 1024 * 1024

SECRET = re.compile(r"(env|file):(.+)", re.DOTALL)

KINDS: dict[str, type[ConfigSource | ConfigCron]] = {"sources": ConfigSource, "crons": ConfigCron}

Lines = dict[tuple[str, ...], int]


class _Loader(yaml.SafeLoader):  # type: ignore[misc] # PyYAML has no types
    """JSON's scalars, in YAML's clothes."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 -- PyYAML's own way


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile("(?:0|-?[1-9][0-9]*)$"), list("-0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("(?:~|null|)$"), ["~", "n", ""])


class ConfigFile(Struct, frozen=True):
    """What a file says: the body of `PUT /config`, and where each part of it stands."""

    path: Path
    content: dict[str, Any]
    lines: Lines

    def place(self, *keys: str) -> str:
        """Name the line of a key, or of what it is in."""
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return f"{self.path}:{self.lines.get(keys, 1)}"

    def blame(self, message: str) -> str:
        """Put the line before a refusal that begins with a place such as `sources.demo: `."""
        for kind in KINDS:
            for name, entry in (self.content.get(kind) or {}).items():
                if message.startswith(start := f"{kind}.{name}: "):
                    said = message.removeprefix(start)
                    named = [key for key in entry if re.search(rf"\b{re.escape(_words(key))}\b", _words(said))]
                    first = sorted(named, key=lambda key: _words(said).index(_words(key)))[:1]
                    return f"{self.place(kind, name, *first)}: {kind}.{name}: {said}"
        return f"{self.path}: {message}"


def _words(text: str) -> str:
    """Write fields and sentences alike: `the route of` is about `routes`, `verifier type` about `type`."""
    return text.lower().replace("route ", "routes ")


def read_config_file(path: Path, environment: Mapping[str, str] = os.environ) -> ConfigFile:
    """
    Read a file, and the secrets that it names.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong; names the line.
    """
    try:
        text = Path("/dev/stdin").read_text() if str(path) == "-" else path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no UTF-8'}") from error
    file = parse_config(path, text)
    for name, entry in (file.content.get("sources") or {}).items():
        if "secret" in entry:
            place = file.place("sources", name, "secret")
            entry["secret"] = _find_secret(entry["secret"], path.parent, environment, place)
    return file


def parse_config(path: Path, text: str) -> ConfigFile:
    """
    Parse a file; secrets stay the names that they are.

    Raises:
        ConfigError: something in it is wrong; names the line.
    """
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES} bytes, so it is no configuration")
    loader = _Loader(text)
    lines: Lines = {}
    try:
        node = loader.get_single_node()
        content = {} if node is None else _read(loader, node, path, lines, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{path}:{mark.line + 1 if mark else 1}: this is no YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: this is no YAML: {printable(str(error))}") from None
    except RecursionError:
        raise ConfigError(f"{path}: it is nested too deeply to be a configuration") from None
    file = ConfigFile(path, content if isinstance(content, dict) else {}, lines)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}:1: accepted is a map with `sources` and `crons`")
    for key in content:
        if key not in KINDS:
            raise ConfigError(f"{file.place(key)}: read {key[:80]!a}: accepted are sources and crons")
    for kind, shape in KINDS.items():
        _check_kind(file, kind, shape)
    return file


def _check_kind(file: ConfigFile, kind: str, shape: type[ConfigSource | ConfigCron]) -> None:
    entries = file.content.get(kind)
    if entries is None:
        file.content.pop(kind, None)
        return
    if not isinstance(entries, dict):
        raise ConfigError(f"{file.place(kind)}: {kind} is a map from a name to an entry")
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise ConfigError(f"{file.place(kind, name)}: {kind}.{name} is a map of fields")
        try:
            msgspec.convert(entry, shape)
        except msgspec.ValidationError as error:
            wrong = re.search(r"`\$\.([^`\[]+)", str(error)) or re.search(r"unknown field `([^`]+)`", str(error))
            keys = wrong[1].split(".") if wrong else []
            raise ConfigError(f"{file.place(kind, name, *keys)}: {kind}.{name}: {error}") from None
        secret = entry.get("secret")
        if secret is not None and not SECRET.fullmatch(secret):
            raise ConfigError(
                f"{file.place(kind, name, 'secret')}: {kind}.{name}: a secret does not stand in this file: name the"
                " variable or the file that has it, env:NAME or file:PATH"
            )


def _read(loader: yaml.SafeLoader, node: yaml.Node, path: Path, lines: Lines, place: tuple[str, ...]) -> Any:  # noqa: ANN401 -- as YAML has it
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_read(loader, each, path, lines, (*place, str(number))) for number, each in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node, deep=True)
    loader.flatten_mapping(node)
    read: dict[str, Any] = {}
    for key_node, value in node.value:
        key = str(key_node.value)
        line = key_node.start_mark.line + 1
        if key in read:
            raise ConfigError(f"{path}:{line}: {key[:80]!a} comes twice: give it once")
        lines[*place, key] = line
        read[key] = _read(loader, value, path, lines, (*place, key))
    return read


def _find_secret(named: str, folder: Path, environment: Mapping[str, str], place: str) -> str:
    found = SECRET.fullmatch(named)
    assert found is not None, "it was parsed"
    kind, name = found.groups()
    if kind == "env":
        if not (value := environment.get(name, "").strip()):
            raise ConfigError(f"{place}: the variable {name[:80]} is not set, or empty: it is to hold the secret")
        return value
    return read_private_file(folder / Path(name).expanduser(), setting=place)


HEADER = """\
# Sources and crons of a Clawback profile, for `clawback apply`. Secrets are not in it: a source that is made anew gets
# one from `secret: env:NAME` or `secret: file:PATH`, else the server makes it and shows it once.
"""


def write_config_file(content: Mapping[str, Any]) -> str:
    """Write what `GET /config` answers as a file."""
    written = yaml.safe_dump(
        {kind: content[kind] for kind in KINDS}, sort_keys=False, allow_unicode=True, width=100
    )  # fmt: skip
    return HEADER + str(written)


def build_schema() -> dict[str, Any]:
    """Build the JSON schema by which editors complete and check the file."""
    schema = msgspec.json.schema(Config)
    entries: dict[str, Any] = schema["$defs"]["ConfigSource"]["properties"]
    entries["secret"] = {"type": "string", "pattern": "^(env|file):.+", "description": "env:NAME or file:PATH"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "clawback.yaml", **schema}
