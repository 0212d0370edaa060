"""
How fast a session that acks at once is given what has waited for it, and what the server holds meanwhile.

Signed webhooks of 22 kB are queued while nobody is connected; then one session drains them, each acked as it comes, as
the plugin does. Next to what no queue on NATS can do without: nats-py publishing, pulling and acking (confirmed) one
message after another, on the same nats-server. The two take turns: the session keeps an ack back while the other is
measured. Ours does more for each event: it stores what the session holds before the frame leaves, and how the event
ended before its ack is confirmed; the publishing was done before.

The time from an ack to the next frame is told in round trips, too: half of what nats-py takes for a publish until its
PubAck and for an ack until it is confirmed, the pull between them left out. Each of the two is a write at nats-server.
"""

import asyncio
import itertools
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec
import nats
import uvloop
import websockets
from bench.common import (
    CONNECTIONS,
    Clawback,
    Connection,
    Target,
    Webhook,
    clawback,
    cpu_seconds,
    p50,
    p99,
    print_machine,
    print_table,
    request,
    resident_mb,
    scratch,
    webhooks,
)

from clawback.fabric.auth import NatsAuth
from clawback.fabric.embedded import read_auth

EVENTS = int(os.environ.get("DRAIN_EVENTS", "10000"))
ROUNDS = 10
PUBLISHED = 200
"""By the yardstick, in each round."""


class Frame(msgspec.Struct):
    """What is read of a frame: the content is passed over, as the load should cost little."""

    type: str
    id: str = ""
    meta: dict[str, str] = {}


class Round(msgspec.Struct):
    """
    One round: events a second, how long each took from the ack before, and the server's CPU time for each.

    `round_trips_s` are the yardstick's: each publish and ack, halved.
    """

    rate: float
    took_s: list[float]
    own_share: float
    server_us: float = 0.0
    round_trips_s: list[float] = []


def main() -> None:
    with scratch() as directory:
        print_machine(directory)
        home = directory / "clawback"
        with clawback(home, sync="always") as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measure(server, home))


async def measure(server: Clawback, home: Path) -> None:
    """Queue events, drain them in turns with the yardstick, and print both."""
    hooks = webhooks()
    held_mb = {"before": resident_mb(server.target.pid)}
    queued = await fill(server.target, hooks)
    held_mb[f"{EVENTS:,} queued"] = resident_mb(server.target.pid)
    async with Yardstick(read_auth(home), server.target.pid) as yardstick, Session(server) as session:
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(await session.drain(EVENTS // ROUNDS))
            theirs.append(await yardstick.measure(hooks))
            held_mb[f"{len(session.came):,} drained"] = resident_mb(server.target.pid)
        await session.end()
    check_order(session.came, queued)
    rows = []
    for name, rounds in {"clawback serve": ours, "nats-py: publish, pull, ack": theirs}.items():
        took_ms = [1000 * each for round_ in rounds for each in round_.took_s]
        trips = [p50(round_.took_s) / p50(other.round_trips_s) for round_, other in zip(rounds, theirs, strict=True)]
        rows.append(
            [
                name,
                f"{p50([round_.rate for round_ in rounds]):.0f}",
                f"{p50([round_.rate / other.rate for round_, other in zip(rounds, theirs, strict=True)]):.2f}",
                f"{p50(took_ms):.1f}",
                f"{p99(took_ms):.1f}",
                f"{p50(trips):.1f}",
                f"{p50([round_.server_us for round_ in rounds]):.0f}" if name == "clawback serve" else "",
                f"{100 * p50([round_.own_share for round_ in rounds]):.0f} %",
            ]
        )
    head = ["", "per second", "of nats-py", "p50 ms", "p99 ms", "round trips", "its CPU, us each", "the load's core"]
    print_table(f"Draining {EVENTS:,} queued webhooks of 22 kB by a session that acks at once", head, rows)
    rows = [[when, f"{held:.0f}"] for when, held in held_mb.items()]
    print_table("Memory of `clawback serve`", ["", "MB"], rows)


async def fill(target: Target, hooks: Sequence[Webhook]) -> list[list[str]]:
    """Send the webhooks, and return the delivery ids of each connection in the order of their answers."""
    run = os.urandom(6).hex()

    async def send(number: int, connection: Connection) -> list[str]:
        sent = [f"{run}-{number}-{each}" for each in range(number, EVENTS, CONNECTIONS)]
        for delivery_id, hook in zip(sent, itertools.cycle(hooks), strict=False):
            await connection.ask(request(target.path, hook, delivery_id))
        connection.close()
        return sent

    connections = [await Connection.open(target.port) for _ in range(CONNECTIONS)]
    return await asyncio.gather(*itertools.starmap(send, enumerate(connections)))


def check_order(came: list[str], queued: list[list[str]]) -> None:
    """Make sure that each event came once, and after those of its connection that were answered before it was sent."""
    assert sorted(came) == sorted(itertools.chain(*queued)), "each event once"
    places = {delivery_id: place for place, delivery_id in enumerate(came)}
    for sent in queued:
        assert sent == sorted(sent, key=places.__getitem__), "in their order"


class Session:
    """A session that acks at once; between two rounds it keeps the next ack back."""

    def __init__(self, server: Clawback) -> None:
        self.came: list[str] = []
        self._server = server
        self._held: str | None = None

    async def __aenter__(self) -> Self:
        """Connect."""
        url = f"ws://127.0.0.1:{self._server.target.port}/ws"
        self._ws = await websockets.connect(url, compression=None, max_size=None)
        await self._ws.send(json.dumps({"type": "auth", "token": self._server.token, "instanceId": "bench"}))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Say goodbye."""
        await self._ws.close()

    async def drain(self, count: int) -> Round:
        """Take some events."""
        pid = self._server.target.pid
        took: list[float] = []
        clock = time.perf_counter
        began, server, own = clock(), cpu_seconds(pid), time.process_time()
        for _ in range(count):
            started = clock()
            await self._ack()
            frame = await self._frame("event")
            took.append(clock() - started)
            self._held = frame.id
            self.came.append(frame.meta["deliveryId"])
        passed = clock() - began
        return Round(
            count / passed, took, (time.process_time() - own) / passed, (cpu_seconds(pid) - server) / count * 1e6
        )

    async def end(self) -> None:
        """Ack the last event, and wait until that is confirmed."""
        await self._ack()
        await self._frame("response")

    async def _ack(self) -> None:
        if self._held is not None:
            ack = {"type": "ack", "eventId": self._held, "summary": "", "requestId": self._held}
            await self._ws.send(json.dumps(ack))

    async def _frame(self, kind: str) -> Frame:
        while (frame := _decoder.decode(await self._ws.recv(decode=False))).type != kind:
            if frame.type == "ping":
                await self._ws.send('{"type":"pong"}')
        return frame


_decoder = msgspec.json.Decoder(Frame)


class Yardstick:
    """nats-py on the server's own NATS."""

    def __init__(self, auth: NatsAuth, pid: int) -> None:
        self._auth = auth
        self._pid = pid

    async def __aenter__(self) -> Self:
        """Connect, and make a stream like those of events."""
        self._client = await nats.connect(self._auth.url, user=self._auth.user, password=self._auth.password)
        self._js = self._client.jetstream()
        await self._js.add_stream(name="BARE", subjects=["bare.>"], storage="file", retention="workqueue")
        self._subscription = await self._js.pull_subscribe("bare.>", durable="bench")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave nothing behind."""
        await self._js.delete_stream("BARE")
        await self._client.close()

    async def measure(self, hooks: Sequence[Webhook]) -> Round:
        """Publish, pull and ack one message after another."""
        took: list[float] = []
        round_trips: list[float] = []
        clock = time.perf_counter
        began, own = clock(), time.process_time()
        for hook in itertools.islice(itertools.cycle(hooks), PUBLISHED):
            started = clock()
            await self._js.publish("bare.github", hook.body, headers={"Nats-Msg-Id": os.urandom(12).hex()})
            published = clock()
            (message,) = await self._subscription.fetch(1)
            pulled = clock()
            await message.ack_sync()
            ended = clock()
            took.append(ended - started)
            round_trips.append((ended - pulled + published - started) / 2)
        passed = clock() - began
        return Round(PUBLISHED / passed, took, (time.process_time() - own) / passed, round_trips_s=round_trips)


if __name__ == "__main__":
    main()
