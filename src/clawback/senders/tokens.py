"""
Signed tokens (JWT) that come with a request: what a sender's token must say. Pure.

PyJWT checks the signature, and nothing else: times are held against the `now` that is handed in, and every claim that a
sender binds to its request is held against that request. Which algorithms count is the row's to say and never the
token's, and where a key is from neither: `jku`, `x5u` and `jwk` in a token's header are not read.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote_plus, urlsplit

import jwt
import msgspec
from jwt.algorithms import HMACAlgorithm
from msgspec import Struct

from clawback.errors import BadSignature
from clawback.senders.request import MAX_FORM_FIELDS, Request

MAX_TOKEN_BYTES = 8192

_decode_claims = msgspec.json.Decoder(dict[str, Any]).decode


class _AnyLength(HMACAlgorithm):
    """HMAC, whose key may be short: how long a secret is was the sender's choice, and an empty one is never tried."""

    def check_key_length(self, key: bytes) -> None:  # noqa: ARG002 -- PyJWT's
        return None


_jws = jwt.PyJWS()
for _name, _hash in (("HS256", HMACAlgorithm.SHA256), ("HS384", HMACAlgorithm.SHA384), ("HS512", HMACAlgorithm.SHA512)):
    _jws.unregister_algorithm(_name)
    _jws.register_algorithm(_name, _AnyLength(_hash))


class TokenRule(Struct, frozen=True, kw_only=True):
    """
    What a sender's token must be.

    Fields:
        algorithms: by which it may be signed.
        issuers: one of which `iss` must be; none: anybody.
        for_url: whether `aud` must be the URL that was called.
        expires: whether it must have `exp` and `iat`.
        max_age_s: how far `iat` may be from now, where that counts instead.
        leeway_s: by how much the clocks may differ.
        body_hash: the claim that must be the SHA-256 of the body, in hex.
        query_hash: whether `qsh` must be that of method, path and query, as Atlassian has it.
        account: whether the secret is no key and says who must have sent it: `email`, and behind a blank `aud`, which
            is the URL otherwise.
    """

    algorithms: tuple[str, ...]
    issuers: tuple[str, ...] = ()
    for_url: bool = False
    expires: bool = False
    max_age_s: int | None = None
    leeway_s: int = 60
    body_hash: str = ""
    query_hash: bool = False
    account: bool = False


def read_key_id(token: bytes) -> str:
    """Read which key a token says that it is signed with, before anything of it is known to be true."""
    header = _header(token)
    return str(header.get("kid", "")) if header is not None else ""


def _header(token: bytes) -> dict[str, Any] | None:
    if len(token) > MAX_TOKEN_BYTES:
        return None
    try:
        return jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None


def check_token(
    rule: TokenRule,
    where: str,
    token: bytes,
    key: Any,  # noqa: ANN401 -- bytes, or a key of cryptography
    request: Request,
    now: datetime,
    account: bytes = b"",
) -> None:
    """
    Check one token against one key.

    Raises:
        BadSignature: it is none, is not signed with the key, or says something else than the request does.
    """
    if _header(token) is None:
        raise BadSignature(f"{where} is malformed: accepted is a JWT of at most {MAX_TOKEN_BYTES} bytes")
    try:
        claims = _decode_claims(_jws.decode(token, key, algorithms=list(rule.algorithms)))
    except (jwt.PyJWTError, msgspec.DecodeError, ValueError, TypeError, RecursionError):
        raise BadSignature(
            f"{where} does not fit: the source has another secret than the sender, or the token is signed by other than"
            f" {' or '.join(rule.algorithms)}"
        ) from None
    _check_times(rule, where, claims, now)
    _check_claims(rule, where, claims, request, account)


def write_token(claims: Mapping[str, Any], key: bytes, algorithm: str) -> bytes:
    """Sign claims with a shared secret."""
    return _jws.encode(msgspec.json.encode(claims), key, algorithm=algorithm).encode()


def _check_times(rule: TokenRule, where: str, claims: Mapping[str, Any], now: datetime) -> None:
    moment = now.timestamp()
    for name in ("exp", "iat", "nbf"):
        needed = (rule.expires and name != "nbf") or (rule.max_age_s is not None and name == "iat")
        told = claims.get(name)
        if told is None and not needed:
            continue
        if isinstance(told, bool) or not isinstance(told, int | float):
            raise BadSignature(f"{where} is malformed: the claim {name} has to be a time in seconds")
        late = told + rule.leeway_s < moment if name == "exp" else told - rule.leeway_s > moment
        if name == "iat" and rule.max_age_s is not None:
            late = abs(moment - told) > rule.max_age_s
        if late:
            raise BadSignature(
                f"out of time: the claim {name} of {where} is {moment - told:.0f} s ago; check both clocks, or let the"
                " sender send it anew"
            )


def _check_claims(rule: TokenRule, where: str, claims: Mapping[str, Any], request: Request, account: bytes) -> None:
    if rule.issuers and claims.get("iss") not in rule.issuers:
        raise BadSignature(f"{where} is of another issuer: accepted is {' or '.join(rule.issuers)}")
    if rule.account:
        email, _, audience = account.decode("utf-8", "replace").partition(" ")
        if not _same(claims.get("email"), [email]) or claims.get("email_verified") is not True:
            raise BadSignature(f"{where} is of another account than the source's secret names")
        if not _same(claims.get("aud"), [audience] if audience else _urls(request)):
            raise BadSignature(f"{where} is for another audience than the source's URL, or the one in its secret")
    if rule.for_url and not _same(claims.get("aud"), _urls(request)):
        raise BadSignature(f"{where} is for another URL: the claim aud has to be that of the source")
    if rule.body_hash and not _same(claims.get(rule.body_hash), [hashlib.sha256(request.body).hexdigest()]):
        raise BadSignature(f"{where} is for another body: it was changed on its way; let no proxy rewrite bodies")
    if rule.query_hash and not _same(claims.get("qsh"), query_hashes(request)):
        raise BadSignature(f"{where} is for another request: the claim qsh has to be that of method, path and query")


def _same(told: object, accepted: Sequence[str]) -> bool:
    return isinstance(told, str) and any(hmac.compare_digest(told.encode(), each.encode()) for each in accepted)


def _urls(request: Request) -> list[str]:
    """List what a sender may call the URL: with its query and without."""
    return [request.url, request.url.partition("?")[0]]


def query_hashes(request: Request) -> list[str]:
    """Compute Atlassian's hash of a request: with the whole path, and with what is behind that of the public URL."""
    whole = urlsplit(request.url)
    paths = {whole.path, request.target.partition("?")[0] or whole.path}
    return [query_hash(request.method, path, whole.query) for path in sorted(paths)]


def query_hash(method: str, path: str, query: str) -> str:
    """Compute `qsh`: SHA-256 of method, path, and the query sorted by name, each part percent-encoded anew."""
    values: dict[str, list[str]] = {}
    for field in query.split("&", MAX_FORM_FIELDS)[:MAX_FORM_FIELDS]:
        name, _, value = field.partition("=")
        if field and unquote_plus(name) != "jwt":
            values.setdefault(_encoded(name), []).append(_encoded(value))
    pairs = [f"{name}={','.join(sorted(found))}" for name, found in sorted(values.items())]
    place = (path.rstrip("/") or "/").replace("&", "%26")
    return hashlib.sha256("&".join((method.upper(), place, "&".join(pairs))).encode("utf-8", "replace")).hexdigest()


def _encoded(text: str) -> str:
    return quote(unquote_plus(text, errors="replace"), safe="~", errors="replace")
