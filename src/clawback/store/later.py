"""
Messages that NATS publishes at a given time, and the relay that takes them where they belong.

`arm` stores a schedule (ADR-51) under the subject `later.at.…`; when its time comes NATS moves it to `later.due.…`, in
the same stream. NATS is the clock, so no server has to be up then, and a time that is missed because NATS itself was
down is made up for at its next start. Every server relays: what is due is given to one of them, whose handler does with
it what it is for. NATS hears from that server while the handler works; where it does not, because the server was killed
or is frozen, another is given the message within seconds. So a handler may see a message again, or two at a time, and
must be harmless to repeat.

Only `@at` is used: the native cron and `@every` skip what comes due while NATS is down (measured on nats-server 2.15).
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from clawback.errors import BadPayload, ClawbackError, Conflict, NotFound, Rejected, Unavailable
from clawback.fabric import subjects
from clawback.fabric.jetstream import STATUS, CoreMessage
from clawback.fabric.layout import SECOND_NS
from clawback.fabric.streams import Fabric
from clawback.telemetry.aside import Aside

STREAM = "LATER"
WITHDRAWAL = "withdraw"
"""What jobs are called that withdraw what waits of a deleted source."""

DISCARD = "discard"
"""What jobs are called that discard what waits or is dead."""

CONSUMER = "relay"
"""One for all servers: each message that is due goes to one of them."""

PULLS = 4
"""Requests of one server that wait for something to come due."""

PULL_MESSAGES = 32
"""What one request brings at most: a server that is frozen has that much for ACK_WAIT_SECONDS."""

AT_WORK = 1000
"""
Messages that one server's handlers have at a time. So many may come due in one second, and a handler does what others
wait for first: it should not have to wait until those before have done the rest.
"""

PULL_SECONDS = 20.0
"""How long a pull waits for something to come due. A lost one delays nothing else by more than this."""

ACK_WAIT_SECONDS = 3.0
"""What a server took and then was silent about, because it was killed, is given to another after this time."""

SIGN_SECONDS = 1.0
"""How often a server says that a handler still works on what it took: more than one sign may be late."""

WORK_SECONDS = 30.0
"""A handler that takes longer hangs: no more signs are given, and another server tries."""

RETRY_SECONDS = 1.0
"""Before a message is given again whose handler could not reach NATS."""

PATIENT_RETRY_SECONDS = 30.0
MAX_RETRY_SECONDS = 600.0
"""
Before one is that cannot be taken as it is: a full line, a damaged record, a bug. People mend those. Each time it takes
twice as long, up to the second.
"""

MAX_TRIES = 9
_TRIES = frozenset(str(number) for number in range(MAX_TRIES + 1))
"""Up to which attempts are counted."""

LAST_YEAR = 2200
"""NATS counts nanoseconds in 64 bits: what is armed for 2263 or later is published at once."""

ACK_TIMEOUT_SECONDS = 5.0

_PULL = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}"
_WANTED = json.dumps({"batch": PULL_MESSAGES, "expires": int(PULL_SECONDS * SECOND_NS)}).encode()
_EXPIRED = "408"

_ACK_TOKENS = 9
"""Of the subject that a message is acked on, in its older form."""

_SCHEDULE_HEADER = "Nats-Schedule"
_TARGET_HEADER = "Nats-Schedule-Target"
_TRIES_HEADER = "Clawback-Tries"

ASIDE = "message that came due"
"""What is set aside here is called so."""

log = logging.getLogger("clawback.fabric")


class Due(Struct, frozen=True):
    """
    A message whose time has come, with the headers and the body it was armed with.

    `published_at` is when NATS published it, by its own clock; None where nothing says so.
    """

    profile_id: str
    name: str
    headers: dict[str, str]
    data: bytes
    published_at: datetime | None = None


Handler = Callable[[Due], Awaitable[None]]


async def arm(
    fabric: Fabric,
    kind: str,
    profile_id: str,
    name: str,
    at: datetime,
    data: bytes,
    headers: Mapping[str, str],
    *,
    replace: bool = True,
) -> None:
    """
    Have a message published at a time, in place of one of this kind and name that is armed already.

    A time in the past is now. It may be a quarter of a second late.

    Raises:
        Rejected: the time is too far off for NATS.
        Conflict: one is armed already, and `replace` is false.
        Unavailable: not known to be stored; doing it again does no harm.
    """
    utc = at.astimezone(UTC)
    if utc.year > LAST_YEAR:
        raise Rejected(f"nothing can be armed for {utc.year}: accepted is a time before the end of {LAST_YEAR}")
    schedule = {
        _SCHEDULE_HEADER: f"@at {utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03}Z",
        _TARGET_HEADER: subjects.due_subject(kind, profile_id, name),
    }
    await fabric.publish(
        subjects.later_subject(kind, profile_id, name),
        data,
        headers={**headers, **schedule},
        expected_subject_sequence=None if replace else 0,
    )


async def disarm(fabric: Fabric, kind: str, profile_id: str, name: str) -> None:
    """
    Forget a message that is armed, if it is; one that is due already is relayed.

    Raises:
        Unavailable: not known to be forgotten.
    """
    answer = await fabric.api(f"STREAM.PURGE.{STREAM}", {"filter": subjects.later_subject(kind, profile_id, name)})
    if error := answer.get("error"):
        raise Unavailable(f"NATS did not forget a schedule: {error.get('description', json.dumps(error))}")


async def pending(fabric: Fabric, kind: str) -> set[tuple[str, str]]:
    """
    Name what of a kind is armed, or is due and not yet taken: profile ids and names.

    Raises:
        Unavailable: NATS did not answer.
    """
    found = set()
    for subject in await fabric.counts(STREAM, subjects.every_later_filter(kind)):
        with contextlib.suppress(ValueError):  # somebody else's
            found.add(subjects.parse_later_subject(subject)[1:])
    return found


def _read_time(reply: str) -> datetime | None:
    """Read from the subject that a message is acked on when NATS stored it; None where it does not say."""
    parts = reply.split(".")
    # `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<its own>.<time>.<pending>`; the newer form has two before the
    # stream, and may have one behind.
    place = 7 if len(parts) == _ACK_TOKENS else 9
    if parts[:2] != ["$JS", "ACK"] or len(parts) <= place or not parts[place].isdecimal():
        return None
    return datetime.fromtimestamp(int(parts[place]) / 1e9, UTC)


def _read_tries(headers: Mapping[str, str]) -> int:
    text = headers.get(_TRIES_HEADER, "")
    return int(text) if text in _TRIES else 0


def armed_for(headers: Mapping[str, str]) -> datetime:
    """
    Read when an armed message will be published, from its headers.

    Raises:
        KeyError, ValueError: it is none of ours.
    """
    return datetime.fromisoformat(headers[_SCHEDULE_HEADER].removeprefix("@at "))


class Relay:
    """This server's share of the relay. Name the handlers, `open`, then keep `run` running."""

    def __init__(self, fabric: Fabric, aside: Aside | None = None) -> None:
        self._fabric = fabric
        self._aside = aside or Aside()
        self._handlers: dict[str, Handler] = {}
        self._inbox = fabric.inbox()
        self._answers: list[asyncio.Queue[CoreMessage | None]] = []
        self._room = asyncio.Semaphore(AT_WORK)

    async def open(self) -> None:
        """Make the relay's consumer where there is none."""
        await self._fabric.outlast_election(self._ensure_consumer)
        self._fabric.on_reconnect(self._pull_again)

    def on_due(self, kind: str, handler: Handler) -> None:
        """
        Have messages of a kind relayed by `handler`.

        It raises BadPayload for what is none of its own, which is then dropped with an error in the log; after any
        other failure the message is given again.
        """
        self._handlers[kind] = handler

    async def run(self) -> None:
        """Take what is due to where it belongs, for as long as the server runs."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(PULLS):
                tasks.create_task(self._keep_pulling(f"{self._inbox}.{number}", tasks), name=f"relay {number}")

    async def _keep_pulling(self, inbox: str, tasks: asyncio.TaskGroup) -> None:
        # An inbox for each: a message that is pulled keeps its own subject and does not name the pull.
        answers = asyncio.Queue[CoreMessage | None]()
        self._answers.append(answers)
        await self._fabric.subscribe(inbox, answers.put_nowait)
        while True:
            try:
                await self._fabric.send(_PULL, _WANTED, reply=inbox)
                for _ in range(PULL_MESSAGES):
                    message = await self._next(answers)
                    if message is None:
                        break
                    tasks.create_task(self._take(message), name=f"relay of {message.subject}")
            except Unavailable as error:
                log.debug("the relay will try again: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
            async with self._room:
                pass  # nothing is asked for that nobody has the time for

    async def _next(self, answers: asyncio.Queue[CoreMessage | None]) -> CoreMessage | None:
        """Wait for something to come due; None when it is time to ask anew."""
        try:
            async with asyncio.timeout(PULL_SECONDS + ACK_TIMEOUT_SECONDS):
                message = await answers.get()
        except TimeoutError:
            return None
        if message is None or STATUS not in message.headers:
            return message
        if message.headers[STATUS] == _EXPIRED:
            return None
        raise Unavailable(f"NATS ended a pull of the relay: {message.headers.get('Description', '')}")

    async def _take(self, message: CoreMessage) -> None:
        try:
            async with self._room:
                await self._handle(message)
        except Unavailable as error:
            # It was neither acked nor given back, so it is given again, here or elsewhere.
            log.debug("the relay is cut off: %s", error)
        except Exception:
            # It ends one message's turn, and not the relay of all others.
            log.exception("the relay failed over what came due at %s, which is given again", message.subject)

    async def _handle(self, message: CoreMessage) -> None:
        try:
            kind, profile_id, name = subjects.parse_due_subject(message.subject)
        except ValueError:
            log.error("what came due at %s is dropped: no subject of ours", message.subject)  # noqa: TRY400 -- the sentence says it
            await self._end(message)
            return
        due = Due(profile_id, name, message.headers, message.data, _read_time(message.reply))
        handler = self._handlers.get(kind)
        if handler is None:
            # A newer server may know what this is.
            await self._try_later(message, kind, due, "nothing here takes it")
            return
        try:
            async with self._signs(message):
                await handler(due)
        except BadPayload as error:
            log.error("what came due at %s is dropped: %s", message.subject, error)  # noqa: TRY400 -- the sentence says it
        except Unavailable as error:
            log.warning("what came due at %s is tried again: %s", message.subject, error)
            await self._give_back(message, RETRY_SECONDS)
            return
        except ClawbackError as error:
            await self._try_later(message, kind, due, str(error))
            return
        except Exception:
            # A bug in one handler must not end the relay of the others.
            log.exception("what came due at %s is tried again", message.subject)
            await self._try_later(message, kind, due, "an error of this server: its log has it")
            return
        self._aside.clear(ASIDE, message.subject)
        await self._end(message)

    async def _end(self, message: CoreMessage) -> None:
        with contextlib.suppress(NotFound):
            # Not confirmed is given again, which does no harm.
            await self._fabric.request(message.reply, b"+ACK", timeout=ACK_TIMEOUT_SECONDS)

    async def _try_later(self, message: CoreMessage, kind: str, due: Due, reason: str) -> None:
        """
        Arm what nobody can take now for a later time, and end it here.

        What is only given back stays among the consumer's unacked messages, of which NATS allows so many: those of one
        profile or kind would stop all others.
        """
        tries = _read_tries(due.headers)
        seconds = min(PATIENT_RETRY_SECONDS * 2**tries, MAX_RETRY_SECONDS)
        if self._aside.put(ASIDE, message.subject, reason):
            log.warning("what came due at %s is tried again in %.0f s: %s", message.subject, seconds, reason)
        kept = {header: value for header, value in due.headers.items() if not header.startswith("Nats-")}
        at = datetime.now(UTC) + timedelta(seconds=seconds)
        with contextlib.suppress(Conflict):  # something newer is armed in its place
            await arm(
                self._fabric,
                kind,
                due.profile_id,
                due.name,
                at,
                due.data,
                kept | {_TRIES_HEADER: str(min(tries + 1, MAX_TRIES))},
                replace=False,
            )
        await self._end(message)

    @contextlib.asynccontextmanager
    async def _signs(self, message: CoreMessage) -> AsyncIterator[None]:
        """Tell NATS that the message is worked on, for as long as it may be."""

        async def sign() -> None:
            for _ in range(int(WORK_SECONDS / SIGN_SECONDS)):
                await asyncio.sleep(SIGN_SECONDS)
                with contextlib.suppress(Unavailable):  # the handler has to do with that itself
                    await self._fabric.send(message.reply, b"+WPI")

        signing = asyncio.create_task(sign(), name="relay signs")
        try:
            yield
        finally:
            signing.cancel()

    async def _give_back(self, message: CoreMessage, seconds: float) -> None:
        delay = json.dumps({"delay": int(seconds * SECOND_NS)})
        await self._fabric.send(message.reply, f"-NAK {delay}".encode())

    async def _pull_again(self) -> None:
        """Make up for the pulls that the lost connection took with it."""
        await self._ensure_consumer()
        for answers in self._answers:
            answers.put_nowait(None)

    async def _ensure_consumer(self) -> None:
        answer = await self._fabric.api(
            f"CONSUMER.CREATE.{STREAM}.{CONSUMER}.{subjects.DUE_FILTER}",
            {
                "stream_name": STREAM,
                "action": "",
                "config": {
                    "durable_name": CONSUMER,
                    "name": CONSUMER,
                    "description": "Takes what is due to where it belongs; shared by all servers",
                    "filter_subject": subjects.DUE_FILTER,
                    "ack_policy": "explicit",
                    "deliver_policy": "all",
                    "ack_wait": int(ACK_WAIT_SECONDS * SECOND_NS),
                    "max_ack_pending": 16 * AT_WORK,
                    "max_deliver": -1,
                },
            },
        )
        if error := answer.get("error"):
            raise Unavailable(f"NATS refused consumer {CONSUMER}: {error.get('description', json.dumps(error))}")
