"""
Who is there: from the cookie of a request to a person, at every request anew.

A visit is over when its time is, when somebody logged it out, when what it rests on is no more (the token was revoked
or replaced, the GitHub account is let in no longer), or when its key is in no ring; a cookie that was changed or made
up is none. Nobody is told which: all of it is "not logged in".
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
from litestar.datastructures import Cookie
from msgspec import Struct

from clawback.accounts.gate import Gate
from clawback.accounts.people import People
from clawback.accounts.tokens import Tokens
from clawback.accounts.vault import Vault
from clawback.errors import Rejected, Unauthorized
from clawback.model import Profile, random_id
from clawback.store.once import Once
from clawback.store.registry import Registry
from clawback.web.place import CLI_PATH, PAGE_NAME, PROOF, Place
from clawback.web.seal import Sealer
from clawback.web.visit import IDLE, ByGithub, ByToken, Visit

COOKIE = "visit"

log = logging.getLogger("clawback.web")

SECRET_CHARACTERS = 26
"""130 random bits."""


PROOF_TIME = timedelta(minutes=10)
"""How long a login proves that the person is there, and not a copy of their cookie: enough to read the next page."""


class Proof(Struct, frozen=True):
    """The login of a visit, as its browser alone was told of it: in the answer to it, and in no cookie."""

    visit_id: str
    at: datetime


class Entry(Struct, frozen=True):
    """What a login gives: the cookie of the visit, and the proof that it has just begun."""

    cookie: Cookie
    proof: str

    def onward(self, path: str) -> str:
        """Write where to go on; to the page that makes tokens with the proof, in place of one that was there."""
        url = urlsplit(path)
        if url.path != CLI_PATH:
            return path
        fields = [(name, value) for name, value in parse_qsl(url.query) if name != PROOF]
        return f"{CLI_PATH}?{urlencode([*fields, (PROOF, self.proof)])}"


class Person(Struct, frozen=True):
    """Somebody who is logged in: their profile, and the visit by which we know."""

    profile: Profile
    visit: Visit

    @property
    def token_id(self) -> str:
        """The token that the person logged in with; empty where they came by GitHub, and no token is theirs."""
        return self.visit.rests_on.token_id if isinstance(self.visit.rests_on, ByToken) else ""

    @property
    def github(self) -> ByGithub | None:
        """The GitHub account that the person logged in with, if it was one."""
        return self.visit.rests_on if isinstance(self.visit.rests_on, ByGithub) else None


class Door:
    """Lets people in, knows them again, and lets them out."""

    def __init__(
        self,
        vault: Vault,
        gate: Gate,
        tokens: Tokens,
        people: People,
        registry: Registry,
        once: Once,
        place: Place,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        # Under the name of the pages: a visit of before they had one was shown to every port of 127.0.0.1.
        self._sealer = Sealer(vault, f"{COOKIE} {PAGE_NAME}" if place.moved else COOKIE)
        self._proofs = Sealer(vault, PROOF)
        self._gate = gate
        self._tokens = tokens
        self._people = people
        self._registry = registry
        self._once = once
        self._place = place
        self._now = now

    async def let_in(self, token: str, address: str | None) -> Entry:
        """
        Begin a visit with a token that somebody at an address shows, and return what holds it.

        Raises:
            Rejected: tokens would cross the network in the clear.
            Unauthorized: the token opens nothing.
            RateLimited: nor did too many others of this address.
            Unavailable: NATS does not answer.
        """
        self.check_private()
        try:
            record = await self._gate.admit(token.strip(), address)
        except Unauthorized:
            log.info("a token was refused", extra={"action": "login_refused", "address": address})
            raise
        return self.begin(record.profile_id, ByToken(record.id))

    def begin(self, profile_id: str, rests_on: ByToken | ByGithub) -> Entry:
        """
        Begin a visit of somebody who has shown who they are, and return what holds it.

        Always a new visit: whatever cookie the browser came with, somebody else may know.
        """
        now = self._now()
        visit = Visit(random_id(SECRET_CHARACTERS), profile_id, rests_on, random_id(SECRET_CHARACTERS), now, now)
        log.info("a person logged in", extra={"action": "logged_in", "profile": profile_id} | rests_on.describe())
        return Entry(self._cookie(visit), self._proofs.seal(Proof(visit.id, now)))

    def is_proof(self, person: Person, proof: str) -> bool:
        """Tell whether a text proves that a person has just logged in: their cookie alone does not."""
        known = self._proofs.open(proof, Proof)
        return known is not None and known.visit_id == person.visit.id and self._now() - known.at < PROOF_TIME

    async def prove(self, person: Person, token: str, address: str | None) -> bool:
        """
        Tell whether a token that is shown now is one of the person's profile.

        Raises:
            Unauthorized: the token opens nothing.
            RateLimited: nor did too many others of this address.
            Unavailable: NATS does not answer.
        """
        record = await self._gate.admit(token.strip(), address)
        return record.profile_id == person.profile.id

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
        if not await self._still_rests(visit) or await self._once.is_used(COOKIE, visit.id):
            return None
        profile = await self._registry.find_profile(visit.profile_id)
        return None if profile is None else Person(profile, visit)

    def renew(self, person: Person) -> Cookie | None:
        """Return the cookie that says that the person was seen today, where theirs does not say so yet."""
        now = self._now()
        if not person.visit.is_to_be_renewed(now):
            return None
        return self._cookie(msgspec.structs.replace(person.visit, seen_at=now))

    async def let_out(self, person: Person | None) -> Cookie:
        """
        End a visit, for every copy of its cookie, and return the cookie that makes the browser forget it.

        Raises:
            Unavailable: not known to be ended.
        """
        if person is not None:
            left = person.visit.ends_at() - self._now()
            await self._once.use(COOKIE, person.visit.id, left.total_seconds())
            log.info("a person logged out", extra={"action": "logged_out", "profile": person.profile.id})
        return self._place.cookie(COOKIE, "", 0)

    def check_private(self) -> None:
        """
        Check that a login here is nobody else's to read.

        Raises:
            Rejected: the public URL is http on a network.
        """
        if not self._place.private:
            raise Rejected(
                f"nobody logs in at {self._place.page_url}: over http, everybody on the way could read along. Put the"
                " server behind https and set public_url to that URL"
            )

    async def _still_rests(self, visit: Visit) -> bool:
        match visit.rests_on:
            case ByToken(token_id):
                return self._tokens.find(visit.profile_id, token_id) is not None
            case ByGithub(account_id):
                return await self._people.is_allowed(account_id, visit.profile_id)

    def _cookie(self, visit: Visit) -> Cookie:
        return self._place.cookie(COOKIE, self._sealer.seal(visit), int(IDLE.total_seconds()))


class NotLoggedIn(Unauthorized):
    """The page is for people who are logged in."""
