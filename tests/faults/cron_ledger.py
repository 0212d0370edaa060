"""
The ledger of a run with crons, and what must hold of it: each due instant is one event, or was skipped by policy.

Pure. Crons are named by their labels, instants by the cron and the time. What a cron may be due at and what it must be
due at are two things: a request whose answer was lost may have made a cron or not.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Wanted:
    """A cron may be due at an instant: it is about to be asked for."""

    cron: str
    due: datetime


@dataclass(frozen=True)
class Made:
    """A cron is due at an instant, for certain: a server has answered that it made it."""

    cron: str
    due: datetime


@dataclass(frozen=True)
class Given:
    """A session was given the event of a due instant, at a time."""

    cron: str
    due: datetime
    event_id: str
    attempt: int
    at: datetime


@dataclass(frozen=True)
class Confirmed:
    """The server confirmed the ack of an event: it has ended for good."""

    event_id: str


@dataclass(frozen=True)
class Skipped:
    """The history has a due instant as skipped."""

    cron: str
    due: datetime
    reason: str


@dataclass(frozen=True)
class Killed:
    """Something was killed; for whoever reads the ledger."""

    what: str


Entry = Wanted | Made | Given | Confirmed | Skipped | Killed
Rule = Callable[[Sequence[Entry]], Iterable[str]]


def violations(entries: Sequence[Entry]) -> list[str]:
    """Name everything that must not be in the ledger of a whole run, drained at its end; empty when all is well."""
    return [violation for rule in RULES for violation in rule(entries)]


def unsettled(entries: Iterable[Entry]) -> list[str]:
    """Name the due instants that neither ran and ended nor were skipped."""
    must = {(entry.cron, entry.due) for entry in entries if isinstance(entry, Made)}
    ended = {entry.event_id for entry in entries if isinstance(entry, Confirmed)}
    done = {
        (entry.cron, entry.due)
        for entry in entries
        if isinstance(entry, Skipped) or (isinstance(entry, Given) and entry.event_id in ended)
    }
    return [f"{cron} was due at {due:%H:%M:%S} and never ran" for cron, due in sorted(must - done)]


def what_runs_was_due(entries: Sequence[Entry]) -> Iterable[str]:
    """No event and no skipped run without a due instant, and no event before it."""
    may = {(entry.cron, entry.due) for entry in entries if isinstance(entry, Wanted | Made)}
    for entry in entries:
        if isinstance(entry, Given | Skipped) and (entry.cron, entry.due) not in may:
            yield f"{entry.cron} was not due at {entry.due:%H:%M:%S}: {entry}"
        if isinstance(entry, Given) and entry.at < entry.due:
            yield f"{entry.cron} ran before it was due at {entry.due:%H:%M:%S}: {entry}"


def an_instant_is_one_event(entries: Sequence[Entry]) -> Iterable[str]:
    """It has one event id for ever, and what ran was not skipped."""
    event_ids: dict[tuple[str, datetime], str] = {}
    for entry in entries:
        if isinstance(entry, Given):
            known = event_ids.setdefault((entry.cron, entry.due), entry.event_id)
            if known != entry.event_id:
                yield f"{entry.cron} ran twice for {entry.due:%H:%M:%S}: {known} and {entry.event_id}"
    for entry in entries:
        if isinstance(entry, Skipped) and (entry.cron, entry.due) in event_ids:
            yield f"{entry.cron} ran for {entry.due:%H:%M:%S}, which was also skipped as {entry.reason}"


def what_ended_stays_ended(entries: Sequence[Entry]) -> Iterable[str]:
    """An event comes again only while no ack of it was confirmed, and then with a higher attempt."""
    attempts: dict[str, int] = {}
    ended = set()
    for entry in entries:
        match entry:
            case Confirmed(event_id):
                ended.add(event_id)
            case Given(cron, due, event_id, attempt):
                if event_id in ended:
                    yield f"{cron} ran again for {due:%H:%M:%S} after its ack was confirmed"
                elif attempt <= (before := attempts.get(event_id, 0)):
                    yield f"{cron} came for {due:%H:%M:%S} as attempt {attempt} after attempt {before}"
                attempts[event_id] = attempt


RULES: tuple[Rule, ...] = (unsettled, what_runs_was_due, an_instant_is_one_event, what_ended_stays_ended)


def story(entries: Sequence[Entry], found: Iterable[str]) -> str:
    """Tell what the ledger has of the crons that violations begin with, to print when a run fails."""
    named = {violation.split()[0] for violation in found}
    event_ids = {entry.event_id for entry in entries if isinstance(entry, Given) and entry.cron in named}

    def matters(entry: Entry) -> bool:
        match entry:
            case Killed():
                return True
            case Confirmed(event_id):
                return event_id in event_ids
            case _:
                return entry.cron in named

    return "\n".join(f"{place:6} {entry}" for place, entry in enumerate(entries) if matters(entry))
