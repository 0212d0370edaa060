"""
`clawback install`: put the plugin into Claude Code, through Claude Code's own `claude` command.

Each step looks first, so a second run changes nothing. What Claude Code keeps (marketplaces, plugins) only `claude`
writes; ours is one link, by which the plugin's folder, which Claude Code may copy anywhere, finds this very program.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

import clawback
from clawback.channel.settings import claude_directory, config_path
from clawback.errors import ConfigError, Unavailable

PLUGIN = "clawback@clawback"
"""The plugin at its marketplace; both are named in .claude-plugin/marketplace.json."""

OLDEST_CLAUDE = (2, 1, 128)
"""The first with channels for every kind of sign-in, and with all of `claude plugin` that is used here."""

COMMAND_SECONDS = 120.0
"""For one `claude plugin …`: a few seconds, but a first start on a slow disk reads 380 MB."""


class Step(Struct, frozen=True):
    """One thing to do: `does` says what it changes; without `carry_out` it is done already, as `does` says."""

    does: str
    carry_out: Callable[[], object] | None = None


def install(program: Path, say: Callable[[str], None], *, dry_run: bool) -> None:
    """
    Install the plugin for this user, and say what was changed and what is left to do.

    `program` is the `clawback` that Claude Code is to start. With `dry_run` nothing is changed.

    Raises:
        ConfigError: there is no `claude`, it is too old, `program` cannot be started, or there is no plugin folder.
        Unavailable: `claude` fails at a step; the text has what it said. Steps before it stay done.
    """
    if not os.access(program, os.X_OK):
        raise ConfigError(f"{program} is no program that Claude Code can start: run this as the installed `clawback`")
    claude = find_claude()
    for step in _steps(claude, program):
        if step.carry_out is None:
            say(f"unchanged: {step.does}")
        elif dry_run:
            say(f"would do: {step.does}")
        else:
            step.carry_out()
            say(f"done: {step.does}")
    say(_next_steps())


def find_claude() -> str:
    """
    Find Claude Code's command and check its version.

    Raises:
        ConfigError: it is not on the PATH, does not say its version, or is too old.
    """
    claude = shutil.which("claude")
    if claude is None:
        raise ConfigError(
            "Claude Code is not installed, or `claude` is not on the PATH: see https://code.claude.com/docs for how to"
            " install it, then run this again"
        )
    said = _run([claude, "--version"])
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    oldest = ".".join(map(str, OLDEST_CLAUDE))
    if found is None:
        raise ConfigError(f"{claude} --version reads {said.strip()[:80]!r}: Claude Code {oldest} or newer is needed")
    if tuple(map(int, found.groups())) < OLDEST_CLAUDE:
        raise ConfigError(
            f"{claude} is Claude Code {found[0]}, which is too old: run `claude update` for {oldest} or newer"
        )
    return claude


def find_marketplace() -> Path:
    """
    Find the folder with the plugin: within the installed package, else the clone that this is run from.

    Raises:
        ConfigError: there is none.
    """
    package = Path(clawback.__file__).resolve().parent
    for folder in (package / "marketplace", package.parent.parent):
        if (folder / ".claude-plugin/marketplace.json").is_file():
            return folder
    raise ConfigError(f"{package} comes without its plugin folder: install Clawback from its wheel or from a clone")


def _steps(claude: str, program: Path) -> Iterator[Step]:
    """Say what is to be done, each step after the one before was carried out."""
    link = claude_directory() / "channels/clawback/bin/clawback"
    if link.is_symlink() and link.readlink() == program:
        yield Step(f"{link} leads to {program}")
    else:
        yield Step(f"link {link} to {program}", lambda: _link(link, program))

    folder = find_marketplace()
    listed = {market["name"]: market for market in _ask(claude, "plugin", "marketplace", "list")}
    if listed.get("clawback", {}).get("path") == str(folder):
        yield Step(f"Claude Code knows the marketplace clawback at {folder}")
    else:
        arguments = ["plugin", "marketplace", "add", str(folder)]
        yield Step(f"claude {' '.join(arguments)}", lambda: _run([claude, *arguments]))

    installed = next((each for each in _ask(claude, "plugin", "list") if each["id"] == PLUGIN), None)
    if installed is None:
        yield Step(f"claude plugin install {PLUGIN}", lambda: _run([claude, "plugin", "install", PLUGIN]))
    elif not installed["enabled"]:
        yield Step(f"claude plugin enable {PLUGIN}", lambda: _run([claude, "plugin", "enable", PLUGIN]))
    elif installed["version"] != clawback.__version__:
        yield Step(f"claude plugin update {PLUGIN}", lambda: _run([claude, "plugin", "update", PLUGIN]))
    else:
        yield Step(f"Claude Code has the plugin {PLUGIN} {installed['version']}")


def _next_steps() -> str:
    login = (
        ""
        if config_path().exists()
        else "Save a token first: clawback token create | clawback login --token-stdin (there is no config yet).\n"
    )
    return (
        f"{login}Start a session that gets events: claude --dangerously-load-development-channels plugin:{PLUGIN}\n"
        f"To undo all this: claude plugin uninstall {PLUGIN}; claude plugin marketplace remove clawback"
    )


def _link(link: Path, program: Path) -> None:
    try:
        link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made beside it and moved over it: a session that starts meanwhile finds the old one or the new one.
        draft = link.with_name(".clawback.new")
        draft.unlink(missing_ok=True)
        draft.symlink_to(program)
        draft.replace(link)
    except OSError as error:
        raise ConfigError(f"{link} cannot be made: {error.strerror}") from error


def _ask(claude: str, *arguments: str) -> list[dict[str, Any]]:
    said = _run([claude, *arguments, "--json"])
    try:
        answer = json.loads(said)
    except ValueError as error:
        raise Unavailable(f"claude {' '.join(arguments)} --json answered no JSON: {said.strip()[:200]!r}") from error
    return answer if isinstance(answer, list) else []


def _run(command: list[str]) -> str:
    try:
        ran = subprocess.run(  # noqa: S603 -- Claude Code's own command, with arguments that are fixed or paths of ours
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{' '.join(command)} cannot be run: {error}") from error
    if ran.returncode != 0:
        said = (ran.stderr or ran.stdout).strip()[-500:]
        raise Unavailable(f"{' '.join(command)} failed with {ran.returncode}: {said}")
    return ran.stdout
