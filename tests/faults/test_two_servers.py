"""
Two servers on three nodes of NATS, which is what a self-hosted cluster is, with thirty sessions of fifteen tags.

First everything is restarted in good order, node by node and server by server, as an upgrade does it; then servers and
nodes are killed while sessions come, go and take over from each other. What must hold stands in bridge_ledger.py.
FAULT_SEED repeats what is drawn.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from clawback.fabric.streams import Fabric
from cluster import make_token
from deploy.nats_files import NODES, NatsCluster
from faults.bridge import PLACES, Bridge
from faults.bridge_ledger import AckCalled, Given, Killed, violations
from faults.moves import move_sessions
from waiting import eventually

KILLS = 10
"""Of a server, and of a node."""

WHOLE_SECONDS = 60.0
"""For a node that comes back to have caught up: seconds on an idle machine."""

pytestmark = pytest.mark.timeout(240 + 60 * KILLS)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    """Three nodes that run."""
    with NatsCluster(tmp_path / "cluster") as cluster:
        yield cluster


@pytest.fixture
async def fabric(cluster: NatsCluster) -> AsyncIterator[Fabric]:
    """A way to look into them."""
    fabric = await Fabric.open(cluster.auth, name="tests", replicas=NODES)
    yield fabric
    await fabric.close()


async def test_two_servers_on_a_cluster_lose_repeat_and_reorder_nothing(cluster, fabric, seed, tmp_path):
    """Restarted in turn, sessions without a standby notice nothing; killed, no event is lost or comes after its ack."""
    tokens = [await make_token(fabric) for _ in range(2)]
    async with Bridge(cluster, tmp_path, tokens, seed, replicas=NODES) as bridge:
        await bridge.progress()
        await restart_in_turn(bridge, cluster)
        restarted = len(bridge.moments)
        moving = asyncio.create_task(move_sessions(bridge), name="moves")
        await kill_in_turn(bridge, cluster)
        assert not moving.done(), moving.result()
        moving.cancel()
        await asyncio.wait([moving])
        try:
            await bridge.finish(fabric)
        finally:
            found = violations(bridge.moments)
            print(bridge.story(found))  # noqa: T201 -- pytest shows it on failure
    given = [at.entry for at in bridge.moments if isinstance(at.entry, Given)]
    alone = {tag for tag, places in zip(bridge.tags, PLACES, strict=True) if places == 1}
    calm = [at.entry for at in bridge.moments[:restarted] if isinstance(at.entry, Given)]
    print(  # noqa: T201
        f"{sum(isinstance(at.entry, AckCalled) for at in bridge.moments)} acks, "
        f"{sum(isinstance(at.entry, Killed) for at in bridge.moments)} stops and kills, "
        f"{sum(entry.attempt > 1 for entry in given)} repeats, {bridge.moments[-1].seconds:.0f} s"
    )

    assert found == []
    assert [entry for entry in calm if entry.attempt > 1 and entry.delivery.partition("/")[0] in alone] == []


async def restart_in_turn(bridge: Bridge, cluster: NatsCluster) -> None:
    """Stop and start each node, then each server, as the documentation says."""
    for node in cluster.nodes.values():
        bridge.record(Killed("nats"))
        await asyncio.to_thread(node.stop)
        await bridge.progress()
        await asyncio.to_thread(node.start)
        await eventually(cluster.is_whole, WHOLE_SECONDS)
    for server in bridge.servers:
        await bridge.stop_server(server)
        await bridge.progress()
        await bridge.start_server(server)
    await bridge.progress()


async def kill_in_turn(bridge: Bridge, cluster: NatsCluster) -> None:
    """Kill a server and then a node, again and again; what is left goes on without."""
    dice = bridge.dice("faults")
    for _ in range(KILLS):
        server, node = dice.choice(bridge.servers), cluster.nodes[dice.choice([*cluster.nodes])]
        await bridge.kill_server(server)
        await bridge.progress()
        await bridge.start_server(server)
        bridge.record(Killed("nats"))
        await asyncio.to_thread(node.kill9)
        await bridge.progress()
        await asyncio.to_thread(node.start)
        await eventually(cluster.is_whole, WHOLE_SECONDS)
        await bridge.progress()
