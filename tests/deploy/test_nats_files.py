"""The files of `nats/`: nats-server takes them, Clawback's login is enough and no more, three of them are a cluster."""

import asyncio
import shutil
import subprocess
from contextlib import AsyncExitStack, suppress

import pytest

from clawback.errors import Unavailable
from clawback.fabric import streams, subjects
from clawback.fabric.layout import MAX_PAYLOAD_BYTES
from clawback.fabric.streams import Fabric
from clawback.store.registry import Registry
from deploy.nats_files import FILES, NODES, ConfiguredNats, NatsCluster
from houses import SHARDS, House
from natsd import PASSWORDS, nats_server
from waiting import eventually

ELECTION_SECONDS = 40.0
"""A cluster takes some 10 s to agree on leaders after a kill; a busy machine takes longer."""


@pytest.fixture
def single(tmp_path):
    """One nats-server of nats-server.conf."""
    nats = ConfiguredNats(tmp_path / "nats", "nats-server.conf")
    nats.start()
    yield nats
    nats.stop()


@pytest.fixture
def cluster(tmp_path):
    """Three nats-servers of cluster.conf."""
    with NatsCluster(tmp_path / "cluster") as nats:
        yield nats


@pytest.mark.parametrize("config", ["nats-server.conf", "cluster.conf"])
def test_nats_server_takes_the_configuration(tmp_path, config):
    """As its own check says, with the example's routes."""
    files = tmp_path / "nats"
    shutil.copytree(FILES, files)
    shutil.copy(files / "routes.conf.example", files / "routes.conf")
    checked = subprocess.run(
        [nats_server(), "-t", "-c", files / config],
        env=PASSWORDS | {"NATS_NAME": "nats-1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stderr


async def test_the_server_syncs_every_message_and_has_the_limits_that_clawback_needs(single, http):
    """What it says of itself, beside what the embedded one is started with."""
    general = (await http.get(f"{single.monitor_url}/varz")).json()
    jetstream = (await http.get(f"{single.monitor_url}/jsz?config=1")).json()

    assert jetstream["config"]["sync_interval"] > 0
    assert jetstream["config"]["sync_always"] is True
    assert general["max_payload"] == MAX_PAYLOAD_BYTES


async def test_clawbacks_login_can_do_what_clawback_does(single, tmp_path):
    """An event comes, is acked and is in the history. Every other test of whole servers has this login, too."""
    async with House.open(single, tmp_path / "data") as house:
        peer = await house.connect()
        event_id = await house.publish("hello")
        assert await peer.event() == ("hello", 1)
        answer = await peer.ack(event_id)

        assert answer["settled"] is True
        assert await house.stored() == 0


@pytest.mark.parametrize(
    "operation", ["STREAM.DELETE.EVT0", "STREAM.PURGE.EVT0", "STREAM.SNAPSHOT.EVT0", "STREAM.RESTORE.EVT0"]
)
async def test_clawbacks_login_cannot_make_a_stream_vanish(single, tmp_path, operation):
    """Nor take it away, nor put another in its place: that is for people, who have a login of their own."""
    async with House.open(single, tmp_path / "data") as house:
        fabric = await Fabric.open(single.server_auth, name="tests")
        with pytest.raises(Unavailable):
            await fabric.api(operation, {}, timeout=0.5)
        await fabric.close()

        assert "error" not in await house.fabric.api("STREAM.INFO.EVT0", {})


async def test_a_session_goes_on_when_the_leader_of_its_events_is_killed(cluster, tmp_path):
    """With three replicas: nothing acked comes again, nothing stored is lost, the order stays."""
    async with House.open(cluster, tmp_path / "data", replicas=3) as house:
        peer = await house.connect()
        first, *others = [await house.publish(str(number)) for number in range(3)]
        assert await peer.event() == ("0", 1)
        stream = subjects.event_stream(subjects.shard_of(house.profile.id, SHARDS))
        info = await house.fabric.api(f"STREAM.INFO.{stream}", {})
        assert info["config"]["num_replicas"] == 3
        killed = cluster.nodes[info["cluster"]["leader"]]
        killed.kill9()
        await peer.ack(first, timeout=ELECTION_SECONDS)
        seen = []
        for event_id in others:
            seen.append((await peer.event(ELECTION_SECONDS))[0])
            await peer.ack(event_id, timeout=ELECTION_SECONDS)
        killed.start()

        assert seen == ["1", "2"]
        await eventually(lambda: is_empty(house), ELECTION_SECONDS)


async def test_a_server_waits_for_a_cluster_that_elects(cluster, tmp_path, caplog):
    """It says what it waits for, and starts by itself once most nodes are there."""
    others = list(cluster.nodes.values())[1:]
    for node in others:
        node.kill9()
    async with asyncio.TaskGroup() as tasks, AsyncExitStack() as stack:
        opening = House.open(cluster, tmp_path / "data", replicas=NODES)
        starting = tasks.create_task(stack.enter_async_context(opening))
        await eventually(lambda: "waiting for the NATS cluster, for " in caplog.text, ELECTION_SECONDS)
        for node in others:
            node.launch()
        house = await starting
        peer = await house.connect()
        await house.publish("hello")

        assert await peer.event(ELECTION_SECONDS) == ("hello", 1)


async def test_a_cluster_without_most_of_its_nodes_is_said_to_be_that(cluster, monkeypatch):
    """A server that waited in vain ends with a sentence that says where to look."""
    for node in list(cluster.nodes.values())[1:]:
        node.kill9()
    monkeypatch.setattr(streams, "ELECTION_SECONDS", 1.0)
    fabric = await Fabric.open(cluster.server_auth, name="tests", replicas=NODES)
    with pytest.raises(Unavailable, match=r"was not ready within 1 s: .*`nats server report jetstream`"):
        await Registry.open(fabric, shards=SHARDS)
    await fabric.close()


async def is_empty(house):
    """Whether nothing waits or runs; a cluster that elects does not tell."""
    with suppress(Unavailable):
        return await house.stored() == 0
    return False
