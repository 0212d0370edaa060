"""
A whole bridge, running: many sessions with several tags, two servers on one NATS, senders, and what is done to them.

The servers and NATS are real processes. A session is the plugin without its MCP end: its own queue, journal and
connection (`Delivery` and `Remote`), in this process, and a Claude that thinks a little and acks. So everything seen
goes into one ledger, from one event loop, in the order seen.

Who does what is drawn from one seed: each actor has dice of its own, so that its choices do not hang on the order in
which actors come to draw.
"""

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx

from cable import Cable
from clawback import wire
from clawback.channel.claude import fence
from clawback.channel.claude.reach import Reach
from clawback.channel.delivery import Delivery
from clawback.channel.remote import Connection, Remote, Timing
from clawback.channel.settings import PluginConfig
from clawback.errors import Rejected, Unavailable
from clawback.fabric.streams import Fabric
from clawback.model import Priority
from faults.bridge_ledger import (
    Accepted,
    AckCalled,
    At,
    Confirmed,
    Entry,
    Given,
    Gone,
    Joined,
    Killed,
    LetGo,
    Role,
    Sent,
    Shown,
    story,
)
from github import delivery, make_source
from houses import KEY
from legacy import LegacyClient
from natsd import Natsd
from processes import Server
from waiting import eventually

PLACES = (1, 2, 3) * 5
"""How many sessions each tag has: thirty in all, of which one for each tag is active."""

BACKLOG = 8
"""Deliveries that may wait for a tag: enough that priorities matter, few enough that a run ends soon."""

PAUSE_SECONDS = 0.1
"""Between two deliveries of a sender, on average."""

THINK_SECONDS = 0.05
"""What Claude takes for an event at most."""

DREAM_SECONDS = 0.8
"""The same for one in twenty: long enough for interrupts to nest."""

WISHES = 0.04
"""How often Claude acks an event only once an interrupt has come: one that waited for the ack would never come."""

OBEDIENCE = 0.7
"""How often Claude leaves an event that another session took over; else it acks it late."""

RETRY_SECONDS = 0.05
"""Between two tries of a sender. Real ones wait longer."""

AWAY_SECONDS = 0.4
"""How long a place is empty, at most, when its session has ended."""

PATIENCE_SECONDS = 60.0
"""For things to go on after a kill; seconds on an idle machine."""

MAX_LOSSES = 3
"""Sessions of a tag that may die in a row: at five, one event among what they held would be a dead letter."""

TIMING = Timing(backoff_first=0.05, backoff_most=0.5)
"""Real plugins wait longer between two tries to connect."""

PRIORITIES = {Priority.NORMAL: 0.7, Priority.PRIORITY: 0.18, Priority.INTERRUPT: 0.12}


class Tag:
    """A tag of the run: its sources, its sender, and what is known of it now."""

    def __init__(self, name: str, token: str, dice: random.Random) -> None:
        self.name = name
        self.token = token
        self.dice = dice
        self.paths: dict[Priority, str] = {}
        # Who wants an interrupt, and the deliveries by which they get one.
        self.wishes: list[Session] = []
        self.granted: dict[str, Session] = {}
        # What is accepted or given and not acked, and what is acked: an answer to a sender may come after that.
        self.waiting: set[str] = set()
        self.done: set[str] = set()
        self.losses = 0


class Session(Delivery):
    """A process of the plugin, in a place of its tag, with a Claude; from `start` until `kill` or `leave`."""

    def __init__(self, name: str, tag: Tag, config: PluginConfig, bridge: "Bridge", dice: random.Random) -> None:
        super().__init__(
            tag.name, name, Reach(self._shown, {}, 0), lambda _summary, _about: None, lambda _config: False
        )
        self.name = name
        self.tag = tag
        self.config = config
        self.remote = Remote(lambda: config, lambda: Path(config.data_dir), self, TIMING)
        self._bridge = bridge
        self._dice = dice
        self._deliveries: dict[str, str] = {}
        self._open: list[str] = []
        self._news: asyncio.Queue[str | None] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Connect, and act on what comes."""
        parts = (("remote", self.remote.run()), ("emissions", self.run()), ("claude", self._play()))
        self._tasks = [asyncio.create_task(part, name=f"{name} of {self.name}") for name, part in parts]

    @property
    def idle(self) -> bool:
        """Whether it holds nothing, and has no ack that was not confirmed."""
        return not self.held and not self._acks.unconfirmed

    def check(self) -> None:
        """Fail if a part of it has ended by itself."""
        for task in self._tasks:
            assert not task.done(), f"{task.get_name()} ended: {task.cancelled() or task.exception()}"

    def poke(self) -> None:
        """Tell Claude that what it waited for has come."""
        self._news.put_nowait(None)

    def cut(self) -> None:
        """End its connection without a goodbye; the process lives."""
        if self.remote._socket is not None:
            self.remote._socket.transport.abort()

    async def kill(self) -> None:
        """End it as kill -9 does: what is on its disk stays, and nobody is told."""
        self.cut()
        await self._end()

    async def leave(self) -> None:
        """End it in good order, with a goodbye."""
        await self.remote.close()
        await self._end()

    async def take_over(self) -> None:
        """Ask for its tag; that it is refused, or not known to have happened, is nothing special in a run like this."""
        try:
            await self.remote.ask(wire.SessionTakeover(request_id=""))
        except (Rejected, Unavailable) as error:
            logging.getLogger("tests").debug("%s did not take over: %s", self.name, error)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self.close()
        self._bridge.record(Gone(self.name))

    async def _play(self) -> None:
        """Be Claude: work on what was shown last, ack it, and go on with what is shown then."""
        active: str | None = None
        think: float | None = None
        while True:
            try:
                async with asyncio.timeout(think):
                    news = await self._news.get()
            except TimeoutError:
                # Now and then Claude remembers that it had finished something else.
                other = self._open[0] if len(self._open) > 1 and self._dice.random() < 0.1 else None
                for event_id in (other, active):
                    if event_id in self._open:
                        self._ack(event_id)
                active, think = None, None
                continue
            if news is not None:
                active = news
            think = self._dice.uniform(0, DREAM_SECONDS if self._dice.random() < 0.05 else THINK_SECONDS)
            if news is not None and self._dice.random() < WISHES and self._bridge.wish(self, news):
                think = None

    def _ack(self, event_id: str) -> None:
        self._open.remove(event_id)
        self._bridge.record(AckCalled(self.name, self._deliveries[event_id]))
        answer = self.acknowledge(event_id, "done")
        assert not answer.refused, answer.text

    async def _shown(self, emission: fence.Emission) -> None:
        meta = emission.meta
        if "reminder" in meta:
            return
        if "moved" in meta:
            # Claude leaves what it worked on, or has finished it already and says so late.
            if self._dice.random() < OBEDIENCE:
                self._open.clear()
            return
        event_id = meta["event_id"]
        self._bridge.record(Shown(self.name, meta["deliveryId"], resumed="resumed" in meta))
        if event_id not in self._open:
            self._open.append(event_id)
        self._news.put_nowait(event_id)

    # --- remote.Listener, with the ledger beside it ---------------------------------------------------------------

    def introduce(self, config: PluginConfig) -> wire.Auth:
        """Note what it says it holds."""
        holds = tuple(self._deliveries[event_id] for event_id in self.held)
        self._bridge.record(Joined(self.name, self.tag.name, holds))
        return super().introduce(config)

    def opened(self, connection: Connection, auth: wire.Auth, welcome: wire.AuthOk) -> None:
        """Note its role."""
        self._note_role(welcome.role)
        super().opened(connection, auth, welcome)

    def received(self, message: wire.ServerMessage) -> None:
        """Note what it is given."""
        match message:
            case wire.EventFrame(id=event_id, meta=meta):
                self._deliveries[event_id] = meta["deliveryId"]
                self._bridge.record(Given(self.name, meta["deliveryId"], event_id, int(meta["attempt"])))
            case wire.TimedOut(event_id):
                self._bridge.record(LetGo(self.name, self._deliveries[event_id]))
            case wire.Role(role):
                self._note_role(role)
        super().received(message)

    def _note_role(self, role: str) -> None:
        """Note a role; whoever stands by leaves what it holds, also where it is told so when it comes back."""
        self._bridge.record(Role(self.name, self.tag.name, role))
        if role == "standby":
            for event_id in reversed(self.held):
                self._bridge.record(LetGo(self.name, self._deliveries[event_id]))

    def _ack_confirmed(self, event_id: str) -> None:
        self._bridge.record(Confirmed(self.name, self._bridge.name_of(event_id)))
        super()._ack_confirmed(event_id)


class Bridge:
    """
    `async with Bridge(…) as bridge:` do things to it, await `progress`, then `finish`; `moments` is the ledger.

    `natsd` may be a cluster, which keeps so many `replicas`.
    """

    def __init__(self, natsd: Natsd, home: Path, tokens: list[str], seed: str, *, replicas: int = 1) -> None:
        self.moments: list[At] = []
        self.natsd = natsd
        self.servers = [Server(home / f"server{number}", nats=natsd, replicas=replicas) for number in range(2)]
        self._home = home
        self._seed = seed
        self.tags = {
            f"t{number:02}": Tag(f"t{number:02}", tokens[number % len(tokens)], self.dice(f"sender {number}"))
            for number in range(len(PLACES))
        }
        self.places: dict[str, Session | None] = {
            f"{tag}.{place}": None for tag, places in zip(self.tags, PLACES, strict=True) for place in range(places)
        }
        self.acks = 0
        self._numbers = itertools.count(1)
        self._names: dict[str, str] = {}
        self._stopping = False
        self._began = time.monotonic()
        self._stack = AsyncExitStack()
        self._sending: list[asyncio.Task[None]] = []
        self._errands: set[asyncio.Task[None]] = set()

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
        await asyncio.gather(*(self.start_server(server) for server in self.servers))
        self._front = await self._stack.enter_async_context(Cable(*(server.port for server in self.servers)))
        await asyncio.gather(*(self._make_sources(tag) for tag in self.tags.values()))
        for place in self.places:
            self.fill(place)
        self._sending = [
            asyncio.create_task(self._send(tag), name=f"sender of {tag.name}") for tag in self.tags.values()
        ]

    async def __aexit__(self, *error: object) -> None:
        for task in [*self._sending, *self._errands]:
            task.cancel()
        await asyncio.gather(*self._sending, *self._errands, return_exceptions=True)
        for session in self.sessions():
            await session.kill()
        await self._stack.__aexit__(*error)

    def sessions(self) -> Iterator[Session]:
        """Name the sessions that run."""
        return (session for session in self.places.values() if session is not None)

    # --- what can be done to it -----------------------------------------------------------------------------------

    async def start_server(self, server: Server) -> None:
        """Start a server, and wait until it is ready."""
        await asyncio.to_thread(server.start, CLAWBACK_MASTER_KEY=KEY)

    async def stop_server(self, server: Server) -> None:
        """Stop a server in good order."""
        self.record(Killed("server"))
        await asyncio.to_thread(server.stop)

    async def kill_server(self, server: Server) -> None:
        """Kill a server without a warning."""
        self.record(Killed("server"))
        await asyncio.to_thread(server.kill9)

    async def kill_nats(self) -> None:
        """Kill NATS without a warning."""
        self.record(Killed("nats"))
        await asyncio.to_thread(self.natsd.kill9)

    async def start_nats(self) -> None:
        """Start NATS, and wait until it answers."""
        await asyncio.to_thread(self.natsd.start)

    def fill(self, place: str) -> None:
        """Start a new session in a place that is empty."""
        tag = self.tags[place.split(".", maxsplit=1)[0]]
        name = f"{place}-{next(self._numbers)}"
        config = PluginConfig(f"ws://127.0.0.1:{self._front.port}/ws", tag.token, data_dir=str(self._home / "plugins"))
        session = self.places[place] = Session(name, tag, config, self, self.dice(name))
        session.start()

    def move(self, place: str, how: str, away: float) -> None:
        """Do something to the session of a place, if there is one: `kill`, `leave`, `cut`, or `take_over`."""
        session = self.places[place]
        if session is None:
            return
        tag = session.tag
        if how in ("kill", "cut"):
            tag.losses += 1
            how = "leave" if tag.losses > MAX_LOSSES else how
        if how == "cut":
            session.cut()
            return
        if how == "take_over":
            self._run_errand(session.take_over(), f"takeover by {session.name}")
            return
        self.places[place] = None
        self._run_errand(self._replace(place, session, how, away), f"{how} of {session.name}")

    async def _replace(self, place: str, session: Session, how: str, away: float) -> None:
        await (session.kill() if how == "kill" else session.leave())
        await asyncio.sleep(away)
        self.fill(place)

    def _run_errand(self, errand, name: str) -> None:
        task = asyncio.create_task(errand, name=name)
        self._errands.add(task)

    def wish(self, session: Session, event_id: str) -> bool:
        """Have an interrupt sent to a session that works on an event; whether there will be one."""
        is_interrupt = self.name_of(event_id).endswith(Priority.INTERRUPT)
        if self._stopping or is_interrupt or session.tag.wishes or session.tag.granted:
            return False
        session.tag.wishes.append(session)
        return True

    # --- how it goes ----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Fail at once, not after a deadline, when something in the run broke."""
        for session in self.sessions():
            session.check()
        for task in self._sending:
            if task.done():
                task.result()
        for task in [task for task in self._errands if task.done()]:
            self._errands.discard(task)
            task.result()

    async def progress(self) -> None:
        """Wait until some more events were acked."""
        before = self.acks
        await eventually(lambda: self.check() or self.acks > before + len(self.tags), PATIENCE_SECONDS)

    async def finish(self, fabric: Fabric) -> None:
        """Send no more, and wait until all that was accepted has ended, nobody holds anything and no stream does."""
        self._stopping = True
        left: list[Callable[[], list[str]]] = [
            lambda: [task.get_name() for task in self._sending if not task.done()],
            lambda: [task.get_name() for task in self._errands],
            lambda: [name for tag in self.tags.values() for name in tag.waiting],
            lambda: [f"{session.name} holds {session.held}" for session in self.sessions() if not session.idle],
        ]
        for what in left:
            await eventually(lambda: self.check() or not what(), PATIENCE_SECONDS)  # noqa: B023 -- used at once
        await eventually(lambda: self._is_empty(fabric), PATIENCE_SECONDS)

    def story(self, found: Iterable[str]) -> str:
        """Tell what the ledger has of violations, or of whatever is still waiting."""
        return story(self.moments, [*found, *(name for tag in self.tags.values() for name in tag.waiting)])

    async def _is_empty(self, fabric: Fabric) -> bool:
        names = (await fabric.api("STREAM.NAMES", {}))["streams"]
        streams = [name for name in names if name.startswith("EVT") or name in ("DEAD", "LATER")]
        assert len(streams) > 2, names
        return not any([await fabric.counts(name, ">") for name in streams])

    def record(self, entry: Entry) -> None:
        """Write an entry into the ledger."""
        self.moments.append(At(time.monotonic() - self._began, entry))
        match entry:
            case Accepted(name, event_id):
                tag = self._tag_of(name)
                self._names[event_id] = name
                if name not in tag.done:
                    tag.waiting.add(name)
            case Given(_, name, event_id, _):
                tag = self._tag_of(name)
                self._names[event_id] = name
                tag.done.discard(name)
                tag.waiting.add(name)
                if not name.endswith(Priority.INTERRUPT):
                    tag.losses = 0
                if (session := tag.granted.pop(name, None)) is not None:
                    session.poke()
            case AckCalled(_, name) | Confirmed(_, name):
                tag = self._tag_of(name)
                tag.done.add(name)
                tag.waiting.discard(name)
                self.acks += isinstance(entry, Confirmed)

    def name_of(self, event_id: str) -> str:
        """Return the delivery that an event is."""
        return self._names[event_id]

    def _tag_of(self, name: str) -> Tag:
        return self.tags[name.split("/", maxsplit=1)[0]]

    # --- senders --------------------------------------------------------------------------------------------------

    async def _make_sources(self, tag: Tag) -> None:
        async with LegacyClient(self.servers[0].socket_url, tag.token, tag.name) as client:
            for priority in Priority:
                url = await make_source(client, f"{tag.name}-{priority}", skill="/review", priority=priority)
                tag.paths[priority] = urlsplit(url).path

    async def _send(self, tag: Tag) -> None:
        """Send one delivery after the other, each until it is accepted; interrupts that are wished for come first."""
        async with httpx.AsyncClient(timeout=20.0, trust_env=False) as http:
            for number in itertools.count(1):
                await eventually(
                    lambda: self._stopping or tag.wishes or len(tag.waiting) < BACKLOG, PATIENCE_SECONDS * 2
                )
                if self._stopping and not tag.wishes:
                    return
                priority = tag.dice.choices([*PRIORITIES], [*PRIORITIES.values()])[0]
                wished = tag.wishes.pop() if tag.wishes else None
                if wished is not None:
                    priority = Priority.INTERRUPT
                name = f"{tag.name}/{number}-{priority}"
                if wished is not None:
                    tag.granted[name] = wished
                self.record(Sent(name, tag.name, priority))
                # One in ten is sent to both servers at once, and is one event all the same.
                servers = tag.dice.sample(self.servers, 2)
                together = servers if tag.dice.random() < 0.1 else servers[:1]
                answers = [self._accepted(http, tag.paths[priority], name, server) for server in together]
                event_ids = set(await asyncio.gather(*answers))
                assert len(event_ids) == 1, f"{name} is several events: {event_ids}"
                self.record(Accepted(name, event_ids.pop()))
                await asyncio.sleep(tag.dice.expovariate(1 / PAUSE_SECONDS))

    async def _accepted(self, http: httpx.AsyncClient, path: str, name: str, first: Server) -> str:
        request = delivery(body=b"{}", delivery_id=name)
        servers = itertools.cycle([first, *(server for server in self.servers if server is not first)])
        for server in servers:
            try:
                answer = await http.post(server.url + path, **request)
            except httpx.TransportError:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if answer.is_success:
                return answer.json()["eventId"]
            assert answer.status_code == 503, answer.text
            await asyncio.sleep(RETRY_SECONDS)
        raise AssertionError("servers are tried for ever")
