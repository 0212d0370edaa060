"""
The page that shows a profile at work, the parts of it that follow what happens, and the page of one event.

Every part is a template that is rendered into the page, and alone at `/parts/<name>`; the script fetches those that
news of `/live` concern. So there is one rendering, on the server, and without scripts the page is whole and is reloaded
by its reader.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from litestar import Request, get, post
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect
from litestar.types import ASGIApp, ControllerRouterHandler

from clawback import wire
from clawback.errors import NotFound
from clawback.fabric.subjects import is_id
from clawback.http.event_stream import EventStream
from clawback.operations import Caller, Services, perform
from clawback.operations.events import fetch_event, list_lanes
from clawback.operations.history import MAX_LIMIT, RECORDED
from clawback.operations.source_rules import write_setup
from clawback.operations.sources import list_refusals
from clawback.store.feed import Feed
from clawback.web import pages, words
from clawback.web.door import Door, NotLoggedIn, Person
from clawback.web.pages import Html, Known

ENDED_SHOWN = 30
DEAD_SHOWN = 50

DEAD_STATES = ("timed_out", "dead")

Values = dict[str, Any]


def build_overview(services: Services, feed: Feed, door: Door) -> list[ControllerRouterHandler]:
    """Build the handlers; `door` is asked again whether a stream's reader is still welcome."""
    parts = _Parts(services)

    @get("/", name="home")
    async def home(
        person: Known,
        replayed: FromQuery[str | None] = None,
        new: FromQuery[str | None] = None,
        gone: FromQuery[str | None] = None,
    ) -> Html:
        values: Values = {"replayed": _id(replayed), "new": _id(new), "gone": _id(gone), "now": datetime.now(UTC)}
        for shown in await asyncio.gather(*(part(person) for part in parts.all.values())):
            values |= shown
        return pages.show("home.html", person, **values)

    @get("/parts/{name:str}")
    async def part(person: Known, name: FromPath[str]) -> Html:
        found = parts.all.get(name)
        if found is None:
            raise NotFound(f"the page has no part {name[:40]!a}: it has {', '.join(parts.all)}")
        return pages.show(f"parts/{name}.html", person, **await found(person), now=datetime.now(UTC))

    @get("/events/{event_id:str}")
    async def event_page(person: Known, event_id: FromPath[str]) -> Html:
        return pages.show("event.html", person, **await _event(services, person, event_id))

    @get("/events/{event_id:str}/part")
    async def event_part(person: Known, event_id: FromPath[str]) -> Html:
        return pages.show("parts/event.html", person, **await _event(services, person, event_id))

    @post("/events/{event_id:str}/replay", status_code=HTTPStatus.SEE_OTHER)
    async def replay(person: Known, event_id: FromPath[str]) -> Redirect:
        try:
            answer = await perform(services, _caller(person), wire.EventReplay(request_id="", event_id=event_id))
        except NotFound:
            # Sent twice, or replayed in another window: what was wanted is the case.
            return pages.go_to("/?" + urlencode({"gone": _id(event_id) or ""}))
        return pages.go_to("/?" + urlencode({"replayed": event_id, "new": answer["eventId"]}))

    return [home, part, event_page, event_part, replay, _build_live(services, feed, door)]


def _build_live(services: Services, feed: Feed, door: Door) -> ControllerRouterHandler:
    @get("/live", media_type="text/event-stream")
    async def live(person: Known, request: Request[Any, Any, Any]) -> ASGIApp:
        async def check() -> None:
            if await door.recognise(request.cookies) is None:
                raise NotLoggedIn("this visit is over: log in at /login")

        key = services.registry.token_hash(person.profile.id, person.token_id) or ""
        return EventStream(feed, person.profile.id, key, check)

    return live


class Answer(dict[str, Any]):
    """An operation's answer for a template: fields that may be left out are None where they are."""

    def __missing__(self, name: str) -> None:
        """Say so for each of them."""


class _Parts:
    """What each part of the page shows, for one person."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.all: dict[str, Callable[[Person], Awaitable[Values]]] = {
            "now": self.now,
            "dead": self.dead,
            "history": self.history,
            "sources": self.sources,
            "crons": self.crons,
        }

    async def now(self, person: Person) -> Values:
        sessions, lanes = await asyncio.gather(
            self._ask(person, wire.SessionList(request_id="")), list_lanes(self._services, _caller(person))
        )
        rows = join_lanes(sessions, lanes)
        return {
            "server": self._services.public_url,
            "lanes": rows,
            "connected": len(sessions),
            "in_flight": sum(len(row["held"]) for row in rows),
            "waiting": sum(row["waiting"] + len(row["deferred"]) for row in rows),
        }

    async def dead(self, person: Person) -> Values:
        letters = await self._ask(
            person, wire.EventList(request_id="", states=DEAD_STATES, limit=min(DEAD_SHOWN + 1, MAX_LIMIT))
        )
        return {"dead": letters[:DEAD_SHOWN], "more_dead": len(letters) > DEAD_SHOWN}

    async def history(self, person: Person) -> Values:
        request = wire.EventHistory(request_id="", limit=ENDED_SHOWN, states=RECORDED)
        return {"ended": await self._ask(person, request)}

    async def sources(self, person: Person) -> Values:
        sources, refused = await asyncio.gather(
            self._ask(person, wire.SourceList(request_id="")), list_refusals(self._services, _caller(person))
        )
        return {
            "sources": [
                Answer(
                    each,
                    refused=_answers(refused.get(each["id"], [])),
                    connected=datetime.fromisoformat(each["connectedAt"]) if each["connectedAt"] else None,
                    setup=write_setup(each["type"], each["url"]) if each["type"] else [],
                )
                for each in sources
            ]
        }

    async def crons(self, person: Person) -> Values:
        crons = await self._ask(person, wire.CronList(request_id=""))
        return {
            "crons": [
                Answer(each, runs=[datetime.fromisoformat(run) for run in each["nextRuns"] or ()]) for each in crons
            ]
        }

    async def _ask(self, person: Person, request: wire.Request) -> list[Answer]:
        return _answers(await perform(self._services, _caller(person), request))


def _answers(listed: Iterable[Values]) -> list[Answer]:
    return [Answer(each) for each in listed]


def join_lanes(sessions: Sequence[Values], lanes: Sequence[Values]) -> list[Values]:
    """Put sessions and what is theirs together by tag: the connected first, the untagged before the tagged."""
    nothing: Values = {"held": [], "next": [], "waiting": 0, "deferred": []}
    rows = {
        lane["sessionTag"]: lane
        | {name: _answers(lane[name]) for name in ("held", "next", "deferred")}
        | {"active": None, "standbys": 0}
        for lane in lanes
    }
    for session in sessions:
        tag = session["sessionTag"]
        row = rows.setdefault(tag, {"sessionTag": tag, **nothing, "active": None, "standbys": 0})
        if session["role"] == "active":
            row["active"] = session
        else:
            row["standbys"] += 1
    return sorted(rows.values(), key=lambda row: (row["active"] is None, row["sessionTag"] or ""))


async def _event(services: Services, person: Person, event_id: str) -> Values:
    event = Answer(await fetch_event(services, _caller(person), event_id))
    event["timeline"] = _answers(event["timeline"])
    payload, text = event["payload"], None
    if payload is not None:
        payload = Answer(payload)
        whole = len(payload["text"]) <= words.MAX_SHOWN_CHARACTERS and not payload.get("cut")
        text = words.pretty(payload["text"]) if whole else payload["text"][: words.MAX_SHOWN_CHARACTERS]
        payload |= {"whole": whole, "laid_out": whole and text != payload["text"]}
    return {"event": event, "payload": payload, "text": text, "now": datetime.now(UTC)}


def _caller(person: Person) -> Caller:
    return Caller(person.profile.id, person.token_id)


def _id(text: str | None) -> str | None:
    """Pass an id from a URL, and nothing that somebody made up to have it shown."""
    return text if text is not None and is_id(text) else None
