"""Proof in a transcript: which of its lines say that an event became part of the conversation."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.channel.claude.fence import proof_of
from clawback.channel.claude.transcript import Transcript, find_proofs
from clawback.channel.claude.ways import Way

TEXT = f"/review\n\n{proof_of('evt_1')} and a short summary."
ANNOUNCED = f"<task-notification>\n<event>{TEXT}</event>\n</task-notification>"
PUSHED = f'<channel source="plugin:clawback:clawback" event_id="evt_1">{TEXT}</channel>'


def line(kind, **fields):
    """Write a line as Claude Code 2.1.330 does, less what nobody reads."""
    return json.dumps({"type": kind, "sessionId": "s", **fields}).encode()


def user(content):
    """Write the line of a message to the model."""
    return line("user", message={"role": "user", "content": content})


@pytest.mark.parametrize(
    ("written", "way"),
    [
        (user(TEXT), None),
        (user(PUSHED), Way.CHANNEL),
        (user(ANNOUNCED), Way.MONITOR),
        (user([{"type": "tool_result", "content": [{"type": "text", "text": TEXT}]}]), None),
        (line("attachment", attachment={"type": "queued_command", "prompt": TEXT}), None),
        (line("attachment", attachment={"type": "queued_command", "prompt": ANNOUNCED}), Way.MONITOR),
    ],
)
def test_a_message_of_the_conversation_is_a_proof(written, way):
    """A prompt, a tool's result, or what rode along with one; the way where its beginning tells."""
    assert list(find_proofs(written, ["evt_0", "evt_1"])) == [("evt_1", way)]


@pytest.mark.parametrize(
    "written",
    [
        line("queue-operation", operation="enqueue", content=TEXT),
        line("assistant", message={"role": "assistant", "content": [{"type": "text", "text": TEXT}]}),
        line("last-prompt", lastPrompt=TEXT),
        user('{"eventId":"evt_1","state":"offered"}'),
        user("What is evt_1 about?"),
        user(proof_of("evt_12")),
        user(TEXT)[:-9],
        b"",
    ],
)
def test_what_else_names_an_event_proves_nothing(written):
    """What waits, what the model said, a list of events, another event with a longer name, half a line."""
    assert list(find_proofs(written, ["evt_1"])) == []


@given(st.binary() | st.recursive(st.text() | st.none(), st.lists).map(lambda value: json.dumps(value).encode()))
def test_any_line_can_be_read(written):
    """The form is Claude Code's, and may change."""
    assert list(find_proofs(written + b"evt_1", ["evt_1"])) == []


def test_only_what_is_written_from_now_on_is_read(tmp_path):
    """A session that goes on has an event's earlier delivery in it; each line is read once, when it is whole."""
    path = tmp_path / "session.jsonl"
    path.write_bytes(user(TEXT) + b"\n")
    transcript = Transcript()
    transcript.follow(str(path))
    before = transcript.read_proofs(["evt_1"])
    with path.open("ab") as file:
        file.write(user("hello") + b"\n" + user(TEXT)[:40])
        file.flush()
        half = transcript.read_proofs(["evt_1"])
        file.write(user(TEXT)[40:] + b"\n")
    whole = transcript.read_proofs(["evt_1"])

    assert (before, half, whole) == ({}, {}, {"evt_1": None})
    assert transcript.read_proofs(["evt_1"]) == {}


def test_a_transcript_that_is_not_there_yet_is_read_from_its_beginning(tmp_path):
    """Claude Code writes it with the first message; a new session has another one."""
    path, other = tmp_path / "session.jsonl", tmp_path / "other.jsonl"
    transcript = Transcript()
    transcript.follow(str(path))
    absent = transcript.read_proofs(["evt_1"])
    path.write_bytes(user(PUSHED) + b"\n")
    there = transcript.read_proofs(["evt_1"])
    transcript.follow(str(other))
    other.write_bytes(user(ANNOUNCED) + b"\n")

    assert (absent, there) == ({}, {"evt_1": Way.CHANNEL})
    assert transcript.read_proofs(["evt_1"]) == {"evt_1": Way.MONITOR}
