"""
Who is there: from the cookie of a request to a person, at every request anew.

A visit is over when its time is, when the token that it rests on was revoked or replaced, or when its key is in no
ring any more; a cookie that was changed or made up is none. Nobody is told which: all of it is "not logged in".
"""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from clawback.accounts.tokens import Tokens
from clawback.accounts.vault import Vault
from clawback.errors import Rejected, Unauthorized
from clawback.fabric.registry import Registry
from clawback.model import Profile, TokenRecord, random_id
from clawback.web.place import Place
from clawback.web.seal import Sealer
from clawback.web.visit import IDLE, Visit

COOKIE = "visit"

FORM_TOKEN_CHARACTERS = 26
"""130 random bits."""


class Person(Struct, frozen=True):
    """Somebody who is logged in: their profile, and the visit by which we know."""

    profile: Profile
    visit: Visit

    @property
    def token_id(self) -> str:
        """The token that the person logged in with."""
        return self.visit.token_id


class Door:
    """Lets people in, knows them again, and lets them out."""

    def __init__(
        self,
        vault: Vault,
        tokens: Tokens,
        registry: Registry,
        place: Place,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._sealer = Sealer(vault, COOKIE)
        self._tokens = tokens
        self._registry = registry
        self._place = place
        self._now = now

    async def let_in(self, token: str) -> str:
        """
        Begin a visit with a token, and return the `Set-Cookie` that holds it.

        Always a new visit: whatever cookie the browser came with, somebody else may know.

        Raises:
            Rejected: tokens would cross the network in the clear.
            Unauthorized: the token opens nothing.
            Unavailable: NATS does not answer.
        """
        self.check_private()
        record: TokenRecord = await self._tokens.verify(token.strip())
        now = self._now()
        return self._cookie(Visit(record.profile_id, record.id, random_id(FORM_TOKEN_CHARACTERS), now, now))

    async def recognise(self, cookies: dict[str, str]) -> Person | None:
        """
        Find who a request's cookies speak for; None where nobody is logged in.

        Raises:
            Unavailable: NATS does not answer.
        """
        sealed = cookies.get(self._place.cookie_name(COOKIE))
        visit = self._sealer.open(sealed, Visit) if sealed else None
        if visit is None or visit.is_over(self._now()):
            return None
        if self._tokens.find(visit.profile_id, visit.token_id) is None:
            return None
        profile = await self._registry.find_profile(visit.profile_id)
        return None if profile is None else Person(profile, visit)

    def renew(self, person: Person) -> str | None:
        """Return the `Set-Cookie` that says that the person was seen today, where the cookie does not say so yet."""
        now = self._now()
        if not person.visit.is_to_be_renewed(now):
            return None
        return self._cookie(msgspec.structs.replace(person.visit, seen_at=now))

    def let_out(self) -> str:
        """Return the `Set-Cookie` that makes a browser forget its visit."""
        return self._set_cookie("", 0)

    def check_private(self) -> None:
        """
        Check that a login here is nobody else's to read.

        Raises:
            Rejected: the public URL is http on a network.
        """
        if not self._place.private:
            raise Rejected(
                f"nobody logs in at {self._place.public_url}: over http, everybody on the way could read along. Put the"
                " server behind https and set public_url to that URL"
            )

    def _cookie(self, visit: Visit) -> str:
        return self._set_cookie(self._sealer.seal(visit), int(IDLE.total_seconds()))

    def _set_cookie(self, value: str, max_age_s: int) -> str:
        secure = "; Secure" if self._place.secure else ""
        name = self._place.cookie_name(COOKIE)
        return f"{name}={value}; Max-Age={max_age_s}; Path=/; HttpOnly; SameSite=Lax{secure}"


class NotLoggedIn(Unauthorized):
    """The page is for people who are logged in."""
