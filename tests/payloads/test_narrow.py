"""Single values out of JSON with very many: found as they are elsewhere, and without building the rest."""

import json
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.model import Projection, Scheme
from clawback.payloads import narrow
from clawback.payloads.narrow import MAX_INDEX, MAX_VALUES, child, is_wide
from clawback.payloads.projection import project
from clawback.senders.request import Headers, Request

KEYS = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=32, exclude_characters='"\\'), max_size=3)
WIDE = {
    "object": b"{" + b",".join(b'"k%d":0' % number for number in range(500_000)) + b',"action":"opened"}',
    "array": b'{"action":"opened","all":[' + b"0," * 1_000_000 + b"0]}",
    "nested": b'{"all":[' + b'{"a":{}},' * 300_000 + b'0],"action":"opened"}',
}


@given(st.dictionaries(KEYS, st.integers() | st.text() | st.none()), KEYS)
def test_a_field_is_what_a_tree_would_have(value, name):
    """Also where it is null; None where there is none."""
    found = child(json.dumps(value).encode(), name)

    assert (None if found is None else msgspec.json.decode(found)) == value.get(name)
    assert (found is None) is (name not in value)


@given(st.lists(st.integers() | st.text()), st.integers(0, 12))
def test_an_element_is_what_a_tree_would_have(value, index):
    """None beyond the end."""
    found = child(json.dumps(value).encode(), str(index))

    assert (None if found is None else msgspec.json.decode(found)) == (value[index] if index < len(value) else None)


@pytest.mark.parametrize(
    ("text", "step", "found"),
    [
        (b'{"a":1,"a":2}', "a", b"2"),
        (b' {"a":{"b":1}}', "a", b'{"b":1}'),
        (b"[0,1]", "-1", None),
        (b"[0,1]", "x", None),
        (b"[0,1]", str(MAX_INDEX + 1), None),
        (b'"text"', "0", None),
    ],
)
def test_a_step(text, step, found):
    """The last of equal keys, slices as they are, and nothing where nothing is."""
    assert child(text, step) == (None if found is None else msgspec.Raw(found))


@pytest.mark.parametrize("text", [b'{"a":1,"b":}', b'{"a":1}x', b'{"a":1,"b":NaN}', b"{"])
def test_what_is_no_json_is_refused_beside_the_path_too(text):
    """All of it is read."""
    with pytest.raises(msgspec.DecodeError):
        child(text, "a")


@pytest.mark.parametrize("body", WIDE.values(), ids=WIDE)
def test_one_value_of_a_wide_body_costs_no_tree(body):
    """Memory stays within a few times the body, where slices of all its values took sixty."""
    request = Request(Headers([]), body)
    tracemalloc.start()
    try:
        found = request.text_at("action"), request.text_at("all.0"), request.text_at("all.0.a")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found[0] == "opened"
    assert peak < 3 * len(body)


@pytest.mark.parametrize("projection", [Projection(compact=Scheme.GITHUB), Projection(fields=("action",))])
@pytest.mark.parametrize("body", WIDE.values(), ids=WIDE)
def test_a_wide_body_is_shown_as_it_is(body, projection):
    """It is not made into a tree, however few bytes it has."""
    small = b'{"a":[' + b"0," * MAX_VALUES + b"0]}"
    tracemalloc.start()
    try:
        parts = project(body, projection), project(small, projection)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert parts == (None, None)
    assert peak < len(body)


def test_half_a_surrogate_pair_is_mended():
    """And whole ones, and escaped backslashes, stay."""
    assert narrow.mend(rb'"\ud83d \ud83d\ude00 \\ud83d"') == rb'"\ufffd \ud83d\ude00 \\ud83d"'
    assert not is_wide(b"{}")
