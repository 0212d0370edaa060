"""
Keys that senders publish: where each may be fetched from, and the key in what was fetched. Pure.

A request may say which key it was signed with. It may not say where that is: a row names the one URL, or the hosts and
paths on which a URL has to be, as one pattern for the whole of it. What `webhooks/published.py` fetches is read here,
at the moment at which it is needed, so a certificate that has run out counts for nothing.
"""

import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import jwt
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from msgspec import Struct

from clawback.errors import BadSignature

KEY_ID = re.compile(r"[A-Za-z0-9_.=:-]{1,128}")
"""What the id of a key may be, before it is looked for."""

MIN_RSA_BITS = 2048


class Published(Struct, frozen=True, kw_only=True):
    """
    Where a sender's key is.

    Fields:
        url: the one URL; or
        header, path: where the request has the URL, in a header or in the body; and
        pattern: what the whole of it has to be then.
        read: finds the key in a document, by the id that the request names, at a time.
        asks: makes what is posted to the URL, of a key's id and the source's secret; None: it is fetched by GET.
    """

    url: str = ""
    header: str = ""
    path: str = ""
    pattern: str = ""
    read: Callable[[bytes, str, datetime], Any]
    asks: Callable[[str, bytes], bytes] | None = None


class Wanted(Struct, frozen=True):
    """A document that a request cannot be checked without: its URL, what is posted to it, the id of the key in it."""

    url: str
    posted: bytes | None = None
    key_id: str = ""

    @property
    def name(self) -> str:
        """What the document is kept under: what is asked for with credentials is kept for those who have them."""
        return self.url if self.posted is None else f"{self.url}#{hashlib.sha256(self.posted).hexdigest()}"


def read_certificate(document: bytes, _key_id: str, now: datetime) -> bytes:
    """Read the key of an X.509 certificate in PEM, the first of them; raises BadSignature where there is none now."""
    try:
        certificate = x509.load_pem_x509_certificate(document)
        key = certificate.public_key()
        valid = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    except (ValueError, TypeError, x509.InvalidVersion):
        raise BadSignature("the certificate that the sender publishes cannot be read") from None
    if not valid:
        raise BadSignature("the certificate that the sender publishes is not valid now; check the server's clock")
    return _spki(key)


def read_travis(document: bytes, _key_id: str, _now: datetime) -> bytes:
    """Read the key in Travis CI's configuration."""
    try:
        config = msgspec.json.decode(document)
        return _spki(load_pem_public_key(config["config"]["notifications"]["webhook"]["public_key"].encode()))
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError):
        raise BadSignature("the key that the sender publishes cannot be read") from None


def read_key_set(document: bytes, key_id: str, _now: datetime) -> Any:  # noqa: ANN401 -- of cryptography
    """Find a key of a JSON Web Key Set by its id."""
    try:
        keys = msgspec.json.decode(document)["keys"]
        found = next(key for key in keys if key.get("kid") == key_id)
        return jwt.PyJWK(found).key
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, StopIteration, ValueError, jwt.PyJWTError):
        raise BadSignature("the sender publishes no key of the id that the request names") from None


def read_plaid(document: bytes, key_id: str, now: datetime) -> Any:  # noqa: ANN401 -- of cryptography
    """Read the one key that Plaid answers with, unless it has expired."""
    try:
        key = msgspec.json.decode(document)["key"]
        expired = key.get("expired_at")
        if key.get("kid") != key_id or (expired is not None and expired < now.timestamp()):
            raise BadSignature("the sender's key of the id that the request names has expired")
        return jwt.PyJWK(key).key
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError, jwt.PyJWTError):
        raise BadSignature("the key that the sender publishes cannot be read") from None


def ask_plaid(key_id: str, secret: bytes) -> bytes:
    """Ask Plaid for a key, as the client that the secret, `client_id:secret`, names."""
    client_id, _, password = secret.decode("utf-8", "replace").partition(":")
    return msgspec.json.encode({"client_id": client_id, "secret": password, "key_id": key_id})


def _spki(key: object) -> bytes:
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_RSA_BITS:
        raise BadSignature(f"the key that the sender publishes is no RSA key of {MIN_RSA_BITS} bits or more")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
