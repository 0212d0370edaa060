"""
Webhook signatures: one engine for every row of every preset. Pure.

A row says where the signature is, what is signed, how and with which secret. A preset has one row or more: of those
whose signature the request carries and which fit a secret of the source, the first decides, and nothing falls back
to the next. So a request signed wrongly in the new way is not saved by being right in the old one.

What is never taken for granted:

  * The bytes are verified as received, before anything parses them.
  * The expected signature is encoded and compared, the given one never decoded: base64 and hex have several spellings
    of one value and lenient decoders, a comparison has neither. Comparisons take constant time, on bytes. Where a
    public key verifies, the given one must be the one spelling of what it decodes to.
  * Fail closed: no secret, an empty one, or one that is no key for the scheme verifies nothing.
  * Two copies of a header that counts are refused; a proxy might have read the other one.
  * Timestamps are plain ASCII digits, and both sides of the tolerance count.

The rows are data, in senders/presets/. The tests hold them against the vendors' published vectors, and against a second
hand that signs.
"""

import base64
import binascii
import hashlib
import hmac
import re
import zlib
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache, partial
from typing import Any
from urllib.parse import quote, urlsplit

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from msgspec import Struct
from msgspec.structs import replace

from clawback.errors import BadPayload, BadSignature
from clawback.model import SignatureRule, TimestampRule
from clawback.senders.published import KEY_ID, Published, Wanted
from clawback.senders.request import MAX_FORM_FIELDS, Request
from clawback.senders.tokens import TokenRule, check_token, read_key_id

ALGORITHMS = ("sha1", "sha256", "sha384", "sha512")
"""What a `generic` source may name. SHA-1 is broken for collisions, which an HMAC does not rest on (RFC 6151, 2.3)."""

ENCODINGS = ("hex", "base64", "base64url")
"""Of a digest: hex in lower case, base64 with padding, base64url without."""

TOKEN = "token"  # noqa: S105 -- no secret, its kind
BASIC = "basic"
ED25519 = "ed25519"
ECDSA = "ecdsa-p256"
RSA_SHA1 = "rsa-sha1"
RSA_SHA256 = "rsa-sha256"
DIGEST = "digest-sha256"
JWT = "jwt"
"""
What a row can ask for instead of an HMAC: the secret itself, as it is or as HTTP's basic; a public key's signature; a
hash with the secret in front, which is no HMAC; a signed token.
"""

TOLERANCE_S = 300
"""How far a signed timestamp may be from now: five minutes both ways, as Stripe, Slack and Standard Webhooks advise."""

MAX_SIGNATURES = 16
"""In one header. Senders give two while a secret is rolled; each more is work that a stranger could ask for."""

MAX_SIGNATURE_CHARACTERS = 2048
"""Of a signature in the body: one of RSA with 4096 bits has 684."""

_SIGNING_PREFIX = b"whsec_"
_DIGITS = re.compile(rb"[0-9]{1,13}")
_RFC3339 = re.compile(
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_FIELD = re.compile(
    r"\{(body|timestamp|id|url|method|path|query|encoded_path|signed_headers|secret|crc32|form_sorted"
    r"|header:[^{}]+|json:[^{}]+|form:[^{}]+|lines:[^{}]+)\}"
)

RULE_FIELDS = frozenset(("body", "timestamp", "url", "method", "path", "query", "header", "json", "form"))
"""Which of them the template of an `hmac` source may have."""

MAX_NUMBERED = 100
"""Of headers that are alike but for a number: DocuSign sends one for each of its keys."""

MAX_TELLING_BYTES = 2 * 1024 * 1024
"""Of a body that has to be read before it is verified: its signature, or where its key is, stands in it."""

_PER_SECOND = {"s": 1, "ms": 1000}
UNITS = ("s", "ms", "rfc3339")
"""Of a signed time. RFC 3339 is signed as it stands, never as it would be written anew."""


class InHeader(Struct, frozen=True):
    """A value in a header of its own."""

    name: str


class InNumbered(Struct, frozen=True):
    """Values in headers that are numbered from 1 on, each of which may be the one that counts."""

    name: str


class InQuery(Struct, frozen=True):
    """A value in the query of the URL, by its name."""

    name: str


class InSignature(Struct, frozen=True):
    """A value among the signatures in their header, told by what stands before it."""

    prefix: bytes


class InBody(Struct, frozen=True):
    """A value in the JSON body, by its path. Read after the signature passed."""

    path: str


class Clock(Struct, frozen=True):
    """
    Where a request says when it was signed, in what unit, and how far that may be from now.

    `late_s` is how long ago it may be where the sender sends the same bytes again, its first time included. Such
    requests are told apart by their bytes (webhooks/intake.py), so that one that was caught is no second event.
    """

    place: InHeader | InSignature | InBody
    unit: str = "s"
    tolerance_s: int = TOLERANCE_S
    late_s: int = 0


def as_text(secret: bytes) -> bytes:
    """Take a secret as the key itself."""
    return secret


def as_base64(secret: bytes) -> bytes:
    """Decode a Standard Webhooks secret; the libraries take it with and without `whsec_`."""
    try:
        return base64.b64decode(secret.removeprefix(_SIGNING_PREFIX), validate=True)
    except binascii.Error:
        return b""


def as_plain_base64(secret: bytes) -> bytes:
    """Decode a key that its sender shows in base64, with nothing in front."""
    try:
        return base64.b64decode(secret, validate=True)
    except binascii.Error:
        return b""


def as_hex(secret: bytes) -> bytes:
    """Decode a key that its sender shows in hex."""
    try:
        return binascii.unhexlify(secret)
    except binascii.Error:
        return b""


def as_private_key(secret: bytes) -> bytes | None:
    """Tell a private key in PEM, which verifies nothing; None where it is something else."""
    return secret if secret.startswith(b"-----BEGIN") and b"PRIVATE KEY" in secret[:64] else None


def as_public_key(secret: bytes) -> bytes:
    """Read a public key in PEM, or its bytes in hex or base64; what is none of these is no key."""
    if as_private_key(secret) is not None:
        return b""
    if secret.startswith(b"-----BEGIN"):
        body = b"".join(line.strip() for line in secret.splitlines() if not line.startswith(b"-----"))
        return as_plain_base64(body)
    return as_hex(secret) or as_plain_base64(secret)


def as_base64_or_text(secret: bytes) -> bytes:
    """Decode a Standard Webhooks secret, and take another text as the key itself, as some senders' SDKs do."""
    return as_base64(secret) if secret.startswith(_SIGNING_PREFIX) else secret


def as_supabase(secret: bytes) -> bytes:
    """Decode what Supabase shows, `v1,whsec_…`; of several with `|` between them the first, since all of them sign."""
    first = secret.partition(b"|")[0].removeprefix(b"v1,")
    return as_base64(first) if first.startswith(_SIGNING_PREFIX) else b""


KEY_FORMS: dict[str, Callable[[bytes], bytes]] = {"text": as_text, "base64": as_base64, "hex": as_hex}
"""How a source of type `hmac` may say that its secret is to be read."""


def as_signing_token(secret: bytes) -> bytes:
    """Decode GitLab's signing token, and nothing else."""
    return as_base64(secret) if secret.startswith(_SIGNING_PREFIX) else b""


def as_plain_token(secret: bytes) -> bytes:
    """Keep GitLab's two kinds of secret apart: a signing token that came back in the clear proves nothing."""
    return b"" if secret.startswith(_SIGNING_PREFIX) else secret


class Row(Struct, frozen=True, kw_only=True):
    """
    One way to sign a request.

    Fields:
        place: where the signature is; a text names a header.
        separator: stands between several signatures in it; empty: there is one.
        prefix: stands before each signature that counts; others are passed over.
        optional_prefix: whether a signature also counts without it.
        algorithm: the hash of an HMAC, one of `ALGORITHMS`; or `TOKEN`, `BASIC`, `ED25519`, `ECDSA`.
        encoding: of the signature, one of `ENCODINGS`.
        any_case: whether a hex digest counts in capitals too.
        signed: the signed text, as a template: `{body}`, `{timestamp}`, `{id}`, `{url}`, `{method}`, `{path}`,
            `{query}`, `{header:NAME}`, `{json:PATH}` and `{form:NAME}` stand for what the request has. A few senders
            need more: `{secret}`, `{crc32}` of the body, `{form_sorted}` of a form's names and values, `{encoded_path}`
            and `{signed_headers}` as Contentful writes them, `{lines:NAME NAME}` of the body's strings as SNS does.
        clock: where the time is; None: there is none, and only the delivery id tells a replay.
        delivery: where the delivery id is. It is signed where the template or the body holds it.
        falls_through: whether the next row may still pass a request that this one refuses: two headers under two keys.
        only: places and what they must have (anything where that is empty) for the row to count at all.
        urls: the forms of the URL that its sender may have signed, any of which counts; None: it as it was called.
        hash_in: the place of a hash of the body, in hex, where the URL is signed and has it.
        each, item: the list, and the path in each of its items, where every item of a body is signed by itself.
        jwt: what a token must say.
        published: where the key is, which the secret then is not.
        bound: a template that must be the secret: who may send, where everybody's requests are signed with one key.
        key: makes the key from a secret as a person entered it, or nothing where it does not fit.
    """

    place: InHeader | InNumbered | InQuery | InBody
    separator: bytes = b""
    prefix: bytes = b""
    optional_prefix: bool = False
    algorithm: str = "sha256"
    encoding: str = "hex"
    any_case: bool = False
    signed: str = "{body}"
    clock: Clock | None = None
    delivery: InHeader | InBody | None = None
    falls_through: bool = False
    only: tuple[tuple[InHeader | InQuery | InBody, str], ...] = ()
    urls: Callable[[str], Sequence[str]] | None = None
    hash_in: InQuery | None = None
    each: str = ""
    item: str = ""
    jwt: TokenRule | None = None
    published: Published | None = None
    bound: str = ""
    key: Callable[[bytes], bytes] = as_text

    @property
    def where(self) -> str:
        """Name the place of the signature."""
        match self.place:
            case InHeader(name):
                return name
            case InNumbered(name):
                return f"{name}1"
            case InQuery(name):
                return f"{name} in the URL"
            case InBody(path):
                return f"{path} of each of {self.each}" if self.each else f"{path} in the body"

    @property
    def signs(self) -> bool:
        """Whether the body is signed, rather than just accompanied by a secret, or by a token that is about the URL."""
        if self.jwt is not None:
            return bool(self.jwt.body_hash)
        return self.algorithm not in (TOKEN, BASIC) and bool(_BODY_FIELDS.search(self.signed) or self.hash_in)

    @property
    def is_public(self) -> bool:
        """Whether the sender alone can sign: the source's secret is no key of it."""
        return self.algorithm in (ED25519, ECDSA) or self.published is not None


_BODY_FIELDS = re.compile(r"\{(body|form|form_sorted|lines|crc32|json:(?!signature\.))")
"""What of a template is what the body says; Mailgun signs a time and a random text of it alone."""


def header(name: str, **fields: Any) -> Row:  # noqa: ANN401 -- the fields of a row
    """Build a row whose signature is in a header."""
    return Row(place=InHeader(name), **fields)


def standard(family: str, key: Callable[[bytes], bytes] = as_base64) -> Row:
    """Build the row of the Standard Webhooks specification 1.0.0, under a family of header names."""
    return header(
        f"{family}-Signature",
        separator=b" ",
        prefix=b"v1,",
        encoding="base64",
        signed="{id}.{timestamp}.{body}",
        clock=Clock(InHeader(f"{family}-Timestamp")),
        delivery=InHeader(f"{family}-Id"),
        key=key,
    )


def as_basic(secret: bytes) -> bytes:
    """Take `user:password`, and nothing else."""
    return secret if b":" in secret else b""


def as_account(secret: bytes) -> bytes:
    """Take the e-mail of an account, perhaps with an audience behind a blank."""
    return secret if b"@" in secret.partition(b" ")[0] else b""


BEARER = Row(place=InHeader("Authorization"), prefix=b"Bearer ", algorithm=TOKEN)
BASIC_AUTH = Row(place=InHeader("Authorization"), prefix=b"Basic ", algorithm=BASIC, key=as_basic)
OWN_HEADER = header("X-Webhook-Token", algorithm=TOKEN)
IN_URL = Row(place=InQuery("token"), algorithm=TOKEN)
"""For senders that sign nothing, and let a person name headers, a user or a URL."""

ANY_TOKEN = (BEARER, OWN_HEADER, IN_URL)


def check_rows(
    request: Request, rows: Sequence[Row], secrets: Sequence[bytes], now: datetime, kind: str = "signed"
) -> Row:
    """
    Check a request against the rows of its source's preset and its live secrets, any of which may have signed it.

    `kind` is what a refusal calls the source. Returns the row that the request passed.

    Raises:
        BadSignature: the signature is missing, malformed, wrong or out of time, or the source cannot check it. Names
            its place and what is accepted, never a signature or secret.
    """
    present = [row for row in rows if _is_there(row, request)]
    if not present:
        raise BadSignature(f"no signature: a {kind} source accepts {', or '.join(map(describe, rows))}")
    for position, row in enumerate(present, start=1):
        if keys := [key for secret in secrets if (key := row.key(secret))]:
            try:
                _check(row, request, keys, now)
            except BadSignature:
                if row.falls_through and position < len(present):
                    continue
                raise
            return row
    raise BadSignature(
        f"{present[0].where} cannot be checked: the source has no secret that fits it; create the source again with"
        " the secret that the sender shows"
    )


def _is_there(row: Row, request: Request) -> bool:
    if not all(_has(place, text, request) for place, text in row.only):
        return False
    match row.place:
        case InHeader(name):
            return bool(request.headers.all(name))
        case InNumbered(name):
            return bool(request.headers.all(f"{name}1"))
        case InQuery(name):
            return bool(request.query_values(name))
        case InBody(path):
            return bool(row.each or _signature_text(request, path))


def _has(place: InHeader | InQuery | InBody, text: str, request: Request) -> bool:
    match place:
        case InHeader(name):
            values = request.headers.all(name)
        case InQuery(name):
            values = request.query_values(name)
        case InBody(path):
            values = [_signature_text(request, path)]
    return any(values) if not text else values == [text.encode()]


def _check(row: Row, request: Request, keys: Sequence[bytes], now: datetime) -> None:
    if row.each:
        _check_each(row, request, keys, now)
        return
    parts = _parts(row, request)
    given = [part.removeprefix(row.prefix) for part in parts if row.optional_prefix or part.startswith(row.prefix)]
    if not given:
        raise BadSignature(f"{row.where} is malformed: accepted is {describe(row)}")
    if row.bound:
        keys = _bound(row, request, parts, keys)
    if row.jwt is not None:
        _check_jwt(row, row.jwt, request, given, keys, now)
        return
    if row.any_case:
        given = [each.lower() for each in given]
    public = _published_key(row, row.published, request, b"", keys[0], now) if row.published is not None else None
    urls = (None,) if row.urls is None else row.urls(request.url)
    if not any(
        _fits(row, key if public is None else public, build_message(row, request, parts, url=url, secret=key), given)
        for url in urls
        for key in keys
    ):
        raise BadSignature(
            f"{row.where} does not fit: the body was changed on its way, or the source has another secret than the"
            " sender; compare the two, and let no proxy rewrite bodies"
        )
    if row.hash_in is not None:
        _check_hash(row.hash_in, request)
    if row.clock is not None:
        _check_time(row.clock, _read_time(row.clock, _time_text(row, request, parts)), now)


def _check_each(row: Row, request: Request, keys: Sequence[bytes], now: datetime) -> None:
    """Check a batch: every item must pass, and there must be one."""
    if len(request.body) > MAX_TELLING_BYTES:
        raise BadSignature(f"{row.where} is not looked for: accepted are at most {MAX_TELLING_BYTES} bytes")
    try:
        items = request.items_at(row.each, row.item)
    except BadPayload as error:
        raise BadSignature(str(error)) from error
    if not items:
        raise BadSignature(f"{row.where} is missing: accepted is a body with at least one item, each of them signed")
    alone = replace(row, each="", item="")
    for item in items:
        if not _is_there(alone, item):
            raise BadSignature(f"{row.where} is missing in one of them: each has to be signed")
        _check(alone, item, keys, now)


def _check_hash(place: InQuery, request: Request) -> None:
    told = request.query_values(place.name)
    if len(told) != 1 or not hmac.compare_digest(told[0], hashlib.sha256(request.body).hexdigest().encode()):
        raise BadSignature(f"{place.name} in the URL does not fit the body: let no proxy rewrite bodies")


def _bound(row: Row, request: Request, parts: Sequence[bytes], keys: Sequence[bytes]) -> list[bytes]:
    if len(request.body) > MAX_TELLING_BYTES:
        raise BadSignature(f"the body is not looked into: accepted are at most {MAX_TELLING_BYTES} bytes of it")
    said = b"".join(build_message(replace(row, signed=row.bound), request, parts))
    fitting = [key for key in keys if hmac.compare_digest(key, said)]
    if not fitting:
        raise BadSignature("this is of another place than the source's secret names, though its sender may be the same")
    return fitting


def _check_jwt(
    row: Row, rule: TokenRule, request: Request, given: Sequence[bytes], keys: Sequence[bytes], now: datetime
) -> None:
    if len(given) != 1:
        raise BadSignature(f"{row.where} is malformed: accepted is {describe(row)}")
    refused: BadSignature | None = None
    for secret in keys:
        try:
            key = (
                secret if row.published is None else _published_key(row, row.published, request, given[0], secret, now)
            )
            check_token(rule, row.where, given[0], key, request, now, secret if rule.account else b"")
        except BadSignature as error:
            refused = error
        else:
            return
    assert refused is not None, "there is a key, and it did not pass"
    raise refused


def list_wanted(row: Row, request: Request, secret: bytes) -> Wanted | None:
    """Say what has to be fetched before a request can be checked; None where it names nothing that may be."""
    where = row.published
    if where is None or not _is_there(row, request):
        return None
    try:
        if row.bound:
            # Whoever does not know whose requests are awaited makes us fetch nothing.
            _bound(row, request, [], [secret])
        token = _signatures(row, request)[0].removeprefix(row.prefix) if row.jwt is not None else b""
    except BadSignature:
        return None
    return _wanted(where, request, token, secret)


def _wanted(where: Published, request: Request, token: bytes, secret: bytes) -> Wanted | None:
    key_id = read_key_id(token) if token else ""
    if token and not KEY_ID.fullmatch(key_id):
        return None
    url = where.url
    if where.header:
        values = request.headers.all(where.header)
        url = values[0].decode("latin-1") if len(values) == 1 else ""
    elif where.path:
        url = _optional_text(request, where.path) if len(request.body) <= MAX_TELLING_BYTES else ""
    if not url or (where.pattern and not re.fullmatch(where.pattern, url)):
        return None
    return Wanted(url, None if where.asks is None else where.asks(key_id, secret), key_id)


def _published_key(row: Row, where: Published, request: Request, token: bytes, secret: bytes, now: datetime) -> Any:  # noqa: ANN401 -- of cryptography
    wanted = _wanted(where, request, token, secret)
    document = None if wanted is None else request.published.get(wanted.name)
    if wanted is None or document is None:
        raise BadSignature(
            f"{row.where} cannot be checked: the request names no key, or one that is elsewhere than where its sender"
            " publishes them"
        )
    return where.read(document, wanted.key_id, now)


def _fits(row: Row, key: bytes, message: Sequence[bytes], given: Sequence[bytes]) -> bool:
    if row.algorithm in _PUBLIC:
        whole = b"".join(message)
        return any(_PUBLIC[row.algorithm](key, whole, _decode(each, row.encoding)) for each in given)
    expected = expected_signature(row, key, message)
    return any(hmac.compare_digest(expected, each) for each in given)


def _decode(given: bytes, encoding: str) -> bytes:
    """Decode a signature in its one spelling; nothing where it has another."""
    try:
        decoded = binascii.unhexlify(given) if encoding == "hex" else base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return decoded if encode_digest(decoded, encoding) == (given.lower() if encoding == "hex" else given) else b""


def _ed25519_fits(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key[-_ED25519_BYTES:]).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return len(key) in (_ED25519_BYTES, _ED25519_SPKI_BYTES)


def _ecdsa_fits(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        public = load_der_public_key(key)
        if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
            return False
        public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


_ED25519_BYTES = 32
_ED25519_SPKI_BYTES = 44
"""A key alone, and in the 12 bytes of its SubjectPublicKeyInfo (RFC 8410, section 4)."""


def _rsa_fits(key: bytes, message: bytes, signature: bytes, algorithm: hashes.HashAlgorithm) -> bool:
    try:
        public = load_der_public_key(key)
        if not isinstance(public, RSAPublicKey):
            return False
        public.verify(signature, message, padding.PKCS1v15(), algorithm)
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


_PUBLIC: dict[str, Callable[[bytes, bytes, bytes], bool]] = {
    ED25519: _ed25519_fits,
    ECDSA: _ecdsa_fits,
    RSA_SHA1: partial(_rsa_fits, algorithm=hashes.SHA1()),  # noqa: S303 -- Travis CI and older topics of SNS have no other
    RSA_SHA256: partial(_rsa_fits, algorithm=hashes.SHA256()),
}


def signed_bytes(row: Row, request: Request) -> bytes:
    """Return what the signature of a request is over, which `check_rows` found to be good."""
    if row.each or row.jwt is not None:
        return request.body
    return b"".join(build_message(row, request, _parts(row, request)))


def _parts(row: Row, request: Request) -> list[bytes]:
    values = _signatures(row, request)
    if not row.separator:
        return values
    if values[0].count(row.separator) >= MAX_SIGNATURES:
        raise BadSignature(f"{row.where} has more than {MAX_SIGNATURES} parts, which no sender needs")
    return [part.strip() for part in values[0].split(row.separator)]


def build_message(
    row: Row, request: Request, parts: Sequence[bytes] = (), *, url: str | None = None, secret: bytes = b""
) -> list[bytes]:
    """
    Build the signed text of a request, in pieces, so that no body is copied. `parts` are those of its signature.

    `url` is the form of the URL that is tried, and `secret` the source's, which a few senders sign.

    Raises:
        BadSignature: what is to be signed is missing, or sent twice.
    """
    if row.signed == "{body}":
        return [request.body]
    message = []
    for piece in template(row.signed):
        match piece:
            case bytes():
                message.append(piece)
            case ("url", _) if url is not None:
                message.append(url.encode())
            case ("secret", _):
                message.append(secret)
            case (name, argument):
                message.append(_field(row, request, parts, name, argument))
    return message


@cache
def template(text: str) -> tuple[bytes | tuple[str, str], ...]:
    """Part a template into what stands there and (field, argument)."""
    pieces: list[bytes | tuple[str, str]] = []
    end = 0
    for found in _FIELD.finditer(text):
        pieces.append(text[end : found.start()].encode())
        name, _, argument = found[1].partition(":")
        pieces.append((name, argument))
        end = found.end()
    return tuple(piece for piece in (*pieces, text[end:].encode()) if piece)


def _field(row: Row, request: Request, parts: Sequence[bytes], name: str, argument: str) -> bytes:
    if name in _LISTED:
        return _LISTED[name](request, argument)
    match name:
        case "timestamp":
            return _time_text(row, request, parts)
        case "id":
            return _id_text(row, request)
        case "header":
            return _single(request, argument)
        case "json":
            return _optional_text(request, argument).encode()
    plain = {
        "url": request.url,
        "method": request.method,
        "path": request.target,
        "query": request.url.partition("?")[2],
        "encoded_path": _encoded_path(request.url),
    }
    return plain[name].encode() if name in plain else request.body


def _lines(request: Request, names: str) -> bytes:
    """Write strings of the body, those that it has, each under its name."""
    try:
        found = [(each, request.string_at(each)) for each in names.split()]
    except BadPayload as error:
        raise BadSignature(f"what is signed cannot be read: {error}") from error
    return "".join(f"{each}\n{text}\n" for each, text in found if text is not None).encode()


def _form(request: Request) -> list[tuple[bytes, bytes]]:
    try:
        return request.form_fields()
    except BadPayload as error:
        raise BadSignature(f"what is signed cannot be read: {error}") from error


def _form_sorted(request: Request, _argument: str) -> bytes:
    """Write a form by its names; equal values of a name count once, as in the sender's own SDK."""
    try:
        return request.form_sorted()
    except BadPayload as error:
        raise BadSignature(f"what is signed cannot be read: {error}") from error


def _form_field(request: Request, argument: str) -> bytes:
    values = [value for each, value in _form(request) if each == argument.encode()]
    if len(values) != 1:
        raise BadSignature(f"{len(values)} times {argument} in the form: exactly once is accepted")
    return values[0]


def _encoded_path(url: str) -> str:
    """Write a path and query as Contentful signs them: the query is escaped as a whole, and then both once more."""
    parts = urlsplit(url)
    whole = parts.path + (f"?{quote(parts.query, safe=_UNESCAPED)}" if parts.query else "")
    return quote(whole, safe=_UNESCAPED + ";/?:@&=+$,#")


_UNESCAPED = "-_.!~*'()"


def _signed_headers(request: Request, _argument: str) -> bytes:
    """Write the headers that a request of Contentful's lists, its time among them."""
    names = sorted({each.strip().lower() for each in _single(request, HEADER_LIST).decode("latin-1").split(",")})
    if len(names) > MAX_FORM_FIELDS or not {HEADER_LIST, "x-contentful-timestamp"} <= set(names):
        raise BadSignature(f"{HEADER_LIST} has to list itself and x-contentful-timestamp")
    return b";".join(name.encode("latin-1") + b":" + _single(request, name).strip() for name in names)


HEADER_LIST = "x-contentful-signed-headers"

_LISTED: dict[str, Callable[[Request, str], bytes]] = {
    "form": _form_field,
    "form_sorted": _form_sorted,
    "lines": _lines,
    "signed_headers": _signed_headers,
    "crc32": lambda request, _: str(zlib.crc32(request.body)).encode(),
}


def expected_signature(row: Row, key: bytes, message: Sequence[bytes]) -> bytes:
    """Compute what a sender with this key writes, without the prefix."""
    if row.algorithm == TOKEN:
        return key
    if row.algorithm == BASIC:
        return base64.b64encode(key)
    if row.algorithm == DIGEST:
        plain = hashlib.sha256(key)
        for piece in message:
            plain.update(piece)
        return encode_digest(plain.digest(), row.encoding)
    if len(message) == 1:
        # In one call, which saves the making of three objects.
        digest = hmac.digest(key, message[0], row.algorithm)
    else:
        mac = hmac.new(key, None, row.algorithm)
        for piece in message:
            mac.update(piece)
        digest = mac.digest()
    return encode_digest(digest, row.encoding)


def encode_digest(digest: bytes, encoding: str) -> bytes:
    """Write a digest."""
    match encoding:
        case "base64":
            return base64.b64encode(digest)
        case "base64url":
            return base64.urlsafe_b64encode(digest).rstrip(b"=")
        case _:
            return digest.hex().encode()


def _signatures(row: Row, request: Request) -> list[bytes]:
    """Read what stands at the place of a row's signature: one value, but for numbered headers."""
    match row.place:
        case InHeader(name):
            return [_single(request, name)]
        case InNumbered(name):
            present = [each for each in range(1, MAX_NUMBERED + 1) if request.headers.all(f"{name}{each}")]
            return [_single(request, f"{name}{each}") for each in present]
        case InQuery(name):
            values = request.query_values(name)
            if len(values) != 1:
                raise BadSignature(f"{len(values)} times {row.where}: exactly once is accepted")
            return values
        case InBody(path):
            return [_signature_text(request, path)]


def _single(request: Request, name: str) -> bytes:
    values = request.headers.all(name)
    if len(values) != 1:
        raise BadSignature(f"{len(values)} {name} headers: exactly one is accepted")
    return values[0]


def _id_text(row: Row, request: Request) -> bytes:
    """Read the id that is signed. A dot in it could be moved, with what follows, from id to time to body."""
    assert isinstance(row.delivery, InHeader), "a row that signs an id names its header"
    value = _single(request, row.delivery.name)
    if not value or b"." in value:
        raise BadSignature(f"{row.delivery.name} is malformed: accepted is an id without dots")
    return value


def _time_text(row: Row, request: Request, parts: Sequence[bytes]) -> bytes:
    assert row.clock is not None, "a row that signs a time names its place"
    match row.clock.place:
        case InHeader(name):
            where, found = name, [_single(request, name)]
        case InSignature(prefix):
            where = f"{prefix.decode()} in {row.where}"
            found = [part.removeprefix(prefix) for part in parts if part.startswith(prefix)]
        case InBody(path):
            where, found = f"{path} in the body", [_body_text(request, path)]
    form = _RFC3339 if row.clock.unit == "rfc3339" else _DIGITS
    if len(found) != 1 or not form.fullmatch(found[0]):
        raise BadSignature(
            f"{where} is malformed: accepted is one time, {'as RFC 3339 has it' if form is _RFC3339 else 'as digits'}"
        )
    return found[0]


def _signature_text(request: Request, path: str) -> bytes:
    """Read a signature in the body, which is longer than most texts where its key is an RSA key."""
    if len(request.body) > MAX_TELLING_BYTES:
        return b""
    try:
        found = request.string_at(path) or ""
    except BadPayload:
        return b""
    return found.encode() if len(found) <= MAX_SIGNATURE_CHARACTERS else b""


def _optional_text(request: Request, path: str) -> str:
    try:
        return request.text_at(path) or ""
    except BadPayload:
        return ""


def _body_text(request: Request, path: str) -> bytes:
    try:
        return (request.text_at(path) or "").encode()
    except BadPayload as error:
        raise BadSignature(
            f"no {path} in the body, which is where the time is signed; send JSON that has it"
        ) from error


def _read_time(clock: Clock, text: bytes) -> float:
    """Read a time of the right form, in Unix seconds."""
    if clock.unit != "rfc3339":
        return int(text) / _PER_SECOND[clock.unit]
    try:
        # Nine digits are more than Python reads; what they say beyond six is nothing to a clock.
        whole = re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", text.decode().upper().replace(" ", "T"))
        return datetime.fromisoformat(whole).timestamp()
    except (ValueError, OverflowError):
        raise BadSignature("the signed time is no time that there is; let the sender send it anew") from None


def _check_time(clock: Clock, signed_at: float, now: datetime) -> None:
    age_s = now.timestamp() - signed_at
    if not -clock.tolerance_s <= age_s <= max(clock.tolerance_s, clock.late_s):
        when = f"{age_s:.0f} s ago" if age_s > 0 else f"{-age_s:.0f} s from now"
        raise BadSignature(
            f"out of time: signed {when}, accepted is {clock.tolerance_s} s either way; check both clocks, or let the"
            " sender send it anew"
        )


def _rule_clock(known: TimestampRule) -> Clock:
    place: InHeader | InBody | InSignature = InSignature(f"{known.field}=".encode())
    if known.header is not None:
        place = InHeader(known.header)
    elif known.body is not None:
        place = InBody(known.body)
    return Clock(place, known.unit, known.tolerance_seconds)


def rule_row(rule: SignatureRule) -> Row:
    """Build the row of a source of type `hmac`; raises BadSignature where no such hash, encoding or key is known."""
    clock = None if rule.timestamp is None else _rule_clock(rule.timestamp)
    unit = "s" if clock is None else clock.unit
    if (
        rule.algorithm not in ALGORITHMS
        or rule.encoding not in ENCODINGS
        or rule.key not in KEY_FORMS
        or unit not in UNITS
    ):
        raise BadSignature(
            f"{rule.header} cannot be checked: the source asks for {rule.algorithm} in {rule.encoding}, known are"
            f" {', '.join(ALGORITHMS)} in {' or '.join(ENCODINGS)}; create the source again"
        )
    prefix = f"{rule.algorithm}=" if rule.prefix is None else rule.prefix
    return header(
        rule.header,
        separator=rule.separator.encode(),
        prefix=prefix.encode(),
        optional_prefix=rule.prefix is None,
        algorithm=rule.algorithm,
        encoding=rule.encoding,
        any_case=rule.encoding == "hex",
        signed=rule.signed,
        clock=clock,
        key=KEY_FORMS[rule.key],
    )


def describe(row: Row) -> str:
    """Describe a row to a person who sets up a sender."""
    colon = ":" if isinstance(row.place, InHeader | InNumbered) else ""
    match row.algorithm:
        case "token":
            return f"{row.where}{colon} {row.prefix.decode()}<the source's secret>"
        case "basic":
            return f"{row.where}{colon} Basic <user:password in base64>"
        case "jwt":
            algorithms = " or ".join(row.jwt.algorithms) if row.jwt is not None else ""
            return f"{row.where}{colon} {row.prefix.decode()}<JWT signed by {algorithms}>"
        case "ed25519" | "ecdsa-p256" | "rsa-sha1" | "rsa-sha256":
            return f"{row.where}{colon} <{row.algorithm} in {row.encoding}>"
        case "digest-sha256":
            return f"{row.where}{colon} <SHA-256 of the secret and what follows, in {row.encoding}>"
    prefix = f"[{row.prefix.decode()}]" if row.optional_prefix else row.prefix.decode()
    return f"{row.where}{colon} {prefix}<HMAC-{row.algorithm.upper()} in {row.encoding}>"
