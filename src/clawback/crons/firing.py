"""
What a cron does when it is due: its event is stored, and its next due instant is armed.

NATS is the clock (store/later.py), and whichever server is given the message carries it out. It may be given again,
to another server as well, so each step does no harm when it is repeated, and they are in this order:

    decide      which instants run and which are skipped, stored in the cron's record against the revision that was read
    carry out   the skips into the history, then the events, whose ids follow from the cron and the due instant
    arm         the next instant, only where none is

Where runs were missed, what is to run depends on when somebody looks. So it is decided once: whoever is given the
message after that, because its server was killed, hung or froze, carries out the same. No instant is skipped by one and
run by the other.

Due instants follow from each other and not from the time of day, so a clock that is set back repeats nothing.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice

import msgspec

from clawback.errors import BadPayload, Conflict, NotFound, Rejected, Unavailable
from clawback.fabric import subjects
from clawback.fabric.streams import Fabric
from clawback.model import (
    Address,
    Cron,
    Decision,
    Event,
    EventState,
    HistoryRecord,
    Origin,
    Overlap,
    derive_event_id,
    is_foreign,
    new_id,
)
from clawback.schedules import Plan, due_times, find_zone, next_due, plan_runs, read_expression
from clawback.schedules.missed import choose_late
from clawback.store import later
from clawback.store.events import EventStore
from clawback.store.history import History
from clawback.store.registry import Registry
from clawback.telemetry import metrics
from clawback.telemetry.aside import Aside

KIND = "cron"
"""What crons are called among what is to be published later."""

DUE_HEADER = "Clawback-Due"
EDITION_HEADER = "Clawback-Edition"

MISSED = "missed"
OVERLAP = "overlap"
MESSAGES_OFF = "messages_off"
"""The reasons of skipped runs."""

STORE_SECONDS = 5.0

BOOKINGS = 4
"""
Crons whose next run is settled at a time. Where many are due at once their events come first: sessions wait for those,
and NATS, which syncs one write of a stream after the other, takes longer for all the rest.
"""

FURTHEST = timedelta(days=3653)
"""How far off `once` may be. What NATS cannot count to, after 2262, it would publish at once."""

EARLY = timedelta(seconds=1)
"""How much earlier than it is due something may be published."""

UNKNOWN = "it cannot be armed, for a reason that only the server's log has"

AT_ONCE = timedelta(minutes=5)
"""How late a cron may be to be planned on the loop: there are few instants, if any, to be gone through."""

CATCHING_UP = 4
"""Crons at a time that make up for more than one run: webhooks and other crons use the same disk."""

UPCOMING = 3
"""Runs that an answer shows, so that everybody sees what was understood."""

log = logging.getLogger("clawback.crons")


def now_utc() -> datetime:
    """Read the clock."""
    return datetime.now(UTC)


class Crons:
    """
    The crons of an installation, as every server has them. Give `fire` to the relay, and `open` before use.

    `now` is the clock that decides what was missed and what comes next; NATS's decides when something is due.
    """

    def __init__(
        self,
        fabric: Fabric,
        registry: Registry,
        events: EventStore,
        history: History,
        *,
        aside: Aside | None = None,
        now: Callable[[], datetime] = now_utc,
    ) -> None:
        self._fabric = fabric
        self._registry = registry
        self._events = events
        self._history = history
        self.aside = aside or Aside()
        self.now = now
        self._booking = asyncio.Semaphore(BOOKINGS)
        self._planning = asyncio.Semaphore(1)
        self._catching_up = asyncio.Semaphore(CATCHING_UP)

    async def open(self) -> None:
        """
        Arm what is not armed, now and after each reconnect.

        Raises:
            Unavailable: NATS does not answer.
        """
        self._fabric.on_reconnect(self.reconcile)
        await self.reconcile()

    async def reconcile(self) -> None:
        """
        Arm every cron that is to run and has nothing armed: a server was killed before it could.

        Raises:
            Unavailable: NATS does not answer.
        """
        crons = self._registry.every_cron()
        if not crons:
            return
        pending = await later.pending(self._fabric, KIND)
        for cron in crons:
            if cron.paused or (cron.profile_id, cron.id) in pending:
                continue
            try:
                with contextlib.suppress(Conflict):  # another server starts too
                    await self._arm(cron, replace=False)
            except Unavailable:
                raise
            except Rejected as error:
                # What nobody here can arm is one cron that does not run, not a server that does not.
                self._set_aside(cron, str(error))
            except Exception:
                # Nor is a bug that one record meets.
                log.exception("cron %s cannot be armed", cron.id)
                self._set_aside(cron, UNKNOWN)
            else:
                log.info("cron %s was not armed", cron.id, extra={"action": "cron_armed", "profile": cron.profile_id})

    def why_aside(self, cron: Cron) -> str | None:
        """Say why a cron cannot be armed and so does not run; None where it can."""
        return self.aside.reason(KIND, cron.id)

    def _set_aside(self, cron: Cron, reason: str) -> None:
        if self.aside.put(KIND, cron.id, reason):
            log.error("cron %s does not run: %s", cron.id, reason, extra={"action": "cron_set_aside"})

    async def create(self, cron: Cron) -> None:
        """
        Store a new cron and arm it.

        Raises:
            Rejected: it cannot be armed; nothing is stored.
            Unavailable: not known to be done.
        """
        self.check_armable(cron)
        await self._registry.create_cron(cron)
        await self._arm_newest(cron)

    async def change(self, profile_id: str, cron_id: str, change: Callable[[Cron], Cron]) -> Cron:
        """
        Change a cron as a person wants it, and arm it anew.

        Raises:
            Rejected: it could not be armed then; it stays as it was.
            NotFound: the profile has no such cron.
            Unavailable: not known to be done.
        """

        def changed(cron: Cron) -> Cron:
            cron = msgspec.structs.replace(change(cron), edition=cron.edition + 1)
            if not cron.paused:
                self.check_armable(cron)
            return cron

        cron = await self._registry.update_cron(profile_id, cron_id, changed)
        await self._arm_newest(cron)
        return cron

    async def delete(self, profile_id: str, cron_id: str) -> bool:
        """
        Delete a cron; events of it that wait are delivered. False where the profile has no such cron.

        Raises:
            Unavailable: not known to be deleted.
        """
        removed = await self._registry.delete_cron(profile_id, cron_id)
        if removed:
            self.aside.clear(KIND, cron_id)
            await later.disarm(self._fabric, KIND, profile_id, cron_id)
        return removed

    def check_armable(self, cron: Cron) -> None:
        """
        Check that a cron can be armed at all, before it is stored.

        Raises:
            Rejected: it cannot; the text has the rule.
        """
        if cron.once is not None and cron.once > self.now() + FURTHEST:
            raise Rejected(
                f"once refused, it is due at {stamp(cron.once)}: accepted is a time within {FURTHEST.days // 365} years"
            )
        next_armed(cron)

    async def run_now(self, cron: Cron, run_by: str) -> str:
        """
        Store an event of a cron at once, whatever its schedule, and return its id; `run_by` is who asked.

        Raises:
            QueueFull: its line is full.
            Unavailable: not known to be stored.
        """
        event_id = new_id("evt")
        await self._store(cron, event_id, self.now().replace(microsecond=0), delivery_id=None, run_by=run_by)
        return event_id

    def upcoming(self, cron: Cron) -> list[datetime]:
        """List the next instants at which a cron is due, UPCOMING at most; none while it is paused."""
        if cron.paused:
            return []
        if cron.once is not None or cron.schedule is None:
            return [cron.once] if cron.once is not None else []
        after = max(each for each in (cron.since, cron.last_due, self.now()) if each is not None)
        return list(islice(due_times(read_expression(cron.schedule), find_zone(cron.timezone), after), UPCOMING))

    async def fire(self, due: later.Due) -> None:
        """
        Do what is due; for the relay.

        Raises:
            BadPayload: the message is none of ours.
            ClawbackError: not done; doing it again does no harm.
        """
        try:
            first, edition = datetime.fromisoformat(due.headers[DUE_HEADER]), int(due.headers[EDITION_HEADER])
        except (KeyError, ValueError):
            raise BadPayload("it does not say what is due") from None
        if first.tzinfo is None:
            raise BadPayload("it does not say in which zone it is due")
        cron = await self._registry.find_cron(due.profile_id, due.name)
        if cron is None:
            return
        try:
            if not _is_decided(cron, edition, first) and self._is_wanted(cron, edition, first, due.published_at):
                cron = await self._decide(cron, first)
        except NotFound:
            return  # deleted at this moment
        if _is_decided(cron, edition, first):
            await self._carry_out(cron)
        async with self._booking:
            await self._go_on(cron)

    async def _go_on(self, cron: Cron) -> None:
        """Arm what comes next of a cron, or delete one that has had its only time."""
        if cron.once is not None and _is_done(cron, cron.once):
            await self._registry.delete_cron(cron.profile_id, cron.id, edition=cron.edition)
        elif not cron.paused and self.aside.reason(KIND, cron.id) is None:
            with contextlib.suppress(Conflict):  # whoever was given this message too has armed it
                await self._arm(cron, replace=False)

    def _is_wanted(self, cron: Cron, edition: int, first: datetime, published_at: datetime | None) -> bool:
        """
        Tell whether what NATS says is due is to be decided about.

        Raises:
            Rejected: it is not due yet.
        """
        if cron.paused or edition != cron.edition or _is_done(cron, first):
            return False
        return self._is_due(cron, first, published_at)

    def _is_due(self, cron: Cron, first: datetime, published_at: datetime | None) -> bool:
        """
        Look whether an instant has come by NATS's clock or ours; False where it never will, and the cron is set aside.

        NATS publishes at once what is too far off for it, and somebody may publish by hand.

        Raises:
            Rejected: it has not come, and will.
        """
        try:
            self.check_armable(cron)
            at = first + jitter(cron) - EARLY
        except (Rejected, OverflowError) as error:
            self._set_aside(cron, str(error))
            return False
        if at > self.now() and (published_at is None or at > published_at):
            raise Rejected(f"it is not due before {stamp(first)}")
        return True

    async def _decide(self, cron: Cron, first: datetime) -> Cron:
        """
        Decide what becomes of all that is due from an instant on, and store that; what was decided before stays.

        Raises:
            NotFound: it was deleted.
            Unavailable: not known to be stored.
        """
        plan = await self._plan(cron, first)
        decision = Decision(cron.edition, first, plan.run, plan.skipped, plan.first_skipped, plan.last_skipped)
        if plan.run:
            decision = await self._hold_back(cron, decision)

        def decided(current: Cron) -> Cron:
            if current.edition != cron.edition or _is_done(current, first):
                return current
            last_run_at = decision.run[-1] if decision.run else current.last_run_at
            return msgspec.structs.replace(current, decision=decision, last_due=plan.last, last_run_at=last_run_at)

        async with self._booking:
            return await self._registry.update_cron(cron.profile_id, cron.id, decided)

    async def _plan(self, cron: Cron, first: datetime) -> Plan:
        now = self.now() - jitter(cron)
        if cron.once is not None:
            run = choose_late(cron.once, now, cron.missed)
            return Plan((cron.once,), 0, None, None, cron.once) if run else Plan((), 1, first, first, cron.once)
        assert cron.schedule is not None, "a cron has a schedule, or a time"
        expression, zone = read_expression(cron.schedule), find_zone(cron.timezone)
        if now - first <= AT_ONCE:
            return plan_runs(expression, zone, first, now, cron.missed)
        async with self._planning:
            # Not on the loop: everybody else waits there.
            return await asyncio.to_thread(plan_runs, expression, zone, first, now, cron.missed)

    async def _hold_back(self, cron: Cron, decision: Decision) -> Decision:
        """
        Skip what is not to run although it is due.

        That is all, where another session set the cron for one that takes no messages; and with `skip` all but one, as
        long as an earlier run has not ended.
        """
        if is_foreign(cron.set_by, cron.tag) and await self._registry.quiet_among(cron.profile_id, [cron.tag]):
            text = "set by another session, and its session takes none"
            return msgspec.structs.replace(decision, run=(), held_back=decision.run, reason=MESSAGES_OFF, text=text)
        if cron.overlap is not Overlap.SKIP:
            return decision
        ours = {self._event_id(cron, due) for due in decision.run}
        waiting = await self._events.waiting_of_cron(cron.profile_id, cron.id) - ours
        first = self._event_id(cron, decision.run[0])
        kept, reason_id = ((), min(waiting)) if waiting else (decision.run[:1], first)
        held_back = decision.run[len(kept) :]
        if not held_back:
            return decision
        return msgspec.structs.replace(
            decision, run=kept, held_back=held_back, reason=OVERLAP, text=f"while {reason_id} had not ended"
        )

    async def _carry_out(self, cron: Cron) -> None:
        decision = cron.decision
        assert decision is not None, "the caller has looked"
        if not decision.skipped and len(decision.run) + len(decision.held_back) == 1:
            await self._carry_out_each(cron, decision)
            return
        async with self._catching_up:
            if decision.skipped:
                await self._note_missed(cron, decision)
            await self._carry_out_each(cron, decision)

    async def _carry_out_each(self, cron: Cron, decision: Decision) -> None:
        for due in decision.held_back:
            reason = decision.reason or OVERLAP
            await self._skip(cron, due, reason, f"due at {stamp(due)}, {decision.text}")
        for due in decision.run:
            await self._run(cron, due)

    async def _run(self, cron: Cron, due: datetime) -> None:
        """Store the event of a due instant."""
        event_id = self._event_id(cron, due)
        if await self._store(cron, event_id, due, delivery_id=stamp(due)):
            metrics.CRON_LATENESS.observe(max(0.0, (self.now() - due - jitter(cron)).total_seconds()))
            log.info(
                "cron %s ran", cron.id, extra={"action": "cron_ran", "profile": cron.profile_id, "event": event_id}
            )

    async def _store(
        self, cron: Cron, event_id: str, due: datetime, *, delivery_id: str | None, run_by: str | None = None
    ) -> bool:
        event = Event(
            id=event_id,
            origin=Origin.CRON,
            priority=cron.priority,
            created_at=self.now(),
            delivery_id=delivery_id,
            cron_id=cron.id,
            label=cron.label,
            scheduled_at=due,
            set_by=cron.set_by,
            run_by=run_by,
        )
        address = Address(cron.profile_id, cron.tag)
        maker = subjects.cron_maker(cron.id)
        return await self._events.store(address, event, cron.prompt.encode(), maker=maker, patience_s=STORE_SECONDS)

    async def _note_missed(self, cron: Cron, decision: Decision) -> None:
        assert decision.first_skipped is not None, "something is skipped"
        assert decision.last_skipped is not None, "something is skipped"
        if decision.skipped == 1:
            text = f"due at {stamp(decision.last_skipped)}, when no server was up"
        else:
            span = f"from {stamp(decision.first_skipped)} to {stamp(decision.last_skipped)}"
            text = f"{decision.skipped} runs that were due {span}, when no server was up"
        await self._skip(cron, decision.last_skipped, MISSED, text)

    async def _skip(self, cron: Cron, due: datetime, reason: str, text: str) -> None:
        record = HistoryRecord(
            event_id=self._event_id(cron, due),
            source=Origin.CRON.value,
            state=EventState.SKIPPED,
            completed_at=self.now(),
            path=cron.id,
            summary=f"{text} (missed: {cron.missed})" if reason == MISSED else text,
            session_tag=cron.tag,
            reason=reason,
        )
        await self._history.record_skip(cron.profile_id, cron.id, record)
        log.info("cron %s skipped: %s", cron.id, text, extra={"action": "cron_skipped", "profile": cron.profile_id})

    async def _arm_newest(self, cron: Cron | None) -> None:
        """Arm a cron that was just changed, until what is armed is what was changed last."""
        armed = None
        while cron is not None and cron.edition != armed:
            armed = cron.edition
            if cron.paused:
                await later.disarm(self._fabric, KIND, cron.profile_id, cron.id)
            else:
                await self._arm(cron, replace=True)
            cron = await self._registry.find_cron(cron.profile_id, cron.id)

    async def _arm(self, cron: Cron, *, replace: bool) -> None:
        self.check_armable(cron)
        headers = {DUE_HEADER: next_run(cron).isoformat(), EDITION_HEADER: str(cron.edition)}
        await later.arm(self._fabric, KIND, cron.profile_id, cron.id, next_armed(cron), b"", headers, replace=replace)
        self.aside.clear(KIND, cron.id)

    def _event_id(self, cron: Cron, due: datetime) -> str:
        return derive_event_id(self._registry.install.id_key, "cron", cron.profile_id, cron.id, stamp(due))


def _is_done(cron: Cron, due: datetime) -> bool:
    """Tell whether it is decided what becomes of an instant."""
    return cron.last_due is not None and due <= cron.last_due


def _is_decided(cron: Cron, edition: int, first: datetime) -> bool:
    """Tell whether what was decided last is about this message."""
    return cron.decision is not None and (cron.decision.edition, cron.decision.first) == (edition, first)


def next_run(cron: Cron) -> datetime:
    """Return the next instant that a cron is due, whether or not it is past."""
    if cron.once is not None:
        return cron.once
    assert cron.schedule is not None, "a cron has a schedule, or a time"
    after = cron.since if cron.last_due is None else max(cron.since, cron.last_due)
    return next_due(read_expression(cron.schedule), find_zone(cron.timezone), after)


def next_armed(cron: Cron) -> datetime:
    """
    Return when a cron's next run is published, its jitter with it.

    Raises:
        Rejected: its times cannot be read, or are too far off.
    """
    try:
        return next_run(cron) + jitter(cron)
    except OverflowError:
        raise Rejected("it is due at the end of time: give it another time with cron_update, or delete it") from None


def jitter(cron: Cron) -> timedelta:
    """Return how much later than due a cron runs: always the same for one, at most what it was given."""
    number = int.from_bytes(hashlib.sha256(cron.id.encode()).digest()[:8], "big")
    return timedelta(seconds=number % (cron.jitter_seconds + 1))


def stamp(due: datetime) -> str:
    """Write a due instant."""
    return f"{due.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
