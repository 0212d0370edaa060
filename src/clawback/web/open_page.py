"""
`/auth/open`: a link that logs its holder in, once, for `clawback open`.

A program shows its token and is given a link, which names a code and no token. Looking at the link uses nothing up: a
mail scanner or a preview may do that. Its button does, within 2 minutes. The visit rests on the token, and so ends when
that is revoked.
"""

from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Router, get, post
from litestar.params import FromQuery, URLEncodedBody
from litestar.response import Redirect
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from clawback.accounts.gate import Gate
from clawback.api.answers import Answer, documented
from clawback.api.requests import ApiRequest
from clawback.errors import NotFound, Unauthorized
from clawback.model import encode_json, random_id
from clawback.store.once import Once
from clawback.web import pages
from clawback.web.door import Door
from clawback.web.pages import Html
from clawback.web.place import HOME, Place
from clawback.web.visit import ByToken

PATH = "/auth/open"
LINK_PATH = "/auth/open/link"

CODE_CHARACTERS = 26
"""130 random bits."""

TTL_SECONDS = 120.0
KIND = "open"

UNKNOWN = "this link was used, or is older than 2 minutes: run clawback open again"


class Grant(Struct, frozen=True):
    """Whose link it is."""

    profile_id: str
    token_id: str


class OpenForm(Struct, frozen=True):
    """What the button sends."""

    code: str = ""

    def __repr__(self) -> str:
        return "OpenForm(…)"


class PageLink(Answer, frozen=True):
    """A link that logs in whoever opens it first."""

    url: str
    seconds: int


EXAMPLE = {"url": "https://hooks.example.com/auth/open?code=…", "seconds": int(TTL_SECONDS)}


def build_open_pages(door: Door, once: Once) -> list[ControllerRouterHandler]:
    """Build the page behind the link."""

    @get(PATH)
    async def ask(code: FromQuery[str | None] = None) -> Html:
        door.check_private()
        return pages.show("open.html", None, code=(code or "")[:CODE_CHARACTERS])

    @post(PATH, status_code=HTTPStatus.SEE_OTHER)
    async def enter(data: URLEncodedBody[OpenForm]) -> Redirect:
        door.check_private()
        stored = await once.take(KIND, data.code, TTL_SECONDS)
        if stored is None:
            raise NotFound(UNKNOWN)
        grant = msgspec.json.decode(stored, type=Grant)
        return pages.go_to(HOME, door.begin(grant.profile_id, ByToken(grant.token_id)).cookie)

    return [ask, enter]


def build_link_router(door: Door, once: Once, gate: Gate, place: Place) -> Router:
    """Build the endpoint where a program gets a link for its token. It takes no cookies."""

    @post(
        LINK_PATH,
        status_code=HTTPStatus.CREATED,
        operation_id="page_link",
        summary="Make a link that logs its holder in to the page, once, within 2 minutes",
        responses=documented(201, PageLink, EXAMPLE),
        security=[{"token": []}],
    )
    async def link(request: Request[Any, Any, Any]) -> dict[str, Any]:
        """Make a link. The visit that it begins ends when the token of this request is revoked."""
        door.check_private()
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized("no valid token: send the header 'Authorization: Bearer cbt_…'")
        record = await gate.admit(token.strip(), pages.address_of(request))
        code = random_id(CODE_CHARACTERS)
        await once.put(KIND, code, encode_json(Grant(record.profile_id, record.id)), TTL_SECONDS)
        return {"url": f"{place.page_url}{PATH}?code={code}", "seconds": int(TTL_SECONDS)}

    return Router("/", route_handlers=[link], request_class=ApiRequest, response_headers={"Cache-Control": "no-store"})
