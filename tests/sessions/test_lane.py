"""The rules of a lane, case by case and as properties of random lives."""

import itertools
from collections import Counter
from collections.abc import Sized

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from clawback.model import MAX_NESTED, Held, Priority
from clawback.sessions.lane import (
    FAILURE_PAUSE_SECONDS,
    MAX_FAILURES,
    MAX_LOSSES,
    REMINDER_SECONDS,
    TIMEOUT_SECONDS,
    UNNAMED,
    UNNAMED_PAUSE_SECONDS,
    UNNAMED_TIMEOUT_SECONDS,
    Acked,
    Deferred,
    Deliver,
    Disown,
    Exhausted,
    Extended,
    Failed,
    Lane,
    Offered,
    Pull,
    PutBack,
    Remind,
    Seen,
    SetAside,
    Settle,
    Settled,
    Started,
    Store,
    Ticked,
    Unsent,
    Woken,
)

NORMAL, PRIORITY, INTERRUPT = Priority.NORMAL, Priority.PRIORITY, Priority.INTERRUPT
EVERY_LINE = frozenset(Priority)


def held(event_id, sequence, priority=NORMAL, attempt=1, losses=0):
    """Make an entry of a stack."""
    return Held(event_id, sequence, priority, attempt, delivered_at=1.0, losses=losses)


def started(*expected, stack=(), client_holds=()):
    """Make a lane that has started, and what it wanted first."""
    lane = Lane(stack, client_holds)
    return lane, lane.handle(Started(frozenset(expected)), 1.0)


def delivered(commands):
    """Name the events that were delivered, with their attempts."""
    return [(command.held.event_id, command.held.attempt) for command in commands if isinstance(command, Deliver)]


def test_an_idle_lane_asks_the_most_urgent_line_first():
    """Interrupts are asked for before priority, priority before normal; each empty line leads to the next."""
    lane, first = started(*EVERY_LINE)
    second = lane.handle(Exhausted(INTERRUPT), 1.0)
    third = lane.handle(Exhausted(PRIORITY), 1.0)
    fourth = lane.handle(Exhausted(NORMAL), 1.0)

    assert [first, second, third, fourth] == [[Pull(INTERRUPT)], [Pull(PRIORITY)], [Pull(NORMAL)], []]


def test_what_was_seen_is_stored_once_for_each_delivery():
    """Said again it changes nothing, and for an event that is not held it is refused."""
    lane, _ = started(NORMAL)
    lane.handle(Offered(NORMAL, "a", 1), 1.0)
    first, again, strange = (lane.handle(Seen(event_id), 5.0) for event_id in ("a", "a", "b"))
    seen_at = lane.active.seen_at
    lane.handle(Failed("a"), 6.0)
    lane.handle(Ticked(), 6.0 + FAILURE_PAUSE_SECONDS)

    assert (first, again, strange) == ([Store()], [], [Disown("b")])
    assert seen_at == 5.0
    assert (lane.active.attempt, lane.active.seen_at) == (2, 0.0)


def test_what_was_seen_stays_seen_since_the_first_time():
    """A second proof that comes later changes nothing: neither the instant nor the stack."""
    lane, _ = started(NORMAL)
    lane.handle(Offered(NORMAL, "a", 1), 1.0)
    first = lane.handle(Seen("a"), 5.0, wall=1_005.0)
    later = lane.handle(Seen("a"), 7.0, wall=1_007.0)

    assert (first, later) == ([Store()], [])
    assert lane.active.seen_at == 1_005.0


def test_a_redelivery_has_an_instant_and_a_clock_of_its_own():
    """Delivered again, an event counts from then: its time, its reminders and what was seen begin anew."""
    before = Held("a", 1, NORMAL, 2, delivered_at=50.0, spent_seconds=130.0, reminders=1, seen_at=60.0)
    lane = Lane([before])
    again = lane.handle(Started(frozenset()), 9.0, wall=1_009.0)

    assert again == [
        Deliver(Held("a", 1, NORMAL, 3, delivered_at=1_009.0, spent_seconds=0.0, reminders=0, seen_at=0.0))
    ]
    assert lane.wait_seconds(9.0) == REMINDER_SECONDS


def test_a_first_delivery_has_its_instant():
    """By the time of day, and not by the clock that counts."""
    lane, _ = started(NORMAL)
    [first] = lane.handle(Offered(NORMAL, "a", 1), 2.0, wall=1_002.0)

    assert first.held.delivered_at == lane.active.delivered_at == 1_002.0


def test_the_next_event_leaves_only_after_the_ack_is_settled():
    """A wake-up, and even the ack itself, bring nothing out before JetStream confirmed that the first one ended."""
    lane, _ = started(NORMAL)
    first = lane.handle(Offered(NORMAL, "a", 1), 1.0)
    while_active = lane.handle(Woken(NORMAL), 2.0)
    while_settling = lane.handle(Acked("a"), 3.0) + lane.handle(Woken(PRIORITY), 3.0)
    after = lane.handle(Settled("a"), 4.0)

    assert delivered(first) == [("a", 1)]
    assert while_active == []
    assert [type(command) for command in while_settling] == [Settle]
    assert after == [Pull(PRIORITY)]


def test_what_is_stored_while_a_line_is_found_empty_is_asked_for():
    """NATS may have looked before, so being woken counts although it came before the answer."""
    lane, _ = started(NORMAL)

    assert lane.handle(Exhausted(NORMAL), 1.0, {NORMAL}) == [Pull(NORMAL)]


def test_what_is_known_to_wait_by_then_is_chosen_from():
    """A priority event that was stored while the ack of another was being settled is next."""
    lane, _ = started(NORMAL)
    lane.handle(Offered(NORMAL, "a", 1), 1.0, {NORMAL})
    lane.handle(Acked("a"), 2.0)

    assert lane.handle(Settled("a"), 3.0, {PRIORITY}) == [Pull(PRIORITY)]


def test_what_has_ended_is_not_remembered():
    """A lane lasts as long as its connection: a thousand events later it holds what it held after one."""
    lane, _ = started(NORMAL)
    sizes = []
    for number in range(1_001):
        lane.handle(Offered(NORMAL, f"event {number:04}", number), 1.0)
        lane.handle(Acked(f"event {number:04}"), 1.0)
        lane.handle(Settled(f"event {number:04}"), 1.0)
        sizes.append({name: len(kept) for name, kept in vars(lane).items() if isinstance(kept, Sized)})

    assert sizes[-1] == sizes[0]


def test_an_interrupt_leaves_at_once_and_the_suspended_event_is_not_sent_again():
    """The client resumes what it holds by itself: after the interrupt's ack nothing is sent."""
    lane, _ = started(NORMAL)
    lane.handle(Offered(NORMAL, "a", 1), 1.0)
    asked = lane.handle(Woken(INTERRUPT), 2.0)
    interrupt = lane.handle(Offered(INTERRUPT, "i", 2), 2.0)
    lane.handle(Exhausted(INTERRUPT), 2.0)
    lane.handle(Acked("i"), 3.0)
    resumed = lane.handle(Settled("i"), 3.0)

    assert asked == [Pull(INTERRUPT)]
    assert interrupt[0] == Deliver(lane_held(interrupt))
    assert resumed == []
    assert lane.active is not None
    assert lane.active.event_id == "a"


def lane_held(commands):
    """Return the entry of the first delivery."""
    return next(command.held for command in commands if isinstance(command, Deliver))


def test_a_full_nest_leaves_further_interrupts_in_their_line():
    """The ninth interrupt waits until one of the eight is done, and then goes before anything suspended."""
    lane, _ = started(NORMAL)
    lane.handle(Offered(NORMAL, "a", 1), 1.0)
    lane.handle(Woken(INTERRUPT), 1.0)
    for number in range(MAX_NESTED - 1):
        assert lane.handle(Offered(INTERRUPT, f"i{number}", 2 + number), 1.0)[-1] == Pull(INTERRUPT)
    full = lane.handle(Offered(INTERRUPT, "i7", 20), 1.0)
    lane.handle(Acked("i7"), 1.0)
    free = lane.handle(Settled("i7"), 1.0)

    assert [type(command) for command in full] == [Deliver]
    assert free == [Pull(INTERRUPT)]


def test_an_ack_of_a_suspended_event_ends_that_one_only():
    """An ack that crossed an interrupt on the wire ends the event it names, wherever that lies in the stack."""
    lane, _ = started(NORMAL)
    lane.handle(Offered(NORMAL, "a", 1), 1.0)
    lane.handle(Woken(INTERRUPT), 1.0)
    lane.handle(Offered(INTERRUPT, "i", 2), 1.0)
    lane.handle(Exhausted(INTERRUPT), 1.0)
    settle = lane.handle(Acked("a"), 1.0)
    lane.handle(Settled("a"), 1.0)

    assert [command.held.event_id for command in settle] == ["a"]
    assert [entry.event_id for entry in lane.stack] == ["i"]


def test_a_second_ack_while_the_first_is_settled_changes_nothing():
    """An impatient client's repeated ack is not settled twice."""
    lane, _ = started(NORMAL)
    lane.handle(Offered(NORMAL, "a", 1), 1.0)
    lane.handle(Acked("a"), 1.0)

    assert lane.handle(Acked("a"), 1.0) == []


def test_an_ack_of_an_unknown_event_is_disowned():
    """An ack of what is not held touches nothing and is answered."""
    lane, _ = started()

    assert lane.handle(Acked("stranger"), 1.0) == [Disown("stranger")]


def test_a_resumed_event_is_not_sent_again():
    """A client that still holds the active event after a reconnect is not given it twice."""
    lane, first = started(NORMAL, stack=[held("a", 1)], client_holds=["a"])

    assert first == []
    assert lane.active == held("a", 1)


def test_what_a_new_client_does_not_hold_is_delivered_again_with_a_higher_attempt():
    """After a lost session its event comes back first, and says that it is a repeat."""
    _, first = started(NORMAL, PRIORITY, stack=[held("a", 1)])

    assert delivered(first) == [("a", 2)]


def test_what_met_a_connection_that_had_ended_was_no_attempt():
    """A first delivery leaves no trace, a repeat counts as before, and nothing else leaves on that connection."""
    lane, _ = started(NORMAL)
    lane.handle(Offered(NORMAL, "a", 1), 2.0)
    again, repeated = started(NORMAL, stack=[held("a", 1)])

    assert delivered(repeated) == [("a", 2)]
    assert again.handle(Unsent("a", stored=True), 3.0) == [Store()]
    assert again.stack == again.lost(4.0, clean=True) == [held("a", 1)]
    assert lane.handle(Unsent("a", stored=False), 3.0) == []
    assert lane.stack == lane.lost(4.0, clean=False) == []
    assert lane.handle(Woken(INTERRUPT), 5.0) == []


def test_waiting_interrupts_go_before_the_restored_stack():
    """After a reconnect the order is: waiting interrupts, then the stack from its top."""
    lane, first = started(INTERRUPT, stack=[held("a", 1), held("i", 2, INTERRUPT)])
    second = lane.handle(Offered(INTERRUPT, "j", 3), 1.0)
    lane.handle(Exhausted(INTERRUPT), 1.0)
    lane.handle(Acked("j"), 1.0)
    third = lane.handle(Settled("j"), 1.0)
    lane.handle(Acked("i"), 1.0)
    fourth = lane.handle(Settled("i"), 1.0)

    assert first == [Pull(INTERRUPT)]
    assert delivered(second) == [("j", 1)]
    assert delivered(third) == [("i", 2)]
    assert delivered(fourth) == [("a", 2)]


def test_an_event_given_again_by_jetstream_is_not_delivered_again():
    """A consumer that was made anew hands out what is held here; it stays where it is in the stack."""
    lane, _ = started(INTERRUPT, stack=[held("i", 2, INTERRUPT)], client_holds=["i"])

    assert lane.handle(Offered(INTERRUPT, "i", 2), 1.0) == [Pull(INTERRUPT)]
    assert lane.stack == [held("i", 2, INTERRUPT)]


def test_an_event_that_kills_its_session_again_and_again_is_set_aside():
    """After the last allowed loss the event becomes a dead letter and the next one may leave."""
    killer = held("a", 1, losses=MAX_LOSSES)
    lane, first = started(NORMAL, stack=[killer])

    assert first == [SetAside(killer, "crash_loop")]
    assert lane.handle(Settled("a"), 1.0) == [Pull(NORMAL)]


@pytest.mark.parametrize(("clean", "losses"), [(False, 3), (True, 0)])
def test_only_unclean_ends_count_as_losses(clean, losses):
    """A crash adds one to what the client held; saying goodbye clears the count."""
    lane, _ = started(stack=[held("a", 1, losses=2)])

    assert [entry.losses for entry in lane.lost(2.0, clean=clean)] == [losses]


def test_what_a_client_still_holds_has_not_killed_it():
    """A network that fails five times within one event costs its connections, and not the event."""
    stack, commands = [held("a", 1)], []
    for _ in range(2 * MAX_LOSSES):
        lane = Lane(stack, {"a"})
        commands += lane.handle(Started(frozenset()), 1.0)
        stack = lane.lost(2.0, clean=False)

    assert commands == []
    assert [entry.losses for entry in stack] == [1]


def test_an_answer_that_was_not_asked_for_is_a_bug_and_changes_nothing():
    """The driver cannot slip an event past the rules: an offer without a pull is refused and the state stays."""
    lane, _ = started(NORMAL)
    with pytest.raises(AssertionError, match="nothing was asked of line interrupt"):
        lane.handle(Offered(INTERRUPT, "i", 9), 1.0)

    assert lane.stack == []
    assert delivered(lane.handle(Offered(NORMAL, "a", 1), 1.0)) == [("a", 1)]


def active_lane(manners=None, at=100.0):
    """Make a lane with one normal event delivered at a time."""
    lane = Lane(manners=manners) if manners else Lane()
    lane.handle(Started(frozenset({NORMAL})), at)
    lane.handle(Offered(NORMAL, "a", 1), at)
    return lane


def test_a_session_is_reminded_once_per_interval():
    """At two minutes and again at four, and not in between; the lane says how long it may be left alone."""
    lane = active_lane()
    waits = lane.wait_seconds(100.0)
    early = lane.handle(Ticked(), 100.0 + REMINDER_SECONDS - 1)
    first = lane.handle(Ticked(), 100.0 + REMINDER_SECONDS)
    again = lane.handle(Woken(NORMAL), 100.0 + REMINDER_SECONDS + 1)
    second = lane.handle(Ticked(), 100.0 + 2 * REMINDER_SECONDS)

    assert waits == REMINDER_SECONDS
    assert (early, first, again, second) == ([], [Remind("a")], [], [Remind("a")])


def test_a_machine_that_slept_brings_one_reminder():
    """Intervals that passed unnoticed are not made up for one by one."""
    lane = active_lane()
    commands = lane.handle(Ticked(), 100.0 + 5.5 * REMINDER_SECONDS)

    assert commands == [Remind("a")]
    assert lane.handle(Ticked(), 100.0 + 5.6 * REMINDER_SECONDS) == []


def test_what_came_before_the_clock_looks_goes_first():
    """An ack that is there when an event's time is over ends it: only `Ticked` lets the clock decide."""
    late = 100.0 + TIMEOUT_SECONDS + 1
    lane = active_lane()
    woken = lane.handle(Woken(PRIORITY), late)
    acked = lane.handle(Acked("a"), late)
    ticked = lane.handle(Ticked(), late + 1)

    assert woken == []
    assert [type(command) for command in acked] == [Settle]
    assert ticked == []


def test_what_others_read_is_the_time_of_day():
    """While the clock that events are timed by stands still in a suspended machine."""
    lane = Lane()
    lane.handle(Started(frozenset({NORMAL})), 100.0, wall=5_000.0)
    (deliver,) = lane.handle(Offered(NORMAL, "a", 1), 100.0, wall=5_000.0)
    lane.handle(Seen("a"), 101.0, wall=9_000.0)
    seen = lane.stack[-1]
    (put_back,) = lane.handle(Deferred("a", 120.0), 102.0, wall=90_000.0)

    assert deliver.held.delivered_at == 5_000.0
    assert (seen.seen_at, seen.spent_seconds) == (9_000.0, 1.0)
    assert put_back.held.returns_at == 90_120.0


def test_an_event_that_is_never_acked_is_set_aside_and_the_next_leaves():
    """After the allowed time the event becomes a dead letter; the lane goes on once that is settled."""
    lane = active_lane()
    lane.handle(Ticked(), 100.0 + TIMEOUT_SECONDS - 1)
    (aside,) = lane.handle(Ticked(), 100.0 + TIMEOUT_SECONDS)
    following = lane.handle(Settled("a"), 100.0 + TIMEOUT_SECONDS)

    assert (aside.held.event_id, aside.reason) == ("a", "timed_out")
    assert following == [Pull(NORMAL)]


def test_the_clock_stands_still_while_an_event_is_suspended():
    """An hour under an interrupt costs the suspended event nothing of its time."""
    lane = active_lane()
    lane.handle(Woken(INTERRUPT), 200.0)
    lane.handle(Offered(INTERRUPT, "i", 2, allowed_seconds=10_000.0), 200.0)
    lane.handle(Exhausted(INTERRUPT), 200.0)
    lane.handle(Acked("i"), 3800.0)
    resumed = lane.handle(Settled("i"), 3800.0)

    assert resumed == []
    assert lane.active.spent_seconds == 100.0


def test_more_time_is_added_to_what_an_event_has():
    """An extended event is set aside that much later."""
    lane = active_lane()
    extended = lane.handle(Extended("a", 650.0), 200.0)
    before = lane.handle(Ticked(), 100.0 + TIMEOUT_SECONDS + 649)
    left = lane.wait_seconds(100.0 + TIMEOUT_SECONDS + 649)
    after = lane.handle(Ticked(), 100.0 + TIMEOUT_SECONDS + 650)

    assert extended == [Store()]
    assert left == 1.0
    assert not [command for command in before if isinstance(command, SetAside)]
    assert [type(command) for command in after] == [SetAside]


def test_a_deferred_event_goes_back_and_its_line_goes_on():
    """The session puts it off: it is stored again at the end of the line, and the next one leaves."""
    lane = active_lane()
    (back,) = lane.handle(Deferred("a"), 101.0)
    following = lane.handle(Settled("a"), 101.0)

    assert (type(back), back.held.event_id) == (PutBack, "a")
    assert following == [Pull(NORMAL)]


def test_a_deferral_that_a_crash_cut_short_is_finished_first():
    """Whoever serves the session next puts the event back before anything is delivered, whatever the client holds."""
    lane = active_lane()
    (back,) = lane.handle(Deferred("a", 60.0), 101.0)
    successor = Lane(lane.lost(102.0, clean=False), ["a"])
    again = successor.handle(Started(frozenset({NORMAL})), 200.0)
    following = successor.handle(Settled("a"), 200.0)

    assert back.held.returns_at == 161.0
    assert [(type(command), command.held.returns_at) for command in again] == [(PutBack, 161.0)]
    assert following == [Pull(NORMAL)]


def test_an_event_that_was_put_back_counts_its_attempts_on():
    """The second delivery of a deferred event says that it is the second."""
    lane, _ = started(NORMAL)

    assert delivered(lane.handle(Offered(NORMAL, "a", 9, attempts=1), 1.0)) == [("a", 2)]


def test_what_the_session_cannot_take_is_tried_again_in_a_moment_and_not_for_ever():
    """Three deliveries may fail, a pause apart; then the event is a dead letter with that reason."""
    lane, now = active_lane(), 100.0
    for attempt in range(2, MAX_FAILURES + 1):
        assert lane.handle(Failed("a"), now) == [Store()]
        assert lane.wait_seconds(now) == FAILURE_PAUSE_SECONDS
        now += FAILURE_PAUSE_SECONDS
        assert delivered(lane.handle(Ticked(), now)) == [("a", attempt)]
    (aside,) = lane.handle(Failed("a"), now)

    assert (aside.held.event_id, aside.reason) == ("a", "failed")


def test_an_interrupt_does_not_wait_for_the_pause_after_a_failure():
    """It comes at once, and what failed comes again after it, when the pause is over."""
    lane = active_lane()
    lane.handle(Failed("a"), 100.0)
    assert lane.handle(Woken(INTERRUPT), 101.0) == [Pull(INTERRUPT)]
    assert delivered(lane.handle(Offered(INTERRUPT, "i", 9), 101.0)) == [("i", 1)]
    lane.handle(Exhausted(INTERRUPT), 101.0)
    lane.handle(Acked("i"), 102.0)

    assert lane.handle(Settled("i"), 102.0) == []
    assert delivered(lane.handle(Ticked(), 100.0 + FAILURE_PAUSE_SECONDS)) == [("a", 2)]


def test_a_client_that_names_no_event_is_given_a_pause_after_a_time_out():
    """Its ack would count for whatever came next, so nothing comes for a minute; and it is never reminded."""
    lane = active_lane(UNNAMED)
    reminder = lane.handle(Ticked(), 100.0 + REMINDER_SECONDS)
    at = 100.0 + UNNAMED_TIMEOUT_SECONDS
    (aside,) = lane.handle(Ticked(), at)
    paused = lane.handle(Settled("a"), at) + lane.handle(Woken(PRIORITY), at + UNNAMED_PAUSE_SECONDS - 1)
    after = lane.handle(Ticked(), at + UNNAMED_PAUSE_SECONDS)

    assert reminder == []
    assert aside.reason == "timed_out"
    assert paused == []
    assert after == [Pull(PRIORITY)]


def test_a_client_that_names_no_event_has_all_its_time_again_on_resume():
    """Such a client starts its own clock anew when an interrupt is done, so the server does too."""
    lane = active_lane(UNNAMED)
    lane.handle(Woken(INTERRUPT), 300.0)
    lane.handle(Offered(INTERRUPT, "i", 2), 300.0)
    lane.handle(Exhausted(INTERRUPT), 300.0)
    lane.handle(Acked("i"), 310.0)
    lane.handle(Settled("i"), 310.0)

    assert lane.wait_seconds(310.0) == UNNAMED_TIMEOUT_SECONDS


def test_time_spent_is_kept_across_a_reconnect():
    """A client that comes back with its event goes on with the time it had left, without the time it was away."""
    lane = active_lane()
    stack = lane.lost(160.0, clean=True)
    again = Lane(stack, ["a"])
    again.handle(Started(frozenset()), 500.0)

    assert again.wait_seconds(500.0) == REMINDER_SECONDS - 60.0


ALLOWED_SECONDS = TIMEOUT_SECONDS + 50
"""
Of every event of a random life, until it is extended: no multiple of the reminder interval, so that the two do not hide
each other.
"""


class World(RuleBasedStateMachine):
    """
    A lane between a JetStream and a client that do what the real ones do, nothing more.

    Lines hand out in order, up to their max-ack-pending; a new connection's consumers start anew. The client stacks
    interrupts and acks what it likes. Commands are carried out at once but settling, which may be delayed.
    """

    def __init__(self):
        super().__init__()
        self.sequences = itertools.count(1)
        self.waiting = {priority: [] for priority in Priority}  # stored and not ended, in order
        self.handed_out = set()
        self.durable = []
        self.client = []
        self.ending = []
        self.ended = []
        self.acked = set()
        self.attempts = {}
        self.first_deliveries = {priority: [] for priority in Priority}
        self.put_back = {}  # how often an event was delivered before it went back into its line
        self.spent = {}  # how long the client had each event as its active one, in this delivery
        self.extended = Counter()  # by how many seconds, whatever crashed since
        self.reminded = {}  # the interval of that in which the client was last reminded
        self.now = 1000.0
        self.hung_up = False  # the connection has ended, and nobody noticed yet
        self.refused = False  # an event met that
        self.lane = Lane()

    def carry_out(self, commands):
        """Do what the lane says, and tell it what came of it."""
        for command in commands:
            match command:
                case Pull(priority):
                    self.carry_out(self.lane.handle(self.pull(priority), self.now))
                case Store():
                    self.durable = list(self.lane.stack)
                case Deliver(entry):
                    self.deliver(entry)
                case Settle(entry):
                    assert entry.event_id in self.acked, "settled without an ack"
                    self.ending.append((entry, None))
                case Disown(event_id):
                    assert all(entry.event_id != event_id for entry in self.lane.stack), "disowned what is held"
                case SetAside(entry, reason):
                    assert reason == "timed_out", "nothing here is lost or fails that often"
                    assert self.spent[entry.event_id] >= self.allowed(entry.event_id), "timed out early"
                    self.client.remove(entry.event_id)
                    self.ending.append((entry, None))
                case PutBack(entry):
                    assert entry.returns_at is not None, "nobody could tell after a crash that it was put off"
                    self.durable = list(self.lane.stack)
                    self.ending.append((entry, entry.attempt))
                case Remind(event_id):
                    assert event_id == self.client[-1], "reminded of what is not active"
                    interval = self.spent[event_id] // REMINDER_SECONDS
                    assert interval > self.reminded[event_id], "reminded twice in an interval"
                    self.reminded[event_id] = interval

    def allowed(self, event_id):
        """How long an event may be active."""
        return ALLOWED_SECONDS + self.extended[event_id]

    def pull(self, priority):
        """Answer a pull as a consumer does."""
        limit = MAX_NESTED if priority is INTERRUPT else 1
        out = [sequence for sequence in self.waiting[priority] if sequence in self.handed_out]
        for sequence in self.waiting[priority]:
            if sequence not in self.handed_out and len(out) < limit:
                self.handed_out.add(sequence)
                return Offered(
                    priority,
                    f"e{sequence}",
                    sequence,
                    allowed_seconds=ALLOWED_SECONDS,
                    attempts=self.put_back.get(sequence, 0),
                )
        return Exhausted(priority)

    def deliver(self, entry):
        """Receive a frame, as a client that trusts the order; where it has hung up it receives nothing."""
        self.durable = list(self.lane.stack)
        if self.hung_up:
            assert not self.refused, "tried again on a connection that has ended"
            self.refused = True
            self.carry_out(self.lane.handle(Unsent(entry.event_id, stored=True), self.now))
            return
        if entry.priority is not INTERRUPT:
            assert not self.client, f"{entry} delivered while {self.client} is in flight"
        assert entry.event_id not in self.client, "delivered what the client holds"
        assert entry.attempt == self.attempts.get(entry.event_id, self.put_back.get(entry.sequence, 0)) + 1
        self.attempts[entry.event_id] = entry.attempt
        if entry.attempt == 1:
            assert entry.priority is not NORMAL or not self.waiting[PRIORITY], "a normal event went first"
            self.first_deliveries[entry.priority].append(entry.sequence)
        self.client.append(entry.event_id)
        self.spent[entry.event_id] = self.reminded[entry.event_id] = 0.0

    def connect(self, *, resume, stored=False):
        """Open a connection whose stack is what was stored, at the loss or before, of events that have not ended."""
        if stored:
            self.durable = self.lane.lost(self.now, clean=True)
        self.handed_out = set()
        self.hung_up = self.refused = False
        alive = {sequence for line in self.waiting.values() for sequence in line}
        stack = [entry for entry in self.durable if entry.sequence in alive]
        self.ending = []
        self.client = [e for e in self.client if resume and any(entry.event_id == e for entry in stack)]
        for entry in stack:
            self.spent[entry.event_id] = entry.spent_seconds
            self.reminded[entry.event_id] = entry.reminders
        self.lane = Lane(stack, self.client)
        expected = frozenset(priority for priority, line in self.waiting.items() if line)
        self.carry_out(self.lane.handle(Started(expected), self.now))

    @initialize()
    def begin(self):
        """Start with an empty session."""
        self.connect(resume=False)

    @rule(priority=st.sampled_from(list(Priority)))
    def publish(self, priority):
        """An event is stored and NATS sends its wake-up."""
        self.waiting[priority].append(next(self.sequences))
        self.carry_out(self.lane.handle(Woken(priority), self.now))

    @precondition(lambda self: self.client)
    @rule(data=st.data())
    def ack(self, data):
        """The client acks its active event, or (an ack that crossed an interrupt) one below."""
        event_id = data.draw(st.sampled_from([self.client[-1], *self.client]))
        self.client.remove(event_id)
        self.acked.add(event_id)
        self.carry_out(self.lane.handle(Acked(event_id), self.now))

    @precondition(lambda self: self.ending)
    @rule()
    def ack_again(self):
        """The client repeats an ack that is being settled."""
        self.carry_out(self.lane.handle(Acked(self.ending[0][0].event_id), self.now))

    @precondition(lambda self: self.client)
    @rule(data=st.data())
    def defer(self, data):
        """The client puts off what it holds."""
        event_id = data.draw(st.sampled_from(self.client))
        self.client.remove(event_id)
        self.carry_out(self.lane.handle(Deferred(event_id), self.now))

    @precondition(lambda self: self.client)
    @rule(data=st.data())
    def extend(self, data):
        """The client asks for more time, and has it from then on."""
        event_id = data.draw(st.sampled_from(self.client))
        self.extended[event_id] += REMINDER_SECONDS
        self.carry_out(self.lane.handle(Extended(event_id, REMINDER_SECONDS), self.now))

    @rule(seconds=st.sampled_from([0.0, 1.0, REMINDER_SECONDS - 1, REMINDER_SECONDS, TIMEOUT_SECONDS, 50.0]))
    def pass_time(self, seconds):
        """Time passes; the driver tells the lane if it asked for that."""
        wait = self.lane.wait_seconds(self.now)
        self.now += seconds
        # While what the client has acked is still being ended, nothing below it counts as active.
        top = self.lane.active
        active = top.event_id if top is not None and top.event_id in self.client else None
        if active is not None:
            self.spent[active] += seconds
        if wait is not None and wait <= seconds:
            self.carry_out(self.lane.handle(Ticked(), self.now))
        elif active is not None:
            assert self.spent[active] < self.allowed(active), "nobody would have noticed the time-out"
            assert self.spent[active] // REMINDER_SECONDS == self.reminded[active], "nobody noticed the reminder"

    @rule()
    def ack_nonsense(self):
        """The client acks what it never had."""
        self.carry_out(self.lane.handle(Acked("never"), self.now))

    @precondition(lambda self: self.ending)
    @rule()
    def settle(self):
        """JetStream confirms the oldest end; what was put back stands at the end of its line then."""
        entry, attempts = self.ending.pop(0)
        self.waiting[entry.priority].remove(entry.sequence)
        if attempts is not None:
            sequence = next(self.sequences)
            self.put_back[sequence] = attempts
            self.waiting[entry.priority].append(sequence)
        self.ended.append(entry.event_id)
        self.carry_out(self.lane.handle(Settled(entry.event_id), self.now))
        if attempts is not None:
            self.carry_out(self.lane.handle(Woken(entry.priority), self.now))

    @rule()
    def hang_up(self):
        """The connection ends; what the client had said before is still taken."""
        self.hung_up = True

    @rule(resume=st.booleans(), stored=st.booleans())
    def reconnect(self, resume, stored):
        """The connection or its server is lost; the same client comes back with what it holds, or a new one."""
        self.connect(resume=resume, stored=stored)

    @invariant()
    def nobody_has_two_active_events(self):
        """All that a client holds below its top was suspended by interrupts."""
        priorities = [entry.priority for entry in self.lane.stack[1:]]
        assert all(priority is INTERRUPT for priority in priorities)

    @invariant()
    def each_ends_once(self):
        """No event is settled twice."""
        assert len(self.ended) == len(set(self.ended))

    @invariant()
    def each_line_keeps_its_order(self):
        """First deliveries follow the order of storage within a priority."""
        for sequences in self.first_deliveries.values():
            assert sequences == sorted(sequences)

    @invariant()
    def an_idle_session_has_nothing_waiting(self):
        """Liveness: a client with nothing to do means that nothing waits, or that an ack is being settled."""
        if not self.client and not self.ending and not self.hung_up:
            assert not any(self.waiting.values())

    @invariant()
    def an_interrupt_never_waits_for_a_lesser_event(self):
        """Whatever waits as an interrupt while nothing settles is only there because the nest is full."""
        unsent = [s for s in self.waiting[INTERRUPT] if f"e{s}" not in self.client]
        if unsent and not self.ending and not self.hung_up:
            nested = sum(entry.priority is INTERRUPT for entry in self.lane.stack)
            assert nested == MAX_NESTED or any(e.sequence in unsent for e in self.lane.stack)

    def teardown(self):
        """None lost: a client that acks whatever it has drains everything."""
        if self.hung_up:
            self.connect(resume=True)
        for _ in range(10_000):
            if self.ending:
                self.settle()
            elif self.client:
                event_id = self.client.pop()
                self.acked.add(event_id)
                self.carry_out(self.lane.handle(Acked(event_id), self.now))
            else:
                break
        assert not any(self.waiting.values())
        assert self.lane.stack == []


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
