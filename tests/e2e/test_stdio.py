"""The installed plugin and a running server, by the MCP client library: what any MCP client has of Clawback."""

import json
import re
from contextlib import asynccontextmanager

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from channel.claude import Claude
from clawback.channel.tools import FORMER, TOOLS
from github import make_source, post
from legacy import LegacyClient
from processes import CLAWBACK, command_line, environment
from waiting import eventually

GONE_SECONDS = 5.0
WRAPPER = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[2:])
with open(sys.argv[1] + ".new", "w") as file:
    file.write(str(child.pid))
os.replace(sys.argv[1] + ".new", sys.argv[1])
child.wait()
"""


@asynccontextmanager
async def client(home, **env):
    """Connect the library's client to the installed plugin."""
    server = StdioServerParameters(command=str(CLAWBACK), args=["channel"], env=environment(home) | env)
    async with stdio_client(server) as streams, ClientSession(*streams) as session:
        await session.initialize()
        yield session


async def call(session, tool, /, **arguments):
    """Call a tool; its text, and whether it is an error."""
    result = await session.call_tool(tool, arguments)
    return result.content[0].text, bool(result.isError)


async def test_every_tool_is_listed_and_works(server, token, http, tmp_path):
    """In one session's life: each tool is called, and does what it says at a real server."""
    server.log_in(token, tmp_path)
    called = {}
    async with client(tmp_path) as session:
        listed = {tool.name: tool for tool in (await session.list_tools()).tools}

        async def use(tool, /, **arguments):
            text, failed = await call(session, tool, **arguments)
            assert not failed, f"{tool}: {text}"
            called[tool] = text
            return text

        async def take(event_id):
            # No notification reaches this client, so it asks.
            await eventually(lambda: _holds(session, event_id), timeout=15)
            return await use("event_next")

        account = json.loads((await use("account_info")).rpartition("}")[0] + "}")
        source = json.loads(
            await use("source_create", slug="github", type="github", generate_secret=True, skill="/review")
        )
        await use("source_update", id=source["id"], skill="/look")
        await use("source_list")
        async with LegacyClient(server.socket_url, token.value, "elsewhere") as other:
            url = await make_source(other, "signed", sessionTag="(untagged)", skill="/review", payload="compact")
        first = await post(http, url)
        assert (await take(first)).startswith("Between the markers"), "another session's order is no order"
        await use("event_payload", event_id=first, path="pull_request.title")
        await use("event_extend", seconds=60)
        await use("event_list", states=["offered", "claimed"])
        await use("event_defer")
        await take(first)
        await use("event_fail", reason="not now")
        await use("session_send", target="(untagged)", message="to myself", priority="priority")
        await eventually(lambda: _holds(session, first), timeout=30)
        await use("event_ack", event_id=first, summary="reviewed")
        await use("event_history")
        await use("session_list")
        await use("session_takeover")
        await use("account_update", timezone="Europe/Berlin")
        cron = json.loads(await use("cron_create", prompt="Tidy up.", schedule="@daily", session="nobody"))
        for tool in ("cron_pause", "cron_resume", "cron_run_now"):
            await use(tool, id=cron["id"])
        await use("cron_update", id=cron["id"], label="tidy", paused="true", run_now="true")
        await use("cron_list")
        await use("cron_delete", id=cron["id"])
        await use("token_create", label="another")
        await use("token_list")
        await use("token_rotate")
        await use("source_delete", id=source["id"])
        text, failed = await call(session, "event_replay", event_id="evt_none")

    assert listed.keys() == TOOLS.keys()
    assert called.keys() | {"event_replay"} == TOOLS.keys() | FORMER.keys()
    assert failed
    assert "there is no dead letter 'evt_none'" in text
    assert source["url"] == f"{account['webhookBaseUrl']}/github"
    assert all(tool.description and tool.inputSchema["type"] == "object" for tool in listed.values())


async def _holds(session, event_id):
    return event_id in (await call(session, "event_next"))[0]


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("source_create", {}, "slug"),
        ("source_create", {"slug": "a b", "type": "none"}, "slug"),
        ("source_create", {"slug": "x", "type": "guthub"}, "guthub"),
        ("event_ack", {"event_id": "evt_none", "summary": "done"}, "This session holds no event evt_none"),
        ("event_extend", {"seconds": 0}, "seconds"),
        ("event_list", {"states": ["lost"]}, "accepted are queued, offered, claimed, timed_out, dead"),
        ("cron_create", {"prompt": "x", "schedule": "61 * * * *"}, "61"),
        ("session_send", {"target": "", "message": "x"}, "target"),
        ("no_such_tool", {}, "There is no tool 'no_such_tool'"),
    ],
)
async def test_an_error_says_what_was_read_and_what_is_accepted(server, shared_token, tmp_path, tool, arguments, said):
    """In one readable sentence or two: no trace, no code, no secret."""
    server.log_in(shared_token, tmp_path)
    async with client(tmp_path) as session:
        text, failed = await call(session, tool, **arguments)

    assert failed
    assert said in text
    assert "Traceback" not in text
    assert shared_token.value not in text
    assert re.fullmatch(r"[^\n]{20,800}", text), text


async def test_a_plugin_whose_parent_is_killed_goes_and_its_event_comes_again(server, token, http, tmp_path):
    """`kill -9` of what started it, with stdin still open: within 5 s the process is gone, and the event is not."""
    config = server.log_in(token, tmp_path)
    async with LegacyClient(server.socket_url, token.value, "elsewhere") as other:
        url = await make_source(other, sessionTag="(untagged)")
    noted = tmp_path / "pid"
    wrapper = tmp_path / "wrapper.py"
    wrapper.write_text(WRAPPER)
    command = [str(CLAWBACK.with_name("python")), str(wrapper), str(noted), str(CLAWBACK), "channel"]
    async with Claude(config, command=command, **environment(tmp_path)) as claude:
        event_id = await post(http, url)
        held = await claude.event(1)
        pid = int(noted.read_text())
        claude.process.kill()
        await eventually(lambda: not command_line(pid), timeout=GONE_SECONDS)
    async with Claude(config, command=[str(CLAWBACK), "channel"], **environment(tmp_path)) as heir:
        again = await heir.event(1)

    assert held["meta"]["event_id"] == again["meta"]["event_id"] == event_id
    assert (held["meta"]["attempt"], again["meta"]["attempt"]) == ("1", "2")
