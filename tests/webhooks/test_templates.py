"""Tags and texts made from an event's fields: what is taken, what comes out, and that no sender names a session."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.errors import Rejected
from clawback.fabric.subjects import MAX_TAG_BYTES, normalise_tag
from clawback.webhooks.templates import parse_order, parse_tag_template, parse_template, render_tag

PULL = {"repository.name": "Shop API", "pull_request.number": "7", "branch": "feature/größe"}


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("pr-{pull_request.number}", "pr-7"),
        ("pr-{repository.name}-{pull_request.number|issue.number}", "pr-shop-api-7"),
        ("pr-{issue.number|pull_request.number}", "pr-7"),
        ("pr-{ issue.number | pull_request.number }", "pr-7"),
        ("b:{branch}", "b:feature/grosse"),
        ("fixed", "fixed"),
    ],
)
def test_a_template_makes_a_tag(text, tag):
    """Lower case, other signs become `-`, the first alternative that is there counts."""
    assert render_tag(parse_tag_template(text), PULL.get).tag == tag


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{repository.name}", "begins with text of your own"),
        ("-{repository.name}", "begins with text of your own"),
        ("{{{name}", "begins with text of your own"),
        ("", "begins with text of your own"),
        ("PR-{number}", "lower case"),
        ("pr {number}", "lower case"),
        ("pr-{number", "stands alone"),
        ("pr-number}", "stands alone"),
        ("pr-{}", "a field is a path"),
        ("pr-{a||b}", "a field is a path"),
        ("pr-{a..b}", "path refused"),
        ("pr-" + "{a}" * 21, "21 fields"),
        ("p" * 33 + "{a}", "33 characters"),
        ("pr-\n{a}", "printable"),
        ("p" * 501, "at most 500"),
        ("p-{a.b.c.d.e.f.g.h.i}", "at most 8 deep"),
    ],
)
def test_a_template_that_would_not_do_is_refused(text, told):
    """Whoever sets it reads what is wrong, and what is accepted."""
    with pytest.raises(Rejected) as refused:
        parse_tag_template(text)

    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("pr-{issue.number}", "the event has no issue.number"),
        ("pr-{issue.number|number}", "the event has no issue.number or number"),
    ],
)
def test_what_is_not_there_makes_no_tag(text, reason):
    """The reason stands on the event, which goes to the fallback."""
    rendered = render_tag(parse_tag_template(text), PULL.get)

    assert (rendered.tag, rendered.reason) == (None, reason)


def test_signs_alone_make_no_tag():
    """Nothing of such a value would be left, and all of them would share one session."""
    rendered = render_tag(parse_tag_template("pr-{a}"), {"a": "!!!"}.get)

    assert rendered.tag is None
    assert "no letter or digit" in rendered.reason


@given(st.text(min_size=1, max_size=300))
def test_every_rendered_tag_is_a_tag_under_the_owners_prefix(value):
    """Whatever a sender writes: it cannot leave the prefix, nor be longer than a tag may be."""
    tag = render_tag(parse_tag_template("pr-{a}-x"), {"a": value}.get).tag

    assert tag is None or (tag.startswith("pr-") and normalise_tag(tag) == tag and len(tag.encode()) <= MAX_TAG_BYTES)
    assert tag is None or re.fullmatch("[a-z0-9._:/@-]+", tag)


@given(st.text("ab", min_size=70, max_size=90), st.text("ab", min_size=70, max_size=90))
def test_two_long_keys_stay_apart(one, other):
    """What is cut off is in the hash."""
    template = parse_tag_template("pr-{a}")
    tags = [render_tag(template, {"a": value}.get).tag for value in (one, other)]

    assert (tags[0] == tags[1]) == (one == other)


@given(st.text(max_size=60))
def test_reading_a_template_never_fails_otherwise(text):
    """Any text is a template or is refused with a sentence."""
    try:
        template = parse_template(text, "do")
    except Rejected:
        return

    assert "".join(part for part in template.parts if isinstance(part, str)) is not None


def test_the_fields_of_an_order_are_read_by_their_names():
    """They stand inside the fence; the order itself stays as its owner wrote it."""
    order = parse_order("Review {pull_request.title | issue.title}\nof {repository.name}, {{as is}}; {nothing}")

    assert order.text == "Review {pull_request.title|issue.title}\nof {repository.name}, {as is}; {nothing}"
    assert order.read({**PULL, "issue.title": "x" * 500}.get) == {
        "pull_request.title|issue.title": "x" * 400 + "…",
        "repository.name": "Shop API",
        "nothing": None,
    }


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_value_ever_stands_in_an_order(text, value):
    """Whatever the order, whatever the payload: the same order."""
    try:
        order = parse_order(text + "{a}")
    except Rejected:
        return
    order.read(lambda _: value)

    assert order.text.endswith("{a}")
    assert order == parse_order(text + "{a}")
