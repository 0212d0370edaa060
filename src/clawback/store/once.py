"""
What may happen once: codes that are redeemed, and names that are used up. In the bucket `once`, for all servers.

NATS decides who is first, by the revision that a key must have, and forgets each entry when its time is over. Names are
secrets (a code, a state), so a key holds their SHA-256, which tells nothing and can be in no subject's way.
"""

import hashlib

from clawback.errors import Conflict
from clawback.fabric import subjects
from clawback.fabric.layout import ONCE_BUCKET
from clawback.fabric.streams import Fabric

_STREAM = f"KV_{ONCE_BUCKET}"


class Once:
    """Things that happen once, apart by `kind`, which is a word of Clawback's own."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric

    async def use(self, kind: str, name: str, ttl_s: float) -> bool:
        """
        Use a name up for `ttl_s` seconds; False where somebody has.

        Raises:
            Unavailable: not known to be stored.
        """
        try:
            await self._fabric.publish(_key(kind, name), b"", expected_subject_sequence=0, ttl_s=ttl_s)
        except Conflict:
            return False
        return True

    async def is_used(self, kind: str, name: str) -> bool:
        """
        Tell whether a name is used up.

        Raises:
            Unavailable: NATS does not answer.
        """
        return await self._fabric.get(_STREAM, subject=_key(kind, name)) is not None

    async def put(self, kind: str, name: str, value: bytes, ttl_s: float) -> None:
        """
        Keep a value, which must not be empty, for whoever takes it by its name within `ttl_s` seconds.

        Raises:
            Conflict: there is such a name.
            Unavailable: not known to be stored.
        """
        assert value, "an empty entry is one that was taken"
        await self._fabric.publish(_key(kind, name), value, expected_subject_sequence=0, ttl_s=ttl_s)

    async def take(self, kind: str, name: str, ttl_s: float) -> bytes | None:
        """
        Take a value; None where there is none, its time is over, or somebody else has taken it. Of many, one gets it.

        `ttl_s` is how long the name stays used up: at least as long as the value could have been there.

        Raises:
            Unavailable: NATS does not answer; the value may be taken.
        """
        key = _key(kind, name)
        stored = await self._fabric.get(_STREAM, subject=key)
        if stored is None or not stored.data:
            return None
        try:
            await self._fabric.publish(key, b"", expected_subject_sequence=stored.sequence, ttl_s=ttl_s)
        except Conflict:
            return None
        return stored.data


def _key(kind: str, name: str) -> str:
    return subjects.once_subject(kind, hashlib.sha256(name.encode()).hexdigest())
