"""
Verify a request by the type of its source: a preset's rows, or the row that the source describes itself. Pure.

Fail closed: a type that this server does not know verifies nothing.
"""

from collections.abc import Sequence
from datetime import datetime

from clawback.errors import BadSignature
from clawback.model import Scheme, SignatureRule
from clawback.senders.presets import PRESETS
from clawback.senders.published import Wanted
from clawback.senders.request import Request
from clawback.senders.signatures import Row, check_rows, list_wanted, rule_row

RULED = (Scheme.GENERIC, "hmac")
"""Types whose one row the source describes itself."""


def rows_of(scheme: str, rule: SignatureRule | None) -> Sequence[Row]:
    """List the ways in which a source's requests may be signed; none where they need not be, or nobody knows."""
    if scheme in RULED:
        return (rule_row(rule or SignatureRule()),)
    preset = PRESETS.get(scheme)
    if preset is None:
        raise BadSignature("a newer server made this source, and this one cannot check its signatures")
    return preset.rows


def list_wanted_keys(request: Request, scheme: str, secrets: Sequence[bytes]) -> list[Wanted]:
    """List what has to be fetched of its sender's before a request can be checked; of nearly every type nothing."""
    preset = PRESETS.get(scheme)
    rows = [] if preset is None else [row for row in preset.rows if row.published is not None]
    found = [wanted for row in rows for secret in secrets if (wanted := list_wanted(row, request, secret))]
    return list({each.name: each for each in found}.values())


def verify(
    request: Request, scheme: str, secrets: Sequence[bytes], now: datetime, rule: SignatureRule | None = None
) -> Row | None:
    """
    Check a request against the live secrets of its source, any of which may have signed it.

    `rule` is for `hmac` and defaults to `SignatureRule()`. Returns the row that the request passed; None for `none`, of
    which nothing is known.

    Raises:
        BadSignature: see `check_rows`; or nobody here knows the type.
    """
    if scheme == Scheme.NONE:
        return None
    return check_rows(request, rows_of(scheme, rule), secrets, now, scheme)
