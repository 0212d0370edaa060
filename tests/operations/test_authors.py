"""Whose orders a cron or a source gives, after whatever changes."""

import itertools

import msgspec
import pytest

from clawback import wire
from clawback.model import PERSON, SEVERAL_NAME, is_foreign, session_author
from clawback.operations import perform
from clawback.operations.authors import choose_author

A, B, SEVERAL = session_author("a"), session_author("b"), session_author(SEVERAL_NAME)


@pytest.mark.parametrize(
    ("known", "changed_by", "whole", "author"),
    [
        (A, PERSON, False, A),
        (A, PERSON, True, PERSON),
        (PERSON, A, False, A),
        (PERSON, PERSON, False, PERSON),
        (A, A, False, A),
        (A, B, False, SEVERAL),
        (A, B, True, B),
        (SEVERAL, A, False, SEVERAL),
        (SEVERAL, PERSON, False, SEVERAL),
        (None, PERSON, False, None),
        (None, A, False, A),
    ],
)
def test_the_author_is_whose_words_are_there(known, changed_by, whole, author):
    """Of the whole order; a part makes nobody another's author."""
    assert choose_author(known, changed_by, whole=whole) == author


def test_no_change_makes_an_order_anybody_elses():
    """Whatever is done in three steps: while words of one are left, no other session takes them for its own."""
    steps = list(itertools.product((PERSON, A, B), (True, False)))
    for changes in itertools.product(steps, repeat=3):
        author, words = None, set()
        for by, whole in ((changes[0][0], True), *changes[1:]):
            author = choose_author(author, by, whole=whole)
            words = {by} if whole else words | {by}
        for tag, own in (("a", A), ("b", B)):
            if words & {A, B} - {own}:
                assert is_foreign(author, tag), changes


async def test_a_person_who_moves_a_source_does_not_vouch_for_it(services, alice):
    """Its skill stays the session's; what of it is not order changes nothing; all of it anew is the person's."""
    person = msgspec.structs.replace(alice, connection_id=None)

    async def change(caller, **fields):
        return (await perform(services, caller, wire.SourceUpdate(request_id="1", source_id=made["id"], **fields)))[
            "setBy"
        ]

    made = await perform(
        services, alice, wire.SourceCreate(request_id="1", slug="hub", verifier_type="none", skill="/rm")
    )
    assert made["setBy"] == "session:deploys"
    assert await change(person, session_tag="elsewhere") == "session:deploys"
    assert await change(person, routes={"a": "/a"}) == "session:deploys"
    assert await change(person, skill="/b", routes={"a": "/a"}) == PERSON
    assert await change(alice, timeout_seconds=60) == PERSON
    assert await change(alice, session_tag="deploys") == "session:deploys"


async def test_a_person_who_moves_a_cron_does_not_vouch_for_it(services, alice):
    """Its prompt stays the session's, and so do prompt and label until both are given anew."""
    person = msgspec.structs.replace(alice, connection_id=None)

    async def change(caller, **fields):
        return (await perform(services, caller, wire.CronUpdate(request_id="1", cron_id=made["id"], **fields)))["setBy"]

    new = wire.CronCreate(request_id="1", schedule="@yearly", prompt="/rm", label="x")
    made = await perform(services, alice, new)
    assert await change(person, session_tag="elsewhere") == "session:deploys"
    assert await change(person, prompt="/tidy") == "session:deploys"
    assert await change(person, prompt="/tidy", label="") == PERSON
    assert await change(alice, schedule="@hourly") == "session:deploys"
