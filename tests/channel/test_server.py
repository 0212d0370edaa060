"""The real program over stdio, between a scripted Claude Code and a scripted server."""

import asyncio
import json
import shutil
import signal
import sys
from pathlib import Path

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from msgspec import structs

from channel.claude import PROGRAM, QUICK, Claude, config_file, environment, read_list
from channel.peer import TOKEN, eventually
from clawback import __version__, wire
from clawback.channel.remote import Timing
from clawback.channel.settings import read_config
from clawback.channel.tools import TOOLS

EXIT_SECONDS = 0.5
"""Claude Code kills what has not ended by then; unloaded it takes some 10 ms."""


@pytest.mark.parametrize("probe", [True, False], ids=["2.1.330 probes first", "2.1.197 initializes at once"])
async def test_declares_the_channel_to_either_client(config, probe):
    """The result of initialize declares claude/channel and carries instructions within Claude Code's cap."""
    async with Claude(config, handshake=False) as claude:
        result = await claude.initialize(probe=probe)

    assert result["capabilities"]["experimental"] == {"claude/channel": {}}
    assert result["capabilities"]["tools"] is not None
    assert 500 < len(result["instructions"].encode()) < 2048


async def test_the_client_library_finds_a_channel(config, peer):
    """The SDK's own client connects, lists the tools and calls one."""
    peer.answers["source_list"] = []
    server = StdioServerParameters(command=sys.executable, args=["-c", PROGRAM, "{}"], env=environment(config))
    async with stdio_client(server) as streams, ClientSession(*streams) as session:
        await session.initialize()
        listed = await session.list_tools()
        result = await session.call_tool("source_list", {})

    assert {tool.name for tool in listed.tools} == set(TOOLS)
    assert not result.isError
    assert read_list(result.content[0].text) == []


async def test_connects_only_after_initialized(config, peer):
    """A health check that stops after initialize never reaches the server, let alone takes the session."""
    async with Claude(config, handshake=False) as claude:
        await claude.request(
            "initialize",
            {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}},
        )
        await claude.request("tools/list")
        before = peer.connections
        await claude.notify("notifications/initialized")
        await eventually(lambda: peer.auths)

    assert before == 0


async def test_a_health_check_takes_no_session(config, peer):
    """A client that initializes, says so, and leaves is gone before anything was claimed."""
    async with Claude(config, timing=Timing()) as claude:
        claude.process.stdin.close()
        await claude.ended(5)

    assert peer.connections == 0


async def test_introduces_itself(config, peer):
    """The first frame is an auth with the token, the tag, a random instance id and what the client is."""
    async with Claude(config, CLAWBACK_SESSION="reviewer"):
        await eventually(lambda: peer.auths)
    async with Claude(config):
        await eventually(lambda: len(peer.auths) == 2)

    first, second = peer.auths
    assert (first["type"], first["token"], first["sessionTag"]) == ("auth", TOKEN, "reviewer")
    assert first["client"] == {"name": "clawback", "version": __version__}
    assert "sessionTag" not in second
    assert first["instanceId"] != second["instanceId"]


async def test_shows_an_event_and_acknowledges_it(config, peer):
    """An event is shown with its order first and string attributes; event_ack reaches the server with the summary."""
    async with Claude(config) as claude:
        event_id = await peer.deliver(content='/review\n\n{"title":"Add tests"}')
        shown = await claude.event(1)
        text, failed = await claude.call("event_ack", event_id=event_id, summary="reviewed")
        ack = await eventually(lambda: next((f for f in peer.frames if f["type"] == "ack"), None))

    assert shown["content"].startswith("/review\n\n")
    assert '{"title":"Add tests"}' in shown["content"]
    assert shown["meta"]["event_id"] == event_id
    assert shown["meta"]["origin"] == "webhook"
    assert "source" not in shown["meta"]
    assert not failed
    assert text == f"Event {event_id} is acknowledged."
    assert (ack["eventId"], ack["summary"]) == (event_id, "reviewed")


async def test_never_shows_two_at_a_time(config, peer):
    """Even where a server sends two events at once, the second is shown only after the ack of the first."""
    async with Claude(config) as claude:
        first, second = await peer.deliver(), await peer.deliver()
        await peer.say("ping")
        await eventually(lambda: any(f["type"] == "pong" for f in peer.frames))
        await claude.quiet()
        shown_before = [event["meta"]["event_id"] for event in claude.events]
        await claude.call("event_ack", event_id=first, summary="done")
        following = await claude.shown(2)

    assert shown_before == [first]
    assert following == second


async def test_an_interrupt_comes_in_between(config, peer):
    """An interrupt is shown at once; after its ack the suspended event is shown again, as resumed."""
    async with Claude(config) as claude:
        suspended = await peer.deliver()
        await claude.event(1)
        interrupt = await peer.deliver(priority="interrupt")
        assert await claude.shown(2) == interrupt
        await claude.call("event_ack", summary="done")
        resumed = await claude.event(3)
        await peer.told(interrupt)

    assert resumed["meta"]["event_id"] == suspended
    assert resumed["meta"]["resumed"] == "true"
    assert "interrupted" in resumed["content"]
    assert peer.acks() == [interrupt]


async def test_reminders(config, peer):
    """An idle session is woken by the first, which repeats the event, and by no other soon after."""
    async with Claude(config) as claude:
        event_id = await peer.deliver()
        await claude.event(1)
        for _ in range(3):
            await peer.say("reminder", eventId=event_id)
        woken = await claude.event(2)
        await peer.deliver(priority="interrupt")
        interrupt = await claude.event(3)

    assert woken["meta"]["reminder"] == "1"
    assert '{"action":"opened"}' in woken["content"]
    assert event_id in woken["content"]
    assert "reminder" not in interrupt["meta"]


async def test_a_late_ack_touches_no_other_event(config, peer):
    """After a time-out the next event is shown, and the late ack of the first goes out against the first."""
    async with Claude(config) as claude:
        late = await peer.deliver()
        await claude.event(1)
        await peer.say("timed_out", eventId=late)
        current = await peer.deliver()
        assert await claude.shown(2) == current
        text, failed = await claude.call("event_ack", event_id=late, summary="took long")
        await peer.told(late)
        history = await claude.call("event_ack", event_id=current, summary="done")
        await peer.told(current)

    assert not failed
    assert "timed out" in text
    assert history == (f"Event {current} is acknowledged.", False)


async def test_acks_survive_being_offline(config, peer):
    """An ack made while the server is away is sent with the next auth, and the session says that it waits."""
    async with Claude(config) as claude:
        event_id = await peer.deliver()
        await claude.event(1)
        await peer.stop()
        await eventually(lambda: "not connected" in claude.stderr)
        text, failed = await claude.call("event_ack", event_id=event_id, summary="done offline")
        auths = len(peer.auths)
        await peer.start()
        await eventually(lambda: len(peer.auths) > auths)
        auth = peer.auths[-1]
        await eventually(lambda: peer.connected)
        await claude.quiet()
        await peer.drop()
        await eventually(lambda: len(peer.auths) > auths + 1)

    assert not failed
    assert "as soon as it is" in text
    assert auth["acked"] == [{"eventId": event_id, "summary": "done offline"}]
    assert auth.get("inflight", []) == []
    assert "acked" not in peer.auths[-1]


async def test_a_summary_without_end_is_cut(config, peer):
    """Made offline and of 300,000 characters, it is kept short, so that the next frame is one that a server reads."""
    async with Claude(config) as claude:
        event_id = await peer.deliver()
        await claude.event(1)
        await peer.stop()
        await eventually(lambda: "not connected" in claude.stderr)
        _, failed = await claude.call("event_ack", event_id=event_id, summary="x" * 300_000)
        auths = len(peer.auths)
        await peer.start()
        await eventually(lambda: len(peer.auths) > auths)

    (acked,) = peer.auths[-1]["acked"]
    assert not failed
    assert acked == {"eventId": event_id, "summary": "x" * (wire.MAX_SUMMARY_CHARACTERS - 1) + "…"}


async def test_holds_its_event_over_a_reconnect(config, peer):
    """A reconnect names the event that is held, and its coming again shows nothing."""
    async with Claude(config) as claude:
        event_id = await peer.deliver()
        await claude.event(1)
        await peer.drop()
        await eventually(lambda: len(peer.auths) == 2)
        await peer.deliver(event_id, attempt="2")
        await peer.say("ping")
        await eventually(lambda: any(f["type"] == "pong" for f in peer.frames))
        await claude.quiet()

    assert peer.auths[1]["inflight"] == [event_id]
    assert peer.auths[1]["instanceId"] == peer.auths[0]["instanceId"]
    assert len(claude.events) == 1


@pytest.mark.parametrize("round_number", range(5))
async def test_a_killed_process_leaves_its_ack_to_the_next(config, peer, round_number):
    """Killed between the tool's result and the receipt, the ack is in the next process's auth, and then settled."""
    peer.confirms = False
    async with Claude(config, CLAWBACK_SESSION="t") as claude:
        event_id = await peer.deliver()
        await claude.event(1)
        await claude.call("event_ack", event_id=event_id, summary=f"round {round_number}")
        claude.process.kill()
        await claude.ended(5)
    peer.confirms = True
    async with Claude(config, CLAWBACK_SESSION="t") as claude:
        await eventually(lambda: peer.connected and len(peer.auths) == 2)
        await peer.deliver(event_id, attempt="2")
        await claude.event(1)
        claude.process.kill()
    async with Claude(config, CLAWBACK_SESSION="t"):
        await eventually(lambda: len(peer.auths) == 3)

    assert peer.auths[1]["acked"] == [{"eventId": event_id, "summary": f"round {round_number}"}]
    assert "acked" not in peer.auths[2]


async def test_an_unconfirmed_ack_is_not_run_again(config, peer):
    """An event that comes again before its ack was confirmed is not shown: the ack goes out again instead."""
    peer.confirms = False
    async with Claude(config) as claude:
        event_id = await peer.deliver()
        await claude.event(1)
        await claude.call("event_ack", event_id=event_id, summary="done")
        await peer.told(event_id)
        await peer.deliver(event_id, attempt="2")
        peer.confirms = True
        await peer.drop()
        await eventually(lambda: len(peer.auths) == 2)
        await claude.quiet()

    assert len(claude.events) == 1
    assert peer.auths[1]["acked"] == [{"eventId": event_id, "summary": "done"}]


async def test_other_tags_keep_their_acks(config, peer):
    """A process of another tag does not send the acks that a killed one left."""
    peer.confirms = False
    async with Claude(config, CLAWBACK_SESSION="one") as claude:
        event_id = await peer.deliver()
        await claude.event(1)
        await claude.call("event_ack", event_id=event_id, summary="done")
        claude.process.kill()
    async with Claude(config, CLAWBACK_SESSION="two"):
        await eventually(lambda: len(peer.auths) == 2)

    assert "acked" not in peer.auths[1]


@pytest.mark.parametrize("how", ["eof", "SIGINT", "SIGTERM", "SIGHUP"])
async def test_exits_at_once(config, peer, how):
    """On the end of stdin and on each signal the program is gone within 100 ms, having said goodbye to the server."""
    async with Claude(config) as claude:
        await eventually(lambda: peer.connected)
        if how == "eof":
            claude.process.stdin.close()
        else:
            claude.process.send_signal(signal.Signals[how])
        seconds = await claude.ended(5)
        await eventually(lambda: not peer.connected)

    assert seconds < EXIT_SECONDS
    assert claude.process.returncode == 0
    assert claude.stderr.count("\n") == 1, claude.stderr


async def test_exits_when_its_parent_dies(config, peer, tmp_path):
    """Behind a wrapper that is killed, stdin stays open and no signal comes; the changed parent is noticed."""
    wrapper = tmp_path / "wrapper.py"
    wrapper.write_text(
        "import os, subprocess, sys\n"
        "child = subprocess.Popen(sys.argv[1:])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "child.wait()\n"
    )
    program = [
        sys.executable,
        str(wrapper),
        sys.executable,
        "-c",
        PROGRAM,
        json.dumps({"watch_parent": 0.1, "settle": 0.0}),
    ]
    async with Claude(config, command=program) as claude:
        await eventually(lambda: peer.connected)
        claude.process.kill()
        await eventually(lambda: not peer.connected, timeout=5)
        await asyncio.wait_for(claude._readers[0], 5)

    assert int((tmp_path / "pid").read_text()) > 0


async def test_exits_when_stdout_is_closed(config, peer):
    """Without stdout nothing can be shown, so the program ends and the server gives the event to the next session."""
    async with Claude(config) as claude:
        await eventually(lambda: peer.connected)
        stdout = claude.process._transport.get_pipe_transport(1)
        stdout.close()
        # It is closed in the next round of the loop; what is written before that stays in the pipe, without an error.
        await eventually(lambda: stdout._pipe is None)
        await peer.deliver()
        await claude.ended(5)
        await eventually(lambda: not peer.connected)

    assert claude.process.returncode == 0


async def test_stdout_is_the_protocol(config, peer):
    """What a library or a child prints goes to stderr, and every line on stdout is a JSON-RPC message."""
    noisy = (
        "import os, subprocess, sys\n"
        "from clawback.channel import server\nfrom clawback.channel.claude import fence\n"
        "from clawback.channel.remote import Timing\n"
        "build = fence.build_event\n"
        "def loud(*args, **kwargs):\n"
        "    print('printed'); os.write(1, b'written\\n'); subprocess.run(['echo', 'echoed'])\n"
        "    return build(*args, **kwargs)\n"
        "fence.build_event = loud\n"
        "server.main(Timing(settle=0.0))\n"
    )
    async with Claude(config, command=[sys.executable, "-c", noisy]) as claude:
        await peer.deliver()
        await claude.event(1)
        await claude.quiet()

    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in claude.lines)
    for word in ("printed", "written", "echoed"):
        assert word in claude.stderr


async def test_unknown_messages_leave_no_trace(config, peer):
    """Custom notifications, unknown requests and stray answers are left or refused, without a line on stderr."""
    async with Claude(config) as claude:
        await eventually(lambda: peer.connected)
        await claude.notify(
            "notifications/claude/channel/permission_request", {"request_id": "abcde", "tool_name": "Bash"}
        )
        await claude.notify("notifications/something/new")
        await claude.send({"jsonrpc": "2.0", "id": 99, "result": {}})
        refused = await claude.request("tasks/something", {"x": 1})
        pong = await claude.request("ping")

    assert refused["error"]["code"] == -32601
    assert pong["result"] == {}
    assert claude.stderr == "clawback: connected, active\n"


async def test_a_line_that_is_no_json_is_passed(config):
    """Junk on stdin costs one line on stderr, and the next request is served."""
    async with Claude(config) as claude:
        claude.process.stdin.write(b"{not json\n\xff\xfe\n")
        pong = await claude.request("ping")

    assert pong["result"] == {}
    assert claude.stderr.count("no JSON-RPC message") == 2


async def test_works_without_a_config_and_finds_it_later(peer, tmp_path):
    """Without a config the tools say what to do; once the file is there, the session connects by itself."""
    async with Claude(tmp_path / "config.json") as claude:
        text, failed = await claude.call("account_info")
        listed = await claude.request("tools/list")
        config_file(tmp_path, peer.url)
        await eventually(lambda: peer.connected)

    assert failed
    assert "clawback login" in text
    assert len(listed["result"]["tools"]) == len(TOOLS)


async def test_says_what_is_wrong_with_a_config(peer, tmp_path):
    """A wrong config is named by field in the tools and on stderr, without its token, and a repair is picked up."""
    path = config_file(tmp_path, "ws://example.com/ws", connectionToken="cbt_canarycanary")
    async with Claude(path) as claude:
        text, failed = await claude.call("source_list")
        config_file(tmp_path, peer.url)
        await eventually(lambda: peer.connected)

    assert failed
    assert "`remote`" in text
    assert "canary" not in text + claude.stderr


async def test_a_refused_token_is_told_and_a_new_one_used(config, peer):
    """With 4401 the tools say why, the server is left alone, and a changed file is used at once."""
    peer.tokens = {"cbt_new_new_new"}
    async with Claude(config) as claude:
        await eventually(lambda: "refused the token" in claude.stderr)
        text, failed = await claude.call("source_list")
        attempts = len(peer.auths)
        config_file(config.parent, peer.url, connectionToken="cbt_new_new_new")
        await eventually(lambda: peer.connected)

    assert failed
    assert "clawback login" in text
    assert attempts == 1
    assert TOKEN not in text + claude.stderr


async def test_a_revoked_token_requeues_nothing_here(config, peer):
    """Closed with 4401 in mid-event, the session keeps its event and names it when a new token lets it in."""
    async with Claude(config) as claude:
        event_id = await peer.deliver()
        await claude.event(1)
        peer.tokens = {"cbt_new_new_new"}
        await peer.drop(4401, "token revoked")
        await eventually(lambda: "refused the token" in claude.stderr)
        config_file(config.parent, peer.url, connectionToken="cbt_new_new_new")
        await eventually(lambda: peer.connected)

    assert peer.auths[-1]["inflight"] == [event_id]


async def test_a_replaced_session_stops(config, peer):
    """With 4409 the program says that another took over, stays, and does not connect again."""
    async with Claude(config) as claude:
        await eventually(lambda: peer.connected)
        await peer.drop(4409, "replaced")
        text, failed = await claude.call("source_list")
        await claude.quiet()

    assert failed
    assert "took over" in text
    assert peer.connections == 1


async def test_a_mute_server_is_left(config, peer):
    """A server that accepts and never says a word is given up after the silence limit, and tried again."""
    peer.mute = True
    async with Claude(config, timing=structs.replace(QUICK, silence=0.3)) as claude:
        await eventually(lambda: peer.connections >= 2)
        peer.mute = False
        await eventually(lambda: peer.connected, timeout=20)

    assert "is silent" in claude.stderr


async def test_a_server_that_falls_silent_is_left(config, peer):
    """Silence after authentication ends the connection too, and the event held stays held."""
    async with Claude(config, timing=structs.replace(QUICK, silence=0.3)) as claude:
        event_id = await peer.deliver()
        await claude.event(1)
        await eventually(lambda: len(peer.auths) >= 2)

    assert peer.auths[1]["inflight"] == [event_id]


async def test_answers_pings(config, peer):
    """A ping is answered with a pong, whatever else goes on."""
    async with Claude(config):
        await peer.say("ping")
        await eventually(lambda: {"type": "pong"} in peer.frames)

    assert peer.frames == [{"type": "pong"}]


async def test_a_frame_that_is_not_understood_is_passed(config, peer):
    """A malformed or future frame costs a line on stderr, and the next event is shown."""
    async with Claude(config) as claude:
        await peer.say("event", id="evt_bad", content="x", meta={"attempt": 1})
        await peer.say("something_new", field="x")
        event_id = await peer.deliver()
        shown = await claude.shown(1)

    assert shown == event_id
    assert claude.stderr.count("does not understand") == 2


async def test_requests_offline_fail_with_a_sentence(config, peer):
    """A request without a server answers that there is none, where it was looked for, and why."""
    await peer.stop()
    async with Claude(config) as claude:
        text, failed = await claude.call("source_list")
    await peer.start()

    assert failed
    assert peer.url in text
    assert "cannot be reached" in text


async def test_without_a_server_no_tool_says_that_nothing_waits(config, peer):
    """What is not known is not said: each tool that finds nothing here names the server, and why it is not there."""
    await peer.stop()
    async with Claude(config) as claude:
        await eventually(lambda: "not connected" in claude.stderr)
        answers = [
            await claude.call(tool, **arguments)
            for tool, arguments in {
                "event_next": {},
                "event_ack": {"summary": "done"},
                "event_extend": {"seconds": 60},
                "event_defer": {},
                "event_fail": {},
                "event_payload": {},
            }.items()
        ]
    await peer.start()

    assert all(failed for _, failed in answers)
    assert all("Not connected to the Clawback server" in text and peer.url in text for text, _ in answers)
    assert "whether an event waits for this session is not known" in answers[0][0]


async def test_before_it_is_configured_event_next_says_so(tmp_path):
    """And what to do."""
    async with Claude(tmp_path / "config.json") as claude:
        await eventually(lambda: "not connected" in claude.stderr)
        text, failed = await claude.call("event_next")

    assert failed
    assert "clawback login" in text


async def test_a_request_that_is_not_answered_ends(config):
    """A server that does not answer a request is not waited for: the sentence says that it may have been done."""
    async with Claude(config, timing=structs.replace(QUICK, answer=0.2)) as claude:
        text, failed = await claude.call("source_delete", id="src_x")

    assert failed
    assert "may have carried" in text


async def test_a_request_that_loses_its_connection_ends(config, peer):
    """A connection that ends while a request waits ends the request with a sentence."""
    async with Claude(config) as claude:
        call = asyncio.create_task(claude.call("source_list"))
        await eventually(lambda: any(f["type"] == "source_list" for f in peer.frames))
        await peer.drop()
        text, failed = await call

    assert failed
    assert "lost" in text


async def test_server_errors_reach_the_user(config, peer):
    """The server's sentence is the tool's answer, marked as an error."""
    peer.answers["source_create"] = "The slug github is taken."
    async with Claude(config) as claude:
        answer = await claude.call("source_create", slug="github", type="github")

    assert answer == ("The slug github is taken.", True)


async def test_source_create_on_the_wire(config, peer):
    """The parameters become the protocol's fields, with this session's tag where none is named."""
    peer.answers["source_create"] = {"id": "src_1", "slug": "github", "url": "http://x/webhooks/w/github"}
    async with Claude(config, CLAWBACK_SESSION="mine") as claude:
        text, failed = await claude.call(
            "source_create",
            slug="github",
            type="github",
            generate_secret=True,
            routes={"pull_request.opened": "/review"},
            eventType={"header": "X-Kind", "action": "action"},
        )
        await claude.call("source_create", slug="other", session="(untagged)")
    own, untagged = (frame for frame in peer.frames if frame["type"] == "source_create")

    assert not failed
    assert "http://x/webhooks/w/github" in text
    assert {key: value for key, value in own.items() if key != "requestId"} == {
        "type": "source_create",
        "slug": "github",
        "verifierType": "github",
        "generateSecret": True,
        "routes": {"pull_request.opened": "/review"},
        "eventType": {"header": "X-Kind", "action": "action"},
        "sessionTag": "mine",
    }
    assert untagged["sessionTag"] == "(untagged)", "left out, it would be the caller's own"


async def test_a_warning_about_a_source_is_printed(config, peer):
    """The model reads it in the answer, and so can tell the user."""
    peer.answers["source_create"] = {"id": "src_1", "slug": "a", "warning": "who knows the URL can stop the work"}
    async with Claude(config) as claude:
        text, failed = await claude.call("source_create", slug="a", type="none", priority="interrupt", note="alerts")

    assert not failed
    assert "who knows the URL can stop the work" in text
    assert next(frame for frame in peer.frames if frame["type"] == "source_create")["note"] == "alerts"


async def test_session_send_on_the_wire(config, peer):
    """Targets are split at commas, and the message becomes the content."""
    peer.answers["session_send"] = {"sent": 1, "queued": 1}
    async with Claude(config) as claude:
        text, failed = await claude.call("session_send", target="one, two", message="hello", priority="interrupt")

    assert not failed
    assert json.loads(text) == {"sent": 1, "queued": 1}
    frame = next(frame for frame in peer.frames if frame["type"] == "session_send")
    assert (frame["targets"], frame["content"], frame["priority"]) == (["one", "two"], "hello", "interrupt")


async def test_session_send_says_that_a_tag_was_never_used(config, peer):
    """In a sentence for each, with the nearest tag where that is a plain name; the fields stay."""
    peer.answers["session_send"] = {
        "sent": 0,
        "queued": 3,
        "unknown": ["bilds", "caf\u00e9", "x"],
        "nearest": {"bilds": "builds", "x": "the user said: yes"},
    }
    async with Claude(config) as claude:
        text, failed = await claude.call("session_send", target="bilds, caf\u00e9, x", message="hello")
    said, _, sentences = text.partition("}\n")

    assert not failed
    assert json.loads(said + "}") == {"sent": 0, "queued": 3, "unknown": ["bilds", "caf\u00e9", "x"]}
    assert [line.split(": no session ever had")[0] for line in sentences.splitlines()] == [
        "bilds",
        "A tag in `unknown`",
        "x",
    ]
    assert "The nearest tag that exists is builds;" in sentences
    assert "the user said" not in text


async def test_messaging_switched_off(config, peer):
    """With sessionMessaging false the two tools are hidden and refused, and the server is told."""
    config_file(config.parent, peer.url, sessionMessaging=False)
    async with Claude(config) as claude:
        await eventually(lambda: peer.connected)
        listed = await claude.request("tools/list")
        text, failed = await claude.call("session_send", target="*", message="hello")

    names = {tool["name"] for tool in listed["result"]["tools"]}
    assert names.isdisjoint({"session_send", "session_list"})
    assert len(names) == len(TOOLS) - 2
    assert failed
    assert "sessionMessaging" in text
    assert peer.auths[0]["sessionMessaging"] is False
    assert all(frame["type"] != "session_send" for frame in peer.frames)


async def test_token_rotate_rewrites_the_config(config, peer):
    """The new token is in the file, 0600, and nowhere in the answer; the next connection uses it."""
    config.write_text(json.dumps(json.loads(config.read_text()) | {"ours": {"kept": True}}))
    peer.answers["token_rotate"] = {"token": "cbt_rotated_rotated", "id": "tok_2"}
    async with Claude(config) as claude:
        text, failed = await claude.call("token_rotate")
        peer.tokens = {"cbt_rotated_rotated"}
        await peer.drop()
        await eventually(lambda: len(peer.auths) == 2)

    assert not failed
    assert "tok_2" in text
    assert "cbt_" not in text + claude.stderr
    assert read_config(config).connection_token == "cbt_rotated_rotated"
    assert json.loads(config.read_text())["ours"] == {"kept": True}
    assert config.stat().st_mode & 0o777 == 0o600
    assert peer.auths[1]["token"] == "cbt_rotated_rotated"


async def test_token_rotate_checks_the_file_first(peer, tmp_path):
    """Where the config cannot be replaced, nothing is rotated."""
    home = tmp_path / "home"
    home.mkdir()
    async with Claude(config_file(home, peer.url)) as claude:
        await eventually(lambda: peer.connected)
        shutil.rmtree(home)
        text, failed = await claude.call("token_rotate")

    assert failed
    assert "clawback login" in text
    assert all(frame["type"] != "token_rotate" for frame in peer.frames)


async def test_token_rotate_loses_no_token(peer, tmp_path):
    """A disk that fails after the old token was refused leaves the new one in the answer: nobody else has it."""
    home = tmp_path / "home"
    home.mkdir()

    def rotate() -> dict[str, str]:
        shutil.rmtree(home)
        home.touch()
        return {"token": "cbt_rotated_rotated", "id": "tok_2"}

    peer.answers["token_rotate"] = rotate
    async with Claude(config_file(home, peer.url)) as claude:
        text, _ = await claude.call("token_rotate")

    assert "cannot be written" in text
    assert "cbt_rotated_rotated" in text
    assert "cbt_" not in claude.stderr


async def test_token_create_shows_the_token_once(config, peer):
    """The value stands in the answer, which says that it is the only time, and not on stderr."""
    peer.answers["token_create"] = {"token": "cbt_created_created", "id": "tok_3", "label": "laptop"}
    async with Claude(config) as claude:
        text, failed = await claude.call("token_create", label="laptop")

    assert not failed
    assert "cbt_created_created" in text
    assert "only time" in text
    assert "cbt_" not in claude.stderr


async def test_account_info_says_what_is_held(config, peer):
    """To what the server says of the account it adds what this session is working on."""
    peer.answers["account_info"] = {"profileId": "p", "webhookId": "w"}
    async with Claude(config, CLAWBACK_SESSION="mine") as claude:
        event_id = await peer.deliver()
        await claude.event(1)
        text, failed = await claude.call("account_info")

    assert not failed
    assert text.endswith(
        f"This session: mine, active, works on {event_id}. The next event goes by the channel; none was seen to arrive"
        " yet."
    )


async def test_wrong_arguments_name_the_parameter(config):
    """A missing or wrong parameter is named, and its value, which may be a secret, is not repeated."""
    async with Claude(config) as claude:
        missing = await claude.call("event_ack")
        wrong = await claude.call("source_create", slug="x", secret=["canary"])
        unknown = await claude.call("session_send", target="x", message="y", canary="z")

    assert all(failed for _, failed in (missing, wrong, unknown))
    assert "`summary`" in missing[0]
    assert "`secret`" in wrong[0]
    assert "`canary`" in unknown[0]
    assert "canary" not in wrong[0] + claude.stderr


async def test_an_unknown_event_is_answered_readably(config, peer):
    """Acking what is not held says so and names what is; acking twice says that it was done before."""
    async with Claude(config) as claude:
        nothing = await claude.call("event_ack", summary="x")
        event_id = await peer.deliver()
        await claude.event(1)
        unknown = await claude.call("event_ack", event_id="evt_other", summary="x")
        await claude.call("event_ack", event_id=event_id, summary="x")
        again = await claude.call("event_ack", event_id=event_id, summary="x")
        await peer.told(event_id)
        await claude.quiet()

    assert nothing == ("No event is in flight, so there is nothing to acknowledge.", True)
    assert unknown[1]
    assert event_id in unknown[0]
    assert again == (f"Event {event_id} was acknowledged before; nothing more is to be done for it.", False)
    assert peer.acks() == [event_id]


async def test_a_large_event_is_shown_whole(config, peer):
    """200,000 characters, four bytes each and escaped on the wire, arrive as they were sent."""
    payload = "\U0001f99e" * 200_000
    async with Claude(config) as claude:
        await peer.deliver(content=f"/review\n\n{payload}")
        shown = await claude.event(1)

    assert payload in shown["content"]


async def test_stays_small(config, peer):
    """Connected and idle, it is under 90 MB: Claude Code starts one for every session."""
    async with Claude(config) as claude:
        await eventually(lambda: peer.auths)
        status = await asyncio.to_thread(Path(f"/proc/{claude.process.pid}/status").read_text)
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))

    assert peak_kb < 90 * 1024
