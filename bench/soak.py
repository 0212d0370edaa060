"""
Whether memory stays flat at half load, and whether anything is left behind of sessions that come and go.

First the full load is measured: sessions that ack at once, each sent its next webhook of 22 kB when its ack was
confirmed. Then the same at half that rate, for SOAK_MINUTES: what was acked is gone, so whatever grows is a leak. All
the while other sessions come and go without an event, half of them without a goodbye, SOAK_CONNECTS in all. In the end
everybody leaves, and what both processes have is counted again; consumers of NATS go by themselves after two minutes
in which nobody asked them, for which a long run waits.

    SOAK_MINUTES=10 SOAK_CONNECTS=10000 python -m bench.soak
"""

import asyncio
import itertools
import os
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import uvloop
from bench.common import (
    SECRET,
    Clawback,
    Connection,
    clawback,
    delivery_id,
    nats_of,
    print_machine,
    print_table,
    request,
    resident_mb,
    scratch,
    webhooks,
)
from bench.raw_session import RawSession, leave
from bench.sessions import look

from clawback.fabric.embedded import read_auth
from clawback.fabric.streams import Fabric

MINUTES = float(os.environ.get("SOAK_MINUTES", "0.5"))
CONNECTS = int(os.environ.get("SOAK_CONNECTS", "500"))
IS_LONG = MINUTES >= 5

WORKERS = 16
"""Sessions that take events, each with a source of its own."""

FULL_SECONDS = 5.0
GOERS = 8
"""Sessions that come and go, at a time."""

SAMPLES = 10
CONSUMER_SECONDS = 150.0
"""After which NATS has removed a consumer that nobody asks."""


class Worker:
    """A session with a tag and a source of its own: a webhook, its event, the ack, confirmed, and the next."""

    def __init__(self, server: Clawback, number: int) -> None:
        self._server = server
        self._name = f"worker-{number}"
        self._hooks = itertools.cycle(webhooks(16))
        self._event_id = ""
        self.done = 0

    async def __aenter__(self) -> Self:
        """Connect both ends, and make the source."""
        auth = {"token": self._server.token, "instanceId": self._name, "sessionTag": self._name}
        self._session = await RawSession.open(self._server.target.port, auth, self._take)
        self._sender = await Connection.open(self._server.target.port)
        made = self._session.frame("response")
        source = {"slug": self._name, "verifierType": "github", "secret": SECRET.decode(), "sessionTag": self._name}
        self._session.say("source_create", requestId="1", routes={"*": "/review"}, **source)
        await made
        return self

    async def __aexit__(self, *_: object) -> None:
        """Say goodbye."""
        self._sender.close()
        await leave([self._session])

    async def work(self, seconds: float, every: float = 0.0) -> None:
        """Go on for a while, with an event `every` so many seconds, or as fast as it goes."""
        loop = asyncio.get_running_loop()
        at = loop.time()
        end = at + seconds
        path = self._server.target.path.replace("/github", f"/{self._name}")
        while at < end:
            await asyncio.sleep(at - loop.time())
            event = self._session.frame("event")
            await asyncio.gather(event, self._sender.ask(request(path, next(self._hooks))))
            await self._session.ack(self._event_id)
            self.done += 1
            at = max(at + every, loop.time() - 1)

    def _take(self, _session: RawSession, event_id: str) -> None:
        self._event_id = event_id


def main() -> None:
    with scratch() as directory:
        print_machine(directory)
        home = directory / "clawback"
        with clawback(home, sync="always") as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measure(server, home))


async def measure(server: Clawback, home: Path) -> None:
    """Find the full load, keep up half of it, and print what was held meanwhile and what is left."""
    fabric = await Fabric.open(read_auth(home), name="bench")
    pids = server.target.pid, nats_of(server.target.pid)
    counts = {"before": await look(server, fabric)}
    samples: list[list[str]] = []
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(Worker(server, number)) for number in range(WORKERS)]
        await asyncio.gather(*(worker.work(FULL_SECONDS) for worker in workers))
        full = sum(worker.done for worker in workers) / FULL_SECONDS
        seconds = 60 * MINUTES
        began, done = time.monotonic(), sum(worker.done for worker in workers)
        load = asyncio.gather(
            *(worker.work(seconds, 2 * WORKERS / full) for worker in workers),
            *(come_and_go(server, seconds) for _ in range(GOERS)),
        )
        for number in range(SAMPLES + 1):
            await asyncio.sleep(began + number * seconds / SAMPLES - time.monotonic())
            files = await look(server, fabric)
            samples.append(
                [
                    f"{(time.monotonic() - began) / 60:.1f}",
                    f"{sum(worker.done for worker in workers) - done:,}",
                    *(f"{resident_mb(pid):.1f}" for pid in pids),
                    str(files.files),
                    str(files.consumers),
                ]
            )
        await load
        rate = (sum(worker.done for worker in workers) - done) / (time.monotonic() - began)
    head = ["minutes", "events", "server, MB", "NATS, MB", "open files", "consumers"]
    print_table(f"{rate:.0f} events a second, of {full:.0f} at full load, and {CONNECTS:,} connects", head, samples)
    await asyncio.sleep(CONSUMER_SECONDS if IS_LONG else 1.0)
    counts["after"] = await look(server, fabric)
    rows = [[name, *map(str, left)] for name, left in counts.items()]
    print_table("What is there with nobody connected", ["", "open files", "NATS's", "consumers"], rows)
    await fabric.close()


async def come_and_go(server: Clawback, seconds: float) -> None:
    """Connect and leave again, spread over a while; every other time without a goodbye."""
    loop = asyncio.get_running_loop()
    began, count = loop.time(), CONNECTS // GOERS
    for number in range(count):
        await asyncio.sleep(began + number * seconds / count - loop.time())
        name = delivery_id()
        session = await RawSession.open(
            server.target.port, {"token": server.token, "instanceId": name, "sessionTag": name}, lambda *_: None
        )
        if number % 2:
            session.abort()
        else:
            await leave([session])


if __name__ == "__main__":
    main()
