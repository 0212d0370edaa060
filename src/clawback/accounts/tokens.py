"""
Tokens: what opens a connection. Made here, kept as a hash, verified at each `auth`.

A token is `cbt_`, 32 random bytes as 43 base62 digits, and a checksum of 6: the form that GitHub chose for its own in
2021, and for the same reasons. The prefix lets secret scanners find one that leaked, base62 lets a double click select
it whole, and the checksum refuses a typing mistake without asking NATS.

At rest there is its SHA-256. A slow hash is for passwords, which can be guessed; 256 random bits cannot.
"""

import hashlib
import os
import re
import zlib
from datetime import UTC, datetime
from typing import NamedTuple

from clawback.errors import NotFound, Rejected, Unauthorized
from clawback.model import TokenRecord, new_id
from clawback.store.last_seen import LastSeen
from clawback.store.registry import Registry

PREFIX = "cbt_"
ENTROPY_BYTES = 32
BODY_DIGITS = 43
"""62^43 is the first power of 62 above 2^256."""

CHECKSUM_DIGITS = 6
"""62^6 is above 2^32, so a CRC-32 fits."""

MAX_LABEL_CHARACTERS = 100

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TOKEN = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{BODY_DIGITS + CHECKSUM_DIGITS}}}")


def new_token() -> str:
    """Make a token of 256 random bits."""
    return format_token(os.urandom(ENTROPY_BYTES))


def format_token(entropy: bytes) -> str:
    """Write 32 bytes as a token."""
    assert len(entropy) == ENTROPY_BYTES, "fewer would be guessable, more would not fit"
    body = PREFIX + _base62(int.from_bytes(entropy, "big"), BODY_DIGITS)
    return body + _checksum(body)


def looks_like_token(value: str) -> bool:
    """Tell whether a text has a token's form and its checksum is right; whether it opens anything is not said."""
    if not _TOKEN.fullmatch(value):
        return False
    body = value[:-CHECKSUM_DIGITS]
    return value == body + _checksum(body)


def token_hash(value: str) -> str:
    """Name a token without giving it away: its SHA-256 in hex, which is also its key in NATS."""
    return hashlib.sha256(value.encode()).hexdigest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECKSUM_DIGITS)


def _base62(number: int, digits: int) -> str:
    written = []
    for _ in range(digits):
        number, digit = divmod(number, len(_DIGITS))
        written.append(_DIGITS[digit])
    return "".join(reversed(written))


def check_label(label: str | None) -> str | None:
    """
    Check what a person calls a token; an empty label is none.

    Raises:
        Rejected: it is too long for a list, or would garble a terminal or a log.
    """
    if not label:
        return None
    if len(label) > MAX_LABEL_CHARACTERS or not label.isprintable():
        raise Rejected(
            f"label refused, it has {len(label)} characters or some that cannot be printed: a label is at most"
            f" {MAX_LABEL_CHARACTERS} printable characters"
        )
    return label


class MadeToken(NamedTuple):
    """A new token: its value, shown this once, and what is kept of it."""

    value: str
    record: TokenRecord


class SeenToken(NamedTuple):
    """A token as listed; `last_seen` is when it last opened a connection, to the hour, None for never."""

    record: TokenRecord
    last_seen: datetime | None


class Tokens:
    """The tokens of every profile."""

    def __init__(self, registry: Registry, last_seen: LastSeen) -> None:
        self._registry = registry
        self._last_seen = last_seen

    async def create(self, profile_id: str, label: str | None) -> MadeToken:
        """
        Make a token for a profile.

        Raises:
            Rejected: the label is none.
            Unavailable: not known to be stored; the value is lost, and opens nothing that anybody has.
        """
        made = _make(profile_id, check_label(label))
        await self._registry.store_token(token_hash(made.value), made.record)
        return made

    async def verify(self, value: str) -> TokenRecord:
        """
        Find the token that a connection was opened with, and note that it was seen.

        Raises:
            Unauthorized: it is no token, unknown or revoked.
            Unavailable: NATS does not answer.
        """
        if not looks_like_token(value):
            raise Unauthorized(
                "this is no Clawback token, or it is mistyped or cut: copy it again, from cbt_ to its end"
            )
        record = await self._registry.find_token(token_hash(value))
        if record is None:
            raise Unauthorized("this token is unknown or was revoked: make a new one with `clawback token create`")
        await self._last_seen.note(record, datetime.now(UTC))
        return record

    def knows(self, value: str) -> bool:
        """Tell whether a token is valid as far as this server has heard, without asking NATS."""
        return looks_like_token(value) and self._registry.knows_token(token_hash(value))

    def find(self, profile_id: str, token_id: str) -> TokenRecord | None:
        """Find a token of a profile by its id; None where it was revoked or replaced."""
        return next((each for each in self._registry.list_tokens(profile_id) if each.id == token_id), None)

    async def of_profile(self, profile_id: str) -> list[SeenToken]:
        """
        List a profile's tokens, oldest first.

        Raises:
            Unavailable: NATS does not answer.
        """
        seen = await self._last_seen.of_profile(profile_id)
        return [SeenToken(record, seen.get(record.id)) for record in self._registry.list_tokens(profile_id)]

    async def revoke(self, profile_id: str, token_id: str) -> bool:
        """
        Revoke a token, which closes what it opened; False where the profile has no such token.

        Raises:
            Conflict: somebody else replaced it at the same moment.
            Unavailable: not known to be revoked.
        """
        return await self._registry.delete_token(profile_id, token_id)

    async def rotate(self, profile_id: str, token_id: str, label: str | None, *, keeps: str | None = None) -> MadeToken:
        """
        Replace a token by a new one in one step. Without a label the old one stays.

        Connections that it opened are closed, but for the one with the id `keeps`.

        Raises:
            Rejected: the label is none.
            NotFound: the token was replaced or revoked before.
            Conflict: somebody else replaced it at the same moment.
            Unavailable: not known to be done; the old token may be gone.
        """
        old = self.find(profile_id, token_id)
        if old is None:
            raise NotFound(f"there is no token {token_id} to replace; it was replaced or revoked before")
        made = _make(profile_id, check_label(label) or old.label)
        await self._registry.replace_token(profile_id, token_id, token_hash(made.value), made.record, keeps=keeps)
        return made


def _make(profile_id: str, label: str | None) -> MadeToken:
    return MadeToken(new_token(), TokenRecord(new_id("tok"), profile_id, datetime.now(UTC), label))
