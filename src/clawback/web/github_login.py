"""
Login with GitHub: the way there, `/auth/github`, and the way back, `/auth/github/callback`.

What stands against each forgery:

- **Somebody else's login in this browser** (login CSRF, a stolen or made-up code): the way back must carry the `state`
  that the way there gave to this very browser, sealed in a cookie. A code is worth nothing without the PKCE verifier,
  which is in that cookie too and never in a URL.
- **The same way back twice**: a state is used up in NATS, for all servers, before anything is asked of GitHub.
- **Made-up codes by the hundred**: from an address that was refused too often GitHub is asked nothing for a while.
- **An old one**: both the cookie and what is sealed in it end after 10 minutes.
- **Being sent elsewhere**: GitHub gets the redirect URI of the settings, and the person goes on to a path of this site,
  which travelled in the cookie.

The cookie is `Lax`: coming back from GitHub is a link that is followed, which carries it. The way there is a link too:
the policy of our pages lets no form end at another site, and a login that somebody else began leads to one's own
account.
"""

import hmac
import logging
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from litestar import Request, get
from litestar.datastructures import Cookie
from litestar.params import FromQuery
from litestar.response import Redirect
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from clawback.accounts.gate import Gate
from clawback.accounts.github import Github
from clawback.accounts.people import People
from clawback.accounts.vault import Vault
from clawback.errors import Rejected, Unauthorized
from clawback.store.once import Once
from clawback.web import pages
from clawback.web.door import Door
from clawback.web.place import Place, local_path
from clawback.web.seal import Sealer
from clawback.web.visit import ByGithub

CALLBACK_PATH = "/auth/github/callback"

COOKIE = "login"
STATE = "state"

LOGIN_TIME = timedelta(minutes=10)
"""Enough for a second factor; a state that is older may have been read off a screen or a log."""

VERIFIER_BYTES = 32
"""43 characters, the least and the usual of RFC 7636 section 4.1."""

log = logging.getLogger("clawback.web")


class Attempt(Struct, frozen=True):
    """A login that was begun in this browser."""

    state: str
    verifier: str
    onward: str
    begun_at: datetime


class Description(Struct, frozen=True):
    """What pages say of a login with GitHub: which GitHub, and whether anybody may come."""

    host: str
    nobody: bool


class GithubLogin:
    """Logins with GitHub; `github` is None where the settings say nothing of it."""

    def __init__(
        self,
        github: Github | None,
        people: People,
        gate: Gate,
        door: Door,
        vault: Vault,
        once: Once,
        place: Place,
    ) -> None:
        self._github = github
        self._people = people
        self._gate = gate
        self._door = door
        self._sealer = Sealer(vault, COOKIE)
        self._once = once
        self._place = place

    @property
    def description(self) -> Description | None:
        """What pages say of it; None where there is no login with GitHub."""
        if self._github is None:
            return None
        return Description(self._github.url.partition("://")[2], self._people.is_empty)

    def begin(self, onward: str) -> tuple[str, Cookie]:
        """
        Begin a login, and return where to send the browser and the cookie that it needs to come back.

        Raises:
            Rejected: there is no login with GitHub here, or nobody may come.
        """
        github = self._known_github()
        self._door.check_private()
        if self._people.is_empty:
            raise Rejected(
                "nobody can log in with GitHub here yet: the operator of this server sets github_logins to the"
                " logins or ids that may"
            )
        state, verifier = secrets.token_urlsafe(VERIFIER_BYTES), secrets.token_urlsafe(VERIFIER_BYTES)
        attempt = Attempt(state, verifier, onward, datetime.now(UTC))
        cookie = self._place.cookie(COOKIE, self._sealer.seal(attempt), int(LOGIN_TIME.total_seconds()))
        return github.authorize_url(state, verifier), cookie

    async def complete(self, cookies: dict[str, str], state: str, code: str, address: str | None) -> tuple[str, Cookie]:
        """
        Complete a login that this browser began, and return where to go on and the cookie of the visit.

        Raises:
            Rejected: this browser began no such login, or not lately, or it is completed already, or GitHub says so.
            Unauthorized: the account is not let in.
            RateLimited: too many were refused that came from this address.
            ConfigError, Unavailable: GitHub cannot be asked now.
        """
        github = self._known_github()
        sealed = cookies.get(self._place.cookie_name(COOKIE))
        attempt = self._sealer.open(sealed, Attempt) if sealed else None
        if attempt is None or not hmac.compare_digest(attempt.state.encode(), state.encode()):
            raise Rejected("this login was not begun in this browser, or another one was since: begin it again")
        if datetime.now(UTC) - attempt.begun_at >= LOGIN_TIME:
            raise Rejected("this login was begun more than 10 minutes ago: begin it again")
        # Not before: a page elsewhere can send a browser here as often as it likes, but not with this browser's state.
        async with self._gate.attempt(address):
            # Longer than the attempt lives: it is over before its state is forgotten.
            if not await self._once.use(STATE, state, 2 * LOGIN_TIME.total_seconds()):
                raise Rejected("this login is completed already: begin a new one")
            account = await github.fetch_account(code, attempt.verifier)
            rests_on = ByGithub(account.id, account.login)
            try:
                profile_id = await self._people.admit(account)
            except Unauthorized:
                log.info("a GitHub account was refused", extra={"action": "login_refused"} | rests_on.describe())
                raise
        entry = self._door.begin(profile_id, rests_on)
        return entry.onward(attempt.onward), entry.cookie

    def forget(self) -> Cookie:
        """Return the cookie that makes the browser forget the login it began."""
        return self._place.cookie(COOKIE, "", 0)

    def _known_github(self) -> Github:
        if self._github is None:
            raise Rejected(
                "there is no login with GitHub here: log in with a token, or the operator of this server sets"
                " github_client_id, github_client_secret and github_logins"
            )
        return self._github


def build_github_pages(login: GithubLogin) -> list[ControllerRouterHandler]:
    """Build the way to GitHub and the way back."""

    @get("/auth/github")
    async def begin(next: FromQuery[str | None] = None) -> Redirect:  # noqa: A002 - the parameter's public name
        url, cookie = login.begin(local_path(next))
        return pages.go_to(url, cookie)

    @get(CALLBACK_PATH)
    async def come_back(request: Request[Any, Any, Any]) -> Redirect:
        sent = request.query_params
        if "error" in sent or not sent.get("code"):
            raise Rejected("GitHub sent nobody back: the login was refused there, or cancelled")
        address = pages.address_of(request)
        onward, visit = await login.complete(request.cookies, sent.get("state", ""), sent["code"], address)
        return pages.go_to(onward, visit, login.forget())

    return [begin, come_back]
