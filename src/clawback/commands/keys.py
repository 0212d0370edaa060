"""`clawback keys`: list the master keys, rotate to a new one while servers run, and remove those that nothing needs."""

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime

from msgspec import Struct

from clawback.accounts.keyring import KEY_BYTES, KeyFile
from clawback.accounts.seals import Resealed, check_keys, count_seals, reseal
from clawback.accounts.vault import Vault, load_vault
from clawback.commands.admin import open_registry
from clawback.errors import NotFound, Rejected
from clawback.settings import ServerSettings
from clawback.store.registry import Registry


class Key(Struct, frozen=True, rename="camel"):
    """One key: how many secrets it sealed, whether it is at hand, and whether it is the one that seals."""

    id: str
    secrets: int
    seals: bool
    here: bool


class Rotation(Struct, frozen=True):
    """
    What a rotation did: the key that seals now, and whether it was made by it.

    `idle` are the keys of the ring that seal nothing any more.
    """

    current: str
    made: bool
    resealed: Resealed
    idle: tuple[str, ...]


async def list_keys(settings: ServerSettings) -> list[Key]:
    """
    List the keys at hand, in their order, then those that are missing and needed.

    Raises:
        ConfigError: the keys cannot be read, or there is no NATS to ask.
        Unavailable: NATS does not answer.
    """
    async with open_registry(settings) as (registry, _):
        vault = load_vault(settings.master_key, settings.data_dir)
        seals = count_seals(registry)
    here = [Key(each, seals[each], seals=each == vault.current, here=True) for each in vault.key_ids]
    missing = sorted(set(seals) - set(vault.key_ids))
    return here + [Key(each, seals[each], seals=False, here=False) for each in missing]


async def rotate_keys(settings: ServerSettings) -> Rotation:
    """
    Seal everything with the first key; where it already does, and the key file is this server's own, make a new one.

    The new key stands in the file before anything is sealed with it: a server that meets its id reads the file again.
    Killed at any moment and run again, it goes on where it was.

    Raises:
        Rejected: the keys are not ours to change alone; says what to do.
        ConfigError: the keys cannot be read or written, or are not those that are needed; another is at it; or there is
            no NATS to ask.
        Unavailable: NATS does not answer; run it again.
    """
    async with open_registry(settings) as (registry, _):
        with _locked(settings):
            vault = load_vault(settings.master_key, settings.data_dir)
            await check_keys(registry, vault)
            done = await reseal(registry, vault)
            made = False
            if not done.secrets:
                if not _is_alone(settings):
                    if len(vault.key_ids) == 1:
                        raise Rejected(_how_to(settings))
                else:
                    KeyFile(settings.data_dir).put_first(os.urandom(KEY_BYTES))
                    vault, made = load_vault(None, settings.data_dir), True
                    await registry.note_key(vault.current, datetime.now(UTC))
                    done = await reseal(registry, vault)
            seals = count_seals(registry)
    return Rotation(vault.current, made, done, tuple(each for each in vault.key_ids[1:] if not seals[each]))


async def remove_key(settings: ServerSettings, identifier: str, *, lost: bool) -> str:
    """
    Take a key out of the ring that seals nothing any more, or give up one that is `lost`; returns what is left to do.

    Raises:
        Rejected: the key is needed, or is not lost.
        NotFound: there is no such key.
        ConfigError: the keys cannot be read or written, another is at it, or there is no NATS to ask.
        Unavailable: NATS does not answer.
    """
    async with open_registry(settings) as (registry, _):
        with _locked(settings):
            vault = load_vault(settings.master_key, settings.data_dir)
            seals, here = count_seals(registry), identifier in vault.key_ids
            _check_removable(registry, vault, identifier, seals[identifier], lost=lost)
            if here and settings.master_key is None:
                KeyFile(settings.data_dir).remove(identifier)
            await registry.forget_key(identifier)
            if lost:
                # Those at hand are the right ones from now on, though nothing is sealed with them yet.
                for each in vault.key_ids:
                    await registry.note_key(each, datetime.now(UTC))
    if lost:
        return f"Key {identifier} is given up: {seals[identifier]} secrets do not open, and their sources are disabled."
    if settings.master_key is not None:
        return f"Nothing needs key {identifier}: take it out of the setting master_key of every server."
    return f"Key {identifier} is removed."


def _check_removable(registry: Registry, vault: Vault, identifier: str, needed_by: int, *, lost: bool) -> None:
    here = identifier in vault.key_ids
    if not here and not needed_by and identifier not in registry.known_keys():
        raise NotFound(f"there is no key {identifier[:80]!a}; `clawback keys list` shows the ids")
    if here and lost:
        raise Rejected(f"key {identifier} is not lost, it is at hand: remove it without --lost")
    if identifier == vault.current:
        raise Rejected(f"key {identifier} is the one that seals: run `clawback keys rotate` first")
    if lost:
        return
    if needed_by:
        raise Rejected(f"key {identifier} still opens {needed_by} secrets: run `clawback keys rotate` first")
    if registry.has_unreadable_sources():
        raise Rejected(
            f"some sources cannot be read, so nobody knows whether they need key {identifier}: delete those that"
            " `source_list` shows as disabled, or keep the key"
        )


def _is_alone(settings: ServerSettings) -> bool:
    """Tell whether all servers there are read one key file, which is ours to write."""
    return settings.master_key is None and settings.nats_url is None


def _how_to(settings: ServerSettings) -> str:
    where = f"{KeyFile(settings.data_dir).path} of every server, one key to a line,"
    restart = "; they read it again by themselves"
    if settings.master_key is not None:
        where, restart = "the setting master_key of every server, with a comma between,", " and restart them"
    return (
        f"there is no further key to rotate to. Make one (openssl rand -base64 {KEY_BYTES}) and put it behind the old"
        f" one in {where}{restart}. When all of them have it, put it in front in the same way, and run this again"
    )


@contextlib.contextmanager
def _locked(settings: ServerSettings) -> Iterator[None]:
    if settings.master_key is not None:
        yield
        return
    with KeyFile(settings.data_dir).locked():
        yield
