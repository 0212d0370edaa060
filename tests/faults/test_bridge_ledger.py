"""The check of the many sessions' ledger: it passes what may happen, and catches each violation that is planted."""

from collections.abc import Sequence

import pytest

from faults.bridge_ledger import (
    Accepted,
    AckCalled,
    At,
    Confirmed,
    Entry,
    Given,
    Gone,
    Joined,
    Killed,
    LetGo,
    Role,
    Sent,
    Shown,
    violations,
)

PRIORITIES = {"n": "normal", "p": "priority", "i": "interrupt"}


def sent(name: str) -> list[Entry]:
    """Accept a delivery; its first letter is its priority."""
    return [Sent(name, "tag", PRIORITIES[name[0]]), Accepted(name, f"evt_{name}")]


def joined(session: str = "A", *holds: str, role: str = "active") -> list[Entry]:
    """Connect a session."""
    return [Joined(session, "tag", holds), Role(session, "tag", role)]


def given(name: str, attempt: int = 1, session: str = "A") -> list[Entry]:
    """Give an event, which is shown."""
    return [Given(session, name, f"evt_{name}", attempt), Shown(session, name)]


def acked(name: str, session: str = "A") -> list[Entry]:
    """Ack an event."""
    return [AckCalled(session, name), Confirmed(session, name)]


def ran(name: str, attempt: int = 1, session: str = "A") -> list[Entry]:
    """Give and ack an event."""
    return [*given(name, attempt, session), *acked(name, session)]


def resumed(name: str) -> list[Entry]:
    """Resume an event, and ack it."""
    return [Shown("A", name, resumed=True), *acked(name)]


def moved(*names: str) -> list[Entry]:
    """Hand the session from A to B."""
    return [Role("A", "tag", "standby"), Role("B", "tag", "active"), *(each for name in names for each in sent(name))]


BOTH = [*joined("A"), *joined("B", role="standby")]

GOOD: dict[str, Sequence[Entry]] = {
    "nothing happened": [],
    "two in order": [*joined(), *sent("n1"), *sent("n2"), *ran("n1"), *ran("n2")],
    "suspended twice and resumed": [
        *joined(),
        *sent("n1"),
        *given("n1"),
        *sent("i1"),
        *given("i1"),
        *sent("i2"),
        *ran("i2"),
        *resumed("i1"),
        *resumed("n1"),
    ],
    "an interrupt that was on its way is shown instead of what it suspends again": [
        *joined(),
        *sent("n1"),
        *sent("i1"),
        *sent("i2"),
        *given("n1"),
        *given("i1"),
        Given("A", "i2", "evt_i2", 1),
        *acked("i1"),
        Shown("A", "i2"),
        *acked("i2"),
        *resumed("n1"),
    ],
    "priority that came as the other left": [
        *joined(),
        *sent("n1"),
        Sent("p1", "tag", "priority"),
        *given("n1"),
        Accepted("p1", "evt_p1"),
        *acked("n1"),
        *sent("n2"),
        *ran("p1"),
        *ran("n2"),
    ],
    "again for another session, and a late ack": [
        *BOTH,
        *sent("n1"),
        *sent("i1"),
        *given("n1"),
        *given("i1"),
        *moved(),
        *ran("i1", 2, "B"),
        *acked("n1"),
    ],
    "again after a kill": [*joined(), *sent("n1"), *given("n1"), Gone("A"), *joined("B"), *ran("n1", 2, "B")],
    "an interrupt whose frame was lost goes behind those that wait": [
        *sent("i1"),
        *sent("i2"),
        *joined(),
        *ran("i2"),
        *ran("i1", 2),
    ],
    "given again as its ack was found in a journal": [
        *joined(),
        *sent("n1"),
        *given("n1"),
        AckCalled("A", "n1"),
        Gone("A"),
        *joined("B"),
        Given("B", "n1", "evt_n1", 2),
        Confirmed("B", "n1"),
    ],
    "held across a kill of the server": [
        *joined(),
        *sent("n1"),
        *given("n1"),
        Killed("server"),
        *joined("A", "n1"),
        *acked("n1"),
    ],
    "ended elsewhere while it was away": [
        *BOTH,
        *sent("n1"),
        *given("n1"),
        Role("B", "tag", "active"),
        *ran("n1", 2, "B"),
        *joined("A", "n1", role="standby"),
        LetGo("A", "n1"),
    ],
    "stored twice after both were killed": [
        *joined(),
        Sent("n1", "tag", "normal"),
        *ran("n1"),
        Killed("server"),
        Killed("nats"),
        *joined("B"),
        *ran("n1", 1, "B"),
        Accepted("n1", "evt_n1"),
    ],
}

BAD: dict[str, tuple[Sequence[Entry], str]] = {
    "lost": ([*joined(), *sent("n1")], "n1 was accepted and never shown"),
    "never acked": ([*joined(), *sent("n1"), *given("n1")], "n1 was accepted and never acked"),
    "out of order": (
        [*joined(), *sent("n1"), *sent("n2"), *ran("n2"), *ran("n1")],
        "n2 was shown before n1",
    ),
    "again after its ack was confirmed": (
        [*BOTH, *sent("n1"), *ran("n1"), *moved(), *ran("n1", 2, "B")],
        "n1 was shown again after its ack",
    ),
    "again without a higher attempt": (
        [*BOTH, *sent("n1"), *given("n1"), *moved(), *ran("n1", 1, "B")],
        "n1 was shown as attempt 1 after attempt 1",
    ),
    "two in flight": (
        [
            *BOTH,
            *sent("n1"),
            *sent("n2"),
            *given("n1"),
            *moved(),
            *given("n2", 1, "B"),
            *acked("n2", "B"),
            *ran("n1", 2, "B"),
        ],
        "n2 was given to B while n1 was not acked",
    ),
    "the stack upside down": (
        [
            *BOTH,
            *sent("i1"),
            *sent("i2"),
            *given("i1"),
            *given("i2"),
            *moved(),
            *ran("i1", 2, "B"),
            *ran("i2", 2, "B"),
        ],
        "i1 was given to B again before i2",
    ),
    "interrupts out of order": (
        [*joined(), *sent("i1"), *sent("i2"), *ran("i2"), *ran("i1")],
        "i2 was shown before i1",
    ),
    "normal before priority": (
        [*joined(), *sent("n1"), *sent("n2"), *sent("p1"), *ran("n1"), *ran("n2"), *ran("p1")],
        "n2 was given to A although p1 waited",
    ),
    "priority before an interrupt that waited when it connected": (
        [*sent("p1"), *sent("i1"), *joined(), *ran("p1"), *ran("i1")],
        "p1 was given to A although i1 waited",
    ),
    "given again to whom holds it": (
        [*joined(), *sent("n1"), *given("n1"), *joined("A", "n1"), Given("A", "n1", "evt_n1", 2), *acked("n1")],
        "n1 was given to A again, which had said that it holds it",
    ),
    "given to a standby": (
        [*BOTH, *sent("n1"), *ran("n1", 1, "B")],
        "n1 was given to B while A was active",
    ),
    "not suspended": (
        [
            *joined(),
            *sent("n1"),
            *sent("n2"),
            *given("n1"),
            AckCalled("B", "n1"),
            *given("n2"),
            *acked("n2"),
            *resumed("n1"),
        ],
        "n2 was shown by A while n1 was not acked",
    ),
    "resumed out of turn": (
        [
            *joined(),
            *sent("n1"),
            *sent("i1"),
            *sent("i2"),
            *given("n1"),
            *given("i1"),
            *ran("i2"),
            *resumed("n1"),
            *acked("i1"),
        ],
        "n1 was shown by A again, as resumed, out of turn",
    ),
    "never resumed": (
        [*joined(), *sent("n1"), *sent("i1"), *given("n1"), *ran("i1"), AckCalled("B", "n1")],
        "n1 was never resumed by A",
    ),
    "another before what is to be resumed": (
        [*joined(), *sent("n1"), *sent("i1"), *sent("i2"), *given("n1"), *ran("i1"), *ran("i2"), *resumed("n1")],
        "i2 was shown by A before n1 was resumed",
    ),
    "shown twice": (
        [*joined(), *sent("n1"), *given("n1"), Shown("A", "n1"), *acked("n1")],
        "n1 was shown by A twice",
    ),
    "an ack in a journal that nobody read": (
        [
            *joined(),
            *sent("n1"),
            *given("n1"),
            AckCalled("A", "n1"),
            Gone("A"),
            *joined("B"),
            *ran("n1", 2, "B"),
        ],
        "n1 was shown by B although A had acked it",
    ),
}


def timed(entries: Sequence[Entry]) -> list[At]:
    """Let a second pass before each entry."""
    return [At(float(place), entry) for place, entry in enumerate(entries)]


@pytest.mark.parametrize("entries", GOOD.values(), ids=GOOD)
def test_what_may_happen_passes(entries):
    """Kills, takeovers and races leave traces that are no violation."""
    assert violations(timed(entries)) == []


@pytest.mark.parametrize(("entries", "said"), BAD.values(), ids=BAD)
def test_a_planted_violation_is_caught(entries, said):
    """Each is named, and by nothing else than itself."""
    found = violations(timed(entries))

    assert [violation for violation in found if violation.startswith(said)], found
    assert len(found) == 1, found
