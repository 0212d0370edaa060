"""What Claude Code is told of the tools."""

import json

import pytest

from clawback import wire
from clawback.channel.server import INSTRUCTIONS, build_tool
from clawback.channel.toolbox import read_arguments
from clawback.channel.tools import FORMER, TOOLS, Tool
from clawback.errors import Rejected

CONTRACT = {
    "source_create": {
        "slug", "type", "secret", "generate_secret", "skill", "routes", "eventType", "signature", "session", "priority",
        "deliveryId", "answer",
        "timeout_seconds", "payload", "if", "notFrom", "note",
    },
    "source_list": {"after"},
    "source_update": {
        "id", "secret", "generate_secret", "overlap_seconds", "skill", "routes", "eventType", "signature", "session",
        "deliveryId", "answer",
        "priority", "timeout_seconds", "payload", "if", "notFrom", "note",
    },
    "source_delete": {"id"},
    "cron_create": {
        "schedule", "once", "prompt", "label", "session", "priority", "timezone", "missed", "overlap", "jitter_seconds",
    },
    "cron_update": {
        "id", "paused", "run_now", "schedule", "once", "prompt", "label", "session", "priority", "timezone", "missed",
        "overlap", "jitter_seconds",
    },
    "cron_list": {"after"},
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


def test_no_parameter_hides_what_a_tool_does():
    """A field has the name of its parameter, and would stand where a method of that name is called."""
    own = {name for name in dir(Tool) if not name.startswith("_")}

    assert {name: own & set(tool.__struct_fields__) for name, tool in TOOLS.items()} == {name: set() for name in TOOLS}


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
        ("event_history", {"limit": "101"}, "`limit`"),
        ("event_history", {"limit": "five"}, "`limit`"),
        ("event_history", {"limit": "5.5"}, "`limit`"),
        ("event_history", {"limit": "true"}, "`limit`"),
        ("event_history", {"states": '"dead"'}, "`states`"),
        ("source_create", {"slug": "x", "routes": "/review"}, "`routes`"),
        ("source_create", {"slug": "x", "routes": '{"a": 1}'}, "`routes"),
        ("source_create", {"slug": "x", "routes": '{"a": "/x"'}, "`routes`"),
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


@pytest.mark.parametrize(
    ("name", "arguments", "read"),
    [
        ("event_history", {"limit": "5"}, {"limit": 5}),
        ("event_history", {"limit": " 5.0 "}, {"limit": 5}),
        (
            "event_history",
            {"limit": "null", "states": '["dead", "acked"]'},
            {"limit": None, "states": ("dead", "acked")},
        ),
        ("event_extend", {"seconds": "60"}, {"seconds": 60}),
        ("event_ack", {"summary": "5"}, {"summary": "5"}),
        ("event_ack", {"summary": '{"done": true}'}, {"summary": '{"done": true}'}),
        ("event_ack", {"summary": "null", "event_id": None}, {"summary": "null", "event_id": None}),
        ("source_create", {"slug": "x", "routes": '{"*": "/look"}'}, {"routes": {"*": "/look"}}),
        (
            "source_create",
            {"slug": "x", "routes": "{}", "generate_secret": "true"},
            {"routes": {}, "generate_secret": True},
        ),
        ("source_create", {"slug": "x", "generate_secret": "False"}, {"generate_secret": False}),
        ("source_create", {"slug": "true", "skill": "[1]"}, {"slug": "true", "skill": "[1]"}),
        ("source_create", {"slug": "x", "payload": '["a.b"]'}, {"payload": ("a.b",)}),
        ("source_create", {"slug": "x", "payload": "compact"}, {"payload": "compact"}),
        ("source_create", {"slug": "x", "priority": "interrupt"}, {"priority": "interrupt"}),
        ("cron_update", {"id": "c", "paused": "true", "jitter_seconds": "0"}, {"paused": True, "jitter_seconds": 0}),
    ],
)
def test_json_in_a_string_is_read_where_no_text_is_accepted(name, arguments, read):
    """Claude Code sends objects, arrays, numbers and booleans so; what may be text stays text."""
    call = read_arguments(TOOLS[name], arguments)

    assert {field: getattr(call, field) for field in read} == read


def test_an_object_in_a_string_is_read_whole():
    """With its own fields, which are checked as ever."""
    rule = read_arguments(TOOLS["source_create"], {"slug": "x", "eventType": '{"header": "X-Kind", "action": null}'})

    assert (rule.eventType.header, rule.eventType.action) == ("X-Kind", None)


@pytest.mark.parametrize("name", TOOLS)
def test_no_schema_speaks_of_null(name):
    """A parameter that is not wanted is left out; said for each, that was a fifth of all."""
    assert "null" not in json.dumps(build_tool(name, TOOLS[name]).inputSchema)


CHARACTERS_PER_TOKEN = 3.5
"""Of English and JSON together; Claude's own count is not public."""

PREFIX = "mcp__plugin_clawback_clawback__"
"""How Claude Code names the tools of the plugin's server."""


def count_tokens(*names):
    """Count what a model reads of these tools."""
    tools = [build_tool(name, TOOLS[name]) for name in names]
    read = [{"name": PREFIX + t.name, "description": t.description, "input_schema": t.inputSchema} for t in tools]
    return sum(len(json.dumps(each, ensure_ascii=False, separators=(",", ":"))) for each in read) / CHARACTERS_PER_TOKEN


def test_all_tools_take_4500_tokens_at_most():
    """Where Claude Code's tool search is off, each session reads them all. More tools are to come, so not that many."""
    assert count_tokens(*TOOLS) < 4_500
    assert count_tokens(*TOOLS) < 4_250, "less is better: raise this only for a tool that is worth it"


def test_900_tokens_at_most_are_read_by_default():
    """With tool search: our instructions, the tools that are always loaded, and the names of the others."""
    loaded = [name for name, tool in TOOLS.items() if tool.always_load]
    names = "\n".join(PREFIX + name for name in TOOLS if name not in loaded)
    by_default = count_tokens(*loaded) + (len(INSTRUCTIONS) + len(names)) / CHARACTERS_PER_TOKEN

    assert by_default < 900
    assert by_default < 800, "less is better: raise this only for a tool that is worth it"


def test_a_cron_is_paused_resumed_and_run_by_its_update():
    """A change comes first, so that a refused one pauses and runs nothing; the former tools ask the same."""
    update, pause, resume, run = (wire.CronUpdate, wire.CronPause, wire.CronResume, wire.CronRunNow)

    def asked(**arguments):
        return [
            type(request) for request in read_arguments(TOOLS["cron_update"], {"id": "c"} | arguments).requests("t")
        ]

    assert asked(paused=True) == [pause]
    assert asked(paused=False, run_now=True) == [resume, run]
    assert asked(run_now=False) == [update]
    assert asked(label="x", paused=True, run_now=True) == [update, pause, run]
    assert asked(session="other") == [update]
    assert asked() == [update]
    assert {name: tool.asks for name, tool in FORMER.items()} == {
        "cron_pause": pause,
        "cron_resume": resume,
        "cron_run_now": run,
    }
