"""The plugin's hooks and monitor beside the channel, each as a process, as Claude Code runs them."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from channel.claude import QUICK, Claude, environment
from channel.peer import eventually
from clawback.channel.claude.hook import ALLOWED_TOOLS, OWN_TOOLS
from clawback.channel.claude.ways import Standing, Way
from clawback.channel.tools import TOOLS
from clawback.commands.facts import find_channels
from processes import CLAWBACK, command_line

ROOT = Path(__file__).parent.parent.parent
GATED = {"DISABLE_TELEMETRY": "1", "CLAUDE_PLUGIN_ROOT": "/plugin"}
"""Channels are off, and the plugin's hooks are there."""


class Session:
    """What Claude Code tells its hooks, and the transcript that it writes."""

    def __init__(self, config: Path) -> None:
        self.home = config.parent
        self.env = environment(config) | {"CLAUDE_PID": str(os.getpid())}
        self.run_directory = self.home / ".claude/channels/clawback/run"
        self.begin("first")

    def begin(self, session_id: str) -> None:
        """Become another session, with another transcript, as by /clear."""
        self.session_id = session_id
        self.transcript = self.home / f"{session_id}.jsonl"

    async def hook(self, name: str, *, raw: bytes | None = None, **told) -> str:
        """Run a hook as the plugin has it, and return what it says; it never fails."""
        common = {"session_id": self.session_id, "transcript_path": str(self.transcript), "hook_event_name": name}
        output = await self._run("hook", name, stdin=json.dumps(common | told).encode() if raw is None else raw)
        return output.decode()

    async def _run(self, *arguments: str, stdin: bytes) -> bytes:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            CLAWBACK, *arguments, env=self.env, stdin=pipe, stdout=pipe, stderr=pipe
        )
        output, errors = await process.communicate(stdin)
        assert (process.returncode, errors) == (0, b"")
        return output

    def write(self, text: str) -> None:
        """Make a text part of the conversation."""
        with self.transcript.open("a") as file:
            file.write(json.dumps({"type": "user", "message": {"role": "user", "content": text}}) + "\n")

    @asynccontextmanager
    async def monitor(self) -> AsyncIterator[asyncio.StreamReader]:
        """Run the monitor; what it prints."""
        process = await asyncio.create_subprocess_exec(
            CLAWBACK, "monitor", env=self.env, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
        try:
            yield process.stdout
        finally:
            process.kill()
            await process.wait()
            process._transport.close()

    @asynccontextmanager
    async def inbox(self) -> AsyncIterator[asyncio.Queue]:
        """Be the session's inbox, as its environment names it; what comes in."""
        frames: asyncio.Queue = asyncio.Queue()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # Claude Code takes the token in the first line; what has none is let through here too.
            frame = json.loads(await reader.readline())
            if frame["type"] == "auth":
                frame = json.loads(await reader.readline()) | {"token": frame["token"]}
            frames.put_nowait(frame)
            writer.close()

        path = Path("inbox.sock")
        async with await asyncio.start_unix_server(take, path, limit=2**24):
            yield frames


@pytest.fixture
def session(config, monkeypatch):
    """A session whose channel the test starts; relative names are within its home, where sockets' names are short."""
    monkeypatch.chdir(config.parent)
    return Session(config)


def shown(prompt: str) -> str:
    """Find the event that a text is about."""
    return re.search(r'event_ack with event_id="(\w+)"', prompt)[1]


# --- seen ---------------------------------------------------------------------------------------------------------


async def test_a_prompt_proves_that_its_event_arrived(session, config, peer):
    """Claude Code tells the prompt hook what a turn begins with; the server is told once."""
    async with Claude(config) as claude:
        event_id = await peer.deliver()
        content = (await claude.event(1))["content"]
        before = peer.seen()
        prompt = f'<channel source="clawback" event_id="{event_id}">\n{content}\n</channel>'
        said = [await session.hook("UserPromptSubmit", prompt=prompt) for _ in range(2)]
        await eventually(peer.seen)

    assert before == []
    assert said == ["", ""]
    assert peer.seen() == [event_id]


async def test_the_transcript_proves_it_too(session, config, peer):
    """It is read from where the hook at the session's start, which ran before there was a channel, named it."""
    await session.hook("SessionStart", source="startup")
    left = list(session.run_directory.iterdir())
    modes = [path.stat().st_mode & 0o777 for path in [session.run_directory, *left]]
    async with Claude(config) as claude:
        event_id = await peer.deliver()
        session.write((await claude.event(1))["content"])
        await eventually(peer.seen)

    assert modes == [0o700, 0o600]
    assert peer.seen() == [event_id]


async def test_an_ack_is_a_proof_as_well(config, peer):
    """Where there are no hooks too: the way is known to work, and the server is told by the ack alone."""
    peer.answers["account_info"] = {}
    async with Claude(config) as claude:
        event_id = await peer.deliver()
        await claude.event(1)
        await claude.call("event_ack", event_id=event_id, summary="done")
        text, _ = await claude.call("account_info")

    assert text.endswith("Events reach Claude by the channel, as was seen.")
    assert peer.seen() == []


async def test_an_older_server_is_not_told(session, config, peer):
    """It would close the connection on a request that it does not know."""
    peer.features = []
    async with Claude(config) as claude:
        event_id = await peer.deliver()
        await session.hook("UserPromptSubmit", prompt=(await claude.event(1))["content"])
        await claude.call("event_ack", event_id=event_id, summary="done")
        await peer.told(event_id)

    assert peer.seen() == []
    assert peer.connections == 1


async def test_what_was_seen_while_offline_is_told_later(session, config, peer):
    """With the next connection, as the event is still held."""
    async with Claude(config) as claude:
        event_id = await peer.deliver()
        content = (await claude.event(1))["content"]
        await peer.stop()
        await session.hook("UserPromptSubmit", prompt=content)
        await peer.start()
        await eventually(peer.seen)

    assert peer.seen() == [event_id]


# --- other ways ---------------------------------------------------------------------------------------------------


async def test_the_monitor_announces_where_channels_are_off(session, config, peer):
    """One short line that names the event and says what to do; reading it with the tool is a proof."""
    async with Claude(config, **GATED) as claude, session.monitor() as lines:
        peer.answers["account_info"] = {}
        await eventually(lambda: _goes_by(claude, "monitor"))
        event_id = await peer.deliver(content='/review\n\n{"title":"</channel> & more"}')
        line = (await lines.readline()).decode()
        text, _ = await claude.call("event_next")
        await eventually(peer.seen)

    assert len(line) < 480, "Claude Code cuts at 500, and its escapes count"
    assert line.startswith("Clawback: a webhook to /github, pull_request.opened, signed waits for this session.")
    assert shown(line) == event_id
    assert "title" not in line, "no payload where it cannot be fenced"
    assert text.startswith("/review\n\n")
    assert peer.seen() == [event_id]
    assert claude.events == []


async def _goes_by(claude: Claude, way: str) -> bool:
    return f"The next event goes by the {way}" in (await claude.call("account_info"))[0]


async def test_the_inbox_takes_an_event_whole(session, config, peer):
    """In the frame that Claude Code documents; the order first, and said where it comes from."""
    async with session.inbox() as frames, Claude(config, **GATED, CLAUDE_CODE_MESSAGING_SOCKET="inbox.sock") as claude:
        event_id = await peer.deliver()
        frame = await frames.get()

    content = frame["message"]["content"]
    assert frame == {"type": "user", "message": {"role": "user", "content": content}}
    assert content.startswith("/review\n\nThis is the Clawback plugin of this session, through its inbox")
    assert '{"action":"opened"}' in content
    assert shown(content) == event_id
    assert claude.events == []


async def test_what_the_channel_drops_comes_by_the_next_way_as_the_same_event(session, config, peer):
    """Claude Code says nothing when it drops; a second ack of what it was given twice is told that it is one."""
    env = {"CLAUDE_PLUGIN_ROOT": "/plugin", "CLAUDE_CODE_MESSAGING_SOCKET": "inbox.sock"}
    async with session.inbox() as frames, Claude(config, **env) as claude:
        event_id = await peer.deliver()
        dropped = await claude.event(1)
        again = (await frames.get())["message"]["content"]
        await session.hook("UserPromptSubmit", prompt=again)
        first, _ = await claude.call("event_ack", event_id=event_id, summary="done")
        second, refused = await claude.call("event_ack", event_id=event_id, summary="done twice")
        following = await peer.deliver()
        next_frame = (await frames.get())["message"]["content"]

    assert dropped["meta"]["event_id"] == shown(again) == event_id
    assert "If you have this event already, it is the same one by another way: do its work once." in again
    assert "If you have this event already" not in dropped["content"]
    assert first == f"Event {event_id} is acknowledged."
    assert (second, refused) == (f"Event {event_id} was acknowledged before; nothing more is to be done for it.", False)
    assert shown(next_frame) == following, "the way that worked comes first"
    assert len(claude.events) == 1


async def test_the_inbox_is_shown_its_token_first(session, config, peer):
    """Without it Claude Code keeps a message back where it cannot tell who writes, as in a container."""
    inbox = {"CLAUDE_CODE_MESSAGING_SOCKET": "inbox.sock", "CLAUDE_CODE_MESSAGING_TOKEN": "of this session"}
    async with session.inbox() as frames, Claude(config, **GATED, **inbox):
        event_id = await peer.deliver()
        frame = await asyncio.wait_for(frames.get(), 20)

    assert frame["token"] == "of this session"
    assert event_id in frame["message"]["content"]


async def test_an_inbox_that_nobody_reads_is_passed_over(session, config, peer):
    """The event goes by the next way that there is, also if that opens later, and the log says why."""
    async with Claude(config, CLAUDE_CODE_MESSAGING_SOCKET="nowhere.sock", **GATED) as claude:
        event_id = await peer.deliver()
        await eventually(lambda: "the inbox takes no event" in claude.stderr)
        async with session.monitor() as lines:
            line = (await lines.readline()).decode()

    assert shown(line) == event_id
    assert f"event {event_id} was not seen to arrive; it goes by the monitor" in claude.stderr


async def test_without_the_plugins_hooks_an_event_goes_one_way(session, config, peer, monkeypatch):
    """The program alone has no witness, so no proof: what was sent is not sent again. Who only looks is none either."""
    monkeypatch.setenv("HOME", str(session.home))
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    impatient = msgspec.structs.replace(QUICK, unseen=0.0)
    inbox = {"CLAUDE_CODE_MESSAGING_SOCKET": "inbox.sock"}
    async with session.inbox() as frames, Claude(config, timing=impatient, **inbox) as claude:
        await peer.deliver()
        await claude.event(1)
        looked = find_channels()
        await peer.deliver(priority="interrupt")
        await claude.event(2)
        await claude.quiet()
        looked += find_channels()
    found = [(each.claude_pid, msgspec.structs.replace(each.standing, unseen_seconds=0.0)) for each in looked]

    assert found == [(os.getpid(), Standing(Way.CHANNEL, seen=False, unseen="evt_1"))] * 2
    assert frames.empty()


async def test_the_next_prompt_is_told_what_waits(session, config, peer):
    """Where no way brought a proof: once, since what the hook prints becomes part of the prompt. It claims nothing."""
    async with Claude(config, CLAUDE_PLUGIN_ROOT="/plugin") as claude:
        event_id = await peer.deliver()
        await claude.event(1)

        async def told() -> str:
            return await session.hook("UserPromptSubmit", prompt="hello")

        line = await eventually(told)
        again = await told()
        announced = peer.seen()
        held = json.loads(await session.hook("Stop", stop_hook_active=False))["hookSpecificOutput"]["additionalContext"]
        await claude.call("event_next")
        await eventually(peer.seen)

    assert shown(line) == shown(held) == event_id
    assert all("Call the tool event_next, which shows it" in text for text in (line, held))
    assert (again, announced) == ("", [])
    assert peer.seen() == [event_id]


# --- the end of a turn ---------------------------------------------------------------------------------------------


async def test_a_turn_that_forgot_its_event_is_held_once(session, config, peer):
    """The hook names the event; the continued turn may end, and so may the next one."""
    async with Claude(config) as claude:
        event_id = await peer.deliver()
        await session.hook("UserPromptSubmit", prompt=(await claude.event(1))["content"])
        continued = await session.hook("Stop", stop_hook_active=True)
        held = json.loads(await session.hook("Stop", stop_hook_active=False))
        after = [await session.hook("Stop", stop_hook_active=active) for active in (True, False)]

    assert continued == "", "a turn that a hook holds already is not held by ours"
    assert held.keys() == {"hookSpecificOutput"}, "and no error that the user is shown"
    assert held["hookSpecificOutput"]["hookEventName"] == "Stop"
    reason = held["hookSpecificOutput"]["additionalContext"]
    assert reason.startswith(
        "From Clawback, a webhook to /github, pull_request.opened, signed is not acknowledged yet."
    )
    assert shown(reason) == event_id
    assert after == ["", ""]


async def test_a_turn_without_an_open_event_ends(session, config, peer):
    """Nothing held, nothing seen yet, or acknowledged."""
    async with Claude(config) as claude:
        nothing = await session.hook("Stop", stop_hook_active=False)
        event_id = await peer.deliver()
        content = (await claude.event(1))["content"]
        unseen = await session.hook("Stop", stop_hook_active=False)
        await session.hook("UserPromptSubmit", prompt=content)
        await claude.call("event_ack", event_id=event_id, summary="done")
        done = await session.hook("Stop", stop_hook_active=False)

    assert [nothing, unseen, done] == ["", "", ""]


async def test_a_turn_is_held_for_an_event_that_only_the_transcript_proves(session, config, peer):
    """The hook looks there itself, however short ago it was written."""
    async with Claude(config) as claude:
        event_id = await peer.deliver()
        await session.hook("Stop", stop_hook_active=False)
        session.write((await claude.event(1))["content"])
        held = await session.hook("Stop", stop_hook_active=False)

    assert event_id in held


# --- sessions -----------------------------------------------------------------------------------------------------


async def test_after_clear_the_event_is_shown_in_the_new_session(session, config, peer):
    """The channel keeps its process and its event; what the new transcript has is a proof."""
    async with Claude(config) as claude:
        event_id = await peer.deliver()
        await session.hook("UserPromptSubmit", prompt=(await claude.event(1))["content"])
        await eventually(lambda: len(peer.seen()) == 1)
        await session.hook("SessionEnd", reason="clear")
        session.begin("second")
        await session.hook("SessionStart", source="clear")
        again = await claude.event(2)
        session.write(again["content"])
        await eventually(lambda: len(peer.seen()) == 2)

    assert again["meta"]["event_id"] == event_id
    assert peer.seen() == [event_id, event_id]


async def test_hooks_of_another_claude_code_are_not_ours(session, config, peer):
    """Each process has its own socket; without one a hook says nothing."""
    async with Claude(config) as claude:
        event_id = await peer.deliver()
        content = (await claude.event(1))["content"]
        session.env["CLAUDE_PID"] = "1"
        other = await session.hook("UserPromptSubmit", prompt=content)
        session.env.pop("CLAUDE_PID")
        await session.hook("UserPromptSubmit", prompt=content)
        await eventually(peer.seen)

    assert other == ""
    assert peer.seen() == [event_id], "without the variable the parent is Claude Code"


@pytest.mark.parametrize("name", ["SessionEnd", "UserPromptSubmit", "Stop"])
async def test_a_hook_without_a_channel_says_nothing(session, name):
    """And leaves nothing."""
    assert await session.hook(name) == ""
    assert not session.run_directory.exists()


async def test_a_hook_that_is_told_nonsense_fails_no_turn(session, config):
    """Nor the channel."""
    nonsense = [b"", b"no json", b'{\n"prompt": "x"\n}', b'{"prompt": 7, "transcript_path": []}', b"[1]", b"\xff"]
    async with Claude(config) as claude:
        for raw in nonsense:
            said = [await session.hook(name, raw=raw) for name in ("UserPromptSubmit", "Stop", "SessionStart")]
            await claude.quiet()

            assert said == ["", "", ""], raw


async def test_the_socket_goes_with_its_channel(session, config, peer):
    """Only its user can reach it, and what a killed one left is removed by the next."""
    async with Claude(config) as claude:
        await eventually((session.run_directory / f"{os.getpid()}.sock").exists)
        mode = session.run_directory.stat().st_mode & 0o777
        (session.run_directory / "999999999.sock").touch()
        claude.process.terminate()
        await claude.ended(5)
    left = [path.name for path in session.run_directory.iterdir()]
    async with Claude(config):
        await eventually(lambda: peer.connected)
        swept = [path.name for path in session.run_directory.iterdir()]

    assert mode == 0o700
    assert left == ["999999999.sock"]
    assert swept == [f"{os.getpid()}.sock"]


async def test_the_monitor_finds_a_channel_that_is_started_anew(session, config, peer):
    """As /mcp does; the newer one takes the place."""
    peer.answers["account_info"] = {}
    async with session.monitor() as lines:
        for _ in range(2):
            async with Claude(config, **GATED) as claude:
                await eventually(lambda: _goes_by(claude, "monitor"))
                event_id = await peer.deliver()
                assert shown((await lines.readline()).decode()) == event_id


async def test_the_monitor_ends_with_claude_code(session):
    """Killed without a word, Claude Code closes no pipe that the monitor reads."""
    session.run_directory.mkdir(parents=True)
    came = asyncio.Event()

    async def channel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        await reader.read()
        writer.close()

    # Claude Code tells its monitor who it is: it runs it by a shell, which may stay between the two.
    script = (
        "import os, subprocess, sys; input()\n"
        "env = os.environ | {'CLAUDE_PID': str(os.getpid())}\n"
        "print(subprocess.Popen(['sh', '-c', '\"$0\" monitor; true', sys.argv[1]], env=env).pid, flush=True); input()"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, CLAWBACK, env=session.env,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    socket = session.run_directory.relative_to(session.home) / f"{parent.pid}.sock"
    async with await asyncio.start_unix_server(channel, socket):
        parent.stdin.write(b"\n")
        pid = int(await parent.stdout.readline())
        await came.wait()
        (monitor,) = children(pid)
        parent.kill()
        await eventually(lambda: not command_line(pid) and not command_line(monitor))
        await parent.wait()
        parent._transport.close()


def test_the_plugins_hooks_and_monitor_are_these():
    """Each is the program itself, every hook that it has is asked for, and the tools that it allows are matched."""
    hooks = json.loads((ROOT / "plugin/hooks/hooks.json").read_text())["hooks"]
    (monitor,) = json.loads((ROOT / "plugin/monitors/monitors.json").read_text())
    commands = {
        name: [each["command"] for entry in entries for each in entry["hooks"]] for name, entries in hooks.items()
    }
    matched = hooks["PreToolUse"][0]["matcher"]

    assert commands == {
        name: [f'"${{CLAUDE_PLUGIN_ROOT}}/start" hook {name}']
        for name in ("SessionStart", "SessionEnd", "UserPromptSubmit", "PreToolUse", "Stop")
    }
    assert monitor["command"] == '"${CLAUDE_PLUGIN_ROOT}/start" monitor'
    assert {OWN_TOOLS + name for name in TOOLS if re.fullmatch(matched, OWN_TOOLS + name)} == ALLOWED_TOOLS


# --- what needs no question ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(TOOLS))
async def test_only_tools_that_change_nothing_outside_are_allowed(session, name):
    """All others, and those of that name of another server, are left to the user's own rules."""
    said = await session.hook("PreToolUse", tool_name=OWN_TOOLS + name, tool_input={})
    foreign = await session.hook("PreToolUse", tool_name=f"mcp__other__{name}", tool_input={})
    allowed = {"event_ack", "event_next", "event_extend", "event_defer", "event_fail"}
    allowed |= {"event_list", "event_payload", "event_history"}

    assert foreign == ""
    if name in allowed:
        decision = json.loads(said)["hookSpecificOutput"]
        assert (decision["hookEventName"], decision["permissionDecision"]) == ("PreToolUse", "allow")
    else:
        assert said == ""


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"tool_name":7}', b'{"tool_name":["event_ack"]}', b"null"])
async def test_a_question_that_is_not_understood_is_not_answered(session, raw):
    """Claude Code asks the user then."""
    assert await session.hook("PreToolUse", raw=raw) == ""


# --- the launcher --------------------------------------------------------------------------------------------------


@pytest.fixture
def lone_plugin(tmp_path):
    """The plugin's folder where no program is: an empty home, and a PATH with the system's tools alone."""
    folder = tmp_path / "market/plugin"
    shutil.copytree(ROOT / "plugin", folder)
    (tmp_path / "home").mkdir()
    return folder, {"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin", "CLAUDE_PID": str(os.getpid())}


def test_a_missing_program_is_told_once_at_the_start(lone_plugin):
    """The hook at the session's start says what to do; the others run at every prompt, and say nothing."""
    folder, env = lone_plugin
    told = {
        name: subprocess.run([folder / "start", "hook", name], env=env, capture_output=True, text=True, check=True)
        for name in ("SessionStart", "UserPromptSubmit", "PreToolUse", "Stop")
    }
    server = subprocess.run([folder / "start", "channel"], env=env, capture_output=True, text=True, check=False)

    assert "clawback install" in json.loads(told["SessionStart"].stdout)["systemMessage"]
    assert [ran.stdout for name, ran in told.items() if name != "SessionStart"] == ["", "", ""]
    assert server.returncode == 127
    assert "run `clawback install` once" in server.stderr


@pytest.mark.parametrize("program", [None, "exit 127", "#!/nowhere/python3\n"], ids=["none", "fails", "broken"])
async def test_a_monitor_that_cannot_start_does_not_end(lone_plugin, program):
    """An end would have Claude Code begin a turn. It starts as soon as it can, and goes with Claude Code."""
    folder, env = lone_plugin
    target = folder.parent / ".venv/bin/clawback"
    target.parent.mkdir(parents=True)
    if program is not None:
        target.write_text(program if program.startswith("#!") else f"#!/bin/sh\n{program}\n")
        target.chmod(0o755)
    claude = await asyncio.create_subprocess_exec("sleep", "1000")
    pipe = asyncio.subprocess.PIPE
    monitor = await asyncio.create_subprocess_exec(
        folder / "start", "monitor", env=env | {"CLAUDE_PID": str(claude.pid)}, stdout=pipe
    )
    try:
        await eventually(lambda: b"sleep\x005" in b"".join(command_line(pid) for pid in children(monitor.pid)))
        (target.parent / "new").write_text(
            "#!/bin/sh\ncase $2 in --help) exit 0 ;; esac\necho it runs; exec sleep 1000\n"
        )
        (target.parent / "new").chmod(0o755)
        (target.parent / "new").replace(target)
        line = await asyncio.wait_for(monitor.stdout.readline(), 30)
    finally:
        claude.kill()
        monitor.kill()
        await asyncio.gather(claude.wait(), monitor.wait())

    assert line == b"it runs\n"


def children(pid):
    """List the processes that a process started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_a_monitor_without_a_program_goes_with_claude_code(lone_plugin):
    """It was waiting, and leaves nothing behind."""
    folder, env = lone_plugin
    claude = await asyncio.create_subprocess_exec("sleep", "1000")
    monitor = await asyncio.create_subprocess_exec(
        folder / "start", "monitor", env=env | {"CLAUDE_PID": str(claude.pid)}, stdout=asyncio.subprocess.DEVNULL
    )
    claude.kill()
    await claude.wait()

    assert await asyncio.wait_for(monitor.wait(), 30) == 0


def test_windows_has_a_launcher_of_its_own():
    """A name without an ending leads to it there; its line ends are that system's, or labels are not found."""
    script = (ROOT / "plugin/start.cmd").read_bytes()

    assert os.access(ROOT / "plugin/start", os.X_OK)
    assert script.count(b"\n") == script.count(b"\r\n") > 0
    assert b'"%program%" %*\r\n' in script
    assert b":wait\r\n" in script
