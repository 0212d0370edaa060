"""The WebSocket messages: what is read, what is refused, and how it is written."""

import json
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback import wire
from clawback.errors import ProtocolViolation
from clawback.model import EventTypeRule, Missed, Overlap, Priority

# One frame of each kind as existing clients send it, and how it is read.
EXISTING = [
    ({"type": "auth", "token": "cbt_x"}, wire.Auth("cbt_x")),
    ({"type": "auth", "token": "cbt_x", "sessionTag": "builds"}, wire.Auth("cbt_x", "builds")),
    ({"type": "ack", "eventId": "evt_1", "summary": "done"}, wire.Ack("evt_1", "done")),
    ({"type": "pong"}, wire.Pong()),
    (
        {"type": "cron_create", "requestId": "1", "schedule": "* * * * *", "prompt": "go", "priority": "interrupt"},
        wire.CronCreate(request_id="1", schedule="* * * * *", prompt="go", priority=Priority.INTERRUPT),
    ),
    ({"type": "cron_list", "requestId": "1"}, wire.CronList(request_id="1")),
    ({"type": "cron_delete", "requestId": "1", "cronId": "c"}, wire.CronDelete(request_id="1", cron_id="c")),
    (
        {
            "type": "source_create",
            "requestId": "1",
            "slug": "hub",
            "verifierType": "github",
            "secret": "s",
            "routes": {"push": "/go"},
            "eventType": {"header": "X-Kind"},
        },
        wire.SourceCreate(
            request_id="1",
            slug="hub",
            verifier_type="github",
            secret="s",
            routes={"push": "/go"},
            event_type=EventTypeRule(header="X-Kind"),
        ),
    ),
    ({"type": "source_list", "requestId": "1"}, wire.SourceList(request_id="1")),
    ({"type": "source_delete", "requestId": "1", "sourceId": "s"}, wire.SourceDelete(request_id="1", source_id="s")),
    ({"type": "event_history", "requestId": "1", "limit": 5}, wire.EventHistory(request_id="1", limit=5)),
    ({"type": "account_info", "requestId": "1"}, wire.AccountInfo(request_id="1")),
    ({"type": "token_create", "requestId": "1", "label": "l"}, wire.TokenCreate(request_id="1", label="l")),
    ({"type": "token_list", "requestId": "1"}, wire.TokenList(request_id="1")),
    ({"type": "token_rotate", "requestId": "1"}, wire.TokenRotate(request_id="1")),
    (
        {"type": "session_send", "requestId": "1", "targets": ["a", "*"], "content": "hi"},
        wire.SessionSend(request_id="1", targets=("a", "*"), content="hi"),
    ),
    ({"type": "session_list", "requestId": "1"}, wire.SessionList(request_id="1")),
]

# One frame of each kind that came with this server.
ADDED = [
    (
        {"type": "event_extend", "requestId": "1", "eventId": "evt_1", "seconds": 60},
        wire.EventExtend(request_id="1", event_id="evt_1", seconds=60),
    ),
    (
        {"type": "event_defer", "requestId": "1", "eventId": "evt_1", "delaySeconds": 60},
        wire.EventDefer(request_id="1", event_id="evt_1", delay_seconds=60),
    ),
    (
        {"type": "event_fail", "requestId": "1", "eventId": "evt_1", "reason": "r"},
        wire.EventFail(request_id="1", event_id="evt_1", reason="r"),
    ),
    ({"type": "event_seen", "requestId": "1", "eventId": "evt_1"}, wire.EventSeen(request_id="1", event_id="evt_1")),
    ({"type": "event_next", "requestId": "1"}, wire.EventNext(request_id="1")),
    (
        {"type": "event_list", "requestId": "1", "states": ["dead"], "sessionTag": "builds", "limit": 5},
        wire.EventList(request_id="1", states=("dead",), session_tag="builds", limit=5),
    ),
    (
        {"type": "event_payload", "requestId": "1", "eventId": "evt_1", "path": "a.b", "offset": 5, "limit": 6},
        wire.EventPayload(request_id="1", event_id="evt_1", path="a.b", offset=5, limit=6),
    ),
    (
        {"type": "event_replay", "requestId": "1", "eventId": "evt_1"},
        wire.EventReplay(request_id="1", event_id="evt_1"),
    ),
    (
        {"type": "event_discard", "requestId": "1", "states": ["dead"], "path": "/hub", "dryRun": True},
        wire.EventDiscard(request_id="1", states=("dead",), path="/hub", dry_run=True),
    ),
    (
        {"type": "account_update", "requestId": "1", "timeoutSeconds": 60},
        wire.AccountUpdate(request_id="1", timeout_seconds=60),
    ),
    (
        {"type": "source_create", "requestId": "1", "slug": "hub", "payload": "compact"},
        wire.SourceCreate(request_id="1", slug="hub", payload="compact"),
    ),
    (
        {"type": "source_update", "requestId": "1", "sourceId": "s", "payload": ["a.b", "c"]},
        wire.SourceUpdate(request_id="1", source_id="s", payload=("a.b", "c")),
    ),
    (
        {"type": "source_update", "requestId": "1", "sourceId": "s", "generateSecret": True, "overlapSeconds": 0},
        wire.SourceUpdate(request_id="1", source_id="s", generate_secret=True, overlap_seconds=0),
    ),
    (
        {
            "type": "cron_update",
            "requestId": "1",
            "cronId": "c",
            "missed": "all",
            "overlap": "skip",
            "jitterSeconds": 5,
        },
        wire.CronUpdate(request_id="1", cron_id="c", missed=Missed.ALL, overlap=Overlap.SKIP, jitter_seconds=5),
    ),
    ({"type": "cron_pause", "requestId": "1", "cronId": "c"}, wire.CronPause(request_id="1", cron_id="c")),
    ({"type": "cron_resume", "requestId": "1", "cronId": "c"}, wire.CronResume(request_id="1", cron_id="c")),
    ({"type": "cron_run_now", "requestId": "1", "cronId": "c"}, wire.CronRunNow(request_id="1", cron_id="c")),
    ({"type": "session_takeover", "requestId": "1"}, wire.SessionTakeover(request_id="1")),
]


@pytest.mark.parametrize(
    ("frame", "message"), EXISTING + ADDED, ids=lambda value: getattr(value, "get", lambda _: "")("type")
)
def test_what_clients_send_is_read(frame, message):
    """Field by field; what a newer client adds is passed over; and our own writing reads back."""
    assert wire.decode_client(json.dumps(frame)) == message
    assert wire.decode_client(json.dumps({**frame, "addedLater": [1]})) == message
    assert wire.decode_client(wire.encode(message)) == message


def test_every_message_of_the_contract_is_known():
    """What existing clients send, and what came with this server."""
    assert {type(message) for _, message in EXISTING + ADDED} == {
        wire.Auth,
        wire.Ack,
        wire.Pong,
        *get_args(wire.Request),
    }


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "null",
        "[]",
        '"auth"',
        "{}",
        '{"type":null}',
        '{"type":"auth"}',
        '{"type":"auth","token":null}',
        '{"type":"auth","token":"x","inflight":"evt_1"}',
        '{"type":"ack"}',
        '{"type":"event","id":"1","content":"","meta":{}}',
        '{"type":"account_info"}',
        '{"type":"account_info","requestId":1}',
        '{"type":"cron_create","requestId":"1","schedule":"x","prompt":"y","priority":"urgent"}',
        "[" * 100_000,
        b"\xff",
    ],
)
def test_what_is_no_client_frame_is_refused(frame):
    """With a sentence, whatever it is."""
    with pytest.raises(ProtocolViolation, match=r"^frame not understood: "):
        wire.decode_client(frame)


@given(
    st.one_of(
        st.binary(max_size=100),
        st.text(max_size=100),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["type", "token", "eventId", "requestId", "x"]), inner, max_size=4)
            ),
            max_leaves=10,
        ).map(json.dumps),
    )
)
def test_no_frame_crashes_the_reader(frame):
    """It is read or refused, and never another error."""
    try:
        wire.decode_client(frame)
    except ProtocolViolation:
        assert wire.request_id_of(frame) is None or isinstance(wire.request_id_of(frame), str)


def test_a_refusal_quotes_no_value():
    """A token in the wrong place must not come back in a close reason."""
    with pytest.raises(ProtocolViolation) as refused:
        wire.decode_client('{"type":"auth","token":["cbt_secret"],"sessionTag":{"cbt_secret":1}}')

    assert "cbt_secret" not in str(refused.value)
    assert "$.token" in str(refused.value)


@pytest.mark.parametrize(
    ("frame", "request_id"),
    [
        ('{"type":"source_create","requestId":"7","slug":1}', "7"),
        ('{"type":"account_info","requestId":"7"}', "7"),
        ('{"type":"ack","requestId":"7"}', None),
        ('{"type":"frobnicate","requestId":"7"}', None),
        ('{"type":"source_create","requestId":7}', None),
        ('{"type":"source_create"}', None),
        ("[]", None),
        ("{", None),
        ("[" * 100_000, None),
    ],
)
def test_only_a_request_can_be_answered(frame, request_id):
    """What has a known type and a `requestId` is told what is wrong with it; anything else is a violation."""
    assert wire.request_id_of(frame) == request_id


def test_a_response_has_data_always_and_error_only_on_error():
    """Existing clients reject `"error": null`, and want `data` even where it is null."""
    assert json.loads(wire.encode(wire.Response("1", {"a": 1}))) == {
        "type": "response",
        "requestId": "1",
        "data": {"a": 1},
    }
    assert json.loads(wire.encode(wire.Response("1", None, "no"))) == {
        "type": "response",
        "requestId": "1",
        "data": None,
        "error": "no",
    }
    assert json.loads(wire.encode(wire.Response("1", None))) == {"type": "response", "requestId": "1", "data": None}


@pytest.mark.parametrize(
    ("message", "frame"),
    [
        (wire.AuthOk(), {"type": "auth_ok"}),
        (wire.Ping(), {"type": "ping"}),
        (wire.Role("active"), {"type": "role", "role": "active"}),
        (wire.Reminder("evt_1"), {"type": "reminder", "eventId": "evt_1"}),
        (wire.TimedOut("evt_1"), {"type": "timed_out", "eventId": "evt_1"}),
        (
            wire.EventFrame("evt_1", "text", {"attempt": "1"}),
            {"type": "event", "id": "evt_1", "content": "text", "meta": {"attempt": "1"}},
        ),
    ],
)
def test_what_the_server_sends_is_as_the_protocol_has_it(message, frame):
    """Camel case, nothing that was not set, and read back by our own plugin."""
    assert json.loads(wire.encode(message)) == frame
    assert wire.decode_server(wire.encode(message)) == message


def test_a_server_frame_that_is_none_is_refused():
    """The plugin goes on with a sentence for its log."""
    with pytest.raises(ProtocolViolation, match=r"^frame not understood: "):
        wire.decode_server('{"type":"event","id":1}')


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "cbt_canary0"},
        {"type": "cbt_canaryCanary"},
        {"type": "canary" * 5},
        {"type": "it's a\ncanary"},
        {"type": "canary' - at"},
        {"type": "source_create", "requestId": "1", "slug": "a", "priority": "canary-1"},
        {"type": "cron_update", "requestId": "1", "cronId": "a", "missed": "cana'ry' - at canary"},
        {"type": "auth", "token": {"canary": "canary"}},
        {"type": "ack", "eventId": ["canary"]},
    ],
)
@pytest.mark.parametrize("decode", [wire.decode_client, wire.decode_server])
def test_a_refusal_quotes_nothing_that_could_be_a_token(decode, frame):
    """In the wrong place; the field is named instead."""
    with pytest.raises(ProtocolViolation, match=r"^frame not understood: ") as refused:
        decode(json.dumps(frame))

    assert "cana" not in str(refused.value)


def test_a_refusal_quotes_a_short_word():
    """Who writes a client sees what it sent."""
    with pytest.raises(ProtocolViolation, match=r"Invalid value 'frobnicate' - at `\$\.type`$"):
        wire.decode_client('{"type":"frobnicate"}')


def test_messages_are_frozen():
    """What was read is what was sent."""
    with pytest.raises(AttributeError):
        wire.Pong().type = "ping"
    assert msgspec.structs.asdict(wire.Ack("evt_1")) == {"event_id": "evt_1", "summary": "", "request_id": None}


@pytest.mark.parametrize("read", [wire.SettledAck, wire.Ack])
def test_a_summary_is_cut_wherever_it_is_made_or_read(read):
    """So it fits its frame and the record of its event, whoever sent it; what fits is as it was."""
    most = wire.MAX_SUMMARY_CHARACTERS
    frame = {"type": "ack", "eventId": "evt_1", "summary": "ä" * (most + 1)}
    decoded = msgspec.convert(frame, read)

    assert decoded.summary == read("evt_1", "ä" * (most + 1)).summary == "ä" * (most - 1) + "…"
    assert read("evt_1", "ä" * most).summary == "ä" * most
    assert wire.encode(read("evt_1", "half a pair: \ud83d")).endswith(b'"half a pair: ?"}')
