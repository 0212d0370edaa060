"""Which keys a start needs, and everything sealed anew, over a NATS of the test's own."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from clawback.accounts.keyring import key_id
from clawback.accounts.seals import Resealed, check_keys, count_seals, reseal
from clawback.accounts.vault import Vault
from clawback.errors import ConfigError
from clawback.fabric import subjects
from clawback.model import Scheme, Sealed, Source, new_id
from clawback.store.registry import Registry
from conftest import SHARDS

OLD, NEW, OTHER = (bytes([number]) * 32 for number in (1, 2, 3))
NOW = datetime.now(UTC)


def ring(*keys):
    """Make a vault with these keys, of which the first seals."""
    return Vault({key_id(key): key for key in keys}, key_id(keys[0]))


@pytest.fixture
async def registry(fresh_fabric):
    """A registry that no other test has."""
    return await Registry.open(fresh_fabric, shards=SHARDS)


async def add(registry, vault, *secrets):
    """Store a source with secrets, all but the first in an overlap."""
    source = Source(new_id("src"), "profile", f"s{new_id('x')[-8:]}", Scheme.GITHUB, NOW)
    sealed = [vault.seal(secret, profile_id="profile", source_id=source.id) for secret in secrets]
    later = [msgspec.structs.replace(each, expires_at=NOW + timedelta(hours=1)) for each in sealed[1:]]
    source = msgspec.structs.replace(source, secrets=(*sealed[:1], *later))
    await registry.create_source(source)
    return source


async def spoil(registry, source, **fields):
    """Change the stored secrets of a source."""
    await registry.update_source(
        "profile",
        source.id,
        lambda source: msgspec.structs.replace(
            source, secrets=tuple(msgspec.structs.replace(each, **fields) for each in source.secrets)
        ),
    )


async def test_a_start_with_the_keys_that_are_needed(registry):
    """Whatever their order, and with more than are needed; before anything is sealed every key is right."""
    await check_keys(registry, ring(OLD))
    await add(registry, ring(OLD), b"one")
    for keys in ([OLD], [OLD, NEW], [NEW, OLD]):
        await check_keys(registry, ring(*keys))

    assert set(registry.known_keys()) == {key_id(OLD), key_id(NEW)}


@pytest.mark.parametrize("keys", [[NEW], [NEW, OTHER]])
async def test_a_start_without_a_key_that_is_needed_is_refused(registry, keys):
    """The sentence names the key that is needed, those at hand, and both ways out."""
    await check_keys(registry, ring(OLD))
    await add(registry, ring(OLD), b"one", b"two")
    with pytest.raises(ConfigError) as refused:
        await check_keys(registry, ring(*keys))

    said = str(refused.value)
    assert f"2 webhook secrets were sealed with key {key_id(OLD)}, and at hand is {key_id(NEW)}" in said
    assert "put that key back, behind the first one" in said
    assert f"`clawback keys remove {key_id(OLD)} --lost`" in said
    assert key_id(NEW) not in registry.known_keys(), "a key that was refused is not needed from now on"


async def test_the_wrong_key_is_refused_where_nobody_noted_the_right_one(registry):
    """None of the keys at hand was ever here, so what is sealed was sealed with another."""
    await add(registry, ring(OLD), b"one")
    with pytest.raises(ConfigError, match=key_id(OLD)):
        await check_keys(registry, ring(NEW))


async def test_a_key_that_is_missing_in_the_middle_of_a_rotation_is_refused(registry):
    """The new one alone does not do while the old one still opens something."""
    await check_keys(registry, ring(NEW, OLD))
    await add(registry, ring(NEW), b"one")
    await add(registry, ring(OLD), b"two")
    with pytest.raises(ConfigError, match=f"1 webhook secrets were sealed with key {key_id(OLD)}, and at hand is "):
        await check_keys(registry, ring(NEW))


async def test_a_damaged_key_id_stops_no_start(registry):
    """No key here ever had it: one record is damaged, and costs its source only."""
    await check_keys(registry, ring(OLD))
    await add(registry, ring(OLD), b"one")
    await spoil(registry, await add(registry, ring(OLD), b"two"), key_id="ffffffff")

    await check_keys(registry, ring(OLD))


async def test_a_key_that_was_given_up_is_needed_no_more(registry):
    """Its sources stay disabled, and the server starts."""
    await check_keys(registry, ring(OLD))
    await check_keys(registry, ring(NEW, OLD))
    await add(registry, ring(OLD), b"one")
    for _ in range(2):
        await registry.forget_key(key_id(OLD))

    await check_keys(registry, ring(NEW))
    assert set(registry.known_keys()) == {key_id(NEW)}


async def test_everything_is_sealed_anew_and_opens(registry):
    """Overlaps keep their ends; done again there is nothing to do; no revision before it is left in NATS."""
    sources = [await add(registry, ring(OLD), b"one", b"two"), await add(registry, ring(NEW, OLD), b"three")]
    await add(registry, ring(NEW))
    vault = ring(NEW, OLD)
    done = await reseal(registry, vault)
    again = await reseal(registry, vault)
    opened = {}
    for source in sources:
        stored = await registry.find_source_by_id("profile", source.id)
        opened[source.id] = [ring(NEW).open(each, profile_id="profile", source_id=source.id) for each in stored.secrets]
        assert [each.expires_at for each in stored.secrets] == [each.expires_at for each in source.secrets]
    stored = await registry._fabric.get_many("KV_cfg", "$KV.cfg.src.>")

    assert (done, again) == (Resealed(2, ()), Resealed(0, ()))
    assert list(opened.values()) == [[b"one", b"two"], [b"three"]]
    assert count_seals(registry) == {key_id(NEW): 3}
    assert len(stored) == 3


async def test_what_does_not_open_stays_as_it_is_and_is_named(registry):
    """A damaged secret and one whose key is missing; what is left is sealed anew."""
    await add(registry, ring(OLD), b"one")
    damaged, keyless = [await add(registry, ring(key), b"two") for key in (OLD, OTHER)]
    await spoil(registry, damaged, ciphertext=b"x" * 32)
    before = await registry.find_source_by_id("profile", damaged.id)
    done = await reseal(registry, ring(NEW, OLD))

    assert done == Resealed(1, tuple(sorted([damaged.id, keyless.id])))
    assert await registry.find_source_by_id("profile", damaged.id) == before
    assert count_seals(registry) == {key_id(NEW): 1, key_id(OLD): 1, key_id(OTHER): 1}


async def test_a_replaced_or_deleted_secret_is_not_kept_as_a_former_revision(registry):
    """KV buckets keep some; of sources they would be what an old key opens."""
    kept, gone = [await add(registry, ring(OLD), b"one") for _ in range(2)]
    await spoil(registry, kept, ciphertext=b"x" * 32)
    await registry.delete_source("profile", gone.id)
    revisions = [
        await registry._fabric.get_many("KV_cfg", subjects.config_subject(subjects.source_key("profile", each.id)))
        for each in (kept, gone)
    ]

    assert [len(each) for each in revisions] == [1, 0]
    assert msgspec.json.decode(revisions[0][0].data, type=Source).secrets[0].ciphertext == b"x" * 32
    assert isinstance(kept.secrets[0], Sealed)
