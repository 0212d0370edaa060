"""The event frame: pure, so without a server."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback import wire
from clawback.model import Event, Held, Origin, Priority, Projection, Scheme
from clawback.sessions.frames import build_event_frame

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def an_event(**fields):
    """Make a webhook's event."""
    made = {"id": "evt_1", "origin": Origin.WEBHOOK, "priority": Priority.NORMAL, "created_at": NOW, "path": "/github"}
    return Event(**(made | fields))


def build(event, body=b"{}", *, attempt=1, names_events=True):
    """Build the frame of a delivery."""
    held = Held(event.id, 7, event.priority, attempt=attempt)
    return build_event_frame(event, body, held, names_events=names_events)


def test_a_webhook_says_where_it_came_from():
    """Every field of `meta`, all of them text."""
    event = an_event(event_type="push", skill="/review", verified=True, delivery_id="d-1", priority=Priority.PRIORITY)
    frame = build(event, '{"é":1}'.encode(), attempt=2)

    assert frame.id == "evt_1"
    assert frame.content == '/review\n\n{"é":1}'
    assert frame.meta == {
        "source": "webhook",
        "eventId": "evt_1",
        "priority": "priority",
        "attempt": "2",
        "path": "/github",
        "eventType": "push",
        "skill": "/review",
        "verified": "true",
        "deliveryId": "d-1",
    }


def test_what_a_webhook_lacks_is_empty_text():
    """The four fields that are always there are there; `verified` is false where nothing was signed."""
    frame = build(an_event(path=None))

    assert frame.content == "{}"
    assert frame.meta == {
        "source": "webhook",
        "eventId": "evt_1",
        "priority": "normal",
        "attempt": "1",
        "path": "",
        "eventType": "",
        "skill": "",
        "verified": "false",
    }


@pytest.mark.parametrize(
    ("names_events", "attempt", "priority"),
    [(True, 1, "interrupt"), (True, 2, "interrupt"), (False, 1, "interrupt"), (False, 2, "normal")],
)
def test_a_repeat_is_normal_to_a_client_that_names_no_instance(names_events, attempt, priority):
    """It would take its own first copy for something to interrupt."""
    frame = build(an_event(priority=Priority.INTERRUPT), attempt=attempt, names_events=names_events)

    assert frame.meta["priority"] == priority


def test_a_body_that_is_no_text_is_base64():
    """The content says so in `meta.encoding`."""
    frame = build(an_event(encoding="base64"), b"\xff\x00")

    assert base64.b64decode(frame.content) == b"\xff\x00"
    assert frame.meta["encoding"] == "base64"


def test_a_body_that_lies_about_being_text_is_base64_all_the_same():
    """Somebody published it by hand; a session that cannot send it would be stuck for ever."""
    frame = build(an_event(), b"\xff\x00")

    assert base64.b64decode(frame.content) == b"\xff\x00"
    assert frame.meta["encoding"] == "base64"


def test_a_part_of_a_payload_says_that_it_is_one():
    """And of how much; the order stands before it as ever, and `meta` names the kind of part."""
    body = b'{"action": "opened", "url": null, "number": 7}'
    compact = build(an_event(skill="/review", payload=Projection(compact=Scheme.GITHUB)), body)
    fields = build(an_event(payload=Projection(fields=("number",))), body)
    note = "\n\n[a part, chosen by Clawback, of 46 characters; event_payload has the rest]"

    assert compact.content == '/review\n\n{"action":"opened","number":7}' + note
    assert (compact.meta["payload"], fields.meta["payload"]) == ("compact", "fields")
    assert fields.content == '{"number":7}' + note


@pytest.mark.parametrize(("body", "encoding"), [(b"a=1&b=2", None), (b"\xff", "base64")])
def test_what_has_no_parts_is_shown_in_full(body, encoding):
    """And says nothing of a part."""
    frame = build(an_event(encoding=encoding, payload=Projection(compact=Scheme.GITHUB)), body)

    assert frame.content == build(an_event(encoding=encoding), body).content
    assert "payload" not in frame.meta


@pytest.mark.parametrize("unit", ["x", "é", "\U0001f680"])
def test_a_long_payload_is_cut_and_says_so(unit):
    """At the limit nothing is cut; above it the first characters stay whole."""
    limit = wire.MAX_CONTENT_CHARACTERS
    whole = build(an_event(skill="/s"), (unit * limit).encode())
    cut = build(an_event(skill="/s"), (unit * (limit + 1)).encode())

    assert whole.content == "/s\n\n" + unit * limit
    assert cut.content.startswith("/s\n\n" + unit * limit + "\n\n[cut here by Clawback: 200,000 of 200,001 characters.")
    assert "evt_1" in cut.content[-300:]
    assert "sequence 7" in cut.content[-300:]


def test_a_cut_base64_is_still_base64():
    """What is left of it can be decoded."""
    content = build(an_event(encoding="base64"), b"\xff" * 300_000).content

    assert base64.b64decode(content[: wire.MAX_CONTENT_CHARACTERS], validate=True) == b"\xff" * 150_000


@given(st.binary(max_size=200), st.text(max_size=20), st.booleans())
def test_any_body_makes_a_frame_that_reads_back(body, skill, names_events):
    """Whatever was stored, the frame is JSON with text only."""
    frame = build(an_event(skill=skill.replace("\ud800", "") or None), body, names_events=names_events)
    read = wire.decode_server(wire.encode(frame))

    assert read == frame
    assert all(isinstance(value, str) for value in read.meta.values())


def test_what_an_order_names_stands_before_the_payload():
    """One value on a line, as JSON; never in the order itself, whose names stay names."""
    event = an_event(skill="Review {title}", fields={"title": 'Fix\n\nit: "now"', "nothing": None})
    frame = build(event, b'{"a":1}')

    assert frame.content == 'Review {title}\n\ntitle: "Fix\\n\\nit: \\"now\\""\nnothing: null\n\n{"a":1}'
    assert (frame.meta["skill"], frame.meta["fields"]) == ("Review {title}", "2")


def test_a_batch_says_how_many_happenings_it_has():
    """As text; what is no batch says nothing."""
    assert build(an_event(items=3)).meta["items"] == "3"
    assert "items" not in build(an_event()).meta
