"""Reading single values out of a request: one strict parser, and no input that breaks it."""

import json
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

import senders
from clawback.errors import BadPayload
from clawback.senders.request import Headers, Request, decode_form_text

FORM = [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")]


def read(body, path="a", fields=()):
    """Read one value of a request."""
    return Request(Headers(senders.raw(fields)), body).text_at(path)


@pytest.mark.parametrize(
    ("body", "path", "found"),
    [
        (b'{"a":"x"}', "a", "x"),
        (b' {"a" :\r\n "x"} \n', "a", "x"),
        (b'\xef\xbb\xbf{"a":"x"}', "a", "x"),
        ('{"a":"å\\u00e5 \\ud83d\\ude00"}'.encode(), "a", "åå 😀"),
        (b'{"a":{"b":[1,{"c":"x"}]}}', "a.b.1.c", "x"),
        (b'["x","y"]', "1", "y"),
        (b'{"1":"x"}', "1", "x"),
        (b'{"a":12}', "a", "12"),
        (b'{"a":-1.50e3}', "a", "-1.50e3"),
        (b'{"a":true}', "a", "true"),
        (b'{"a":"x","a":"y"}', "a", "y"),
        (b'{"a":"\\u0000"}', "a", "\0"),
        (b'{"a":null}', "a", None),
        (b'{"a":{}}', "a", None),
        (b'{"a":[]}', "a", None),
        (b'{"a":"x"}', "b", None),
        (b'{"a":"x"}', "a.b", None),
        (b'{"a":"x"}', "", None),
        (b'{"a":["x"]}', "a.1", None),
        (b'{"a":["x"]}', "a.-1", None),
        (b'{"a":["x"]}', "a.+0", None),
        (b'{"a":["x"]}', "a.\u0660", None),
        (b'{"a":["x"]}', "a." + "0" * 5000, None),
        (b'"a"', "a", None),
        (b"0", "a", None),
    ],
)
def test_path_leads_to_a_text_or_to_none(body, path, found):
    """Objects by name, arrays by digits; strings as they are, numbers and booleans as they are written."""
    assert read(body, path) == found


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"{'a':1}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":01}',
        b'{"a":1,}',
        b'{"a":"x\ny"}',
        b'{"a":"x"} y',
        b'{"a":"x"',
        b'{"a":"\\ud8',
        b'{"a":"\\x"}',
        '{"a":"x"}'.encode("utf-16"),
        b'{"a":"\xff"}',
        b'{"b":"\xed\xa0\x80","a":"x"}',
        b"[" * 100_000,
        b'{"a":"x","b":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda body: repr(body[:16]),
)
def test_what_is_no_json_in_utf8_is_refused_wherever_the_path_leads(body):
    """The whole body is checked, not just the way to the value; the message says what to do and shows no content."""
    for path in ("a", "nowhere"):
        with pytest.raises(BadPayload, match="the event type is read from it and it is not"):
            read(body, path)


@pytest.mark.parametrize("value", ["9" * 5000, "1e999", "-" + "9" * 400 + ".5"])
def test_number_of_any_size_is_neither_read_nor_harmful(value):
    """Beside the path it is stepped over; Python's own parser would give up on the whole body."""
    body = f'{{"a":"x","b":{value}}}'.encode()

    assert read(body, "a") == "x"
    assert read(body, "b") == (value if len(value) <= 256 else None)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\ud83d", "\ufffd"),
        (r"cut \ud83d", "cut \ufffd"),
        (r"\udc00\ud83d\ude00\ud800", "\ufffd😀\ufffd"),
        (r"\uD83D\uD83D\uDE00", "\ufffd😀"),
        (r"\\ud83d \ud83d", r"\ud83d" + " \ufffd"),
    ],
)
def test_half_a_surrogate_pair_reads_as_the_replacement_character(text, found):
    """JavaScript senders make them by cutting texts: the event is not refused, nor can the text fail to encode."""
    body = f'{{"a":"{text}","action":"opened"}}'.encode()

    assert read(body, "a") == found
    assert read(body, "action") == "opened"


@pytest.mark.parametrize(("size", "found"), [(256, "x" * 256), (257, None)])
def test_long_text_is_no_name(size, found):
    """An event type or id of more than 256 characters would swell every record of the event."""
    assert read(json.dumps({"a": "x" * size}).encode()) == found


@pytest.mark.parametrize(("depth", "found"), [(8, "x"), (9, None)])
def test_path_has_eight_steps_at_most(depth, found):
    """A deeper one finds nothing."""
    body = b'{"a":' * depth + b'"x"' + b"}" * depth

    assert read(body, ".".join("a" * depth)) == found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab0.", max_size=2), inner, max_size=3),
    max_leaves=10,
)


@given(value=JSON, step=st.text("ab0", min_size=1, max_size=2), ascii_only=st.booleans())
def test_reads_what_the_standard_library_reads(value, step, ascii_only):
    """For any JSON the value at a path is the one that a full parse finds there."""
    body = json.dumps({"a": value}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    found = value
    if isinstance(value, dict):
        found = value.get(step)
    elif isinstance(value, list):
        found = value[int(step)] if step.isdigit() and int(step) < len(value) else None
    else:
        found = None

    if isinstance(found, str):
        assert read(body, f"a.{step}") == found
    else:
        assert read(body, f"a.{step}") == (
            None if found is None or isinstance(found, dict | list) else json.dumps(found)
        )


@given(body=st.binary(max_size=200) | st.text('{}[]",:0-9a\\u d8', max_size=60).map(str.encode), form=st.booleans())
def test_any_bytes_are_read_or_refused(body, form):
    """Nothing but BadPayload comes of garbage, as JSON and as a form."""
    for path in ("a", "0.a"):
        try:
            found = read(body, path, FORM if form else ())
        except BadPayload:
            continue
        assert found is None or found.encode() is not None


# --- forms -------------------------------------------------------------------------------------------------------


@given(value=st.binary(max_size=200))
def test_form_text_is_what_a_browser_encoded(value):
    """Percent-decoding undoes percent-encoding for all bytes."""
    encoded = urlencode({"x": value}).partition("=")[2].encode()

    assert decode_form_text(encoded) == value


@pytest.mark.parametrize(
    ("encoded", "text"),
    [(b"a=41", b"a=41"), (b"==", b"=="), (b"a=\nb", b"a=\nb"), (b"%3d%3D+%2B", b"== +"), (b"_", b"_")],
)
def test_form_text_that_a_browser_would_have_encoded_stands_for_itself(encoded, text):
    """An equals sign in a value is one, and nothing of quoted-printable shines through."""
    assert decode_form_text(encoded) == text


@given(value=st.binary(max_size=100))
def test_broken_form_text_breaks_nothing(value):
    """Any bytes decode to some bytes."""
    assert isinstance(decode_form_text(value), bytes)


def test_form_with_a_payload_reads_as_its_json():
    """GitHub and Slack can send their JSON that way."""
    body = urlencode({"payload": '{"action":"öpened & more=1+1"}', "other": "x"}).encode()

    assert read(body, "action", FORM) == "öpened & more=1+1"
    assert read(body, "other", FORM) is None


def test_form_without_a_payload_reads_as_an_object_of_its_fields():
    """A Slack slash command is one."""
    body = urlencode({"command": "/deploy now", "text": ""}).encode()

    assert read(body, "command", FORM) == "/deploy now"


@pytest.mark.parametrize("body", [b"a=%ff", b"&" * 1000, b"payload=nope", b"payload=%ff", b"a=\xff"])
def test_form_that_cannot_be_read_is_refused(body):
    """With the same error as JSON that cannot be."""
    with pytest.raises(BadPayload):
        read(body, "a", FORM)


def test_form_is_a_form_by_its_content_type_only():
    """A JSON body is never taken for one, nor a form for JSON."""
    assert read(b'{"a":"x"}', "a", [("Content-Type", "application/json")]) == "x"
    with pytest.raises(BadPayload):
        read(b"payload={}", "a", [("Content-Type", "text/plain")])


def test_headers_are_found_whatever_their_case_and_join_when_repeated():
    """As RFC 9110 has it; an empty one is as good as none."""
    headers = Headers([(b"x-one", b"a"), (b"x-one", b"b"), (b"x-empty", b""), (b"x-latin", b"\xe5")])

    assert headers.get("x-ONE") == "a, b"
    assert headers.all("X-One") == [b"a", b"b"]
    assert headers.get("X-Empty") is None
    assert headers.get("X-Latin") == "å"
    assert headers.get("X-Absent") is None
