"""
The fabric: the connection to NATS with its streams. Publishes with their PubAcks, reads, and the layout kept in place.

Where a cluster keeps several copies of a stream, a direct get is answered by whichever copy is nearest, and that may
lack what was confirmed a moment ago. So there `get` asks the stream's leader, and lists wait until the copy that
answers has what the leader has (docs/adr/0018).
"""

import asyncio
import logging
import math
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Self

import msgspec

from clawback.errors import StoreFull, Unavailable
from clawback.fabric import layout
from clawback.fabric.auth import NatsAuth
from clawback.fabric.connection import Backoff, Connection
from clawback.fabric.jetstream import (
    BATCH_COMMIT_HEADER,
    BATCH_ID_HEADER,
    BATCH_SEQUENCE_HEADER,
    EXPECTED_HEADER,
    MESSAGE_ID_HEADER,
    NO_RESPONDERS,
    NOT_FOUND,
    PENDING_HEADER,
    STATUS,
    TOO_MANY_RESULTS,
    TTL_HEADER,
    BatchMessage,
    CoreMessage,
    PubAck,
    Stored,
    direct_get_error,
    read_get_answer,
    read_publish_answer,
    read_stored,
)

ELECTION_SECONDS = 60.0
"""How long a start waits for a cluster that elects: some 5 s after a kill, more where all nodes start together."""

BEHIND_SECONDS = 5.0
"""How long a copy of a stream that lacks what its leader has is waited for. They are behind by milliseconds."""

PAGE_MESSAGES = 512
"""Messages of one batched direct get."""

BURST_MESSAGES = 4
"""Messages of a batch that are sent before others have their turn: a thousand at once take some 15 ms."""

WALK_MESSAGES = 64
WALK_BYTES = 1024 * 1024
"""What a walk through a stream has in memory at a time, unless one message is larger."""

log = logging.getLogger("clawback.fabric")


async def _give_way() -> None:
    await asyncio.sleep(0)


class Fabric(Connection):
    """
    One connection to NATS for a whole server. `open` makes it, `close` ends it.

    `replicas` is how many copies NATS keeps of every stream: what was asked for, or more, once the layout is ensured.
    """

    def __init__(self, auth: NatsAuth, name: str, replicas: int) -> None:
        super().__init__(auth, name)
        self.replicas = replicas
        self._checked_at = -math.inf
        self._silence: str | None = None
        self._shards: int | None = None
        self.refusal: str | None = None
        """What NATS said when it had no room for a message, until somebody finds out that it has."""

    @classmethod
    async def open(cls, auth: NatsAuth, *, name: str, replicas: int = 1, patience_s: float = 10.0) -> Self:
        """
        Connect as `name` (as `nats server report connections` shows it), trying for `patience_s` seconds.

        Raises:
            ConfigError: the URL is none, or NATS refuses who we are.
            Unavailable: nobody answers there.
        """
        fabric = cls(auth, name, replicas)
        await fabric.connect(patience_s)
        return fabric

    async def keep_layout(self, shards: int) -> None:
        """
        Ensure the layout now and after every reconnect: a memory bucket does not outlive its server.

        Raises:
            Unavailable: NATS refused a stream, does not answer, or elects the leader of one.
        """
        self.replicas = await layout.ensure(self, shards, self.replicas)
        if self.replicas > 1:
            await layout.check_leaders(self, shards, self.replicas)
        self._shards = shards

    async def outlast_election(self, step: Callable[[], Awaitable[None]]) -> None:
        """
        Do a step of the start, again while a cluster cannot yet: it elects, or its other nodes are still starting.

        One server without copies elects nothing: there the step is done once.

        Raises:
            Unavailable: it could not within ELECTION_SECONDS; says why, and where to look.
        """
        if self.replicas == 1:
            return await step()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ELECTION_SECONDS
        backoff, told = Backoff(), ""
        while True:
            try:
                return await step()
            except Unavailable as error:
                left = deadline - loop.time()
                if left <= 0:
                    raise Unavailable(
                        f"the NATS cluster at {self._auth.where} was not ready within {ELECTION_SECONDS:.0f} s:"
                        f" {error}. Most of its nodes have to run and to reach each other; look with"
                        " `nats server report jetstream`, then start this again"
                    ) from error
                if str(error) != told:
                    told = str(error)
                    log.warning("waiting for the NATS cluster, for %.0f s at most: %s", left, told)
            await backoff.wait()

    async def check(self) -> str | None:
        """Ask JetStream for a sign of life, at most once a second, and return `problem()`."""
        now = asyncio.get_running_loop().time()
        if self._problem is None and now - self._checked_at > 1.0:
            self._checked_at = now
            try:
                await self.api("INFO", {}, timeout=1.0)
            except Unavailable as error:
                self._silence = str(error)
            else:
                self._silence = None
        return self.problem()

    def problem(self) -> str | None:
        """Say why NATS cannot be used, as a sentence, or None where nothing is known to be wrong."""
        return super().problem() or self._silence

    async def _restored(self) -> None:
        if self._shards is not None:
            self.replicas = await layout.ensure(self, self._shards, self.replicas)
        await super()._restored()

    async def api(self, operation: str, body: dict[str, Any], *, timeout: float = 5.0) -> dict[str, Any]:  # noqa: ASYNC109 -- ends here as Unavailable
        """
        Send a `$JS.API.` request and return its answer, `error` included.

        Raises:
            Unavailable: no answer within `timeout` seconds, no JetStream, or no connection.
        """
        answer = await self._ask(f"$JS.API.{operation}", msgspec.json.encode(body), None, timeout)
        if answer.headers.get(STATUS) == NO_RESPONDERS:
            raise Unavailable(f"JetStream does not answer {operation}: is it enabled in NATS at {self._auth.where}?")
        decoded: dict[str, Any] = msgspec.json.decode(answer.data)
        return decoded

    async def publish(
        self,
        subject: str,
        body: bytes,
        *,
        message_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        expected_subject_sequence: int | None = None,
        ttl_s: float | None = None,
        timeout: float = 2.0,  # noqa: ASYNC109 -- ends here as Unavailable
    ) -> PubAck:
        """
        Publish to a stream and wait for its PubAck.

        `message_id` makes a repeat harmless; whoever repeats gives it. `expected_subject_sequence` is what the
        subject's newest message must have (0: there is none). `ttl_s` needs a stream that allows it, and is rounded
        up to whole seconds.

        Raises:
            Unavailable: no PubAck; the message may be stored, or may not.
            QueueFull: the subject holds as many messages as it may.
            Conflict: the expectation does not hold; nothing is stored.
            TooLarge: body and headers do not fit NATS; nothing was sent.
        """
        sent = dict(headers) if headers else {}
        if message_id is not None:
            sent[MESSAGE_ID_HEADER] = message_id
        if expected_subject_sequence is not None:
            sent[EXPECTED_HEADER] = str(expected_subject_sequence)
        if ttl_s is not None:
            sent[TTL_HEADER] = f"{math.ceil(ttl_s)}s"
        return self._read_publish_answer(await self._ask(subject, body, sent, timeout))

    async def batch(
        self, messages: Sequence[BatchMessage], *, breathe: Callable[[], Awaitable[None]] = _give_way
    ) -> PubAck:
        """
        Publish to one stream all or nothing (ADR-50), and return the PubAck of the last.

        The messages have successive sequences, so each one's can be told. At most 1,000, each subject once. Messages
        that always come in the same batch may carry message ids: `duplicate` then says that they were stored before,
        and no sequence. `breathe` is awaited after each few of them; NATS gives a batch up that pauses for 10 s.

        Raises:
            Unavailable: no PubAck; all is stored, or nothing.
            Conflict: an expectation does not hold; nothing is stored.
            QueueFull: a subject holds as many messages as it may; nothing is stored.
            TooLarge: a message does not fit NATS; nothing is stored.
        """
        if len(messages) == 1:
            # NATS takes milliseconds for a batch, however small it is.
            (only,) = messages
            return await self.publish(
                only.subject,
                only.body,
                headers=only.headers,
                expected_subject_sequence=only.expected_subject_sequence,
                timeout=5.0,
            )
        batch_id = secrets.token_hex(12)
        wire: list[tuple[str, bytes, dict[str, str]]] = []
        for position, message in enumerate(messages, start=1):
            headers = {**message.headers, BATCH_ID_HEADER: batch_id, BATCH_SEQUENCE_HEADER: str(position)}
            if message.expected_subject_sequence is not None:
                headers[EXPECTED_HEADER] = str(message.expected_subject_sequence)
            wire.append((message.subject, message.body, headers))
        *before, (subject, body, headers) = wire
        for number, each in enumerate(before, start=1):
            await self._transmit(*each)
            if number % BURST_MESSAGES == 0:
                await breathe()
        # Whatever was wrong with those before, the answer to the last tells.
        return self._read_publish_answer(await self._ask(subject, body, headers | {BATCH_COMMIT_HEADER: "1"}, 5.0))

    async def get(
        self,
        stream: str,
        *,
        sequence: int | None = None,
        subject: str | None = None,
        timeout: float = 5.0,  # noqa: ASYNC109 -- ends here as Unavailable
    ) -> Stored | None:
        """
        Read one message by its sequence, or the newest of a subject; None where there is none.

        What was confirmed before is seen, whichever server confirmed it.

        Raises:
            Unavailable: NATS does not answer within `timeout` seconds.
        """
        wanted = {"seq": sequence} if subject is None else {"last_by_subj": subject}
        if self.replicas > 1:
            return await self._get_from_leader(stream, wanted, timeout)
        answer = await self._ask(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(wanted), None, timeout)
        if STATUS not in answer.headers:
            return read_stored(answer)
        if answer.headers[STATUS] == NOT_FOUND:
            return None
        raise direct_get_error(stream, answer)

    async def first(self, stream: str, subject_filter: str) -> Stored | None:
        """
        Read the oldest message whose subject matches; None where there is none.

        Raises:
            Unavailable: NATS does not answer.
        """
        page, _ = await self._get_page(stream, {"seq": 1, "next_by_subj": subject_filter, "batch": 1})
        return page[0] if page else None

    async def page(
        self,
        stream: str,
        subject_filter: str,
        *,
        first: int,
        most: int = PAGE_MESSAGES,
        max_bytes: int | None = None,
    ) -> list[Stored]:
        """
        Read the oldest messages from the sequence `first` on whose subject matches; none where there are none any more.

        Of about `max_bytes`, where given, and one at least.

        Raises:
            Unavailable: NATS does not answer.
        """
        wanted = {"seq": first, "next_by_subj": subject_filter, "batch": most}
        page, _ = await self._get_page(stream, wanted if max_bytes is None else wanted | {"max_bytes": max_bytes})
        return page

    async def get_many(self, stream: str, subject_filter: str) -> list[Stored]:
        """
        Read every message whose subject matches, oldest first.

        Raises:
            Unavailable: NATS does not answer.
        """
        return [stored async for page in self.pages(stream, subject_filter) for stored in page]

    async def pages(
        self, stream: str, subject_filter: str, *, first: int = 1, max_bytes: int | None = None
    ) -> AsyncIterator[list[Stored]]:
        """
        Read every message whose subject matches, oldest first, a page at a time; of about `max_bytes`, where given.

        Begins at the sequence `first`, and ends with what was there when it began, or later.

        Raises:
            Unavailable: NATS does not answer.
        """
        start = first
        lag = _Lag(self, stream, subject_filter)
        await lag.begin()
        while True:
            wanted = {"seq": start, "next_by_subj": subject_filter, "batch": PAGE_MESSAGES}
            page, end = await self._get_page(stream, wanted if max_bytes is None else wanted | {"max_bytes": max_bytes})
            if page:
                yield page
                start = page[-1].sequence + 1
            if (not page or end.headers.get(PENDING_HEADER, "0") == "0") and not await lag.outlast(start - 1):
                return

    async def walk(
        self, stream: str, subject_filter: str, *, first: int = 1, at_a_time: int | None = None
    ) -> AsyncIterator[Stored]:
        """
        Read the messages whose subject matches one by one, oldest first; stop when enough were seen.

        Begins at the sequence `first`, and asks NATS for `at_a_time`: as many as are likely to be enough. The newest
        may be missing where NATS keeps several copies.

        Raises:
            Unavailable: NATS does not answer.
        """
        wanted = {"next_by_subj": subject_filter, "batch": at_a_time or WALK_MESSAGES, "max_bytes": WALK_BYTES}
        start = first
        while True:
            page, end = await self._get_page(stream, wanted | {"seq": start})
            for stored in page:
                yield stored
            if not page or end.headers.get(PENDING_HEADER, "0") == "0":
                return
            start = page[-1].sequence + 1

    async def get_last_many(self, stream: str, subject_filter: str) -> list[Stored]:
        """
        Read the newest message of each subject that matches, oldest first.

        Raises:
            Unavailable: NATS does not answer.
        """
        newest = {each.subject: each async for page in self.last_pages(stream, subject_filter) for each in page}
        return sorted(newest.values(), key=lambda each: each.sequence)

    async def last_pages(self, stream: str, subject_filter: str) -> AsyncIterator[list[Stored]]:
        """
        Read the newest message of each subject that matches, a page at a time; older ones may come before it.

        Raises:
            Unavailable: NATS does not answer.
        """
        lag = _Lag(self, stream, subject_filter)
        await lag.begin()
        while True:
            page, end = await self._get_page(stream, {"multi_last": [subject_filter]})
            if end.headers[STATUS] == TOO_MANY_RESULTS:
                break
            if not await lag.outlast(max((each.sequence for each in page), default=0)):
                yield page
                return
        # NATS answers for 1,024 subjects at most, however they are paged.
        async for page in self.pages(stream, subject_filter):
            yield page

    async def delete(self, stream: str, sequence: int) -> None:
        """
        Delete one message, if it is still there.

        Raises:
            Unavailable: not known to be deleted.
        """
        answer = await self.api(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": True})
        reason = answer.get("error", {}).get("description")
        if reason is not None and "no message found" not in reason:
            raise Unavailable(f"NATS did not delete sequence {sequence} of {stream}: {reason}")

    async def is_alone_with(self, stream: str) -> bool:
        """
        Tell whether a stream is on the one server that this connection leads to, so that its restart ends this too.

        Not so in a cluster, and where a leaf passes on what is for another server.

        Raises:
            Unavailable: NATS does not answer, or has no such stream.
        """
        answer = await self.api(f"STREAM.INFO.{stream}", {})
        if error := answer.get("error"):
            raise Unavailable(f"NATS does not tell of stream {stream}: {error.get('description')}")
        cluster = answer.get("cluster") or {}
        # nats-py keeps what the server said of itself, and hands out only parts of it.
        name = self._client._server_info.get("server_name")  # noqa: SLF001
        return name is not None and "name" not in cluster and cluster.get("leader") == name

    async def counts(self, stream: str, subject_filter: str) -> dict[str, int]:
        """
        Count a stream's messages for each subject that matches.

        Raises:
            Unavailable: NATS does not answer, or has no such stream.
        """
        found: dict[str, int] = {}
        while True:
            answer = await self.api(f"STREAM.INFO.{stream}", {"subjects_filter": subject_filter, "offset": len(found)})
            if error := answer.get("error"):
                raise Unavailable(f"NATS cannot count in stream {stream}: {error.get('description')}")
            page: dict[str, int] = answer["state"].get("subjects") or {}
            found |= page
            if not page or len(found) >= answer.get("total", 0):
                return found

    async def _get_page(self, stream: str, wanted: dict[str, Any]) -> tuple[list[Stored], CoreMessage]:
        """Make one batched direct get: the messages, and the status that ended them."""
        *messages, end = await self._exchange(
            f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(wanted), None, 5.0, many=True
        )
        if end.headers[STATUS] not in ("204", NOT_FOUND, TOO_MANY_RESULTS):
            raise direct_get_error(stream, end)
        return [read_stored(each) for each in messages], end

    async def _get_from_leader(self, stream: str, wanted: dict[str, Any], patience_s: float) -> Stored | None:
        answer = await self._ask(f"$JS.API.STREAM.MSG.GET.{stream}", msgspec.json.encode(wanted), None, patience_s)
        return read_get_answer(stream, answer)

    def _read_publish_answer(self, answer: CoreMessage) -> PubAck:
        try:
            return read_publish_answer(answer)
        except StoreFull as error:
            self.refusal = str(error)
            raise


class _Lag:
    """
    Waits while the copy of a stream that answers lacks what its leader had when asked: `begin`, then `outlast`.

    A copy that is behind has what is older, so the newest message tells of all that were stored. One that was deleted
    meanwhile may still be listed.
    """

    def __init__(self, fabric: Fabric, stream: str, subject_filter: str) -> None:
        self._fabric = fabric
        self._stream = stream
        self._filter = subject_filter
        self._newest = 0
        self._backoff = Backoff()
        self._deadline = math.inf

    async def begin(self) -> None:
        """Ask the leader for its newest; nothing where there is one copy."""
        if self._fabric.replicas > 1:
            stored = await self._fabric.get(self._stream, subject=self._filter)
            self._newest = 0 if stored is None else stored.sequence

    async def outlast(self, seen: int) -> bool:
        """
        Wait a moment if a copy that has shown what it has up to the sequence `seen` is behind, and say whether it was.

        Raises:
            Unavailable: it stays behind.
        """
        if seen >= self._newest:
            return False
        now = asyncio.get_running_loop().time()
        self._deadline = min(self._deadline, now + BEHIND_SECONDS)
        if now > self._deadline:
            raise Unavailable(f"a copy of NATS's stream {self._stream} is behind its leader; try again")
        await self._backoff.wait()
        # What was the newest may be deleted by now.
        await self.begin()
        return True
