"""Who calls: the token in the `Authorization` header, which is checked before anything else of a request is read."""

import re
from collections.abc import Callable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.middleware.authentication import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp, Receive, Scope, Send

from clawback.accounts.gate import Gate
from clawback.accounts.tokens import token_hash
from clawback.errors import Unauthorized
from clawback.http.turns import Turns
from clawback.operations import Caller

UNAUTHORIZED = (
    "no valid token: send the header 'Authorization: Bearer cbt_…'; `clawback token create` makes a token, and one that"
    " was rotated or revoked opens nothing more"
)
"""The one answer to every failure, so that nobody learns from it whether a token ever was one."""

_BEARER = re.compile(r"bearer +([!-~]+) *", re.IGNORECASE)
"""RFC 6750 section 2.1, and RFC 9110 section 11.1: the name of a scheme has no case."""


class BearerAuthentication(AbstractAuthenticationMiddleware):
    """
    Makes the Caller of a request, which has no session: it came over no connection that events are sent to.

    The request's `auth` is the SHA-256 of its token, by which it is told when that is revoked.
    """

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        super().__init__(app)
        self._gate = gate

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        """
        Find the caller.

        Raises:
            Unauthorized: no token, or none that opens anything; which of these is not said.
            RateLimited: too often so from this address.
            Unavailable: NATS does not answer.
        """
        sent = connection.headers.getall("authorization", [])
        token = _BEARER.fullmatch(sent[0]) if len(sent) == 1 else None
        address = connection.client.host if connection.client is not None else None
        try:
            record = await self._gate.admit("" if token is None else token[1], address)
            assert token is not None, "what is empty opens nothing"
        except Unauthorized:
            raise Unauthorized(UNAUTHORIZED) from None
        return AuthenticationResult(Caller(record.profile_id, record.id), token_hash(token[1]))


def taking_turns(turns: Turns[str]) -> Callable[[ASGIApp], ASGIApp]:
    """Build the middleware, inside of the one that says who calls, that lets a profile's requests take turns."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await turns.serve(scope["user"].profile_id, app, scope, receive, send)

        return answer

    return wrap
