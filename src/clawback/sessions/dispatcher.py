"""
The dispatcher: drives the lane of one active connection.

    wait for something to happen → ask the lane what to do → do it, in order → repeat

One task, one thing at a time: an ack is confirmed by JetStream before anything else leaves. While NATS is away it
insists, because nothing it does may be given up; it gives up only when its connection has ended, and then the next
holder of the session finds everything in the durable stack.

The stack is its proof that the session is its own as well: it writes it before it delivers, puts back or sets aside
anything, and looks before it ends what is acked. Once somebody else has written it, it does nothing more and ends.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Protocol, TypeVar

from msgspec import structs

from clawback import wire
from clawback.errors import BadPayload, Conflict, Rejected, Unavailable
from clawback.fabric import subjects
from clawback.fabric.jetstream import Stored
from clawback.model import (
    MAX_NESTED,
    TIMEOUT_SECONDS,
    Address,
    Event,
    EventState,
    Held,
    Priority,
    random_id,
)
from clawback.sessions import lane as rules
from clawback.sessions.attempts import Attempts
from clawback.sessions.ending import Ending, end_record
from clawback.sessions.showing import show_event
from clawback.sessions.withdrawal import Discard, Withdraw, withdraw_page
from clawback.store.events import EVENT_HEADER, EventStore, decode_event, turn_of
from clawback.store.history import History
from clawback.store.lines import IN_PROGRESS_SECONDS, Lines, Pulled, is_in_line
from clawback.store.stacks import Stacks, Tenure
from clawback.system.waits import Mailbox, Signal
from clawback.telemetry import metrics

if TYPE_CHECKING:
    from clawback.telemetry.tracing import Traces

FLUSH_SECONDS = 2.0
"""How long a client that names no instance may take to hand in the acks it kept while offline."""

RETRY_SECONDS = (0.05, 1.0)
"""First and longest wait between two tries while NATS does not answer."""

CHORE_SECONDS = 4.0
"""How long what waits is withdrawn for one who asks, page by page between other things; then he asks again."""

LATE_SECONDS = 0.5
"""A clock that looks so much later than it was to says that the server stood still; so long clients' acks are read."""

LOOK_AGAIN_SECONDS = 0.05
"""
NATS confirms an event a moment before its consumers know of it (nats-server 2.15): a pull that a wake-up sets off may
find the line still empty. Without a second look the event would wait for the next sweep.
"""

log = logging.getLogger("clawback.sessions")

T = TypeVar("T")


class _Chore:
    """Something to be done between two inputs of the lane: what waits is ended, of the stream from `first` on."""

    def __init__(self, wanted: Withdraw | Discard) -> None:
        self.wanted = wanted
        self.first = 1
        self.until = time.monotonic() + CHORE_SECONDS
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()


class Client(Protocol):
    """What a dispatcher needs of its connection: sessions/socket.py has it, and tests have a scripted one."""

    id: str
    names_events: bool

    async def send(self, message: wire.ServerMessage) -> bool:
        """Send one frame and say whether it is on its way; once the connection has ended none is."""


class Dispatcher:
    """
    Gives one session its events, from `run` until `stop`.

    `ack` and `wake` may be called at any time from the same event loop and return at once.
    """

    def __init__(
        self,
        address: Address,
        client: Client,
        lines: Lines,
        stacks: Stacks,
        events: EventStore,
        history: History,
        *,
        server_id: str = "",
        default_seconds: Callable[[], float] = lambda: TIMEOUT_SECONDS,
        traces: "Traces | None" = None,
    ) -> None:
        self._address = address
        self._client = client
        self._lines = lines
        self._stacks = stacks
        self._tenure = Tenure(stacks, address, f"{server_id}.{client.id}.{random_id(8)}")
        self._events = events
        self._history = history
        self._ending = Ending(lines, events, history, insist=self._insist)
        self._default_seconds = default_seconds
        self._traces = traces
        self._attempts = Attempts(address, subjects.event_stream(lines.shard(address)), client.id, traces)
        self._manners = rules.NAMED if client.names_events else rules.UNNAMED
        self._lane = rules.Lane(manners=self._manners)
        self._inbox: Mailbox[rules.Input | _Chore | None] = Mailbox()
        self._stopping = Signal()
        # Lines that were said to hold something: of which the lane has not heard, and not found empty since.
        self._heard: set[Priority] = set()
        self._promised: set[Priority] = set()
        self._acks: dict[str, list[wire.Ack]] = {}
        # Others than the client who wait for an ack of theirs.
        self._settled: dict[str, list[asyncio.Future[bool]]] = {}
        self._reasons: dict[str, str] = {}
        self._chores: set[_Chore] = set()
        # What has ended, and is confirmed only after what that lets out.
        self._confirm_later: list[tuple[str, bool]] = []
        # What is asked of the lane, in the order of the inbox, until it is answered.
        self._wishes: list[asyncio.Future[None]] = []
        # What is known of held events: how they came, what they are, and their bodies until they are sent.
        self._pulled: dict[str, Pulled] = {}
        self._known: dict[str, Event] = {}
        self._turns: dict[str, str] = {}
        self._bodies: dict[str, bytes] = {}
        self._extend_at = 0.0
        # The moment at which the clock was to decide, and let what the client had sent by then be read first.
        self._waited_for = 0.0

    def ack(self, ack: wire.Ack) -> None:
        """Take the session's word that it is done with an event."""
        self._acks.setdefault(ack.event_id, []).append(ack)
        self._inbox.put_nowait(rules.Acked(ack.event_id))

    async def answer(self, request: wire.HeldRequest) -> wire.EventFrame | None:
        """
        Do what is asked about an event that the session holds; only `event_next` has something to return.

        Raises:
            Rejected: the session does not hold it.
            Unavailable: the session moved to another server or connection first; look before doing it again.
        """
        match request:
            case wire.EventExtend(event_id=event_id, seconds=seconds):
                await self._wish(rules.Extended(event_id, seconds))
            case wire.EventDefer(event_id=event_id, delay_seconds=delay):
                await self._wish(rules.Deferred(event_id, delay or 0))
            case wire.EventFail(event_id=event_id, reason=reason):
                if event_id in self._known:
                    self._reasons[event_id] = reason or ""
                await self._wish(rules.Failed(event_id))
            case wire.EventSeen(event_id=event_id):
                await self._wish(rules.Seen(event_id))
            case wire.EventNext():
                return await self._active_event()
        return None

    async def carry_out(self, request: wire.HeldEventRequest | wire.Ack) -> bool:
        """
        Do what somebody else than the client asks about an event that the session holds; False where it does not.

        The client is told to let go of it first, but for more time: what it is given next must not find it busy.

        Raises:
            Unavailable: the session ended or moved first; look before doing it again.
        """
        keeps = isinstance(request, wire.EventExtend | wire.EventSeen)
        if self._client.names_events and not keeps:
            await self._client.send(wire.TimedOut(request.event_id))
        if isinstance(request, wire.Ack):
            settled: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._settled.setdefault(request.event_id, []).append(settled)
            # Without the id of a request: it is not the client's, and is not answered to it.
            self.ack(wire.Ack(request.event_id, request.summary))
            return await settled
        try:
            await self.answer(request)
        except Rejected:
            return False
        return True

    async def withdraw(self, wanted: Withdraw | Discard) -> bool:
        """
        End what waits in the session's lines and is not held, for a while; whether nothing was left.

        Raises:
            Unavailable: the session ended or moved first.
        """
        chore = _Chore(wanted)
        self._chores.add(chore)
        self._inbox.put_nowait(chore)
        try:
            return await chore.done
        finally:
            self._chores.discard(chore)

    async def visit(self, request: wire.HeldEventRequest | wire.Ack | Withdraw | Discard) -> bool:
        """
        Do one such thing for a session that nobody is connected for; call instead of `run`, holding its lease.

        Raises:
            Unavailable: NATS did not answer when it was time to stop.
        """
        await self._restore(frozenset())
        asked = self.withdraw(request) if isinstance(request, Withdraw | Discard) else self.carry_out(request)
        done = asyncio.create_task(asked, name="what a visitor asks")
        try:
            # Not started, so the lane does as it is told and delivers nothing.
            while (happened := await self._inbox.get()) is not None:
                await self._happened(happened)
                if all(chore.done.done() for chore in self._chores):
                    return await done
            raise Unavailable("the session was asked for by a connection; look before you repeat it")
        except Conflict as error:
            raise Unavailable("another connection took the session; look before you repeat it") from error
        finally:
            done.cancel()
            await asyncio.wait([done])

    def wake(self, priority: Priority) -> None:
        """Say that an event may wait in a line."""
        self._promised.add(priority)
        self._look_at(priority)

    def stop(self) -> None:
        """End `run`, after the acks that came before this and within what NATS allows."""
        self._stopping.set()
        self._inbox.put_nowait(None)

    async def run(self, client_holds: Iterable[str]) -> None:
        """
        Serve the session until `stop`, or until another has it; call once, holding its lease.

        `client_holds` are the events the client says it still has.

        Raises:
            Unavailable: NATS did not answer when it was time to stop. What was under way may or may not have happened.
        """
        try:
            async with self._lines.listen(self._address, self.wake):
                await self._begin(frozenset(client_holds))
                while (happened := await self._next()) is not None:
                    await self._happened(happened)
        except Conflict as error:
            log.info(
                "lost",
                extra={
                    "action": "session_lost",
                    "profile": self._address.profile_id,
                    "tag": self._address.tag,
                    "connection": self._client.id,
                    "why": str(error),
                },
            )
            await self._give_back()
        finally:
            for wish in self._wishes:
                if not wish.done():
                    wish.set_exception(
                        Unavailable("this session was taken over or is ending; look before you repeat it")
                    )
            self._wishes.clear()
            for settled in (each for waiting in self._settled.values() for each in waiting):
                if not settled.done():
                    settled.set_exception(Unavailable("the session ended or moved before the ack was confirmed"))
            self._settled.clear()
            for chore in self._chores:
                if not chore.done.done():
                    chore.done.set_exception(Unavailable("the session ended or moved; ask again"))

    async def _give_back(self) -> None:
        """Leave what was pulled and not delivered to who has the session now."""
        delivered = {held.event_id for held in self._tenure.stored}
        for event_id, pulled in self._pulled.items():
            if event_id not in delivered:
                await self._lines.give_back(pulled, pulled.headers[EVENT_HEADER].encode())

    def _look_at(self, priority: Priority) -> None:
        """Let the lane hear of a line with its next input, which is this one at the latest."""
        if priority not in self._heard:
            self._heard.add(priority)
            self._inbox.put_nowait(rules.Woken(priority))

    async def _wish(self, wish: rules.Wish) -> None:
        """Ask something of the lane and wait until it is done, or refused."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wishes.append(answer)
        self._inbox.put_nowait(wish)
        await answer

    async def _active_event(self) -> wire.EventFrame | None:
        """Build the frame of the active event once more; that is no delivery."""
        held = self._lane.active
        event = None if held is None else self._known.get(held.event_id)
        if held is None or event is None or held.attempt == 0 or (body := await self._body(held)) is None:
            return None
        return await show_event(event, body, held, names_events=self._client.names_events)

    async def _restore(self, client_holds: frozenset[str]) -> None:
        self._lines.forget(self._address)
        readable = []
        for held, stored in await self._insist(lambda: self._tenure.begin(self._keep_unreadable)):
            try:
                event, body = decode_event(stored.headers, stored.data)
            except BadPayload as error:
                await self._discard(stored, None, error)
                continue
            self._known[event.id], self._bodies[event.id] = event, body
            self._turns[event.id] = turn_of(stored.headers, event)
            if held.ends_as is None:
                readable.append(held)
                continue
            # Its dead letter may be there already.
            state = EventState.TIMED_OUT if held.ends_as == rules.TIMED_OUT else EventState.DEAD
            await self._confirm_end(held, state, held.ends_as)
        self._lane = rules.Lane(readable, client_holds, self._manners)

    async def _keep_unreadable(self, record: Stored) -> None:
        await self._events.bury_unreadable(self._address, record.headers, record.data)

    async def _begin(self, client_holds: frozenset[str]) -> None:
        await self._restore(client_holds)
        kept = {held.event_id: held for held in self._lane.stack if held.returns_at is None}
        for gone in client_holds - kept.keys():
            await self._client.send(wire.TimedOut(gone))
        for event_id in client_holds & kept.keys():
            self._attempts.resume(self._known[event_id], kept[event_id])
        if self._lane.stack and not self._client.names_events:
            await self._take_kept_acks()
        waiting = await self._insist(lambda: self._lines.waiting(self._address))
        await self._happened(rules.Started(frozenset(waiting)))

    @property
    def unanswered_acks(self) -> tuple[wire.Ack, ...]:
        """The acks that came too late for `run`; its caller settles them."""
        return tuple(ack for acks in self._acks.values() for ack in acks)

    def let_go(self, why: str) -> None:
        """Tell the log why the client has nothing any more that it was given (see `Attempts`); call after `run`."""
        self._attempts.let_go(self._lane.stack, why)

    async def store_loss(self, *, clean: bool) -> None:
        """
        Note that the connection ended while `run` was serving it; call after `run`.

        Raises:
            Unavailable: not known to be stored. Nothing is lost by it but the count.
        """
        stack = self._lane.lost(self._now(), clean=clean)
        if stack != self._lane.stack:
            # Who has the session now keeps its own count.
            with contextlib.suppress(Conflict):
                await self._tenure.store(stack)

    async def _take_kept_acks(self) -> None:
        """Settle what a client without instances hands in on reconnect, so that it is not given the same again."""
        deadline = time.monotonic() + FLUSH_SECONDS
        while self._lane.stack and (left := deadline - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left):
                    happened = await self._inbox.get()
            except TimeoutError:
                return
            if happened is None:
                self._inbox.put_nowait(None)
                return
            await self._happened(happened)

    async def _next(self) -> rules.Input | _Chore | None:
        """Wait for the next input, keeping what is held alive in JetStream meanwhile; None when it is time to stop."""
        while True:
            now = self._now()
            lane_at = now + wait if (wait := self._lane.wait_seconds(now)) is not None else math.inf
            # A session that holds nothing has nothing to wake up for.
            wake_at = min(lane_at, self._extend_at if self._pulled else math.inf)
            try:
                async with asyncio.timeout(None if wake_at == math.inf else max(0.0, wake_at - now)):
                    return await self._inbox.get()
            except TimeoutError:
                if self._now() >= lane_at:
                    if self._now() - lane_at > LATE_SECONDS and self._waited_for != lane_at:
                        # It is this process that stood still, and timers come before what is read: let it be read.
                        self._waited_for = lane_at
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(LATE_SECONDS):
                                return await self._inbox.get()
                    return rules.Ticked()
            self._extend_at = self._now() + IN_PROGRESS_SECONDS
            for pulled in self._pulled.values():
                with contextlib.suppress(Unavailable):
                    # What this misses while NATS is away is given again by it, and recognised.
                    await self._lines.extend(pulled)

    def _now(self) -> float:
        """Read the clock that events are timed by: the time of day may jump, and a suspended machine lets none work."""
        return time.monotonic()

    async def _happened(self, happened: rules.Input | _Chore) -> None:
        """
        Feed the lane, do what it says, and feed it what comes of that, until it wants nothing more.

        Where interrupts may wait that have no room, an end is confirmed after the one that it let out: so a client that
        hears of it knows that nothing comes before what it resumes.
        """
        if isinstance(happened, _Chore):
            await self._withdraw_some(happened)
            return
        try:
            await self._go_through(happened)
        finally:
            while self._confirm_later:
                event_id, settled = self._confirm_later.pop(0)
                await self._answer(event_id, settled=settled)

    async def _go_through(self, happened: rules.Input) -> None:
        is_wish = isinstance(happened, rules.Deferred | rules.Extended | rules.Failed | rules.Seen)
        inputs = deque([happened])
        while inputs:
            woken, self._heard = self._heard, set()
            commands = self._lane.handle(inputs.popleft(), self._now(), woken, wall=time.time())
            for command in commands:
                if is_wish and isinstance(command, rules.Disown):
                    self._grant(refusal=f"this session does not hold event {command.event_id}")
                    is_wish = False
                elif (outcome := await self._do(command)) is not None:
                    inputs.append(outcome)
            if is_wish:
                if isinstance(happened, rules.Failed):
                    self._attempts.fail(self._lane.stack, happened.event_id)
                self._grant()
                is_wish = False

    async def _withdraw_some(self, chore: _Chore) -> None:
        """End a page of what is to be withdrawn, and go on with it after what else has happened."""
        await self._insist(self._tenure.check)
        wanted, held = chore.wanted, {each.sequence for each in self._lane.stack}
        if isinstance(wanted, Discard):
            page = await self._insist(lambda: self._lines.read_some(self._address, wanted.sequences, first=chore.first))
        else:
            page = await self._insist(lambda: self._lines.page_of(self._address, wanted.maker, first=chore.first))
        waiting = [stored for stored in page if stored.sequence not in held and is_in_line(stored.subject)]
        await withdraw_page(
            self._address,
            waiting,
            wanted.reason,
            state=EventState.DISCARDED if isinstance(wanted, Discard) else EventState.DEAD,
            lines=self._lines,
            events=self._events,
            ending=self._ending,
            insist=self._insist,
            traces=self._traces,
        )
        is_late = time.monotonic() > chore.until
        if (not page or is_late) and not chore.done.done():
            chore.done.set_result(not page)
        elif not chore.done.done():
            chore.first = page[-1].sequence + 1
            self._inbox.put_nowait(chore)

    def _grant(self, *, refusal: str | None = None) -> None:
        """Answer the oldest wish."""
        wish = self._wishes.pop(0)
        if wish.done():
            return  # whoever asked is gone
        if refusal is None:
            wish.set_result(None)
        else:
            wish.set_exception(Rejected(refusal))

    async def _do(self, command: rules.Command) -> rules.Input | None:
        match command:
            case rules.Pull(priority) if not self._stopping.is_set():
                return await self._pull(priority)
            case rules.Store():
                await self._store()
            case rules.Deliver(held):
                return await self._deliver(held)
            case rules.Settle(held):
                # Whose session is another's ends it as a late ack: whoever ended `run` does (`unanswered_acks`).
                await self._insist(self._tenure.check)
                return await self._end(held, EventState.ACKED)
            case rules.PutBack(held):
                return await self._put_back(held)
            case rules.SetAside(held, reason):
                timed_out = reason == rules.TIMED_OUT
                outcome = await self._end(held, EventState.TIMED_OUT if timed_out else EventState.DEAD, reason)
                if self._client.names_events:
                    await self._client.send(wire.TimedOut(held.event_id))
                return outcome
            case rules.Remind(event_id):
                await self._client.send(wire.Reminder(event_id))
            case rules.Disown(event_id):
                await self._note_late_ack(event_id)
                await self._answer(event_id, settled=False)
        return None

    async def _pull(self, priority: Priority) -> rules.Input:
        limit = MAX_NESTED if priority is Priority.INTERRUPT else 1
        while True:
            pulled = await self._insist(lambda: self._lines.pull(self._address, priority, max_ack_pending=limit))
            if pulled is None:
                if priority in self._promised:
                    self._promised.discard(priority)
                    asyncio.get_running_loop().call_later(LOOK_AGAIN_SECONDS, self._look_at, priority)
                return rules.Exhausted(priority)
            try:
                event, body = decode_event(pulled.headers, pulled.data)
            except BadPayload as error:
                await self._discard(pulled, pulled, error)
                continue
            if await self._has_ended(event, pulled):
                continue
            self._pulled[event.id], self._known[event.id], self._bodies[event.id] = pulled, event, body
            self._turns[event.id] = turn_of(pulled.headers, event)
            allowed = event.allowed_seconds or self._default_seconds()
            return rules.Offered(priority, event.id, pulled.sequence, allowed, event.attempts)

    async def _has_ended(self, event: Event, pulled: Pulled) -> bool:
        """Take out of its line what came back there, or was replayed, and has ended already."""
        turn = turn_of(pulled.headers, event)
        if not await self._insist(lambda: self._events.has_ended(self._address, event, turn)):
            return False
        await self._insist(lambda: self._lines.acknowledge(self._address, pulled.sequence, pulled))
        return True

    async def _discard(self, message: Pulled | Stored, pulled: Pulled | None, error: BadPayload) -> None:
        """Set aside what is no event of ours (somebody published to the subject by hand), so that the line goes on."""
        log.warning(
            "unreadable",
            extra={
                "action": "unreadable",
                "profile": self._address.profile_id,
                "tag": self._address.tag,
                "why": str(error),
            },
        )
        await self._insist(lambda: self._events.bury_unreadable(self._address, message.headers, message.data))
        await self._insist(lambda: self._lines.acknowledge(self._address, message.sequence, pulled))

    async def _insist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """
        Try until NATS answers.

        Raises:
            Unavailable: it did not, and it is time to stop.
        """
        wait, longest = RETRY_SECONDS
        while True:
            try:
                return await attempt()
            except Unavailable as error:
                if self._stopping.is_set():
                    raise
                log.warning("NATS does not answer, trying again in %.2f s: %s", wait, error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._stopping.wait()
            wait = min(wait * 2, longest)

    async def _store(self, stack: list[Held] | None = None) -> None:
        stack = list(self._lane.stack) if stack is None else stack
        await self._insist(lambda: self._tenure.store(stack))

    async def _deliver(self, held: Held) -> rules.Input | None:
        if self._stopping.is_set():
            return rules.Unsent(held.event_id, stored=False)
        await self._store()
        if held.attempt > 1:
            # A former holder's late ack may have come through since the stack was read: nobody may be given it again.
            self._bodies.pop(held.event_id, None)
        body = await self._body(held)
        if body is None:
            self._forget(held)
            return rules.Ended(held.event_id)
        event = self._known[held.event_id]
        self._bodies.pop(held.event_id, None)
        frame = await show_event(event, body, held, names_events=self._client.names_events)
        if not await self._client.send(frame):
            # The connection ended since the event was pulled: nobody has seen this attempt.
            return rules.Unsent(held.event_id, stored=True)
        self._attempts.begin(event, held, self._pulled.get(held.event_id))
        return None

    async def _end(self, held: Held, state: EventState, reason: str | None = None) -> rules.Input:
        settled = await self._confirm_end(held, state, reason)
        if self._lane.is_full:
            self._confirm_later.append((held.event_id, settled))
        else:
            await self._answer(held.event_id, settled=settled)
        return rules.Settled(held.event_id)

    async def _confirm_end(self, held: Held, state: EventState, reason: str | None) -> bool:
        """End an event in JetStream and tell of it; whether it was acked, here or elsewhere."""
        event, turn = self._known[held.event_id], self._turns[held.event_id]
        pulled = self._pulled.get(held.event_id)
        acked = next((ack.summary for ack in self._acks.get(held.event_id, ())), "")
        summary = acked or self._reasons.get(held.event_id, "")
        record = end_record(event, held, state, tag=self._address.tag, summary=summary, reason=reason)
        with self._attempts.ending(event, held, state) as span:
            if reason is None:
                decided = await self._ending.end(self._address, event, held, record, turn=turn, pulled=pulled)
            else:
                decided = await self._ending.set_aside(
                    self._address,
                    event,
                    held,
                    record,
                    turn=turn,
                    pulled=pulled,
                    intend=lambda: self._intend(held, reason),
                )
        self._forget(held)
        if decided is None:
            self._attempts.end(held, "ended_elsewhere")
            acked_well = await self._was_acked(event)
        else:
            acked_well = decided.state is EventState.ACKED
            metrics.ENDED.labels(self._address.profile_id, decided.state.value).inc()
            if acked_well:
                metrics.WORKED.observe(decided.duration_ms / 1000)
            self._attempts.end(held, decided.state.value, decided.reason, span)
        if not acked_well:
            # An ack that came too late for it is no end, and what it says is kept.
            await self._note_late_ack(held.event_id)
        return acked_well

    async def _intend(self, held: Held, reason: str) -> None:
        """
        Store that an event is being set aside: whoever finds it in the stack finishes that, and delivers no more.

        What another works on is not set aside: the write finds out.
        """
        if held.ends_as is None:
            stack = [
                structs.replace(each, ends_as=reason) if each.event_id == held.event_id else each
                for each in self._lane.stack
            ]
            await self._store(stack)

    async def _was_acked(self, event: Event) -> bool:
        """Tell whether an event that somebody else has ended was acked."""
        records = await self._insist(lambda: self._history.of_event(self._address.profile_id, event.id))
        return not records or records[-1].state is EventState.ACKED

    async def _put_back(self, held: Held) -> rules.Input:
        # First the intention: whoever finds the event in the stack after a crash puts it back, and delivers it no more.
        await self._store()
        event, turn = self._known[held.event_id], self._turns[held.event_id]
        pulled = self._pulled.get(held.event_id)
        record = end_record(event, held, EventState.QUEUED, tag=self._address.tag)
        decided = await self._ending.end(self._address, event, held, record, turn=turn, pulled=pulled)
        self._forget(held)
        is_back = decided is not None and decided.state is EventState.QUEUED
        self._attempts.end(held, "deferred" if is_back else "ended_elsewhere")
        return rules.Settled(held.event_id)

    def _forget(self, held: Held) -> None:
        for known in (self._known, self._turns, self._bodies, self._pulled, self._reasons):
            known.pop(held.event_id, None)

    async def _body(self, held: Held) -> bytes | None:
        """Return an event's body, which is not kept in memory once it was sent; None where the event has ended."""
        body = self._bodies.get(held.event_id)
        if body is None:
            stored = await self._insist(lambda: self._lines.read(self._address, held.sequence))
            if stored is None:
                log.info("event %s had ended while session %s held it", held.event_id, self._address.tag)
                return None
            _, body = decode_event(stored.headers, stored.data)
        return body

    async def _note_late_ack(self, event_id: str) -> None:
        """Record an ack that came after its event's time-out against that event."""
        acks = self._acks.get(event_id)
        if acks:
            late = {event_id: acks[0].summary}
            await self._insist(lambda: self._history.add_late_acks(self._address, late))

    async def _answer(self, event_id: str, *, settled: bool) -> None:
        """Confirm acks to a client that asked for it; one of an event that is not held here ended before."""
        for waiting in self._settled.pop(event_id, ()):
            if not waiting.done():
                waiting.set_result(settled)
        for ack in self._acks.pop(event_id, ()):
            if ack.request_id is not None:
                await self._client.send(wire.Response(ack.request_id, {"eventId": event_id, "settled": settled}))
