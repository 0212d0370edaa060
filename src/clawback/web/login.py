"""The pages by which people come and go: `/login` and `/logout`."""

from http import HTTPStatus
from typing import Any

from litestar import Request, get, post
from litestar.params import FromQuery, URLEncodedBody
from litestar.response import Redirect
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from clawback.errors import RateLimited, Rejected, Unauthorized
from clawback.web import pages
from clawback.web.door import Door
from clawback.web.github_login import GithubLogin
from clawback.web.pages import Html, Visitor
from clawback.web.place import local_path


class TokenForm(Struct, frozen=True):
    """What the login form sends: a token, and where to go on."""

    token: str = ""
    next: str = ""

    def __repr__(self) -> str:
        return "TokenForm(…)"


def build_login_pages(door: Door, github: GithubLogin) -> list[ControllerRouterHandler]:
    """Build the pages of login and logout."""

    def show_login(onward: str, status: HTTPStatus, error: Exception | None = None) -> Html:
        return pages.show(
            "login.html",
            None,
            status=status,
            onward=onward,
            error=None if error is None else str(error),
            github=github.description,
        )

    @get("/login")
    async def login_page(visitor: Visitor, next: FromQuery[str | None] = None) -> Html | Redirect:  # noqa: A002 - the parameter's public name
        onward = local_path(next)
        if visitor is not None:
            return pages.go_to(onward)
        try:
            door.check_private()
        except Rejected as error:
            return pages.show("closed.html", None, status=HTTPStatus.FORBIDDEN, reason=str(error))
        return show_login(onward, HTTPStatus.OK)

    @post("/login", status_code=HTTPStatus.SEE_OTHER)
    async def log_in(request: Request[Any, Any, Any], data: URLEncodedBody[TokenForm]) -> Html | Redirect:
        onward = local_path(data.next)
        try:
            entry = await door.let_in(data.token, pages.address_of(request))
            return pages.go_to(entry.onward(onward), entry.cookie)
        except Unauthorized as error:
            return show_login(onward, HTTPStatus.UNAUTHORIZED, error)
        except RateLimited as error:
            return show_login(onward, HTTPStatus.TOO_MANY_REQUESTS, error)

    @post("/logout", status_code=HTTPStatus.SEE_OTHER)
    async def log_out(visitor: Visitor) -> Redirect:
        return pages.go_to("/login", await door.let_out(visitor))

    return [login_page, log_in, log_out]
