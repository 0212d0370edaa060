"""`clawback doctor` as a person runs it: against a server that is well, ill, or not there."""

import json
import stat

import pytest

import senders
from channel.claude import Claude
from github import post
from legacy import LegacyClient
from processes import CLAWBACK, environment
from waiting import eventually

STAGES = ["connected", "source", "webhook", "delivered", "acked", "history", "cleaned up"]


@pytest.fixture
def home(tmp_path):
    """A home with a Claude Code that has the plugin: only its version is ever asked."""
    (tmp_path / "bin").mkdir()
    claude = tmp_path / "bin/claude"
    claude.write_text('#!/bin/sh\n[ "$*" = --version ] && echo "2.1.330 (Claude Code)" || touch "$HOME/was-started"\n')
    claude.chmod(0o755)
    state = tmp_path / "claude/.claude.json"
    state.parent.mkdir()
    state.write_text(
        json.dumps({"mcpServers": {"clawback": {"command": str(claude), "args": ["clawback", "channel"]}}})
    )
    return tmp_path


def doctor(server, home, *arguments, **extra):
    """Run it, as somebody whose home this is; returns its exit code, its findings by check, and all it printed."""
    settings = environment(home) | {"PATH": f"{home}/bin:{environment(home)['PATH']}"} | extra
    ran = server.run("doctor", "--json", *arguments, **settings)
    findings = {}
    for each in json.loads(ran.stdout):
        findings.setdefault(each["check"], []).append(each)
    return ran.returncode, findings, ran.stdout + ran.stderr


def levels(findings):
    """List the checks that did not go well."""
    return {check: each["level"] for check, several in findings.items() for each in several if each["level"] != "ok"}


async def test_all_is_well(server, token, home):
    """A server that runs, a token that it takes, a Claude Code that has the plugin; and who is connected."""
    server.log_in(token, home)
    async with LegacyClient(server.socket_url, token.value, "reviewer"):
        code, findings, printed = doctor(server, home, CLAWBACK_SESSION="ci")

    assert code == 0
    assert levels(findings) == {}
    assert "the tag ci" in findings["tag"][0]["found"]
    assert token.profile_id in findings["token"][0]["found"]
    assert findings["sessions"][0]["found"] == "connected now: reviewer (active)"
    assert findings["sources"][0]["found"] == "this profile has no source yet"
    assert "2.1.330" in findings["claude"][0]["found"]
    assert findings["registered"][0]["todo"].endswith("--dangerously-load-development-channels server:clawback")
    assert token.value not in printed
    assert not (home / "was-started").exists()


async def test_the_way_of_a_session_is_shown(server, token, http, home):
    """As its own channel says: what will be tried is told apart from what was seen, and to look changes neither."""
    config = server.log_in(token, home)

    def look():
        _, findings, _ = doctor(server, home)
        return [(each["level"], each["found"].rpartition("; ")[2].rpartition(": ")[2]) for each in findings["way"]]

    async with Claude(config, command=[str(CLAWBACK), "channel"], **environment(home), DO_NOT_TRACK="1") as claude:
        fields = {"type": "github", "secret": senders.SECRET.decode(), "skill": "/review"}
        source = json.loads((await claude.call("source_create", slug="github", **fields))[0])
        await post(http, source["url"])
        await claude.event(1)
        unseen = [look(), look()]
        await claude.call("event_next")
        seen = look()
    gone = look()

    gate = "(DO_NOT_TRACK switches channels off)"
    assert unseen == [[("fail", "none was seen to arrive yet.")]] * 2
    assert seen == [("ok", f"Events reach Claude by the tool, as was seen {gate}.")]
    assert gone == [("ok", "no Claude Code with `clawback channel` runs here now")]


def test_a_person_reads_lines(server, token, home):
    """One for each check, what to do below it, and a sum; no token."""
    server.log_in(token, home)
    ran = server.run("doctor", **environment(home))
    lines = ran.stdout.splitlines()

    assert lines[0].startswith("ok    config")
    assert lines[-1].endswith("checked: 0 failed, 1 to look at.")
    assert any(line.strip().startswith("do: ") for line in lines)
    assert token.value not in ran.stdout + ran.stderr


async def test_the_probe_goes_the_whole_way_and_disturbs_nobody(server, token, home):
    """Every stage is timed; a session that is connected meanwhile sees nothing, and no source is left."""
    server.log_in(token, home)
    async with LegacyClient(server.socket_url, token.value) as bystander:
        code, findings, printed = doctor(server, home, "--probe")
        sources = await bystander.request("source_list")
        waiting = await bystander.request("event_list")
        (ended,) = await bystander.request("event_history")

        assert not bystander._events
    assert code == 0, printed
    assert [check for check in findings if check.startswith("probe")] == [f"probe: {stage}" for stage in STAGES]
    assert all(findings[f"probe: {stage}"][0]["tookMs"] > 0 for stage in STAGES)
    assert (sources, waiting) == ([], [])
    assert (ended["state"], ended["summary"]) == ("acked", "a probe by clawback doctor")
    assert token.value not in printed


def test_a_public_url_that_leads_nowhere_is_found_by_the_probe(own_server, home):
    """The stage that fails is the last one; what was made for it is removed all the same."""
    own_server.start("--public-url", "http://127.0.0.1:1")
    own_server.log_in(own_server.token(), home)
    code, findings, _ = doctor(own_server, home, "--probe")
    _, again, _ = doctor(own_server, home)

    assert code == 1
    assert levels(findings) == {"probe: webhook": "fail"}
    assert "--public-url" in findings["probe: webhook"][0]["todo"]
    assert [check for check in findings if check.startswith("probe")] == [
        f"probe: {stage}" for stage in ("connected", "source", "webhook", "cleaned up")
    ]
    assert again["sessions"][0]["found"] == "no session of this profile is connected now"


async def test_a_revoked_token_is_told_from_a_dead_server(server, token, home):
    """Each has its own line to do."""
    server.log_in(token, home)
    assert server.run("token", "revoke", token.id, "--data-dir", str(server.data_dir)).returncode == 0

    async def refused():
        code, findings, printed = doctor(server, home)
        return (code, findings, printed) if levels(findings) else None

    code, findings, printed = await eventually(refused)

    assert code == 1
    assert levels(findings) == {"token": "fail"}
    assert "clawback login" in findings["token"][0]["todo"]
    assert token.value not in printed


def test_what_is_wrong_on_this_machine_is_found_without_a_server(server, token, home):
    """An open mode, a server that is not there, a tag that is none, a gate, and no registration."""
    config = server.log_in(token, home, server="http://127.0.0.1:1")
    config.chmod(0o644)
    (home / "claude/.claude.json").write_text("{}")
    code, findings, printed = doctor(server, home, CLAWBACK_SESSION="a b", DISABLE_TELEMETRY="1")

    assert code == 1
    assert levels(findings) == {
        "config": "warn",
        "tag": "fail",
        "server": "fail",
        "channels": "warn",
        "registered": "fail",
    }
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert token.value not in printed


def test_a_machine_that_is_not_set_up_is_told_how(server, home):
    """No config: nothing else can be asked of a server, and the probe is not tried."""
    code, findings, _ = doctor(server, home, "--probe")

    assert code == 1
    assert levels(findings) == {"config": "fail"}
    assert "clawback login --token-stdin" in findings["config"][0]["todo"]
    assert not any(check.startswith("probe") for check in findings)
