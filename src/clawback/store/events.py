"""
Events in JetStream: stored until the PubAck says so, read back as they were, and set aside as dead letters.

An event is one message: its fields are JSON in the header `Clawback-Event`, its body is the data as it came in. A body
above COMPRESS_BYTES is stored as zlib's deflate, since NATS takes 8 MB and a webhook may bring 25; the event says so.
The trace that it belongs to, if any, is the header `traceparent`.

Once it is stored the holder of its session is woken.
"""

import asyncio
import contextlib
import hashlib
import zlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from clawback.errors import BadPayload, Conflict, QueueFull, StoreFull, TooLarge, Unavailable
from clawback.fabric import subjects
from clawback.fabric.jetstream import MESSAGE_ID_HEADER, BatchMessage, Stored
from clawback.fabric.streams import Fabric
from clawback.model import Address, Event, Origin, encode_json
from clawback.store.later import STREAM as LATER_STREAM
from clawback.store.later import WITHDRAWAL, Due, arm, disarm
from clawback.store.ledger import Ledger
from clawback.store.room import Room
from clawback.store.shares import Shares
from clawback.store.wakeups import WakeUps
from clawback.telemetry import traceparent

if TYPE_CHECKING:
    from clawback.telemetry.tracing import Traces

EVENT_HEADER = "Clawback-Event"
DEFLATE = "deflate"

COMPRESS_BYTES = 256 * 1024
"""Below this, compressing costs more than it saves: level 1 does some 180 MB of JSON a second."""

HEADROOM_BYTES = 64 * 1024
"""Left of NATS's limit for headers, now and when the event moves to the dead letters."""

MAX_BODY_BYTES = 25 * 1024 * 1024 + HEADROOM_BYTES
"""No body grows beyond this when it is read: what is larger was not stored by us."""

ATTEMPT_SECONDS = 1.0
RETRY_SECONDS = 0.25
"""Between attempts to store. Cheap, as every attempt carries the same message id."""

DEAD_STREAM = "DEAD"

DEFERRED = "event"
"""What deferred events are called among what is to be published later."""

LINE_HEADER = "Clawback-Line"
"""The subject to which a deferred event returns."""

RETURN_ID_HEADER = "Clawback-Return-Id"
"""The message id with which it does, and its turn's name from then on."""

SURE_SECONDS = 3600.0
"""For so long a stream knows the message ids of what it has: half of its window. Afterwards one looks."""

SINCE_HEADER = "Clawback-Since"
"""When something may have been stored in a line for the first time."""

PROMISED_END = "end"
"""What ends of held events are called among what is to be done later."""

STACK_HEADER = "Clawback-Stack"
"""Whose stack says how."""

PROMISED_REPLAY = "replay"
"""What replays are called there."""

REPLAY_ID_HEADER = "Clawback-Replay-Id"
"""The id of the event that a replay makes."""

DISCARDED_BY_HEADER = "Clawback-Discarded-By"
"""Who has it discarded instead: a dead letter is promised to one of them, so it is never both."""

PROMISE_DELAY = timedelta(seconds=10)
"""Whoever promised something is done with it by then, or was killed."""

UNREADABLE = "unreadable"
"""The reason of a dead letter that is no event."""

_decoder = msgspec.json.Decoder(Event)


class EventStore:
    """The streams of events and of dead letters; `room` is what new events must find, None where none is wanted."""

    def __init__(
        self,
        fabric: Fabric,
        ledger: Ledger,
        shards: int,
        room: Room | None = None,
        traces: "Traces | None" = None,
        *,
        wake_ups: WakeUps | None = None,
        shares: Shares | None = None,
    ) -> None:
        self._fabric = fabric
        self._wake_ups = wake_ups or WakeUps(fabric)
        self._ledger = ledger
        self._shard_count = shards
        self._room = room
        self._shares = shares
        self._traces = traces

    async def store(
        self, address: Address, event: Event, body: bytes, *, maker: str, patience_s: float, tells_failure: bool = True
    ) -> bool:
        """
        Store an event in its line; False when the same delivery was stored before.

        Tries again while NATS is away, until `patience_s` seconds are over. It may be stored even where this raises:
        its maker may send it again, and if it brought a delivery id it is still one event. Who tries again by itself
        until it is stored leaves the failures out of its trace (`tells_failure`).

        Raises:
            StoreFull: NATS has no room.
            Unavailable: no PubAck came.
            QueueFull: the line holds as many events of this maker as it may.
            TooLarge: it does not fit NATS, not even compressed.
        """
        if self._traces is None:
            return await self._store(address, event, body, maker=maker, patience_s=patience_s)
        with self._traces.publishing(
            self._stream(address), address, event, size=len(body), tells_failure=tells_failure
        ) as span:
            # What failed may be stored all the same: then nothing may follow from a span that is never sent.
            traced = msgspec.structs.replace(event, traceparent=span.traceparent) if tells_failure else event
            new = await self._store(address, traced, body, maker=maker, patience_s=patience_s)
            span.note({"clawback.duplicate": None if new else True})
            return new

    async def _store(self, address: Address, event: Event, body: bytes, *, maker: str, patience_s: float) -> bool:
        await self._must_have_room(len(body))
        event, data = await self._pack(event, body)
        await self._must_have_share(address.profile_id, maker, len(data), event)
        shard = subjects.shard_of(address.profile_id, self._shard_count)
        subject = subjects.event_subject(shard, address, event.priority, maker)
        headers = _build_headers(event)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        tried = False
        while True:
            patience = min(ATTEMPT_SECONDS, max(deadline - loop.time(), RETRY_SECONDS))
            try:
                if event.delivery_id is not None and await self._ledger.seen(
                    address.profile_id, event.id, timeout=patience
                ):
                    return False
                ack = await self._fabric.publish(subject, data, message_id=event.id, headers=headers, timeout=patience)
            except StoreFull:
                raise
            except Unavailable:
                if loop.time() + RETRY_SECONDS >= deadline:
                    raise
                tried = True
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
        if event.delivery_id is not None:
            self._ledger.note(address.profile_id, event.id)
        # A duplicate after an attempt of unknown outcome is that attempt.
        new = tried or not ack.duplicate
        if new:
            self._count(address.profile_id, maker, len(data))
            await self._wake(subject, headers)
        return new

    async def must_fit(self, event: Event, body: bytes) -> None:
        """
        Check that an event can be stored at all, as far as NATS said when it was last connected.

        Raises:
            TooLarge: it does not fit NATS, not even compressed.
        """
        await self._pack(event, body)

    async def store_together(
        self, copies: Mapping[Address, Event], body: bytes, *, maker: str, patience_s: float
    ) -> None:
        """
        Store one event at each of several addresses of a profile, all with this body: every one of them, or none.

        Tries again while NATS is away, until `patience_s` seconds are over; they may be stored even where this raises.

        Raises:
            StoreFull: NATS has no room.
            Unavailable: no PubAck came.
            QueueFull: one of the lines holds as many events of this maker as it may.
            TooLarge: the body does not fit NATS, not even compressed.
        """
        if self._traces is None:
            await self._store_together(copies, body, maker=maker, patience_s=patience_s)
            return
        # One span, since it is one publish: what follows from any of them is in one trace.
        address, event = next(iter(copies.items()))
        with self._traces.publishing(self._stream(address), address, event, size=len(body), copies=len(copies)) as span:
            traced = {
                each: msgspec.structs.replace(copy, traceparent=span.traceparent) for each, copy in copies.items()
            }
            await self._store_together(traced, body, maker=maker, patience_s=patience_s)

    async def _store_together(
        self, copies: Mapping[Address, Event], body: bytes, *, maker: str, patience_s: float
    ) -> None:
        await self._must_have_room(len(body) * len(copies))
        packed, data = await self._pack(next(iter(copies.values())), body)
        profile_id = next(iter(copies)).profile_id
        await self._must_have_share(profile_id, maker, len(data) * len(copies), packed)
        messages = []
        for address, copy in copies.items():
            event = msgspec.structs.replace(copy, compression=packed.compression)
            shard = subjects.shard_of(address.profile_id, self._shard_count)
            subject = subjects.event_subject(shard, address, event.priority, maker)
            headers = _build_headers(event) | {MESSAGE_ID_HEADER: event.id}
            messages.append(BatchMessage(subject, data, headers))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        while True:
            try:
                # A duplicate is an attempt of unknown outcome: its ids are in no other batch.
                await self._fabric.batch(messages)
            except StoreFull:
                raise
            except Unavailable:
                if loop.time() + RETRY_SECONDS >= deadline:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
        for message in messages:
            self._count(profile_id, maker, len(data))
            await self._wake(message.subject, message.headers)

    async def put_back(
        self, address: Address, event: Event, body: bytes, *, sequence: int, at: datetime | None = None
    ) -> None:
        """
        Store an event again at the end of its line, now or `at` a time, once for each `sequence` it has there now.

        It is no new event, and no bound of its line holds it up.

        Raises:
            Unavailable: not known to be stored; the original must stay.
        """
        stream = self._stream(address)
        stored = await self._fabric.get(stream, sequence=sequence)
        if stored is None:
            return
        # The same id on both ways: a server that died in between may have taken the other one.
        return_id = self.return_id(event.id, sequence)
        event, data = await self._pack(event, body)
        headers = _build_headers(event) | {RETURN_ID_HEADER: return_id}
        if await self._came_back(address, return_id, stored.subject, first=sequence + 1, since=stored.time):
            return
        if at is None:
            await self._return(_line_of(stored.subject), data, headers, return_id)
        else:
            ticket = {LINE_HEADER: _line_of(stored.subject), SINCE_HEADER: at.isoformat()}
            await arm(self._fabric, DEFERRED, address.profile_id, event.id, at, data, headers | ticket)

    @staticmethod
    def return_id(event_id: str, sequence: int) -> str:
        """Name the turn of an event that was put back from a place in its stream."""
        return f"{event_id}_again_{sequence}"

    async def _came_back(self, address: Address, turn: str, line: str, *, first: int, since: datetime) -> bool:
        """
        Tell whether a turn of an event was stored in its line before, which the window of message ids may not know.

        It has ended, and its stream has restarted, or it waits there for longer than the window lasts.
        """
        if await self._ledger.seen(address.profile_id, turn):
            return True
        if (datetime.now(UTC) - since).total_seconds() < SURE_SECONDS:
            return False
        line = _line_of(line)
        for place in (line, subjects.beside_bound(line, turn)):
            async for stored in self._fabric.walk(self._stream(address), place, first=first):
                with contextlib.suppress(BadPayload):
                    if turn_of(stored.headers, decode_event_header(stored.headers)) == turn:
                        return True
        return False

    async def has_ended(self, address: Address, event: Event, turn: str) -> bool:
        """
        Tell whether a turn that is still in its line has ended: somebody was cut short, or acked what he had put back.

        Raises:
            Unavailable: NATS did not answer.
        """
        # What came in by itself is in the ledger from the beginning.
        comes_again = turn != event.id or event.replay is not None
        return comes_again and await self.turn_has_ended(address, turn)

    async def turn_has_ended(self, address: Address, turn: str) -> bool:
        """
        Tell whether a turn that came back, or was replayed, has ended.

        Raises:
            Unavailable: NATS did not answer.
        """
        return await self._ledger.seen(address.profile_id, turn)

    async def end_put_back(self, address: Address, event_id: str, return_id: str) -> None:
        """
        End the turn of an event that was put back, wherever it waits; it is not given out from then on.

        Raises:
            Unavailable: not known to be done; doing it again does no harm.
        """
        await self._ledger.written(address.profile_id, return_id)
        await self.forget_deferred(address.profile_id, event_id)

    async def promise_end(self, address: Address, event_id: str) -> None:
        """
        Have whichever server is there finish the end of a held event in a moment, in case that this one does not.

        Raises:
            Unavailable: not known to be promised.
        """
        at = datetime.now(UTC) + PROMISE_DELAY
        ticket = {STACK_HEADER: subjects.stack_subject(address)}
        await arm(self._fabric, PROMISED_END, address.profile_id, event_id, at, b"", ticket)

    async def keep_promise(self, address: Address, event_id: str) -> None:
        """
        Note that the end of an event was finished.

        Raises:
            Unavailable: not known to be noted; another server finds out.
        """
        await disarm(self._fabric, PROMISED_END, address.profile_id, event_id)

    async def waiting_of_cron(self, profile_id: str, cron_id: str) -> set[str]:
        """
        Name the events of a cron that have not ended.

        Raises:
            Unavailable: NATS did not answer.
        """
        shard = subjects.shard_of(profile_id, self._shard_count)
        stored = [
            each
            for line in subjects.maker_filters(shard, profile_id, subjects.cron_maker(cron_id))
            async for each in self._fabric.walk(subjects.event_stream(shard), line)
        ]
        stored += [each async for _, each in self.deferred(profile_id)]
        found = set()
        for each in stored:
            with contextlib.suppress(BadPayload):  # it becomes a dead letter when its turn comes
                event = decode_event_header(each.headers)
                if event.cron_id == cron_id:
                    found.add(event.id)
        return found

    async def deferred(self, profile_id: str, *, first: int = 1) -> AsyncIterator[tuple[Address, Stored]]:
        """
        Read the events of a profile that wait out of line, the longest there first, each with where it returns to.

        Begins at the sequence `first`.

        Raises:
            Unavailable: NATS did not answer.
        """
        async for stored in self._fabric.walk(LATER_STREAM, subjects.later_filter(DEFERRED, profile_id), first=first):
            try:
                address = subjects.parse_event_subject(stored.headers[LINE_HEADER]).address
            except (KeyError, ValueError):
                continue  # none of ours: the relay drops it when it is due
            yield address, stored

    async def find_deferred(self, profile_id: str, event_id: str) -> tuple[Address, Stored] | None:
        """
        Find an event of a profile that waits out of line, by its id alone; `event_id` may be anybody's text.

        Raises:
            Unavailable: NATS did not answer.
        """
        if not subjects.is_id(event_id):
            return None
        subject = subjects.later_subject(DEFERRED, profile_id, event_id)
        stored = await self._fabric.get(LATER_STREAM, subject=subject)
        if stored is None:
            return None
        try:
            return subjects.parse_event_subject(stored.headers[LINE_HEADER]).address, stored
        except (KeyError, ValueError):
            return None  # none of ours

    async def forget_deferred(self, profile_id: str, event_id: str) -> None:
        """
        End an event that waits out of line; nothing where it has returned.

        Raises:
            Unavailable: not known to be done.
        """
        await disarm(self._fabric, DEFERRED, profile_id, event_id)

    async def is_coming_back(self, profile_id: str, maker: str | None = None) -> bool:
        """
        Tell whether a deferred event, of a maker where given, is on its way into its line.

        Raises:
            Unavailable: NATS did not answer.
        """
        async for stored in self._fabric.walk(LATER_STREAM, subjects.due_filter(DEFERRED, profile_id)):
            if maker in (None, maker_of_deferred(stored)):
                return True
        return False

    async def promise_withdrawal(self, profile_id: str, source_id: str, *, at: datetime | None = None) -> None:
        """
        Have whichever server is there withdraw, from a time on, what waits of a deleted source.

        Raises:
            Unavailable: not known to be promised.
        """
        await arm(self._fabric, WITHDRAWAL, profile_id, source_id, at or datetime.now(UTC), b"", {})

    async def withdrawing(self, profile_id: str, source_id: str) -> int | None:
        """
        Count what is left in line of a source that is being withdrawn; None where no job goes on.

        Raises:
            Unavailable: NATS did not answer.
        """
        if not subjects.is_id(source_id):
            return None
        promised = subjects.later_subject(WITHDRAWAL, profile_id, source_id)
        due = subjects.due_subject(WITHDRAWAL, profile_id, source_id)
        if all([await self._fabric.get(LATER_STREAM, subject=subject) is None for subject in (promised, due)]):
            return None
        shard = subjects.shard_of(profile_id, self._shard_count)
        left = 0
        for line in subjects.maker_filters(shard, profile_id, subjects.source_maker(source_id)):
            left += sum((await self._fabric.counts(subjects.event_stream(shard), line)).values())
        return left

    async def take_back(self, due: Due) -> None:
        """
        Store a deferred event whose time has come at the end of its line; for the relay.

        Raises:
            BadPayload: it is none.
            Unavailable: not known to be stored; doing it again does no harm.
        """
        event = decode_event_header(due.headers)
        try:
            line, message_id = due.headers[LINE_HEADER], due.headers[RETURN_ID_HEADER]
            address = subjects.parse_event_subject(line).address
        except (KeyError, ValueError):
            raise BadPayload("it does not say which line it belongs to") from None
        # It was given before, and has ended since: a restarted NATS would take it for new.
        if await self._came_back(address, message_id, line, first=1, since=_since(due.headers)):
            return
        headers = {EVENT_HEADER: due.headers[EVENT_HEADER], RETURN_ID_HEADER: message_id}
        if event.traceparent is not None:
            headers[traceparent.HEADER] = event.traceparent
        await self._return(line, due.data, headers, message_id)

    async def _return(self, line: str, data: bytes, headers: dict[str, str], message_id: str) -> None:
        """Store an event that was put off at the end of its line; its caller has looked that it is not there."""
        try:
            await self._fabric.publish(line, data, message_id=message_id, headers=headers)
        except QueueFull:
            # It was in its line before: the bound is for new ones.
            beside = subjects.beside_bound(line, message_id)
            await self._fabric.publish(beside, data, message_id=message_id, headers=headers)
        await self._wake(line, headers)

    async def may_end(self, address: Address, event: Event, turn: str | None = None) -> None:
        """
        Return when a turn of an event can leave its stream without being forgotten with it, and its delivery id.

        Raises:
            Unavailable: not yet, as NATS does not take the ledger's entry.
        """
        if event.delivery_id is not None:
            await self._ledger.written(address.profile_id, event.id)
        if event.replay is not None or turn not in (None, event.id):
            await self._ledger.written(address.profile_id, turn or event.id)

    async def bury(self, address: Address, event: Event, body: bytes, *, reason: str) -> None:
        """
        Copy an event to the dead letters, once however often it is said; its original is the caller's to end.

        Raises:
            Unavailable: not known to be stored; the original must stay.
        """
        event, data = await self._pack(event, body)
        await self._fabric.publish(
            subjects.dead_subject(address, reason, event.id),
            data,
            message_id=event.id,
            headers=_build_headers(event),
        )

    async def find_dead(self, profile_id: str, event_id: str) -> Stored | None:
        """
        Find the dead letter of an event; `event_id` may be anybody's text.

        Raises:
            Unavailable: NATS did not answer.
        """
        if not subjects.is_id(event_id):
            return None
        found = await self._fabric.get_last_many(DEAD_STREAM, subjects.dead_filter(profile_id, event_id))
        return found[-1] if found else None

    async def replay(self, dead: Stored, new_id: str, now: datetime) -> None:
        """
        Store a dead letter again as a new event at the end of its line, once, and remove it from the dead letters.

        It is the caller's wish, so it is no duplicate of anything, whatever the ledger says.

        Raises:
            BadPayload: the dead letter is no event, and stays.
            Conflict: it is being discarded, or is no dead letter any more.
            QueueFull: its line holds as many events of its maker as it may; the dead letter stays.
            Unavailable: not known to be done; again, with the same id, does no harm.
        """
        address, _, event_id = subjects.parse_dead_subject(dead.subject)
        event = decode_event_header(dead.headers)
        ticket = {REPLAY_ID_HEADER: new_id, SINCE_HEADER: now.isoformat()}
        promised = await self._promise(address.profile_id, event_id, ticket, now)
        if DISCARDED_BY_HEADER in promised:
            raise Conflict(f"{event_id} is being discarded, so it is not replayed")
        if await self._fabric.get(DEAD_STREAM, sequence=dead.sequence) is None:
            await disarm(self._fabric, PROMISED_REPLAY, address.profile_id, event_id)
            raise Conflict(f"{event_id} was replayed or discarded at this moment")
        since = _since(promised)
        again = msgspec.structs.replace(event, id=new_id, replay=event.id, created_at=now, attempts=0, traceparent=None)
        line = self._replay_line(address, again)
        if not await self._came_back(address, new_id, line, first=1, since=since):
            if self._traces is None:
                await self._publish_replay(line, again, dead)
            else:
                with self._traces.publishing(
                    self._stream(address), address, again, size=len(dead.data), replays=event.traceparent
                ) as span:
                    again = msgspec.structs.replace(again, traceparent=span.traceparent)
                    await self._publish_replay(line, again, dead)
        await self.remove_dead(address.profile_id, event_id, dead.sequence)

    async def finish_replay(self, due: Due) -> None:
        """
        Finish a replay whose server was cut short; for the relay.

        Raises:
            BadPayload: it is none.
            QueueFull: its line is full.
            Unavailable: not known to be done; doing it again does no harm.
        """
        new_id = due.headers.get(REPLAY_ID_HEADER, "")
        if not subjects.is_id(new_id):
            raise BadPayload("it does not say which event the replay makes")
        dead = await self.find_dead(due.profile_id, due.name)
        if dead is not None:
            with contextlib.suppress(Conflict):  # somebody else was quicker
                await self.replay(dead, new_id, datetime.now(UTC))

    async def promise_discard(self, profile_id: str, event_id: str, by: str) -> bool:
        """
        Have whichever server is there discard a dead letter in a moment; False where it is being replayed.

        Raises:
            Unavailable: not known to be promised; doing it again does no harm.
        """
        ticket = {DISCARDED_BY_HEADER: by}
        if DISCARDED_BY_HEADER not in await self._promise(profile_id, event_id, ticket, datetime.now(UTC)):
            return False
        if await self.find_dead(profile_id, event_id) is None:
            await disarm(self._fabric, PROMISED_REPLAY, profile_id, event_id)
            return False
        return True

    async def remove_dead(self, profile_id: str, event_id: str, sequence: int) -> None:
        """
        Remove a dead letter, and the promise of what has become of it.

        Raises:
            Unavailable: not known to be removed; doing it again does no harm.
        """
        await self._fabric.delete(DEAD_STREAM, sequence)
        await disarm(self._fabric, PROMISED_REPLAY, profile_id, event_id)

    async def _promise(
        self, profile_id: str, event_id: str, ticket: dict[str, str], now: datetime
    ) -> Mapping[str, str]:
        """Have a dead letter seen to by whichever server is there; returns what was promised first."""
        places = [of(PROMISED_REPLAY, profile_id, event_id) for of in (subjects.later_subject, subjects.due_subject)]
        while True:
            for subject in places:
                if (promised := await self._fabric.get(LATER_STREAM, subject=subject)) is not None:
                    return promised.headers
            with contextlib.suppress(Conflict):  # somebody promised something at this moment
                at = now + PROMISE_DELAY
                await arm(self._fabric, PROMISED_REPLAY, profile_id, event_id, at, b"", ticket, replace=False)
                return ticket

    def _replay_line(self, address: Address, again: Event) -> str:
        shard = subjects.shard_of(address.profile_id, self._shard_count)
        return subjects.event_subject(shard, address, again.priority, _maker_of(again))

    async def _publish_replay(self, line: str, again: Event, dead: Stored) -> None:
        headers = _build_headers(again)
        message_id = f"{again.replay}:replay:{dead.sequence}"
        await self._fabric.publish(line, dead.data, message_id=message_id, headers=headers)
        await self._wake(line, headers)

    async def _wake(self, subject: str, headers: Mapping[str, str]) -> None:
        await self._wake_ups.tell(subject, headers[EVENT_HEADER].encode())

    def _stream(self, address: Address) -> str:
        return subjects.event_stream(subjects.shard_of(address.profile_id, self._shard_count))

    async def bury_unreadable(self, address: Address, headers: dict[str, str], data: bytes) -> None:
        """
        Copy a message that is no event of ours to the dead letters, as it is.

        Raises:
            Unavailable: not known to be stored; the original must stay.
        """
        kept = {name: value for name, value in headers.items() if not name.startswith("Nats-")}
        # It has no id, so it is named by what it holds.
        name = f"raw_{hashlib.sha256(repr(sorted(headers.items())).encode() + data).hexdigest()[:26]}"
        await self._fabric.publish(
            subjects.dead_subject(address, UNREADABLE, name), data, message_id=f"{UNREADABLE}:{name}", headers=kept
        )

    async def _must_have_room(self, size: int) -> None:
        if self._room is not None and (problem := await self._room.problem(size)) is not None:
            raise StoreFull(problem)

    async def _must_have_share(self, profile_id: str, maker: str, size: int, event: Event) -> None:
        if self._shares is not None:
            unsigned = event.origin is Origin.WEBHOOK and not event.verified
            await self._shares.check(profile_id, maker, size, unsigned=unsigned)

    def _count(self, profile_id: str, maker: str, size: int) -> None:
        if self._shares is not None:
            self._shares.note(profile_id, maker, size)

    async def _pack(self, event: Event, body: bytes) -> tuple[Event, bytes]:
        """Make an event and its body fit a message."""
        if len(body) <= COMPRESS_BYTES:
            return event, body
        # In a thread, which zlib lets run beside us: 16 MB take some 90 ms.
        data = await asyncio.to_thread(zlib.compress, body, 1)
        room = self._fabric.max_payload - HEADROOM_BYTES
        if len(data) > room:
            raise TooLarge(f"the body of {len(body)} bytes has {len(data)} compressed; at most {room} can be stored")
        return msgspec.structs.replace(event, compression=DEFLATE), data


def _build_headers(event: Event) -> dict[str, str]:
    """Write an event as the headers of its message."""
    if event.traceparent is None:
        return {EVENT_HEADER: encode_json(event).decode()}
    fields = msgspec.structs.replace(event, traceparent=None)
    return {EVENT_HEADER: encode_json(fields).decode(), traceparent.HEADER: event.traceparent}


def turn_of(headers: Mapping[str, str], event: Event) -> str:
    """Name an event's stay in its line, by the headers of its message: each ends once, and may be put back."""
    return headers.get(RETURN_ID_HEADER, event.id)


def maker_of_deferred(stored: Stored) -> str | None:
    """Name the maker of an event that waits out of line; None for what is none of ours."""
    try:
        return subjects.parse_event_subject(stored.headers[LINE_HEADER]).maker
    except (KeyError, ValueError):
        return None


def _since(headers: Mapping[str, str]) -> datetime:
    """Read SINCE_HEADER; what has none is of an older server, and is taken for new."""
    try:
        return datetime.fromisoformat(headers[SINCE_HEADER])
    except (KeyError, ValueError):
        return datetime.now(UTC)


def decode_event(headers: dict[str, str], data: bytes) -> tuple[Event, bytes]:
    """
    Read an event and its body from a message of the event or dead-letter streams.

    Raises:
        BadPayload: it was not stored by us; the text does not quote it.
    """
    event = decode_event_header(headers)
    if event.compression is None:
        return event, data
    if event.compression != DEFLATE:
        raise BadPayload(f"event {event.id} is compressed in a way that this version does not know")
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(data, MAX_BODY_BYTES)
    except zlib.error as error:
        raise BadPayload(f"the body of event {event.id} does not decompress") from error
    if not inflater.eof or inflater.unused_data:
        raise BadPayload(f"the body of event {event.id} is cut off, or larger than {MAX_BODY_BYTES} bytes")
    return msgspec.structs.replace(event, compression=None), body


def decode_event_header(headers: dict[str, str]) -> Event:
    """
    Read an event without its body.

    Raises:
        BadPayload: it was not stored by us; the text does not quote it.
    """
    event = _decode_fields(headers.get(EVENT_HEADER, ""), f"the {EVENT_HEADER} header of a message")
    trace = traceparent.parse_traceparent(headers.get(traceparent.HEADER))
    # Whoever published it by hand may have written one among the fields, where none is read.
    return event if trace == event.traceparent else msgspec.structs.replace(event, traceparent=trace)


def decode_wake_up(data: bytes) -> Event:
    """
    Read which event a wake-up tells of.

    Raises:
        BadPayload: it is none of ours; the text does not quote it.
    """
    return _decode_fields(data, "a wake-up")


def _decode_fields(fields: str | bytes, what: str) -> Event:
    try:
        event = _decoder.decode(fields)
    except (msgspec.DecodeError, RecursionError):
        raise BadPayload(f"{what} holds no readable event") from None
    if not subjects.is_id(event.id):
        raise BadPayload(f"{what} names no event id of ours")
    return event


def _line_of(subject: str) -> str:
    """Leave out where in its line an event stands, if it stands beside the bound."""
    return ".".join(subject.split(".")[:6])


def _maker_of(event: Event) -> str:
    """Name who made an event, for its subject; what is not known by it any more is a replay's own."""
    if event.source_id is not None:
        return subjects.source_maker(event.source_id)
    if event.cron_id is not None:
        return subjects.cron_maker(event.cron_id)
    return subjects.message_maker(event.sender) if event.origin is Origin.SESSION else subjects.REPLAY_MAKER
