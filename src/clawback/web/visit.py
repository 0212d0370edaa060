"""
A visit: a person's time in a browser, from login to logout. Pure.

It stands in the browser's cookie, sealed, and nowhere else, so any server can read it and none has to keep it. What it
rests on is looked up at every request (`door.py`), and so is whether somebody has ended it: a visit ends with its token
or with a logout, whatever a copy of the cookie says.
"""

from datetime import datetime, timedelta

from msgspec import Struct

IDLE = timedelta(days=30)
"""A visit ends when nobody came for this long."""

LONGEST = timedelta(days=90)
"""And after this long in any case: a copied cookie must not open things for ever by being used."""

RENEW_AFTER = timedelta(days=1)
"""How old the last time seen may grow before the cookie is written again; more often would serve nobody."""


class ByToken(Struct, frozen=True, tag="token"):
    """The visit rests on a token, and ends when that is revoked or replaced."""

    token_id: str

    def describe(self) -> dict[str, object]:
        """Name it for the log."""
        return {"token": self.token_id}


class ByGithub(Struct, frozen=True, tag="github"):
    """The visit rests on a GitHub account, and ends when that is let in no more; `login` was its name at the login."""

    account_id: int
    login: str

    def describe(self) -> dict[str, object]:
        """Name it for the log."""
        return {"github_id": self.account_id, "github_login": self.login}


class Visit(Struct, frozen=True):
    """
    Who is there, since when, and what the visit rests on.

    `id` names it when it is over before its time. `form_token` is the secret that its forms carry, known to its pages
    and to nobody else.
    """

    id: str
    profile_id: str
    rests_on: ByToken | ByGithub
    form_token: str
    begun_at: datetime
    seen_at: datetime

    def is_over(self, now: datetime) -> bool:
        """Tell whether the visit has lasted too long, alone or in all."""
        return now - self.seen_at >= IDLE or now - self.begun_at >= LONGEST

    def is_to_be_renewed(self, now: datetime) -> bool:
        """Tell whether the cookie is to say anew when the person was seen."""
        return now - self.seen_at >= RENEW_AFTER

    def ends_at(self) -> datetime:
        """Tell when it is over at the latest."""
        return self.begun_at + LONGEST
