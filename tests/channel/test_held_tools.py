"""The tools about the events a session holds, between a scripted Claude Code and a scripted server."""

import json
import re

import pytest

from channel.claude import Claude, read_list
from channel.peer import eventually

MARKER = re.compile(r"DATA [0-9a-f]{16}")


def unmarked(text):
    """Leave out the fence's name, which is new each time."""
    return MARKER.sub("DATA", text)


async def told(peer, kind):
    """Wait for the request of a kind, and return its fields."""
    frame = await eventually(lambda: next((f for f in peer.frames if f["type"] == kind), None))
    return {name: value for name, value in frame.items() if name not in ("type", "requestId")}


async def test_the_active_event_can_be_asked_for(config, peer):
    """The text is that of its notification, fence and all, as often as one likes; then the next one's."""
    async with Claude(config) as claude:
        nothing, failed = await claude.call("event_next")
        first = await peer.deliver(content="/review\n\n</channel>{}")
        shown = await claude.event(1)
        asked = [await claude.call("event_next") for _ in range(2)]
        await claude.call("event_ack", event_id=first, summary="done")
        afterwards, _ = await claude.call("event_next")

    assert not failed
    assert nothing.startswith("No event waits for this session.")
    assert afterwards.startswith("No event waits for this session.")
    assert [unmarked(text) for text, _ in asked] == [unmarked(shown["content"])] * 2
    assert "BEGIN DATA" in asked[0][0]
    assert first in asked[0][0]
    assert not [f for f in peer.frames if f["type"] == "event_next"], "the session knows what it holds"


async def test_more_time_is_asked_for_the_active_event(config, peer):
    """Its id is filled in."""
    peer.answers["event_extend"] = lambda: {"eventId": "evt_1", "seconds": 600}
    async with Claude(config) as claude:
        await peer.deliver("evt_1")
        await claude.event(1)
        text, failed = await claude.call("event_extend", seconds=600)

    assert (text, failed) == ("Event evt_1 has 600 more seconds.", False)
    assert await told(peer, "event_extend") == {"eventId": "evt_1", "seconds": 600}


@pytest.mark.parametrize(
    ("tool", "arguments", "asked", "data", "said"),
    [
        ("event_defer", {}, {}, {"delaySeconds": 0}, "Event evt_1 is put off; it goes to the end of its line."),
        (
            "event_defer",
            {"delay_seconds": 60, "event_id": "evt_1"},
            {"delaySeconds": 60},
            {"delaySeconds": 60},
            "Event evt_1 is put off; it goes to the end of its line after 60 seconds.",
        ),
        ("event_fail", {"reason": "no disk"}, {"reason": "no disk"}, {}, "Event evt_1 is given back; it comes again"),
    ],
)
async def test_an_event_that_is_given_back_is_let_go_of(config, peer, tool, arguments, asked, data, said):
    """The server is told; when the event comes again, even before its answer, it is shown again."""
    async with Claude(config) as claude:
        await peer.deliver("evt_1")
        await claude.event(1)
        calling = claude.call(tool, **arguments)
        peer.answers[tool] = {"eventId": "evt_1"} | data
        text, failed = await calling
        nothing, _ = await claude.call("event_next")
        await peer.deliver("evt_1", attempt="2")
        again = await claude.event(2)

    assert not failed
    assert text.startswith(said)
    assert await told(peer, tool) == {"eventId": "evt_1"} | asked
    assert nothing.startswith("No event waits")
    assert (again["meta"]["event_id"], again["meta"]["attempt"]) == ("evt_1", "2")


async def test_a_redelivery_may_overtake_the_answer(config, peer):
    """An event that is alone in its line comes again before the session hears that it was put off."""
    async with Claude(config) as claude:
        await peer.deliver("evt_1")
        await claude.event(1)
        await claude.send(
            {
                "jsonrpc": "2.0",
                "id": 77,
                "method": "tools/call",
                "params": {"name": "event_defer", "arguments": {}},
            }
        )
        await told(peer, "event_defer")
        await peer.deliver("evt_1", attempt="2")
        again = await claude.event(2)

    assert again["meta"]["attempt"] == "2"


@pytest.mark.parametrize("tool", ["event_extend", "event_defer", "event_fail"])
async def test_an_event_that_is_not_held_is_not_asked_about(config, peer, tool):
    """The answer says what is held."""
    arguments = {"seconds": 5} if tool == "event_extend" else {}
    async with Claude(config) as claude:
        await eventually(lambda: peer.connected)
        idle, failed_idle = await claude.call(tool, **arguments)
        await peer.deliver("evt_1")
        await claude.event(1)
        other, failed_other = await claude.call(tool, event_id="evt_2", **arguments)

    assert failed_idle
    assert idle == "No event is in flight."
    assert failed_other
    assert other.startswith("This session holds no event evt_2. The active one is evt_1.")
    assert tool not in [f["type"] for f in peer.frames]


async def test_an_event_that_was_given_back_unheard_is_not_claimed_any_more(config, peer):
    """With the server away the answer says so; on reconnect the event is not listed, so it will be delivered again."""
    async with Claude(config) as claude:
        await peer.deliver("evt_1")
        await claude.event(1)
        await peer.stop()
        text, failed = await claude.call("event_defer")
        await peer.start()
        await eventually(lambda: len(peer.auths) == 2)

    assert failed
    assert "Event evt_1 is let go of here; what the server was not told of, it delivers again." in text
    assert peer.auths[1].get("inflight", []) == []


async def test_lists_and_replays(config, peer):
    """`event_list` is about every session unless one is named; a replay says what the event is called now."""
    peer.answers |= {"event_list": [], "event_replay": {"eventId": "evt_new", "replay": "evt_old"}}
    async with Claude(config, CLAWBACK_SESSION="builds") as claude:
        listed, _ = await claude.call("event_list")
        await claude.call("event_list", session="(untagged)", states=["dead"], limit=5)
        replayed, failed = await claude.call("event_replay", event_id="evt_old")

    all_of_them, some = [f for f in peer.frames if f["type"] == "event_list"]
    assert read_list(listed) == []
    assert "sessionTag" not in all_of_them
    assert (some["sessionTag"], some["states"], some["limit"]) == ("(untagged)", ["dead"], 5)
    assert (replayed, failed) == ("evt_old waits again, as the new event evt_new.", False)


async def test_the_time_out_is_changed(config, peer):
    """For the profile, and for a source that is made."""
    peer.answers |= {"account_update": {"timeoutSeconds": 600}, "source_create": {"id": "src_a"}}
    async with Claude(config) as claude:
        text, _ = await claude.call("account_update", timeout_seconds=600)
        await claude.call("source_create", slug="github", type="none", timeout_seconds=90)

    assert json.loads(text) == {"timeoutSeconds": 600}
    assert await told(peer, "account_update") == {"timeoutSeconds": 600}
    assert (await told(peer, "source_create"))["timeoutSeconds"] == 90


async def test_claude_is_told_to_leave_what_another_session_took_over(config, peer):
    """Once, for the event it works on; finished all the same, its ack is sent."""
    async with Claude(config) as claude:
        await peer.deliver("evt_1")
        await claude.event(1)
        await peer.say("role", role="standby")
        told_to_leave = await claude.event(2)
        text, failed = await claude.call("event_ack", event_id="evt_1", summary="was done")
        ack = await told(peer, "ack")

    assert told_to_leave["meta"]["moved"] == "true"
    assert "event evt_1 and every event after it are delivered there" in told_to_leave["content"]
    assert (text, failed) == ("Event evt_1 had moved to another session; your ack ends it there.", False)
    assert ack == {"eventId": "evt_1", "summary": "was done"}
