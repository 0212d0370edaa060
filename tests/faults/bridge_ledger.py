"""
The ledger of a run with many sessions, and what must hold of it; the sibling of ledger.py, whose rules it uses again.

Pure. Here an event goes from the server to a session (`Given`) and from its plugin to Claude (`Shown`), several
sessions share a tag, and events have priorities. The ledger is written by one program that plays the senders and all
sessions, in the order in which it saw things. It sees what the server does only from outside, so each rule names what
certainly must not be, and passes what might be a matter of timing.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from faults import ledger

RANKS = {"interrupt": 0, "priority": 1, "normal": 2}

MARGIN_SECONDS = 1.0
"""
How long before the ack of the event in flight another's 202 must have come, to be certain that the server knew of it.

Its wake-up leaves before the 202, and is read before the ack is confirmed; only NATS's own moment between storing an
event and showing it to its consumers is left, for which the server looks again after 50 ms.
"""

RECOVERY_SECONDS = 15.0
"""After a kill of NATS: by then servers are connected again, have looked at their lines, and know their leases."""


@dataclass(frozen=True)
class Sent:
    """The first request of a delivery is about to leave, for a line of a tag."""

    delivery: str
    tag: str
    priority: str


@dataclass(frozen=True)
class Accepted:
    """Every request of a delivery was answered with a 2xx."""

    delivery: str
    event_id: str


@dataclass(frozen=True)
class Joined:
    """A session is about to authenticate, and names what it holds."""

    session: str
    tag: str
    holds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Role:
    """A session was told that it is active, or that it stands by."""

    session: str
    tag: str
    role: str


@dataclass(frozen=True)
class Given:
    """The server gave an event to a session."""

    session: str
    delivery: str
    event_id: str
    attempt: int


@dataclass(frozen=True)
class LetGo:
    """The server told a session that an event it holds is not its own any more."""

    session: str
    delivery: str


@dataclass(frozen=True)
class Shown:
    """The plugin showed an event to Claude."""

    session: str
    delivery: str
    resumed: bool = False


@dataclass(frozen=True)
class AckCalled:
    """Claude acks an event; when this returns it is on the session's disk."""

    session: str
    delivery: str


@dataclass(frozen=True)
class Confirmed:
    """The server confirmed an ack: the event has ended for good."""

    session: str
    delivery: str


@dataclass(frozen=True)
class Gone:
    """A session's process is dead, and its journal anybody's."""

    session: str


@dataclass(frozen=True)
class Killed:
    """`server` or `nats` was killed."""

    what: str


Entry = Sent | Accepted | Joined | Role | Given | LetGo | Shown | AckCalled | Confirmed | Gone | Killed


@dataclass(frozen=True)
class At:
    """An entry, and when it was made, in seconds."""

    seconds: float
    entry: Entry


Rule = Callable[[Sequence[At]], Iterable[str]]


def violations(moments: Sequence[At]) -> list[str]:
    """Name everything that must not be in the ledger of a whole run, drained at its end; empty when all is well."""
    return [violation for rule in RULES for violation in rule(moments)]


def lines_of(moments: Sequence[At]) -> dict[str, tuple[str, str]]:
    """Say which tag and priority each delivery has."""
    return {at.entry.delivery: (at.entry.tag, at.entry.priority) for at in moments if isinstance(at.entry, Sent)}


def stored_twice(moments: Sequence[At]) -> set[str]:
    """
    Name the deliveries that may rightly be two events: docs/guarantees.md, "De-duplication".

    The event ended before its sender had an answer, and a server and NATS were both killed while it went on asking.
    """
    killed: list[str] = []
    asked_at: dict[str, int] = {}
    confirmed: set[str] = set()
    found: set[str] = set()
    for at in moments:
        match at.entry:
            case Killed(what):
                killed.append(what)
            case Sent(delivery, _, _):
                asked_at[delivery] = len(killed)
            case Confirmed(_, delivery):
                confirmed.add(delivery)
            case Accepted(delivery, _) if delivery in confirmed:
                if {"server", "nats"} <= set(killed[asked_at[delivery] :]):
                    found.add(delivery)
    return found


# --- the rules of ledger.py, on what they can read -----------------------------------------------------------------


def simplified(moments: Sequence[At]) -> Iterator[ledger.Entry]:
    """Write the ledger as ledger.py has it: what is given counts as shown, what is confirmed as answered."""
    for at in moments:
        match at.entry:
            case Sent(delivery, _, _):
                yield ledger.Sent(delivery)
            case Accepted(delivery, event_id):
                yield ledger.Accepted(delivery, event_id)
            case Given(_, delivery, event_id, attempt):
                yield ledger.Shown(delivery, event_id, attempt)
            case AckCalled(_, delivery):
                yield ledger.AckCalled(delivery)
            case Confirmed(_, delivery):
                # Whoever found the ack in a journal sends it again, and shows nothing.
                yield ledger.AckCalled(delivery)
                yield ledger.AckAnswered(delivery)


def everything_ends(moments: Sequence[At]) -> Iterable[str]:
    """What was accepted is given and acked; what is given was sent; a delivery is one event."""
    entries = list(simplified(moments))
    yield from ledger.nothing_is_lost(entries)
    yield from ledger.nothing_is_invented(entries)


def lines_are_in_order(moments: Sequence[At]) -> Iterable[str]:
    """
    Within a tag and priority, what was accepted before another was sent is given before it.

    An interrupt whose first delivery never arrived is suspended by those that wait, as any that a session holds.
    """
    lines = lines_of(moments)
    seen: dict[str, int] = {}
    for at in moments:
        if isinstance(at.entry, Given):
            seen.setdefault(at.entry.delivery, at.entry.attempt)
    missed = {name for name, attempt in seen.items() if attempt > 1 and lines[name][1] == "interrupt"}
    entries: dict[tuple[str, str], list[ledger.Entry]] = defaultdict(list)
    for entry in simplified(moments):
        if entry.delivery not in missed:
            entries[lines[entry.delivery]].append(entry)
    for line in entries.values():
        yield from ledger.order_is_kept(line)


def repeats_have_a_reason(moments: Sequence[At]) -> Iterable[str]:
    """Nothing is given after an ack of it was confirmed, and each repeat has a higher attempt."""
    excused = stored_twice(moments)
    yield from ledger.repeats_have_a_reason([each for each in simplified(moments) if each.delivery not in excused])


# --- what a server may give ----------------------------------------------------------------------------------------


@dataclass
class _Held:
    """What a tag holds, as far as it can be seen: given and not acked by anybody, in the order of the stack."""

    stack: list[str] = field(default_factory=list)
    given: set[str] = field(default_factory=set)
    acked: set[str] = field(default_factory=set)

    def give(self, delivery: str) -> None:
        if delivery not in self.given and delivery not in self.acked:
            self.stack.append(delivery)
        self.given.add(delivery)

    def ack(self, delivery: str) -> None:
        self.acked.add(delivery)
        if delivery in self.stack:
            self.stack.remove(delivery)


def one_in_flight(moments: Sequence[At]) -> Iterable[str]:
    """
    A normal or priority event is given only when all that its tag was given before is acked, whoever was given it.

    An event given again comes before what it was given before: from the top of the stack.
    """
    lines = lines_of(moments)
    tags: dict[str, _Held] = defaultdict(_Held)
    # Whose first delivery was lost on the way was somewhere in the stack, but where is not known.
    placed: set[str] = set()
    for at in moments:
        match at.entry:
            case Given(session, delivery, _, attempt) if delivery in lines:
                tag, priority = lines[delivery]
                held = tags[tag]
                others = [other for other in held.stack if other != delivery]
                if priority != "interrupt":
                    for other in others:
                        yield f"{delivery} was given to {session} while {other} was not acked"
                elif delivery in held.stack:
                    for other in held.stack[held.stack.index(delivery) + 1 :]:
                        if other in placed:
                            yield f"{delivery} was given to {session} again before {other}, which had suspended it"
                if attempt == 1:
                    placed.add(delivery)
                held.give(delivery)
            case AckCalled(_, delivery) if delivery in lines:
                tags[lines[delivery][0]].ack(delivery)


class _Waiting:
    """What waits for a tag since when, and when the last of what it was given was acked."""

    def __init__(self) -> None:
        self.accepted: dict[str, tuple[int, float]] = {}
        self.given: set[str] = set()
        self.acked: set[str] = set()
        self.acked_at = float("-inf")

    def ack(self, delivery: str, seconds: float) -> None:
        """Note the first ack of a delivery: no other was pulled from its line before."""
        if delivery in self.given and delivery not in self.acked:
            self.acked.add(delivery)
            self.acked_at = seconds

    def certain(self, joined: int, nats_killed_at: float) -> Iterator[str]:
        """Name what the server certainly knew of when it pulled for a session that joined at this place."""
        for delivery, (place, seconds) in self.accepted.items():
            calm = seconds - nats_killed_at > RECOVERY_SECONDS
            if place < joined or (calm and seconds + MARGIN_SECONDS <= self.acked_at):
                yield delivery


def higher_priority_first(moments: Sequence[At]) -> Iterable[str]:
    """
    A normal event does not leave before another that certainly waits, nor a priority one before an interrupt.

    Certainly: it was accepted before the session connected, which then counted what waits; or MARGIN_SECONDS before the
    last ack, with NATS unharmed since. Only first deliveries count: those were pulled from their line after that ack.
    """
    lines = lines_of(moments)
    tags: dict[str, _Waiting] = defaultdict(_Waiting)
    joined: dict[str, int] = {}
    nats_killed_at = float("-inf")
    for place, at in enumerate(moments):
        match at.entry:
            case Killed("nats"):
                nats_killed_at = at.seconds
            case Joined(session, _, _):
                joined[session] = place
            case Accepted(delivery, _) if delivery not in (tag := tags[lines[delivery][0]]).given:
                tag.accepted[delivery] = (place, at.seconds)
            case AckCalled(_, delivery) if delivery in lines:
                tags[lines[delivery][0]].ack(delivery, at.seconds)
            case Given(session, delivery, _, attempt) if delivery in lines:
                tag = tags[lines[delivery][0]]
                is_first = attempt == 1 and delivery not in tag.given
                tag.given.add(delivery)
                tag.accepted.pop(delivery, None)
                rank = RANKS[lines[delivery][1]] if is_first else 0
                for other in tag.certain(joined.get(session, -1), nats_killed_at):
                    if RANKS[lines[other][1]] < rank:
                        yield f"{delivery} was given to {session} although {other} waited"


def what_is_held_is_not_sent_again(moments: Sequence[At]) -> Iterable[str]:
    """What a session said it holds when it connected is not given to it, until the session has been another's."""
    holds: dict[str, set[str]] = defaultdict(set)
    was_active: set[str] = set()
    for at in moments:
        match at.entry:
            case Joined(session, _, held):
                holds[session] = set(held)
                was_active.discard(session)
            case Role(session, _, "active"):
                was_active.add(session)
            case Role(session, _, "standby") if session in was_active:
                holds[session].clear()
            case Given(session, delivery, _, _) if delivery in holds[session]:
                yield f"{delivery} was given to {session} again, which had said that it holds it"


def one_is_active(moments: Sequence[At]) -> Iterable[str]:
    """Events are given to the session that became active last, and to no other of its tag."""
    lines = lines_of(moments)
    active: dict[str, str] = {}
    nats_killed_at = float("-inf")
    for at in moments:
        match at.entry:
            case Killed("nats"):
                nats_killed_at = at.seconds
            case Role(session, tag, "active"):
                active[tag] = session
            case Role(session, tag, _) if active.get(tag) == session:
                del active[tag]
            case Given(session, delivery, _, _) if delivery in lines:
                holder = active.get(lines[delivery][0])
                # A server that NATS's restart cut off for long does not know yet that its session moved.
                if holder != session and at.seconds - nats_killed_at > RECOVERY_SECONDS:
                    yield f"{delivery} was given to {session} while {holder} was active"


# --- what a plugin may show ----------------------------------------------------------------------------------------


class _Claude:
    """What Claude was shown by one session and has not acked, the event that is active last."""

    def __init__(self) -> None:
        self.stack: list[str] = []
        self.given: dict[str, int] = {}
        # What is to be resumed next, and since when.
        self.due: tuple[str, int] | None = None

    def show(self, delivery: str, *, interrupts: bool) -> str | None:
        """Show an event anew, and say what is wrong with that."""
        due, self.due = self.due, None
        wrong = None
        if delivery in self.stack:
            return "twice"
        if self.stack and not interrupts:
            wrong = f"while {self.stack[-1]} was not acked"
        elif due is not None and self.given.get(delivery, due[1]) >= due[1]:
            wrong = f"before {due[0]} was resumed"
        self.stack.append(delivery)
        return wrong

    def resume(self, delivery: str) -> str | None:
        """Show an event again that was suspended, and say what is wrong with that."""
        self.due = None
        return None if self.stack[-1:] == [delivery] else "again, as resumed, out of turn"

    def end(self, delivery: str, place: int) -> None:
        """End an event, which may uncover another."""
        if delivery not in self.stack:
            return
        was_active = self.stack[-1] == delivery
        self.stack.remove(delivery)
        if self.due is not None and self.due[0] == delivery:
            self.due = None
        if was_active and self.stack:
            self.due = (self.stack[-1], place)


def interrupts_suspend_and_resume(moments: Sequence[At]) -> Iterable[str]:
    """
    Claude has one event at a time; an interrupt suspends it, and the newest suspended one is resumed after the ack.

    In between there may be only what the server gave before that ack: it was on its way.
    """
    lines = lines_of(moments)
    claudes: dict[str, _Claude] = defaultdict(_Claude)
    for place, at in enumerate(moments):
        match at.entry:
            case Given(session, delivery, _, _):
                claudes[session].given[delivery] = place
            case Shown(session, delivery, resumed) if delivery in lines:
                claude, interrupts = claudes[session], lines[delivery][1] == "interrupt"
                wrong = claude.resume(delivery) if resumed else claude.show(delivery, interrupts=interrupts)
                if wrong is not None:
                    yield f"{delivery} was shown by {session} {wrong}"
            case AckCalled(session, delivery) | LetGo(session, delivery):
                claudes[session].end(delivery, place)
            case Gone(session):
                claudes.pop(session, None)
    for session, claude in claudes.items():
        if claude.due is not None:
            yield f"{claude.due[0]} was never resumed by {session}"


def acks_are_kept(moments: Sequence[At]) -> Iterable[str]:
    """
    What a session acked is never shown by it again, nor by whoever finds its journal.

    A journal is found by the first of its tag to connect, or to become active, after its process is dead.
    """
    acked_by: dict[str, set[str]] = defaultdict(set)
    tags: dict[str, str] = {}
    heirs: dict[str, set[str]] = {}
    for at in moments:
        match at.entry:
            case Joined(session, tag, _) | Role(session, tag, "active"):
                tags[session] = tag
                for dead, found in heirs.items():
                    if tags.get(dead) == tag:
                        found.add(session)
            case Gone(session):
                heirs[session] = set()
            case AckCalled(session, delivery):
                acked_by[delivery].add(session)
            case Shown(session, delivery, resumed) if not resumed:
                for acker in sorted(acked_by[delivery]):
                    if acker == session or heirs.get(acker) == {session}:
                        yield f"{delivery} was shown by {session} although {acker} had acked it"


RULES: tuple[Rule, ...] = (
    everything_ends,
    lines_are_in_order,
    repeats_have_a_reason,
    one_in_flight,
    higher_priority_first,
    what_is_held_is_not_sent_again,
    one_is_active,
    interrupts_suspend_and_resume,
    acks_are_kept,
)


def story(moments: Sequence[At], found: Iterable[str]) -> str:
    """Tell what the ledger has of the deliveries that violations name, and who had their tags meanwhile."""
    named = {word.strip(",:") for violation in found for word in violation.split()}
    tags = {tag for delivery, (tag, _) in lines_of(moments).items() if delivery in named}
    of_tags = {at.entry.session for at in moments if isinstance(at.entry, Joined) and at.entry.tag in tags}
    return "\n".join(
        f"{place:6} {at.seconds:8.3f} {at.entry}"
        for place, at in enumerate(moments)
        if isinstance(at.entry, Killed)
        or getattr(at.entry, "delivery", None) in named
        or (isinstance(at.entry, Joined | Role | Gone) and at.entry.session in of_tags)
    )
