"""`clawback tail`: what happens, as it happens."""

import sys

import click

from clawback.cli.base import announce, command


@command(
    "tail",
    help="Show what happens to the events of a profile, as it happens, until Ctrl-C.",
    example="clawback tail --tag ci",
)
@click.option("--tag", help="Only events and sessions of this tag; (untagged) for those without.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
def tail(*, tag: str | None, as_json: bool) -> int:
    """Print a line for each record of the feed."""
    import asyncio
    import os

    from clawback.commands.log import configure_log
    from clawback.commands.tail import tail as follow

    configure_log()
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    asyncio.run(follow(tag, as_json=as_json, colour=colour, write=announce))
    return 0
