"""`clawback session`: who is connected, and messages to them."""

from typing import TYPE_CHECKING

import click

from clawback.cli.asking import server, watch_option
from clawback.cli.base import Group, as_json, print_json, say

if TYPE_CHECKING:
    from rich.console import RenderableType

    from clawback.commands.rest import Rest

session = Group("session", help="Who is connected, and messages to them.")


@session.command("list", help="List the connected sessions.", example="clawback session list --watch")
@watch_option
@as_json
def list_all(*, watching: bool, as_json: bool) -> int:
    """Print a line for each connection."""
    with server() as rest:
        if as_json:
            print_json(rest.get("/sessions")["items"])
            return 0
        from clawback.cli.show import show, watch

        if watching:
            watch(lambda: _table(rest))
        if not rest.get("/sessions")["items"]:
            say("No session is connected.")
            return 0
        show(_table(rest))
    return 0


def _table(rest: "Rest") -> "RenderableType":
    from clawback.cli.show import age, table, tag

    rows = [
        (tag(each["sessionTag"]), each["role"], age(each["connectedAt"])) for each in rest.get("/sessions")["items"]
    ]
    return table(("session", "role", "connected for"), rows)


@session.command(
    "send",
    help="Send a message to the session of a TAG; (untagged) is one, and * is every connected one.",
    example="clawback session send reviewer 'Please look at shop#7 again'",
)
@click.argument("tag")
@click.argument("text")
@click.option("--priority", metavar="normal|priority|interrupt", help="How it is delivered (default: normal).")
@as_json
def send(*, tag: str, text: str, priority: str | None, as_json: bool) -> int:
    """Send it; where the session is offline, it waits there."""
    body = {"targets": [tag], "content": text} | ({} if priority is None else {"priority": priority})
    with server() as rest:
        answer = rest.post("/messages", body)
    if as_json:
        print_json(answer)
        return 0
    if answer["sent"]:
        say(f"Sent to {answer['sent']} connected {'session' if answer['sent'] == 1 else 'sessions'}.")
    if answer["queued"]:
        say("It waits until the session connects." if answer["queued"] == 1 else "It waits until they connect.")
    for unknown in answer.get("unknown", ()):
        near = answer.get("nearest", {}).get(unknown)
        hint = f"; did you mean {near}?" if near else ""
        say(f"Nothing ever used the tag {unknown[:80]!a}: the message waits there{hint}")
    return 0
