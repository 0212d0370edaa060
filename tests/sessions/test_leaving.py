"""What sessions leave behind when they go: nothing. bench/soak.py does the same with ten thousand."""

import asyncio
import gc
import os
from collections import Counter
from contextlib import suppress

from nats.aio.subscription import Subscription

from clawback.server.protocols import GuardedHttp, GuardedWebSocket
from clawback.sessions.dispatcher import Dispatcher
from clawback.sessions.lane import Lane
from clawback.sessions.socket import Connection
from clawback.store import lines
from conftest import SHARDS
from houses import House
from waiting import eventually

CONNECTS = 200
AT_A_TIME = 10
KEPT_FOR_A_SESSION = (Connection, Dispatcher, Lane, Subscription, GuardedHttp, GuardedWebSocket)


async def test_sessions_leave_nothing_behind(house, monkeypatch):
    """Two hundred come and go, some with an event, some without a goodbye: then all is as it was before."""
    monkeypatch.setattr(lines, "INACTIVE_SECONDS", 1.0)
    await visit(house, 0)  # makes what is made once
    await eventually(lambda: not house.connections)
    held, counted = objects(), await count(house)
    numbers = iter(range(CONNECTS))

    async def come_and_go() -> None:
        for number in numbers:
            await visit(house, number)

    await asyncio.gather(*(come_and_go() for _ in range(AT_A_TIME)))

    async def is_as_before() -> bool:
        return await count(house) <= counted

    with suppress(AssertionError):  # which would not say what is left
        await eventually(is_as_before, timeout=20)
    left = await count(house) - counted

    assert not left
    assert objects() == held


async def visit(house: House, number: int) -> None:
    """Connect, work on an event or not, and go, by saying so or not."""
    tag = f"guest-{number}"
    has_event = number % 3 == 0
    if has_event:
        await house.publish("work", tag)
    peer = await house.connect(sessionTag=tag, instanceId=tag)
    if has_event:
        event = await peer.frame("event")
        await peer.ack(event["id"])
    if number % 2:
        peer.abort()
        await peer.ended()
    else:
        await peer.close()


async def count(house: House) -> Counter[str]:
    """Count what is under way and open in this process, and what the profile has in NATS."""
    names = [name for shard in range(SHARDS) for name in await consumers(house, shard)]
    return Counter(
        tasks=len(asyncio.all_tasks()),
        files=len(os.listdir("/dev/fd")),  # noqa: PTH208 -- a directory of descriptors, listed as one
        consumers=sum(name.startswith(house.profile.id) for name in names),
        leases=len(await house.leases.of_profile(house.profile.id)),
    )


async def consumers(house: House, shard: int) -> list[str]:
    """Name a shard's consumers, of which NATS lists a page at a time."""
    names: list[str] = []
    while True:
        page = await house.fabric.api(f"CONSUMER.NAMES.EVT{shard}", {"offset": len(names)})
        names += page["consumers"] or ()
        if len(names) >= page["total"]:
            return names


def objects() -> Counter[str]:
    """Count what the servers of this process keep for a session."""
    gc.collect()
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, KEPT_FOR_A_SESSION))
