"""A disk that fills up: new events are refused in time, and what waits can still be worked off."""

import json
import shutil
from typing import NamedTuple

import httpx
import pytest

import senders
from clawback.errors import Unavailable
from clawback.fabric import embedded, room
from clawback.fabric.embedded import DISK_REST_BYTES, EmbeddedNats
from clawback.fabric.room import RESERVE_BYTES, Room
from houses import House

MIB = 1024 * 1024


class Disk(NamedTuple):
    """What the system says of a disk."""

    total: int
    used: int
    free: int


@pytest.fixture
def disk(monkeypatch):
    """A disk whose free space a test sets; the real one cannot be filled without hurting others."""
    state = {"free": 10**12}
    monkeypatch.setattr(room, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(10**12, 0, state["free"]))
    return state


def test_room_ends_at_the_reserve(disk, tmp_path):
    """And the sentence says where, how much is left, and what to do."""
    found = []
    for free in (RESERVE_BYTES, RESERVE_BYTES - 1, RESERVE_BYTES):
        disk["free"] = free
        found.append(Room(tmp_path).problem())

    assert found[0] is found[2] is None
    assert f"{tmp_path} has 255 MiB free" in found[1]
    assert "free space" in found[1]


async def test_a_disk_that_fills_up_refuses_new_events_and_no_acks(natsd, tmp_path, disk):
    """503 and a red /readyz that says what to do; sessions work off what waits; with room again all goes on."""
    async with House.open(natsd, tmp_path) as house, httpx.AsyncClient(base_url=house.servers[0].url) as web:
        peer = await house.connect(instanceId="i")
        common = {"verifierType": "github", "secret": "planted-secret", "skill": "/go"}
        path = httpx.URL((await peer.ask("source_create", slug="hub", **common))["data"]["url"]).path

        async def post(delivery_id):
            body = json.dumps({"action": "opened"}).encode()
            headers = {"X-GitHub-Event": "issues", "X-GitHub-Delivery": delivery_id, **dict(senders.github(body))}
            return await web.post(path, content=body, headers=headers, timeout=20)

        accepted = await post("d1")
        event = await peer.frame("event")
        disk["free"] = RESERVE_BYTES // 2
        refused, red = await post("d2"), await web.get("/readyz")
        acked = await peer.ack(event["id"])
        left = await house.stored()
        disk["free"] = 10**12
        again, green = await post("d2"), await web.get("/readyz")

    assert (accepted.status_code, refused.status_code, again.status_code) == (202, 503, 202)
    assert int(refused.headers["retry-after"]) > 0
    assert (red.status_code, green.status_code) == (503, 200)
    assert "128 MiB free" in red.json()["reason"]
    assert acked["settled"]
    assert left == 0


@pytest.mark.parametrize("free", [10**9, 0])
async def test_nats_may_store_what_it_has_and_what_is_free(monkeypatch, tmp_path, free):
    """Its limit is not below what it holds, however full the disk is when it starts."""
    held = tmp_path / "nats" / "jetstream" / "some.blk"
    held.parent.mkdir(parents=True)
    held.write_bytes(b"x" * MIB)
    monkeypatch.setattr(embedded.shutil, "disk_usage", lambda _: Disk(10**12, 0, free))
    async with EmbeddedNats(tmp_path):
        text = (tmp_path / "nats" / "nats-server.conf").read_text()

    assert f"max_file_store: {MIB + max(free - DISK_REST_BYTES, DISK_REST_BYTES)}\n" in text


async def test_a_store_that_is_full_refuses_and_keeps_what_it_has(monkeypatch, tmp_path):
    """At once, and with an answer, which a full disk does not give; nothing that waits is deleted for what is new."""
    monkeypatch.setattr(embedded, "_max_store_bytes", lambda _: 2 * MIB)
    async with EmbeddedNats(tmp_path / "data") as nats:
        natsd = _Running(nats.auth)
        async with House.open(natsd, tmp_path) as house:
            stored, refusal = await fill(house)

            assert 0 < stored < 25
            assert "NATS refused a message" in refusal
            assert await house.stored() == stored


async def fill(house: House) -> tuple[int, str]:
    """Store events of 100 kB until one is refused; how many were stored, and why no more."""
    for stored in range(100):
        try:
            await house.publish("x" * 100_000)
        except Unavailable as error:
            return stored, str(error)
    raise AssertionError("ten MB went into a store of two")


class _Running(NamedTuple):
    """A nats-server that somebody else runs, as a house takes it."""

    auth: object

    @property
    def server_auth(self):
        """The only login it has."""
        return self.auth
