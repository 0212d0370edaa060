"""Tokens over a real registry: made, verified, listed, revoked, replaced."""

from datetime import UTC, datetime

import pytest

from clawback.accounts.tokens import Tokens, check_label, looks_like_token, new_token, token_hash
from clawback.errors import NotFound, Rejected, Unauthorized
from clawback.model import random_id
from clawback.store.last_seen import LastSeen
from clawback.store.registry import Registry
from conftest import SHARDS


@pytest.fixture
async def registry(fabric):
    """Open a registry on the run's NATS."""
    return await Registry.open(fabric, shards=SHARDS)


@pytest.fixture
def tokens(fabric, registry):
    """Make the tokens over it."""
    return Tokens(registry, LastSeen(fabric))


@pytest.fixture
def profile_id():
    """Make a profile's id of the test's own."""
    return random_id(16)


async def test_a_made_token_opens_its_profile(tokens, profile_id):
    """What was made is verified, and says whose it is."""
    made = await tokens.create(profile_id, "laptop")
    found = await tokens.verify(made.value)

    assert looks_like_token(made.value)
    assert found == made.record
    assert (found.profile_id, found.label) == (profile_id, "laptop")


async def test_another_server_knows_a_token_at_once(tokens, fabric, profile_id):
    """A token that was made a moment ago elsewhere is looked up where it is not known yet."""
    other = Tokens(await Registry.open(fabric, shards=SHARDS), LastSeen(fabric))
    made = await other.create(profile_id, None)

    assert await tokens.verify(made.value) == made.record


async def test_the_value_is_nowhere_in_nats(tokens, fabric, profile_id):
    """At rest there is a hash alone."""
    made = await tokens.create(profile_id, None)
    stored = await fabric.get_many("KV_cfg", "$KV.cfg.>")
    written = [each.subject.encode() + each.data for each in stored]

    assert any(token_hash(made.value).encode() in each for each in written)
    assert not any(made.value.encode() in each or made.value[4:20].encode() in each for each in written)


@pytest.mark.parametrize("value", ["", "cbt_", "cbt_" + "a" * 49, "x" * 5000, "cbt_\ud800", "ü"])
async def test_what_is_no_token_is_refused_without_a_look(tokens, value):
    """A checksum tells a typing mistake from a token that was revoked; nothing of the value is repeated."""
    with pytest.raises(Unauthorized, match="mistyped or cut"):
        await tokens.verify(value)


async def test_an_unknown_token_is_refused_with_what_to_do(tokens):
    """One of the right form that was never made."""
    with pytest.raises(Unauthorized, match="make a new one with `clawback token create`"):
        await tokens.verify(new_token())


async def test_a_revoked_token_opens_nothing(tokens, registry, profile_id):
    """It is refused from then on, and those who hold connections are told."""
    told = []
    registry.on_token_revoked(lambda hashed, keeps: told.append((hashed, keeps)))
    made = await tokens.create(profile_id, None)
    removed = await tokens.revoke(profile_id, made.record.id)

    assert removed
    assert told == [(token_hash(made.value), None)]
    assert await tokens.of_profile(profile_id) == []
    with pytest.raises(Unauthorized):
        await tokens.verify(made.value)


@pytest.mark.parametrize("token_id", ["tok_unknown", "", "*", ">", "a.b", "ü"])
async def test_an_unknown_id_revokes_nothing(tokens, profile_id, token_id):
    """Ids from outside are looked up under the profile, or not at all."""
    made = await tokens.create(profile_id, None)

    assert not await tokens.revoke(profile_id, token_id)
    assert not await tokens.revoke(random_id(16), made.record.id)
    assert await tokens.verify(made.value) == made.record


async def test_a_list_says_when_each_was_seen(tokens, profile_id):
    """Oldest first; one that never opened a connection was never seen."""
    used = await tokens.create(profile_id, "used")
    unused = await tokens.create(profile_id, "unused")
    before = datetime.now(UTC)
    await tokens.verify(used.value)
    listed = await tokens.of_profile(profile_id)

    assert [each.record for each in listed] == [used.record, unused.record]
    assert before <= listed[0].last_seen <= datetime.now(UTC)
    assert listed[1].last_seen is None


async def test_a_replaced_token_closes_nothing_and_opens_nothing(tokens, registry, profile_id):
    """The new one takes its place and its label; connections of the old one are told to end, but for one."""
    told = []
    registry.on_token_revoked(lambda hashed, keeps: told.append((hashed, keeps)))
    old = await tokens.create(profile_id, "laptop")
    new = await tokens.rotate(profile_id, old.record.id, None)

    assert told == [(token_hash(old.value), None)]
    assert new.record.label == "laptop"
    assert new.record.id != old.record.id
    assert await tokens.verify(new.value) == new.record
    assert [each.record for each in await tokens.of_profile(profile_id)] == [new.record]
    with pytest.raises(Unauthorized):
        await tokens.verify(old.value)


async def test_a_token_is_replaced_once(tokens, profile_id):
    """The second time there is nothing left to replace; a new label goes before the old one."""
    old = await tokens.create(profile_id, "laptop")
    new = await tokens.rotate(profile_id, old.record.id, "desk")

    assert new.record.label == "desk"
    with pytest.raises(NotFound, match="it was replaced or revoked before"):
        await tokens.rotate(profile_id, old.record.id, None)
    assert await tokens.verify(new.value) == new.record


async def test_another_profiles_token_is_not_replaced(tokens, profile_id):
    """Its id is as unknown as one that never was."""
    made = await tokens.create(profile_id, None)

    with pytest.raises(NotFound):
        await tokens.rotate(random_id(16), made.record.id, None)
    assert await tokens.verify(made.value) == made.record


def test_a_label_is_short_and_printable():
    """It stands in lists, on terminals and in logs."""
    assert check_label("Notebook, zu Hause ☕") == "Notebook, zu Hause ☕"
    assert check_label("") is None
    assert check_label(None) is None
    for label in ("x" * 101, "a\nb", "\x1b[31m", "a\u202eb"):
        with pytest.raises(Rejected, match="a label is at most 100 printable characters"):
            check_label(label)
