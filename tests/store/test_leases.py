"""Leases in NATS: written against what was read, and gone by themselves."""

import asyncio
from datetime import UTC, datetime

import pytest

from clawback.model import Address, Lease, random_id
from clawback.store import leases as module
from clawback.store.leases import Leases
from waiting import eventually


def a_lease(connection_id=None, **fields):
    """Make a lease of a connection."""
    return Lease(random_id(), connection_id or random_id(), datetime.now(UTC), **fields)


@pytest.fixture
def address():
    """An address that no other test has."""
    return Address(random_id(16), "Déploys/1")


async def test_a_lease_comes_back_as_it_was(fabric, address):
    """Every field survives, and the address is read from its key."""
    lease = a_lease(instance_id="i", messaging=False)
    revision = await Leases(fabric).create(address, lease)
    entry = await Leases(fabric).read(address)

    assert (entry.address, entry.lease, entry.revision, entry.active) == (address, lease, revision, True)


async def test_a_session_is_taken_by_one(fabric, address):
    """Of many that try at once, one gets it."""
    leases = Leases(fabric)
    revisions = await asyncio.gather(*(leases.create(address, a_lease()) for _ in range(10)))

    assert len([revision for revision in revisions if revision is not None]) == 1


async def test_a_lease_is_replaced_against_the_revision_read(fabric, address):
    """Of two that saw the same holder gone, one takes over."""
    leases = Leases(fabric)
    first = await leases.create(address, a_lease())
    heir = a_lease()
    second = await leases.replace(address, heir, first)

    assert await leases.replace(address, a_lease(), first) is None
    assert (await leases.read(address)).lease == heir
    assert (await leases.read(address)).revision == second


async def test_a_release_spares_a_newer_lease(fabric, address):
    """Whoever has taken the session since keeps it."""
    leases = Leases(fabric)
    first = await leases.create(address, a_lease())
    second = await leases.replace(address, a_lease(), first)
    await leases.release(address, first)
    kept = await leases.read(address)
    await leases.release(address, second)

    assert kept.revision == second
    assert await leases.read(address) is None
    assert await leases.create(address, a_lease()) is not None


async def test_a_release_spares_who_stands_by(fabric, address):
    """A standby's entry and another tag's lease are their own."""
    leases = Leases(fabric)
    other = Address(address.profile_id, None)
    await leases.create(other, a_lease())
    revision = await leases.create(address, a_lease())
    await leases.stand_by(address, a_lease())
    await leases.release(address, revision)

    assert len(await leases.standbys(address)) == 1
    assert await leases.read(other) is not None


async def test_a_lease_that_is_not_renewed_is_gone(fabric, address, monkeypatch):
    """The session is free then, and a renewal with the old revision does not bring it back."""
    monkeypatch.setattr(module, "LEASE_SECONDS", 1.0)
    leases = Leases(fabric)
    lease = a_lease()
    revision = await leases.create(address, lease)
    await leases.stand_by(address, lease)

    async def gone():
        return await leases.read(address) is None and not await leases.standbys(address)

    await eventually(gone)

    assert await leases.replace(address, lease, revision) is None
    assert await leases.create(address, lease) is not None


async def test_a_renewal_keeps_a_lease(fabric, address, monkeypatch):
    """Each write starts its time anew."""
    monkeypatch.setattr(module, "LEASE_SECONDS", 2.0)
    leases = Leases(fabric)
    lease = a_lease()
    revision = await leases.create(address, lease)
    loop = asyncio.get_running_loop()
    until = loop.time() + 3.5

    async def renewed():
        nonlocal revision
        revision = await leases.replace(address, lease, revision)
        assert revision is not None
        return loop.time() > until

    await eventually(renewed, timeout=6)

    assert (await leases.read(address)).lease == lease


async def test_everybody_connected_is_listed(fabric, address):
    """Active or standing by, at any tag, and of no other profile."""
    leases = Leases(fabric)
    active, waiting, untagged, stranger = (a_lease() for _ in range(4))
    await leases.create(address, active)
    await leases.stand_by(address, waiting)
    await leases.create(Address(address.profile_id), untagged)
    await leases.create(Address(random_id(16)), stranger)
    listed = [(each.address.tag, each.lease, each.active) for each in await leases.of_profile(address.profile_id)]
    await leases.stand_down(address, waiting)

    assert sorted(listed, key=str) == sorted(
        [("Déploys/1", active, True), ("Déploys/1", waiting, False), (None, untagged, True)], key=str
    )
    assert await leases.standbys(address) == []
