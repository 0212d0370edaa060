"""The command line over the API: what a person manages, against a real server, from a config as the plugin has it."""

import asyncio
import hashlib
import hmac
import json
import os
import pty
import re
import stat
import subprocess

import httpx
import pytest

from github import delivery
from legacy import LegacyClient
from processes import CLAWBACK, environment
from waiting import eventually

COLUMNS = 80


@pytest.fixture
def run(server, token):
    """Run `clawback` with the token of a profile that no other test has."""

    def run(*arguments, stdin="", **extra):
        variables = {"CLAWBACK_TOKEN": token.value, "CLAWBACK_SERVER": server.url}
        return server.run(*arguments, stdin=stdin, **variables | extra)

    return run


@pytest.fixture
def ask(run):
    """Run `clawback … --json` and return what it says; it must succeed."""

    def ask(*arguments, **more):
        ran = run(*arguments, "--json", **more)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return ask


@pytest.fixture
def deliver(server, token):
    """Send signed pull requests to a source of the profile, made with `secret`."""

    def deliver(slug, secret, count=1):
        ids = []
        for _ in range(count):
            request = delivery()
            signature = hmac.new(secret.encode(), request["content"], hashlib.sha256).hexdigest()
            request["headers"]["X-Hub-Signature-256"] = f"sha256={signature}"
            answer = httpx.post(f"{server.url}/webhooks/{token.webhook_id}/{slug}", **request)
            assert answer.status_code == 202, answer.text
            ids.append(answer.json()["eventId"])
        return ids

    return deliver


def fits(text):
    """Tell whether a table can be read in 80 columns."""
    return all(len(line) <= COLUMNS for line in text.splitlines())


def test_a_source_is_made_shown_changed_and_deleted(run, ask):
    """Its secret is shown once, with what is to be done at the sender; later answers have none."""
    made = run("source", "create", "demo", "--type", "github", "--route", "pull_request=/review")
    secret = re.search(r"^Secret  ([0-9a-f]{64})  \(shown this once\)$", made.stdout, re.MULTILINE)[1]
    listed = run("source", "list")
    changed = run("source", "update", "demo", "--route", "push=/lint", "--route", "pull_request=", "--session", "ci")
    shown = ask("source", "show", "demo")
    deleted = run("source", "delete", "demo", "--yes")

    assert made.returncode == 0, made.stderr
    assert "At the sender:\n1. " in made.stdout
    assert secret in made.stdout.split("At the sender:")[1]
    assert listed.stdout.splitlines()[1].split() == ["demo", "github", "(untagged)", "pull_request:", "/review", "on"]
    assert changed.returncode == 0, changed.stderr
    assert (shown["routes"], shown["sessionTag"]) == ({"push": "/lint"}, "ci")
    assert secret not in json.dumps(shown) + run("source", "show", shown["id"]).stdout
    assert deleted.returncode == 0, deleted.stderr
    assert ask("source", "list") == []


def test_what_is_missing_is_said_where_nobody_can_be_asked(run):
    """With the option that gives it, and code 2."""
    no_type = run("source", "create", "demo")
    no_secret = run("source", "create", "demo", "--type", "pagerduty")
    nothing = run("source", "update", "demo")

    assert [each.returncode for each in (no_type, no_secret, nothing)] == [2, 2, 2]
    assert "needs --type TYPE, such as --type github" in no_type.stderr
    assert "Give what the sender shows with --secret-stdin" in no_secret.stderr
    assert "give at least one option" in nothing.stderr


def test_a_terminal_is_asked_for_the_rest(server, token):
    """A slug is enough: type, routes and session are asked for, and what was answered is what is made."""
    reader, writer = pty.openpty()
    variables = {"CLAWBACK_TOKEN": token.value, "CLAWBACK_SERVER": server.url, "TERM": "dumb"}
    process = subprocess.Popen(
        [CLAWBACK, "source", "create", "asked"],
        env=environment(server.home) | variables,
        stdin=writer,
        stdout=writer,
        stderr=writer,
    )
    os.close(writer)
    os.write(reader, b"nonsense\ngithub\npull_request\n/review\n\nci\n")
    printed = b""
    try:
        while chunk := os.read(reader, 4096):
            printed += chunk
    except OSError:
        pass  # the terminal is closed once nobody has it open
    finally:
        os.close(reader)
        code = process.wait(20)
    shown = json.loads(server.run("source", "show", "asked", "--json", **variables).stdout)

    assert code == 0, printed
    assert b"There is no such type" in printed
    assert (shown["type"], shown["routes"], shown["sessionTag"]) == ("github", {"pull_request": "/review"}, "ci")


def test_a_made_secret_goes_into_a_file(run, tmp_path, deliver):
    """Mode 0600, and on no screen. A file that is there is not touched, and no source is made."""
    path, taken = tmp_path / "secret", tmp_path / "taken"
    taken.write_text("mine")
    made = run("source", "create", "demo", "--type", "github", "--secret-file", str(path), "--skill", "/x")
    refused = run("source", "create", "other", "--type", "github", "--secret-file", str(taken))
    secret = path.read_text().strip()

    assert made.returncode == 0, made.stderr
    assert secret
    assert secret not in made.stdout + made.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert deliver("demo", secret)
    assert refused.returncode == 2
    assert f"the secret in {path}" in made.stdout.split("At the sender:")[1].replace("\n", " ")
    assert "is there already" in refused.stderr
    assert taken.read_text() == "mine"
    assert "there is no source 'other'" in run("source", "show", "other").stderr


def test_a_secret_of_the_sender_is_read_from_stdin(run, ask, deliver):
    """It is on no command line."""
    made = run("source", "create", "demo", "--type", "github", "--secret-stdin", stdin="planted-secret\n")

    assert made.returncode == 0, made.stderr
    assert "planted-secret" not in made.stdout
    assert deliver("demo", "planted-secret")
    assert [each["state"] for each in ask("event", "list")] == ["queued"]


def test_a_cron_is_made_paused_resumed_run_and_deleted(run, ask):
    """By its label; the answer shows when it runs."""
    made = run("cron", "create", "0 9 * * MON-FRI", "Summarise", "--tz", "Europe/Berlin", "--label", "morning")
    paused, state = run("cron", "pause", "morning"), ask("cron", "show", "morning")
    resumed = run("cron", "resume", "morning")
    ran = ask("cron", "run", "morning")
    updated = ask("cron", "update", "morning", "--schedule", "0 8 * * *", "--tag", "ci")
    listed = run("cron", "list")
    deleted = run("cron", "delete", "morning", "--yes")

    assert made.returncode == 0, made.stderr
    assert len(re.findall(r"T09:00:00\+0[12]:00$", made.stdout, re.MULTILINE)) == 3
    assert (paused.returncode, state["paused"], resumed.returncode) == (0, True, 0)
    assert [each["eventId"] for each in ask("event", "list")] == [ran["eventId"]]
    assert (updated["schedule"], updated["sessionTag"], updated["prompt"]) == ("0 8 * * *", "ci", "Summarise")
    assert fits(listed.stdout)
    assert deleted.returncode == 0
    assert ask("cron", "list") == []


def test_a_waiting_event_is_looked_at_and_thrown_away(run, ask, deliver):
    """Counted first, and only with a yes; the history says by whom."""
    run("source", "create", "demo", "--type", "github", "--secret-stdin", "--skill", "/review", stdin="s3cret")
    first, *others = deliver("demo", "s3cret", 4)
    listed, shown = run("event", "list", "--where", "source=demo"), run("event", "show", first)
    part = run("event", "payload", first, "pull_request.number")
    whole = run("event", "payload", first)
    one = run("event", "discard", first, "--yes")
    counted = ask("event", "discard", "--where", "source=demo", "--dry-run")
    unsure = run("event", "discard", "--where", "source=demo")
    rest = run("event", "discard", "--where", "source=demo", "--where", "type=pull_request.opened", "--yes")
    ended = ask("event", "list", "--ended")

    assert first in listed.stdout
    assert fits(listed.stdout)
    assert "pull_request.opened" in shown.stdout
    assert part.stdout.strip().isdigit()
    assert json.loads(whole.stdout)["action"] == "opened"
    assert (one.returncode, counted["count"], unsure.returncode, rest.returncode) == (0, 3, 2, 0)
    assert "give --yes" in unsure.stderr
    assert rest.stderr == "3 events discarded.\n"
    assert {(each["eventId"], each["state"]) for each in ended} == {(each, "discarded") for each in (first, *others)}
    assert all("person" in each["reason"] for each in ended)


async def test_a_held_event_is_given_time_and_ended(server, token, run, ask, deliver):
    """Whoever holds it is told; what failed three times is replayed."""
    made = await asyncio.to_thread(
        run, "source", "create", "demo", "--type", "github", "--secret-stdin", "--skill", "/x", stdin="s3cret"
    )
    assert made.returncode == 0, made.stderr
    first, second = await asyncio.to_thread(deliver, "demo", "s3cret", 2)
    async with LegacyClient(server.socket_url, token.value) as client:
        await client.event()
        extended = await asyncio.to_thread(ask, "event", "extend", first, "--seconds", "600")
        acked = await asyncio.to_thread(ask, "event", "ack", first, "--summary", "by hand")
        await client.event()
        for _ in range(3):
            failed = await asyncio.to_thread(run, "event", "fail", second, "--reason", "no")
            assert failed.returncode == 0, failed.stderr

            async def settled():
                found = await asyncio.to_thread(ask, "event", "show", second)
                return found["state"] in ("offered", "claimed", "dead")

            await eventually(settled)
    replayed = await asyncio.to_thread(ask, "event", "replay", "--where", "state=dead", "--yes")
    waiting = await asyncio.to_thread(ask, "event", "list", "--where", "state=queued")

    assert (extended["seconds"], acked["settled"]) == (600, True)
    assert replayed["count"] == 1
    assert [each["state"] for each in waiting] == ["queued"]


def test_a_source_goes_with_what_waits_or_leaves_dead_letters(run, ask, deliver):
    """It is said how many, and followed to the end; older dead letters stay."""
    for slug in ("kept", "thrown"):
        run("source", "create", slug, "--type", "github", "--secret-stdin", "--skill", "/x", stdin="s3cret")
        deliver(slug, "s3cret", 5)
    unsure = run("source", "delete", "thrown", "--discard")
    thrown = run("source", "delete", "thrown", "--discard", "--yes")
    kept = run("source", "delete", "kept", "--yes")
    left = ask("event", "list")

    assert unsure.returncode == 2
    assert "5 events of it that wait are thrown away" in unsure.stderr
    assert (thrown.returncode, kept.returncode) == (0, 0), thrown.stderr + kept.stderr
    assert {(each["path"], each["state"]) for each in left} == {("/kept", "dead")}
    assert len(left) == 5


def test_a_message_waits_for_its_session(run, ask):
    """And a tag that nobody ever used is said."""
    sent = run("session", "send", "nobody", "hello")

    assert sent.returncode == 0
    assert "It waits until the session connects." in sent.stderr
    assert "Nothing ever used the tag 'nobody'" in sent.stderr
    assert [each["sessionTag"] for each in ask("event", "list")] == ["nobody"]


def test_the_status_says_what_is_wrong(run, deliver):
    """And with code 1 that something is."""
    quiet = run("status")
    run("source", "create", "demo", "--type", "github", "--secret-stdin", "--skill", "/x", stdin="s3cret")
    deliver("demo", "s3cret", 2)
    busy = run("status")

    assert quiet.returncode == 0, quiet.stdout
    assert "nothing is wrong" in quiet.stdout
    assert busy.returncode == 1
    assert "2 events wait for the session (untagged), which is not connected" in busy.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["event", "discard"], "needs either an ID or --where"),
        (["event", "discard", "evt_x", "--where", "state=dead"], "needs either an ID or --where"),
        (["event", "list", "--where", "colour=red"], "accepted is state=…, tag=…, type=… or source=…"),
        (["source", "create", "x", "--type", "github", "--route", "push"], "accepted is NAME=VALUE"),
        (["source", "create", "x", "--type", "github", "--set", "signature={"], "--set signature is no JSON"),
        (["source", "list"], "no Clawback token"),
    ],
)
def test_a_wrong_call_is_code_2_and_says_what_is_accepted(run, arguments, message):
    """Nothing is asked of the server then."""
    extra = {"CLAWBACK_TOKEN": "planted"} if arguments == ["source", "list"] else {}
    ran = run(*arguments, **extra)

    assert ran.returncode == 2, ran.stderr
    assert message in ran.stderr
    assert "planted" not in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["source", "show", "nope"], "there is no source 'nope'; `clawback source list` shows those there are"),
        (["cron", "run", "nope"], "there is no cron 'nope'"),
        (["event", "ack", "../sources"], "there is no event"),
        (["source", "create", "x", "--type", "nope"], "nope"),
    ],
)
def test_what_is_refused_is_code_1_and_one_sentence(run, arguments, message):
    """In the server's own words."""
    ran = run(*arguments)

    assert ran.returncode == 1, ran.stderr
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_the_server_and_the_token_are_found_in_the_plugins_config(server, token, tmp_path):
    """As the channel finds them, or in the file that CLAWBACK_CONFIG names; a server that is away is said."""
    server.log_in(token, tmp_path)
    path = tmp_path / "claude/channels/clawback/config.json"
    usual = server.run("source", "list", **environment(tmp_path))
    named = server.run("source", "list", CLAWBACK_CONFIG=str(path))
    none = server.run("source", "list", **environment(tmp_path / "empty"))
    away = server.run("status", CLAWBACK_TOKEN=token.value, CLAWBACK_SERVER="http://127.0.0.1:1")

    assert (usual.returncode, named.returncode) == (0, 0), usual.stderr + named.stderr
    assert none.returncode == 2
    assert "Run `clawback login`" in none.stderr
    assert away.returncode == 1
    assert "http://127.0.0.1:1 cannot be reached" in away.stderr


def test_a_token_that_opens_nothing_says_what_to_do(server, token):
    """And repeats nothing of it."""
    wrong = token.value[:-4] + "0000"
    ran = server.run("source", "list", CLAWBACK_TOKEN=wrong, CLAWBACK_SERVER=server.url)

    assert ran.returncode == 1
    assert "does not take the token" in ran.stderr
    assert wrong not in ran.stderr


def test_what_a_sender_wrote_does_not_command_the_terminal(run, ask):
    """Nor is it read as markup."""
    run("cron", "create", "@daily", "say [red]hello[/red] \x1b[2Jx", "--label", "[bold]x")
    listed, shown = run("cron", "list"), run("cron", "show", ask("cron", "list")[0]["id"])

    assert "[bold]x" in listed.stdout
    assert "say [red]hello[/red]  [2Jx" in shown.stdout


def test_the_page_is_opened_by_a_link(server, token, ask):
    """It has no token in it."""
    made = ask("open", "--print")

    assert made["url"].startswith(f"http://clawback.localhost:{server.port}/auth/open?code=")
    assert token.value not in json.dumps(made)
