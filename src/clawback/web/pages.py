"""Pages as answers: templates, and what the router of every page does before and after its handler."""

import functools
import hashlib
import logging
from collections.abc import Callable, Sequence
from http import HTTPStatus
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Request, Response, Router
from litestar.connection import ASGIConnection
from litestar.datastructures import CacheControlHeader, Cookie, MutableScopeHeaders
from litestar.di import NamedDependency, Provide
from litestar.enums import MediaType
from litestar.exceptions import HTTPException
from litestar.response import Redirect
from litestar.static_files import create_static_files_router
from litestar.status_codes import HTTP_303_SEE_OTHER, HTTP_307_TEMPORARY_REDIRECT
from litestar.types import ASGIApp, ControllerRouterHandler, Message, Receive, Scope, Send
from markupsafe import Markup

from clawback.accounts.tokens import PREFIX as TOKEN_PREFIX
from clawback.api.requests import TimelyRequest
from clawback.errors import ClawbackError, Rejected
from clawback.http.problems import CONTENT_TYPE, build_problem
from clawback.http.turns import Turns
from clawback.web import headers, words
from clawback.web.door import Door, NotLoggedIn, Person
from clawback.web.forms import FIELD, check_form_token, check_origin
from clawback.web.place import CLI_PATH, Place

Html = Response[str]

Known = NamedDependency[Person]
"""What a handler takes as `person`: who is logged in; others do not get as far as the handler."""

Visitor = NamedDependency[Person | None]
"""What a handler takes as `visitor`: who is logged in, or None."""

MAX_FORM_BYTES = 64 * 1024
"""Forms are small; a webhook is no form."""

YEAR_SECONDS = 365 * 24 * 3600

_STATIC = files("clawback.web") / "static"

log = logging.getLogger("clawback.web")


@functools.cache
def static(name: str) -> str:
    """Build the URL of a file in `static/`: its hash is in it, so browsers keep the file and get the next one."""
    digest = hashlib.sha256((_STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def form_token(person: Person) -> Markup:
    """Write the field that makes a form one of this visit's."""
    return Markup('<input type="hidden" name="{}" value="{}">').format(FIELD, person.visit.form_token)


_templates = Environment(
    loader=PackageLoader("clawback.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals.update(static=static, form_token=form_token)
_templates.filters.update(words.FILTERS)


def show(template: str, person: Person | None, *, status: int = HTTPStatus.OK, **values: Any) -> Html:  # noqa: ANN401 - what a template shows
    """Answer with a page for `person`, None where nobody is logged in; `values` are the template's variables."""
    text = _templates.get_template(template).render(person=person, **values)
    return Response(text, status_code=status, media_type=MediaType.HTML)


def go_to(path: str, *cookies: Cookie) -> Redirect:
    """Send the browser on to a path of this site, with GET and with these cookies."""
    return Redirect(path, status_code=HTTP_303_SEE_OTHER, cookies=cookies)


def path_of(request: Request[Any, Any, Any]) -> str:
    """Write the path and query of what was asked for, to come back to it later."""
    query = request.scope["query_string"].decode("latin-1")
    return request.url.path + (f"?{query}" if query else "")


def address_of(request: Request[Any, Any, Any]) -> str | None:
    """Say from which address a request came, as far as this machine knows: behind a proxy that is the proxy's."""
    return request.client.host if request.client is not None else None


def build_router(door: Door, place: Place, handlers: Sequence[ControllerRouterHandler], turns: Turns[str]) -> Router:
    """Build the router of the pages: see the package's docstring for what it does for each."""

    async def person(request: Request[Any, Any, Any]) -> Person:
        if request.scope["state"]["person"] is None:
            raise NotLoggedIn("this is for people who are logged in: log in at /login")
        return request.scope["state"]["person"]  # type: ignore[no-any-return] # the router's middleware put it there

    async def visitor(request: Request[Any, Any, Any]) -> Person | None:
        return request.scope["state"]["person"]  # type: ignore[no-any-return] # the same

    async def check_form(request: Request[Any, Any, Any]) -> Redirect | None:
        host = request.headers.get("host", "")
        # A program that asks whether there is a page to open is no browser, and follows nothing.
        asks_only = request.url.path == CLI_PATH and "text/html" not in request.headers.get("accept", "")
        if place.is_elsewhere(host) and not (asks_only and request.method == "GET"):
            return lead_home(request, host)
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return None
        check_origin(request.headers, place)
        known: Person | None = request.scope["state"]["person"]
        if known is not None:
            check_form_token((await request.form()).get(FIELD), known.visit.form_token)
        return None

    def lead_home(request: Request[Any, Any, Any], host: str) -> Redirect:
        asked = path_of(request)
        # Somebody may have put a token there: no answer of ours repeats one.
        way = place.way_home(host, request.url.path if TOKEN_PREFIX in asked else asked)
        if way is None or request.method not in ("GET", "HEAD", "OPTIONS"):
            raise Rejected(f"the pages of this server are at {place.page_url} alone: open that and go on from there")
        return Redirect(way, status_code=HTTP_307_TEMPORARY_REDIRECT)

    return Router(
        "/",
        route_handlers=handlers,
        middleware=[_recognising(door, place, turns)],
        dependencies={"person": Provide(person), "visitor": Provide(visitor)},
        before_request=check_form,
        exception_handlers={NotLoggedIn: _ask_to_log_in, HTTPException: _refuse, Exception: _fail},
        request_class=TimelyRequest,
        request_max_body_size=MAX_FORM_BYTES,
        include_in_schema=False,
    )


def build_static_router(place: Place) -> Router:
    """Build the router of the files that pages are made with."""
    return create_static_files_router(
        "/static",
        directories=[str(_STATIC)],
        cache_control=CacheControlHeader(max_age=YEAR_SECONDS, public=True, immutable=True),
        middleware=[_with_headers(place)],
    )


# --- around every handler -------------------------------------------------------------------------------------------


def _with_headers(place: Place) -> Callable[[ASGIApp], ASGIApp]:
    """Build the middleware that adds the site's headers to an answer."""
    always = headers.build_headers(place)

    def wrap(app: ASGIApp) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_with_headers(message: Message) -> None:
                if message["type"] == "http.response.start":
                    answered = MutableScopeHeaders.from_message(message)
                    for name, value in always:
                        answered[name] = value
                    answered.setdefault(*headers.PRIVATE)
                await send(message)

            await app(scope, receive, send_with_headers)

        return answer

    return wrap


def _recognising(door: Door, place: Place, turns: Turns[str]) -> Callable[[ASGIApp], ASGIApp]:
    """Build the middleware that says who is there, keeps the visit of who comes again, and has a profile take turns."""
    with_headers = _with_headers(place)

    def wrap(app: ASGIApp) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            asked = ASGIConnection[Any, Any, Any, Any](scope)
            # Cookies of another name were shown to whoever listens there.
            elsewhere = place.is_elsewhere(asked.headers.get("host", ""))
            person = None if elsewhere else await door.recognise(asked.cookies)
            scope["state"]["person"] = person
            renewed = door.renew(person) if person is not None else None

            async def send_renewed(message: Message) -> None:
                if message["type"] == "http.response.start" and renewed is not None:
                    answered = MutableScopeHeaders.from_message(message)
                    # A login or logout says something newer.
                    if "set-cookie" not in answered:
                        answered.add("set-cookie", renewed.to_header(header=""))
                await send(message)

            if person is None:
                await app(scope, receive, send_renewed)
            else:
                await turns.serve(person.profile.id, app, scope, receive, send_renewed)

        return with_headers(answer)

    return wrap


# --- when there is no page ------------------------------------------------------------------------------------------


def _ask_to_log_in(request: Request[Any, Any, Any], error: NotLoggedIn) -> Response[Any]:
    """Send a person to the login and then back; refuse a script, which would take a login page for an answer."""
    if "text/html" not in request.headers.get("accept", ""):
        problem = build_problem(error)
        return Response(problem.body, status_code=problem.status, media_type=CONTENT_TYPE)
    if request.method != "GET":
        return go_to("/login")
    return go_to("/login?" + urlencode({"next": path_of(request)}))


def _refuse(request: Request[Any, Any, Any], error: HTTPException) -> Html:
    """Show what the framework refuses: a form with a field missing, or too large."""
    status = HTTPStatus(error.status_code)
    return _show_error(request, status, f"{error.detail or status.description}")


def _fail(request: Request[Any, Any, Any], error: Exception) -> Html:
    """Show our own errors, and that there was a bug, without its text."""
    problem = build_problem(error)
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, ClawbackError):
        log.error("a page failed", exc_info=error)
    return _show_error(request, HTTPStatus(problem.status), msgspec.json.decode(problem.body)["detail"])


def show_missing(place: Place) -> Html:
    """Show that there is no page at a URL; who asks is not looked up for it."""
    status = HTTPStatus.NOT_FOUND
    page = show("error.html", None, status=status, title=status.phrase, detail="There is no page at this address.")
    for name, value in (*headers.build_headers(place), headers.PRIVATE):
        page.set_header(name, value)
    return page


def _show_error(request: Request[Any, Any, Any], status: HTTPStatus, detail: str) -> Html:
    return show("error.html", request.scope["state"].get("person"), status=status, title=status.phrase, detail=detail)
