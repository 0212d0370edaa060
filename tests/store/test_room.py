"""A disk that fills up: new events are refused in time, and what waits can still be worked off."""

import json
import math
import shutil
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx
import pytest

import senders
from clawback.errors import StoreFull
from clawback.fabric import embedded
from clawback.fabric.embedded import DISK_REST_BYTES, EmbeddedNats
from clawback.store import room
from clawback.store.room import RESERVE_BYTES, Bound, DiskRoom, read_bounds
from clawback.store.shares import Shares
from houses import House
from natsd import Natsd
from waiting import eventually

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


async def test_room_ends_at_the_reserve(disk, tmp_path):
    """And the sentence says where, how much is left, and what to do."""
    found = []
    for free in (RESERVE_BYTES, RESERVE_BYTES - 1, RESERVE_BYTES):
        disk["free"] = free
        found.append(await DiskRoom(tmp_path).problem())

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
        red, refused = await web.get("/readyz"), await post("d2")
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


async def test_room_is_looked_at_again_after_a_second_or_a_tenth_of_the_reserve(monkeypatch, tmp_path):
    """A few large bodies could use up the reserve between two looks."""
    looks = []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: looks.append(1) or Disk(10**12, 0, 10**12))
    place = DiskRoom(tmp_path)
    for size in (0, RESERVE_BYTES // 10, 1, RESERVE_BYTES // 10):
        await place.problem(size)
    soon = len(looks)
    monkeypatch.setattr(room, "LOOK_SECONDS", 0.0)
    await place.problem()

    assert (soon, len(looks)) == (2, 3)


@pytest.mark.parametrize("free", [10**9, 0])
async def test_nats_may_store_all_of_its_disk_but_a_rest(monkeypatch, tmp_path, free):
    """However full it is at the start: NATS keeps to this limit, and somebody may free the disk while it runs."""
    monkeypatch.setattr(embedded.shutil, "disk_usage", lambda _: Disk(10**12, 0, free))
    async with EmbeddedNats(tmp_path):
        text = (tmp_path / "nats" / "nats-server.conf").read_text()

    assert f"max_file_store: {10**12 - DISK_REST_BYTES}\n" in text


async def test_a_store_that_is_full_refuses_and_keeps_what_it_has(monkeypatch, tmp_path):
    """At once, and with an answer, which a full disk does not give; nothing that waits is deleted for what is new."""
    monkeypatch.setattr(embedded, "_max_store_bytes", lambda _: 2 * MIB)
    async with EmbeddedNats(tmp_path / "data") as nats:
        natsd = _Running(nats.auth)
        async with House.open(natsd, tmp_path) as house:
            stored, refusal = await fill(house)

            assert 0 < stored < 25
            assert "NATS has no room (insufficient resources)" in refusal
            assert await house.stored() == stored


async def fill(house: House) -> tuple[int, str]:
    """Store events of 100 kB until one is refused; how many were stored, and why no more."""
    for stored in range(100):
        try:
            await house.publish("x" * 100_000)
        except StoreFull as error:
            return stored, str(error)
    raise AssertionError("ten MB went into a store of two")


class _Running(NamedTuple):
    """A nats-server that somebody else runs, as a house takes it."""

    auth: object

    @property
    def server_auth(self):
        """The only login it has."""
        return self.auth


# --- a NATS of somebody else's ----------------------------------------------------------------------------------------

LIMIT = 16 * MIB


@pytest.mark.parametrize(
    ("info", "max_bytes", "replicas", "bounds"),
    [
        ({"storage": 7, "limits": {"max_storage": -1}}, None, 1, []),
        ({"storage": 7, "limits": {"max_storage": 90}}, None, 1, [(90, 7)]),
        ({"storage": 7, "limits": {"max_storage": 0}}, None, 1, [(0, 7)]),
        ({"storage": 60, "limits": {"max_storage": 90}}, 50, 3, [(50, 20), (90, 60)]),
        (
            {"tiers": {"R1": {"storage": 1, "limits": {"max_storage": 5}}, "R3": {"storage": 6, "limits": {}}}},
            50,
            3,
            [(50, 2)],
        ),
    ],
)
def test_bounds_are_read_from_what_nats_says_of_an_account(info, max_bytes, replicas, bounds):
    """The account's limit counts every copy, as NATS does; the setting is for one."""
    found = read_bounds(info, max_bytes=max_bytes, replicas=replicas)

    assert [(bound.allowed, bound.used) for bound in found] == bounds


@pytest.mark.parametrize(("allowed", "reserve"), [(LIMIT, LIMIT // 10), (10**12, RESERVE_BYTES)])
def test_the_reserve_of_a_small_nats_is_small(allowed, reserve):
    """A tenth, until that is as much as is left free of a disk."""
    assert Bound(allowed, 0, "", "").reserve == reserve


class Sender:
    """A source of a house whose NATS is somebody else's, and a session that works its events off."""

    def __init__(self, house: House, web: httpx.AsyncClient, peer, path: str) -> None:
        self.house, self.peer, self._web, self._path = house, peer, web, path
        self.accepted: list[str] = []
        self.acked: list[str] = []

    async def post(self, size: int = 100_000) -> httpx.Response:
        """Send a webhook of this size, which is not compressed."""
        answer = await self._web.post(self._path, content=b"x" * size)
        if answer.status_code == 202:
            self.accepted.append(answer.json()["eventId"])
        return answer

    async def fill(self) -> httpx.Response:
        """Send until one is refused; that answer."""
        for _ in range(400):
            answer = await self.post()
            if answer.status_code != 202:
                return answer
        raise AssertionError("40 MB went into a NATS that has less")

    async def drain(self, count: int) -> None:
        """Ack so many events."""
        for _ in range(count):
            event = await self.peer.frame("event")
            assert (await self.peer.ack(event["id"]))["settled"]
            self.acked.append(event["id"])

    async def left(self) -> float:
        """Read what new events may still take, from the metrics."""
        text = (await self._web.get("/metrics")).text
        return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("clawback_room_bytes "))

    async def ready(self, server: int = 0) -> tuple[int, str | None]:
        """Ask a server whether events are taken; the status and the reason why not."""
        answer = await self._web.get(f"{self.house.servers[server].url}/readyz")
        return answer.status_code, answer.json().get("reason")


@asynccontextmanager
async def sending(natsd: Natsd, data_dir, **settings):
    """Open a house on a NATS of somebody else's, with a source and a session."""
    # What is tested is NATS's own room, not what one source may have of it.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Shares, "_problem", lambda *_, **__: None)
        async with House.open(natsd, data_dir, nats_url=natsd.auth.url, **settings) as house:
            peer = await house.connect(instanceId="i")
            made = await peer.ask("source_create", slug="hub", verifierType="none", skill="/go")
            async with httpx.AsyncClient(base_url=house.servers[0].url, timeout=20) as web:
                yield Sender(house, web, peer, httpx.URL(made["data"]["url"]).path)


@pytest.mark.parametrize(
    ("nats", "settings", "named"),
    [
        ({"max_account_store": LIMIT}, {}, "its account's limit (max_file)"),
        ({"max_file_store": LIMIT}, {"nats_max_bytes": LIMIT}, "nats_max_bytes"),
    ],
    ids=["account", "setting"],
)
async def test_what_a_nats_allows_is_not_used_up_by_new_events(tmp_path, nats, settings, named):
    """
    503 and a red /readyz that names the limit, while sessions work off all of it; then events are taken again.

    It is red before a server has refused anything: one that took none of the events says the same.
    """
    natsd = Natsd(tmp_path / "natsd", **nats)
    natsd.start()
    async with sending(natsd, tmp_path / "data", servers=2, **settings) as sender:
        empty = await sender.left()
        refused, red, others = await sender.fill(), await sender.ready(), await sender.ready(1)
        full = await sender.left()
        waiting = await sender.house.stored()
        await sender.drain(len(sender.accepted))
        green = await eventually(lambda: _is_green(sender))
        again = await sender.post()
        await sender.drain(1)
    natsd.stop()

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "60")
    assert "no room" in refused.json()["detail"]
    assert LIMIT // 2 < empty < LIMIT * 0.9
    assert full == 0
    assert red[0] == others[0] == 503
    assert f"of the 16 MiB that {named} allows" in red[1]
    assert "let sessions work off what waits" in red[1]
    assert waiting == len(sender.accepted) - 1 > 100
    assert green
    assert again.status_code == 202
    assert sender.acked == sender.accepted


async def test_the_spool_takes_what_a_full_nats_does_not(tmp_path):
    """Where it is on, but for what is kept for other sources; what it took comes through in its place."""
    natsd = Natsd(tmp_path / "natsd", max_file_store=LIMIT)
    natsd.start()
    settings = {"nats_max_bytes": LIMIT, "spool": True, "spool_max_bytes": 2 * MIB}
    async with sending(natsd, tmp_path / "data", **settings) as sender:
        refused = await sender.fill()
        spooled = len(sender.accepted) - await sender.house.stored()
        await sender.drain(len(sender.accepted))
    natsd.stop()

    assert refused.status_code == 429
    assert "events of this source wait" in refused.json()["detail"]
    assert spooled >= 10
    assert sender.acked == sender.accepted


async def test_a_nats_that_is_full_where_no_bound_is_known_is_red_until_it_has_room(tmp_path, caplog):
    """The start warns of it; then NATS alone knows, and refuses what sessions store as well: the sentence says so."""
    home = tmp_path / "natsd"
    natsd = Natsd(home, max_file_store=LIMIT)
    natsd.start()
    async with sending(natsd, tmp_path / "data") as sender:
        refused, red, left = await sender.fill(), await sender.ready(), await sender.left()
        still_red = await sender.ready()
        natsd.stop()
        natsd = _larger(natsd, 2 * LIMIT)
        await eventually(lambda: _is_green(sender))
        again = await sender.post()
        await sender.drain(len(sender.accepted))
    natsd.stop()

    assert math.isnan(left)
    assert "nats_max_bytes is unset" in caplog.text
    assert refused.status_code == 503
    assert red[0] == still_red[0] == 503
    assert "NATS has no room (insufficient resources)" in red[1]
    assert "raise its max_file_store" in red[1]
    assert again.status_code == 202
    assert sender.acked == sender.accepted


def _larger(natsd: Natsd, max_file_store: int) -> Natsd:
    """Let a stopped nats-server store more, and start it."""
    config = natsd.home / "nats-server.conf"
    text = config.read_text()
    config.write_text(text.replace(f"max_file_store: {LIMIT}", f"max_file_store: {max_file_store}"))
    assert config.read_text() != text
    natsd.start()
    return natsd


async def _is_green(sender: Sender) -> bool:
    return (await sender.ready())[0] == 200
