"""`clawback event`: what waits, is held or is dead, and what can be done about it."""

import re
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from clawback.cli import EXIT_FAILED
from clawback.cli.asking import confirm, server, watch_option, yes_option
from clawback.cli.base import Group, as_json, print_json, say
from clawback.errors import ConfigError, NotFound

if TYPE_CHECKING:
    from rich.console import RenderableType

    from clawback.commands.rest import Rest

event = Group("event", help="What waits, is held or is dead: look at it, end it, repeat it, throw it away.")

ORIGINS = ("webhook", "cron", "session")
DISCARDABLE = ("queued", "timed_out", "dead")

FOLLOW_SECONDS = 0.5
PATIENCE_SECONDS = 20.0
"""A job that ends nothing for so long waits for something that may take hours, such as NATS."""

EXAMPLE_ID = "evt_9f86d081884c7d659a2feaa0c55ad015"


def read_where(given: tuple[str, ...]) -> dict[str, Any]:
    """
    Read `--where`: which events are meant, as the fields of `event_list` and `event_discard`.

    Raises:
        ConfigError: one is no NAME=VALUE, or its name is unknown.
    """
    words: dict[str, Any] = {}
    for each in given:
        name, equals, value = each.partition("=")
        match name if equals and value else "":
            case "state":
                words.setdefault("states", []).extend(value.split(","))
            case "tag":
                words["sessionTag"] = value
            case "type":
                words["eventType"] = value
            case "source" if value in ORIGINS:
                words["source"] = value
            case "source":
                words |= {"source": "webhook", "path": f"/{value.removeprefix('/')}"}
            case _:
                raise ConfigError(
                    f"--where: read {each[:80]!a}; accepted is state=…, tag=…, type=… or source=…: state=dead,"
                    " tag=ci, type=push, source=SLUG (or webhook, cron, session)"
                )
    return words


where_option = click.option(
    "--where",
    multiple=True,
    metavar="NAME=VALUE",
    help="Which: state=dead, tag=ci, type=push, source=SLUG; all that is given must fit.",
)


@event.command(
    "list",
    help="List what waits, is held or is dead, those first that are where they are for the longest time.",
    example="clawback event list --where state=dead --where source=demo",
)
@where_option
@click.option("--limit", type=click.IntRange(1), default=100, help="How many at most (default: 100).")
@click.option("--ended", is_flag=True, help="List what has ended instead, the newest first.")
@watch_option
@as_json
def list_all(*, where: tuple[str, ...], limit: int, ended: bool, watching: bool, as_json: bool) -> int:
    """Print a line for each event."""
    words = read_where(where)
    if ended and set(words) - {"states"}:
        raise ConfigError("--ended takes --where state=… only: acked, timed_out, dead, dropped, skipped, discarded")
    path = "/history" if ended else "/events"
    query = {name: value for name, value in words.items() if name != "states"} | {"state": words.get("states")}

    def items() -> list[dict[str, Any]]:
        return list(rest.pages(path, limit, **query))

    with server() as rest:
        if as_json:
            print_json(items())
            return 0
        from clawback.cli.show import show, watch

        if watching:
            watch(lambda: _table(items(), ended=ended))
        found = items()
        if not found:
            say("There are none.")
            return 0
        show(_table(found, ended=ended))
    return 0


def _table(items: list[dict[str, Any]], *, ended: bool) -> "RenderableType":
    from clawback.cli.show import age, table, tag

    rows = [
        (each["eventId"], each["state"], _origin(each), tag(each["sessionTag"]),
         age(each["completedAt"] if ended else each.get("createdAt")))
        for each in items
    ]  # fmt: skip
    return table(("event", "state", "what", "session", "age"), rows, whole=("event", "state", "age"))


def _origin(each: dict[str, Any]) -> str:
    """Say in a few words what an event is: its source and type, or where else it is from."""
    what = str(each["path"]).removeprefix("/") or str(each["source"])
    return f"{what} {each['eventType']}" if each["eventType"] else what


@event.command("show", help="Show an event: where it is, how it got there, its payload.",
               example=f"clawback event show {EXAMPLE_ID}")  # fmt: skip
@click.argument("event_id", metavar="ID")
@as_json
def show_one(*, event_id: str, as_json: bool) -> int:
    """Print what is known of an event, and the beginning of its payload."""
    with server() as rest:
        found = rest.get(f"/events/{segment(event_id)}")
    if as_json:
        print_json(found)
        return 0
    from clawback.cli.show import facts, moment, show, tag, text

    known = ("deliveryId", "priority", "skill", "attempts", "replay", "reason", "summary")
    show(
        facts([
            ("event", found["eventId"]),
            ("what", _origin(found)),
            ("session", tag(found["sessionTag"])),
            ("state", found["state"]),
            *((name, found.get(name)) for name in known),
        ])
    )  # fmt: skip
    show(text(""), text("Its way:", "bold"))
    show(
        facts(
            (moment(step["at"]), " ".join(filter(None, (step["state"], _attempt(step), str(step.get("reason") or "")))))
            for step in found["timeline"]
        )
    )
    if (payload := found["payload"]) is not None:
        rest_of_it = f"; the rest: clawback event payload {found['eventId']}" if payload.get("cut") else ""
        show(text(""), text(f"Payload, {payload['bytes']} bytes{rest_of_it}:", "bold"))
        for line in payload["text"][:4000].splitlines():
            show(text(line))
    return 0


def _attempt(step: dict[str, Any]) -> str:
    return f"(attempt {step['attempt']})" if "attempt" in step else ""


@event.command("payload", help="Print an event's payload byte for byte, or what stands at a dotted PATH of it.",
               example=f"clawback event payload {EXAMPLE_ID} pull_request.head.sha")  # fmt: skip
@click.argument("event_id", metavar="ID")
@click.argument("path", required=False)
@as_json
def payload(*, event_id: str, path: str | None, as_json: bool) -> int:
    """Print a payload. On a terminal what could command it is left out."""
    with server() as rest:
        if path is not None or as_json:
            offset, part = 0, {}
            texts = []
            while offset is not None:
                part = rest.get(f"/events/{segment(event_id)}/payload/part", path=path, offset=offset or None)
                texts.append(part["text"])
                offset = part.get("nextOffset")
            whole = "".join(texts)
            if as_json:
                print_json({name: value for name, value in part.items() if name not in ("offset", "nextOffset")}
                           | {"text": whole})  # fmt: skip
                return 0
            body = whole.encode() + b"\n"
        else:
            body = rest.raw(f"/events/{segment(event_id)}/payload")
    if sys.stdout.isatty():
        from clawback.cli.show import show, text

        for line in body.decode("utf-8", "replace").splitlines():
            show(text(line))
    else:
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()
    return 0


def segment(event_id: str) -> str:
    """
    Take an event's id as a part of a path.

    Raises:
        NotFound: it is none, whatever the server would make of it.
    """
    if not re.fullmatch("[A-Za-z0-9_]+", event_id):
        raise NotFound(f"there is no event {event_id[:80]!a}; `clawback event list` shows what there is")
    return event_id


@event.command("ack", help="End an event that a session holds, as the session's own ack would.",
               example=f"clawback event ack {EXAMPLE_ID} --summary 'merged by hand'")  # fmt: skip
@click.argument("event_id", metavar="ID")
@click.option("--summary", help="What is said of it in the history.")
@as_json
def ack(*, event_id: str, summary: str | None, as_json: bool) -> int:
    """End it."""
    return _do(event_id, "ack", {"summary": summary}, "Acknowledged {eventId}.", as_json=as_json)


@event.command("defer", help="Put an event that a session holds back at the end of its line.",
               example=f"clawback event defer {EXAMPLE_ID} --delay 600")  # fmt: skip
@click.argument("event_id", metavar="ID")
@click.option("--delay", type=int, metavar="SECONDS", help="For how long (default: to the end of its line at once).")
@as_json
def defer(*, event_id: str, delay: int | None, as_json: bool) -> int:
    """Put it off."""
    return _do(event_id, "defer", {"delaySeconds": delay}, "Put off {eventId}, by {delaySeconds} s.", as_json=as_json)


@event.command("fail", help="Hand an event back: it is delivered again, the third time it is a dead letter.",
               example=f"clawback event fail {EXAMPLE_ID} --reason 'wrong repository'")  # fmt: skip
@click.argument("event_id", metavar="ID")
@click.option("--reason", help="Why it could not be taken.")
@as_json
def fail(*, event_id: str, reason: str | None, as_json: bool) -> int:
    """Hand it back."""
    return _do(event_id, "fail", {"reason": reason}, "Handed back {eventId}.", as_json=as_json)


@event.command("extend", help="Give an event that a session holds more time before it times out.",
               example=f"clawback event extend {EXAMPLE_ID} --seconds 3600")  # fmt: skip
@click.argument("event_id", metavar="ID")
@click.option("--seconds", type=int, default=1800, help="How much from now on (default: 1800).")
@as_json
def extend(*, event_id: str, seconds: int, as_json: bool) -> int:
    """Give it more time."""
    return _do(event_id, "extend", {"seconds": seconds}, "{eventId} has {seconds} s from now.", as_json=as_json)


def _do(event_id: str, verb: str, body: dict[str, Any], said: str, *, as_json: bool) -> int:
    given = {name: value for name, value in body.items() if value is not None}
    with server() as rest:
        answer = rest.post(f"/events/{segment(event_id)}/{verb}", given)
    if as_json:
        print_json(answer)
    elif answer.get("settled") is False:
        say(f"{answer['eventId']} had ended before; nothing changed but its summary.")
    else:
        say(said.format(**answer))
    return 0


@event.command("replay", help="Make a new event of a dead letter, by its ID, or of all that --where says.",
               example="clawback event replay --where source=demo --yes")  # fmt: skip
@click.argument("event_id", metavar="ID", required=False)
@where_option
@click.option("--dry-run", is_flag=True, help="Only count them.")
@yes_option
@as_json
def replay(*, event_id: str | None, where: tuple[str, ...], dry_run: bool, yes: bool, as_json: bool) -> int:
    """Repeat one, or count and repeat several."""
    words = _choose(event_id, where, "replay")
    with server() as rest:
        if event_id is not None:
            answer = rest.post(f"/events/{segment(event_id)}/replay")
            if as_json:
                print_json(answer)
            else:
                say(f"Replayed as {answer['eventId']}.")
            return 0
        query = {name: value for name, value in words.items() if name != "states"}
        dead = list(rest.pages("/events", state=words.get("states", ["dead", "timed_out"]), **query))
        if dry_run or not dead:
            return _tell_count(len(dead), "to be replayed", {"count": len(dead), "dryRun": True}, as_json=as_json)
        if not confirm(f"Replay {_events(len(dead))}?", yes=yes):
            return EXIT_FAILED
        for each in dead:
            rest.post(f"/events/{segment(each['eventId'])}/replay")
    return _tell_count(len(dead), "replayed", {"count": len(dead), "dryRun": False}, as_json=as_json)


@event.command("discard", help="Throw away what waits or is dead: by its ID, or all that --where says, counted first.",
               example="clawback event discard --where state=dead --where source=demo")  # fmt: skip
@click.argument("event_id", metavar="ID", required=False)
@where_option
@click.option("--dry-run", is_flag=True, help="Only count them.")
@yes_option
@as_json
def discard(*, event_id: str | None, where: tuple[str, ...], dry_run: bool, yes: bool, as_json: bool) -> int:
    """End them for good; the history says of each by whom."""
    words = _choose(event_id, where, "discard")
    with server() as rest:
        if event_id is not None:
            if dry_run:
                found = rest.get(f"/events/{segment(event_id)}")
                count = int(found["state"] in DISCARDABLE and "completedAt" not in found)
                return _tell_count(count, "to be discarded", {"count": count, "dryRun": True}, as_json=as_json)
            if not confirm(f"Discard {event_id[:80]}? It is gone then.", yes=yes):
                return EXIT_FAILED
            rest.delete(f"/events/{segment(event_id)}")
            return _tell_count(1, "discarded", {"count": 1, "held": 0, "dryRun": False}, as_json=as_json)
        counted = rest.post("/events/discard", words | {"dryRun": True})
        count, held = counted["count"], counted["held"]
        left = f" {held} more are held by sessions, and left to them." if held else ""
        if dry_run or not count:
            return _tell_count(count, "to be discarded", counted, as_json=as_json, more=left)
        if not confirm(f"Discard {_events(count)}? They are gone then.{left}", yes=yes):
            return EXIT_FAILED
        done = follow_discard(rest, words)
    return _tell_count(count, "discarded", done, as_json=as_json, more=left)


def _choose(event_id: str | None, where: tuple[str, ...], verb: str) -> dict[str, Any]:
    if (event_id is None) == (not where):
        raise ConfigError(
            f"event {verb} needs either an ID or --where, such as --where source=demo; `clawback event list` shows"
            " what is there"
        )
    return read_where(where)


def _tell_count(count: int, what: str, answer: dict[str, Any], *, as_json: bool, more: str = "") -> int:
    if as_json:
        print_json(answer)
    else:
        say(f"{_events(count)} {what}.{more}")
    return 0


def _events(count: int) -> str:
    return f"{count} event" if count == 1 else f"{count} events"


def follow_discard(rest: "Rest", words: dict[str, Any]) -> dict[str, Any]:
    """Discard what is meant, and wait until the job is done, or needs longer than anybody wants to watch."""
    answer: dict[str, Any] = rest.post("/events/discard", words)
    if "job" in answer and (left := follow_waiting(rest, words)):
        say(f"{left} are left; the server goes on with them.")
    return answer


def follow_waiting(rest: "Rest", words: dict[str, Any]) -> int:
    """Wait until nothing is left that is meant, as long as it gets less; return how much is left."""
    least, patience = None, time.monotonic() + PATIENCE_SECONDS
    while left := int(rest.post("/events/discard", words | {"dryRun": True})["count"]):
        if least is None or left < least:
            if sys.stderr.isatty():
                print(f"\r{left} left … ", end="", file=sys.stderr, flush=True)
            least, patience = left, time.monotonic() + PATIENCE_SECONDS
        if time.monotonic() > patience:
            break
        time.sleep(FOLLOW_SECONDS)
    if least is not None and sys.stderr.isatty():
        print("\r", end="", file=sys.stderr, flush=True)
    return left
