"""
Webhook senders: each signs as its vendor documents it.

Written out by hand from the vendors' pages, and on purpose without the table of `clawback.senders.signatures`, which
is what the tests hold against it.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime

from clawback.model import Scheme

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECRET = b"planted-secret"
STANDARD_SECRET = b"whsec_" + base64.b64encode(b"planted-secret-of-thirty-bytes")

Fields = list[tuple[str, str]]


def github(body: bytes, secret: bytes = SECRET, now: datetime = NOW) -> Fields:  # noqa: ARG001 -- all senders have one shape
    """Sign as GitHub does."""
    return [("X-Hub-Signature-256", "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest())]


def stripe(body: bytes, secret: bytes = SECRET, now: datetime = NOW) -> Fields:
    """Sign as Stripe does."""
    time = str(int(now.timestamp()))
    digest = hmac.new(secret, time.encode() + b"." + body, hashlib.sha256).hexdigest()
    return [("Stripe-Signature", f"t={time},v1={digest}")]


def standard(
    body: bytes,
    secret: bytes = STANDARD_SECRET,
    now: datetime = NOW,
    *,
    family: str = "webhook",
    message_id: str = "msg_1",
) -> Fields:
    """Sign as the Standard Webhooks specification says."""
    time = str(int(now.timestamp()))
    key = base64.b64decode(secret.removeprefix(b"whsec_"))
    digest = hmac.new(key, f"{message_id}.{time}.".encode() + body, hashlib.sha256).digest()
    return [
        (f"{family}-id", message_id),
        (f"{family}-timestamp", time),
        (f"{family}-signature", "v1," + base64.b64encode(digest).decode()),
    ]


def slack(body: bytes, secret: bytes = SECRET, now: datetime = NOW) -> Fields:
    """Sign as Slack does."""
    time = str(int(now.timestamp()))
    digest = hmac.new(secret, b"v0:" + time.encode() + b":" + body, hashlib.sha256).hexdigest()
    return [("X-Slack-Request-Timestamp", time), ("X-Slack-Signature", f"v0={digest}")]


def shopify(body: bytes, secret: bytes = SECRET, now: datetime = NOW) -> Fields:  # noqa: ARG001 -- all senders have one shape
    """Sign as Shopify does."""
    digest = hmac.new(secret, body, hashlib.sha256).digest()
    return [("X-Shopify-Hmac-SHA256", base64.b64encode(digest).decode())]


def linear(body: bytes, secret: bytes = SECRET, now: datetime = NOW) -> Fields:  # noqa: ARG001 -- the time is in the body
    """Sign as Linear does; see `linear_body`."""
    return [("Linear-Signature", hmac.new(secret, body, hashlib.sha256).hexdigest())]


def linear_body(now: datetime = NOW, **fields: object) -> bytes:
    """Make a Linear body with its time in it."""
    return json.dumps({**fields, "webhookTimestamp": int(now.timestamp() * 1000)}).encode()


def gitlab(body: bytes, secret: bytes = SECRET, now: datetime = NOW) -> Fields:  # noqa: ARG001 -- a token signs nothing
    """Show the secret token as GitLab does."""
    return [("X-Gitlab-Token", secret.decode())]


def generic(body: bytes, secret: bytes = SECRET, now: datetime = NOW) -> Fields:  # noqa: ARG001 -- all senders have one shape
    """Sign as a source without any `signature` rule expects."""
    return [("X-Signature", "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest())]


SENDERS: dict[Scheme, Callable[..., Fields]] = {
    Scheme.GITHUB: github,
    Scheme.STRIPE: stripe,
    Scheme.STANDARD_WEBHOOKS: standard,
    Scheme.SLACK: slack,
    Scheme.SHOPIFY: shopify,
    Scheme.LINEAR: linear,
    Scheme.GITLAB: gitlab,
    Scheme.GENERIC: generic,
}
"""Every scheme that signs."""


def secret_for(scheme: Scheme) -> bytes:
    """Return the planted secret in the form that a scheme wants."""
    return STANDARD_SECRET if scheme is Scheme.STANDARD_WEBHOOKS else SECRET


def body_for(scheme: Scheme) -> bytes:
    """Return a small body that a scheme's verifier and event type can read."""
    return linear_body(action="create") if scheme is Scheme.LINEAR else b'{"type":"invoice.paid","action":"opened"}'


def raw(fields: Fields) -> list[tuple[bytes, bytes]]:
    """Write headers as ASGI has them."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]
