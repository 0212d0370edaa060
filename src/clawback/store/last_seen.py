"""
When each token last opened a connection, to the hour.

Kept beside the tokens and not in them: a token's record is written when somebody decides something, and every server
keeps it in memory; this is written by itself, and read only when tokens are listed.
"""

import contextlib
from datetime import datetime, timedelta

import msgspec

from clawback.errors import Unavailable
from clawback.fabric import subjects
from clawback.fabric.layout import CONFIG_BUCKET
from clawback.fabric.streams import Fabric
from clawback.model import TokenRecord, encode_json

WRITE_EVERY = timedelta(hours=1)
"""Each server writes a token's time at most this often: a plugin that reconnects all day costs 24 small writes."""

_decode = msgspec.json.Decoder(datetime).decode


class LastSeen:
    """The times of every profile's tokens, in the bucket `cfg`."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._written: dict[str, datetime] = {}

    async def note(self, token: TokenRecord, now: datetime) -> None:
        """Remember that a token opened a connection, unless that was written within the hour."""
        written = self._written.get(token.id)
        if written is not None and now - written < WRITE_EVERY:
            return
        subject = subjects.config_subject(subjects.last_seen_key(token.profile_id, token.id))
        # Nobody is kept out because this could not be written: the next connection writes it.
        with contextlib.suppress(Unavailable):
            await self._fabric.publish(subject, encode_json(now))
            self._written[token.id] = now

    async def of_profile(self, profile_id: str) -> dict[str, datetime]:
        """
        Read when the profile's tokens were last seen, by token id. A revoked token may still be among them.

        Raises:
            Unavailable: NATS does not answer.
        """
        subject = subjects.config_subject(subjects.last_seen_key(profile_id, "*"))
        stored = await self._fabric.get_last_many(f"KV_{CONFIG_BUCKET}", subject)
        seen = {}
        for each in stored:
            # One that cannot be read is a token that was never seen, and not a list that cannot be had.
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                seen[each.subject.rpartition(".")[2]] = _decode(each.data)
        return seen
