"""
Three nats-servers as `nats/cluster.conf` has them, under a running flow: the leader is killed; all restart in turn.

What must hold of the whole run stands in ledger.py. A kill stalls what its node led for some seconds, so `make test`
has one, and fifty are asked for where FAULT_ROUNDS asks for more than it has.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest

from clawback.errors import Unavailable
from clawback.fabric import subjects
from clawback.fabric.streams import Fabric
from clawback.store.registry import DEFAULT_SHARDS
from deploy.nats_files import NatsCluster
from faults.extent import IS_LONG
from faults.ledger import Shown
from processes import Server
from waiting import eventually

KILLS = 50 if IS_LONG else 1

WHOLE_SECONDS = 60.0
"""For three nodes to agree, and for one that comes back to have caught up: seconds on an idle machine."""

pytestmark = pytest.mark.timeout(240 + 60 * KILLS)


@pytest.fixture
def cluster(tmp_path) -> Iterator[NatsCluster]:
    """Three nodes that run."""
    with NatsCluster(tmp_path / "cluster") as cluster:
        yield cluster


@pytest.fixture
async def server(cluster, tmp_path) -> AsyncIterator[Server]:
    """A server on them, which keeps three copies of everything; it waits for them."""
    server = Server(tmp_path / "server", nats=cluster, replicas=3)
    try:
        await asyncio.to_thread(server.start)
        yield server
    finally:
        server.close()


async def test_a_killed_leader_loses_repeats_and_reorders_nothing(flow, cluster):
    """Each time the node that leads the events' stream, while they come and go; the others go on without it."""
    stream = subjects.event_stream(subjects.shard_of(flow.profile_id, DEFAULT_SHARDS))
    for _ in range(KILLS):
        leader = cluster.nodes[await eventually(lambda: leader_of(cluster, stream), WHOLE_SECONDS)]
        await asyncio.to_thread(leader.kill9)
        await flow.progress()
        await asyncio.to_thread(leader.start)
        await eventually(cluster.is_whole, WHOLE_SECONDS)
        await flow.progress()

    assert await flow.finish() == []


async def test_a_rolling_restart_is_noticed_by_nobody(flow, cluster, server):
    """One node after the other, then the server: every event is shown once."""
    for node in cluster.nodes.values():
        await asyncio.to_thread(node.stop)
        await flow.progress()
        await asyncio.to_thread(node.start)
        await eventually(cluster.is_whole, WHOLE_SECONDS)
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    await flow.progress()

    assert await flow.finish() == []
    assert {entry.attempt for entry in flow.entries if isinstance(entry, Shown)} == {1}


async def test_deliveries_are_looked_up_where_a_node_can_restart_unnoticed(cluster):
    """A stream is never taken for one that goes with the connection, not even on the node that has its only copy."""
    await eventually(cluster.is_whole, WHOLE_SECONDS)
    found = []
    for node in cluster.nodes.values():
        fabric = await Fabric.open(node.auth, name="tests")
        await eventually(partial(has_layout, fabric), WHOLE_SECONDS)
        found.append(await fabric.is_alone_with("SEEN"))
        await fabric.close()

    assert found == [False] * 3


async def has_layout(fabric):
    """Try to make the streams; not yet while the nodes elect who is to say."""
    try:
        await fabric.keep_layout(1)
    except Unavailable:
        return False
    return True


async def leader_of(cluster, stream):
    """Name the node that leads a stream; nothing while they elect."""
    fabric = await Fabric.open(cluster.auth, name="tests")
    try:
        return (await fabric.api(f"STREAM.INFO.{stream}", {}))["cluster"].get("leader")
    finally:
        await fabric.close()
