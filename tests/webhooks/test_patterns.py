"""Which route takes an event type, and which patterns are refused because they never could."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.errors import Rejected
from clawback.webhooks.patterns import ANY, check_pattern, choose, fits, nearest

TYPES = ("pull_request", "issues", "push", "check_run")
WORDS = st.sampled_from(["pull_request", "issues", "push", "opened", "closed", "a", "issue"])
NAMES = st.lists(WORDS, min_size=1, max_size=3).map(".".join)
PATTERNS = st.one_of(NAMES, NAMES.map(lambda name: f"{name}.*"), NAMES.map(lambda name: f"{name}*"), st.just(ANY))


@pytest.mark.parametrize(
    ("patterns", "event_type", "chosen"),
    [
        (["pull_request.opened", "pull_request", "*"], "pull_request.opened", "pull_request.opened"),
        (["pull_request.opened", "pull_request", "*"], "pull_request.closed", "pull_request"),
        (["pull_request.opened", "pull_request", "*"], "push", "*"),
        (["pull_request"], "pull_request", "pull_request"),
        (["pull_request"], "pull_request_review.submitted", None),
        (["issues.*"], "issues.opened", "issues.*"),
        (["issues.*"], "issues", None),
        (["issues", "issues.*"], "issues.opened", "issues.*"),
        (["customer", "customer.subscription", "customer.*"], "customer.subscription.created", "customer.subscription"),
        (["pull*", "pull_request"], "pull_request.opened", "pull_request"),
        (["Issues"], "issues.opened", None),
        ([], "push", None),
    ],
)
def test_the_longest_pattern_that_fits_counts(patterns, event_type, chosen):
    """Exact before a type without its action before a prefix before `*`, whatever order they were written in."""
    assert choose(patterns, event_type) == chosen
    assert choose(patterns[::-1], event_type) == chosen


@given(st.lists(PATTERNS, unique=True, max_size=8), NAMES)
def test_what_is_chosen_fits_and_no_other_is_longer(patterns, event_type):
    """The choice depends on the set alone."""
    chosen = choose(patterns, event_type)

    assert choose(sorted(patterns), event_type) == choose(sorted(patterns, reverse=True), event_type) == chosen
    if chosen is None:
        assert not any(fits(each, event_type) for each in patterns)
    else:
        assert fits(chosen, event_type)
        assert all(len(each.rstrip(ANY)) <= len(chosen.rstrip(ANY)) for each in patterns if fits(each, event_type))


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("Pull_Request.opened", "pull_request.opened"),
        ("pull_requests", "pull_request"),
        ("pull-request", "pull_request"),
        ("isues.*", "issues"),
        (" push", "'push'"),
        ("push\t", "'push'"),
        ("", "a type such as"),
        ("  ", "a type such as"),
        ("*.opened", "at the end"),
        ("pull_*_review", "at the end"),
        ("a\nb", "a type such as"),
    ],
)
def test_a_pattern_that_can_never_match_is_refused_with_the_nearest(pattern, told):
    """By case, by blanks, by the sender's types."""
    with pytest.raises(Rejected, match="route refused") as refused:
        check_pattern(pattern, TYPES)

    assert told in str(refused.value)


@pytest.mark.parametrize(
    "pattern", ["*", "push", "push.*", "pull_request", "pull_request.brand_new", "pull_*", "is*", "zebra.seen"]
)
def test_a_pattern_that_can_match_is_taken(pattern):
    """An action that nobody listed may exist, and so may a type that looks like none."""
    check_pattern(pattern, TYPES)


def test_where_the_types_are_not_known_any_name_is_taken():
    """The sender of an `hmac` source may call its events anything."""
    check_pattern("Whatever.it_is")


@given(st.text(max_size=30))
def test_checking_never_fails_otherwise(pattern):
    """Any text is taken or refused."""
    with contextlib.suppress(Rejected):
        check_pattern(pattern, TYPES)


@given(st.text(max_size=30))
def test_the_nearest_is_a_type_or_one_with_the_given_action(pattern):
    """A hint that would itself be refused helps nobody."""
    near = nearest(pattern, TYPES)

    assert near is None or near.partition(".")[0] in TYPES
