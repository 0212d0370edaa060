"""
How long a webhook takes to a session: from the POST's first byte to the event's frame on the WebSocket.

Next to what no server of this kind can do without, each step by itself: an HTTP echo of the body, a publish with its
PubAck, a pull of what was published. Ours does more in between: it looks into the ledger, wakes the session, and stores
what the session holds before the frame leaves. One event at a time, each acked before the next is sent.

First while nothing else happens. Then while the server in question takes half of the webhooks that ours can take, at
random moments, in another stream; the steps then go through the bare handler and its NATS. The two take turns.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import ExitStack, asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import nats
import uvloop
import websockets
from bench.common import (
    Clawback,
    Connection,
    Target,
    Webhook,
    add_profiles,
    bare_handler_on,
    delivery_id,
    load_server,
    load_steadily,
    nats_server,
    p50,
    p99,
    print_machine,
    print_table,
    request,
    scratch,
    serve,
    webhooks,
)

ROUNDS = 4
ROUND_SECONDS = 2.0
FULL_SECONDS = 3.0
FRAME, FLOOR = "POST to the event frame", "echo + publish + pull"

Times = dict[str, float]


class Probe(Protocol):
    """What is timed, again and again."""

    async def time(self, hook: Webhook) -> Times:
        """Do it once, and tell how many seconds each part of it took."""


class Subject(NamedTuple):
    """A probe, and where the load on its server goes."""

    probe: Probe
    under_load: Target


def main() -> None:
    with scratch() as directory:
        print_machine(directory)
        measure(directory)


def measure(home: Path) -> None:
    """Time both, idle and under half load, and print it."""
    with ExitStack() as stack:
        server = stack.enter_context(serve(home / "clawback"))
        ours, busy = add_profiles(server, home / "clawback", count=2)
        url = stack.enter_context(nats_server(home / "bare", sync="always"))
        bare = stack.enter_context(bare_handler_on(url, home / "bare"))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            idle, half, rate = runner.run(_measure(ours, busy.target, bare, url))
    _print("From a webhook of 22 kB to an idle session, ms", idle)
    _print(f"The same while the server takes {rate:.0f} webhooks a second, ms", half)


async def _measure(
    ours: Clawback, busy: Target, bare: Target, url: str
) -> tuple[list[list[Times]], list[list[Times]], float]:
    hooks = webhooks()
    async with _session(ours) as session, _steps(bare.port, url) as steps:
        subjects = [Subject(session, busy), Subject(steps, bare)]
        await _take_turns(subjects, hooks, 0)
        idle = await _take_turns(subjects, hooks, 0)
        rate = (await load_server(busy, hooks, FULL_SECONDS)).rate / 2
        return idle, await _take_turns(subjects, hooks, rate), rate


async def _take_turns(subjects: Sequence[Subject], hooks: Sequence[Webhook], rate: float) -> list[list[Times]]:
    """Return what each subject's parts took, of all rounds."""
    times: list[list[Times]] = [[] for _ in subjects]
    source = cycle(hooks)
    for _ in range(ROUNDS):
        for subject, took in zip(subjects, times, strict=True):
            async with asyncio.TaskGroup() as group:
                if rate:
                    group.create_task(load_steadily(subject.under_load, hooks, ROUND_SECONDS, rate))
                end = time.perf_counter() + ROUND_SECONDS
                while time.perf_counter() < end:
                    took.append(await subject.probe.time(next(source)))
    return times


class _Session:
    """A session of ours, and the sender of its webhooks."""

    def __init__(self, path: str, sender: Connection, socket: websockets.ClientConnection) -> None:
        self._path = path
        self._sender = sender
        self._socket = socket

    async def time(self, hook: Webhook) -> Times:
        """Send a webhook, and ack its event."""
        posted = request(self._path, hook)
        started = time.perf_counter()
        answer = asyncio.create_task(_time(self._sender.ask(posted)))
        event = await _frame(self._socket, "event")
        took = time.perf_counter() - started
        answered = await answer
        await self._socket.send(json.dumps({"type": "ack", "eventId": event["id"], "summary": "", "requestId": "1"}))
        await _frame(self._socket, "response")
        return {"POST to the answer": answered, FRAME: took}


@asynccontextmanager
async def _session(ours: Clawback) -> AsyncIterator[_Session]:
    sender = await Connection.open(ours.target.port)
    url = f"ws://127.0.0.1:{ours.target.port}/ws"
    async with websockets.connect(url, compression=None, max_size=None) as socket:
        await socket.send(json.dumps({"type": "auth", "token": ours.token, "instanceId": "bench"}))
        await _frame(socket, "auth_ok")
        yield _Session(ours.target.path, sender, socket)
    sender.close()


class _Steps:
    """The bare handler's echo, and nats-py on its NATS."""

    def __init__(self, echo: Connection, js: Any, subscription: Any) -> None:
        self._echo = echo
        self._js = js
        self._subscription = subscription

    async def time(self, hook: Webhook) -> Times:
        """Take the steps one after another."""
        echoed = await _time(self._echo.ask(request("/echo", hook)))
        published = await _time(self._js.publish("steps.github", hook.body, headers={"Nats-Msg-Id": delivery_id()}))
        started = time.perf_counter()
        (message,) = await self._subscription.fetch(1)
        pulled = time.perf_counter() - started
        await message.ack_sync()
        return {"HTTP echo": echoed, "publish": published, "pull": pulled, FLOOR: echoed + published + pulled}


@asynccontextmanager
async def _steps(port: int, url: str) -> AsyncIterator[_Steps]:
    echo = await Connection.open(port)
    client = await nats.connect(url)
    js = client.jetstream()
    await js.add_stream(name="STEPS", subjects=["steps.>"], storage="file", retention="workqueue")
    yield _Steps(echo, js, await js.pull_subscribe("steps.>", durable="bench"))
    await client.close()
    echo.close()


async def _frame(session: websockets.ClientConnection, kind: str) -> dict[str, Any]:
    """Wait for a frame of one kind; pings come between."""
    while (frame := json.loads(await session.recv()))["type"] != kind:
        assert frame["type"] == "ping", frame
    return frame


async def _time(work: Awaitable[object]) -> float:
    started = time.perf_counter()
    await work
    return time.perf_counter() - started


def _print(title: str, times: list[list[Times]]) -> None:
    took = {name: [each[name] for each in rounds] for rounds in times for name in rounds[0]}
    floor = took[FLOOR]
    rows = [
        [
            name,
            f"{p50(each) * 1000:.2f}",
            f"{p99(each) * 1000:.2f}",
            f"{p50(each) / p50(floor):.2f}",
            f"{len(each)}",
        ]
        for name, each in took.items()
    ]
    print_table(title, ["", "p50", "p99", "p50 of the sum", "times"], rows)


if __name__ == "__main__":
    main()
