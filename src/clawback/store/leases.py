"""
Leases: which server holds each session, and which connections stand by for it.

A lease is a key with a time to live in a bucket in memory: the first to create it has it, only its holder (or one who
has seen the holder gone) replaces it, against the revision read, and one that is not renewed is gone by itself.
"""

import contextlib

import msgspec
from msgspec import Struct

from clawback.errors import Conflict, Unavailable
from clawback.fabric import subjects
from clawback.fabric.jetstream import Stored
from clawback.fabric.layout import SESSION_BUCKET
from clawback.fabric.streams import Fabric
from clawback.model import Address, Lease, encode_json

LEASE_SECONDS = 30.0
"""A server that vanished frees its sessions after this long at the latest."""

RENEW_SECONDS = 10.0
"""Two renewals may be lost before a lease is."""

_decoder = msgspec.json.Decoder(Lease)
_STREAM = f"KV_{SESSION_BUCKET}"


class Entry(Struct, frozen=True):
    """A lease as read: whose it is, its revision, and whether it is the active one or a standby's."""

    address: Address
    lease: Lease
    revision: int
    active: bool


class Leases:
    """The leases of every session, in the bucket `sess`."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric

    async def create(self, address: Address, lease: Lease) -> int | None:
        """Take a session that nobody holds; returns the revision, or None when somebody does."""
        return await self._write(subjects.lease_subject(address), lease, expected=0)

    async def replace(self, address: Address, lease: Lease, revision: int) -> int | None:
        """Renew a lease, or take it from a holder that is gone; None when another was first."""
        return await self._write(subjects.lease_subject(address), lease, expected=revision)

    async def read(self, address: Address) -> Entry | None:
        """Read who holds a session."""
        stored = await self._fabric.get(_STREAM, subject=subjects.lease_subject(address))
        return None if stored is None else _parse(stored)

    async def release(self, address: Address, revision: int) -> None:
        """Give a session up, unless another has taken it since `revision`."""
        await self._purge(address, seq=revision + 1)

    async def stand_by(self, address: Address, lease: Lease) -> None:
        """Show a connection that waits for a session; to be repeated like a renewal."""
        subject = subjects.lease_subject(address, lease.connection_id)
        await self._fabric.publish(subject, encode_json(lease), ttl_s=LEASE_SECONDS)

    async def stand_down(self, address: Address, lease: Lease) -> None:
        """Stop showing a connection that waited."""
        await self._purge(address, lease.connection_id)

    async def standbys(self, address: Address) -> list[Entry]:
        """List the connections that wait for a session, on any server."""
        stored = await self._fabric.get_last_many(_STREAM, subjects.lease_subject(address, "*"))
        return [_parse(one) for one in stored]

    async def of_profile(self, profile_id: str) -> list[Entry]:
        """List every connection of a profile, on any server."""
        stored = await self._fabric.get_last_many(_STREAM, subjects.lease_filter(profile_id))
        return [_parse(one) for one in stored]

    async def _purge(self, address: Address, standby: str | None = None, **bounds: int) -> None:
        wanted = {"filter": subjects.lease_subject(address, standby), **bounds}
        answer = await self._fabric.api(f"STREAM.PURGE.{_STREAM}", wanted)
        if answer.get("purged"):
            # NATS tells nobody what it purged, so we do. Whoever misses it finds out by reading the leases.
            with contextlib.suppress(Unavailable):
                await self._fabric.send(subjects.left_subject(address, standby), b"")

    async def _write(self, key: str, lease: Lease, *, expected: int) -> int | None:
        with contextlib.suppress(Conflict):
            ack = await self._fabric.publish(
                key, encode_json(lease), expected_subject_sequence=expected, ttl_s=LEASE_SECONDS
            )
            return ack.sequence
        return None


def _parse(stored: Stored) -> Entry:
    address, standby = subjects.parse_lease_subject(stored.subject)
    return Entry(address, _decoder.decode(stored.data), stored.sequence, active=standby is None)
