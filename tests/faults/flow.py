"""
A running flow: senders that repeat a delivery until it is accepted, the server, the plugin, a Claude that acks.

Everything seen goes into one ledger, from one event loop, in the order seen. What breaks in it fails the test.
"""

import asyncio
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from channel.claude import DISCOVER, INITIALIZE, Claude
from clawback.fabric.streams import Fabric
from faults.ledger import Accepted, AckAnswered, AckCalled, Entry, Killed, Sent, Shown, story, violations
from github import delivery, make_source
from legacy import LegacyClient
from processes import Server, Token, environment, frozen
from waiting import eventually

SENDERS = 2
BACKLOG = 12
"""Deliveries that may wait: enough that there is always a next one, few enough that a run ends soon after its kills."""

RETRY_SECONDS = 0.05
"""Between two tries of a sender. Real ones wait longer."""

THINK_SECONDS = 0.03
"""What Claude takes for an event at most."""

PATIENCE_SECONDS = 60.0
"""For the flow to go on after a kill; seconds on an idle machine."""


class Plugin(Claude):
    """
    A Claude Code that acks every event it is shown, until its plugin ends.

    `first` is the first that it was shown, `in_flight` the one that it has not begun to ack.
    """

    def __init__(self, config: Path, home: Path, dice: random.Random, record: Callable[[Entry], None]) -> None:
        # Its waits between two tries are shortened: real ones grow to half a minute over many kills.
        super().__init__(config, handshake=False, **environment(home))
        self.refusals: list[dict[str, Any]] = []
        self.first: Shown | None = None
        self.in_flight: Shown | None = None
        self._dice = dice
        self._record = record
        self._shown: asyncio.Queue[str] = asyncio.Queue()
        self._acking: dict[int, str] = {}
        self._playing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._playing = asyncio.create_task(self._play(), name="claude")
        return self

    async def kill9(self) -> None:
        """Kill the program without a warning, and hear what it had said."""
        self._playing.cancel()
        await asyncio.gather(self._playing, return_exceptions=True)
        await self.__aexit__()

    def check(self) -> None:
        """Fail if an ack was refused, or the program ended by itself."""
        assert not self.refusals, self.refusals
        assert self.process.returncode is None, f"the plugin ended with {self.process.returncode}: {self.stderr}"
        if self._playing.done():
            self._playing.result()

    def heard(self, message: dict[str, Any]) -> None:
        """Record what the program says, in the order in which it says it."""
        super().heard(message)
        if message.get("method") == "notifications/claude/channel":
            meta = message["params"]["meta"]
            self.in_flight = Shown(meta["deliveryId"], meta["event_id"], int(meta["attempt"]))
            self.first = self.first or self.in_flight
            self._record(self.in_flight)
            self._shown.put_nowait(meta["event_id"])
        elif (event_id := self._acking.pop(message.get("id"), None)) is not None:
            if message["result"]["isError"]:
                self.refusals.append(message)
            else:
                self._record(AckAnswered(self._delivery_of(event_id)))

    async def _play(self) -> None:
        # Nothing is waited for in the handshake, so that a kill can come anywhere in it.
        for message in (DISCOVER | {"id": 0}, INITIALIZE | {"id": 1}, {"method": "notifications/initialized"}):
            await self.send({"jsonrpc": "2.0", **message})
        number = 2
        while True:
            event_id = await self._shown.get()
            await asyncio.sleep(self._dice.uniform(0, THINK_SECONDS))
            self._record(AckCalled(self._delivery_of(event_id)))
            self.in_flight = None
            self._acking[number] = event_id
            call = {"name": "event_ack", "arguments": {"event_id": event_id, "summary": "done"}}
            await self.send({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": call})
            number += 1

    def _delivery_of(self, event_id: str) -> str:
        return next(shown["meta"]["deliveryId"] for shown in self.events if shown["meta"]["event_id"] == event_id)


class Flow:
    """
    `async with Flow(…) as flow:` kill and await `progress` as often as wanted, then `finish`.

    The plugin connects to `remote`, by default the server itself.
    """

    def __init__(self, server: Server, dice: random.Random, home: Path, remote: str | None = None) -> None:
        self.entries: list[Entry] = []
        self.acks = 0
        self.backlog = BACKLOG
        self._server = server
        self._dice = dice
        self._home = home
        self._remote = remote
        self._url = ""
        self._token: Token
        self._config = Path()
        self._stopping = False
        # What is accepted or shown and not acked, and what is acked: an answer to a sender may come after that.
        self._waiting: set[str] = set()
        self._done: set[str] = set()
        self._plugin: Plugin
        self._standby: Plugin | None = None
        self._sending: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._token = token = await asyncio.to_thread(self._server.token)
        self._home.mkdir()
        self._config = await asyncio.to_thread(self._server.log_in, token, self._home, self._remote)
        async with LegacyClient(self._server.socket_url, token.value) as client:
            self._url = await make_source(client, skill="/review")
        await self.start_plugin()
        self._sending = [
            asyncio.create_task(self._send(f"sender{number}"), name=f"sender {number}") for number in range(SENDERS)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        for plugin in self._plugins():
            await plugin.kill9()

    @property
    def profile_id(self) -> str:
        """Whose events they are."""
        return self._token.profile_id

    async def start_plugin(self) -> None:
        """Start a plugin beside a new Claude; returns before it is ready."""
        plugin = Plugin(self._config, self._home, self._dice, self._record)
        await plugin.__aenter__()
        self._plugin = plugin

    async def kill_plugin(self) -> None:
        """Kill the plugin without a warning."""
        self._record(Killed("plugin"))
        await self._plugin.kill9()

    async def start_standby(self) -> None:
        """Start a plugin of the same session beside the one that runs, and return when the server has both."""
        self._standby = Plugin(self._config, self._home, self._dice, self._record)
        await self._standby.__aenter__()
        async with LegacyClient(self._server.socket_url, self._token.value, "asker") as asker:

            async def has_both() -> bool:
                self._check()
                listed = await asker.request("session_list")
                return sorted(each["role"] for each in listed if not each["current"]) == ["active", "standby"]

            await eventually(has_both, PATIENCE_SECONDS)

    async def kill_active(self) -> tuple[Shown, Shown]:
        """
        Kill the active plugin between an event's arrival and its ack; the standby is the plugin from now on.

        Returns how the event in flight was shown, and how the first event of the standby was.
        """
        assert self._standby is not None, "start it first"
        active, heir = self._plugin, self._standby
        await eventually(lambda: self._check() or active.in_flight, PATIENCE_SECONDS)
        held = active.in_flight
        self._record(Killed("active plugin"))
        await active.kill9()
        self._plugin, self._standby = heir, None
        await eventually(lambda: self._check() or heir.first, PATIENCE_SECONDS)
        return held, heir.first

    async def kill_server(self) -> None:
        """Kill the server without a warning, and with it its NATS."""
        self._record(Killed("server"))
        await asyncio.to_thread(self._server.kill9)

    def kill_nats(self) -> bool:
        """Kill the server's NATS without a warning; whether there was one to kill."""
        self._record(Killed("nats"))
        return self._server.kill9_nats() is not None

    @contextmanager
    def stopped(self, what: str) -> Iterator[None]:
        """Stop the `plugin`, the `server` or `nats` until the end of the block, with every connection open."""
        self._record(Killed(f"{what}, stopped"))
        with frozen(self._pid_of(what)):
            yield
        self._record(Killed(f"{what}, going on"))

    def _pid_of(self, what: str) -> int | None:
        # No other is looked at, as it may be starting just now.
        match what:
            case "plugin":
                return self._plugin.process.pid
            case "server":
                return self._server.process.pid
            case "nats":
                return self._server.nats_pid
            case _:
                raise ValueError(what)

    async def repeat(self, deliveries: list[str], times: int) -> None:
        """Send deliveries that were accepted before again, each so often at once; each is the event that it was."""
        async with httpx.AsyncClient(timeout=20.0, trust_env=False) as http:
            sent = [(name, delivery(delivery_id=name)) for name in deliveries for _ in range(times)]
            answers = await asyncio.gather(*(self._accepted(http, request) for _, request in sent))
        for (name, _), event_id in zip(sent, answers, strict=True):
            self._record(Accepted(name, event_id))

    def allow_more(self, deliveries: int) -> None:
        """Let senders send as many more although nothing that waits is acked."""
        self.backlog = max(BACKLOG, len(self._waiting)) + deliveries

    async def progress(self, patience_s: float = PATIENCE_SECONDS) -> None:
        """Wait until Claude was shown and acked one event more."""
        before = self.acks
        await eventually(lambda: self._check() or self.acks > before, patience_s)

    async def finish(self) -> list[str]:
        """Send no more, wait until all that was accepted has ended and no stream holds anything; return violations."""
        self._stopping = True
        await eventually(lambda: self._check() or all(task.done() for task in self._sending), PATIENCE_SECONDS)
        await eventually(lambda: self._check() or not self._waiting, PATIENCE_SECONDS)
        fabric = await Fabric.open(self._server.nats_auth, name="tests")
        try:
            await eventually(lambda: self._is_empty(fabric), PATIENCE_SECONDS)
        finally:
            await fabric.close()
        found = violations(self.entries)
        print(story(self.entries, found) if found else f"{self.acks} events")  # noqa: T201 -- pytest shows it on failure
        return found

    def _plugins(self) -> list[Plugin]:
        return [self._plugin] if self._standby is None else [self._plugin, self._standby]

    async def _is_empty(self, fabric: Fabric) -> bool:
        info = await fabric.api("STREAM.NAMES", {})
        streams = [name for name in info["streams"] if name.startswith("EVT") or name == "DEAD"]
        assert len(streams) > 1, info
        return not any([await fabric.counts(name, ">") for name in streams])

    async def _send(self, sender: str) -> None:
        """Send one delivery after the other, each until it is accepted."""
        number = 0
        async with httpx.AsyncClient(timeout=20.0, trust_env=False) as http:
            while not self._stopping:
                number += 1
                delivery_id = f"{sender}-{number}"
                request = delivery(delivery_id=delivery_id)
                self._record(Sent(delivery_id))
                self._record(Accepted(delivery_id, await self._accepted(http, request)))
                # For as long as what is done to the flow lasts; that it goes on afterwards, `progress` demands.
                await eventually(lambda: self._stopping or len(self._waiting) < self.backlog, math.inf)

    async def _accepted(self, http: httpx.AsyncClient, request: dict) -> str:
        while True:
            try:
                answer = await http.post(self._url, **request)
            except httpx.TransportError:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if answer.is_success:
                return answer.json()["eventId"]
            assert answer.status_code == 503, answer.text
            assert answer.headers["retry-after"]
            await asyncio.sleep(RETRY_SECONDS)

    def _record(self, entry: Entry) -> None:
        self.entries.append(entry)
        match entry:
            case Accepted(name, _) if name not in self._done:
                self._waiting.add(name)
            case Shown(name, _, _):
                self._done.discard(name)
                self._waiting.add(name)
            case AckCalled(name):
                self._done.add(name)
                self._waiting.discard(name)
            case AckAnswered():
                self.acks += 1

    def _check(self) -> None:
        """Fail at once, not after a deadline, when something in the flow broke."""
        for plugin in self._plugins():
            plugin.check()
        for task in self._sending:
            if task.done():
                task.result()
