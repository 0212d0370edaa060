"""
Webhook signatures: one engine, and every scheme as rows of one table. Pure.

A row says which header carries the signature, what is signed and with which secret. A scheme is one row or more: of
those whose header the request carries and which fit a secret of the source, the first decides, and nothing falls back
to the next. So a request signed wrongly in the new way is not saved by being right in the old one.

What is never taken for granted:

  * The bytes are verified as received, before anything parses them.
  * The expected signature is encoded and compared, the given one never decoded: base64 and hex have several spellings
    of one value and lenient decoders, a comparison has neither. Comparisons take constant time, on bytes.
  * Fail closed: no secret, an empty one, or one that is no key for the scheme verifies nothing.
  * Two copies of a header that counts are refused; a proxy might have read the other one.
  * Timestamps are plain ASCII digits, and both sides of the tolerance count.

Sources: each row names its own. The tests hold every row against the vendors' published vectors.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec import Struct

from clawback.errors import BadPayload, BadSignature
from clawback.model import Scheme, SignatureRule
from clawback.senders.request import Request

ALGORITHMS = ("sha1", "sha256", "sha384", "sha512")
"""What a `generic` source may name. SHA-1 is broken for collisions, which an HMAC does not rest on (RFC 6151, 2.3)."""

ENCODINGS = ("hex", "base64")

TOLERANCE_S = 300
"""How far a signed timestamp may be from now: five minutes both ways, as Stripe, Slack and Standard Webhooks advise."""

MAX_SIGNATURES = 16
"""In one header. Senders give two while a secret is rolled; each more is work that a stranger could ask for."""

_SIGNING_PREFIX = b"whsec_"
_DIGITS = re.compile(rb"[0-9]{1,13}")


class InHeader(Struct, frozen=True):
    """A value in a header of its own."""

    name: str


class InSignature(Struct, frozen=True):
    """A value among the signatures in their header, told by what stands before it."""

    prefix: bytes


class InBody(Struct, frozen=True):
    """A value in the JSON body, by its path. Read after the signature passed."""

    path: str


class Clock(Struct, frozen=True):
    """Where a request says when it was signed, in what units, and how far that may be from now."""

    place: InHeader | InSignature | InBody
    per_second: int = 1
    tolerance_s: int = TOLERANCE_S


def _as_text(secret: bytes) -> bytes:
    return secret


def _as_base64(secret: bytes) -> bytes:
    """Decode a Standard Webhooks secret; the libraries take it with and without `whsec_`."""
    try:
        return base64.b64decode(secret.removeprefix(_SIGNING_PREFIX), validate=True)
    except binascii.Error:
        return b""


def _as_signing_token(secret: bytes) -> bytes:
    return _as_base64(secret) if secret.startswith(_SIGNING_PREFIX) else b""


def _as_plain_token(secret: bytes) -> bytes:
    """Keep GitLab's two kinds of secret apart: a signing token that came back in the clear proves nothing."""
    return b"" if secret.startswith(_SIGNING_PREFIX) else secret


class Row(Struct, frozen=True, kw_only=True):
    """
    One way to sign a request.

    Fields:
        header: carries the signature.
        separator: stands between several signatures in it; empty: there is one.
        prefix: stands before each signature that counts; others are passed over.
        optional_prefix: whether a signature also counts without it.
        algorithm: of the HMAC; None: the header carries the secret itself.
        encoding: of the signature, one of `ENCODINGS`; hex is lower-case.
        preamble: is signed in front of the body; `%(id)b` and `%(time)b` stand for the two values.
        clock: where the time is; None: the scheme has none, and only the delivery id tells a replay.
        delivery: where the delivery id is. It is signed where the preamble or the body holds it.
        key: makes the key from a secret as a person entered it, or nothing where it does not fit.
    """

    header: str
    separator: bytes = b""
    prefix: bytes = b""
    optional_prefix: bool = False
    algorithm: str | None = "sha256"
    encoding: str = "hex"
    preamble: bytes = b""
    clock: Clock | None = None
    delivery: InHeader | InBody | None = None
    key: Callable[[bytes], bytes] = _as_text


def _standard(family: str, key: Callable[[bytes], bytes] = _as_base64) -> Row:
    return Row(
        header=f"{family}-Signature",
        separator=b" ",
        prefix=b"v1,",
        encoding="base64",
        preamble=b"%(id)b.%(time)b.",
        clock=Clock(InHeader(f"{family}-Timestamp")),
        delivery=InHeader(f"{family}-Id"),
        key=key,
    )


SCHEMES: dict[Scheme, tuple[Row, ...]] = {
    # GitHub Docs, "Validating webhook deliveries". The SHA-1 header that is sent along does not count.
    Scheme.GITHUB: (Row(header="X-Hub-Signature-256", prefix=b"sha256=", delivery=InHeader("X-GitHub-Delivery")),),
    # docs.stripe.com/webhooks/signature. The key is the whole secret, `whsec_` included.
    Scheme.STRIPE: (
        Row(
            header="Stripe-Signature",
            separator=b",",
            prefix=b"v1=",
            preamble=b"%(time)b.",
            clock=Clock(InSignature(b"t=")),
            delivery=InBody("id"),
        ),
    ),
    # github.com/standard-webhooks, specification 1.0.0; the older header names are those of docs.svix.com.
    Scheme.STANDARD_WEBHOOKS: (_standard("Webhook"), _standard("Svix")),
    # docs.slack.dev, "Verifying requests from Slack".
    Scheme.SLACK: (
        Row(
            header="X-Slack-Signature",
            prefix=b"v0=",
            preamble=b"v0:%(time)b:",
            clock=Clock(InHeader("X-Slack-Request-Timestamp")),
            delivery=InBody("event_id"),
        ),
    ),
    # shopify.dev, "Verify webhook deliveries"; the second is what its newer event subscriptions send.
    Scheme.SHOPIFY: tuple(
        Row(header=f"{family}-Hmac-SHA256", encoding="base64", delivery=InHeader(f"{family}-Webhook-Id"))
        for family in ("X-Shopify", "Shopify")
    ),
    # linear.app/developers/webhooks. The time is in the body, in milliseconds, and Linear asks for one minute.
    Scheme.LINEAR: (
        Row(
            header="Linear-Signature",
            clock=Clock(InBody("webhookTimestamp"), per_second=1000, tolerance_s=60),
            delivery=InHeader("Linear-Delivery"),
        ),
    ),
    # docs.gitlab.com, "Webhooks": a signing token where the source's secret is one, else the secret token. Not
    # X-Gitlab-Event-UUID: a webhook that another one set off has the same, and would pass for its duplicate.
    Scheme.GITLAB: (
        _standard("Webhook", key=_as_signing_token),
        Row(header="X-Gitlab-Token", algorithm=None, delivery=InHeader("Idempotency-Key"), key=_as_plain_token),
    ),
}
"""Every scheme but `generic`, whose row is the source's own, and `none`, which has nothing to verify."""


def verify(
    request: Request, scheme: Scheme, secrets: Sequence[bytes], now: datetime, rule: SignatureRule | None = None
) -> Row | None:
    """
    Check a request's signature against the live secrets of its source, any of which may have signed it.

    `rule` is for `generic` and defaults to `SignatureRule()`. Returns the row that the request passed; None for
    `none`, of which nothing is known.

    Raises:
        BadSignature: the signature is missing, malformed, wrong or out of time, or the source cannot check it. Names
            the header and what is accepted, never a signature or secret.
    """
    if scheme is Scheme.NONE:
        return None
    rows = (generic_row(rule or SignatureRule()),) if scheme is Scheme.GENERIC else SCHEMES[scheme]
    present = [row for row in rows if request.headers.all(row.header)]
    if not present:
        raise BadSignature(f"no signature: a {scheme} source accepts {', or '.join(map(_accepted, rows))}")
    for row in present:
        if keys := [key for secret in secrets if (key := row.key(secret))]:
            _check(row, request, keys, now)
            return row
    raise BadSignature(
        f"{present[0].header} cannot be checked: the source has no secret that fits it; create the source again with"
        " the secret that the sender shows"
    )


def _check(row: Row, request: Request, keys: Sequence[bytes], now: datetime) -> None:
    parts = _parts(row, _single(request, row.header))
    given = [part.removeprefix(row.prefix) for part in parts if row.optional_prefix or part.startswith(row.prefix)]
    if not given:
        raise BadSignature(f"{row.header} is malformed: accepted is {_accepted(row)}")
    preamble = _preamble(row, request, parts)
    expected = [expected_signature(row, key, preamble, request.body) for key in keys]
    if not any(hmac.compare_digest(ours, theirs) for ours in expected for theirs in given):
        raise BadSignature(
            f"{row.header} does not fit: the body was changed on its way, or the source has another secret than the"
            " sender; compare the two, and let no proxy rewrite bodies"
        )
    if row.clock is not None:
        _check_time(row.clock, int(_time_text(row, request, parts)), now)


def signed_bytes(row: Row, request: Request) -> bytes:
    """Return what the signature of a request is over, which `verify` found to be good."""
    return _preamble(row, request, _parts(row, _single(request, row.header))) + request.body


def _preamble(row: Row, request: Request, parts: Sequence[bytes]) -> bytes:
    signed = {}
    if b"%(id)b" in row.preamble:
        signed[b"id"] = _id_text(row, request)
    if b"%(time)b" in row.preamble:
        signed[b"time"] = _time_text(row, request, parts)
    return row.preamble % signed


def _parts(row: Row, value: bytes) -> list[bytes]:
    if not row.separator:
        return [value]
    if value.count(row.separator) >= MAX_SIGNATURES:
        raise BadSignature(f"{row.header} has more than {MAX_SIGNATURES} parts, which no sender needs")
    return value.split(row.separator)


def expected_signature(row: Row, key: bytes, preamble: bytes, body: bytes) -> bytes:
    """Compute what a sender with this key writes, without the prefix; the preamble is filled in."""
    if row.algorithm is None:
        return key
    if preamble:
        mac = hmac.new(key, preamble, row.algorithm)
        mac.update(body)
        digest = mac.digest()
    else:
        # In one call, which saves the making of three objects.
        digest = hmac.digest(key, body, row.algorithm)
    return base64.b64encode(digest) if row.encoding == "base64" else digest.hex().encode()


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
            where = f"{prefix.decode()} in {row.header}"
            found = [part.removeprefix(prefix) for part in parts if part.startswith(prefix)]
        case InBody(path):
            where, found = f"{path} in the body", [_body_text(request, path)]
    if len(found) != 1 or not _DIGITS.fullmatch(found[0]):
        raise BadSignature(f"{where} is malformed: accepted is one time, as digits")
    return found[0]


def _body_text(request: Request, path: str) -> bytes:
    try:
        return (request.text_at(path) or "").encode()
    except BadPayload as error:
        raise BadSignature(
            f"no {path} in the body, which is where the time is signed; send JSON that has it"
        ) from error


def _check_time(clock: Clock, signed_at: int, now: datetime) -> None:
    age_s = now.timestamp() - signed_at / clock.per_second
    if abs(age_s) > clock.tolerance_s:
        when = f"{age_s:.0f} s ago" if age_s > 0 else f"{-age_s:.0f} s from now"
        raise BadSignature(
            f"out of time: signed {when}, accepted is {clock.tolerance_s} s either way; check both clocks, or let the"
            " sender send it anew"
        )


def generic_row(rule: SignatureRule) -> Row:
    """Build the row of a `generic` source; raises BadSignature where no such hash or encoding is known."""
    if rule.algorithm not in ALGORITHMS or rule.encoding not in ENCODINGS:
        raise BadSignature(
            f"{rule.header} cannot be checked: the source asks for {rule.algorithm} in {rule.encoding}, known are"
            f" {', '.join(ALGORITHMS)} in {' or '.join(ENCODINGS)}; create the source again"
        )
    prefix = f"{rule.algorithm}=" if rule.prefix is None else rule.prefix
    return Row(
        header=rule.header,
        prefix=prefix.encode(),
        optional_prefix=rule.prefix is None,
        algorithm=rule.algorithm,
        encoding=rule.encoding,
    )


def _accepted(row: Row) -> str:
    """Describe a row to whoever sets up a sender."""
    if row.algorithm is None:
        return f"{row.header}: <the source's secret>"
    prefix = f"[{row.prefix.decode()}]" if row.optional_prefix else row.prefix.decode()
    return f"{row.header}: {prefix}<HMAC-{row.algorithm.upper()} in {row.encoding}>"
