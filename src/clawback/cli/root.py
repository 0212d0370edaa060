"""The program itself: which module has which command, and what becomes of a wrong call."""

from collections.abc import Sequence

import click

from clawback.build import describe
from clawback.cli import EXIT_INTERRUPTED
from clawback.cli.base import Group, leave_stdout, say

COMPLETE_VARIABLE = "_CLAWBACK_COMPLETE"
"""What a shell's completion asks by; Click reads it."""

MODULES = {
    "status": "status",
    "open": "open_page",
    "source": "source",
    "cron": "cron",
    "event": "event",
    "session": "session",
    "export": "config",
    "apply": "config",
    "serve": "server",
    "token": "token",
    "keys": "keys",
    "login": "person",
    "install": "person",
    "doctor": "person",
    "work": "work",
    "tail": "tail",
    "trigger": "trigger",
    "nats-env": "server",
    "completion": "completion",
    "channel": "claude",
    "hook": "claude",
    "monitor": "claude",
}
"""Every command or noun, and its module here; `--help` lists them in this order."""


class Root(Group):
    """The program: it ends quietly at Ctrl-C, where Click would print an empty line."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED


clawback = Root(
    "clawback", help="Every event reaches the right Claude Code session, one at a time, acknowledged.", lazy=MODULES
)
click.version_option(describe(), prog_name="clawback", message="%(prog)s %(version)s")(clawback)


def run(arguments: Sequence[str]) -> int:
    """
    Run a command and return its exit code; a wrong call says what is accepted.

    Raises:
        ClawbackError: what the command raises.
    """
    try:
        code = clawback.main(
            list(arguments), prog_name="clawback", complete_var=COMPLETE_VARIABLE, standalone_mode=False
        )
    except click.exceptions.NoArgsIsHelpError as error:
        say(error.format_message())
        return error.exit_code
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else "clawback"
        say(f"clawback: {error.format_message().rstrip('.')}; `{path} --help` shows what is accepted")
        return error.exit_code
    except click.Abort:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read it has enough, as after `| head`.
        leave_stdout()
        return 0
    return code if isinstance(code, int) else 0
