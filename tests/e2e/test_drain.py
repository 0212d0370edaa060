"""A long queue: events that waited while nobody was connected, drained by one session."""

import asyncio

from github import PULL_REQUEST, delivery, make_source, post
from legacy import LegacyClient
from processes import resident_bytes

SENDERS, EACH = 8, 125
WARM_UP = 20
"""Events after which the server has loaded and allocated what it keeps."""

GROWTH_BYTES = SENDERS * EACH * len(PULL_REQUEST) // 2
"""Half of the bodies that wait; bench/drain.py shows some 4 MB for ten times as many."""


async def test_a_long_queue_is_drained_in_order_and_costs_no_memory(server, token, http):
    """Each event comes once, after those its sender was answered before; what waits takes no memory of the server."""
    names = [[f"sender{sender}-{number}" for number in range(EACH)] for sender in range(SENDERS)]
    async with LegacyClient(server.socket_url, token.value, "other") as client:
        url = await make_source(client, sessionTag="")
        for _ in range(WARM_UP):
            await post(http, url)
    async with LegacyClient(server.socket_url, token.value) as client:
        await drain(client, WARM_UP)
    held = [resident_bytes(server.process.pid)]

    async def send(deliveries: list[str]) -> None:
        for name in deliveries:
            await post(http, url, **delivery(delivery_id=name))

    await asyncio.gather(*map(send, names))
    held.append(resident_bytes(server.process.pid))
    came = []
    async with LegacyClient(server.socket_url, token.value) as client:
        for _ in range(4):
            came += await drain(client, SENDERS * EACH // 4)
            held.append(resident_bytes(server.process.pid))
        left = await client.request("event_list", states=["queued"])
    by_sender = [[name for name, _ in came if name in sent] for sent in map(set, names)]

    assert by_sender == names
    assert {attempt for _, attempt in came} == {"1"}
    assert left == []
    assert max(held) - held[0] < GROWTH_BYTES, held


async def drain(client: LegacyClient, count: int) -> list[tuple[str, str]]:
    """Ack each event as it comes; the delivery ids and attempts, in order."""
    came = []
    for _ in range(count):
        event = await client.event()
        came.append((event["meta"]["deliveryId"], event["meta"]["attempt"]))
        await client.ack(event)
    return came
