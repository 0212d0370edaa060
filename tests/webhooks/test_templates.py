"""Orders that name fields of an event: what is taken, and that no value ever stands in one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.errors import Rejected
from clawback.webhooks.templates import parse_order, parse_template

PULL = {"repository.name": "Shop API", "pull_request.number": "7"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pr-{number", "stands alone"),
        ("pr-number}", "stands alone"),
        ("pr-{}", "a field is a path"),
        ("pr-{a||b}", "a field is a path"),
        ("pr-{a..b}", "path refused"),
        ("pr-" + "{a}" * 21, "21 fields"),
        ("p-{a.b.c.d.e.f.g.h.i}", "at most 8 deep"),
    ],
)
def test_a_template_that_would_not_do_is_refused(text, told):
    """Whoever sets it reads what is wrong, and what is accepted."""
    with pytest.raises(Rejected) as refused:
        parse_order(text)

    assert told in str(refused.value)


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
