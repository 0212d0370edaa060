"""The ways of events to Claude, case by case and as a property of random lives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.channel.claude.ways import (
    BUSY_SECONDS,
    FLAG_VARIABLES,
    INBOX_AGAIN_SECONDS,
    INBOX_TRIES,
    PATIENCE_SECONDS,
    PROVIDER_VARIABLES,
    PUSHING,
    Acked,
    Closed,
    Failed,
    Kept,
    Opened,
    Report,
    Restarted,
    Seen,
    Send,
    Shown,
    Ticked,
    TurnBegan,
    TurnEnded,
    Way,
    Ways,
    Witnessed,
    find_gate,
)

CHANNEL, MONITOR, INBOX, HOOK, TOOL = Way
LATE = PATIENCE_SECONDS + 0.1


def plugin(*open_ways, gate=None):
    """Make the ways of an installed plugin, whose hooks are witnesses."""
    return Ways(open_ways, gate=gate, witnessed=True)


def sends(commands):
    """Name the events that are sent, by which way, and whether again."""
    return [(command.event_id, command.way, command.again) for command in commands if isinstance(command, Send)]


@pytest.mark.parametrize(
    ("open_ways", "gate", "first"),
    [
        ([CHANNEL], None, CHANNEL),
        ([CHANNEL, MONITOR, INBOX], None, CHANNEL),
        ([INBOX, MONITOR, CHANNEL], None, CHANNEL),
        ([CHANNEL, MONITOR, INBOX], "DISABLE_TELEMETRY", MONITOR),
        ([CHANNEL, INBOX], "DISABLE_TELEMETRY", INBOX),
        ([CHANNEL], "DISABLE_TELEMETRY", CHANNEL),
        ([], None, CHANNEL),
    ],
)
def test_an_event_goes_by_the_first_way_that_can_be_used(open_ways, gate, first):
    """The channel, the monitor, the inbox; a channel that is known to be off only where there is nothing else."""
    assert sends(plugin(*open_ways, gate=gate).handle(Shown("a"), 0.0)) == [("a", first, False)]


def test_what_is_not_seen_goes_by_each_further_way_once():
    """Each after the patience, as the same event; after the last it is left to be asked for."""
    ways = plugin(CHANNEL, MONITOR, INBOX)
    ways.handle(Shown("a"), 0.0)
    early = ways.handle(Ticked(), PATIENCE_SECONDS - 0.1)
    second = ways.handle(Ticked(), PATIENCE_SECONDS)
    third = ways.handle(Ticked(), 2 * PATIENCE_SECONDS)
    after = ways.handle(Ticked(), 3 * PATIENCE_SECONDS)

    assert early == []
    assert (sends(second), sends(third), after) == ([("a", MONITOR, True)], [("a", INBOX, True)], [])
    assert ways.overdue(100.0) == ["a"]


def test_what_the_inbox_may_have_dropped_goes_by_it_again():
    """It drops what comes too fast, and says nothing. Before the server's reminder after two minutes, not for ever."""
    ways = plugin(INBOX)
    ways.handle(Shown("a"), 0.0)
    tries, now = [], 0.0
    while (wait := ways.wait_seconds(now)) is not None:
        now += wait
        tries += [(now, *each) for each in sends(ways.handle(Ticked(), now))]

    assert tries == [(INBOX_AGAIN_SECONDS * number, "a", INBOX, True) for number in range(1, INBOX_TRIES)]
    assert now < 120.0
    assert ways.overdue(now + LATE) == ["a"]


def test_a_burst_is_no_mark_against_the_inbox():
    """Of several at once the limit dropped one: it goes by the monitor, and the next event by the inbox as before."""
    ways = plugin(INBOX, MONITOR)
    ways.handle(Shown("proof"), 0.0)
    ways.handle(Ticked(), LATE)
    ways.handle(Seen("proof", INBOX), LATE)
    for each in "abc":
        ways.handle(Shown(each), 100.0)
    ways.handle(Seen("a", INBOX), 101.0)
    ways.handle(Seen("b", INBOX), 101.0)
    dropped = ways.handle(Ticked(), 100.0 + LATE)
    ways.handle(Seen("c"), 106.0)
    following = ways.handle(Shown("d"), 300.0)
    lost = ways.handle(Ticked(), 300.0 + LATE)
    last = ways.handle(Shown("e"), 600.0)

    assert sends(dropped) == [("c", MONITOR, True)]
    assert sends(following) == [("d", INBOX, False)]
    assert sends(lost) == [("d", MONITOR, True)]
    assert sends(last) == [("e", MONITOR, False)], "a lone event that was not seen is one"


def test_what_a_burst_loses_during_a_turn_is_not_left_for_two_minutes():
    """What waits for the next tool's result would be seen sooner."""
    ways = plugin(INBOX)
    ways.handle(TurnBegan(), 0.0)
    ways.handle(Shown("a"), 1.0)
    ways.handle(Shown("b"), 1.0)
    ways.handle(Seen("a", INBOX), 2.0)

    assert sends(ways.handle(Ticked(), 1.0 + INBOX_AGAIN_SECONDS)) == [("b", INBOX, True)]


def test_the_oldest_event_without_proof_is_told():
    """For doctor: since when it is in front of Claude, whatever ways it went."""
    ways = plugin(CHANNEL, MONITOR)
    none = ways.standing(0.0)
    ways.handle(Shown("a"), 10.0)
    ways.handle(Shown("b"), 20.0)
    ways.handle(Ticked(), 10.0 + LATE)
    both = ways.standing(40.0)
    ways.handle(Seen("a"), 41.0)

    assert (none.unseen, none.unseen_seconds) == (None, 0.0)
    assert (both.unseen, both.unseen_seconds) == ("a", 30.0)
    assert ways.standing(41.0).unseen == "b"


def test_what_is_seen_is_reported_once_and_stays():
    """However often it is proven, and nothing goes by another way any more."""
    ways = plugin(CHANNEL, INBOX)
    ways.handle(Shown("a"), 0.0)
    reports = [ways.handle(Seen("a"), 1.0), ways.handle(Seen("a", INBOX), 1.1), ways.handle(Seen("b"), 1.2)]

    assert reports == [[Report("a")], [], []]
    assert ways.handle(Ticked(), LATE) == []
    assert ways.in_use is CHANNEL
    assert (ways.has_seen("a"), ways.unseen, ways.overdue(LATE)) == (True, [], [])


def test_the_way_that_worked_comes_first_from_then_on():
    """And the one that did not comes last, until the session begins anew."""
    ways = plugin(CHANNEL, MONITOR, INBOX)
    ways.handle(Shown("a"), 0.0)
    ways.handle(Ticked(), LATE)
    ways.handle(Ticked(), 2 * LATE)
    ways.handle(Seen("a", INBOX), 2 * LATE)
    following = ways.handle(Shown("b"), 20.0)
    ways.handle(Seen("b"), 21.0)
    ways.handle(Closed(INBOX), 22.0)
    without = ways.handle(Shown("c"), 23.0)
    ways.handle(Restarted(), 30.0)
    anew = ways.handle(Shown("d"), 31.0)

    assert sends(following) == [("b", INBOX, False)]
    assert sends(without) == [("c", CHANNEL, False)]
    assert sends(anew) == [("d", CHANNEL, False)]


def test_a_way_that_opens_late_is_taken_by_what_was_not_seen():
    """The monitor starts beside the server, and may come when an event is out already."""
    ways = plugin(CHANNEL)
    ways.handle(Shown("a"), 0.0)
    none = ways.handle(Ticked(), LATE)
    opened = ways.handle(Opened(MONITOR), 2 * LATE)

    assert (none, sends(opened)) == ([], [("a", MONITOR, True)])


def test_a_way_that_takes_nothing_is_left_at_once():
    """Without waiting for a proof that cannot come, and also where there is no witness."""
    ways = Ways([CHANNEL, INBOX], gate="DO_NOT_TRACK")
    ways.handle(Opened(MONITOR), 0.0)
    ways.handle(Shown("a"), 0.0)
    failed = ways.handle(Failed("a", MONITOR), 0.1)
    last = ways.handle(Failed("a", INBOX), 0.2)

    assert (sends(failed), last) == ([("a", INBOX, True)], [])


def test_during_a_turn_the_patience_is_longer():
    """What arrives waits for a pause; it begins anew when the turn ends, and an end that is not told costs no more."""
    ways = plugin(CHANNEL, INBOX)
    ways.handle(TurnBegan(), 0.0)
    ways.handle(Shown("a"), 1.0)
    during = ways.handle(Ticked(), 60.0)
    ended = ways.handle(TurnEnded(), 60.0)
    soon = ways.handle(Ticked(), 60.0 + PATIENCE_SECONDS - 0.1)
    late = ways.handle(Ticked(), 60.0 + LATE)
    other = plugin(CHANNEL, INBOX)
    other.handle(TurnBegan(), 0.0)
    other.handle(Shown("b"), 1.0)

    assert [during, ended, soon] == [[], [], []]
    assert sends(late) == [("a", INBOX, True)]
    assert other.wait_seconds(1.0) == BUSY_SECONDS
    assert sends(other.handle(Ticked(), 1.0 + BUSY_SECONDS)) == [("b", INBOX, True)]


def test_what_no_way_brings_is_overdue():
    """Not before every way was tried, nor at the end of the turn during which it came."""
    ways = plugin(CHANNEL, INBOX)
    ways.handle(Shown("a"), 0.0)
    between = ways.overdue(LATE)
    ways.handle(Ticked(), LATE)
    early = ways.overdue(LATE + 1.0)
    at_last = ways.overdue(2 * LATE)
    ways.handle(TurnBegan(), 20.0)
    ways.handle(Shown("b"), 21.0)
    ways.handle(Failed("b", CHANNEL), 21.0)
    during = ways.overdue(40.0)
    ways.handle(TurnBegan(), 50.0)

    assert (between, early, at_last, during) == ([], [], ["a"], ["a"])
    assert ways.overdue(50.0) == ["a", "b"]


def test_without_a_witness_an_event_goes_one_way():
    """There would be no proof, so everything would go by every way; the first hook that runs is a witness."""
    ways = Ways([CHANNEL, INBOX])
    ways.handle(Shown("a"), 0.0)
    alone = ways.handle(Ticked(), 100.0)

    assert (alone, ways.wait_seconds(100.0)) == ([], None)
    assert sends(ways.handle(Witnessed(), 101.0)) == [("a", INBOX, True)]


def test_hooks_that_are_switched_off_are_no_witness():
    """An ack came and no hook had run: what follows goes by one way, and not by each in turn."""
    ways = plugin(CHANNEL, INBOX)
    ways.handle(Shown("a"), 0.0)
    acked = ways.handle(Acked("a"), 1.0)
    ways.handle(Kept(frozenset()), 1.0)
    ways.handle(Shown("b"), 2.0)
    silent = ways.handle(Ticked(), 2.0 + LATE)

    assert (acked, silent, ways.in_use) == ([], [], CHANNEL)
    assert sends(ways.handle(Witnessed(), 20.0)) == [("b", INBOX, True)], "they are on after all"


def test_what_ended_is_forgotten():
    """It goes by no way any more, and proofs of it are none."""
    ways = plugin(CHANNEL, INBOX)
    ways.handle(Shown("a"), 0.0)
    ways.handle(Kept(frozenset()), 1.0)

    assert ways.handle(Ticked(), LATE) == []
    assert ways.handle(Seen("a"), LATE) == []


def test_an_event_that_is_shown_again_is_to_be_seen_again():
    """After an interrupt, or when the session was cleared."""
    ways = plugin(CHANNEL, INBOX)
    ways.handle(Shown("a"), 0.0)
    ways.handle(Seen("a"), 1.0)
    again = ways.handle(Shown("a"), 100.0)

    assert sends(again) == [("a", CHANNEL, False)]
    assert sends(ways.handle(Ticked(), 100.0 + LATE)) == [("a", INBOX, True)]


@pytest.mark.parametrize("name", [*FLAG_VARIABLES, *PROVIDER_VARIABLES])
def test_a_gate_is_named(name):
    """Unless its value says that it is off."""
    assert find_gate({"PATH": "/bin", name: "1"}) == name
    assert [find_gate({name: value}) for value in ("", "0", "false", " No ")] == [None] * 4


INPUTS = st.one_of(
    st.sampled_from(["a", "b"]).map(Shown),
    st.builds(Seen, st.sampled_from(["a", "b"]), st.sampled_from([None, *Way])),
    st.builds(Failed, st.sampled_from(["a", "b"]), st.sampled_from(PUSHING)),
    st.frozensets(st.sampled_from(["a", "b"])).map(Kept),
    st.sampled_from(PUSHING).map(Opened),
    st.sampled_from(PUSHING).map(Closed),
    st.sampled_from([Witnessed(), TurnBegan(), TurnEnded(), Restarted(), Ticked()]),
)


@given(st.lists(st.tuples(INPUTS, st.floats(0, 200))), st.sampled_from([None, "DO_NOT_TRACK"]))
def test_no_event_goes_twice_by_one_way_or_stays_with_a_way_untried(happened, gate):
    """Whatever happens: each way once for each showing, but the inbox; nothing after a proof; all ways without one."""
    ways, now = plugin(CHANNEL, MONITOR, INBOX, gate=gate), 0.0
    went: dict[str, list[Way]] = {}
    seen: set[str] = set()
    for each, wait in [*happened, (Opened(INBOX), 0.0), *[(Ticked(), BUSY_SECONDS + LATE)] * (3 + INBOX_TRIES)]:
        now += wait
        if isinstance(each, Shown):
            went[each.event_id] = []
            seen.discard(each.event_id)
        for command in ways.handle(each, now):
            if isinstance(command, Report):
                seen.add(command.event_id)
            else:
                assert command.event_id not in seen
                assert went[command.event_id].count(command.way) < (INBOX_TRIES if command.way is INBOX else 1)
                assert command.again == bool(went[command.event_id])
                went[command.event_id].append(command.way)

    assert all(INBOX in went[event_id] for event_id in ways.unseen)
    assert ways.wait_seconds(now) is None


def test_an_announcement_is_not_the_event():
    """It stops the other ways, and its way is the one that works; the event is claimed when it is read."""
    ways = plugin(MONITOR, INBOX)
    ways.handle(Shown("a"), 0.0)
    announced = ways.handle(Seen("a", MONITOR), 1.0)
    between = (ways.has_seen("a"), ways.is_announced("a"), ways.unseen, ways.in_use)
    later = ways.handle(Ticked(), LATE)
    read = ways.handle(Seen("a", TOOL), LATE)

    assert (announced, later, read) == ([], [], [Report("a")])
    assert between == (False, True, [], MONITOR)
    assert (ways.has_seen("a"), ways.is_announced("a"), ways.in_use) == (True, False, MONITOR)


def test_a_hook_that_announces_claims_nothing():
    """Nor does a proof that cannot name its way, where the event went by the monitor alone."""
    ways = plugin(MONITOR)
    ways.handle(Shown("a"), 0.0)
    ways.handle(Shown("b"), 0.0)

    assert ways.handle(Seen("a", HOOK), 1.0) + ways.handle(Seen("b"), 1.0) == []
    assert ways.is_announced("a")
    assert ways.is_announced("b")


def test_a_new_beginning_forgets_poor_ways_and_the_turn():
    """`/clear`: what brought nothing is tried first again, and what is sent waits for no turn."""
    ways = plugin(CHANNEL, INBOX)
    ways.handle(Shown("a"), 0.0)
    ways.handle(Ticked(), LATE)
    ways.handle(TurnBegan(), 20.0)
    before = (ways.first, ways.in_turn)
    ways.handle(Restarted(), 21.0)
    ways.handle(Shown("b"), 22.0)

    assert before == (INBOX, True)
    assert (ways.first, ways.in_turn) == (CHANNEL, False)
    assert ways.wait_seconds(22.0) == PATIENCE_SECONDS


def test_a_proof_redeems_a_way():
    """One that came late after all is no poor way any more."""
    ways = plugin(CHANNEL, INBOX)
    ways.handle(Shown("a"), 0.0)
    ways.handle(Ticked(), LATE)
    poor = ways.first
    ways.handle(Seen("a", CHANNEL), 20.0)

    assert (poor, ways.first) == (INBOX, CHANNEL)


def test_a_way_without_proof_comes_last():
    """Behind those that were not tried, and before nothing."""
    ways = plugin(CHANNEL, MONITOR, INBOX)
    ways.handle(Shown("a"), 0.0)
    ways.handle(Ticked(), LATE)
    ways.handle(Seen("a", INBOX), 6.0)
    ways.handle(Closed(INBOX), 7.0)
    ways.handle(Shown("b"), 8.0)
    then = [sends(ways.handle(Ticked(), 8.0 + LATE * times)) for times in (1, 2, 3)]

    assert then == [[("b", CHANNEL, True)], [], []]
