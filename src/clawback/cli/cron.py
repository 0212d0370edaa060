"""`clawback cron`: prompts that become events at the times of a schedule."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from clawback.cli import EXIT_FAILED
from clawback.cli.asking import confirm, find, server, watch_option, yes_option
from clawback.cli.base import Function, Group, as_json, print_json, say
from clawback.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from clawback.commands.rest import Rest

cron = Group("cron", help="Prompts on a schedule: make, list, change, pause, run and delete them.")

_FIELDS: tuple[Callable[[Any], Any], ...] = (
    click.option("--label", help="What you call it."),
    click.option("--tag", "--session", "session_tag", metavar="TAG", help="Whose session (default: untagged)."),
    click.option("--tz", "timezone", metavar="ZONE", help="An IANA name, such as Europe/Berlin (default: profile's)."),
    click.option("--priority", metavar="normal|priority|interrupt", help="How it is delivered (default: normal)."),
    click.option("--missed", metavar="skip|latest|all", help="What becomes of runs that were missed."),
    click.option("--overlap", metavar="skip|queue", help="What becomes of a run while the one before waits."),
    click.option("--jitter", "jitter_seconds", type=int, metavar="SECONDS", help="How much later it runs at most."),
)

_NAMES = {
    "label": "label",
    "session_tag": "sessionTag",
    "timezone": "timezone",
    "priority": "priority",
    "missed": "missed",
    "overlap": "overlap",
    "jitter_seconds": "jitterSeconds",
    "schedule": "schedule",
    "once": "once",
    "prompt": "prompt",
}


def _takes_fields(function: Function) -> Function:
    for option in reversed(_FIELDS):
        function = option(function)
    return function


def _read(given: dict[str, Any]) -> dict[str, Any]:
    return {field: given[name] for name, field in _NAMES.items() if given.get(name) is not None}


@cron.command(
    "create",
    help="Make a cron: when it runs (five fields, or @daily and the like), and what the session is to do.",
    example="clawback cron create '0 9 * * MON-FRI' 'Summarise the open issues' --tz Europe/Berlin",
)
@click.argument("schedule", metavar="'EXPR'")
@click.argument("prompt")
@click.option("--once", is_flag=True, help="EXPR is one time, such as 2027-01-31T09:00.")
@_takes_fields
@as_json
def create(*, schedule: str, prompt: str, once: bool, as_json: bool, **given: Any) -> int:
    """Make it, and show when it runs."""
    body = _read(given) | {"once" if once else "schedule": schedule, "prompt": prompt}
    with server() as rest:
        made = rest.post("/crons", body)
    return _tell(made, "Made", as_json=as_json)


def _tell(found: dict[str, Any], verb: str, *, as_json: bool) -> int:
    if as_json:
        print_json(found)
        return 0
    from clawback.cli.show import show, text

    name = found.get("label") or found["id"]
    show(text(f"{verb} {name}{'' if name == found['id'] else ', ' + found['id']}"))
    if found.get("paused"):
        show(text("It is paused: clawback cron resume " + found["id"]))
    for number, run in enumerate(found.get("nextRuns", ())):
        show(text(f"{'Runs at ' if not number else '        '}{run}"))
    return 0


@cron.command("list", help="List the crons.", example="clawback cron list --watch")
@watch_option
@as_json
def list_all(*, watching: bool, as_json: bool) -> int:
    """Print a line for each cron."""
    with server() as rest:
        if as_json:
            print_json(rest.get("/crons")["items"])
            return 0
        from clawback.cli.show import show, watch

        if watching:
            watch(lambda: _table(rest.get("/crons")["items"]))
        items = rest.get("/crons")["items"]
        if not items:
            say("There are no crons. Make one: clawback cron create '0 9 * * *' 'Summarise the open issues'")
            return 0
        show(_table(items))
    return 0


def _table(items: list[dict[str, Any]]) -> "RenderableType":
    from clawback.cli.show import age, first_line, table, tag

    rows = [
        (each.get("label") or first_line(each.get("prompt"), 20), each.get("schedule") or each.get("once"),
         tag(each.get("sessionTag")), _state(each) or age(each.get("nextRunAt")), each["id"])
        for each in items
    ]  # fmt: skip
    return table(("cron", "schedule", "session", "next", "id"), rows, whole=("next", "id"))


def _state(each: dict[str, Any]) -> str:
    return "disabled" if each.get("disabled") else "paused" if each.get("paused") else ""


@cron.command("show", help="Show a cron, by its label or id.", example="clawback cron show morning")
@click.argument("name", metavar="CRON")
@as_json
def show_one(*, name: str, as_json: bool) -> int:
    """Print everything that is known of a cron."""
    with server() as rest:
        found = _find(rest, name)
    if as_json:
        print_json(found)
        return 0
    from clawback.cli.show import facts, moment, show, tag

    named = ("schedule", "once", "timezone", "prompt", "priority", "missed", "overlap", "jitterSeconds", "setBy")
    show(
        facts([
            ("cron", found.get("label")),
            ("id", found["id"]),
            ("session", tag(found.get("sessionTag"))),
            ("state", f"{_state(found) or 'on'}{': ' + found['reason'] if 'reason' in found else ''}"),
            *((name, found.get(name)) for name in named),
            ("last run", moment(found.get("lastRunAt"))),
            *(("next run", run) for run in found.get("nextRuns", ())),
        ])
    )  # fmt: skip
    return 0


def _find(rest: "Rest", name: str) -> dict[str, Any]:
    return find(rest.get("/crons")["items"], name, "cron", "label")


@cron.command(
    "update",
    help="Change what is given of a cron. With another time it begins anew.",
    example="clawback cron update morning --schedule '0 8 * * *'",
)
@click.argument("name", metavar="CRON")
@click.option("--schedule", metavar="EXPR", help="Five fields, or @daily and the like.")
@click.option("--once", metavar="TIME", help="One time instead, such as 2027-01-31T09:00.")
@click.option("--prompt", help="What the session is to do.")
@_takes_fields
@as_json
def update(*, name: str, as_json: bool, **given: Any) -> int:
    """Change it, and show when it runs."""
    body = _read(given)
    if not body:
        raise ConfigError("nothing to change: give at least one option, such as --schedule '0 8 * * *'")
    with server() as rest:
        changed = rest.patch(f"/crons/{_find(rest, name)['id']}", body)
    return _tell(changed, "Changed", as_json=as_json)


@cron.command("pause", help="Have a cron not run until it is resumed.", example="clawback cron pause morning")
@click.argument("name", metavar="CRON")
@as_json
def pause(*, name: str, as_json: bool) -> int:
    """Pause it."""
    with server() as rest:
        return _tell(rest.post(f"/crons/{_find(rest, name)['id']}/pause"), "Paused", as_json=as_json)


@cron.command("resume", help="Have a cron run again, from now on.", example="clawback cron resume morning")
@click.argument("name", metavar="CRON")
@as_json
def resume(*, name: str, as_json: bool) -> int:
    """Resume it, and show when it runs."""
    with server() as rest:
        return _tell(rest.post(f"/crons/{_find(rest, name)['id']}/resume"), "Resumed", as_json=as_json)


@cron.command("run", help="Run a cron once more, now; its schedule stays as it is.",
              example="clawback cron run morning")  # fmt: skip
@click.argument("name", metavar="CRON")
@as_json
def run(*, name: str, as_json: bool) -> int:
    """Store an event of it at once."""
    with server() as rest:
        made = rest.post(f"/crons/{_find(rest, name)['id']}/run")
    if as_json:
        print_json(made)
    else:
        say(f"Stored {made['eventId']}.")
    return 0


@cron.command("delete", help="Delete a cron. Events of it that wait are delivered.",
              example="clawback cron delete morning --yes")  # fmt: skip
@click.argument("name", metavar="CRON")
@yes_option
def delete(*, name: str, yes: bool) -> int:
    """Delete it."""
    with server() as rest:
        found = _find(rest, name)
        label = found.get("label") or found["id"]
        if not confirm(f"Delete the cron {label}?", yes=yes):
            return EXIT_FAILED
        rest.delete(f"/crons/{found['id']}")
    say(f"Deleted {label}.")
    return 0
