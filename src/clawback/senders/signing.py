"""
Sign a request as its sender would, by the table that verifies it. Pure.

For `clawback trigger` and the probe of `clawback doctor`. What holds the table to the vendors' own words is the tests,
which sign by a second hand.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from clawback.errors import Rejected
from clawback.model import SignatureRule
from clawback.senders.request import Headers, Request
from clawback.senders.signatures import (
    ECDSA,
    ED25519,
    Clock,
    InHeader,
    InSignature,
    Row,
    build_message,
    expected_signature,
)
from clawback.senders.verifying import rows_of


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

    What a sender has in the body (Stripe's and Slack's id, Linear's time) is the caller's to have put there. `rule`
    is for `hmac`, `url` for senders that sign it.

    Raises:
        Rejected: the secret is no key for the type, or only the sender itself can sign.
    """
    rows = rows_of(scheme, rule)
    if not rows:
        return []
    row, key = _choose(rows, scheme, secret)
    if row.algorithm in (ED25519, ECDSA) or not isinstance(row.place, InHeader):
        raise Rejected(f"nobody but the sender can sign for {scheme}: its requests carry no signature made of a secret")
    time = _write_time(row.clock, now)
    headers = []
    if isinstance(row.delivery, InHeader):
        headers.append((row.delivery.name, delivery_id))
    if row.clock is not None and isinstance(row.clock.place, InHeader):
        headers.append((row.clock.place.name, time))
    parts = []
    if row.clock is not None and isinstance(row.clock.place, InSignature):
        parts.append(row.clock.place.prefix + time.encode())
    known = Headers([(name.lower().encode(), value.encode()) for name, value in headers])
    message = build_message(row, Request(known, body, base=url), parts)
    signature = row.prefix + expected_signature(row, key, message)
    if parts:
        signature = parts[0] + row.separator + signature
    return [*headers, (row.place.name, signature.decode("latin-1"))]


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
    for row in rows:
        if key := row.key(secret):
            return row, key
    raise Rejected(f"the secret is no key for {scheme}: give the one that the source was made with")
