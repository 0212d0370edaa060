"""The gate: who shows a token or a code is let in, and who shows wrong ones again and again is told to wait."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from clawback.accounts.codes import Codes
from clawback.accounts.throttle import Throttle
from clawback.accounts.tokens import MadeToken, Tokens
from clawback.errors import NotFound, RateLimited, Rejected, Unauthorized
from clawback.model import TokenRecord


class Gate:
    """One for each server: every way in shares its count of failures. `clock` is in seconds and does not go back."""

    def __init__(self, tokens: Tokens, throttle: Throttle, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens = tokens
        self._throttle = throttle
        self._clock = clock

    async def admit(self, value: str, address: str | None) -> TokenRecord:
        """
        Find the token that somebody at an address shows, and note that it was seen.

        A token that this server knows opens whatever its address has done before: behind one address there may be many.

        Raises:
            Unauthorized: it is no token, unknown or revoked.
            RateLimited: so were too many of this address in the last minute.
            Unavailable: NATS does not answer.
        """
        if self._throttle.refuses(address, self._clock()) and not self._tokens.knows(value):
            raise RateLimited(
                "too many wrong tokens came from this address: check the token, and try again in a minute"
            )
        try:
            return await self._tokens.verify(value)
        except Unauthorized:
            self._throttle.failed(address, self._clock())
            raise

    async def redeem(self, codes: Codes, code: str, verifier: str | None, address: str | None) -> MadeToken:
        """
        Make the token that a code is for, which somebody at an address shows.

        A right code is good whatever its address has done before, and no server has heard of all: each is looked up.

        Raises:
            NotFound: there is no such code, or not for this program.
            RateLimited: nor was there for too many others of this address in the last minute.
            Unavailable: NATS does not answer; the code may be used.
        """
        try:
            return await codes.redeem(code, verifier)
        except NotFound:
            if self._throttle.refuses(address, self._clock()):
                raise RateLimited("too many wrong codes came from this address: try again in a minute") from None
            self._throttle.failed(address, self._clock())
            raise

    @asynccontextmanager
    async def attempt(self, address: str | None) -> AsyncIterator[None]:
        """
        Let somebody at an address try to log in where another service has the last word; what is refused is a failure.

        Nothing tells beforehand who comes, so from an address that failed too often nobody does, and nobody is asked.

        Raises:
            RateLimited: too many of this address were refused in the last minute.
        """
        if self._throttle.refuses(address, self._clock()):
            raise RateLimited("too many failed logins came from this address: try again in a minute")
        try:
            yield
        except (Rejected, Unauthorized):
            self._throttle.failed(address, self._clock())
            raise
