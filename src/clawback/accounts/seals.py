"""
What is sealed in the registry, over all profiles: kept as small as what still counts.

A secret whose overlap is over verifies nothing, whether or not it is still stored. That it also goes from the store is
so that nobody can open it who gets hold of a key and a copy of NATS later.
"""

import asyncio
import logging
from datetime import UTC, datetime

import msgspec

from clawback.errors import NotFound, Unavailable
from clawback.fabric.registry import Registry
from clawback.model import Source

FORGET_EVERY_SECONDS = 3600
"""Every server looks, and finds mostly nothing; two that find the same write the same."""

log = logging.getLogger("clawback.accounts")


async def forget_expired(registry: Registry, now: datetime) -> None:
    """
    Take secrets that have expired out of their sources.

    Raises:
        Unavailable: NATS does not answer; what is left is taken out the next time.
    """

    def without_expired(source: Source) -> Source:
        return msgspec.structs.replace(source, secrets=source.secrets_at(now))

    stale = [source for source in registry.every_source() if source.secrets_at(now) != source.secrets]
    for source in stale:
        try:
            await registry.update_source(source.profile_id, source.id, without_expired)
        except NotFound:
            continue  # deleted meanwhile, and its secrets with it
        log.info(
            "old secret forgotten",
            extra={"action": "secret_expired", "profile": source.profile_id, "source": source.id},
        )


async def keep_forgetting(registry: Registry) -> None:
    """Forget expired secrets, for ever."""
    while True:
        try:
            await forget_expired(registry, datetime.now(UTC))
        except Unavailable as error:
            log.debug("expired secrets will be looked for again: %s", error)
        await asyncio.sleep(FORGET_EVERY_SECONDS)
