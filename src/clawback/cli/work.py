"""`clawback work`: a command for each event, where no session is open."""

import click

from clawback.cli.base import command, want_unix


@command(
    "work",
    help="Run a command for each event of a tag, one at a time, until Ctrl-C. No shell is between.",
    example="clawback work --tag ci -- claude -p",
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS] --",
)
@click.option("--tag", help="Whose events (default: CLAWBACK_SESSION, else those without a tag).")
@click.option("--timeout", type=int, default=1800, metavar="SECONDS", help="For one run (default: 1800).")
@click.argument("words", nargs=-1, metavar="COMMAND …", type=click.UNPROCESSED)
def work(*, tag: str | None, timeout: int, words: tuple[str, ...]) -> int:
    """Take events and run the command for each."""
    want_unix("work")
    import asyncio
    import os

    from clawback.commands.log import configure_log
    from clawback.commands.work import work as run_worker

    configure_log()
    return asyncio.run(run_worker(os.environ.get("CLAWBACK_SESSION") if tag is None else tag, list(words), timeout))
