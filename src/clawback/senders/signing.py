"""
Sign a request as its sender would, by the table that verifies it. Pure.

For `clawback trigger` and the probe of `clawback doctor`. What holds the table to the vendors' own words is the tests,
which sign by a second hand.
"""

from collections.abc import Sequence
from datetime import datetime

from clawback.errors import Rejected
from clawback.model import Scheme, SignatureRule
from clawback.senders.signatures import SCHEMES, InHeader, InSignature, Row, expected_signature, generic_row


def sign(
    scheme: Scheme,
    body: bytes,
    secret: bytes,
    *,
    delivery_id: str,
    now: datetime,
    rule: SignatureRule | None = None,
) -> list[tuple[str, str]]:
    """
    Build the headers that prove where a body is from: its signature, its time and, where a header has it, its id.

    What a scheme reads in the body (Stripe's and Slack's id, Linear's time) is the caller's to have put there. `rule`
    is for `generic`.

    Raises:
        Rejected: the secret is no key for the scheme.
    """
    if scheme is Scheme.NONE:
        return []
    rows = (generic_row(rule or SignatureRule()),) if scheme is Scheme.GENERIC else SCHEMES[scheme]
    row, key = _choose(rows, scheme, secret)
    time = str(int(now.timestamp() * (row.clock.per_second if row.clock else 1)))
    headers = []
    if isinstance(row.delivery, InHeader):
        headers.append((row.delivery.name, delivery_id))
    if row.clock is not None and isinstance(row.clock.place, InHeader):
        headers.append((row.clock.place.name, time))
    signed = {b"id": delivery_id.encode(), b"time": time.encode()}
    signature = row.prefix + expected_signature(row, key, row.preamble % signed if row.preamble else b"", body)
    if row.clock is not None and isinstance(row.clock.place, InSignature):
        signature = row.clock.place.prefix + time.encode() + row.separator + signature
    return [*headers, (row.header, signature.decode("latin-1"))]


def _choose(rows: Sequence[Row], scheme: Scheme, secret: bytes) -> tuple[Row, bytes]:
    """Choose the row that a sender with this secret would go by."""
    for row in rows:
        if key := row.key(secret):
            return row, key
    raise Rejected(f"the secret is no key for {scheme}: give the one that the source was made with")
