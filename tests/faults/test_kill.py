"""
`kill -9` of the plugin, of `clawback serve` and of nats-server, at random moments of a running flow.

What must hold stands in ledger.py: every 2xx is delivered, in order, one at a time, and again only where no ack was
answered. FAULT_ROUNDS says how often each is killed, FAULT_SEED repeats a run's moments.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cable import Cable
from channel.claude import Claude, read_list
from clawback.fabric import subjects
from clawback.fabric.streams import Fabric
from clawback.model import Address, Event, Origin, Priority, new_id
from clawback.store.events import EventStore
from clawback.store.ledger import Ledger
from clawback.store.registry import DEFAULT_SHARDS
from cluster import Peer, joined
from faults.extent import ROUNDS
from faults.flow import PATIENCE_SECONDS
from faults.kills import KILLS
from github import make_source, post
from legacy import LegacyClient
from processes import Server, environment, frozen
from waiting import eventually

pytestmark = pytest.mark.timeout(120 + 30 * ROUNDS)

CALM_SECONDS = 0.6
"""A kill comes at a random moment of this after the flow went on: some 20 events."""

EXTENDED_SECONDS = 2.0
"""What an event has before it is extended: enough to ask for it on a slow machine."""


@pytest.mark.parametrize("what", [*KILLS, "any"])
async def test_no_kill_loses_or_repeats_or_reorders(flow, server, dice, what):
    """After any number of kills the ledger holds no violation, and no stream holds an event."""
    for _ in range(ROUNDS):
        await asyncio.sleep(dice.uniform(0, CALM_SECONDS))
        kill = KILLS[dice.choice([*KILLS]) if what == "any" else what]
        await kill(flow, server, dice)
        await flow.progress()

    assert await flow.finish() == []


async def test_an_ack_that_never_left_the_plugin_ends_its_event(server, http, tmp_path):
    """Claude acked while the connection was cut, then the plugin was killed: the next one settles it, and runs on."""
    async with Cable(server.port) as cable:
        config, url = await set_up(server, tmp_path, f"http://127.0.0.1:{cable.port}")
        first, second = await post(http, url), await post(http, url)
        async with Claude(config, **environment(tmp_path)) as claude:
            shown = await claude.shown(1)
            cable.cut()
            text, failed = await claude.call("event_ack", event_id=first, summary="before the kill")
        cable.mend()
        async with Claude(config, **environment(tmp_path)) as claude:
            following = await claude.event(1)
            history = read_list((await claude.call("event_history"))[0])

    assert shown == first
    assert not failed, text
    assert following["meta"]["event_id"] == second
    assert [(each["eventId"], each["summary"]) for each in history] == [(first, "before the kill")]


async def test_an_ack_that_the_server_could_not_confirm_ends_its_event(server, http, tmp_path):
    """Claude acked while NATS hung, so no confirmation came; the plugin was killed: nothing runs twice."""
    config, url = await set_up(server, tmp_path, server.url)
    first, second = await post(http, url), await post(http, url)
    async with Claude(config, **environment(tmp_path)) as claude:
        shown = await claude.shown(1)
        with frozen(server.nats_pid):
            text, failed = await claude.call("event_ack", event_id=first, summary="before the kill")
            claude.process.kill()
            await claude.process.wait()
    async with Claude(config, **environment(tmp_path)) as claude:
        following = await claude.event(1)
        history = read_list((await claude.call("event_history"))[0])

    assert shown == first
    assert not failed, text
    assert following["meta"]["event_id"] == second
    assert [(each["eventId"], each["summary"]) for each in history] == [(first, "before the kill")]


async def test_more_time_that_was_granted_outlives_the_server(server):
    """`kill -9` right after the answer to event_extend: the event goes on where one that was not extended ends."""
    token = (await asyncio.to_thread(server.token)).value
    async with joined(server.socket_url, token, "extended") as peer:
        extended = await publish(server, peer, "extended", EXTENDED_SECONDS)
        await peer.event()
        await peer.ask("event_extend", eventId=extended, seconds=3600)
        await asyncio.to_thread(server.kill9)
    await asyncio.to_thread(server.start)
    async with (
        joined(server.socket_url, token, "extended", inflight=[extended]) as peer,
        joined(server.socket_url, token, "other") as other,
    ):
        await publish(server, other, "other", EXTENDED_SECONDS + 0.5)
        await eventually(lambda: other.frames[1:], PATIENCE_SECONDS)
        listed = await peer.ask("event_list", sessionTag="extended")

    assert [frame["type"] for frame in other.frames] == ["event", "timed_out"]
    assert peer.frames == []
    assert [(each["eventId"], each["state"]) for each in listed] == [(extended, "offered")]


async def publish(server: Server, peer: Peer, tag: str, allowed_seconds: float) -> str:
    """Store an event for a tag of a peer's profile, with less time than a source may give; return its id."""
    fabric = await Fabric.open(server.nats_auth, name="tests")
    try:
        event = Event(
            new_id("evt"), Origin.WEBHOOK, Priority.NORMAL, datetime.now(UTC), allowed_seconds=allowed_seconds
        )
        address = Address(peer.welcome["profileId"], tag)
        maker = subjects.source_maker("src_a")
        await EventStore(fabric, Ledger(fabric), DEFAULT_SHARDS).store(address, event, b"", maker=maker, patience_s=5)
    finally:
        await fabric.close()
    return event.id


async def set_up(server: Server, home: Path, remote: str) -> tuple[Path, str]:
    """Save a token for the plugin of `home`, which connects to `remote`, and make a source; return config and URL."""
    token = await asyncio.to_thread(server.token)
    config = await asyncio.to_thread(server.log_in, token, home, remote)
    async with LegacyClient(server.socket_url, token.value) as client:
        return config, await make_source(client)
