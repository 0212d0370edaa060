"""What Claude Code starts: the channel, hooks and the monitor. `__main__` goes past these for speed."""

import click

from clawback.cli.base import command


@command("channel", help="The MCP server that Claude Code starts; not for people.")
def channel() -> int:
    """Serve Claude Code over stdin and stdout."""
    from clawback.channel.server import main as run_channel

    run_channel()
    return 0


@command("hook", help="What the plugin's hooks run; not for people. NAME is such as Stop; the rest comes on stdin.")
@click.argument("name", metavar="NAME")
def hook(*, name: str) -> int:
    """Do what one hook does."""
    from clawback.channel.claude import hook as hooks

    return hooks.main(name)


@command("monitor", help="What the plugin's monitor runs; not for people.")
def monitor() -> int:
    """Wait for events, and print them."""
    from clawback.channel.claude import monitor as monitors

    return monitors.main()
