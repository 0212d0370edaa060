"""Runs at which nobody sits beside sessions of people, and what a session is told at its start."""

import json
import subprocess
import time

import httpx
import pytest

import github
from channel.claude import Claude
from legacy import LegacyClient
from processes import CLAWBACK, environment
from waiting import eventually

CHANNEL = [str(CLAWBACK), "channel"]
ONE_SHOT = {"CLAUDE_CODE_ENTRYPOINT": "sdk-cli"}
PERSON = {"CLAUDE_CODE_ENTRYPOINT": "cli"}


async def is_ready(claude, words):
    """Say whether a session says this of itself."""
    text, _ = await claude.call("account_info")
    return words in text


async def test_beside_one_shot_runs_nothing_is_late_by_more_than_a_second(server, token, tmp_path):
    """They came first and stay; events of two sessions come to those at once, and to nobody else."""
    config = server.log_in(token, tmp_path)
    common = environment(tmp_path)
    async with (
        LegacyClient(server.socket_url, token.value, "onlooker") as owner,
        httpx.AsyncClient() as http,
        Claude(config, command=CHANNEL, **common, **ONE_SHOT) as first,
        Claude(config, command=CHANNEL, **common, **ONE_SHOT) as second,
    ):
        for each in (first, second):
            await eventually(lambda each=each: is_ready(each, "(untagged), observer"), 30)
        urls = {
            tag: await github.make_source(owner, slug=tag or "none", sessionTag=tag or "(untagged)", skill="/review")
            for tag in ("reviewer", None)
        }
        async with (
            Claude(config, command=CHANNEL, **common, **PERSON) as person,
            Claude(config, command=CHANNEL, **common, **PERSON, CLAWBACK_SESSION="reviewer") as reviewer,
        ):
            await eventually(lambda: is_ready(person, "(untagged), active"), 30)
            await eventually(lambda: is_ready(reviewer, "reviewer, active"), 30)
            late = []
            for number in range(1, 6):
                for tag, session in (("reviewer", reviewer), (None, person)):
                    started = time.monotonic()
                    event_id = await github.post(http, urls[tag])
                    assert await session.shown(number) == event_id
                    late.append(time.monotonic() - started)
                    await session.call("event_ack", event_id=event_id, summary="done")
            said, _ = await first.call("event_next")

        assert max(late) < 1.0, late
        assert first.events == second.events == []
        assert "It takes no events: nobody sits at it" in said


async def test_a_one_shot_run_that_is_told_to_takes_events(server, token, tmp_path):
    """By a tag; and whatever tag the settings give it, `clawback work` keeps its own runs from them."""
    config = server.log_in(token, tmp_path)
    tagged = environment(tmp_path) | ONE_SHOT | {"CLAWBACK_SESSION": "ci"}
    async with (
        Claude(config, command=CHANNEL, **tagged, CLAWBACK_EVENTS="off") as apart,
        Claude(config, command=CHANNEL, **tagged) as told,
    ):
        await eventually(lambda: is_ready(apart, "ci, observer"), 30)
        await eventually(lambda: is_ready(told, "ci, active"), 30)


def start(tmp_path, **extra):
    """Run the plugin's hook as at the start of a session; the line that the user is shown."""
    ran = subprocess.run(
        [CLAWBACK, "hook", "SessionStart"],
        env=environment(tmp_path) | {"CLAUDE_PID": "999999"} | PERSON | extra,
        input='{"source": "startup"}', capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert not ran.stderr
    return json.loads(ran.stdout)["systemMessage"] if ran.stdout else ""


def test_an_unconfigured_session_is_told_at_its_start(tmp_path):
    """What to run; a config that is broken says why."""
    nothing = start(tmp_path)
    broken = tmp_path / "broken.json"
    broken.write_text('{"remote": "http://a"}')
    broken.chmod(0o600)
    wrong = start(tmp_path, CLAWBACK_CONFIG=str(broken))

    assert nothing == "Clawback: no events here yet, as no server is set up. Run: clawback login"
    assert wrong.startswith("Clawback: no events here. The Clawback config")
    assert "\n" not in wrong


@pytest.mark.parametrize("extra", [{}, ONE_SHOT])
def test_a_session_whose_server_is_away_is_told_at_its_start(own_server, tmp_path, extra):
    """Events wait; a run at which nobody sits is told nothing."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"remote": own_server.socket_url, "connectionToken": "cbt_" + "a" * 43}))
    config.chmod(0o600)
    line = start(tmp_path, CLAWBACK_CONFIG=str(config), **extra)

    assert ("cannot be reached now. Events wait there" in line) is (extra == {})


async def test_a_session_that_will_stand_by_is_told_at_its_start(server, token, tmp_path):
    """Only where its own tag is taken; where all is well nothing is said, and nobody's events are touched."""
    server.log_in(token, tmp_path)
    well = start(tmp_path)
    async with LegacyClient(server.socket_url, token.value, "reviewer"):
        free = start(tmp_path)
        taken = start(tmp_path, CLAWBACK_SESSION="reviewer")
    refused = tmp_path / "refused.json"
    refused.write_text(json.dumps({"remote": server.socket_url, "connectionToken": "cbt_" + "a" * 43}))
    refused.chmod(0o600)
    unknown = start(tmp_path, CLAWBACK_CONFIG=str(refused))

    assert (well, free) == ("", "")
    assert taken.startswith("Clawback: this session stands by, as another one is active for reviewer.")
    assert "refuses the token in" in unknown
