"""
A greedy profile, as a program of its own: it takes of a server all that a token and an address can, for ever.

It reads what it may use from stdin, as one line of JSON, and prints its counts as a line of JSON every moment: of each
attack, how often each answer came. No answer ends it; being killed does. Requests are written one after another without
waiting for answers, so that asking costs it nothing and answering is all the server's.
"""

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from clawback.model import random_id
from github import delivery

WEBHOOKS_PER_SECOND = 1_000
HOOKS = 4
"""Connections that share these webhooks."""

ASKERS = 6
"""Connections for everything that is asked again and again."""

AHEAD = 8
"""Requests of one connection that may wait for their answers."""

FEEDS = 40
"""More than a profile may have."""

DEAF = 8
"""Sockets that ask and do not read."""

DEAF_SECONDS = 0.02
"""Between two times that one of them asks."""

BODIES = 32
BODY_BYTES = 25 * 1024 * 1024
BODY_PART = bytes(64 * 1024)

READ_BYTES = 64 * 1024
TELL_SECONDS = 0.1
PAUSE_SECONDS = 0.1
"""After a connection has ended, and between two parts of a body."""

STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")

Ask = Callable[[], bytes]


@dataclass(frozen=True)
class Target:
    """What the profile has: where the server is, its token, where its source is posted to, and where it comes from."""

    port: int
    token: str
    hook: str
    address: str
    attacks: tuple[str, ...] = ()
    """By their names; none are all."""

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
        """Write a request."""
        sent = {"Host": "127.0.0.1", "Content-Length": str(len(body)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body

    def api(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Write a request to the API."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        return self.request(method, f"/api/v1/{path}", body, **headers)

    def webhook(self) -> bytes:
        """Write a webhook that is verified and is none that was there."""
        sent = delivery("ping", b'{"zen":"more","hook_id":1}', random_id())
        return self.request("POST", self.hook, sent["content"], **sent["headers"])


class Greed:
    """All attacks at once, and what came of them."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._counts: dict[str, Counter[str]] = {}

    async def run(self) -> None:
        """Attack for ever."""
        api = self._target.api
        flood = self._flood
        async with asyncio.TaskGroup() as tasks:
            for name, how_many, attack in (
                ("webhooks", HOOKS, partial(flood, self._target.webhook, HOOKS / WEBHOOKS_PER_SECOND)),
                ("unknown", ASKERS, partial(flood, lambda: api("GET", f"events/evt_{random_id()}"), 0.0)),
                ("waiting", ASKERS, partial(flood, lambda: api("GET", "events?limit=100"), 0.0)),
                ("history", ASKERS, partial(flood, lambda: api("GET", "history?limit=100"), 0.0)),
                ("tokens", ASKERS, partial(flood, lambda: api("POST", "tokens", b'{"label":"more"}'), 0.0)),
                ("feeds", FEEDS, partial(flood, lambda: api("GET", "events/stream"), 0.0)),
                ("deaf", DEAF, self._be_deaf),
                ("bodies", BODIES, self._begin_body),
            ):
                if self._target.attacks and name not in self._target.attacks:
                    continue
                self._counts[name] = Counter()
                for _ in range(how_many):
                    tasks.create_task(self._again(attack, self._counts[name]))
            tasks.create_task(self._tell())

    async def _again(self, attack: Callable[[Counter[str]], object], counts: Counter[str]) -> None:
        while True:
            with suppress(OSError, WebSocketException):
                await attack(counts)
            counts["ended"] += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def _flood(self, ask: Ask, each_s: float, counts: Counter[str]) -> None:
        """Ask every `each_s` seconds whatever is answered; where it is 0, with AHEAD answers to come."""
        ahead = asyncio.Semaphore(AHEAD)
        async with self._connected() as (reader, writer):

            async def write() -> None:
                while True:
                    if each_s:
                        await asyncio.sleep(each_s)
                    else:
                        await ahead.acquire()
                    writer.write(ask())
                    await writer.drain()

            writing = asyncio.create_task(write())
            try:
                while part := await reader.read(READ_BYTES):
                    for status in STATUS.findall(part):
                        counts[status.decode()] += 1
                        ahead.release()
            finally:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)

    async def _be_deaf(self, counts: Counter[str]) -> None:
        url, address = f"ws://127.0.0.1:{self._target.port}/ws", (self._target.address, 0)
        async with connect(url, compression=None, ping_interval=None, proxy=None, local_addr=address) as socket:
            await socket.send(json.dumps({"type": "auth", "token": self._target.token, "sessionTag": random_id()}))
            await socket.recv()
            socket.transport.pause_reading()
            while True:
                for kind in ("event_list", "event_history", "token_list"):
                    await socket.send(json.dumps({"type": kind, "requestId": random_id(), "limit": 100}))
                    counts["asked"] += 1
                await asyncio.sleep(DEAF_SECONDS)

    async def _begin_body(self, counts: Counter[str]) -> None:
        async with self._connected() as (reader, writer):
            writer.write(self._target.request("POST", self._target.hook, **{"Content-Length": str(BODY_BYTES)}))
            ended = asyncio.create_task(reader.readline())
            try:
                while not ended.done():
                    writer.write(BODY_PART)
                    await writer.drain()
                    counts["part"] += 1
                    await asyncio.sleep(PAUSE_SECONDS)
            finally:
                ended.cancel()
                await asyncio.gather(ended, return_exceptions=True)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self._target.port, local_addr=(self._target.address, 0)
        )
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            print(json.dumps(self._counts), flush=True)  # noqa: T201 -- who started it reads it


if __name__ == "__main__":
    asyncio.run(Greed(Target(**json.loads(sys.stdin.readline()))).run())
