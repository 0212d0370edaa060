"""Profiles by name."""

import asyncio

import pytest

from clawback.accounts.profiles import check_profile_name, ensure_profile
from clawback.errors import Rejected
from clawback.model import random_id
from clawback.store.registry import Registry
from conftest import SHARDS


async def test_a_profile_is_made_once(fabric):
    """Found again by its name, with the same ids; other names are other profiles."""
    registry = await Registry.open(fabric, shards=SHARDS)
    name = f"Büro {random_id()}"
    made = await ensure_profile(registry, name)
    found = await ensure_profile(await Registry.open(fabric, shards=SHARDS), name)
    other = await ensure_profile(registry, name + "!")

    assert found == made
    assert made.name == name
    assert len({made.id, made.webhook_id, other.id, other.webhook_id}) == 4
    assert (len(made.id), len(made.webhook_id)) == (16, 26)


async def test_two_servers_that_start_at_once_agree(fabric):
    """Whoever was first made it; the others take that one."""
    registries = [await Registry.open(fabric, shards=SHARDS) for _ in range(4)]
    name = random_id()
    profiles = await asyncio.gather(*(ensure_profile(registry, name) for registry in registries))

    assert len({profile.id for profile in profiles}) == 1


@pytest.mark.parametrize("name", ["", " ", " a", "a ", "a\nb", "\x1b[1m", "x" * 65, "ü" * 33, "\ud800"])
async def test_a_name_that_cannot_be_typed_again_is_refused(name):
    """The refusal has the rule."""
    with pytest.raises(Rejected, match="a name is 1 to 64 bytes of printable text"):
        check_profile_name(name)
