"""`clawback open`: the page, with no token to type."""

import click

from clawback.cli.asking import server
from clawback.cli.base import announce, as_json, command, print_json


@command(
    "open",
    help="Open the server's page in the browser, logged in by a link that works once.",
    example="clawback open",
)
@click.option("--print", "printing", is_flag=True, help="Only print the link; it is good for 2 minutes.")
@as_json
def open_(*, printing: bool, as_json: bool) -> int:
    """Get a link, and have the browser open it."""
    from clawback.commands.browser_login import open_in_browser

    with server() as rest:
        made = rest.page_link()
    if as_json:
        print_json(made)
        return 0
    announce(made["url"])
    if not printing:
        open_in_browser(made["url"])
    return 0
