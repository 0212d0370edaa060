"""The check of the ledger of crons: it passes what may happen, and catches each violation that is planted."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from faults.cron_ledger import Confirmed, Entry, Given, Killed, Made, Skipped, Wanted, violations

NOON = datetime(2027, 3, 3, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def made(cron: str, due: datetime = NOON) -> list[Entry]:
    """Make a cron that is due once."""
    return [Wanted(cron, due), Made(cron, due)]


def given(cron: str, attempt: int = 1, *, due: datetime = NOON, event_id: str = "", late: timedelta = SECOND) -> Entry:
    """Give its event to a session."""
    return Given(cron, due, event_id or f"evt_{cron}", attempt, due + late)


def ran(cron: str, due: datetime = NOON) -> list[Entry]:
    """Give its event to a session, whose ack is confirmed."""
    event_id = f"evt_{cron}{due:%H%M}"
    return [given(cron, due=due, event_id=event_id), Confirmed(event_id)]


GOOD: dict[str, Sequence[Entry]] = {
    "nothing happened": [],
    "it ran": [*made("a"), *ran("a")],
    "twice a day": [*made("a"), *made("a", NOON + SECOND * 60), *ran("a"), *ran("a", NOON + SECOND * 60)],
    "it was skipped": [*made("a"), Skipped("a", NOON, "missed")],
    "its answer was lost, and it ran": [Wanted("a", NOON), *ran("a")],
    "its answer was lost, and it was not made": [Wanted("a", NOON), Killed("server")],
    "again after a kill": [*made("a"), given("a"), Killed("server"), given("a", 2), Confirmed("evt_a")],
    "it came before the answer": [Wanted("a", NOON), *ran("a"), Made("a", NOON)],
}

BAD: dict[str, tuple[Sequence[Entry], str]] = {
    "never ran": ([*made("a"), *made("b"), *ran("b")], "a was due at 12:00:00 and never ran"),
    "never ended": ([*made("a"), given("a")], "a was due at 12:00:00 and never ran"),
    "never due": ([*made("a"), *ran("a"), *ran("a", NOON + SECOND * 60)], "a was not due at 12:01:00"),
    "skipped but never due": ([Skipped("a", NOON, "missed")], "a was not due at 12:00:00"),
    "too early": (
        [*made("a"), given("a", late=-SECOND), Confirmed("evt_a")],
        "a ran before it was due at 12:00:00",
    ),
    "two events": ([*made("a"), *ran("a"), given("a", event_id="evt_other")], "a ran twice for 12:00:00"),
    "run and skipped": ([*made("a"), *ran("a"), Skipped("a", NOON, "missed")], "a ran for 12:00:00, which was also"),
    "again after its end": (
        [*made("a"), given("a"), Confirmed("evt_a"), given("a")],
        "a ran again for 12:00:00 after its ack was confirmed",
    ),
    "again without a higher attempt": (
        [*made("a"), given("a"), given("a"), Confirmed("evt_a")],
        "a came for 12:00:00 as attempt 1 after attempt 1",
    ),
}


@pytest.mark.parametrize("entries", GOOD.values(), ids=GOOD)
def test_what_may_happen_passes(entries):
    """Kills and lost answers leave traces that are no violation."""
    assert violations(entries) == []


@pytest.mark.parametrize(("entries", "said"), BAD.values(), ids=BAD)
def test_a_planted_violation_is_caught(entries, said):
    """Each is named, and by nothing else than itself."""
    found = violations(entries)

    assert [violation for violation in found if violation.startswith(said)], found
    assert len(found) == 1, found
