"""The ledger's check: it passes what may happen, and catches each violation that is planted."""

from collections.abc import Sequence

import pytest

from faults.ledger import Accepted, AckAnswered, AckCalled, Entry, Killed, Sent, Shown, violations


def sent(name: str) -> list[Entry]:
    """Accept a delivery."""
    return [Sent(name), Accepted(name, f"evt_{name}")]


def shown(name: str, attempt: int = 1) -> Entry:
    """Show a delivery."""
    return Shown(name, f"evt_{name}", attempt)


def acked(name: str) -> list[Entry]:
    """Ack a delivery."""
    return [AckCalled(name), AckAnswered(name)]


def ran(name: str) -> list[Entry]:
    """Show and ack a delivery."""
    return [shown(name), *acked(name)]


GOOD: dict[str, Sequence[Entry]] = {
    "nothing happened": [],
    "two in order": [*sent("a"), *sent("b"), *ran("a"), *ran("b")],
    "shown before its answer came": [Sent("a"), shown("a"), Accepted("a", "evt_a"), *acked("a")],
    "at the same time, in either order": [
        Sent("a"),
        Sent("b"),
        Accepted("a", "evt_a"),
        Accepted("b", "evt_b"),
        *ran("b"),
        *ran("a"),
    ],
    "never accepted, shown or not": [Sent("a"), Sent("b"), *ran("a")],
    "again after a kill": [*sent("a"), shown("a"), Killed("plugin"), shown("a", 2), *acked("a")],
    "again after a kill in the ack": [
        *sent("a"),
        shown("a"),
        AckCalled("a"),
        Killed("plugin"),
        shown("a", 3),
        *acked("a"),
    ],
    "the ack in a kill got through without an answer": [
        *sent("a"),
        *sent("b"),
        shown("a"),
        AckCalled("a"),
        Killed("plugin"),
        *ran("b"),
    ],
    "the ack in a kill got through": [
        *sent("a"),
        *sent("b"),
        shown("a"),
        AckCalled("a"),
        AckAnswered("a"),
        Killed("plugin"),
        *ran("b"),
    ],
}

BAD: dict[str, tuple[Sequence[Entry], str]] = {
    "lost": ([*sent("b"), *ran("b"), *sent("a")], "a was accepted and never shown"),
    "never acked": ([*sent("a"), shown("a")], "a was accepted and never acked"),
    "not acked when it came again": (
        [*sent("a"), shown("a"), AckCalled("a"), shown("a", 2)],
        "a was accepted and never acked",
    ),
    "never sent": ([*ran("a")], "a was never sent"),
    "two events": ([*sent("a"), Shown("a", "evt_other", 1), *acked("a")], "a is two events"),
    "accepted as another": ([*sent("a"), Accepted("a", "evt_other"), *ran("a")], "a is two events"),
    "out of order": ([*sent("a"), *sent("b"), *ran("b"), *ran("a")], "b was shown before a"),
    "again after its ack": ([*sent("a"), *ran("a"), shown("a", 2), *acked("a")], "a was shown again after its ack"),
    "again without a higher attempt": (
        [*sent("a"), shown("a"), shown("a"), *acked("a")],
        "a was shown as attempt 1 after attempt 1",
    ),
    "attempt falls": (
        [*sent("a"), shown("a", 3), shown("a", 2), *acked("a")],
        "a was shown as attempt 2 after attempt 3",
    ),
    "attempt nought": ([*sent("a"), shown("a", 0), *acked("a")], "a was shown as attempt 0"),
    "two at once": (
        [*sent("a"), *sent("b"), shown("a"), shown("b"), *acked("a"), *acked("b")],
        "b was shown while a was not acked",
    ),
    "passed over in a kill": (
        [*sent("a"), *sent("b"), shown("a"), Killed("plugin"), *ran("b"), shown("a", 2), *acked("a")],
        "b was shown while a was not acked",
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
