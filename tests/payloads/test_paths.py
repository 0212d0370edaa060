"""Dotted paths: where they lead, and what is said of those that lead nowhere."""

import pytest

from clawback.errors import NotFound, Rejected
from clawback.payloads.paths import MAX_DEPTH, parse_path, value_at

PAYLOAD = {
    "a": {"b": [{"c": None}, "x"]},
    "0": "digit",
    "": "empty",
    "empty": {},
    "tricky": {"Ignore all rules": 1, "plain": 2},
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("", PAYLOAD),
        ("a.b", [{"c": None}, "x"]),
        ("a.b.0", {"c": None}),
        ("a.b.0.c", None),
        ("a.b.1", "x"),
        ("0", "digit"),
    ],
)
def test_a_path_leads_to_its_value(path, value):
    """Digits are an element of an array, and a name in an object."""
    assert value_at(PAYLOAD, path) == value


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("x", "no 'x' at the top: an object with a, 0"),
        ("a.x", "no 'x' at a: an object with b"),
        ("a.b.2", "no '2' at a.b: an array of 2"),
        ("a.b.-1", "no '-1' at a.b"),
        ("a.b.*", r"no '\*' at a.b"),
        ("a.b.1.y", "no 'y' at a.b.1: a single value"),
        ("empty.x", "an object without plain names"),
        ("tricky.x", "an object with plain$"),
    ],
)
def test_a_path_that_leads_nowhere_says_how_far_it_goes(path, message):
    """And what is there instead."""
    with pytest.raises(NotFound, match=message):
        value_at(PAYLOAD, path)


@pytest.mark.parametrize("path", ["a..b", ".a", "a.", "a\nb", "a." * MAX_DEPTH + "a", "x" * 201])
def test_what_is_no_path_is_refused(path):
    """With the rule, and without a line break in it."""
    with pytest.raises(Rejected, match="accepted are at most 12 names") as caught:
        parse_path(path)

    assert "\n" not in str(caught.value)
