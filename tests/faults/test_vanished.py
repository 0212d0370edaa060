"""
Machines that vanish: servers over one NATS, some of which stop without a word. `make faults` only.

The lists know of it when the leases of their connections have run out, which takes 30 s.
"""

import asyncio
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from clawback.fabric.streams import Fabric
from cluster import make_token
from legacy import LegacyClient
from natsd import Natsd
from processes import Server, frozen
from waiting import eventually

SOON_SECONDS = 10.0
"""It takes 2 s at most where the machine has nothing else to do."""

GONE_SECONDS = 45.0
BACK_SECONDS = 30.0
"""A server that goes on writes its leases every 10 s."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def servers(fresh_natsd: Natsd, tmp_path) -> Iterator[list[Server]]:
    """Three servers on one NATS."""
    servers = [Server(tmp_path / name) for name in ("staying", "killed", "stopped")]
    key = b64encode(secrets.token_bytes(32)).decode()
    try:
        for server in servers:
            server.start("--nats-url", fresh_natsd.auth.url, CLAWBACK_MASTER_KEY=key)
        yield servers
    finally:
        for server in servers:
            server.close()


async def test_sessions_of_a_vanished_machine_are_listed_no_more(servers, fresh_natsd):
    """Within 45 s of its end, however it ended; those of one that was only frozen are back when it goes on."""
    staying, killed, stopped = servers
    token = await token_for_all(fresh_natsd)
    async with LegacyClient(staying.socket_url, token, "here") as here:

        async def lists(*expected: tuple[str, str]) -> bool:
            sessions = await here.request("session_list")
            account = await here.request("account_info")
            listed = [(each["sessionTag"], each["role"]) for each in sessions]
            return sorted(listed) == sorted(expected) and account["connectedClients"] == len(expected)

        mine, on_stopped = ("here", "active"), ("on-stopped", "active")
        async with connected(killed, token, "on-killed", "too"), connected(stopped, token, "on-stopped"):
            everybody = (mine, ("too", "active"), ("on-killed", "active"), on_stopped)
            await eventually(lambda: lists(*everybody), SOON_SECONDS)
            await asyncio.to_thread(killed.kill9)
            with frozen(stopped.process.pid):
                await eventually(lambda: lists(mine), GONE_SECONDS)
            await eventually(lambda: lists(mine, on_stopped), BACK_SECONDS)
        await eventually(lambda: lists(mine), SOON_SECONDS)


async def token_for_all(natsd: Natsd) -> str:
    """Make a token that every server on a NATS takes."""
    fabric = await Fabric.open(natsd.auth, name="tests")
    try:
        return await make_token(fabric)
    finally:
        await fabric.close()


@asynccontextmanager
async def connected(server: Server, token: str, *tags: str) -> AsyncIterator[None]:
    """Connect sessions to a server for a while."""
    async with AsyncExitStack() as stack:
        for tag in tags:
            await stack.enter_async_context(LegacyClient(server.socket_url, token, tag))
        yield
