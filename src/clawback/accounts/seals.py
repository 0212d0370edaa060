"""
What is sealed in the registry, over all profiles: which keys are needed, sealed anew when the key changes, forgotten.

A secret whose overlap is over verifies nothing, whether or not it is still stored. That it also goes from the store is
so that nobody can open it who gets hold of a key and a copy of NATS later.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from clawback.accounts.keyring import KEY_SETTING
from clawback.accounts.vault import Vault
from clawback.errors import ConfigError, NotFound, SecretUnreadable, Unavailable
from clawback.model import Sealed, Source
from clawback.store.registry import Registry

FORGET_EVERY_SECONDS = 3600
"""Every server looks, and finds mostly nothing; two that find the same write the same."""

log = logging.getLogger("clawback.accounts")


def count_seals(registry: Registry) -> Counter[str]:
    """Count the stored secrets by the id of the key that sealed them."""
    return Counter(sealed.key_id for source in registry.every_source() for sealed in source.secrets)


async def check_keys(registry: Registry, vault: Vault) -> None:
    """
    Check at the start that the keys at hand are those that are needed, and remember them as needed from now on.

    An id that no key here ever had is a damaged record, which disables its source and stops nobody; unless none of the
    keys at hand was ever here, and then they are the wrong ones.

    Raises:
        ConfigError: a key is missing, or they are the wrong ones; names those that are needed.
        Unavailable: NATS does not answer.
    """
    seals, known = count_seals(registry), registry.known_keys()
    missing = set(seals) - set(vault.key_ids)
    if not (known.keys() | seals.keys()).isdisjoint(vault.key_ids):
        missing &= known.keys()
    if missing:
        needed = ", ".join(sorted(missing))
        raise ConfigError(
            f"{KEY_SETTING}: {sum(seals[each] for each in missing)} webhook secrets were sealed with key {needed}, and"
            f" at hand is {', '.join(vault.key_ids)}: put that key back, behind the first one; if it is lost, run"
            f" `clawback keys remove {min(missing)} --lost` and give the sources new secrets"
        )
    for each in vault.key_ids:
        await registry.note_key(each, datetime.now(UTC))


class Resealed(Struct, frozen=True):
    """What `reseal` has done: the number of secrets, and the ids of sources that hold one which does not open."""

    secrets: int
    unopened: tuple[str, ...]


async def reseal(registry: Registry, vault: Vault) -> Resealed:
    """
    Seal every secret with the current key that another one sealed, one source after the other.

    It can be killed at any moment and done again: each source is stored anew in one step, and both keys open meanwhile.
    What does not open stays as it is.

    Raises:
        Unavailable: NATS does not answer; what is left is done the next time.
    """
    done = 0
    unopened = set[str]()
    while stale := [
        source
        for source in registry.every_source()
        if source.id not in unopened and any(each.key_id != vault.current for each in source.secrets)
    ]:
        # Again until nothing is left: a server may have sealed something with the old key a moment ago.
        for source in stale:
            try:
                await registry.update_source(source.profile_id, source.id, _resealing(vault, unopened))
            except NotFound:
                continue
            done += sum(each.key_id != vault.current for each in source.secrets) if source.id not in unopened else 0
    return Resealed(done, tuple(sorted(unopened)))


def _resealing(vault: Vault, unopened: set[str]) -> Callable[[Source], Source]:
    def change(source: Source) -> Source:
        def anew(sealed: Sealed) -> Sealed:
            if sealed.key_id == vault.current:
                return sealed
            try:
                secret = vault.open(sealed, profile_id=source.profile_id, source_id=source.id)
            except SecretUnreadable:
                unopened.add(source.id)
                return sealed
            fresh = vault.seal(secret, profile_id=source.profile_id, source_id=source.id)
            return msgspec.structs.replace(fresh, expires_at=sealed.expires_at)

        return msgspec.structs.replace(source, secrets=tuple(map(anew, source.secrets)))

    return change


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
