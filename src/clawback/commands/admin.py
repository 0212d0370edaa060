"""What an operator does straight through NATS, whether `clawback serve` runs or not: tokens, secrets, the way there."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from clawback.accounts.profiles import check_profile_name, ensure_profile
from clawback.accounts.tokens import MadeToken, SeenToken, Tokens, check_label
from clawback.accounts.vault import load_vault
from clawback.errors import ConfigError, NotFound
from clawback.fabric.auth import NatsAuth
from clawback.fabric.embedded import EmbeddedNats, has_store, is_running, read_auth
from clawback.fabric.streams import Fabric
from clawback.model import Profile, Source
from clawback.settings import ServerSettings
from clawback.store.last_seen import LastSeen
from clawback.store.registry import Registry

PATIENCE_SECONDS = 3.0
"""Somebody sits and waits for the answer; a NATS that is being restarted is back within this."""


async def create_token(settings: ServerSettings, profile_name: str, label: str | None) -> tuple[Profile, MadeToken]:
    """
    Make a token for a profile, which is made if it is new.

    Raises:
        Rejected: the name or the label is none.
        ConfigError, Unavailable: there is no NATS to keep it in.
    """
    check_profile_name(profile_name)
    check_label(label)
    async with open_registry(settings) as (registry, tokens):
        profile = await ensure_profile(registry, profile_name)
        return profile, await tokens.create(profile.id, label)


async def list_tokens(settings: ServerSettings, profile_name: str) -> Sequence[SeenToken]:
    """
    List a profile's tokens, oldest first.

    Raises:
        NotFound: there is no such profile; names those there are.
        ConfigError, Unavailable: there is no NATS to ask.
    """
    async with open_registry(settings) as (registry, tokens):
        profile = await _find_profile(registry, profile_name)
        return await tokens.of_profile(profile.id)


async def revoke_token(settings: ServerSettings, token_id: str) -> None:
    """
    Revoke a token of any profile.

    Raises:
        NotFound: no profile has such a token.
        ConfigError, Unavailable: there is no NATS to ask.
    """
    async with open_registry(settings) as (registry, tokens):
        for profile in registry.list_profiles():
            if await tokens.revoke(profile.id, token_id):
                return
    raise NotFound(f"there is no token {token_id}; `clawback token list` shows the ids")


async def open_source(
    settings: ServerSettings, profile_name: str, slug: str | None, scheme: str | None
) -> tuple[str, Source, bytes]:
    """
    Find a source of a profile, and return its public URL, itself, and its newest secret, empty where it has none.

    Without a slug it is the only one that the scheme fits.

    Raises:
        NotFound: there is no such profile or source, or several; names those there are.
        SecretUnreadable, ConfigError: the secret does not open with the master key of these settings.
        Unavailable: there is no NATS to ask.
    """
    async with open_registry(settings) as (registry, _):
        profile = await _find_profile(registry, profile_name)
        sources = registry.list_sources(profile.id)
        source = _pick(sources, profile_name, slug, scheme)
    url = f"{settings.public_url}/webhooks/{profile.webhook_id}/{source.slug}"
    secrets = source.secrets_at(datetime.now(UTC))
    if not secrets:
        return url, source, b""
    vault = load_vault(settings.master_key, settings.data_dir)
    return url, source, vault.open(secrets[0], profile_id=profile.id, source_id=source.id)


def _pick(sources: Sequence[Source], profile_name: str, slug: str | None, scheme: str | None) -> Source:
    fitting = [source for source in sources if (source.slug == slug if slug is not None else source.scheme == scheme)]
    if len(fitting) == 1:
        return fitting[0]
    wanted = f"named {slug!a}" if slug is not None else f"of type {scheme}"
    there_are = ", ".join(f"{source.slug} ({source.scheme})" for source in sources) or "none yet"
    found = f"{len(fitting)} sources" if fitting else "no source"
    raise NotFound(f"the profile {profile_name} has {found} {wanted}: choose with --source; there are: {there_are}")


def nats_auth(settings: ServerSettings) -> NatsAuth:
    """
    Say how to reach the NATS of these settings.

    Raises:
        ConfigError: it is the server's own, and no server ever ran on this data directory.
    """
    if settings.nats_url is not None:
        return NatsAuth(settings.nats_url, settings.nats_user, settings.nats_password)
    return read_auth(settings.data_dir)


def check_store(data_dir: Path) -> None:
    """
    Check that a server keeps its data here, and make nothing.

    Raises:
        ConfigError: no server ever ran on this directory; says what is there.
    """
    if has_store(data_dir):
        return
    try:
        names = sorted(each.name for each in data_dir.iterdir())
        found = f"holds {', '.join(names[:5])}{' and more' if len(names) > 5 else ''}" if names else "is empty"  # noqa: PLR2004 -- enough to recognise it
    except OSError as error:
        found = "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
    raise ConfigError(
        f"no server keeps its data in {data_dir.absolute()}, which {found}: name the directory of the server with"
        " --data-dir (CLAWBACK_DATA_DIR), or its NATS with --nats-url; a new server makes its own at the first"
        " `clawback serve`. In a container, run this command inside it"
    )


async def _find_profile(registry: Registry, name: str) -> Profile:
    profile = await registry.find_profile_named(check_profile_name(name))
    if profile is None:
        names = ", ".join(each.name for each in registry.list_profiles()) or "none yet"
        raise NotFound(f"there is no profile {name}; there are: {names}")
    return profile


@asynccontextmanager
async def open_registry(settings: ServerSettings) -> AsyncIterator[tuple[Registry, Tokens]]:
    """
    Open the registry and the tokens in it for a command, whether or not a server runs.

    Raises:
        ConfigError, Unavailable: there is no NATS to keep them in.
    """
    async with _open_nats(settings) as auth:
        fabric = await Fabric.open(auth, name="clawback token", replicas=settings.replicas, patience_s=PATIENCE_SECONDS)
        try:
            registry = await Registry.open(fabric, shards=settings.shards)
            yield registry, Tokens(registry, LastSeen(fabric))
        finally:
            await fabric.close()


@asynccontextmanager
async def _open_nats(settings: ServerSettings) -> AsyncIterator[NatsAuth]:
    """Use the NATS that runs, or run the server's own for as long as it takes."""
    if settings.nats_url is not None or is_running(settings.data_dir):
        yield nats_auth(settings)
        return
    check_store(settings.data_dir)
    async with EmbeddedNats(settings.data_dir) as nats:
        yield nats.auth
