"""
Messages between the sessions of a profile: to tags, connected or not, and to every session that is connected now.

A message is an event, with all that is promised of one; who sent it is set here and by nobody else. To tags it is
stored at once, for all of them or none. "Everybody" means whoever is connected, and only the servers know that: the
message goes to all of them on core NATS, and each stores it for the sessions it serves and answers with their tags. The
id of a copy follows from the message and the tag, so asking again stores nothing twice.
"""

import asyncio
import base64
import contextlib
import hashlib
import logging
import math
from collections.abc import Collection
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from clawback.errors import QueueFull, RateLimited, Unavailable
from clawback.fabric import subjects
from clawback.fabric.jetstream import CoreMessage
from clawback.fabric.streams import Fabric
from clawback.http.allowance import Allowance
from clawback.model import (
    API_NAME,
    UNTAGGED_NAME,
    Address,
    Event,
    Origin,
    Priority,
    Record,
    encode_json,
    new_id,
    random_id,
)
from clawback.sessions.presence import Presence
from clawback.store.events import EventStore
from clawback.telemetry.traceparent import parse_traceparent

if TYPE_CHECKING:
    from clawback.telemetry.tracing import Traces

PER_MINUTE = 20
"""
Messages of all sessions of a profile, and their orders for other sessions, unless the settings say otherwise.

Enough for a conversation, and two that answer each other for ever do little harm. By profile, since a session chooses
its tag itself, and as many as it likes.
"""

MINUTE = 60.0

PATIENCE_SECONDS = 5.0
"""How long a message to tags may take to be stored."""

COLLECT_SECONDS = 2.0
"""How long a message to everybody may take until all servers have answered."""

ASK_SECONDS = 0.5
"""How long one asking of them waits: a session that moves to another server just now is found by the next."""

STORE_SECONDS = 1.0
"""How long a server may take to store a copy for a session it serves."""

MAX_STORING = 16
"""Copies that a server stores at once."""

log = logging.getLogger("clawback.sessions")


class Outcome(Struct, frozen=True):
    """
    What became of a message: stored for so many connected and offline sessions.

    `unconfirmed` are connected sessions that it may or may not have reached, because their server did not answer.
    """

    sent: int
    queued: int
    unconfirmed: int = 0


class _Broadcast(Record, frozen=True):
    """A message to everybody, as servers hear it."""

    id: str
    sender: Address
    priority: Priority
    created_at: datetime
    content: str
    traceparent: str | None = None


class _Round:
    """The answers to one message to everybody."""

    def __init__(self) -> None:
        self.stored: set[str | None] = set()
        self._changed = asyncio.Event()

    def add(self, tags: Collection[str | None]) -> None:
        self.stored.update(tags)
        self._changed.set()

    async def covers(self, tags: Collection[str | None]) -> None:
        """Wait until it is stored for all of these."""
        while not self.stored.issuperset(tags):
            self._changed.clear()
            await self._changed.wait()


_decode_broadcast = msgspec.json.Decoder(_Broadcast).decode
_decode_tags = msgspec.json.Decoder(list[str | None]).decode


class Messages:
    """Sends messages of this server's sessions, and takes those to everybody for them. `open` before use."""

    def __init__(
        self,
        fabric: Fabric,
        events: EventStore,
        presence: Presence,
        traces: "Traces | None" = None,
        *,
        per_minute: int = PER_MINUTE,
    ) -> None:
        self._fabric = fabric
        self._events = events
        self._presence = presence
        self._traces = traces
        # By profile, and whether a person speaks: sessions that are busy keep nobody from speaking to them.
        self._allowance = Allowance[tuple[str, bool]](per_minute, per_minute / MINUTE) if per_minute else None
        self._inbox = fabric.inbox()
        self._rounds: dict[str, _Round] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen for messages to everybody, and for the answers to our own."""
        await self._fabric.subscribe(subjects.BROADCASTS, self._heard)
        await self._fabric.subscribe(f"{self._inbox}.*", self._answered)

    async def send(self, sender: Address, tags: Collection[str | None], content: str, priority: Priority) -> Outcome:
        """
        Store a message for sessions of the sender's profile, for each of these tags or for none.

        Raises:
            RateLimited: the sender's profile has sent too much in the last minute.
            QueueFull: too many messages of the sender wait for one of them.
            Unavailable: not known to be stored.
        """
        self.count(sender)
        entries = await self._presence.of_profile(sender.profile_id)
        connected = {entry.address.tag for entry in entries if entry.active}
        now = datetime.now(UTC)
        copies = {
            Address(sender.profile_id, tag): Event(
                new_id("evt"), Origin.SESSION, priority, now, sender=_name(sender), broadcast=False
            )
            for tag in tags
        }
        try:
            await self._events.store_together(
                copies, content.encode(), maker=subjects.message_maker(sender.tag), patience_s=PATIENCE_SECONDS
            )
        except QueueFull as error:
            raise QueueFull(
                "nothing was sent: too many messages of this session wait for one of the targets already"
            ) from error
        sent = len(connected.intersection(tags))
        return self._log(sender, Outcome(sent, len(copies) - sent))

    async def send_to_all(self, sender: Address, content: str, priority: Priority) -> Outcome:
        """
        Store a message for every session of the sender's profile that is connected now, but for the sender's own.

        Sessions that take no messages are left out.

        Raises:
            RateLimited: the sender's profile has sent too much in the last minute.
            Unavailable: NATS did not answer. Some may have it.
        """
        self.count(sender)
        with nullcontext() if self._traces is None else self._traces.broadcasting(sender) as span:
            trace = None if span is None else span.traceparent
            message = _Broadcast(random_id(), sender, priority, datetime.now(UTC), content, trace)
            return self._log(sender, await self._spread(message))

    async def _spread(self, message: _Broadcast) -> Outcome:
        """Ask all servers to store a message for their sessions, until they have or there is no more time."""
        sender = message.sender
        collected = self._rounds[message.id] = _Round()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + COLLECT_SECONDS
        try:
            expected = await self._listeners(sender)
            while not collected.stored >= expected and loop.time() < deadline:
                await self._fabric.send(
                    subjects.broadcast_subject(sender.profile_id),
                    encode_json(message),
                    reply=f"{self._inbox}.{message.id}",
                )
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ASK_SECONDS):
                        await collected.covers(expected)
                        break
                # Whoever has left meanwhile is not waited for.
                expected &= await self._listeners(sender)
        finally:
            del self._rounds[message.id]
        return Outcome(len(collected.stored), 0, len(expected - collected.stored))

    def count(self, sender: Address) -> None:
        """
        Count one message, or one order for another session, against what the sessions of a profile may send.

        Raises:
            RateLimited: it is one too many.
        """
        allowed = self._allowance
        if allowed is None:
            return
        caller = (sender.profile_id, sender.tag == API_NAME)
        if wait := allowed.take(caller, asyncio.get_running_loop().time()):
            raise RateLimited(
                f"refused: the sessions of this profile have sent {allowed.burst} messages and orders to other sessions"
                f" within a minute, which is the most they may (max_messages_per_minute); the next is accepted in"
                f" {math.ceil(wait)} s",
                wait,
            )

    async def _listeners(self, sender: Address) -> set[str | None]:
        entries = await self._presence.of_profile(sender.profile_id)
        return {
            entry.address.tag for entry in entries if entry.active and entry.lease.messaging and entry.address != sender
        }

    def _answered(self, message: CoreMessage) -> None:
        collected = self._rounds.get(message.subject.rpartition(".")[2])
        if collected is not None:
            collected.add(_decode_tags(message.data))

    def _heard(self, message: CoreMessage) -> None:
        task = asyncio.create_task(self._take(_decode_broadcast(message.data), message.reply), name="message to all")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take(self, message: _Broadcast, reply: str) -> None:
        """Store a message to everybody for the sessions that this server serves, and say for which."""
        room = asyncio.Semaphore(MAX_STORING)
        content = message.content.encode()
        stored: list[str | None] = []

        async def store(address: Address) -> None:
            event = Event(
                _copy_id(message.id, address),
                Origin.SESSION,
                message.priority,
                message.created_at,
                sender=_name(message.sender),
                broadcast=True,
                traceparent=parse_traceparent(message.traceparent),
            )
            maker = subjects.message_maker(message.sender.tag)
            async with room:
                try:
                    await self._events.store(address, event, content, maker=maker, patience_s=STORE_SECONDS)
                except (QueueFull, Unavailable) as error:
                    log.warning("a message to everybody is not known to be stored for %s: %s", _name(address), error)
                else:
                    stored.append(address.tag)

        mine = [
            connection.address
            for connection in self._presence.active_here(message.sender.profile_id)
            if connection.messaging and connection.address != message.sender
        ]
        await asyncio.gather(*(store(address) for address in mine))
        if stored:
            with contextlib.suppress(Unavailable):
                await self._fabric.send(reply, encode_json(stored))

    def _log(self, sender: Address, outcome: Outcome) -> Outcome:
        log.info(
            "sent",
            extra={
                "action": "message",
                "profile": sender.profile_id,
                "tag": sender.tag,
                "connected": outcome.sent,
                "offline": outcome.queued,
                "unconfirmed": outcome.unconfirmed,
            },
        )
        return outcome


def _name(address: Address) -> str:
    return address.tag or UNTAGGED_NAME


def _copy_id(message_id: str, address: Address) -> str:
    """Derive the event id of one session's copy of a message to everybody."""
    digest = hashlib.sha256(f"{message_id}\0{subjects.tag_token(address.tag)}".encode()).digest()
    return "evt_" + base64.b32encode(digest).decode().lower()[:26]
