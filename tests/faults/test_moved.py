"""A server that is stopped for longer than its sessions are left to it, while another serves them."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from github import delivery, make_source
from houses import KEY, Peer
from legacy import LegacyClient
from natsd import Natsd
from processes import Server, frozen

MOVE_SECONDS = 25.0
"""A server that is silent counts as gone after ten; the standby looks every second."""


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Server]]:
    """Two servers on one NATS."""
    natsd = Natsd(tmp_path / "natsd")
    natsd.start()
    both = [Server(tmp_path / name, nats=natsd) for name in ("one", "two")]
    try:
        for server in both:
            server.start(CLAWBACK_MASTER_KEY=KEY)
        yield both
    finally:
        for server in both:
            server.close()
        natsd.stop()


async def join(server: Server, token: str, instance: str) -> Peer:
    """Connect a client that names its instance."""
    peer = await Peer.open(server.socket_url)
    await peer.say("auth", token=token, instanceId=instance, sessionTag="work")
    peer.welcome = await peer.frame("auth_ok", timeout=MOVE_SECONDS)
    return peer


async def test_a_server_that_was_stopped_gives_nothing_of_a_session_that_moved(servers):
    """Its client's ack counts as a late one, and it is told to leave; the next event is the new holder's."""
    frozen_server, other = servers
    token = await asyncio.to_thread(frozen_server.token)
    async with LegacyClient(frozen_server.socket_url, token.value, "work") as client:
        url = await make_source(client, skill="/review")
    former = await join(frozen_server, token.value, "a")
    latter = await join(other, token.value, "b")
    async with httpx.AsyncClient(timeout=20.0, trust_env=False) as http:
        posts = [await http.post(url, **delivery(delivery_id=name)) for name in ("one", "two")]
    one, two = (answer.json()["eventId"] for answer in posts)
    await former.event()
    with frozen(frozen_server.process.pid):
        _, attempt = await latter.event(timeout=MOVE_SECONDS)
        await former.say("ack", eventId=one, summary="done", requestId="late")
    receipt = await former.frame("response", requestId="late")
    demoted = await former.frame("role", role="standby")
    await latter.ack(one)
    following = await latter.frame("event")
    await latter.ack(two)
    given = [frame["id"] for frame in former.frames if frame["type"] == "event"]
    for peer in (former, latter):
        await peer.close()

    assert latter.welcome["role"] == "standby"
    assert attempt == 2
    assert receipt["data"]["settled"]
    assert demoted["role"] == "standby"
    assert (following["id"], following["meta"]["attempt"]) == (two, "1")
    assert given == [one]
