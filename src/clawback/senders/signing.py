"""
Sign a request as its sender would, by the table that verifies it. Pure.

For `clawback trigger` and the probe of `clawback doctor`. What holds the table to the vendors' own words is the tests,
which sign by a second hand.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec.structs import replace

from clawback.errors import Rejected
from clawback.model import SignatureRule, encode_json
from clawback.senders.request import Headers, Request
from clawback.senders.signatures import (
    HEADER_LIST,
    Clock,
    InBody,
    InHeader,
    InQuery,
    InSignature,
    Row,
    as_private_key,
    build_message,
    encode_digest,
    expected_signature,
)
from clawback.senders.tokens import TokenRule, query_hashes, write_token
from clawback.senders.verifying import rows_of

_TOKEN_SECONDS = 60


def sign(
    scheme: str,
    body: bytes,
    secret: bytes,
    *,
    delivery_id: str,
    now: datetime,
    rule: SignatureRule | None = None,
    url: str = "",
) -> list[tuple[str, str]]:
    """
    Build the headers that prove where a body is from: its signature, its time and, where a header has it, its id.

    What a sender has in the body (Stripe's and Slack's id, Linear's time) is the caller's to have put there, and
    `seal` has put what is signed there. `rule` is for `hmac`, `url` for senders that sign it. Where a public key
    verifies, `secret` is the private one, in PEM.

    Raises:
        Rejected: the secret is no key for the type, or only the sender itself can sign.
    """
    rows = rows_of(scheme, rule)
    if not rows:
        return []
    row, key = _choose(rows, scheme, secret)
    time = _write_time(row.clock, now)
    headers = [(place.name, text) for place, text in row.only if isinstance(place, InHeader)]
    if isinstance(row.delivery, InHeader):
        headers.append((row.delivery.name, delivery_id))
    if row.clock is not None and isinstance(row.clock.place, InHeader):
        headers.append((row.clock.place.name, time))
    if isinstance(row.place, InBody | InQuery):
        return headers
    if "{signed_headers}" in row.signed:
        headers.append((HEADER_LIST, ",".join(sorted([HEADER_LIST, *(name.lower() for name, _ in headers)]))))
    parts = []
    if row.clock is not None and isinstance(row.clock.place, InSignature):
        parts.append(row.clock.place.prefix + time.encode())
    known = Headers([(name.lower().encode(), value.encode()) for name, value in headers])
    signature = row.prefix + _signature(row, key, Request(known, body, base=url), parts, now)
    if parts:
        signature = parts[0] + row.separator + signature
    name = row.place.name if isinstance(row.place, InHeader) else f"{row.place.name}1"
    return [*headers, (name, signature.decode("latin-1"))]


def address(scheme: str, url: str, secret: bytes, rule: SignatureRule | None = None) -> str:
    """
    Build the URL that a sender calls, which has the secret where it shows that there.

    Raises:
        Rejected: the secret is no key for the type.
    """
    rows = rows_of(scheme, rule)
    if not rows or not isinstance(rows[0].place, InQuery):
        return url
    _, key = _choose(rows, scheme, secret)
    return f"{url}{'&' if '?' in url else '?'}{quote(rows[0].place.name)}={quote(key, safe='')}"


def seal(scheme: str, body: bytes, secret: bytes, *, now: datetime, rule: SignatureRule | None = None) -> bytes:
    """
    Put the signature into a body, where its sender has it there, and the time that is signed with it; else leave it.

    Raises:
        Rejected: the secret is no key for the type.
    """
    rows = rows_of(scheme, rule)
    if not rows or not isinstance(rows[0].place, InBody):
        return body
    row, key = _choose(rows, scheme, secret)
    assert isinstance(row.place, InBody), "all rows of such a preset have it there"
    whole = msgspec.json.decode(body)
    alone = replace(row, each="", item="")
    for item in [whole] if not row.each else [_at(each, row.item) for each in _at(whole, row.each)]:
        if row.clock is not None and isinstance(row.clock.place, InBody):
            put(item, row.clock.place.path, _write_time(row.clock, now))
        put(item, row.place.path, _signature(alone, key, Request(Headers([]), encode_json(item)), [], now).decode())
    return encode_json(whole)


def put(whole: Any, path: str, value: object) -> None:  # noqa: ANN401 -- JSON
    """Set one value of JSON at a dotted path, making the objects on the way."""
    *steps, last = path.split(".")
    for step in steps:
        whole = whole[int(step)] if isinstance(whole, list) else whole.setdefault(step, {})
    whole[int(last) if isinstance(whole, list) else last] = value


def _at(whole: Any, path: str) -> Any:  # noqa: ANN401 -- JSON
    for step in path.split(".") if path else ():
        whole = whole[step]
    return whole


def _signature(row: Row, key: bytes, request: Request, parts: Sequence[bytes], now: datetime) -> bytes:
    if row.jwt is not None:
        return _write_token(row.jwt, key, request, now)
    url = None if row.urls is None else row.urls(request.url)[0]
    message = build_message(row, request, parts, url=url, secret=key)
    if (private := as_private_key(key)) is None:
        return expected_signature(row, key, message)
    return encode_digest(_sign_privately(private, b"".join(message)), row.encoding)


def _sign_privately(private: bytes, message: bytes) -> bytes:
    try:
        key = load_pem_private_key(private, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Rejected("the private key cannot be read: give it in PEM, without a password") from None
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(message)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(message, ec.ECDSA(hashes.SHA256()))
    raise Rejected("the private key is of another kind: accepted are Ed25519 and ECDSA")


def _write_token(rule: TokenRule, key: bytes, request: Request, now: datetime) -> bytes:
    moment = int(now.timestamp())
    claims: dict[str, Any] = {}
    if rule.expires:
        claims |= {"iat": moment, "exp": moment + _TOKEN_SECONDS}
    if rule.issuers:
        claims["iss"] = rule.issuers[0]
    if rule.for_url:
        claims["aud"] = request.url
    if rule.body_hash:
        claims[rule.body_hash] = hashlib.sha256(request.body).hexdigest()
    if rule.query_hash:
        claims["qsh"] = query_hashes(request)[0]
    return write_token(claims, key, rule.algorithms[0])


def _write_time(clock: Clock | None, now: datetime) -> str:
    match None if clock is None else clock.unit:
        case "rfc3339":
            return f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        case "ms":
            return str(int(now.timestamp() * 1000))
        case _:
            return str(int(now.timestamp()))


def _choose(rows: Sequence[Row], scheme: str, secret: bytes) -> tuple[Row, bytes]:
    """Choose the row that a sender with this secret would go by."""
    if any(row.published is not None for row in rows):
        raise Rejected(f"nobody but the sender can sign for {scheme}: its key is its own, and published")
    rows = [row for row in rows if all(isinstance(place, InHeader) and text for place, text in row.only)]
    for row in rows:
        if row.is_public and as_private_key(secret) is not None:
            return row, secret
        if key := row.key(secret):
            if row.is_public:
                raise Rejected(
                    f"nobody but the sender can sign for {scheme}: the source's secret is a public key. For a source"
                    " with a key of your own, give the private one in PEM, with --secret-file"
                )
            return row, key
    raise Rejected(f"the secret is no key for {scheme}: give the one that the source was made with")
