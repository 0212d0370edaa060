"""
The ways to Claude: by which of them an event is put in front of it, and when by another. Pure.

Rules

1.  Three ways push: the channel, the plugin's monitor, and the session's inbox, in this order. A way can be used while
    it is open; the channel is not used where a variable in the environment is known to switch it off.
2.  An event goes by the first way that can be used. It arrived once there is proof: Claude Code's transcript or a hook
    had it. Then its way comes first from now on. It is the model's, and that is reported, once all of it arrived: what
    was only announced is not, until it is read with event_next.
3.  Without proof for PATIENCE_SECONDS the event goes by the next way, once by each, as the same event: same id, and its
    text says so. A way that brought no proof comes last from then on, until Claude Code starts the session anew
    (/clear), when it also looks anew at which channels it listens to.
    The inbox is the exception: Claude Code drops what comes too fast, and says nothing. Where several events went by it
    within BURST_SECONDS, no proof is no mark against it. What went by it and by every other way goes by it again,
    INBOX_TRIES times in all, INBOX_AGAIN_SECONDS apart: sooner than the server's first reminder.
4.  While Claude is in a turn, what arrives waits for a pause: then the patience is BUSY_SECONDS, and it begins anew
    when the turn ends. An end may not be told (Esc), which only costs patience.
5.  Without a witness there is no proof: where the plugin's hooks are not installed (the program alone), events go by
    the first way and no other. So they do where the hooks are switched off: an ack came, and no hook had run.
6.  What was not seen by any way stays to be asked for: by the hook of the next prompt or of the end of the turn, which
    tell Claude of it, and by the tool event_next.

Time is passed in, in seconds of any clock that does not go back.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from msgspec import Struct

PATIENCE_SECONDS = 5.0
"""An idle Claude Code takes what arrives within a second (2.1.330)."""

BUSY_SECONDS = 120.0
"""What comes during a turn rides with the next tool's result; a tool of two minutes goes to the background."""

BURST_SECONDS = 60.0
"""Claude Code refills what a sender may send within about this time (2.1.332)."""

INBOX_AGAIN_SECONDS = 25.0
INBOX_TRIES = 4
"""Four times 25 s are less than the 120 s after which the server reminds."""

FLAG_VARIABLES = (
    "DISABLE_TELEMETRY",
    "DO_NOT_TRACK",
    "DISABLE_GROWTHBOOK",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
)
"""With one of these Claude Code does not fetch the feature flag that channels stand behind."""

PROVIDER_VARIABLES = ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY")
"""Sign-in by one of these, where channels do not exist."""

_OFF = frozenset({"", "0", "false", "no", "off"})


class Way(StrEnum):
    """How an event gets to Claude; the first three push."""

    CHANNEL = "channel"
    MONITOR = "monitor"
    INBOX = "inbox"
    HOOK = "hook"
    TOOL = "tool"


PUSHING = (Way.CHANNEL, Way.MONITOR, Way.INBOX)

ANNOUNCING = frozenset({Way.MONITOR, Way.HOOK})
"""These say that an event is there, and not what it is."""


def is_set(value: str) -> bool:
    """Say whether a variable's value means that it is set; what Claude Code makes of each is not documented."""
    return value.strip().lower() not in _OFF


def find_gate(environment: Mapping[str, str]) -> str | None:
    """Name the variable that switches channels off, if one is set."""
    names = (*FLAG_VARIABLES, *PROVIDER_VARIABLES)
    return next((name for name in names if is_set(environment.get(name, ""))), None)


class Standing(Struct, frozen=True):
    """
    By which way events go, and `gate`, the variable that switches the channel off.

    `way` is that of the newest proof where `seen`, or else the one that is tried next. `unseen` is the event in front
    of Claude that is longest without proof, and `unseen_seconds` how long.
    """

    way: Way
    seen: bool
    gate: str | None = None
    unseen: str | None = None
    unseen_seconds: float = 0.0

    def __str__(self) -> str:
        gate = f" ({self.gate} switches channels off)" if self.gate else ""
        if self.seen:
            return f"Events reach Claude by the {self.way}, as was seen{gate}."
        return f"The next event goes by the {self.way}{gate}; none was seen to arrive yet."


# --- inputs: what happened -----------------------------------------------------------------------------------------


class Shown(Struct, frozen=True):
    """An event is to be put in front of Claude, for the first time or again."""

    event_id: str


class Seen(Struct, frozen=True):
    """There is proof that the model has an event; `way` where it can be told."""

    event_id: str
    way: Way | None = None


class Acked(Struct, frozen=True):
    """The model acknowledged an event, so it had arrived; the server is told that already."""

    event_id: str


class Failed(Struct, frozen=True):
    """An event could not be written to a way."""

    event_id: str
    way: Way


class Kept(Struct, frozen=True):
    """These are the events that are still held; all others have ended."""

    event_ids: frozenset[str]


class Opened(Struct, frozen=True):
    """A way can be used."""

    way: Way


class Closed(Struct, frozen=True):
    """A way cannot be used any more."""

    way: Way


class Witnessed(Struct, frozen=True):
    """A hook of this session ran: there will be proof."""


class TurnBegan(Struct, frozen=True):
    """Claude was given a prompt."""


class TurnEnded(Struct, frozen=True):
    """Claude waits for the next prompt."""


class Restarted(Struct, frozen=True):
    """Claude Code began the session anew, with nothing in it."""


class Ticked(Struct, frozen=True):
    """Time has passed: `wait_seconds` is over."""


Input = Shown | Seen | Acked | Failed | Kept | Opened | Closed | Witnessed | TurnBegan | TurnEnded | Restarted | Ticked

# --- commands: what to do ------------------------------------------------------------------------------------------


class Send(Struct, frozen=True):
    """Write an event to a way; `again` says that it went by another one before. Answer a failure with Failed."""

    event_id: str
    way: Way
    again: bool


class Report(Struct, frozen=True):
    """Tell the server that an event was seen."""

    event_id: str


Command = Send | Report


class _Out(Struct):
    """
    An event in front of Claude: the ways it went, newest last, and whether it is known to have arrived.

    `seen` is known of it, or of its announcement; `claimed` of all of it.

    `shown_at` is when it went first, `sent_at` when last.
    """

    shown_at: float
    sent_at: float
    went: list[Way]
    seen: bool = False
    claimed: bool = False


class Ways:
    """
    The state: which ways there are, and which events are out on them.

    `open_ways` can be used from the start, `gate` is the variable that switches the channel off, and `witnessed` says
    that hooks are installed. `in_use` is the way of the newest proof.
    """

    def __init__(
        self,
        open_ways: Iterable[Way],
        *,
        gate: str | None = None,
        witnessed: bool = False,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.gate = gate
        self.in_use: Way | None = None
        self._open = set(open_ways)
        self._witnessed = witnessed
        self._heard = False
        self._patience = patience
        self._poor: set[Way] = set()
        self._out: dict[str, _Out] = {}
        self._turn_began: float | None = None
        self._turn_ended = float("-inf")
        # When each event went by the inbox last.
        self._inboxed: dict[str, float] = {}

    @property
    def first(self) -> Way:
        """The way by which the next event goes."""
        return self._usable()[0]

    def standing(self, now: float) -> Standing:
        """Say by which way events go, and what is not known to have arrived."""
        unseen = min(((out.shown_at, event_id) for event_id, out in self._out.items() if not out.seen), default=None)
        seconds, event_id = (now - unseen[0], unseen[1]) if unseen is not None else (0.0, None)
        return Standing(self.in_use or self.first, self.in_use is not None, self.gate, event_id, seconds)

    @property
    def unseen(self) -> list[str]:
        """The events that are in front of Claude without proof."""
        return [event_id for event_id, out in self._out.items() if not out.seen]

    def overdue(self, now: float) -> list[str]:
        """Name the unseen events that no way will bring any more: what came during a turn may yet come at its end."""
        return [
            event_id
            for event_id in self.unseen
            if (out := self._out[event_id]).sent_at + self._patience <= now
            and self._untried(out) is None
            and (self._turn_began is None or out.sent_at <= self._turn_began)
        ]

    def has_seen(self, event_id: str) -> bool:
        """Say whether the model is known to have an event, and not only its announcement."""
        return event_id in self._out and self._out[event_id].claimed

    def is_announced(self, event_id: str) -> bool:
        """Say whether the model is known to have an event's announcement, and no more of it."""
        return event_id in self._out and self._out[event_id].seen and not self._out[event_id].claimed

    @property
    def in_turn(self) -> bool:
        """Whether Claude is at work, as far as is told: an end may not be."""
        return self._turn_began is not None

    def wait_seconds(self, now: float) -> float | None:
        """How long nothing needs to happen by itself; None for ever. Then tell it with `Ticked`."""
        waits = [self._due(out, now) - now for out in self._out.values() if self._next_way(out) is not None]
        return max(0.0, min(waits)) if waits else None

    def handle(self, happened: Input, now: float) -> list[Command]:
        """Take one input and say what to do about it, in order."""
        match happened:
            case Shown(event_id):
                return self._send(event_id, self.first, now, went=[])
            case Seen(event_id, way):
                return self._see(event_id, way)
            case Acked(event_id):
                self._witnessed = self._heard
                self._see(event_id, None)  # an ack tells the server more than that it was seen
            case Failed(event_id, way):
                return self._fail(event_id, way, now)
            case Kept(event_ids):
                self._out = {event_id: out for event_id, out in self._out.items() if event_id in event_ids}
            case Opened(way):
                self._open.add(way)
            case Closed(way):
                self._open.discard(way)
            case Restarted():
                self._poor.clear()
                self._turn_began = None
                for out in self._out.values():
                    out.sent_at = now
            case _:
                self._note(happened, now)
        return self._escalate(now)

    def _note(self, happened: Witnessed | TurnBegan | TurnEnded | Ticked, now: float) -> None:
        match happened:
            case Witnessed():
                self._witnessed = self._heard = True
            case TurnBegan():
                self._turn_began = now
            case TurnEnded():
                self._turn_began, self._turn_ended = None, now

    def _see(self, event_id: str, way: Way | None) -> list[Command]:
        out = self._out.get(event_id)
        if out is None or out.claimed:
            return []
        if way is None and not out.seen and len(out.went) == 1:
            way = out.went[0]
        if way is not None and not out.seen:
            self.in_use = way
            self._poor.discard(way)
        out.seen = True
        if way in ANNOUNCING:
            return []
        out.claimed = True
        return [Report(event_id)]

    def _fail(self, event_id: str, way: Way, now: float) -> list[Command]:
        self._poor.add(way)
        out = self._out.get(event_id)
        following = None if out is None or out.seen else self._untried(out, without_witness=True)
        return [] if out is None or following is None else self._send(event_id, following, now, went=out.went)

    def _escalate(self, now: float) -> list[Command]:
        """Send what was not seen in time by its next way."""
        commands: list[Command] = []
        for event_id, out in list(self._out.items()):
            following = self._next_way(out)
            if following is not None and self._due(out, now) <= now:
                if not (out.went[-1] is Way.INBOX and self._is_crowded(out.sent_at)):
                    self._poor.add(out.went[-1])
                commands += self._send(event_id, following, now, went=out.went)
        return commands

    def _send(self, event_id: str, way: Way, now: float, *, went: list[Way]) -> list[Command]:
        before = self._out.get(event_id)
        self._out[event_id] = _Out(before.shown_at if before is not None and went else now, now, [*went, way])
        if way is Way.INBOX:
            # Only what may belong to a burst with this one is kept.
            self._inboxed = {each: at for each, at in self._inboxed.items() if now - at <= BURST_SECONDS}
            self._inboxed[event_id] = now
        return [Send(event_id, way, again=bool(went))]

    def _next_way(self, out: _Out) -> Way | None:
        """Say by which way an event goes if it is not seen: an untried one, or the inbox, which may have dropped it."""
        untried = self._untried(out)
        dropped = self._witnessed and not out.seen and 0 < out.went.count(Way.INBOX) < INBOX_TRIES
        return Way.INBOX if untried is None and dropped and Way.INBOX in self._open else untried

    def _untried(self, out: _Out, *, without_witness: bool = False) -> Way | None:
        if out.seen or not (self._witnessed or without_witness):
            return None
        return next((way for way in self._usable() if way not in out.went), None)

    def _is_crowded(self, at: float) -> bool:
        """Say whether other events went by the inbox about then: Claude Code may have dropped one for its limit."""
        return sum(abs(each - at) <= BURST_SECONDS for each in self._inboxed.values()) > 1

    def _due(self, out: _Out, now: float) -> float:
        crowded = out.went[-1] is Way.INBOX and self._is_crowded(out.sent_at)
        busy = INBOX_AGAIN_SECONDS if crowded else BUSY_SECONDS
        if self._turn_began is not None and now < (began := max(self._turn_began, out.sent_at)) + busy:
            return began + busy
        # The other ways were tried: what is left is to give the inbox time.
        patience = INBOX_AGAIN_SECONDS if self._untried(out) is None else self._patience
        return max(out.sent_at, self._turn_ended) + patience

    def _usable(self) -> list[Way]:
        """List the ways that can be used, the best first; the channel alone where there is none."""
        open_ways = [way for way in PUSHING if way in self._open and not (way is Way.CHANNEL and self.gate)]
        good = [way for way in open_ways if way not in self._poor]
        ranked = [*good, *(way for way in open_ways if way in self._poor)]
        return sorted(ranked, key=lambda way: way is not self.in_use or way in self._poor) or [Way.CHANNEL]
