"""
What docs/self-hosting.md does with the `nats` command line, by the requests behind it, as the login `ops`.

The program itself is in no registry that Python installs from. Its commands are old and thin: each is a request to the
JetStream API that is written here beside it, against a Clawback that serves.
"""

import asyncio
import json

import pytest

from clawback.fabric import subjects
from clawback.fabric.streams import Fabric
from clawback.model import Priority
from deploy.nats_files import ConfiguredNats
from houses import SHARDS, House
from waiting import eventually


@pytest.fixture
def nats(tmp_path):
    """A nats-server of nats-server.conf."""
    nats = ConfiguredNats(tmp_path / "nats", "nats-server.conf")
    nats.start()
    yield nats
    nats.stop()


@pytest.fixture
async def house(nats, tmp_path):
    """A server on it; `house.fabric` is logged in as ops."""
    async with House.open(nats, tmp_path / "data") as house:
        yield house


def stream_of(house) -> str:
    """Name the stream of the house's events."""
    return subjects.event_stream(subjects.shard_of(house.profile.id, SHARDS))


def line_of(house, source_id: str, priority: Priority = Priority.NORMAL) -> str:
    """Name the subject of one source's events for the untagged session."""
    shard = subjects.shard_of(house.profile.id, SHARDS)
    return subjects.event_subject(shard, house.address(), priority, subjects.source_maker(source_id))


async def api(house, operation: str, **body) -> dict:
    """Make a request, and fail on an error."""
    answer = await house.fabric.api(operation, body)
    assert "error" not in answer, answer
    return answer


async def test_streams_are_listed_and_say_what_they_are_for(house):
    """`nats stream ls`, `nats stream report`, `nats stream info`."""
    listed = (await api(house, "STREAM.LIST"))["streams"]
    config = (await api(house, f"STREAM.INFO.{stream_of(house)}"))["config"]

    assert {"HIST", "DEAD", "LATER", "KV_cfg"} < {each["config"]["name"] for each in listed}
    assert config["description"].startswith("Events that wait or run")


async def test_what_waits_is_counted_by_subject(house):
    """`nats stream subjects EVT3`."""
    for source_id in ("src_a", "src_a", "src_b"):
        await house.publish("x", source_id=source_id)
    info = await api(house, f"STREAM.INFO.{stream_of(house)}", subjects_filter=">")

    assert info["state"]["subjects"] == {line_of(house, "src_a"): 2, line_of(house, "src_b"): 1}


async def test_the_newest_event_of_a_line_can_be_looked_at(house):
    """`nats stream get EVT3 --last-for`: its headers say what it is, and it stays where it is."""
    event_id = await house.publish("look at me")
    message = (await api(house, f"STREAM.MSG.GET.{stream_of(house)}", last_by_subj=line_of(house, "src_a")))["message"]

    assert message["hdrs"]
    assert await house.stored() == 1
    peer = await house.connect()
    assert (await peer.frame("event"))["id"] == event_id


async def test_what_waits_of_a_source_can_be_purged(house):
    """`nats stream purge EVT3 --subject`: of this source and session, and of no other."""
    await house.publish("away with it", source_id="src_a")
    kept = await house.publish("stays", source_id="src_b")
    purged = await api(house, f"STREAM.PURGE.{stream_of(house)}", filter=line_of(house, "src_a"))
    peer = await house.connect()

    assert purged["purged"] == 1
    assert (await peer.frame("event"))["id"] == kept


async def test_a_held_event_that_is_purged_holds_nothing_up(house):
    """Its ack settles nothing, and the next one comes."""
    gone, following = await house.publish("gone", source_id="src_a"), await house.publish("next", source_id="src_b")
    peer = await house.connect(instanceId="one")
    assert (await peer.frame("event"))["id"] == gone
    await api(house, f"STREAM.PURGE.{stream_of(house)}", filter=line_of(house, "src_a"))
    await peer.ack(gone)

    assert (await peer.frame("event"))["id"] == following


async def test_a_line_can_be_paused_and_resumed(house):
    """`nats consumer pause` and `resume`: what waits behind the current event stays there meanwhile."""
    first, second = await house.publish("first"), await house.publish("second")
    peer = await house.connect()
    assert (await peer.frame("event"))["id"] == first
    consumer = subjects.consumer_name(house.address(), Priority.NORMAL)
    pause = f"CONSUMER.PAUSE.{stream_of(house)}.{consumer}"
    paused = await api(house, pause, pause_until="2099-01-01T00:00:00Z")
    await peer.ack(first)
    await eventually(lambda: is_stored(house, 1))
    await peer.ask("account_info")  # answered after whatever the ack led to
    seen = [frame["id"] for frame in peer.frames if frame["type"] == "event"]
    await api(house, pause)
    await house.publish("third")  # its wake-up; without one the next look at what waits finds it, within 20 s

    assert paused["paused"] is True
    assert seen == [first]
    assert (await peer.frame("event"))["id"] == second


async def is_stored(house, number):
    """Whether so many events wait or run."""
    return await house.stored() == number


async def test_a_stream_that_was_backed_up_can_be_restored(house, tmp_path):
    """`nats account backup` and `restore`, into another NATS: what waited there comes to its session."""
    event_id = await house.publish("from the backup")
    streams = [each["config"] for each in (await api(house, "STREAM.LIST"))["streams"]]
    backup = {config["name"]: await snapshot(house.fabric, config["name"]) for config in streams}
    other = ConfiguredNats(tmp_path / "other", "nats-server.conf")
    other.start()
    try:
        fabric = await Fabric.open(other.auth, name="nats CLI")
        for config, state, chunks in backup.values():
            await restore(fabric, config, state, chunks)
        await fabric.close()
        async with House.open(other, tmp_path / "data") as restored:
            restored.token = house.token
            peer = await restored.connect()
            frame = await peer.frame("event")
    finally:
        other.stop()

    assert (frame["id"], frame["content"]) == (event_id, "from the backup")


async def snapshot(fabric: Fabric, stream: str) -> tuple[dict, dict, list[bytes]]:
    """Take a stream's files out, as `nats stream backup` does: chunks that are acked, up to an empty one."""
    inbox, chunks, done = fabric.inbox(), [], asyncio.Event()
    replies: asyncio.Queue[str] = asyncio.Queue()

    def take(message) -> None:
        if not message.data:
            done.set()
            return
        chunks.append(message.data)
        replies.put_nowait(message.reply)

    async def ack() -> None:
        while True:
            if reply := await replies.get():
                await fabric.send(reply, b"")

    subscription = await fabric.subscribe(inbox, take)
    acking = asyncio.create_task(ack())
    answer = await fabric.api(f"STREAM.SNAPSHOT.{stream}", {"deliver_subject": inbox, "no_consumers": True})
    assert "error" not in answer, answer
    async with asyncio.timeout(20):
        await done.wait()
    acking.cancel()
    await subscription.unsubscribe()
    return answer["config"], answer["state"], chunks


async def restore(fabric: Fabric, config: dict, state: dict, chunks: list[bytes]) -> None:
    """Put a stream's files in, as `nats stream restore` does."""
    answer = await fabric.api(f"STREAM.RESTORE.{config['name']}", {"config": config, "state": state})
    assert "error" not in answer, answer
    subject = answer["deliver_subject"]
    for chunk in [*chunks, b""]:
        said = await fabric.request(subject, chunk, timeout=20)
        assert b"error" not in said, json.loads(said)
