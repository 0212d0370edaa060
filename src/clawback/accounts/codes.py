"""
Codes: what a person hands from the browser to a shell, in place of a token.

A code is good once and for 10 minutes. NATS holds its SHA-256 and what it is for; the token is made when it is
redeemed, so until then there is none that could leak. A program that waits on a loopback port gives a PKCE challenge
(RFC 7636) for its code, and so is the only one that can redeem it; a code that is pasted has none.
"""

import hmac
import logging

import msgspec
from msgspec import Struct

from clawback.accounts.github import challenge_of
from clawback.accounts.tokens import MadeToken, Tokens, check_label
from clawback.errors import NotFound
from clawback.model import encode_json, random_id
from clawback.store.once import Once
from clawback.store.registry import Registry

CODE_CHARACTERS = 26
"""130 random bits: what is guessed must not be guessed in 10 minutes by anybody."""

TTL_SECONDS = 600.0
KIND = "code"

log = logging.getLogger("clawback.accounts")

_UNKNOWN = "this code is unknown, was used, or is older than 10 minutes: get a new one where you got this one"


class _Grant(Struct, frozen=True):
    """What a code is for."""

    profile_id: str
    label: str | None
    challenge: str | None


class Codes:
    """The codes of every profile."""

    def __init__(self, once: Once, tokens: Tokens, registry: Registry) -> None:
        self._once = once
        self._tokens = tokens
        self._registry = registry

    async def make(self, profile_id: str, label: str | None, challenge: str | None = None) -> str:
        """
        Make a code for a token of a profile.

        Raises:
            Rejected: the label is none.
            Unavailable: not known to be stored.
        """
        code = random_id(CODE_CHARACTERS)
        grant = _Grant(profile_id, check_label(label), challenge)
        await self._once.put(KIND, code, encode_json(grant), TTL_SECONDS)
        return code

    async def redeem(self, code: str, verifier: str | None) -> MadeToken:
        """
        Make the token that a code is for. Whatever comes of it, the code is used.

        Raises:
            NotFound: there is no such code, or not for this program.
            Unavailable: NATS does not answer; the code may be used.
        """
        stored = await self._once.take(KIND, code, TTL_SECONDS)
        if stored is None:
            raise NotFound(_UNKNOWN)
        grant = msgspec.json.decode(stored, type=_Grant)
        if grant.challenge is not None and not _fits(grant.challenge, verifier):
            raise NotFound(_UNKNOWN)
        if await self._registry.find_profile(grant.profile_id) is None:
            raise NotFound(_UNKNOWN)
        made = await self._tokens.create(grant.profile_id, grant.label)
        fields = {"action": "code_redeemed", "profile": grant.profile_id, "token": made.record.id}
        log.info("a code became a token", extra=fields)
        return made


def _fits(challenge: str, verifier: str | None) -> bool:
    return verifier is not None and hmac.compare_digest(challenge_of(verifier).encode(), challenge.encode())
