"""Numbers that the documents promise are the ones that the code keeps."""

import re
from pathlib import Path

import pytest

from clawback import fields, wire
from clawback.accounts import codes
from clawback.api import requests
from clawback.model import TIMEOUT_SECONDS
from clawback.operations import crons, event_payload, events, history, messages, source_rules
from clawback.schedules import missed
from clawback.sessions import dispatcher, lane, presence, socket
from clawback.store import ledger, news, room
from clawback.webhooks import bodies
from clawback.wire import MAX_FRAME_BYTES

DOCS = Path(__file__).parent.parent / "docs"
MIB, KIB, DAY = 1024 * 1024, 1024, 24 * 3600

WORDS = {"five": 5, "three": 3}

PROMISES = [
    ("guarantees.md", r"every (\d+) minutes the session is reminded", 60, lane.REMINDER_SECONDS),
    ("guarantees.md", r"else (\d+) minutes\) it becomes a dead letter", 60, TIMEOUT_SECONDS),
    ("guarantees.md", r"kills its session (\w+) times in a row", 1, lane.MAX_LOSSES),
    ("guarantees.md", r"with more than ([\d,]+) entries that are in no pack", 1, ledger.MAX_REMEMBERED),
    ("guarantees.md", r"On reconnect they have (\d+) s to hand in acks", 1, dispatcher.FLUSH_SECONDS),
    ("guarantees.md", r"NATS but not from its session\*\*, for longer than (\d+) s", 1, presence.GONE_SECONDS),
    ("protocol.md", r"a frame over (\d+) MiB", MIB, MAX_FRAME_BYTES),
    ("protocol.md", r"cut to the (\d+) bytes that a close frame", 1, socket.MAX_REASON_BYTES),
    ("protocol.md", r"`seconds` \(1 to (\d+)\)", 1, events.MAX_EXTENSION_SECONDS),
    ("protocol.md", r"`delaySeconds` \(0 to (\d+), 30 days", 1, events.MAX_DELAY_SECONDS),
    ("protocol.md", r"`delaySeconds` \(0 to \d+, (\d+) days", DAY, events.MAX_DELAY_SECONDS),
    ("protocol.md", r"optional `reason` \(at most (\d+) characters\)", 1, events.MAX_REASON_CHARACTERS),
    ("protocol.md", r"`limit` \(1 to (\d+) characters", 1, event_payload.MAX_CHARACTERS),
    ("protocol.md", r"`limit` \(1 to \d+ characters, default (\d+)\)", 1, event_payload.DEFAULT_CHARACTERS),
    (
        "protocol.md",
        r"for each process of a client, at most (\d+) characters",
        1,
        socket.MAX_INSTANCE_CHARACTERS,
    ),
    ("protocol.md", r"At most (\d+) KiB\. A client without `instanceId`", KIB, wire.MAX_AUTH_BYTES),
    ("protocol.md", r"it has (\d+) s after `auth_ok` to hand in acks", 1, dispatcher.FLUSH_SECONDS),
    ("protocol.md", r"text to text or object, at most (\d+)", 1, fields.MAX_ROUTES),
    ("protocol.md", r"the one before is accepted too, 0 to (\d+) ", 1, source_rules.MAX_OVERLAP_SECONDS),
    ("protocol.md", r"0 to 604800 \(7 days\); default (\d+)\.", 1, source_rules.OVERLAP_SECONDS),
    ("protocol.md", r"at most the newest (\d+) \|", 1, missed.MAX_CATCH_UP),
    ("protocol.md", r"0 to (\d+): how much later than due", 1, crons.MAX_JITTER_SECONDS),
    ("protocol.md", r"at most (\d+) characters; in `cron_update`", 1, crons.MAX_LABEL_CHARACTERS),
    ("protocol.md", r"\| `targets` \| tags, at most (\d+),", 1, messages.MAX_TARGETS),
    ("protocol.md", r"the text, 1 to ([\d,]+) characters", 1, wire.MAX_CONTENT_CHARACTERS),
    ("protocol.md", r"still missing; every (\d+) minutes", 60, lane.REMINDER_SECONDS),
    ("protocol.md", r"have (\d+) minutes at most, all of them again", 60, lane.UNNAMED_TIMEOUT_SECONDS),
    ("protocol.md", r"are given nothing for (\d+) s after a", 1, lane.UNNAMED_PAUSE_SECONDS),
    ("protocol.md", r"once and within (\d+) minutes, else 404", 60, codes.TTL_SECONDS),
    ("api.md", r"one object, at most (\d+) MiB", MIB, requests.MAX_BODY_BYTES),
    ("api.md", r"one object, at most 1 MiB, within (\d+) s", 1, requests.BODY_SECONDS),
    ("api.md", r"the first ([\d,]+) characters of its payload", 1, events.MAX_PAYLOAD_CHARACTERS),
    ("api.md", r"`summary` \(its first (\d+) characters\)", 1, news.MAX_SUMMARY_CHARACTERS),
    ("api.md", r"at most `limit` items \(1 to (\d+),", 1, history.MAX_LIMIT),
    ("security.md", r"an eighth kept for bodies up to (\d+) KiB", KIB, bodies.SMALL_BYTES),
    ("security.md", r"has to go on at (\d+) KiB a second", KIB, bodies.LEAST_BYTES / bodies.LOOK_SECONDS),
    ("security.md", r"Of sockets that have not authenticated, (\d+)", 1, socket.MAX_UNAUTHENTICATED),
    ("operations.md", r"is given new events until (\d+) MiB of its disk are free", MIB, room.RESERVE_BYTES),
]


def find_number(document, pattern):
    """Find the number in a sentence, which may go over several lines."""
    text = " ".join((DOCS / document).read_text().split())
    found = re.search(pattern, text)
    assert found, f"{document} has no {pattern!r}: where it says this now, say so here"
    return WORDS.get(found[1]) or int(found[1].replace(",", ""))


@pytest.mark.parametrize(("document", "pattern", "unit", "kept"), PROMISES, ids=lambda value: str(value)[:60])
def test_a_promised_number_is_the_one_that_is_kept(document, pattern, unit, kept):
    """Whoever changes either changes both."""
    assert find_number(document, pattern) * unit == kept
