"""
The lane: what one active session is given, and when. Pure: inputs go in, commands come out, nothing waits.

Only the rules of delivery live here. The driver (sessions/dispatcher.py) carries out the commands in the order given
and reports what came of them as further inputs.

Rules

1.  What a session holds is a stack. Its top is the active event; those below are suspended, by interrupts only.
2.  A `normal` or `priority` event leaves only when the stack is empty, `priority` first. So each waits for the ack of
    the one before.
3.  An `interrupt` leaves at once and suspends the active event; up to MAX_NESTED nest. Further ones wait in their line,
    first in first out, and go before anything suspended.
4.  An ack ends its own event, wherever in the stack it is, and no other. Nothing leaves while an event is being ended:
    "acked" means that JetStream confirmed it.
5.  When an end uncovers a suspended event that the client holds on this connection, nothing is sent: resuming is the
    client's part. One that it does not hold is delivered again, its attempt raised.
6.  After a reconnect: waiting interrupts first, then the stack from its top, then `priority`, then `normal`.
7.  The active event's clock runs while it is active at the client, and stands still while it is suspended or the client
    is away. Every `reminder_seconds` of it the client is reminded; after the event's allowed time it is set aside,
    unless an ack was there by then.
8.  What the session says that its model has seen stays seen for that delivery; nothing follows from it here.
9.  An event is set aside, too, whose session was lost with it MAX_LOSSES times in a row, or could not take it
    MAX_FAILURES times. Interrupts, resumes and lost servers are no failures.
10. An attempt is counted once the event's frame is on its way to the client. One that met a connection which had ended
    is taken back, with all that it changed; nothing leaves on that connection any more.

Theory

Nothing is prefetched. A line is asked for an event only when that event could leave now, so what JetStream has handed
out is what the stack holds, and the stack, stored before each delivery, is all that another server needs to go on. A
line that may have events is `expected`; asking an empty one clears that, a wake-up sets it again. A lane lives as long
as one connection is active; the stack outlives it.
"""

from collections.abc import Collection, Iterable

from msgspec import Struct, structs

from clawback.model import MAX_NESTED, TIMEOUT_SECONDS, Held, Priority

MAX_LOSSES = 5
"""Unclean losses in a row with the same event in flight: by then the event is what kills the session."""

MAX_FAILURES = 3
"""Deliveries that the session itself reports as failed: by then it never will take this event."""

FAILURE_PAUSE_SECONDS = 5.0
"""Before an event that the session could not take is delivered again: what is wrong there may pass."""

REMINDER_SECONDS = 120.0

UNNAMED_TIMEOUT_SECONDS = 5 * 60.0
"""The same for clients that send no instanceId: those that exist give an event up by themselves then."""

UNNAMED_PAUSE_SECONDS = 60.0
"""
How long such a client is given nothing after a time-out.

It names no event to its model, so an ack that is a little late would count for whatever came next.
"""


class Manners(Struct, frozen=True):
    """
    How a client is treated: `NAMED` is for those that send an instanceId, `UNNAMED` for those that do not.

    `longest_seconds` caps what any event is allowed, `pause_seconds` follow a time-out. `restarts_clock`: an event that
    is resumed has all its time again, because such a client counts it like that.
    """

    reminder_seconds: float | None = REMINDER_SECONDS
    longest_seconds: float | None = None
    pause_seconds: float = 0.0
    restarts_clock: bool = False


NAMED = Manners()
UNNAMED = Manners(None, UNNAMED_TIMEOUT_SECONDS, UNNAMED_PAUSE_SECONDS, restarts_clock=True)

# --- inputs: what happened -----------------------------------------------------------------------------------------


class Started(Struct, frozen=True):
    """The client is ready; `expected` are the lines in which events wait."""

    expected: frozenset[Priority]


class Woken(Struct, frozen=True):
    """An event was stored in a line."""

    priority: Priority


class Offered(Struct, frozen=True):
    """
    A pull brought an event.

    It may be active for `allowed_seconds`, and was delivered `attempts` times before it was put back into its line.
    """

    priority: Priority
    event_id: str
    sequence: int
    allowed_seconds: float = TIMEOUT_SECONDS
    attempts: int = 0


class Exhausted(Struct, frozen=True):
    """A pull found its line empty."""

    priority: Priority


class Unsent(Struct, frozen=True):
    """
    An event did not leave: the client takes no frames any more, or it is time to stop.

    `stored` says that the stack was stored with its delivery in it.
    """

    event_id: str
    stored: bool


class Acked(Struct, frozen=True):
    """The session says that it is done with an event."""

    event_id: str


class Failed(Struct, frozen=True):
    """The session says that it cannot take an event it was sent."""

    event_id: str


class Deferred(Struct, frozen=True):
    """The session puts an event back into its line, now or after a while."""

    event_id: str
    delay_seconds: float = 0.0


class Seen(Struct, frozen=True):
    """The session has proof that its model was given an event."""

    event_id: str


class Extended(Struct, frozen=True):
    """The session asks for more time for an event."""

    event_id: str
    seconds: float


class Settled(Struct, frozen=True):
    """An event ended here: JetStream confirmed it."""

    event_id: str


class Ended(Struct, frozen=True):
    """An event that was to be delivered again has ended elsewhere: a former holder of the session acked it."""

    event_id: str


class Ticked(Struct, frozen=True):
    """Time has passed: `wait_seconds` is over."""


Wish = Acked | Failed | Deferred | Extended | Seen
"""What the session says or wants of an event that it holds."""

Input = Started | Woken | Offered | Exhausted | Unsent | Wish | Settled | Ended | Ticked

# --- commands: what to do ------------------------------------------------------------------------------------------


class Pull(Struct, frozen=True):
    """Ask a line for its next event; answer with Offered or Exhausted."""

    priority: Priority


class Store(Struct, frozen=True):
    """Store the stack: what changed in it must outlive this server."""


class Deliver(Struct, frozen=True):
    """
    Store the stack, then send this event.

    Answer with Ended where it is a repeat and has ended meanwhile, with Unsent where it did not leave.
    """

    held: Held


class Settle(Struct, frozen=True):
    """End an acked event in JetStream; answer with Settled."""

    held: Held


class PutBack(Struct, frozen=True):
    """
    Store the stack, then a deferred event again at the end of its line, at its `returns_at`; then end this one.

    Answer with Settled.
    """

    held: Held


class SetAside(Struct, frozen=True):
    """End an event as a dead letter with this reason; answer with Settled."""

    held: Held
    reason: str


class Disown(Struct, frozen=True):
    """Answer that this event is not (or no longer) the session's: it ended before, or never was its own."""

    event_id: str


class Remind(Struct, frozen=True):
    """Tell the client that an event is still open."""

    event_id: str


Command = Pull | Store | Deliver | Settle | PutBack | SetAside | Disown | Remind

TIMED_OUT = "timed_out"
CRASH_LOOP = "crash_loop"
FAILED = "failed"


class Lane:
    """
    The dispatch state of one active connection.

    `stack` is what the session held when last stored, active event last; `client_holds` names what the client says it
    still has. Feed it with `handle`; it starts with `Started`, before which only acks are taken.
    """

    def __init__(self, stack: Iterable[Held] = (), client_holds: Iterable[str] = (), manners: Manners = NAMED) -> None:
        holds = frozenset(client_holds)
        # What a client still has did not kill it, however often its connection was lost meanwhile.
        self.stack: list[Held] = [structs.replace(held, losses=0) if held.event_id in holds else held for held in stack]
        self._manners = manners
        self._at_client = holds & {held.event_id for held in self.stack}
        self._expected: frozenset[Priority] = frozenset()
        self._pulling: Priority | None = None
        self._ending: frozenset[str] = frozenset()
        self._started = False
        # The latest delivery, and what the stack was before it; `gone` is set once one met a connection that had ended.
        self._leaving: str | None = None
        self._before: list[Held] = []
        self._gone = False
        self._counted_until = 0.0
        self._wall = 0.0
        # After a time-out nothing leaves until the first of these, after a failure only interrupts until the second.
        self._paused_until = 0.0
        self._retry_at = 0.0

    @property
    def active(self) -> Held | None:
        """The event at the top, if any."""
        return self.stack[-1] if self.stack else None

    @property
    def is_full(self) -> bool:
        """Whether as many interrupts are held as nest: further ones wait."""
        return sum(held.priority is Priority.INTERRUPT for held in self.stack) >= MAX_NESTED

    def wait_seconds(self, now: float) -> float | None:
        """How long nothing needs to happen by itself; None for ever. Then tell it with `Ticked`."""
        waits = [pause - now for pause in (self._paused_until, self._retry_at) if pause > now]
        running = self._running()
        if running is not None:
            spent = running.spent_seconds + now - self._counted_until
            waits.append(self._allowed(running) - spent)
            if self._manners.reminder_seconds is not None:
                waits.append((running.reminders + 1) * self._manners.reminder_seconds - spent)
        return max(0.0, min(waits)) if waits else None

    def handle(
        self, happened: Input, now: float, woken: Collection[Priority] = (), *, wall: float | None = None
    ) -> list[Command]:
        """
        Take one input and say what to do about it, in order. `now` never goes back.

        By `now` it counts how long an event is active, so it may stand still while a machine is suspended. `wall` is
        the time of day (Unix seconds), for what others read, and what NATS is to do at a time; None where `now` is it.
        Only `Ticked` has the clock decide: whatever came before it goes first.

        `woken` are lines in which something was stored meanwhile, if only after the input: what is next to leave is
        chosen among all that is known to wait.

        Raises:
            AssertionError: an answer came to a command that was not given: a bug in the driver. The state is unchanged.
        """
        self._check(happened)
        self._wall = now if wall is None else wall
        self._count(now)
        commands = self._take(happened, now)
        self._expected = self._expected.union(woken)
        late = self._look_at_clock(now) if isinstance(happened, Ticked) else []
        return [*commands, *late, *self._go_on(now)]

    def lost(self, now: float, *, clean: bool) -> list[Held]:
        """
        Return the stack to store when the connection has ended.

        An unclean end counts against the events that the client held: one that kills its session again and again must
        not do so for ever. A clean one clears the count.
        """
        self._count(now)
        return [
            structs.replace(held, losses=0 if clean else held.losses + 1) if held.event_id in self._at_client else held
            for held in self.stack
        ]

    def _check(self, happened: Input) -> None:
        match happened:
            case Started():
                assert not self._started, "a lane starts once"
            case Offered(priority) | Exhausted(priority):
                assert self._pulling is priority, f"nothing was asked of line {priority}"
            case Unsent(event_id):
                assert event_id == self._leaving, f"{event_id} was not to be sent"
            case Settled(event_id):
                assert event_id in self._ending, f"nothing was to be ended of {event_id}"

    def _take(self, happened: Input, now: float) -> list[Command]:
        match happened:
            case Started(expected):
                self._started = True
                self._expected |= expected
                return self._recover()
            case Woken(priority):
                self._expected |= {priority}
            case Offered(priority, event_id, sequence, allowed_seconds, attempts):
                self._pulling = None
                offered = Held(event_id, sequence, priority, attempts, allowed_seconds=allowed_seconds)
                return self._accept(offered)
            case Exhausted(priority):
                self._pulling = None
                self._expected -= {priority}
            case Unsent(event_id, stored):
                self._gone = True
                self.stack, self._at_client = self._before, self._at_client - {event_id}
                return [Store()] if stored else []
            case Settled(event_id) | Ended(event_id):
                self._settle(event_id)
            case Acked(event_id) | Deferred(event_id) | Failed(event_id) | Extended(event_id) | Seen(event_id):
                return self._obey(happened, self._find(event_id), now)
        return []

    def _obey(self, wish: Wish, held: Held | None, now: float) -> list[Command]:
        """Do what the session wants of an event that it holds."""
        if held is None:
            return [Disown(wish.event_id)]
        if held.event_id in self._ending:
            return []
        match wish:
            case Acked():
                self._ending |= {held.event_id}
                return [Settle(held)]
            case Deferred(_, delay_seconds):
                return [self._put_back(self._replace(structs.replace(held, returns_at=self._wall + delay_seconds)))]
            case Failed():
                return self._fail(held, now)
            case Extended(_, seconds):
                changed = structs.replace(held, allowed_seconds=held.allowed_seconds + seconds)
            case Seen():
                changed = structs.replace(held, seen_at=held.seen_at or self._wall)
        return [Store()] if self._replace(changed) != held else []

    def _settle(self, event_id: str) -> None:
        self._ending -= {event_id}
        self._at_client -= {event_id}
        self.stack = [held for held in self.stack if held.event_id != event_id]
        if self._manners.restarts_clock and self.active is not None:
            self._replace(structs.replace(self.active, spent_seconds=0.0))

    def _accept(self, offered: Held) -> list[Command]:
        if any(held.sequence == offered.sequence for held in self.stack):
            # JetStream gave again what is held here (its consumer was made anew). The event is where it should be.
            return []
        if self._gone:
            # It was asked for before that was known. Whoever serves the session next is given it by its line.
            return []
        before = list(self.stack)
        self.stack.append(offered)
        return [self._deliver_active(before)]

    def _fail(self, held: Held, now: float) -> list[Command]:
        """Deliver an event again in a moment, unless it has failed too often."""
        failed = self._replace(structs.replace(held, failures=held.failures + 1))
        self._at_client -= {failed.event_id}
        if failed.failures >= MAX_FAILURES:
            return [self._set_aside(failed, FAILED)]
        self._retry_at = now + FAILURE_PAUSE_SECONDS
        return [Store()]

    def _recover(self) -> list[Command]:
        """Finish what a former holder of the session was about to put back, and give up what always kills it."""
        return [
            self._put_back(held) if held.returns_at is not None else self._set_aside(held, CRASH_LOOP)
            for held in self.stack
            if held.returns_at is not None or held.losses >= MAX_LOSSES
        ]

    def _put_back(self, held: Held) -> Command:
        self._ending |= {held.event_id}
        return PutBack(held)

    def _set_aside(self, held: Held, reason: str) -> Command:
        self._ending |= {held.event_id}
        return SetAside(held, reason)

    def _look_at_clock(self, now: float) -> list[Command]:
        running = self._running()
        if running is None:
            return []
        if running.spent_seconds >= self._allowed(running):
            self._paused_until = now + self._manners.pause_seconds
            return [self._set_aside(running, TIMED_OUT)]
        interval = self._manners.reminder_seconds
        if interval is not None and running.spent_seconds >= (running.reminders + 1) * interval:
            # One reminder, however many intervals a frozen machine has slept through.
            self._replace(structs.replace(running, reminders=int(running.spent_seconds // interval)))
            return [Remind(running.event_id)]
        return []

    def _go_on(self, now: float) -> list[Command]:
        """Do the one thing that may be done next, if any: pull, or deliver what the stack uncovered."""
        if not self._started or self._gone or self._pulling is not None or self._ending or now < self._paused_until:
            return []
        if Priority.INTERRUPT in self._expected and not self.is_full:
            return [self._pull(Priority.INTERRUPT)]
        if now < self._retry_at:
            return []
        if self.active is not None:
            is_held = self.active.event_id in self._at_client
            return [] if is_held else [self._deliver_active(list(self.stack))]
        for priority in (Priority.PRIORITY, Priority.NORMAL):
            if priority in self._expected:
                return [self._pull(priority)]
        return []

    def _pull(self, priority: Priority) -> Command:
        self._pulling = priority
        return Pull(priority)

    def _deliver_active(self, before: list[Held]) -> Command:
        held = self.stack[-1]
        self._leaving, self._before = held.event_id, before
        delivered = structs.replace(
            held, attempt=held.attempt + 1, delivered_at=self._wall, spent_seconds=0.0, reminders=0, seen_at=0.0
        )
        self.stack[-1] = delivered
        self._at_client |= {held.event_id}
        return Deliver(delivered)

    # --- the clock ------------------------------------------------------------------------------------------------

    def _running(self) -> Held | None:
        """Return the event whose clock runs: the active one, while the client has it and it is not being ended."""
        held = self.active
        if held is None or not self._started or held.event_id not in self._at_client or held.event_id in self._ending:
            return None
        return held

    def _count(self, now: float) -> None:
        """Charge the time since the last input to the event that was active."""
        running = self._running()
        if running is not None and now > self._counted_until:
            spent = running.spent_seconds + now - self._counted_until
            self.stack[-1] = structs.replace(running, spent_seconds=spent)
        self._counted_until = max(now, self._counted_until)

    def _allowed(self, held: Held) -> float:
        longest = self._manners.longest_seconds
        return held.allowed_seconds if longest is None else min(held.allowed_seconds, longest)

    def _find(self, event_id: str) -> Held | None:
        return next((held for held in self.stack if held.event_id == event_id), None)

    def _replace(self, changed: Held) -> Held:
        self.stack = [changed if held.event_id == changed.event_id else held for held in self.stack]
        return changed
