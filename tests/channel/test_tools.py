"""What Claude Code is told of the tools."""

import pytest

from clawback.channel.server import build_tool
from clawback.channel.toolbox import read_arguments
from clawback.channel.tools import TOOLS
from clawback.errors import Rejected

CONTRACT = {
    "source_create": {
        "slug", "type", "secret", "generate_secret", "skill", "routes", "eventType", "signature", "session", "priority",
        "timeout_seconds", "payload",
    },
    "source_list": set(),
    "source_update": {
        "id", "secret", "generate_secret", "overlap_seconds", "skill", "routes", "eventType", "signature", "session",
        "priority", "timeout_seconds", "payload",
    },
    "source_delete": {"id"},
    "cron_create": {
        "schedule", "once", "prompt", "label", "session", "priority", "timezone", "missed", "overlap", "jitter_seconds",
    },
    "cron_update": {
        "id", "schedule", "once", "prompt", "label", "session", "priority", "timezone", "missed", "overlap",
        "jitter_seconds",
    },
    "cron_pause": {"id"},
    "cron_resume": {"id"},
    "cron_run_now": {"id"},
    "cron_list": set(),
    "cron_delete": {"id"},
    "event_ack": {"event_id", "summary"},
    "event_history": {"limit", "states"},
    "event_next": set(),
    "event_extend": {"seconds", "event_id"},
    "event_defer": {"delay_seconds", "event_id"},
    "event_fail": {"reason", "event_id"},
    "event_list": {"states", "session", "limit"},
    "event_payload": {"path", "event_id", "offset", "limit"},
    "event_replay": {"event_id"},
    "account_info": set(),
    "account_update": {"timeout_seconds", "timezone"},
    "token_create": {"label"},
    "token_list": set(),
    "token_rotate": {"label"},
    "session_send": {"target", "message", "priority"},
    "session_list": set(),
    "session_takeover": set(),
}  # fmt: skip


def test_there_are_these_tools_with_their_parameters():
    """Names and parameters are public."""
    offered = {name: set(build_tool(name, tool).inputSchema["properties"]) for name, tool in TOOLS.items()}

    assert offered == CONTRACT


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_is_described_within_the_cap(name):
    """Each tool has a description below Claude Code's 2 KB and a plain object schema without references."""
    tool = build_tool(name, TOOLS[name])

    assert 10 < len(tool.description.encode()) < 2048
    assert tool.inputSchema["type"] == "object"
    assert "$ref" not in str(tool.inputSchema)
    assert all("description" in parameter for parameter in tool.inputSchema["properties"].values())


def test_what_an_event_needs_is_always_loaded():
    """Every text names event_ack, and an announcement event_next: Claude Code must not defer these two."""
    loaded = [name for name, tool in TOOLS.items() if build_tool(name, tool).meta]

    assert loaded == ["event_ack", "event_next"]
    assert build_tool("event_ack", TOOLS["event_ack"]).model_dump(by_alias=True)["_meta"] == {
        "anthropic/alwaysLoad": True
    }


def test_read_only_tools_say_so():
    """What changes nothing carries readOnlyHint; what removes something carries destructiveHint."""
    hints = {name: build_tool(name, tool).annotations for name, tool in TOOLS.items()}

    assert {name for name, hint in hints.items() if hint.readOnlyHint} == {
        "event_history",
        "event_next",
        "event_list",
        "event_payload",
        "account_info",
        "source_list",
        "cron_list",
        "token_list",
        "session_list",
    }
    assert {name for name, hint in hints.items() if hint.destructiveHint} == {
        "event_replay",
        "source_update",
        "source_delete",
        "cron_delete",
        "token_rotate",
    }


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("event_ack", {}, "`summary`"),
        ("event_ack", {"summary": None}, "`summary`"),
        ("event_history", {"limit": 0}, "`limit`"),
        ("event_history", {"limit": 101}, "`limit`"),
        ("event_history", {"limit": "5"}, "`limit`"),
        ("event_extend", {}, "`seconds`"),
        ("event_extend", {"seconds": 0}, "`seconds`"),
        ("event_extend", {"seconds": 86_401}, "`seconds`"),
        ("event_defer", {"delay_seconds": -1}, "`delay_seconds`"),
        ("event_fail", {"reason": "x" * 1001}, "`reason`"),
        ("event_replay", {}, "`event_id`"),
        ("cron_create", {"schedule": "* * * * *"}, "`prompt`"),
        ("cron_create", {"prompt": "x", "missed": "some"}, "`missed`"),
        ("cron_update", {"id": "x", "jitter_seconds": 3601}, "`jitter_seconds`"),
        ("account_update", {"timeout_seconds": 59}, "`timeout_seconds`"),
        ("source_create", {"slug": "x", "timeout_seconds": 86_401}, "`timeout_seconds`"),
        ("source_create", {"slug": "x", "priority": "urgent"}, "`priority`"),
        ("source_create", {"slug": "x", "routes": {"a": 1}}, "`routes"),
        ("source_create", {"slug": "x", "eventType": {"header": 1}}, "`eventType.header`"),
        ("source_update", {"id": "x", "overlap_seconds": 604_801}, "`overlap_seconds`"),
        ("source_update", {"id": "x", "slug": "y"}, "`slug`"),
        ("source_delete", {"sourceId": "x"}, "`sourceId`"),
        ("session_send", {"target": "", "message": "x"}, "`target`"),
        ("session_send", {"message": "x"}, "`target`"),
        ("session_send", {"target": "x", "message": "y" * 200_001}, "`message`"),
    ],
)
def test_a_wrong_argument_is_named(name, arguments, named):
    """The error names the parameter and lists those there are."""
    with pytest.raises(Rejected) as refused:
        read_arguments(TOOLS[name], arguments)

    assert named in str(refused.value)
    assert "Its parameters: " in str(refused.value)
