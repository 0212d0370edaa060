"""A file of NATS's that is damaged: what it gives up in silence is told by the server."""

import httpx
import pytest

from clawback.fabric import subjects
from clawback.store.damage import Damage
from houses import House
from natsd import Natsd
from waiting import eventually

EVENTS = 20
PLACE = b"event-10"
"""What stands in the event that is damaged: half of what waits lies behind it."""


async def store(house: House) -> str:
    """Store events, and name their stream."""
    for number in range(EVENTS):
        await house.publish(f"event-{number:02} " * 20)
    return subjects.event_stream(subjects.shard_of(house.profile.id, house.servers[0].registry.install.shards))


def flip(natsd: Natsd, stream: str) -> None:
    """Flip one bit in a block of a stream, while NATS is down."""
    [block] = natsd.home.rglob(f"{stream}/msgs/*.blk")
    data = bytearray(block.read_bytes())
    data[data.index(PLACE)] ^= 1
    block.write_bytes(data)


async def asked(house: House) -> dict:
    """Ask the server whether it is ready."""
    async with httpx.AsyncClient() as http:
        return (await http.get(f"{house.servers[0].url}/readyz")).json()


async def test_a_damaged_block_is_told_when_nats_is_back(fresh_natsd, tmp_path, caplog):
    """By a line of the log, by /readyz, which is green all the same, and by a metric."""
    async with House.open(fresh_natsd, tmp_path) as house:
        stream = await store(house)
        before = await asked(house)
        fresh_natsd.kill9()
        flip(fresh_natsd, stream)
        fresh_natsd.start()
        told = await eventually(lambda: _damage_of(house))
        left = await house.stored()
        async with httpx.AsyncClient() as http:
            metrics = (await http.get(f"{house.servers[0].url}/metrics")).text

    assert "damage" not in before
    assert left == EVENTS // 2
    assert f"bytes of stream {stream}" in told
    assert "restore a backup" in told
    assert f'clawback_nats_lost_bytes{{stream="{stream}"}}' in metrics
    assert [record.stream for record in caplog.records if getattr(record, "action", "") == "nats_lost"] == [stream]


async def test_a_damaged_block_is_told_at_the_start(fresh_natsd, tmp_path):
    """Also by a server that was not there when it happened."""
    async with House.open(fresh_natsd, tmp_path) as house:
        stream = await store(house)
    fresh_natsd.kill9()
    flip(fresh_natsd, stream)
    fresh_natsd.start()
    async with House.open(fresh_natsd, tmp_path) as house:
        told = await _damage_of(house)

    assert f"bytes of stream {stream}" in told


@pytest.mark.parametrize("end", ["kill9", "stop"])
async def test_a_nats_that_read_everything_is_no_alarm(fresh_natsd, tmp_path, end):
    """However it ended, and however many gaps acks have left."""
    async with House.open(fresh_natsd, tmp_path) as house:
        await store(house)
        peer = await house.connect(instanceId="i")
        for _ in range(EVENTS // 2):
            await peer.ack((await peer.frame("event"))["id"])
        getattr(fresh_natsd, end)()
        fresh_natsd.start()
        await eventually(lambda: _is_ready(house))
        damage = Damage(house.fabric, house.servers[0].registry.install.shards)
        await damage.open()
        answer = await asked(house)

    assert damage.describe() is None
    assert answer == {"status": "ready"}


async def _damage_of(house: House) -> str | None:
    return (await asked(house)).get("damage")


async def _is_ready(house: House) -> bool:
    return (await asked(house))["status"] == "ready"
