"""
What senders ask before they send events, and what they send only to say that they are there: rows of data. Pure.

A handshake is answered before anything is stored, also where the source is paused, and it is never an event. A preset
names those of its sender (presets/). The first that fits a request answers it.

Two of them are dangerous, and guarded here:

  * An answer that is the HMAC of what the asker chose, under the key that signs events, signs for strangers. So only
    what `PLAIN` describes is signed, and no body that is like that is taken for an event: see `is_plain`.
  * A secret that comes in a handshake is taken once, and only while the source waits for it.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence

from msgspec import Struct

from clawback.errors import BadPayload, BadSignature
from clawback.model import encode_json
from clawback.senders.request import Request
from clawback.senders.signatures import InBody, InHeader, InNumbered, InQuery, encode_digest

Place = InHeader | InQuery | InBody

ECHO = "{echo}"
MAC = "{mac}"
"""What an answer's JSON has the handshake's value, or its HMAC, in the place of."""

PLAIN = re.compile(r"[A-Za-z0-9_+/=.-]{1,256}")
"""What a challenge may be: letters, digits and signs of which no object, list, text or signed template is made."""

MAX_HELLO_BYTES = 64 * 1024
"""Of a body that is looked at before anybody proved anything; handshakes have some hundred."""

MAX_ECHO_CHARACTERS = 1024
"""Of a value in the URL that is given back. Microsoft's have a sentence in them."""

_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"


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
        visits: the pattern of a whole URL; one that is like that is visited, and no other.
        link: the path of the body at which it stands.
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
    link: str = ""


def ping(place: Place, text: str, *, signed: bool = True) -> Handshake:
    """Describe the request by which a sender only says that it is there: one place of it says so."""
    return Handshake(when=(Says(place, text),), signed=signed)


def challenge(*, signed: bool = False) -> Handshake:
    """Describe the one of many senders: `challenge` of the body comes back in JSON."""
    place = InBody("challenge")
    return Handshake(when=(Says(place),), signed=signed, echo=place, json=(("challenge", ECHO),))


def keeps_secret(handshakes: Sequence[Handshake]) -> bool:
    """Whether a sender brings its secret itself, so that a source of its kind is made without one."""
    return any(each.keeps for each in handshakes)


def describe_handshake(handshake: Handshake) -> str:
    """Describe a handshake to a person: what comes, and what it is answered."""
    told = {InHeader: "the header {}", InQuery: "{} in the URL", InBody: "{} in the body"}

    def name(place: Place) -> str:
        return told[type(place)].format(f"`{place.path if isinstance(place, InBody) else place.name}`")

    signs = [f"{name(each.place)}{f' `{each.text}`' if each.text else ''}" for each in handshake.when]
    asked = f"{handshake.method} with {' and '.join(signs)}{'' if handshake.signed else ', unsigned'}"
    if handshake.keeps:
        return f"{asked}: kept as the secret, once, while the source waits for one"
    if handshake.visits:
        return f"{asked}: its link is visited"
    if handshake.mac is not None:
        return f"{asked}: answered with its HMAC"
    if handshake.echo is not None:
        return f"{asked}: {'checked, and ' if handshake.token else ''}given back"
    return f"{asked}: {'the source is marked as connected' if handshake.signed else 'answered'}"


class Reply(Struct, frozen=True, kw_only=True):
    """
    What a handshake is answered, and what else it asks for.

    `proven`: whether the request showed that it is the sender's. `keep` is a secret to take, `link` one to visit.
    """

    handshake: Handshake
    status: int = 200
    content_type: str = ""
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    proven: bool = False
    keep: str | None = None
    link: str | None = None


def find_handshake(handshakes: Sequence[Handshake], request: Request) -> Handshake | None:
    """Find the first that a request is."""
    for each in handshakes:
        if each.method == request.method and all(_fits(says, request) for says in each.when):
            return each
    return None


def reply(
    handshake: Handshake,
    request: Request,
    secrets: Sequence[bytes],
    key: Callable[[bytes], bytes] | None = None,
    *,
    verified: bool = False,
) -> Reply | None:
    """
    Answer a request that is a handshake; None where what it asks is nothing that may be answered.

    `secrets` are the source's, opened, the current one first; `key` makes the key of an HMAC from one. `verified`:
    the request's signature has passed.

    Raises:
        BadSignature: there is no key, or an HMAC is asked of what could be an event.
    """
    token = None if handshake.token is None else read_place(request, handshake.token) or ""
    if token is not None and not any(is_token(token, secret) for secret in secrets):
        return None
    echo = "" if handshake.echo is None else read_place(request, handshake.echo)
    if echo is None or not echo.isprintable():
        return None
    mac = ""
    if handshake.mac is not None:
        mac = _mac(handshake.mac, echo, next((made for each in secrets if (made := (key or bytes)(each))), b""))
    if handshake.json:
        content_type = _JSON
        body = encode_json({name: {ECHO: echo, MAC: mac}.get(str(each), each) for name, each in handshake.json})
    else:
        shown = handshake.echo is not None and not handshake.header and not handshake.keeps
        content_type, body = (_TEXT, echo.encode()) if shown else ("", b"")
    return Reply(
        handshake=handshake,
        status=handshake.status,
        content_type=content_type,
        body=body,
        headers=((handshake.header, echo),) if handshake.header else (),
        proven=verified or token is not None,
        keep=echo if handshake.keeps else None,
        link=_read_link(request, handshake),
    )


def verify_token(secret: bytes) -> str:
    """Make the token that a person enters at a sender which asks the URL for one: it must not show the secret."""
    return hashlib.blake2b(b"verify token", key=hashlib.sha256(secret).digest(), digest_size=16).hexdigest()


def is_token(text: str, secret: bytes) -> bool:
    """Whether a text is a source's verify token, or the secret itself."""
    given = text.encode("utf-8", "replace")
    return bool(secret) and (
        hmac.compare_digest(given, verify_token(secret).encode()) | hmac.compare_digest(given, secret)
    )


def is_plain(text: bytes) -> bool:
    """Whether a body is what a challenge may be. Then anybody can have had it signed, and it is no event."""
    return len(text) <= MAX_ECHO_CHARACTERS and PLAIN.fullmatch(text.decode("latin-1")) is not None


def read_place(request: Request, place: Place | InNumbered) -> str | None:
    """Read a value that stands there once; None where it is not there, too long, or no text."""
    values: list[bytes] = []
    match place:
        case InHeader(name):
            values = request.headers.all(name)
        case InNumbered(name):
            values = request.headers.all(f"{name}1")
        case InQuery(name):
            values = request.query_values(name)
        case InBody(path):
            try:
                return request.text_at(path)
            except BadPayload:
                return None
    if len(values) != 1 or not 0 < len(values[0]) <= MAX_ECHO_CHARACTERS:
        return None
    try:
        return values[0].decode()
    except UnicodeDecodeError:
        return None


def _read_link(request: Request, handshake: Handshake) -> str | None:
    """Read the link that is to be visited; it is as long as links are, and None where it leads elsewhere."""
    link = request.string_at(handshake.link) if handshake.visits else None
    return link if link is not None and re.fullmatch(handshake.visits, link) else None


def _fits(says: Says, request: Request) -> bool:
    # A header, as nearly all of them are, costs one look-up: every webhook of GitHub comes by here.
    if isinstance(says.place, InHeader) and says.text:
        return request.headers.get(says.place.name) == says.text
    found = read_place(request, says.place)
    return bool(found) if not says.text else found == says.text


def _mac(how: Mac, text: str, key: bytes) -> str:
    if not key:
        raise BadSignature("the challenge cannot be answered: the source has no secret that fits it")
    if PLAIN.fullmatch(text) is None:
        raise BadSignature("the challenge is not signed: it is no plain token, and could be an event")
    return how.prefix + encode_digest(hmac.digest(key, text.encode(), "sha256"), how.encoding).decode()
