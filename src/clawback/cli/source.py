"""`clawback source`: the URLs that accept webhooks."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clawback.cli import EXIT_FAILED
from clawback.cli.asking import (
    check_new_file,
    confirm,
    find,
    is_person,
    json_or_text,
    keep_secret,
    pairs,
    read_fields,
    read_secret,
    server,
    watch_option,
    yes_option,
)
from clawback.cli.base import Function, Group, as_json, print_json, say
from clawback.errors import ConfigError, Rejected

if TYPE_CHECKING:
    from rich.console import RenderableType

    from clawback.commands.rest import Rest

source = Group("source", help="The URLs that accept webhooks: make, list, change and delete them.")

FILE = click.Path(path_type=Path)

_FIELDS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--route",
        "routes",
        multiple=True,
        metavar="TYPE=DO",
        help="For events of this type, a skill or prompt; may be given several times. An object is JSON.",
    ),
    click.option("--skill", help="For events that no route names: a skill such as /review, or a prompt."),
    click.option("--session", "session_tag", metavar="TAG", help="Whose events these are (default: untagged)."),
    click.option("--priority", metavar="normal|priority|interrupt", help="How they are delivered (default: normal)."),
    click.option("--timeout", "timeout_seconds", type=int, metavar="SECONDS", help="How long an event may be active."),
    click.option("--payload", metavar="full|compact|PATHS", help="What is shown of payloads; paths with commas."),
    click.option("--note", help="A line for people."),
    click.option(
        "--set",
        "others",
        multiple=True,
        metavar="FIELD=JSON",
        help='Any other field of the API, such as \'signature={"header": "X-Sig"}\'.',
    ),
    click.option("--secret-stdin", is_flag=True, help="Read the secret that the sender shows from standard input."),
    click.option(
        "--secret-file", type=FILE, metavar="FILE", help="Write the secret that is made to a new file, mode 0600."
    ),
)


def _takes_fields(function: Function) -> Function:
    for option in reversed(_FIELDS):
        function = option(function)
    return function


@source.command(
    "types",
    help="List what a source can be: senders that are known, and mechanisms. With WORD only those that have it.",
    example="clawback source types git",
)
@click.argument("word", required=False)
@as_json
def types(*, word: str | None, as_json: bool) -> int:
    """Print a line for each type."""
    with server() as rest:
        items = rest.get("/source-types")["items"]
    if word is not None:
        items = [each for each in items if word.lower() in f"{each['type']} {each['title']}".lower()]
    if as_json:
        print_json(items)
        return 0
    from clawback.cli.show import show, table

    rows = [(each["type"], each["title"], _whose_secret(each), each["exampleType"]) for each in items]
    show(table(("type", "sender", "secret", "an event type"), rows, whole=("type",)))
    return 0


def _whose_secret(kind: dict[str, Any]) -> str:
    if kind["type"] == "none":
        return "none"
    return "the sender's" if kind["showsSecret"] else "ours"


@source.command(
    "create",
    help="Make a source. In a terminal, what is not given is asked for.",
    example="clawback source create demo --type github --route pull_request.opened=/review",
)
@click.argument("slug")
@click.option("--type", "kind", metavar="TYPE", help="What it is: `clawback source types` lists them.")
@_takes_fields
@as_json
def create(
    *, slug: str, kind: str | None, as_json: bool, secret_stdin: bool, secret_file: Path | None, **given: Any
) -> int:
    """Make it, and say how it is set up at its sender."""
    check_new_file(secret_file)
    body = _read(given)
    with server() as rest:
        known = {each["type"]: each for each in rest.get("/source-types")["items"]}
        secret = read_secret() if secret_stdin else None
        if kind is None:
            if not is_person() or as_json:
                raise ConfigError(
                    "source create needs --type TYPE, such as --type github; `clawback source types` lists them. In a"
                    " terminal it asks"
                )
            kind, asked = _ask(known, body)
            body |= asked
        found = known.get(kind, {"showsSecret": False})
        body |= {"slug": slug, "verifierType": kind}
        if secret is not None:
            body["secret"] = secret
        elif kind != "none" and not found["showsSecret"]:
            body["generateSecret"] = True
        made = _make(rest, body, is_asking=found["showsSecret"] and secret is None and is_person())
    _tell(made, secret_file, as_json=as_json, verb="Made")
    return 0


def _make(rest: "Rest", body: dict[str, Any], *, is_asking: bool) -> dict[str, Any]:
    """
    Make a source. Some senders bring their secret in their first request; for the others it is asked for, or refused.

    Raises:
        ConfigError: the sender's secret is missing, and nobody can be asked.
        Rejected: what the server says.
    """
    try:
        made: dict[str, Any] = rest.post("/sources", body)
    except Rejected as error:
        if not str(error).startswith("the secret is missing"):
            raise
        if not is_asking:
            raise ConfigError(
                f"{error}. Give what the sender shows with --secret-stdin, such as clawback source create"
                f" {body['slug']} --type {body['verifierType']} --secret-stdin < FILE"
            ) from None
        made = rest.post("/sources", body | {"secret": click.prompt("Its secret", hide_input=True, err=True)})
    return made


def _ask(known: dict[str, dict[str, Any]], body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Ask a person for the type, and for what they have not said already."""
    say("What sends to it? Some of the types: github, gitlab, stripe, slack, sentry, pagerduty, hmac, token, none.")
    while (kind := click.prompt("Type", default="github", err=True).strip()) not in known:
        near = [name for name in known if kind.lower() in f"{name} {known[name]['title']}".lower()]
        say(f"There is no such type. {'Near: ' + ', '.join(near[:12]) if near else '`none` takes everything'}.")
    asked: dict[str, Any] = {}
    if "routes" not in body and "skill" not in body:
        example = known[kind]["exampleType"] or "push"
        say(f"What is to be done with an event? Name its type, such as {example}; empty ends, * is every other.")
        routes: dict[str, str] = {}
        while name := click.prompt("Event type", default="", show_default=False, err=True).strip():
            routes[name] = click.prompt(f"What to do with {name}, a skill such as /review or a prompt", err=True)
        asked |= {"routes": routes} if routes else {}
    if "sessionTag" not in body:
        session = click.prompt("Session's tag (empty: untagged)", default="", show_default=False, err=True).strip()
        asked |= {"sessionTag": session} if session else {}
    return kind, asked


def _read(given: dict[str, Any]) -> dict[str, Any]:
    """Write what was given as the API's fields."""
    body = read_fields(given["others"])
    if given["routes"]:
        routes = pairs(given["routes"], "--route", "pull_request=/review")
        body["routes"] = {name: json_or_text(value) for name, value in routes.items()}
    names = {
        "skill": "skill",
        "session_tag": "sessionTag",
        "priority": "priority",
        "timeout_seconds": "timeoutSeconds",
        "note": "note",
    }
    body |= {field: given[name] for name, field in names.items() if given[name] is not None}
    if (payload := given["payload"]) is not None:
        body["payload"] = payload if payload in ("full", "compact", "") else payload.split(",")
    return body


def _tell(made: dict[str, Any], secret_file: Path | None, *, as_json: bool, verb: str) -> None:
    """Print a source that was made or has a new secret; the secret here or in its file."""
    secret = made.pop("secret", None)
    if secret is not None and secret_file is not None:
        try:
            keep_secret(secret_file, secret)
        except ConfigError as error:
            raise ConfigError(
                f"{error}. The source {made['slug']} is there all the same, and its secret is lost: give it a new one"
                f" with clawback source update {made['slug']} --new-secret"
            ) from None
        if "setup" in made:
            made["setup"] = [step.replace(secret, f"the secret in {secret_file}") for step in made["setup"]]
    if as_json:
        print_json(made | ({} if secret is None or secret_file is not None else {"secret": secret}))
        return
    from clawback.cli.show import show, text

    show(text(f"{verb} {made['slug']} ({made['type']}), {made['id']}"), text(f"URL     {made['url']}"))
    if secret is not None:
        where = f"{secret}  (shown this once)" if secret_file is None else f"the secret in {secret_file}"
        show(text(f"Secret  {where}"))
    if "warning" in made:
        show(text(f"Warning: {made['warning']}", "yellow"))
    if "setup" in made:
        show(text(""), text("At the sender:"))
        for number, step in enumerate(made["setup"], start=1):
            show(text(f"{number}. {step}"))


@source.command("list", help="List the sources.", example="clawback source list --json")
@watch_option
@as_json
def list_all(*, watching: bool, as_json: bool) -> int:
    """Print a line for each source."""
    with server() as rest:
        if as_json:
            print_json(rest.get("/sources")["items"])
            return 0
        from clawback.cli.show import show, watch

        if watching:
            watch(lambda: _table(rest.get("/sources")["items"]))
        items = rest.get("/sources")["items"]
        if not items:
            say("There are no sources. Make one: clawback source create demo")
            return 0
        show(_table(items))
    return 0


def _table(items: list[dict[str, Any]]) -> "RenderableType":
    from clawback.cli.show import table, tag

    rows = [
        (each.get("slug", each["id"]), each.get("type"), tag(each.get("sessionTag")), _orders(each), _state(each))
        for each in items
    ]
    return table(("source", "type", "session", "orders", "state"), rows, whole=("state",))


def _orders(each: dict[str, Any]) -> str:
    """Say in a few words what is done with its events."""
    routes = each.get("routes") or {}
    first = "".join(f"{name}: {_order(order)}" for name, order in list(routes.items())[:1])
    more = f" +{len(routes) - 1}" if len(routes) > 1 else ""
    return f"{first}{more}" if routes else str(each.get("skill") or "")


def _order(order: Any) -> str:
    return str(order.get("do", "")) if isinstance(order, dict) else str(order)


def _state(each: dict[str, Any]) -> str:
    return "disabled" if each.get("disabled") else "on"


@source.command("show", help="Show a source, by its slug or id.", example="clawback source show demo")
@click.argument("name", metavar="SLUG")
@as_json
def show_one(*, name: str, as_json: bool) -> int:
    """Print everything that is known of a source."""
    with server() as rest:
        found = _find(rest, name)
    if as_json:
        print_json(found)
        return 0
    from clawback.cli.show import facts, show, tag
    from clawback.model import encode_json

    routes = found.get("routes") or {}
    known = {"id", "slug", "type", "url", "sessionTag", "routes", "disabled", "reason", "warning"}
    show(
        facts([
            ("source", found.get("slug")),
            ("id", found["id"]),
            ("type", found.get("type")),
            ("url", found.get("url")),
            ("session", tag(found.get("sessionTag"))),
            ("state", f"{_state(found)}{': ' + found['reason'] if 'reason' in found else ''}"),
            *((f"on {name}", _order(order) if isinstance(order, str) else encode_json(order).decode())
              for name, order in routes.items()),
            *((name, value if isinstance(value, str) else encode_json(value).decode())
              for name, value in found.items() if name not in known),
            ("warning", found.get("warning")),
        ])
    )  # fmt: skip
    return 0


def _find(rest: "Rest", name: str) -> dict[str, Any]:
    return find(rest.get("/sources")["items"], name, "source", "slug")


@source.command(
    "update",
    help="Change what is given of a source; an empty value goes back to the default.",
    example="clawback source update demo --route push=/lint --session ci",
)
@click.argument("name", metavar="SLUG")
@_takes_fields
@click.option("--new-secret", is_flag=True, help="Have a new secret made; the old one is good for a day more.")
@as_json
def update(
    *, name: str, as_json: bool, secret_stdin: bool, secret_file: Path | None, new_secret: bool, **given: Any
) -> int:
    """Change it; routes are changed one by one, and one without a value goes."""
    body = _read(given)
    if new_secret and secret_stdin:
        raise ConfigError("--new-secret makes a secret and --secret-stdin brings one: leave one out")
    if secret_file is not None and not new_secret:
        raise ConfigError("--secret-file is where a secret that is made is written: give --new-secret too")
    check_new_file(secret_file)
    if secret_stdin:
        body["secret"] = read_secret()
    if new_secret:
        body["generateSecret"] = True
    if not body:
        raise ConfigError("nothing to change: give at least one option, such as --route push=/lint")
    with server() as rest:
        found = _find(rest, name)
        if given["routes"]:
            routes = (found.get("routes") or {}) | body["routes"]
            body["routes"] = {each: order for each, order in routes.items() if order != ""}
        changed = rest.patch(f"/sources/{found['id']}", body)
    _tell(changed, secret_file, as_json=as_json, verb="Changed")
    return 0


@source.command(
    "delete",
    help="Delete a source. What waits of it becomes dead letters; with --discard it is thrown away.",
    example="clawback source delete demo --discard --yes",
)
@click.argument("name", metavar="SLUG")
@click.option("--discard", is_flag=True, help="Throw away what waits of it, instead of making dead letters of it.")
@yes_option
def delete(*, name: str, discard: bool, yes: bool) -> int:
    """Delete it, and follow what becomes of its events."""
    from clawback.cli.event import follow_discard, follow_waiting

    with server() as rest:
        found = _find(rest, name)
        slug = found.get("slug", found["id"])
        words = {"source": "webhook", "path": f"/{slug}", "states": ["queued"]}
        waiting = rest.post("/events/discard", words | {"dryRun": True})["count"]
        fate = "are thrown away" if discard else "become dead letters"
        if not confirm(f"Delete the source {slug}? {waiting} events of it that wait {fate}.", yes=yes):
            return EXIT_FAILED
        if discard and waiting:
            follow_discard(rest, words)
        rest.delete(f"/sources/{found['id']}")
        left = follow_waiting(rest, words)
    say(f"Deleted {slug}.{f' {left} of its events still wait; the server goes on with them.' if left else ''}")
    return 0
