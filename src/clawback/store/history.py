"""
How events ended, a ring for each address; what was dropped, one for each profile; what was skipped, one for each cron.

Each has the newest 200 records of 90 days, and none pushes out another's. A record is stored when an event ends, and
again where more becomes known of it (a late ack); the newest of an event counts.
"""

import logging
from collections.abc import AsyncIterator, Collection, Mapping
from itertools import islice

import msgspec

from clawback.fabric import subjects
from clawback.fabric.jetstream import Stored
from clawback.fabric.streams import Fabric
from clawback.model import Address, EventState, HistoryRecord, encode_json
from clawback.wire import cut_summary

_STREAM = "HIST"

PAGE_BYTES = 1024 * 1024
"""What a read of records has in memory beside them: older versions cut no summary, and some have a megabyte."""

FINISHED = frozenset({EventState.ACKED, EventState.TIMED_OUT, EventState.DEAD, EventState.DISCARDED})
"""What `event_history` shows where nothing else is asked for."""

_NEVER_QUEUED = frozenset({EventState.DROPPED, EventState.SKIPPED, EventState.FILTERED})

_decoder = msgspec.json.Decoder(HistoryRecord)

log = logging.getLogger("clawback.fabric")


class History:
    """The stream of history."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric

    async def record(self, address: Address, record: HistoryRecord) -> None:
        """
        Store how an event of an address ended. Stored twice within minutes, it counts once.

        Raises:
            Unavailable: not known to be stored.
        """
        await self._store(subjects.history_subject(address), record)

    async def decide(self, address: Address, record: HistoryRecord, turn: str) -> HistoryRecord:
        """
        Decide how a turn of an event ends, unless that was decided before; returns what was decided.

        The first record to be stored decides, whoever stores it, for END_WINDOW_SECONDS: within that time the turn has
        to have left its stream, or its end is decided anew.

        Raises:
            Unavailable: not known to be decided; doing it again does no harm.
        """
        is_end = record.state in FINISHED
        subject = subjects.history_subject(address) if is_end else subjects.put_back_subject(address)
        ack = await self._fabric.publish(subject, encode_json(record), message_id=f"end:{address.profile_id}:{turn}")
        if not ack.duplicate:
            return record
        stored = await self._fabric.get(_STREAM, sequence=ack.sequence)
        decided = None if stored is None else _read(stored)
        # Two hundred ends of its session since then have pushed it out, so it is no end under way.
        return record if decided is None else decided

    async def put_back(self, address: Address, event_id: str) -> HistoryRecord | None:
        """
        Find the latest record of an event that was put back into its line, where one is kept.

        Raises:
            Unavailable: NATS does not answer.
        """
        found = None
        async for _, record in self._records(subjects.put_back_subject(address)):
            if record.event_id == event_id:
                found = record
        return found

    async def record_drop(self, profile_id: str, record: HistoryRecord) -> None:
        """
        Store what a profile's source dropped or filtered, in a ring of each.

        Raises:
            Unavailable: not known to be stored.
        """
        filtered = record.state is EventState.FILTERED
        await self._store((subjects.filter_subject if filtered else subjects.drop_subject)(profile_id), record)

    async def record_skip(self, profile_id: str, cron_id: str, record: HistoryRecord) -> None:
        """
        Store what a profile's cron skipped.

        Raises:
            Unavailable: not known to be stored.
        """
        await self._store(subjects.skip_subject(profile_id, cron_id), record)

    async def add_late_acks(self, address: Address, summaries: Mapping[str, str]) -> None:
        """
        Note against events of an address that timed out what their sessions said of them afterwards, by event id.

        They stay timed out, and what ended otherwise stays as it is.

        Raises:
            Unavailable: not known to be stored. Doing it again does no harm.
        """
        for _, record in await self._newest_of_each(subjects.history_subject(address)):
            summary = summaries.get(record.event_id, "")
            if record.state is EventState.TIMED_OUT and summary not in ("", record.summary):
                late = msgspec.structs.replace(record, summary=summary)
                await self._fabric.publish(subjects.history_subject(address), encode_json(late))

    async def newest(
        self, profile_id: str, *, limit: int, states: Collection[EventState] = FINISHED
    ) -> list[HistoryRecord]:
        """
        List a profile's events whose newest record is in one of `states`, newest first.

        Raises:
            Unavailable: NATS does not answer.
        """
        return [record for _, record in await self.page(profile_id, limit=limit, states=states)]

    async def page(
        self,
        profile_id: str,
        *,
        limit: int,
        states: Collection[EventState] = FINISHED,
        before: int | None = None,
    ) -> list[tuple[int, HistoryRecord]]:
        """
        List the same with the sequence of each record, and of what was recorded `before` one, where given.

        Raises:
            Unavailable: NATS does not answer.
        """
        filters = [subjects.history_filter(profile_id)]
        if not _NEVER_QUEUED.isdisjoint(states):
            filters += [subjects.drop_subject(profile_id), subjects.skip_filter(profile_id)]
        newest = await self._newest_of_each(*filters)
        found = ((at, record) for at, record in newest if record.state in states)
        return list(islice(((at, record) for at, record in found if before is None or at < before), limit))

    async def of_event(self, profile_id: str, event_id: str) -> list[HistoryRecord]:
        """
        List every record of an event that is still kept, oldest first.

        Raises:
            Unavailable: NATS does not answer.
        """
        filters = (
            subjects.history_filter(profile_id),
            subjects.drop_subject(profile_id),
            subjects.skip_filter(profile_id),
        )
        found = [(at, record) async for at, record in self._records(*filters) if record.event_id == event_id]
        return [record for _, record in sorted(found, key=lambda each: each[0])]

    async def _newest_of_each(self, *filters: str) -> list[tuple[int, HistoryRecord]]:
        """Read the newest record of each event with its sequence, newest first; a late ack is one."""
        found: dict[str, tuple[int, HistoryRecord]] = {}
        async for at, record in self._records(*filters):
            if record.event_id not in found or found[record.event_id][0] < at:
                found[record.event_id] = (at, record)
        return sorted(found.values(), key=lambda each: each[0], reverse=True)

    async def _records(self, *filters: str) -> AsyncIterator[tuple[int, HistoryRecord]]:
        """Read the records under subjects with their sequences, oldest first under each."""
        for subject_filter in filters:
            async for page in self._fabric.pages(_STREAM, subject_filter, max_bytes=PAGE_BYTES):
                for stored in page:
                    if (record := _read(stored)) is not None:
                        yield stored.sequence, record

    async def _store(self, subject: str, record: HistoryRecord) -> None:
        message_id = f"{subject}:{record.event_id}:{record.state}:{record.attempts}"
        await self._fabric.publish(subject, encode_json(record), message_id=message_id)


def _read(stored: Stored) -> HistoryRecord | None:
    try:
        record = _decoder.decode(stored.data)
        return msgspec.structs.replace(record, summary=cut_summary(record.summary))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # One spoilt record does not hide the others. Its text may quote somebody's data.
        log.error("history record %d cannot be read and is left out", stored.sequence)  # noqa: TRY400 -- the error may quote data
        return None
