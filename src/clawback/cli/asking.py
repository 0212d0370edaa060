"""What commands over the API share: the connection, how values are given, and how a thing is found by its name."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clawback.cli.base import read_line
from clawback.errors import ConfigError, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clawback.commands.rest import Rest

watch_option = click.option("--watch", "watching", is_flag=True, help="Show it anew as it changes, until Ctrl-C.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Do it without asking.")


@contextmanager
def server() -> "Iterator[Rest]":
    """Open the API of the server that the plugin's config names."""
    from clawback.commands.rest import Rest, find_config

    with Rest(find_config()) as rest:
        yield rest


def find(things: Iterable[dict[str, Any]], name: str, kind: str, by: str) -> dict[str, Any]:
    """
    Find a thing by its id, or by its slug or label where that is one thing's alone.

    Raises:
        NotFound: there is none, or several.
    """
    known = list(things)
    for thing in known:
        if thing["id"] == name:
            return thing
    found = [thing for thing in known if thing.get(by) == name]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(thing["id"] for thing in found)
        raise NotFound(f"{len(found)} {kind}s have the {by} {name[:80]!a}: name one by its id: {ids}")
    raise NotFound(f"there is no {kind} {name[:80]!a}; `clawback {kind} list` shows those there are")


def pairs(given: Sequence[str], option: str, example: str) -> dict[str, str]:
    """
    Read `NAME=VALUE`, each given by itself.

    Raises:
        ConfigError: one has no `=`, or a name comes twice.
    """
    read: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise ConfigError(f"{option}: read {each[:80]!a}; accepted is NAME=VALUE, such as {example}")
        if name in read:
            raise ConfigError(f"{option}: {name[:80]!a} comes twice; give it once")
        read[name] = value
    return read


def json_or_text(value: str) -> Any:
    """Read an object as JSON, and everything else as the text that it is."""
    return read_json(value, "the object") if value.lstrip().startswith("{") else value


def read_json(value: str, where: str) -> Any:
    """
    Read JSON.

    Raises:
        ConfigError: it is none; says where it stops being so.
    """
    try:
        return json.loads(value)
    except ValueError as error:
        raise ConfigError(f"{where} is no JSON: {error}") from None


def read_fields(given: Sequence[str]) -> dict[str, Any]:
    """Read `--set FIELD=JSON`; what is no JSON is text, so that words need no quotes of their own."""
    fields = {}
    for name, value in pairs(given, "--set", "priority=interrupt").items():
        looks_like_json = re.match(r'\s*([\[{"]|-?\d|true\b|false\b|null\b)', value)
        fields[name] = read_json(value, f"--set {name}") if looks_like_json else value
    return fields


def confirm(question: str, *, yes: bool) -> bool:
    """
    Ask before what cannot be taken back.

    Raises:
        ConfigError: nobody is there to ask, and `--yes` was not given.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigError(f"{question} Nobody is here to answer: give --yes to do it")
    return click.confirm(question, err=True)


def read_secret() -> str:
    """
    Read a secret from stdin.

    Raises:
        ConfigError: none came.
    """
    secret = read_line("Secret: ")
    if not secret:
        raise ConfigError("no secret came on standard input, and nothing was changed")
    return secret


def keep_secret(path: Path, secret: str) -> None:
    """
    Write a secret to a new file that is its owner's alone.

    Raises:
        ConfigError: the file is there already, or cannot be written.
    """
    from clawback.system.private_files import create_private_file

    try:
        made = create_private_file(path, secret + "\n")
    except OSError as error:
        raise ConfigError(f"--secret-file: {path} cannot be written: {error.strerror}") from error
    if not made:
        raise ConfigError(f"--secret-file: {path} is there already; name a new file")


def check_new_file(path: Path | None) -> None:
    """
    Check, before a secret is made, that it could be written.

    Raises:
        ConfigError: something has that name, or its folder is none.
    """
    if path is None:
        return
    if path.exists():
        raise ConfigError(f"--secret-file: {path} is there already; name a new file, for the secret that is made")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--secret-file: there is no folder {path.absolute().parent}")


def is_person() -> bool:
    """Tell whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()
