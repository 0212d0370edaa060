"""
How long a webhook takes to an idle session: from the POST's first byte to the event's frame on the WebSocket.

Next to what no server of this kind can do without, each step by itself on the same machine: an HTTP echo of the body, a
publish with its PubAck, a pull of what was published. Ours does more in between: it looks into the ledger, waits for
NATS's wake-up, and stores what the session holds before the frame leaves. One event at a time, each acked before the
next is sent; the two take turns.
"""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import nats
import uvloop
import websockets
from bench.common import (
    Clawback,
    Connection,
    bare_handler,
    clawback,
    delivery_id,
    nats_server,
    p50,
    p99,
    print_machine,
    print_table,
    request,
    scratch,
    webhooks,
)

EVENTS = 300
WARM_UP = 30

Times = dict[str, list[float]]


def main() -> None:
    with scratch() as directory:
        print_machine(directory)
        measure(directory)


def measure(directory: Path) -> None:
    """Send events one by one, take the steps one by one, and print both."""
    with (
        clawback(directory / "clawback", sync="always") as ours,
        bare_handler(directory / "bare", sync="always") as bare,
        nats_server(directory / "nats", sync="always") as url,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        times = runner.run(_take_turns(ours, bare.port, url))
    rows = [[name, f"{p50(took) * 1000:.2f}", f"{p99(took) * 1000:.2f}"] for name, took in times.items()]
    print_table("From a webhook of 22 kB to an idle session, ms", ["", "p50", "p99"], rows)


async def _take_turns(ours: Clawback, bare_port: int, url: str) -> Times:
    names = ("POST to the answer", "POST to the event frame", "HTTP echo", "publish", "pull", "echo + publish + pull")
    times: Times = {name: [] for name in names}
    clock = time.perf_counter
    sender, echo = await Connection.open(ours.target.port), await Connection.open(bare_port)
    client = await nats.connect(url)
    js = client.jetstream()
    await js.add_stream(name="BARE", subjects=["bare.>"], storage="file", retention="workqueue")
    subscription = await js.pull_subscribe("bare.>", durable="bench")
    async with websockets.connect(f"ws://127.0.0.1:{ours.target.port}/ws", compression=None, max_size=None) as session:
        await session.send(json.dumps({"type": "auth", "token": ours.token, "instanceId": "bench"}))
        await _frame(session, "auth_ok")
        for number, hook in enumerate(webhooks(EVENTS + WARM_UP)):
            posted = request(ours.target.path, hook)
            started = clock()
            answer = asyncio.create_task(_time(sender.ask(posted)))
            event = await _frame(session, "event")
            frame = clock() - started
            answered = await answer
            await session.send(json.dumps({"type": "ack", "eventId": event["id"], "summary": "", "requestId": "1"}))
            await _frame(session, "response")

            echoed = await _time(echo.ask(request("/echo", hook)))
            published = await _time(js.publish("bare.github", hook.body, headers={"Nats-Msg-Id": delivery_id()}))
            started = clock()
            (message,) = await subscription.fetch(1)
            pulled = clock() - started
            await message.ack_sync()

            if number >= WARM_UP:
                floor = echoed + published + pulled
                for name, took in zip(names, (answered, frame, echoed, published, pulled, floor), strict=True):
                    times[name].append(took)
    sender.close()
    echo.close()
    await client.close()
    return times


async def _frame(session: websockets.ClientConnection, kind: str) -> dict[str, Any]:
    """Wait for a frame of one kind; pings come between."""
    while (frame := json.loads(await session.recv()))["type"] != kind:
        assert frame["type"] == "ping", frame
    return frame


async def _time(work) -> float:
    started = time.perf_counter()
    await work
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
