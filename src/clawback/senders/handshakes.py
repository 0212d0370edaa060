"""
What senders ask before they send events, and what they send only to say that they are there: rows of data. Pure.

A handshake is answered before anything is stored, also where the source is paused, and it is never an event. A preset
names those of its sender (presets/). The first that fits a request answers it.

Two of them are dangerous, and guarded here:

  * An answer that is the HMAC of what the asker chose, under the key that signs events, signs for strangers. So only
    what `PLAIN` describes is signed, which no body of an event may be: see `is_plain`.
  * A secret that comes in a handshake is taken once, and only while the source waits for it.
"""

import re

from msgspec import Struct

from clawback.senders.signatures import InBody, InHeader, InQuery

Place = InHeader | InQuery | InBody

ECHO = "{echo}"
MAC = "{mac}"
"""What an answer's JSON has the handshake's value, or its HMAC, in the place of."""

PLAIN = re.compile(r"[A-Za-z0-9_+/=.-]{1,256}")
"""What a challenge may be: letters, digits and signs of which no object, list, text or signed template is made."""


class Says(Struct, frozen=True):
    """A place where a handshake must have `text`, or anything where that is empty."""

    place: Place
    text: str = ""


class Mac(Struct, frozen=True):
    """How the HMAC-SHA256 of a challenge under the source's secret is written."""

    encoding: str = "hex"
    prefix: str = ""


class Handshake(Struct, frozen=True, kw_only=True):
    """
    One request that is no event, and its answer.

    Fields:
        when: what it has; all of it must be there.
        method: by which it comes.
        signed: whether its signature must pass first. One that is not is no proof of who sent it.
        token: where it must have the source's secret or its verify token; another is told 403.
        echo: the value that is given back, as it came.
        json: the answer, by its names; `ECHO` and `MAC` stand for values. Empty: the echo as text, else nothing to say.
        mac: how `MAC` is made of the echo.
        header: a header of the answer that has the echo.
        status: of the answer.
        keeps: whether the echo is the secret from now on, if the source waits for one.
        visits: the hosts, as a pattern of the whole name, on which a link is visited that `link` has.
        link: where that link is.
    """

    when: tuple[Says, ...]
    method: str = "POST"
    signed: bool = True
    token: Place | None = None
    echo: Place | None = None
    json: tuple[tuple[str, str | int], ...] = ()
    mac: Mac | None = None
    header: str = ""
    status: int = 200
    keeps: bool = False
    visits: str = ""
    link: Place | None = None


def ping(place: Place, text: str, *, signed: bool = True) -> Handshake:
    """Describe the request by which a sender only says that it is there: one place of it says so."""
    return Handshake(when=(Says(place, text),), signed=signed)


def challenge(*, signed: bool = False) -> Handshake:
    """Describe the one of many senders: `challenge` of the body comes back in JSON."""
    place = InBody("challenge")
    return Handshake(when=(Says(place),), signed=signed, echo=place, json=(("challenge", ECHO),))


def is_plain(text: str) -> bool:
    """Whether a text is what a challenge may be, and so nothing that a sender signs as an event."""
    return PLAIN.fullmatch(text) is not None
