"""
Pulling events from a session's lines and ending them: the consumers of the event streams.

A line's consumer is made when it is first asked (an idle session costs nothing), lives in NATS's memory, and is gone
after two idle minutes; the events it has not seen acked stay in the stream. All pulls of a server answer to one inbox:
an event names the consumer it came from, only NATS's status messages name the pull.

nats-py's `fetch` is not used: it swallows a deleted consumer and sits out its whole timeout.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

from msgspec import Struct

from clawback.errors import NotFound, Unavailable
from clawback.fabric import subjects
from clawback.fabric.jetstream import CoreMessage, Stored
from clawback.fabric.layout import SECOND_NS
from clawback.fabric.streams import Fabric
from clawback.model import Address, Priority
from clawback.store.wakeups import Wake, WakeUps

ACK_WAIT_SECONDS = 60.0
"""How long JetStream waits for an ack or a sign of life before it gives an event again."""

IN_PROGRESS_SECONDS = 20.0
"""How often a held event is extended: twice may be lost before ACK_WAIT_SECONDS is over."""

INACTIVE_SECONDS = 120.0
"""An unused consumer is removed after this time and made again when it is needed."""

SWEEP_SECONDS = 20.0
"""A lost wake-up delays an event by this at most. One look at a shard with 30,000 lines takes 25 ms."""

PAGE_EVENTS = 64
PAGE_BYTES = 4 * 1024 * 1024
"""Of events read to be ended together, between two deliveries of their session; one is 8 MB at most."""

PULL_TIMEOUT_SECONDS = 1.0
ACK_TIMEOUT_SECONDS = 5.0
"""One second was too short in a burst of 2,000 acks, each with its fsync."""

DELETE_SECONDS = 2.0
"""A leader that was killed answers nothing, and the next one is there some 5 s later: to ask again does no harm."""

NO_MESSAGES = "404"
ACK_SUBJECT_TOKENS = 9
_STORED_AT = 7

log = logging.getLogger("clawback.fabric")


class Pulled(Struct, frozen=True):
    """An event as JetStream gave it; its ack goes to `reply`, which is good for this `generation` of the connection."""

    subject: str
    sequence: int
    headers: dict[str, str]
    data: bytes
    reply: str
    generation: int

    @property
    def stored_at(self) -> float:
        """When JetStream stored it, by its clock (Unix seconds)."""
        return int(self.reply.split(".")[_STORED_AT]) / 1e9


class _Pull:
    """A pull under way: where NATS answers it once it is asked, what came, and whether anything came unasked."""

    __slots__ = ("answer", "inbox", "spoiled")

    def __init__(self) -> None:
        self.inbox = ""
        self.spoiled = False
        self.answer: asyncio.Future[Pulled | None] = asyncio.get_running_loop().create_future()


class Lines:
    """The lines of every session of this server, over one connection. `open` before use."""

    def __init__(self, fabric: Fabric, shards: int, wake_ups: WakeUps | None = None) -> None:
        self._fabric = fabric
        self._wake_ups = wake_ups or WakeUps(fabric)
        self._shards = shards
        self._inbox = fabric.inbox()
        self._asked = 0
        self._waiting: dict[str, _Pull] = {}
        self._made_in: dict[str, int] = {}

    async def open(self) -> None:
        """Listen for the answers to pulls."""
        await self._fabric.subscribe(f"{self._inbox}.>", self._answered)
        self._fabric.on_reconnect(self.sweep)

    @asynccontextmanager
    async def listen(self, address: Address, wake: Wake) -> AsyncIterator[None]:
        """Call `wake` whenever an event was stored in a line of this address."""
        async with self._wake_ups.listen(self.shard(address), address, wake):
            try:
                yield
            finally:
                # A lease that was lost may be served by the next holder already, and by this very server.
                if self._wake_ups.listeners.get(address) is wake:
                    self.forget(address)

    async def sweep(self) -> None:
        """
        Wake whoever has something waiting, whatever became of its wake-up: those are core messages, and may be lost.

        Raises:
            Unavailable: NATS did not answer.
        """
        for shard in {self.shard(address) for address in self._wake_ups.listeners}:
            for subject in await self._fabric.counts(subjects.event_stream(shard), subjects.shard_filter(shard)):
                self._wake_ups.wake(subject)

    async def keep_sweeping(self) -> None:
        """Sweep every SWEEP_SECONDS, for as long as the server runs."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            with contextlib.suppress(Unavailable):
                await self.sweep()

    def shard(self, address: Address) -> int:
        """Choose the shard of an address."""
        return subjects.shard_of(address.profile_id, self._shards)

    async def waiting(self, address: Address) -> dict[Priority, int]:
        """Count what is stored at an address by priority, what is held included."""
        shard = self.shard(address)
        counts = await self._fabric.counts(subjects.event_stream(shard), subjects.lane_filter(shard, address))
        waiting: dict[Priority, int] = {}
        for subject, count in counts.items():
            if (waits := _parse_event_subject(subject)) is not None:
                waiting[waits.priority] = waiting.get(waits.priority, 0) + count
        return waiting

    async def addresses_of(self, profile_id: str, maker: str) -> dict[Address, int]:
        """
        Count by address what one maker has in line, what is held included.

        Raises:
            Unavailable: NATS did not answer.
        """
        shard = subjects.shard_of(profile_id, self._shards)
        found: dict[Address, int] = {}
        for subject_filter in subjects.maker_filters(shard, profile_id, maker):
            counts = await self._fabric.counts(subjects.event_stream(shard), subject_filter)
            for subject, count in counts.items():
                if (waits := _parse_event_subject(subject)) is not None:
                    found[waits.address] = found.get(waits.address, 0) + count
        return found

    async def page_of(self, address: Address, maker: str, *, first: int) -> list[Stored]:
        """
        Read the oldest events of one maker at an address, from the sequence `first` on; none where there are no more.

        What somebody published by hand beside every line is among them.

        Raises:
            Unavailable: NATS did not answer.
        """
        shard = self.shard(address)
        pages = [
            await self._fabric.page(
                subjects.event_stream(shard), subject_filter, first=first, most=PAGE_EVENTS, max_bytes=PAGE_BYTES
            )
            for subject_filter in subjects.maker_at_filters(shard, address, maker)
        ]
        # Of what is behind the end of a page, only the other one is known.
        last = min((page[-1].sequence for page in pages if page), default=0)
        known = (stored for page in pages for stored in page if stored.sequence <= last)
        return sorted(known, key=lambda stored: stored.sequence)

    async def read_some(self, address: Address, sequences: Collection[int], *, first: int) -> list[Stored]:
        """
        Read the first few events of an address at some places of its stream, from `first` on; none where none is left.

        Raises:
            Unavailable: NATS did not answer.
        """
        found: list[Stored] = []
        for sequence in sorted(each for each in sequences if each >= first):
            stored = await self.read(address, sequence)
            waits = None if stored is None else _parse_event_subject(stored.subject)
            if stored is not None and waits is not None and waits.address == address:
                found.append(stored)
            if len(found) >= PAGE_EVENTS or sum(len(each.data) for each in found) > PAGE_BYTES:
                break
        return found

    async def read(self, address: Address, sequence: int) -> Stored | None:
        """
        Read an event by its sequence, or None where it has ended.

        Raises:
            Unavailable: NATS did not answer.
        """
        return await self._fabric.get(subjects.event_stream(self.shard(address)), sequence=sequence)

    async def pull(self, address: Address, priority: Priority, *, max_ack_pending: int) -> Pulled | None:
        """
        Take the next event of a line, or None when it is empty.

        Raises:
            Unavailable: NATS did not answer, or gave what has ended; an event may have been handed out and will come
                with a later pull.
        """
        consumer = subjects.consumer_name(address, priority)
        if consumer in self._waiting:
            # The lane asks for one at a time; this is a former holder that has not yet seen its lease go.
            raise Unavailable(f"another pull from {consumer} is under way")
        pull = self._waiting[consumer] = _Pull()
        made_in, is_new = None, False
        try:
            while self._made_in.get(consumer) != self._fabric.generation:
                # What answers an earlier pull meanwhile may have been handed out after NATS looked at the consumer.
                pull.spoiled = False
                await self._make(address, priority, max_ack_pending)
                is_new = True
                if pull.spoiled:
                    self._made_in.pop(consumer, None)
            made_in = self._made_in.pop(consumer)
            self._asked += 1
            pull.inbox = f"{self._inbox}.{consumer}.{self._asked}"
            stream = subjects.event_stream(self.shard(address))
            await self._fabric.send(
                f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", b'{"batch":1,"no_wait":true}', reply=pull.inbox
            )
            async with asyncio.timeout(PULL_TIMEOUT_SECONDS):
                pulled = await pull.answer
        except TimeoutError as error:
            raise Unavailable(f"NATS did not answer a pull from {consumer}") from error
        finally:
            del self._waiting[consumer]
        if is_new and pulled is not None:
            await self._check_is_there(address, pulled)
        # Only a pull that was answered, once, proves that the consumer is as it was made; any other starts anew.
        if made_in is not None and not pull.spoiled:
            self._made_in[consumer] = made_in
        return pulled

    async def _check_is_there(self, address: Address, pulled: Pulled) -> None:
        """
        Check in a cluster that what a consumer gave first has not ended: the copy beside it may be behind.

        Later on it goes forward, and gives nothing that was given and ended before.

        Raises:
            Unavailable: it has; the consumer has to start anew.
        """
        if self._fabric.replicas > 1 and await self.read(address, pulled.sequence) is None:
            raise Unavailable(f"NATS gave sequence {pulled.sequence}, which has ended: a copy of its stream is behind")

    def forget(self, address: Address) -> None:
        """Start anew at an address: what its former holder pulled and did not end is given again."""
        for priority in Priority:
            self._made_in.pop(subjects.consumer_name(address, priority), None)

    async def acknowledge(self, address: Address, sequence: int, pulled: Pulled | None) -> None:
        """
        End an event in JetStream, confirmed. Ending it twice does no harm.

        `pulled` is how it came, or None where only its sequence is known (another server had pulled it).

        Raises:
            Unavailable: not confirmed; the event may or may not have ended.
        """
        if pulled is not None and pulled.generation == self._fabric.generation:
            if self._fabric.replicas > 1:
                # A consumer of several copies confirms an ack before the event's deletion is agreed on, which can be
                # lost with it. So it is told, to make room for the next, and the deletion below is the end.
                with contextlib.suppress(Unavailable):
                    await self._fabric.send(pulled.reply, b"+ACK")
            elif await self._acked(pulled):
                return
        stream = subjects.event_stream(self.shard(address))
        body = {"seq": sequence, "no_erase": True}
        answer = await self._fabric.api(f"STREAM.MSG.DELETE.{stream}", body, timeout=DELETE_SECONDS)
        error = answer.get("error")
        # One code stands for all that can go wrong, "sequence not found" among it: look whether it had ended before.
        if error and await self._fabric.get(stream, sequence=sequence) is not None:
            raise Unavailable(f"NATS did not delete sequence {sequence} of {stream}: {error.get('description')}")

    async def _acked(self, pulled: Pulled) -> bool:
        """Ack an event to its consumer; False where that confirmed nothing."""
        try:
            await self._fabric.request(pulled.reply, b"+ACK", timeout=ACK_TIMEOUT_SECONDS)
        except (NotFound, Unavailable):
            # The consumer may be gone (a memory consumer does not outlive its server): delete the event instead.
            log.info("ack of sequence %d was not confirmed by its consumer, deleting the event", pulled.sequence)
            return False
        return True

    async def extend(self, pulled: Pulled) -> None:
        """Tell JetStream that an event is in progress; nothing is confirmed."""
        if pulled.generation == self._fabric.generation:
            # NATS is away: then its consumers start anew, and what is held is in the stack.
            with contextlib.suppress(Unavailable):
                await self._fabric.send(pulled.reply, b"+WPI")

    async def give_back(self, pulled: Pulled, event: bytes) -> None:
        """
        Return an event to its line at once, for who serves the session now; its fields are this JSON.

        Nothing is confirmed: what is lost of this, JetStream does after ACK_WAIT_SECONDS.
        """
        if pulled.generation == self._fabric.generation:
            with contextlib.suppress(Unavailable):
                await self._fabric.send(pulled.reply, b"-NAK")
            await self._wake_ups.tell(pulled.subject, event)

    async def _make(self, address: Address, priority: Priority, max_ack_pending: int) -> None:
        shard = self.shard(address)
        stream = subjects.event_stream(shard)
        consumer = subjects.consumer_name(address, priority)
        made = await self._fabric.api(
            f"CONSUMER.CREATE.{stream}.{consumer}.{subjects.line_filter(shard, address, priority)}",
            {
                "stream_name": stream,
                "action": "",
                "config": {
                    "durable_name": consumer,
                    "name": consumer,
                    "description": f"{priority} events for tag {address.tag or '(untagged)'}",
                    "filter_subject": subjects.line_filter(shard, address, priority),
                    "ack_policy": "explicit",
                    "deliver_policy": "all",
                    "ack_wait": int(ACK_WAIT_SECONDS * SECOND_NS),
                    "max_ack_pending": max_ack_pending,
                    "max_deliver": -1,
                    "max_waiting": 4,
                    "mem_storage": True,
                    "inactive_threshold": int(INACTIVE_SECONDS * SECOND_NS),
                },
            },
        )
        _raise_for(made, f"consumer {consumer}")
        if made.get("num_ack_pending"):
            # A former holder pulled and is gone. Give it again now rather than after the ack wait.
            reset = await self._fabric.api(f"CONSUMER.RESET.{stream}.{consumer}", {})
            _raise_for(reset, f"the reset of consumer {consumer}")
        self._made_in[consumer] = self._fabric.generation

    def _answered(self, message: CoreMessage) -> None:
        event = _parse_ack_subject(message.reply)
        if event is None:
            self._told(message)
            return
        consumer, sequence = event
        pull = self._waiting.get(consumer)
        if pull is not None and pull.inbox and not pull.answer.done():
            pull.answer.set_result(
                Pulled(message.subject, sequence, message.headers, message.data, message.reply, self._fabric.generation)
            )
            return
        # Its pull has given up. JetStream counts the event as handed out, so let it start anew, and soon.
        if pull is not None:
            pull.spoiled = True
        self._made_in.pop(consumer, None)
        self._wake_ups.wake(message.subject)

    def _told(self, message: CoreMessage) -> None:
        """Take a status, which ends the pull it names; that one may have given up, and another be under way."""
        consumer = message.subject.split(".")[-2]
        pull = self._waiting.get(consumer)
        if pull is None or pull.inbox != message.subject or pull.answer.done():
            return
        if message.headers.get("Status") == NO_MESSAGES:
            pull.answer.set_result(None)
        else:
            status = f"{message.headers.get('Status', '')} {message.headers.get('Description', '')}".strip()
            pull.answer.set_exception(Unavailable(f"NATS refused a pull from {consumer}: {status}"))


def is_in_line(subject: str) -> bool:
    """Whether a session looks where this is stored."""
    return _parse_event_subject(subject) is not None


def _parse_event_subject(subject: str) -> subjects.EventSubject | None:
    """Read an event's subject; None for what somebody published by hand beside every line, where no session looks."""
    try:
        return subjects.parse_event_subject(subject)
    except ValueError:
        return None


def _parse_ack_subject(reply: str) -> tuple[str, int] | None:
    """Read consumer and stream sequence from an ack subject (ADR-15), or None where it is none: a status message."""
    if not reply.startswith("$JS.ACK."):
        return None
    # `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.…`, with domain and account before them in the newer form.
    parts = reply.split(".")
    start = 2 if len(parts) == ACK_SUBJECT_TOKENS else 4
    return parts[start + 1], int(parts[start + 3])


def _raise_for(answer: dict[str, Any], what: str) -> None:
    if error := answer.get("error"):
        raise Unavailable(f"NATS refused {what}: {error.get('description', json.dumps(error))}")
