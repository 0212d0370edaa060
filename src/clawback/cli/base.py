"""How commands are declared: groups, `--help` with an example, and the options that several of them share."""

import functools
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clawback.errors import ConfigError

if TYPE_CHECKING:
    from clawback.settings import ServerSettings

Function = TypeVar("Function", bound=Callable[..., Any])

HELP = {"help_option_names": ["-h", "--help"]}


class Command(click.Command):
    """A command that shows an example below its options."""

    def __init__(self, *arguments: Any, example: str = "", **options: Any) -> None:
        options["context_settings"] = HELP | options.get("context_settings", {})
        super().__init__(*arguments, **options)
        self.example = example

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the first line in lower case, as most programs do."""
        formatter.write_usage(ctx.command_path, " ".join(self.collect_usage_pieces(ctx)), prefix="usage: ")

    def get_short_help_str(self, limit: int = 200) -> str:
        """Say the whole sentence in the list of commands; it goes on in the next line where it is long."""
        return super().get_short_help_str(max(limit, 200))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example, line by line as it is typed."""
        super().format_epilog(ctx, formatter)
        if self.example:
            with formatter.section("Example"):
                for line in self.example.splitlines():
                    formatter.write(f"  {line}\n")


class Group(click.Group):
    """A noun: the commands below it are declared with it, or loaded from their module when they are called."""

    command_class = Command

    def __init__(self, *arguments: Any, lazy: Mapping[str, str] | None = None, **options: Any) -> None:
        options["context_settings"] = HELP | options.get("context_settings", {})
        options |= {"subcommand_metavar": "COMMAND …", "no_args_is_help": True}
        super().__init__(*arguments, **options)
        self._lazy = lazy or {}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- Click's shape
        """Name the commands, in the order in which they were declared."""
        return [*self._lazy, *self.commands] if self._lazy else list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command, in its module where it is not loaded yet."""
        if cmd_name in self._lazy:
            module = import_module(f"clawback.cli.{self._lazy[cmd_name]}")
            name = cmd_name.replace("-", "_")
            found = getattr(module, name, None) or getattr(module, f"{name}_", None)
            assert isinstance(found, click.Command), "each module has a command of the name in the table"
            return found
        return super().get_command(ctx, cmd_name)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the first line in lower case, as most programs do."""
        formatter.write_usage(ctx.command_path, " ".join(self.collect_usage_pieces(ctx)), prefix="usage: ")


def command(*arguments: Any, **options: Any) -> Callable[[Callable[..., Any]], Command]:
    """Declare a command that is below no noun."""
    return click.command(*arguments, cls=Command, **options)


# --- options ------------------------------------------------------------------------------------------------------

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def takes_settings(*names: str) -> Callable[[Function], Function]:
    """
    Give a command of the server's machine the flags of these settings, and `--config`.

    It is called with `flags`: what was given, by the setting's name, for `load_settings`.
    """

    def decorate(function: Function) -> Function:
        from clawback.settings import CONFIG_FILE_NAME, SETTINGS

        @functools.wraps(function)
        def call(**given: Any) -> Any:
            flags = {name: value for name in (*names, "config") if isinstance(value := given.pop(name), str)}
            return function(flags=flags, **given)

        added: Any = click.option(
            "--config", metavar="FILE", help=f"Settings as TOML (default: {CONFIG_FILE_NAME} in the data directory)."
        )(call)
        for setting in reversed([setting for setting in SETTINGS if setting.name in names]):
            flag = "--" + setting.name.replace("_", "-")
            added = click.option(flag, setting.name, metavar=setting.name.upper(), help=_sentence(setting.help))(added)
        decorated: Function = added
        return decorated

    return decorate


def load_settings(flags: dict[str, str]) -> "ServerSettings":
    """Read the server's settings, as `clawback serve` with these flags does."""
    import os

    from clawback.settings import load_settings as load

    return load(flags, os.environ)


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def want_unix(name: str) -> None:
    """
    Say at once that a command does not run here: those that keep other processes need what only Unix has.

    Raises:
        ConfigError: this is Windows, or as poor.
    """
    try:
        import fcntl  # noqa: F401 -- asked for, not used
        import resource  # noqa: F401 -- the same
    except ImportError:
        raise ConfigError(
            f"`clawback {name}` wants Linux or macOS; on Windows run it in WSL or in a container. The plugin and the"
            " other commands (login, install, doctor, tail, trigger) run here"
        ) from None


# --- words to the person ------------------------------------------------------------------------------------------


def program() -> Path:
    """Find this very program, to print commands that can be pasted anywhere."""
    return Path(sys.argv[0]).absolute()


def announce(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def say(text: str) -> None:
    """Tell the person; stdout is for what a script reads."""
    print(text, file=sys.stderr)


def print_json(value: object) -> None:
    """Print a value for a script, on one line."""
    from clawback.model import encode_json

    print(encode_json(value).decode())


def read_line(prompt: str) -> str:
    """Read a token or secret from stdin, without an echo where a person types it."""
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass(prompt).strip()
    return sys.stdin.readline().strip()


def leave_stdout() -> None:
    """Forget a pipe that nobody reads: Python would complain once more when it flushes at its end."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
