"""
Presence: which connection serves each session, on which server.

The holder of a session's lease is active; other connections of the same address stand by, look every second, and take
over when the lease is free. The first to come keeps it, because its Claude has the context. Three ways lead past a
lease that somebody holds: its server answers nothing on its control subject for longer than it would need to come back
to NATS (gone), the server's ping brings no pong from the holder (gone), or the newcomer is the same plugin process that
reconnected (replaced at once).

A restarted NATS has forgotten the leases. The stack says who served the session then, and its server is asked as if the
lease were there. A lease is no proof of anything: what keeps two from serving is the stack (store/stacks.py).

A fourth is to ask for it: the holder's server stops giving it events, then writes the lease in the name of the
connection that asked, which finds it there and begins. So there are never two that serve, and whoever dies on the way
leaves a lease that others find to be a dead connection's.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import Struct, field

from clawback.errors import Conflict, NotFound, Unavailable
from clawback.fabric import subjects
from clawback.fabric.jetstream import CoreMessage
from clawback.fabric.streams import Fabric
from clawback.model import Address, Lease, encode_json, random_id
from clawback.store.leases import RENEW_SECONDS, Entry, Leases
from clawback.store.stacks import Stacks
from clawback.system.waits import Signal
from clawback.wire import CLOSE_REPLACED, CLOSE_UNAUTHORIZED

PROBE_SECONDS = 5.0
"""How long the holder of a session has to answer a ping when another client of its tag connects."""

STANDBY_SECONDS = 1.0
"""How often a standby looks whether the session is free."""

RENEWALS_AT_ONCE = 8
"""Leases that a server renews at a time: 10,000 take some seconds then, and nothing else waits long for its turn."""

GONE_SECONDS = 3.0
"""
How long nobody listens for a server before it counts as gone: one that lost NATS and can reach it again is back within
two. A server that is frozen is listening; it counts as gone when it is silent for `2 * PROBE_SECONDS`.
"""

FINDING_ATTEMPTS = 5
"""How often a connection looks for the lease that it was given; another may be given it first."""

log = logging.getLogger("clawback.sessions")

T = TypeVar("T")


class Connection(Protocol):
    """What presence needs of a connection; sessions/socket.py has it."""

    id: str
    address: Address
    instance_id: str | None
    messaging: bool
    connected_at: datetime
    ended: Signal
    left: Signal

    async def probe(self, within: float) -> bool:
        """Ping the client; whether it answered in time. One that did not has left."""

    async def close(self, code: int, reason: str) -> None:
        """Close the socket."""


_Kind = Literal["dismiss", "serves", "answers", "replace", "yield"]


class _Question(Struct, frozen=True):
    """
    What one server asks another about a connection.

    Does it serve, does it answer a ping, close it, close it for its owner (`dismiss`); or let it stand by, and give its
    lease to the `heir`.
    """

    kind: _Kind
    connection_id: str
    heir: Lease | None = None


class _Place(Struct, eq=False):
    """A connection's place in its session: `look` has a standby look at the lease now, `active` is set for a holder."""

    connection: Connection
    look: Signal = field(default_factory=Signal)
    active: Signal = field(default_factory=Signal)


class _Holding(Struct, eq=False):
    """A lease of this server's. `heir` is who gets it next, `given_up` is set once it is not held any more."""

    place: _Place
    lease: Lease
    revision: int
    lose: Callable[[], None]
    heir: Lease | None = None
    given_up: Signal = field(default_factory=Signal)
    # A renewal that is under way when the lease is given up would write it anew.
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def connection(self) -> Connection:
        return self.place.connection


class _Missing(NamedTuple):
    """That nobody listens for a server: on which connection to NATS, since when, and when that was seen last."""

    generation: int
    since: float
    seen_at: float


class Presence:
    """This server's connections and the leases they hold. `open` before use, then keep `renew` running."""

    def __init__(self, fabric: Fabric, leases: Leases, stacks: Stacks) -> None:
        self.server_id = random_id()
        self._fabric = fabric
        self._leases = leases
        self._stacks = stacks
        self._places: dict[str, _Place] = {}
        self._held: dict[Address, _Holding] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # Servers for whom nobody listened: since when, and when that was seen last; on which connection to NATS.
        self._missing: dict[str, _Missing] = {}

    async def open(self) -> None:
        """Answer other servers' questions about this one's connections."""
        await self._fabric.subscribe(subjects.control_subject(self.server_id), self._asked)
        self._fabric.on_reconnect(self._renew_all)

    async def take(self, connection: Connection, lose: Callable[[], None]) -> bool:
        """
        Make a connection the active one of its session, unless another is; False means stand by.

        `lose` is called once if the lease is lost to another later.

        Raises:
            Unavailable: NATS did not answer.
        """
        self._places[connection.id] = _Place(connection)
        if connection.instance_id is not None:
            await self._replace_standbys(connection)
        entry = await self._leases.read(connection.address)
        claim = "answers" if entry is None else self._claim(connection, entry.lease)
        if await self._is_held(connection, entry, claim):
            return False
        return await self._uncut(self._seize(connection, lose, entry))

    async def wait_turn(self, connection: Connection, lose: Callable[[], None]) -> None:
        """Stand by until the connection is the active one; cancel it to give up."""
        lease = self._lease(connection)
        look = self._places[connection.id].look
        try:
            while True:
                look.clear()
                with contextlib.suppress(Unavailable):
                    await self._uncut(self._leases.stand_by(connection.address, lease))
                    entry = await self._leases.read(connection.address)
                    if not await self._is_held(connection, entry, "serves") and await self._uncut(
                        self._seize(connection, lose, entry)
                    ):
                        return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STANDBY_SECONDS):
                        await look.wait()
        finally:
            with contextlib.suppress(Unavailable):
                await self._leases.stand_down(connection.address, lease)

    async def take_over(self, connection_id: str) -> None:
        """
        Make a connection of this server, which stands by, the active one; nothing where it is.

        Returns once the former holder is given nothing any more and the session is this connection's.

        Raises:
            NotFound: the connection has ended.
            Conflict: another connection became the active one at the same moment.
            Unavailable: NATS did not answer, or the holder has not let go yet and will do so as soon as it can.
        """
        place = self._places.get(connection_id)
        if place is None:
            raise NotFound("only a connected session can be made the active one: connect, then ask again")
        if place.active.is_set():
            return
        address, lease = place.connection.address, self._lease(place.connection)
        entry = await self._leases.read(address)
        if entry is None or entry.lease.connection_id != connection_id:
            if await self._is_held(place.connection, entry, "yield", lease):
                raise Unavailable(
                    "the active session of this tag has not let go yet; this one follows by itself as soon as it has"
                )
            # Whoever is gone gave its lease to nobody, or released it on leaving; if it did give it, neither is done.
            if entry is None or await self._leases.replace(address, lease, entry.revision) is None:
                await self._leases.create(address, lease)
        for _ in range(FINDING_ATTEMPTS):
            entry = await self._leases.read(address)
            if entry is None or entry.lease.connection_id != connection_id:
                raise Conflict(
                    "another session of this tag became the active one at the same moment: look, and ask again"
                )
            place.look.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STANDBY_SECONDS):
                    await place.active.wait()
                    return
        raise Unavailable("NATS does not answer; this session becomes the active one when it does")

    async def stand_aside(self, connection: Connection) -> None:
        """Give the session to the connection that asked; call when this one is given nothing any more."""
        holding = self._held.get(connection.address)
        if holding is not None and holding.connection is connection:
            await self._give_up(holding)

    async def leave(self, connection: Connection) -> None:
        """Give up what a connection held, so that a standby can follow at once."""
        self._places.pop(connection.id, None)
        await self.stand_aside(connection)

    async def of_profile(self, profile_id: str) -> list[Entry]:
        """
        List a profile's connections on every server.

        Raises:
            Unavailable: NATS did not answer.
        """
        entries = await self._leases.of_profile(profile_id)
        # One that takes over is both for a moment: it is listed as what it is now.
        active = {entry.lease.connection_id for entry in entries if entry.active}
        return [entry for entry in entries if entry.active or entry.lease.connection_id not in active]

    async def dismiss(self, entry: Entry) -> None:
        """
        Close a connection for its owner, on whatever server it is, and wait until its session is free.

        Raises:
            Unavailable: it is we who are cut off from NATS.
        """
        await self._ask(None, entry.lease.server_id, entry.lease.connection_id, "dismiss")

    def active_here(self, profile_id: str) -> list[Connection]:
        """List the connections that serve sessions of a profile on this server."""
        return [
            holding.connection
            for address, holding in self._held.items()
            if address.profile_id == profile_id and not holding.connection.ended.is_set()
        ]

    async def renew(self) -> None:
        """Keep this server's leases alive, for as long as it runs."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            with contextlib.suppress(Unavailable):
                await self._renew_all()

    async def _renew_all(self) -> None:
        todo = iter(list(self._held.values()))

        async def work() -> None:
            for holding in todo:
                await self._renew(holding)

        # One after another, thousands would take longer than a lease lasts whenever NATS has other things to do.
        outcomes = await asyncio.gather(*(work() for _ in range(RENEWALS_AT_ONCE)), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _renew(self, holding: _Holding) -> None:
        address = holding.connection.address
        async with holding.writing:
            if self._held.get(address) is not holding:
                return
            revision = await self._renewed(holding)
            if revision is not None:
                holding.revision = revision
                return
            self._forget(holding)
        log.info("lost", extra={"action": "lease_lost", "profile": address.profile_id, "tag": address.tag})
        holding.lose()

    async def _give_up(self, holding: _Holding) -> None:
        """Give a lease to its heir, or to the first that comes."""
        address = holding.connection.address
        async with holding.writing:
            if self._held.get(address) is not holding:
                return
            try:
                # What is not known to be written is found by the others: they ask whether its connection serves.
                with contextlib.suppress(Unavailable):
                    if holding.heir is None:
                        await self._leases.release(address, holding.revision)
                    else:
                        await self._leases.replace(address, holding.heir, holding.revision)
            finally:
                self._forget(holding)

    def _forget(self, holding: _Holding) -> None:
        if self._held.get(holding.connection.address) is holding:
            del self._held[holding.connection.address]
        holding.place.active.clear()
        holding.given_up.set()

    async def _renewed(self, holding: _Holding) -> int | None:
        """Write a lease again; its new revision, or None when it is another's."""
        address = holding.connection.address
        # After a restart of NATS the bucket is empty; whoever served the session has the first right to it.
        revision = await self._leases.replace(address, holding.lease, holding.revision) or await self._leases.create(
            address, holding.lease
        )
        if revision is None:
            # It may be ours all the same, by a write that was stored without our being told.
            entry = await self._leases.read(address)
            if entry is not None and entry.lease.connection_id == holding.connection.id:
                return entry.revision
        return revision

    async def _seize(self, connection: Connection, lose: Callable[[], None], gone: Entry | None) -> bool:
        """Take a lease that is free, or that was left behind by a holder known to be gone."""
        lease = self._lease(connection)
        revision = await self._leases.create(connection.address, lease)
        if revision is None and gone is not None:
            revision = await self._leases.replace(connection.address, lease, gone.revision)
        if revision is None:
            return False
        place = self._places[connection.id]
        self._held[connection.address] = _Holding(place, lease, revision, lose)
        place.active.set()
        return True

    async def _uncut(self, write: Coroutine[Any, Any, T]) -> T:
        """Carry a write through even when its caller is cancelled, so that what follows knows what there is to undo."""
        task = asyncio.create_task(write)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.gather(task, return_exceptions=True)
            raise

    async def _replace_standbys(self, connection: Connection) -> None:
        """End what is left of this client's earlier connections; one that waits could take the session over, dead."""
        for entry in await self._leases.standbys(connection.address):
            if entry.lease.instance_id == connection.instance_id:
                await self._ask(connection, entry.lease.server_id, entry.lease.connection_id, "replace")

    def _claim(self, connection: Connection, lease: Lease) -> Literal["answers", "replace"]:
        same = connection.instance_id is not None and connection.instance_id == lease.instance_id
        return "replace" if same else "answers"

    async def _is_held(
        self, connection: Connection, entry: Entry | None, kind: _Kind, heir: Lease | None = None
    ) -> bool:
        """
        Say whether somebody else serves a session, or may do so: by its lease, or by its stack where there is no lease.

        Raises:
            Unavailable: NATS did not answer.
        """
        if entry is not None:
            return await self._ask(connection, entry.lease.server_id, entry.lease.connection_id, kind, heir)
        server_id, _, rest = (await self._stacks.read(connection.address)).holder.partition(".")
        if not server_id:
            return False
        # On this server's first connection NATS has forgotten nothing: whose lease is not there has left.
        forgotten = self._fabric.generation > 1
        return await self._ask(connection, server_id, rest.partition(".")[0], kind, heir, patient=forgotten)

    async def _ask(
        self,
        connection: Connection | None,
        server_id: str,
        connection_id: str,
        kind: _Kind,
        heir: Lease | None = None,
        *,
        patient: bool = True,
    ) -> bool:
        """
        Ask a server whether a connection is still there, on behalf of another one; True where that is not known yet.

        Raises:
            Unavailable: it is we who are cut off from NATS.
        """
        if connection is not None and connection_id == connection.id:
            # Its own, by a write that was stored without our being told, or that another made for it.
            return False
        question = _Question(kind, connection_id, heir)
        generation = self._fabric.generation
        try:
            answer = await self._fabric.request(
                subjects.control_subject(server_id), encode_json(question), timeout=PROBE_SECONDS * 2
            )
        except NotFound:
            # A client that comes back knows better than anybody that its former connection has ended.
            return kind != "replace" and patient and not self._is_gone(server_id)
        except Unavailable:
            if self._fabric.problem() is not None or self._fabric.generation != generation:
                raise
            # Silent for twice as long as its client may be: frozen or cut off. Back again, it finds its session gone.
            return False
        self._missing.pop(server_id, None)
        return answer == b"yes"

    def _is_gone(self, server_id: str) -> bool:
        """Note that nobody listens for a server, and say whether it has been so for GONE_SECONDS."""
        now, generation = asyncio.get_running_loop().time(), self._fabric.generation
        before = self._missing.get(server_id)
        is_new = before is None or before.generation != generation or now - before.seen_at > GONE_SECONDS
        since = now if before is None or is_new else before.since
        self._missing = {name: each for name, each in self._missing.items() if now - each.seen_at <= GONE_SECONDS}
        self._missing[server_id] = _Missing(generation, since, now)
        return now - since >= GONE_SECONDS

    def _asked(self, message: CoreMessage) -> None:
        task = asyncio.create_task(self._reply(message), name="presence reply")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reply(self, message: CoreMessage) -> None:
        question = msgspec.json.decode(message.data, type=_Question)
        place = self._places.get(question.connection_id)
        connection = None if place is None else place.connection
        there = connection is not None and not connection.ended.is_set()
        if connection is not None and there:
            if question.kind == "replace":
                await connection.close(CLOSE_REPLACED, "replaced by a new connection of the same instance")
                there = False
            elif question.kind == "dismiss":
                await connection.close(CLOSE_UNAUTHORIZED, "the owner closed this session")
                there = False
            elif question.kind == "answers":
                there = await connection.probe(PROBE_SECONDS)
            elif question.kind == "yield":
                there = not await self._yielded(connection, question.heir)
        if connection is not None and connection.ended.is_set():
            # Answer once the session is free, so that two never serve it; a stuck one loses its lease instead.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_SECONDS / 2):
                    await connection.left.wait()
        with contextlib.suppress(Unavailable):
            await self._fabric.send(message.reply, b"yes" if there else b"no")

    async def _yielded(self, connection: Connection, heir: Lease | None) -> bool:
        """Have a connection stand by, and say whether it does; the first to ask for its session is the heir."""
        holding = self._held.get(connection.address)
        if holding is None or holding.connection is not connection:
            return True
        holding.heir = holding.heir or heir
        holding.lose()
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await holding.given_up.wait()
        except TimeoutError:
            return False
        return True

    def _lease(self, connection: Connection) -> Lease:
        return Lease(
            server_id=self.server_id,
            connection_id=connection.id,
            connected_at=connection.connected_at,
            instance_id=connection.instance_id,
            messaging=connection.messaging,
        )
