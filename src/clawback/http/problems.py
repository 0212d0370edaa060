"""
Errors as HTTP answers: one table from class to status, and the RFC 9457 body. Pure.

The webhook endpoint and the REST API both answer errors with `build_problem`, so an error means one thing everywhere.
"""

import math
from http import HTTPStatus
from typing import NamedTuple

from clawback import errors
from clawback.model import encode_json

CONTENT_TYPE = "application/problem+json"

UNAVAILABLE_RETRY_S = 5
"""A restarted NATS is back within this time, so a sender that honours `Retry-After` comes again when it can succeed."""

PATIENT_RETRY_S = 60
"""What is full empties at the speed of somebody's session, a lost key comes back at an operator's; sooner is noise."""

OPERATOR_DETAIL = "The server cannot handle this now; its log says why. Tell its operator."
"""Stands in for messages that are for the operator: they name sources, keys and paths, and a sender is a stranger."""


class _Rule(NamedTuple):
    status: HTTPStatus
    headers: tuple[tuple[str, str], ...] = ()
    shown: bool = True


# An error takes the rule of its nearest ancestor here. BadSignature goes without WWW-Authenticate, which RFC 9110
# section 11.6.1 asks for: no registered scheme means "sign the body as your vendor does".
_RULES: dict[type[errors.ClawbackError], _Rule] = {
    errors.ClawbackError: _Rule(HTTPStatus.INTERNAL_SERVER_ERROR, shown=False),
    errors.Rejected: _Rule(HTTPStatus.BAD_REQUEST),
    errors.BadSignature: _Rule(HTTPStatus.UNAUTHORIZED),
    errors.TooLarge: _Rule(HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    errors.Unauthorized: _Rule(HTTPStatus.UNAUTHORIZED, (("www-authenticate", "Bearer"),)),
    errors.NotFound: _Rule(HTTPStatus.NOT_FOUND),
    errors.Conflict: _Rule(HTTPStatus.CONFLICT),
    errors.QueueFull: _Rule(HTTPStatus.TOO_MANY_REQUESTS, (("retry-after", str(PATIENT_RETRY_S)),)),
    errors.RateLimited: _Rule(HTTPStatus.TOO_MANY_REQUESTS, (("retry-after", str(PATIENT_RETRY_S)),)),
    errors.ProtocolViolation: _Rule(HTTPStatus.BAD_REQUEST),
    # 503, not 500: the key can be brought back, and senders must keep the event until then.
    errors.SecretUnreadable: _Rule(
        HTTPStatus.SERVICE_UNAVAILABLE, (("retry-after", str(PATIENT_RETRY_S)),), shown=False
    ),
    errors.RecordUnreadable: _Rule(
        HTTPStatus.SERVICE_UNAVAILABLE, (("retry-after", str(PATIENT_RETRY_S)),), shown=False
    ),
    errors.Unavailable: _Rule(HTTPStatus.SERVICE_UNAVAILABLE, (("retry-after", str(UNAVAILABLE_RETRY_S)),)),
    errors.StoreFull: _Rule(HTTPStatus.SERVICE_UNAVAILABLE, (("retry-after", str(PATIENT_RETRY_S)),)),
}


class Problem(NamedTuple):
    """An error as an HTTP answer; header names are lower case, `content-type` is among them."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def build_problem(error: Exception) -> Problem:
    """
    Turn any error into its answer; one that is no ClawbackError is a bug and says nothing of itself.

    The body is `{title, status, detail}`: `type` is absent and so `about:blank`, for which RFC 9457 section 4.2.1
    wants the title to be the status's own phrase.
    """
    rule = next(
        (_RULES[kind] for kind in type(error).__mro__ if kind in _RULES),
        _RULES[errors.ClawbackError],
    )
    body = encode_json(
        {
            "title": rule.status.phrase,
            "status": rule.status.value,
            "detail": str(error) if rule.shown else OPERATOR_DETAIL,
        }
    )
    headers = rule.headers
    if isinstance(error, errors.RateLimited) and error.wait_s is not None:
        # Whole seconds, RFC 9110 section 10.2.3; rounded up, or whoever comes then would come too early.
        headers = (("retry-after", str(math.ceil(error.wait_s))),)
    return Problem(rule.status.value, (("content-type", CONTENT_TYPE), *headers), body)
