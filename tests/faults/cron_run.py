"""
Crons at work on three servers with one NATS: who makes them, the sessions that ack their events, and what is killed.

The servers and NATS are real processes. Everything seen goes into one ledger, from one event loop, in the order seen;
what was skipped is read from the history at the end. Who does what is drawn from one seed, each actor with dice of its
own. Most crons are due once, some seconds after they were made, since others are due once a minute at most.
"""

import asyncio
import itertools
import json
import random
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from websockets.exceptions import WebSocketException

from clawback.crons.firing import Crons
from clawback.fabric.streams import Fabric
from clawback.model import Cron, EventState, Missed, new_id
from clawback.store.events import EventStore
from clawback.store.history import History
from clawback.store.ledger import Ledger
from clawback.store.registry import Registry
from faults.cron_ledger import Confirmed, Entry, Given, Killed, Made, Skipped, Wanted, story, unsettled
from houses import KEY
from legacy import LegacyClient, open_socket
from natsd import Natsd
from processes import Server
from waiting import eventually

SERVERS = 3
TAGS = [f"t{number}" for number in range(8)]

MAKERS = 3
PAUSE_SECONDS = 0.15
"""Between two crons of a maker, on average."""

SOON_SECONDS = (2, 6)
"""In how many seconds a cron is due: long enough that it is made by then, short enough that a run ends soon."""

BEATS = 12
"""Crons that are due each minute."""

LATE = "late-"
"""How the names of crons begin that have missed runs when the run begins."""

AWAY = timedelta(minutes=30)
"""For how long, as it seems, no server was up before the run: what the crons of each policy have missed."""

RETRY_SECONDS = 0.05
PATIENCE_SECONDS = 60.0
"""For things to go on after a kill; seconds on an idle machine."""

MINUTE = timedelta(minutes=1)

_ONE = re.compile(r"due at (\S+), ")
_MANY = re.compile(r"(\d+) runs that were due from (\S+) to (\S+), ")


LOST = (OSError, WebSocketException, TimeoutError)
"""What a connection to a server that was killed ends with."""


class Asker:
    """Somebody who asks servers for things, over a connection that may die; then through another server."""

    def __init__(self, servers: list[Server], token: str, name: str, dice: random.Random) -> None:
        self._servers = servers
        self._token = token
        self._name = name
        self._dice = dice
        self._client: LegacyClient | None = None

    async def ask(self, kind: str, **fields: Any) -> Any:
        """Ask for something; None where no answer came, or none that says that it was done."""
        try:
            if self._client is None:
                client = LegacyClient(self._dice.choice(self._servers).socket_url, self._token, self._name)
                self._client = await client.__aenter__()
            return (await self._client.ask(kind, **fields))["data"]
        except LOST:
            self._client = None
            return None

    async def surely(self, kind: str, **fields: Any) -> Any:
        """Ask for something until it is done, for which it must be harmless to repeat."""
        return await eventually(lambda: self.ask(kind, **fields), PATIENCE_SECONDS)

    async def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            await self._client.__aexit__()


class Run:
    """`async with Run(…) as run:` kill what is to be killed, then `finish`; `entries` is the ledger."""

    def __init__(self, natsd: Natsd, fabric: Fabric, home: Path, token: str, seed: str) -> None:
        self.entries: list[Entry] = []
        self.natsd = natsd
        self.servers = [Server(home / f"server{number}") for number in range(SERVERS)]
        self.made = 0
        self._fabric = fabric
        self._token = token
        self._seed = seed
        self._profile_id = ""
        # The crons that are due each minute, by name: their ids, and when they were due first.
        self._beating: dict[str, tuple[str, datetime]] = {}
        self._stopping = False
        self._stack = AsyncExitStack()
        self._making: list[asyncio.Task[None]] = []
        self._working: list[asyncio.Task[None]] = []

    def dice(self, actor: str) -> random.Random:
        """Make the dice of one actor."""
        return random.Random(f"{self._seed} {actor}")  # noqa: S311 -- to be repeated, not to be secret

    async def __aenter__(self) -> Self:
        try:
            await self._begin()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def _begin(self) -> None:
        for server in self.servers:
            self._stack.callback(server.close)
        await asyncio.gather(*(self.start(server) for server in self.servers))
        self._working = [asyncio.create_task(self._work(tag), name=f"session {tag}") for tag in TAGS]
        await self._make_beats()
        await self._make_late()
        self._making = [asyncio.create_task(self._make(number), name=f"maker {number}") for number in range(MAKERS)]

    async def __aexit__(self, *error: object) -> None:
        tasks = [*self._making, *self._working]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._stack.__aexit__(*error)

    # --- what can be done to it -----------------------------------------------------------------------------------

    async def start(self, server: Server) -> None:
        """Start a server, and wait until it is ready."""
        await asyncio.to_thread(server.start, "--nats-url", self.natsd.auth.url, CLAWBACK_MASTER_KEY=KEY)

    async def kill(self, server: Server) -> None:
        """Kill a server without a warning."""
        self.entries.append(Killed("server"))
        await asyncio.to_thread(server.kill9)

    async def kill_nats(self) -> None:
        """Kill NATS without a warning."""
        self.entries.append(Killed("nats"))
        await asyncio.to_thread(self.natsd.kill9)

    async def start_nats(self) -> None:
        """Start NATS, and wait until it answers."""
        await asyncio.to_thread(self.natsd.start)

    async def progress(self, crons: int = 1) -> None:
        """Wait until some more crons were made."""
        before = self.made
        await eventually(lambda: self._check() or self.made >= before + crons, PATIENCE_SECONDS)

    async def finish(self) -> None:
        """Make no more, and wait until all that was due has run and ended, or was skipped, and no stream has more."""
        self._stopping = True
        await eventually(lambda: self._check() or all(task.done() for task in self._making), PATIENCE_SECONDS)
        await self._end_beats()
        self.entries += await self._skipped()
        await eventually(lambda: self._check() or not unsettled(self.entries), PATIENCE_SECONDS)
        await eventually(self._is_empty, PATIENCE_SECONDS)

    def story(self, found: list[str]) -> str:
        """Tell what the ledger has of violations, or of whatever has not run yet."""
        return story(self.entries, found or unsettled(self.entries))

    def _check(self) -> None:
        """Fail at once, not after a deadline, when something in the run broke."""
        for task in [*self._making, *self._working]:
            if task.done():
                task.result()

    async def _is_empty(self) -> bool:
        names = (await self._fabric.api("STREAM.NAMES", {}))["streams"]
        streams = [name for name in names if name.startswith("EVT") or name in ("DEAD", "LATER")]
        assert len(streams) > 2, names
        return not any([await self._fabric.counts(name, ">") for name in streams])

    # --- crons ----------------------------------------------------------------------------------------------------

    def _asker(self, name: str) -> Asker:
        return Asker(self.servers, self._token, name, self.dice(f"asker {name}"))

    async def _make(self, number: int) -> None:
        """Make crons that are due once, each through a server that is there; an answer that is lost stays lost."""
        dice, asker = self.dice(f"maker {number}"), self._asker(f"maker{number}")
        for count in itertools.count():
            name = f"once{number}.{count}"
            pause, tag, wait = dice.expovariate(1 / PAUSE_SECONDS), dice.choice(TAGS), dice.randint(*SOON_SECONDS)
            if self._stopping:
                break
            await asyncio.sleep(pause)
            due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=wait)
            self.entries.append(Wanted(name, due))
            fields = {"prompt": "Tidy up.", "label": name, "once": due.isoformat(), "sessionTag": tag}
            if await asker.ask("cron_create", **fields) is not None:
                self.entries.append(Made(name, due))
                self.made += 1
        await asker.close()

    async def _make_beats(self) -> None:
        """Make the crons that are due each minute, before anything is killed."""
        asker = self._asker("beats")
        for number in range(BEATS):
            fields = {"prompt": "Tidy up.", "label": f"beat{number}", "sessionTag": TAGS[number % len(TAGS)]}
            made = await asker.ask("cron_create", schedule="* * * * *", **fields)
            self._beating[f"beat{number}"] = made["id"], datetime.fromisoformat(made["nextRunAt"])
        self._profile_id = (await asker.ask("account_info"))["profileId"]
        await asker.close()

    async def _make_late(self) -> None:
        """Make crons, one for each policy, that have been due each minute while no server was up, as it seems."""
        registry = await Registry.open(self._fabric)
        events = EventStore(self._fabric, Ledger(self._fabric), registry.install.shards)
        crons = Crons(self._fabric, registry, events, History(self._fabric))
        since = datetime.now(UTC).replace(second=0, microsecond=0) - AWAY
        for tag, missed in zip(TAGS, Missed, strict=False):
            cron = Cron(
                id=new_id("crn"),
                profile_id=self._profile_id,
                created_at=since,
                since=since,
                prompt="Tidy up.",
                timezone="UTC",
                schedule="* * * * *",
                label=f"{LATE}{missed}",
                tag=tag,
                missed=missed,
            )
            self._beating[cron.label] = cron.id, since + MINUTE
            await crons.create(cron)

    async def _end_beats(self) -> None:
        """Pause the crons that are due each minute, and note when they were due until then."""
        asker = self._asker("beats")
        for name, (cron_id, first) in self._beating.items():
            asked = datetime.now(UTC)
            await asker.surely("cron_pause", cronId=cron_id)
            for due in _minutes(first, datetime.now(UTC)):
                # While it was being paused it may have been due or not.
                self.entries.append(Made(name, due) if due <= asked else Wanted(name, due))
        await asker.close()

    async def _skipped(self) -> list[Entry]:
        names = {cron_id: name for name, (cron_id, _) in self._beating.items()}
        records = await History(self._fabric).newest(self._profile_id, limit=1000, states={EventState.SKIPPED})
        return [
            Skipped(names[record.path], due, record.reason) for record in records for due in _read_span(record.summary)
        ]

    # --- sessions -------------------------------------------------------------------------------------------------

    async def _work(self, tag: str) -> None:
        """Be the session of a tag, which acks at once; through whichever server is there, for ever."""
        dice = self.dice(f"session {tag}")
        unconfirmed: list[str] = []
        while True:
            with suppress(*LOST):
                await self._attend(tag, dice.choice(self.servers), unconfirmed)
            await asyncio.sleep(RETRY_SECONDS)

    async def _attend(self, tag: str, server: Server, unconfirmed: list[str]) -> None:
        """Take events over one connection, until it ends. What was acked and not confirmed is handed in first."""
        acked = [{"eventId": event_id, "summary": "done"} for event_id in unconfirmed]
        auth = {"type": "auth", "token": self._token, "sessionTag": tag, "instanceId": f"session-{tag}", "acked": acked}
        async with await open_socket(server.socket_url) as socket:
            await socket.send(json.dumps(auth))
            async for text in socket:
                match json.loads(text):
                    case {"type": "ping"}:
                        await socket.send(json.dumps({"type": "pong"}))
                    case {"type": "auth_ok"}:
                        self._confirm(unconfirmed, [each["eventId"] for each in acked])
                    case {"type": "event", "id": event_id, "meta": meta}:
                        due = datetime.fromisoformat(meta["scheduledAt"])
                        given = Given(meta["label"], due, event_id, int(meta["attempt"]), datetime.now(UTC))
                        self.entries.append(given)
                        unconfirmed.append(event_id)
                        ack = {"type": "ack", "eventId": event_id, "summary": "done", "requestId": event_id}
                        await socket.send(json.dumps(ack))
                    case {"type": "response", "error": _}:
                        return  # NATS was killed: once there is a server again, it is handed in
                    case {"type": "response", "requestId": event_id}:
                        self._confirm(unconfirmed, [event_id])

    def _confirm(self, unconfirmed: list[str], event_ids: list[str]) -> None:
        for event_id in event_ids:
            unconfirmed.remove(event_id)
            self.entries.append(Confirmed(event_id))


def _minutes(first: datetime, last: datetime) -> Iterator[datetime]:
    while first <= last:
        yield first
        first += MINUTE


def _read_span(summary: str) -> list[datetime]:
    """Read which instants a record of the history has as skipped."""
    if many := _MANY.match(summary):
        found = list(_minutes(datetime.fromisoformat(many[2]), datetime.fromisoformat(many[3])))
        assert len(found) == int(many[1]), summary
        return found
    one = _ONE.match(summary)
    assert one is not None, summary
    return [datetime.fromisoformat(one[1])]
