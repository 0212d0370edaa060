"""`kill -9` of each part of a running flow, which starts again and may be killed once more while it does."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from faults.flow import PATIENCE_SECONDS, Flow
from processes import Server
from waiting import eventually

RECOVERY_SECONDS = 1.2
"""A second kill comes at a random moment of this after the first, which is while things start again."""

AGAIN = 0.3
"""How often there is a second one."""


async def kill_plugin(flow: Flow, _server: Server, dice: random.Random) -> None:
    """Kill the plugin and start another, which may be killed while it starts."""
    await flow.kill_plugin()
    await flow.start_plugin()
    if dice.random() < AGAIN:
        await asyncio.sleep(dice.uniform(0, RECOVERY_SECONDS))
        await flow.kill_plugin()
        await flow.start_plugin()


async def kill_server(flow: Flow, server: Server, dice: random.Random) -> None:
    """Kill the server and start it again on the same port and data; it may be killed while it starts."""
    await flow.kill_server()
    if dice.random() < AGAIN:
        server.launch()
        await asyncio.sleep(dice.uniform(0, RECOVERY_SECONDS))
        await flow.kill_server()
    await asyncio.to_thread(server.start)


async def kill_nats(flow: Flow, server: Server, dice: random.Random) -> None:
    """Kill nats-server, which the server starts again; it may be killed while it starts."""
    # The flow may have gone on between the two kills of the round before, and it not be back from the second.
    await eventually(lambda: server.nats_pid is not None, PATIENCE_SECONDS)
    assert flow.kill_nats(), "nobody else ends it"
    if dice.random() < AGAIN:
        await asyncio.sleep(dice.uniform(0, RECOVERY_SECONDS))
        flow.kill_nats()


Kill = Callable[[Flow, Server, random.Random], Awaitable[None]]

KILLS: dict[str, Kill] = {"plugin": kill_plugin, "server": kill_server, "nats": kill_nats}
