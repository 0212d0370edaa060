"""
The ledger of a run with faults: what was sent, accepted, shown and acked, in the order seen, and what must hold of it.

Pure. Deliveries are named by the sender's own delivery id. The ledger is written by one program that plays the senders
and Claude, so its order is real: what stands before something in it happened before it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sent:
    """The first request of a delivery is about to leave."""

    delivery: str


@dataclass(frozen=True)
class Accepted:
    """A 2xx came: 202, or 200 for the duplicate of an attempt whose answer was lost."""

    delivery: str
    event_id: str


@dataclass(frozen=True)
class Shown:
    """The plugin gave an event to Claude."""

    delivery: str
    event_id: str
    attempt: int


@dataclass(frozen=True)
class AckCalled:
    """Claude is about to call event_ack."""

    delivery: str


@dataclass(frozen=True)
class AckAnswered:
    """The plugin answered event_ack: it is on the disk, and must never be run again."""

    delivery: str


@dataclass(frozen=True)
class Killed:
    """Something was killed, or stopped for a while; for whoever reads the ledger."""

    what: str


Entry = Sent | Accepted | Shown | AckCalled | AckAnswered | Killed
Rule = Callable[[Sequence[Entry]], Iterable[str]]


def violations(entries: Sequence[Entry]) -> list[str]:
    """Name everything that must not be in the ledger of a whole run, drained at its end; empty when all is well."""
    return [violation for rule in RULES for violation in rule(entries)]


def nothing_is_lost(entries: Sequence[Entry]) -> Iterable[str]:
    """
    Every accepted delivery was shown, and acked after it was shown last.

    That ack need not be answered: the plugin may have been killed with it on the disk. Whether it came through, the
    streams tell, which are empty in the end.
    """
    open_: dict[str, bool] = {}
    for entry in entries:
        if isinstance(entry, Shown | AckCalled):
            open_[entry.delivery] = isinstance(entry, Shown)
    for entry in entries:
        if isinstance(entry, Accepted) and open_.get(entry.delivery, True):
            what = "never acked" if entry.delivery in open_ else "never shown"
            yield f"{entry.delivery} was accepted and {what}"


def nothing_is_invented(entries: Sequence[Entry]) -> Iterable[str]:
    """What is shown was sent before, and a delivery has one event id for ever."""
    sent = set()
    event_ids: dict[str, str] = {}
    for entry in entries:
        if isinstance(entry, Sent):
            sent.add(entry.delivery)
        if not isinstance(entry, Accepted | Shown):
            continue
        if entry.delivery not in sent:
            yield f"{entry.delivery} was never sent: {entry}"
        if event_ids.setdefault(entry.delivery, entry.event_id) != entry.event_id:
            yield f"{entry.delivery} is two events: {event_ids[entry.delivery]} and {entry.event_id}"


def order_is_kept(entries: Sequence[Entry]) -> Iterable[str]:
    """
    What was accepted before another was sent is shown before it.

    Deliveries on their way at the same time have no order of acceptance, so none is asked of them.
    """
    accepted_before: dict[str, set[str]] = {}
    accepted, shown = set(), set()
    for entry in entries:
        match entry:
            case Sent(delivery):
                accepted_before[delivery] = set(accepted)
            case Accepted(delivery, _):
                accepted.add(delivery)
            case Shown(delivery, _, _) if delivery not in shown:
                shown.add(delivery)
                for earlier in sorted(accepted_before.get(delivery, set()) - shown):
                    yield f"{delivery} was shown before {earlier}, which was accepted before it was sent"


def repeats_have_a_reason(entries: Sequence[Entry]) -> Iterable[str]:
    """An event comes again only while no ack of it was answered, and then with a higher attempt."""
    attempts: dict[str, int] = {}
    answered = set()
    for entry in entries:
        match entry:
            case AckAnswered(delivery):
                answered.add(delivery)
            case Shown(delivery, _, attempt):
                if delivery in answered:
                    yield f"{delivery} was shown again after its ack was answered"
                if attempt <= (before := attempts.get(delivery, 0)):
                    yield f"{delivery} was shown as attempt {attempt} after attempt {before}"
                attempts[delivery] = attempt


def one_at_a_time(entries: Sequence[Entry]) -> Iterable[str]:
    """Nothing is shown while another is shown and not acked, even across a kill: that one comes again first."""
    open_: set[str] = set()
    for entry in entries:
        match entry:
            case Shown(delivery, _, _):
                for other in sorted(open_ - {delivery}):
                    yield f"{delivery} was shown while {other} was not acked"
                open_.add(delivery)
            case AckCalled(delivery):
                open_.discard(delivery)


RULES: tuple[Rule, ...] = (nothing_is_lost, nothing_is_invented, order_is_kept, repeats_have_a_reason, one_at_a_time)


def story(entries: Sequence[Entry], found: Iterable[str]) -> str:
    """Tell what the ledger has of the deliveries that violations name, to print when a run fails."""
    named = {word.strip(",:") for violation in found for word in violation.split()}
    return "\n".join(
        f"{place:6} {entry}"
        for place, entry in enumerate(entries)
        if isinstance(entry, Killed) or entry.delivery in named
    )
