"""
The queue: what this session holds and what Claude is shown of it. Pure: inputs go in, commands come out.

Rules

1.  At most one event is active: the one Claude was last shown and has not acked. Events below it are suspended, by
    interrupts only; events behind it wait, which happens only when the server sends more than it should.
2.  An `interrupt` suspends the active event and becomes active at once. Any other event becomes active when nothing
    else is held, else it waits, first in first out.
3.  An ack ends the event it names, wherever it is held, and no other; without a name it ends the active one. When the
    active event ends, the newest suspended one is shown again as resumed; when there is none, the first that waits.
    Where as many interrupts are held as nest, others may wait at the server, which sends the next one before it
    confirms the ack of the one before: then nothing is resumed until that.
4.  An event that comes again while it is held is not shown again. One that comes again after its ack is not shown
    either, as long as the server has not confirmed that ack: the ack goes out again instead. After a confirmation the
    server knows what it does (a replay), so the event is shown.
5.  An event that could not be shown stays active, and is tried again at the next chance: a reminder of it, a
    reconnect, or its coming again.
6.  An event that the server timed out is no longer held; its late ack is still sent, and is recorded against it alone.
7.  An event that Claude gives back is let go of before the server is told, so that the server's next delivery of it,
    which may overtake its answer, is a new one. What the server was not told of it delivers again by itself.
8.  When another connection takes this session over, everything held is let go of, for it is delivered there, and Claude
    is told to leave the active event. A late ack of any of it is still sent, and ends it there.

9.  When Claude Code begins the session anew, the active event is shown again: nothing of it is left there.

The server paces: it sends the next event after the ack of the one before. These rules keep the promise "one at a time"
even where it does not, since Claude Code hands over whatever it was given while it was busy, all at once.
"""

from collections import deque
from collections.abc import Iterable

from msgspec import Struct

from clawback.model import MAX_NESTED, Priority
from clawback.wire import EventFrame

REMEMBERED = 1000
"""How many ended events are known by name, to answer a second ack of one with more than "unknown"."""


# --- inputs: what happened -----------------------------------------------------------------------------------------


class Arrived(Struct, frozen=True):
    """The server sent an event."""

    event: EventFrame


class AckCalled(Struct, frozen=True):
    """Claude says that an event is done: the named one, or the active one."""

    event_id: str | None
    summary: str


class AckConfirmed(Struct, frozen=True):
    """The server has settled an ack for good."""

    event_id: str


class AcksRecovered(Struct, frozen=True):
    """The journal holds acks, made by this process or a dead one, that the server has not confirmed."""

    event_ids: frozenset[str]


class Cleared(Struct, frozen=True):
    """Claude has forgotten what it was shown."""


class EmitFailed(Struct, frozen=True):
    """An event could not be written to Claude Code."""

    event_id: str


class GivenBack(Struct, frozen=True):
    """Claude puts an event off, or cannot take it."""

    event_id: str


class Moved(Struct, frozen=True):
    """Another connection is the active one of this session now, and is given what is held here."""


class Reconnected(Struct, frozen=True):
    """A connection is authenticated."""


class Reminded(Struct, frozen=True):
    """The server says that an event is still waiting for its ack."""

    event_id: str


class TimedOut(Struct, frozen=True):
    """The server set an event aside: its ack never came."""

    event_id: str


Input = (
    Arrived
    | AckCalled
    | AckConfirmed
    | AcksRecovered
    | Cleared
    | EmitFailed
    | GivenBack
    | Moved
    | Reconnected
    | Reminded
    | TimedOut
)

_ACKNOWLEDGED = "acknowledged"
_MOVED = "moved to another session"
_HOW = {TimedOut: "timed out", GivenBack: "given back"}
"""How an event left that nobody acked; one that was given back has not ended, so an ack of it is one of a stranger."""

# --- commands: what to do ------------------------------------------------------------------------------------------


class Emit(Struct, frozen=True):
    """Show an event to Claude; `resumed` after an interrupt."""

    event: EventFrame
    resumed: bool = False


class Remind(Struct, frozen=True):
    """Show Claude that an event is still open; `times` counts the reminders of it, from 1."""

    event: EventFrame
    times: int


class Retract(Struct, frozen=True):
    """Tell Claude to leave an event that it was shown: another session has it."""

    event: EventFrame


class Ack(Struct, frozen=True):
    """Write an ack to the journal, then send it."""

    event_id: str
    summary: str


class AckAgain(Struct, frozen=True):
    """Send the journalled ack of an event once more."""

    event_id: str


class Answer(Struct, frozen=True):
    """Answer the event_ack call with a sentence; `refused` when nothing was acked by it and nothing was before."""

    text: str
    refused: bool = False


Command = Emit | Remind | Retract | Ack | AckAgain | Answer


class _Held(Struct):
    """
    An event and how it was shown: `shown` at least once, `reminders` so far.

    `resumes_after` is the event whose ack is to be confirmed before this one is shown as resumed, and `resumed` that
    it was.
    """

    event: EventFrame
    shown: bool = True
    reminders: int = 0
    resumes_after: str | None = None
    resumed: bool = False

    @property
    def id(self) -> str:
        return self.event.id


class Queue:
    """What one session holds. Feed it with `handle` and carry out what it returns, in order."""

    def __init__(self) -> None:
        self._active: _Held | None = None
        self._suspended: list[_Held] = []
        self._waiting: deque[_Held] = deque()
        self._unconfirmed: set[str] = set()
        # Insertion-ordered, so that the oldest is forgotten first; the value says how the event ended.
        self._ended: dict[str, str] = {}

    @property
    def active(self) -> EventFrame | None:
        """The event Claude is to work on now."""
        return self._active.event if self._active else None

    @property
    def is_resumed(self) -> bool:
        """Whether the active event is one that an interrupt had suspended."""
        return self._active is not None and self._active.resumed

    @property
    def held(self) -> tuple[EventFrame, ...]:
        """Everything held: the active event, the suspended ones newest first, those that wait oldest first."""
        active = [self._active] if self._active else []
        return tuple(held.event for held in [*active, *reversed(self._suspended), *self._waiting])

    def handle(self, happened: Input) -> list[Command]:
        """Take one input and say what to do about it, in order."""
        commands: list[Command] = []
        match happened:
            case Arrived(event):
                commands = self._take(event)
            case AckCalled(event_id, summary):
                commands = self._ack(event_id, summary)
            case Moved():
                commands = self._let_go()
            case Reconnected():
                commands = self._show_active()
            case Cleared():
                commands = [Emit(self._active.event)] if self._active and self._active.shown else self._show_active()
            case Reminded(event_id):
                commands = self._remind(event_id)
            case TimedOut(event_id) | GivenBack(event_id):
                commands = self._end(event_id, _HOW[type(happened)])
            case AckConfirmed(event_id):
                self._unconfirmed.discard(event_id)
                if self._active and self._active.resumes_after == event_id:
                    commands = self._resume()
            case _:
                self._note(happened)
        return commands

    def _note(self, happened: AcksRecovered | EmitFailed) -> None:
        match happened:
            case AcksRecovered(event_ids):
                self._unconfirmed |= event_ids
            case EmitFailed(event_id):
                # A failure that comes late is not the failure of the event that is active by now.
                if self._active and self._active.id == event_id:
                    self._active.shown = False

    def _take(self, event: EventFrame) -> list[Command]:
        if event.id in self._unconfirmed:
            return [AckAgain(event.id)]
        if self._find(event.id) is not None:
            return self._show_active()
        self._ended.pop(event.id, None)
        arrived = _Held(event)
        if self._active is None:
            self._active = arrived
        elif event.meta.get("priority") == Priority.INTERRUPT:
            self._suspended.append(self._active)
            self._active = arrived
        else:
            self._waiting.append(arrived)
            return []
        return [Emit(event)]

    def _ack(self, event_id: str | None, summary: str) -> list[Command]:
        if event_id is None:
            if self._active is None:
                return [Answer("No event is in flight, so there is nothing to acknowledge.", refused=True)]
            event_id = self._active.id
        if self._find(event_id) is not None:
            answer = Answer(f"Event {event_id} is acknowledged.")
            following = self._end(event_id, _ACKNOWLEDGED)
        elif self._ended.get(event_id) == _HOW[TimedOut]:
            answer = Answer(f"Event {event_id} had timed out before; your summary is recorded against it.")
            following = self._end(event_id, _ACKNOWLEDGED)
        elif self._ended.get(event_id) == _MOVED:
            answer = Answer(f"Event {event_id} had moved to another session; your ack ends it there.")
            following = self._end(event_id, _ACKNOWLEDGED)
        elif self._ended.get(event_id) == _ACKNOWLEDGED or event_id in self._unconfirmed:
            return [Answer(f"Event {event_id} was acknowledged before; nothing more is to be done for it.")]
        else:
            return [Answer(self.describe_unknown(event_id), refused=True)]
        self._unconfirmed.add(event_id)
        return [Ack(event_id, summary), answer, *following]

    def _end(self, event_id: str, how: str) -> list[Command]:
        """Let go of an event if it is held, remember how it ended, and show what comes next."""
        self._remember(event_id, how)
        self._suspended = [held for held in self._suspended if held.id != event_id]
        self._waiting = deque(held for held in self._waiting if held.id != event_id)
        if self._active is None or self._active.id != event_id:
            return []
        if self._suspended:
            is_full = self._count_interrupts() >= MAX_NESTED
            self._active = self._suspended.pop()
            if is_full and how == _ACKNOWLEDGED:
                self._active.resumes_after = event_id
                return []
            return self._resume()
        self._active = self._waiting.popleft() if self._waiting else None
        return [Emit(self._active.event)] if self._active else []

    def _resume(self) -> list[Command]:
        """Show again what was suspended."""
        assert self._active is not None, "it was just taken from the suspended ones"
        self._active.resumes_after = None
        self._active.resumed = True
        return [Emit(self._active.event, resumed=True)] if self._active.shown else self._show_active()

    def _let_go(self) -> list[Command]:
        left = self._active
        for held in [*self._everything()]:
            self._remember(held.id, _MOVED)
        self._active = None
        self._suspended.clear()
        self._waiting.clear()
        return [Retract(left.event)] if left and left.shown else []

    def _remind(self, event_id: str) -> list[Command]:
        if event_id in self._unconfirmed:
            return [AckAgain(event_id)]
        if self._active is None or self._find(event_id) is None:
            return []
        if not self._active.shown:
            return self._show_active()
        if self._active.resumes_after is not None:
            return self._resume()  # the server did not take the ack that it waits for
        # What stands between the reminded event and its ack is the active one, be it the same or another.
        self._active.reminders += 1
        return [Remind(self._active.event, self._active.reminders)]

    def _show_active(self) -> list[Command]:
        if self._active is None or self._active.shown:
            return []
        self._active.shown = True
        return [Emit(self._active.event)]

    def _count_interrupts(self) -> int:
        return sum(held.event.meta.get("priority") == Priority.INTERRUPT for held in self._everything())

    def _find(self, event_id: str) -> _Held | None:
        return next((held for held in self._everything() if held.id == event_id), None)

    def _everything(self) -> Iterable[_Held]:
        if self._active:
            yield self._active
        yield from self._suspended
        yield from self._waiting

    def _remember(self, event_id: str, how: str) -> None:
        self._ended.pop(event_id, None)
        self._ended[event_id] = how
        if len(self._ended) > REMEMBERED:
            del self._ended[next(iter(self._ended))]

    def describe_unknown(self, event_id: str) -> str:
        """Say that an event is not held here, and what is."""
        if self._active is None:
            held = "It holds none now."
        else:
            below = f" and, suspended, {', '.join(held.id for held in self._suspended)}" if self._suspended else ""
            held = f"The active one is {self._active.id}{below}."
        return (
            f"This session holds no event {event_id}. {held} If it was delivered before this server was restarted, it "
            "comes again; acknowledge it then."
        )
