"""`clawback status`: how everything is, on one screen."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from clawback.cli import EXIT_FAILED
from clawback.cli.asking import server, watch_option
from clawback.cli.base import as_json, command, print_json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from clawback.commands.rest import Rest

MOST = 10_000
"""Of what waits, for its counts; beyond it `+` is said."""

LINES = 8
"""Of each list: all of it fits one screen."""


@command(
    "status",
    help="Show on one screen how everything is: server, sessions, what waits, what is wrong. Code 1 if something is.",
    example="clawback status --watch",
)
@watch_option
@as_json
def status(*, watching: bool, as_json: bool) -> int:
    """Look at everything once, or again and again."""
    with server() as rest:
        if watching:
            from clawback.cli.show import watch

            watch(lambda: _build(look(rest)))
        seen = look(rest)
    if as_json:
        print_json(seen)
    else:
        from clawback.cli.show import show

        show(_build(seen))
    return EXIT_FAILED if seen["wrong"] else 0


def look(rest: "Rest") -> dict[str, Any]:
    """Ask the server for all of it, and say what is wrong and what to do about it."""
    ready, reason = rest.ready()
    account = rest.get("/account")
    sessions = rest.get("/sessions")["items"]
    sources = rest.get("/sources")["items"]
    crons = rest.get("/crons")["items"]
    events = list(rest.pages("/events", MOST))
    tags = {each["sessionTag"] for each in sessions if each["role"] == "active"}
    waiting = Counter(each["sessionTag"] for each in events if each["state"] == "queued")
    held = [each for each in events if each["state"] in ("offered", "claimed")]
    dead = [each for each in events if each["state"] in ("dead", "timed_out")]
    wrong = [] if ready else [f"the server cannot take and deliver events now: {reason}"]
    if dead:
        wrong.append(f"{len(dead)} dead letters: clawback event list --where state=dead,timed_out")
    for tag, count in waiting.items():
        if tag not in tags:
            name = tag or "(untagged)"
            wrong.append(f"{count} events wait for the session {name}, which is not connected")
    wrong += [f"source {each.get('slug', each['id'])} is disabled: {each['reason']}"
              for each in sources if each.get("disabled")]  # fmt: skip
    wrong += [f"cron {each.get('label', each['id'])} is disabled: {each['reason']}"
              for each in crons if each.get("disabled")]  # fmt: skip
    return {
        "server": rest.base_url,
        "ready": ready,
        "profileId": account["profileId"],
        "webhookBaseUrl": account["webhookBaseUrl"],
        "sessions": sessions,
        "sources": len(sources),
        "crons": len(crons),
        "waiting": [{"sessionTag": tag, "count": count} for tag, count in waiting.most_common()],
        "held": held,
        "dead": len(dead),
        "complete": len(events) < MOST,
        "wrong": wrong,
    }


def _build(seen: dict[str, Any]) -> "RenderableType":
    from rich.console import Group as Lines

    from clawback.cli.show import age, facts, tag, text

    more = "" if seen["complete"] else "+"
    waiting = sum(each["count"] for each in seen["waiting"])
    lines = ", ".join(f"{tag(each['sessionTag'])} {each['count']}" for each in seen["waiting"][:LINES])
    sessions = ", ".join(
        f"{tag(each['sessionTag'])}{' (standby)' if each['role'] == 'standby' else ''}"
        for each in seen["sessions"][:LINES]
    )
    held = [
        f"{tag(each['sessionTag'])}: {each['eventId']}, {age(each.get('createdAt'))} old"
        for each in seen["held"][:LINES]
    ]
    return Lines(
        facts([
            ("server", f"{seen['server']}, {'ready' if seen['ready'] else 'NOT ready'}"),
            ("profile", seen["profileId"]),
            ("webhooks", seen["webhookBaseUrl"]),
            ("sources", f"{seen['sources']}, and {seen['crons']} crons"),
            ("sessions", f"{len(seen['sessions'])} connected{': ' + sessions if sessions else ''}"),
            ("waiting", f"{waiting}{more}{': ' + lines if lines else ''}"),
            *(("held", each) for each in held or ["none"]),
            ("dead", f"{seen['dead']}{more}"),
        ]),
        *([text(f"✗ {each}", "red") for each in seen["wrong"][: LINES * 2]] or [text("✓ nothing is wrong", "green")]),
    )  # fmt: skip
