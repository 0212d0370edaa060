"""The queue: one active event, none lost, each acked once, the newest suspended resumed first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from clawback.channel.queue import (
    REMEMBERED,
    Ack,
    AckAgain,
    AckCalled,
    AckConfirmed,
    AcksRecovered,
    Answer,
    Arrived,
    Cleared,
    Command,
    Emit,
    EmitFailed,
    GivenBack,
    Moved,
    Queue,
    Reconnected,
    Remind,
    Reminded,
    Retract,
    TimedOut,
)
from clawback.model import MAX_NESTED
from clawback.wire import EventFrame


def event(event_id: str, priority: str = "normal") -> EventFrame:
    """Make an event of this priority."""
    return EventFrame(id=event_id, content="text", meta={"priority": priority})


def holding(*events: EventFrame) -> Queue:
    """Build a queue that was sent these events, in order."""
    queue = Queue()
    for sent in events:
        queue.handle(Arrived(sent))
    return queue


def test_an_event_is_shown_when_nothing_is_held():
    """The first event is emitted at once and is then the active one."""
    queue = Queue()

    assert queue.handle(Arrived(event("a"))) == [Emit(event("a"))]
    assert queue.active == event("a")


def test_a_second_event_waits_for_the_ack_of_the_first():
    """What a server sends too early is kept back, first in first out."""
    queue = holding(event("a"))

    assert queue.handle(Arrived(event("b", "priority"))) == []
    assert queue.handle(Arrived(event("c"))) == []
    assert queue.handle(AckCalled("a", "s"))[-1] == Emit(event("b", "priority"))
    assert queue.handle(AckCalled("b", "s"))[-1] == Emit(event("c"))


def test_interrupts_resume_newest_first():
    """Each ack uncovers the event that was suspended last."""
    queue = holding(event("a"), event("i", "interrupt"), event("j", "interrupt"))

    assert queue.handle(AckCalled(None, "s"))[-1] == Emit(event("i", "interrupt"), resumed=True)
    assert queue.handle(AckCalled(None, "s"))[-1] == Emit(event("a"), resumed=True)
    assert queue.handle(AckCalled(None, "s"))[-1] == Answer("Event a is acknowledged.")


def nested() -> tuple[Queue, list[EventFrame]]:
    """Build a queue that holds as many interrupts as nest, and list them."""
    interrupts = [event(f"i{number}", "interrupt") for number in range(MAX_NESTED)]
    return holding(event("a"), *interrupts), interrupts


def test_a_full_nest_resumes_nothing_before_the_interrupt_that_waits():
    """The server sends that one before it confirms the ack, which then resumes nothing any more."""
    queue, (*_, below, top) = nested()
    waiting = event("waiting", "interrupt")

    assert queue.handle(AckCalled(top.id, "s"))[2:] == []
    assert queue.handle(Arrived(waiting)) == [Emit(waiting)]
    assert queue.handle(AckConfirmed(top.id)) == []
    assert queue.handle(AckCalled(waiting.id, "s"))[2:] == []
    assert queue.handle(AckConfirmed(waiting.id)) == [Emit(below, resumed=True)]
    assert queue.handle(AckConfirmed(waiting.id)) == []
    assert queue.handle(AckCalled(below.id, "s"))[-1].resumed, "the nest has room: what came would have come by itself"


def test_a_full_nest_resumes_at_a_reminder():
    """The server did not take the ack, so it confirms none; nothing is reminded of that was not resumed."""
    queue, (*_, below, top) = nested()
    queue.handle(AckCalled(top.id, "s"))

    assert queue.handle(Reminded(below.id)) == [Emit(below, resumed=True)]
    assert queue.handle(Reminded(below.id)) == [Remind(below, 1)]


def test_a_full_nest_resumes_at_once_what_a_time_out_uncovers():
    """There is no ack to be confirmed."""
    queue, (*_, below, top) = nested()

    assert queue.handle(TimedOut(top.id)) == [Emit(below, resumed=True)]


def test_an_ack_of_a_suspended_event_shows_nothing():
    """The active event stays active when one below it is acked."""
    queue = holding(event("a"), event("i", "interrupt"))

    assert queue.handle(AckCalled("a", "early")) == [Ack("a", "early"), Answer("Event a is acknowledged.")]
    assert queue.held == (event("i", "interrupt"),)


def test_an_event_held_is_not_shown_twice():
    """Coming again changes nothing, wherever the event is held."""
    queue = holding(event("a"), event("i", "interrupt"), event("w"))

    assert [queue.handle(Arrived(event(name))) for name in ("a", "i", "w")] == [[], [], []]
    assert [held.id for held in queue.held] == ["i", "a", "w"]


def test_an_unconfirmed_ack_goes_out_again_instead_of_its_event():
    """Before the receipt a redelivery or a reminder sends the ack again; after it a replay is shown."""
    queue = holding(event("a"))
    queue.handle(AckCalled("a", "s"))

    assert queue.handle(Arrived(event("a"))) == [AckAgain("a")]
    assert queue.handle(Reminded("a")) == [AckAgain("a")]
    queue.handle(AckConfirmed("a"))
    assert queue.handle(Arrived(event("a"))) == [Emit(event("a"))]


def test_an_ack_of_an_earlier_process_counts():
    """What the journal held at the start is not shown again either."""
    queue = Queue()
    queue.handle(AcksRecovered(frozenset({"a"})))

    assert queue.handle(Arrived(event("a"))) == [AckAgain("a")]
    assert queue.handle(AckCalled("a", "s")) == [
        Answer("Event a was acknowledged before; nothing more is to be done for it.")
    ]


@pytest.mark.parametrize("chance", [Reconnected(), Reminded("a"), Arrived(event("a"))])
def test_an_event_that_could_not_be_shown_is_tried_again(chance):
    """It stays active and is emitted at the next chance, once."""
    queue = holding(event("a"))
    queue.handle(EmitFailed("a"))

    assert queue.active == event("a")
    assert queue.handle(chance) == [Emit(event("a"))]
    assert queue.handle(Reconnected()) == []


def test_a_late_failure_frees_no_other_event():
    """The failure of an event that is done does not touch the one shown since."""
    queue = holding(event("a"), event("b"))
    queue.handle(AckCalled("a", "s"))
    queue.handle(EmitFailed("a"))

    assert queue.handle(Reconnected()) == []


def test_a_suspended_event_that_was_never_shown_is_no_resumption():
    """An event whose emission failed before an interrupt is shown as new after it."""
    queue = holding(event("a"))
    queue.handle(EmitFailed("a"))
    queue.handle(Arrived(event("i", "interrupt")))

    assert queue.handle(AckCalled("i", "s"))[-1] == Emit(event("a"), resumed=False)
    assert queue.handle(Reconnected()) == []


def test_a_reminder_is_about_the_active_event():
    """Whichever event the server reminds of, its way is barred by the active one; reminders are counted."""
    queue = holding(event("a"), event("b"))

    assert queue.handle(Reminded("a")) == [Remind(event("a"), 1)]
    assert queue.handle(Reminded("b")) == [Remind(event("a"), 2)]
    assert queue.handle(Reminded("unknown")) == []


def test_a_time_out_lets_go_and_goes_on():
    """The timed-out event is no longer held; what was suspended below it is resumed; its late ack is its own."""
    queue = holding(event("a"), event("i", "interrupt"))

    assert queue.handle(TimedOut("i")) == [Emit(event("a"), resumed=True)]
    late = queue.handle(AckCalled("i", "late"))
    assert late[0] == Ack("i", "late")
    assert "timed out" in late[1].text
    assert queue.active == event("a")


def test_an_unknown_event_is_refused():
    """The answer names what is held, and nothing is acked."""
    queue = holding(event("a"), event("i", "interrupt"))
    (answer,) = queue.handle(AckCalled("zzz", "s"))

    assert answer.refused
    assert "The active one is i and, suspended, a." in answer.text
    assert Queue().handle(AckCalled(None, "s"))[0].refused


def test_what_ended_is_forgotten_in_the_end():
    """The memory of ended events is bounded, the oldest going first."""
    queue = Queue()
    for number in range(REMEMBERED + 1):
        queue.handle(Arrived(event(f"e{number}")))
        queue.handle(AckCalled(None, "s"))
        queue.handle(AckConfirmed(f"e{number}"))

    assert queue.handle(AckCalled("e0", "s"))[0].refused
    assert not queue.handle(AckCalled("e1", "s"))[0].refused


def test_an_event_that_is_given_back_is_shown_when_it_comes_again():
    """It is no longer held, so an ack of it is a stranger's, and its next delivery is a new one."""
    queue = holding(event("a"), event("b"))

    assert queue.handle(GivenBack("a")) == [Emit(event("b"))]
    assert queue.handle(AckCalled("a", "s"))[0].refused
    assert queue.handle(Arrived(event("a"))) == []
    assert queue.handle(AckCalled("b", "s"))[-1] == Emit(event("a"))


def test_a_session_that_moved_is_let_go_of():
    """Claude is told once to leave what it works on; what comes back is new, and a late ack of any of it is sent."""
    queue = holding(event("a"), event("i", "interrupt"), event("b"))

    assert queue.handle(Moved()) == [Retract(event("i", "interrupt"))]
    assert queue.held == ()
    assert queue.handle(Moved()) == []
    late = queue.handle(AckCalled("a", "late"))
    assert late[0] == Ack("a", "late")
    assert "moved to another session" in late[1].text
    assert queue.handle(Arrived(event("b"))) == [Emit(event("b"))]


class Sessions(RuleBasedStateMachine):
    """Any server, also one that sends too much, against what Claude sees and what is acked."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue()
        self.next = 0
        self.open: set[str] = set()  # arrived, not ended
        self.working: list[str] = []  # what Claude was shown and has not finished; the last is the one it works on
        self.acked: list[str] = []
        self.unconfirmed: set[str] = set()
        self.timed_out: set[str] = set()
        self.missed: set[str] = set()  # active or suspended, but the last emission failed

    def carry_out(self, commands: list[Command], *, interrupting: bool = False) -> None:
        """Check commands against what Claude sees, and let it see them."""
        for command in commands:
            match command:
                case Emit(shown, resumed):
                    if shown.id in self.missed:
                        assert self.working[-1:] == [shown.id], "only the active one is tried again"
                        assert not resumed, "nothing was shown that could be resumed"
                        self.missed.discard(shown.id)
                    elif resumed:
                        assert self.working[-1:] == [shown.id], "the newest suspended one is resumed"
                    else:
                        assert interrupting or not self.working, "nothing is shown beside an active event"
                        assert shown.id not in self.working
                        self.working.append(shown.id)
                case Ack(event_id):
                    assert event_id not in self.unconfirmed, "each event is acked once"
                    self.acked.append(event_id)
                    self.unconfirmed.add(event_id)
                case AckAgain(event_id):
                    assert event_id in self.unconfirmed

    def end(self, event_id: str) -> None:
        """Forget an event, as Claude and the server do."""
        self.open.discard(event_id)
        self.missed.discard(event_id)
        if event_id in self.working:
            self.working.remove(event_id)

    @rule(priority=st.sampled_from(["normal", "priority", "interrupt"]))
    def arrive(self, priority):
        """Send a new event."""
        self.next += 1
        name = f"e{self.next}"
        self.open.add(name)
        self.carry_out(self.queue.handle(Arrived(event(name, priority))), interrupting=priority == "interrupt")

    @precondition(lambda self: self.next)
    @rule(data=st.data())
    def arrive_again(self, data):
        """Send an event again."""
        name = f"e{data.draw(st.integers(1, self.next))}"
        known = name in self.open or name in self.unconfirmed
        commands = self.queue.handle(Arrived(event(name)))
        if known:
            assert self.missed or not any(isinstance(command, Emit) for command in commands)
        else:
            self.open.add(name)
            self.timed_out.discard(name)
        self.carry_out(commands)

    @precondition(lambda self: self.next)
    @rule(data=st.data())
    def ack(self, data):
        """Ack any event that ever was."""
        name = f"e{data.draw(st.integers(1, self.next))}"
        counts = name in self.open or (name in self.timed_out and name not in self.unconfirmed)
        commands = self.queue.handle(AckCalled(name, "s"))
        assert any(isinstance(command, Ack) for command in commands) == counts
        self.timed_out.discard(name)
        self.end(name)
        self.carry_out(commands)

    @precondition(lambda self: self.working)
    @rule()
    def ack_active(self):
        """Ack without a name."""
        name = self.working[-1]
        commands = self.queue.handle(AckCalled(None, "s"))
        assert Ack(name, "s") in commands
        self.end(name)
        self.carry_out(commands)

    @precondition(lambda self: self.unconfirmed)
    @rule(data=st.data())
    def confirm(self, data):
        """Confirm an ack."""
        name = data.draw(st.sampled_from(sorted(self.unconfirmed)))
        self.unconfirmed.discard(name)
        self.carry_out(self.queue.handle(AckConfirmed(name)))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def time_out(self, data):
        """Time an event out."""
        name = data.draw(st.sampled_from(sorted(self.open)))
        self.timed_out.add(name)
        commands = self.queue.handle(TimedOut(name))
        self.end(name)
        self.carry_out(commands)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def give_back(self, data):
        """Put an event off."""
        name = data.draw(st.sampled_from(sorted(self.open)))
        commands = self.queue.handle(GivenBack(name))
        self.end(name)
        self.carry_out(commands)

    @rule()
    def move(self):
        """Let another connection take over."""
        left = [name for name in self.working[-1:] if name not in self.missed]
        self.timed_out |= self.open
        commands = self.queue.handle(Moved())
        assert [command.event.id for command in commands] == left
        for name in list(self.open):
            self.end(name)

    @precondition(lambda self: self.next)
    @rule(data=st.data())
    def remind(self, data):
        """Remind of any event."""
        self.carry_out(self.queue.handle(Reminded(f"e{data.draw(st.integers(1, self.next))}")))

    @precondition(lambda self: self.working)
    @rule()
    def fail_to_show(self):
        """Fail the last emission."""
        self.missed.add(self.working[-1])
        assert self.queue.handle(EmitFailed(self.working[-1])) == []

    @rule()
    def reconnect(self):
        """Connect again."""
        self.carry_out(self.queue.handle(Reconnected()))
        assert not self.working or self.working[-1] not in self.missed, "a reconnect is a chance"

    @invariant()
    def holds_what_is_open(self):
        """Compare what is held with what should be."""
        held = [event.id for event in self.queue.held]
        assert sorted(held) == sorted(self.open), "nothing is lost and nothing is kept"
        assert (self.queue.active.id if self.queue.active else None) == (self.working[-1] if self.working else None)
        assert bool(held) == bool(self.working), "an event that is held is worked on in the end"

    def teardown(self):
        """End everything."""
        for _ in range(len(self.open)):
            self.ack_active()
        assert not self.open, "acking what is shown ends everything"


TestSessions = Sessions.TestCase


@given(st.lists(st.sampled_from(["normal", "interrupt"]), max_size=20))
def test_everything_ends_by_acking_what_is_shown(priorities):
    """However many came, acking the active event again and again ends each exactly once."""
    queue = holding(*(event(f"e{number}", priority) for number, priority in enumerate(priorities)))
    acked = []
    while queue.active:
        acked += [command.event_id for command in queue.handle(AckCalled(None, "s")) if isinstance(command, Ack)]

    assert sorted(acked) == sorted(f"e{number}" for number in range(len(priorities)))


def test_a_session_that_begins_anew_is_shown_its_event_again():
    """Shown or not, the active one and no other: nothing of it is left in the new session."""
    queue = holding(event("a"), event("b"), event("i", "interrupt"))
    shown = queue.handle(Cleared())
    queue.handle(EmitFailed("i"))
    not_shown = queue.handle(Cleared())

    assert shown == not_shown == [Emit(event("i", "interrupt"))]
    assert Queue().handle(Cleared()) == []


def test_what_was_never_shown_is_not_taken_back():
    """Claude was told nothing that it could leave."""
    queue = holding(event("a"))
    queue.handle(EmitFailed("a"))

    assert queue.handle(Moved()) == []
    assert queue.active is None


def test_it_is_known_whether_the_active_event_was_resumed():
    """Whoever shows it again says so."""
    queue = holding(event("a"), event("i", "interrupt"))
    during = queue.is_resumed
    queue.handle(AckCalled("i", "done"))
    after = queue.is_resumed
    queue.handle(AckCalled("a", "done"))

    assert (during, after, queue.is_resumed) == (False, True, False)
