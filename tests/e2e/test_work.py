"""`clawback work` as an operator runs it: real events, real processes, and kills."""

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from legacy import LegacyClient
from processes import CLAWBACK, command_line, environment
from waiting import eventually

PATIENCE = 40.0
"""Three attempts of a failing run take ten by themselves, and a busy machine is slow to start programs."""
TAG = "ci"

PROGRAM = """
import json, os, pathlib, sys, time
home = pathlib.Path(sys.argv[1])
text = sys.stdin.read()
names = {name[9:]: value for name, value in os.environ.items() if name.startswith("CLAWBACK_")}
inside = text.partition("-----\\n")[2].partition("\\n-----")[0]
wish = json.loads(inside[inside.index("{"):])  # behind what the sender named
def note(what):
    with (home / "runs").open("a") as runs:
        runs.write(json.dumps({"what": what, "pid": os.getpid(), "n": wish["n"], "text": text, "env": names}) + "\\n")
note("begun")
while "until" in wish and not (home / wish["until"]).exists():
    time.sleep(0.01)
print(wish.get("say", "looked at it"))
print(wish.get("complain", ""), file=sys.stderr)
note("ended")
sys.exit(wish.get("code", 0))
"""
"""Does as its payload says: waits for a file, says something, ends with a code; and notes what it was given."""


class Worker:
    """`clawback work` for the tag, under a home; `runs` is what its command noted."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.process: subprocess.Popen
        (home / "program.py").write_text(PROGRAM)

    @contextmanager
    def at_work(self, *options: str, **extra: str):
        """Run it for a while."""
        command = [CLAWBACK, "work", "--tag", TAG, *options, "--", sys.executable, self.home / "program.py", self.home]
        with (self.home / "out").open("ab") as out, (self.home / "err").open("ab") as err:
            self.process = subprocess.Popen(command, env=environment(self.home) | extra, stdout=out, stderr=err)
        try:
            yield self
        finally:
            self.process.terminate()
            self.process.wait(PATIENCE)

    @property
    def runs(self) -> list[dict]:
        """Every beginning and end that the command noted, in order."""
        path = self.home / "runs"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def steps(self) -> list[tuple[str, int]]:
        """What began and ended, by the events' numbers."""
        return [(run["what"], run["n"]) for run in self.runs]

    @property
    def errors(self) -> str:
        """What the worker wrote to stderr, with what it passed on."""
        return (self.home / "err").read_text()

    def allow(self, name: str) -> None:
        """Let a run that waits for this file go on."""
        (self.home / name).touch()


@pytest.fixture
async def client(server, token):
    """Another session, to make sources and to look things up."""
    async with LegacyClient(server.socket_url, token.value, "observer") as client:
        yield client


@pytest.fixture
async def send(server, token, http):
    """Send an event to the tag, by a source of the priority; returns its id."""
    urls = {}

    async def send(n, priority="normal", **wish):
        if priority not in urls:
            # Made by a person, over the API: another session's order would stand inside the fence.
            fields = {"secret": "planted", "sessionTag": TAG, "priority": priority, "skill": "/look"}
            made = await http.post(
                f"{server.url}/api/v1/sources",
                headers={"Authorization": f"Bearer {token.value}"},
                json={"slug": priority, "verifierType": "gitlab", **fields},
            )
            urls[priority] = made.json()["url"]
        headers = {"X-Gitlab-Token": "planted", "X-Gitlab-Event": "Push $(touch x) Hook"}
        answer = await http.post(urls[priority], json={"n": n, **wish}, headers=headers)
        assert answer.status_code == 202, answer.text
        return answer.json()["eventId"]

    return send


@pytest.fixture
def worker(server, token, tmp_path) -> Worker:
    """A worker whose home has the config; not started yet."""
    server.log_in(token, tmp_path)
    return Worker(tmp_path)


async def ended(client, event_id):
    """Wait for the record of an event's end."""

    async def record():
        history = await client.request("event_history")
        return next((each for each in history if each["eventId"] == event_id), None)

    return await eventually(record, timeout=PATIENCE)


async def test_each_event_is_one_run_after_the_other(client, send, worker):
    """In order, one at a time, whatever came before the worker; the end of the output is the summary."""
    sent = [await send(n, say=f"did {n}") for n in range(3)]
    with worker.at_work():
        sent.append(await send(3, say="did 3"))
        records = [await ended(client, event_id) for event_id in sent]

    assert worker.steps == [(what, n) for n in range(4) for what in ("begun", "ended")]
    assert [(record["state"], record["summary"]) for record in records] == [("acked", f"did {n}") for n in range(4)]
    assert "did 3" in (worker.home / "out").read_text()


async def test_a_run_is_told_what_claude_would_be(client, send, worker):
    """The order, the fenced payload, how to end; and variables that neither a shell nor options can be made of."""
    event_id = await send(1)
    with worker.at_work(CLAWBACK_SESSION="other"):
        await ended(client, event_id)
    first = worker.runs[0]

    assert first["text"].startswith("/look\n\nBetween the markers is the payload of a webhook to /normal")
    assert "no tool has to be called" in first["text"]
    assert "event_ack" not in first["text"]
    assert first["env"].pop("SESSION").startswith("work-")
    assert first["env"] == {
        "EVENTS": "off",
        "EVENT_ID": event_id,
        "EVENT_ORIGIN": "webhook",
        "EVENT_PRIORITY": "normal",
        "EVENT_ATTEMPT": "1",
        "EVENT_PATH": "/normal",
        "EVENT_TYPE": "Push___touch_x__Hook",
        "EVENT_VERIFIED": "true",
    }


async def test_a_run_that_fails_is_tried_again_and_ends_as_a_dead_letter(client, send, worker):
    """Counted by the server, three times in all; the reason has the code and what was complained about."""
    event_id = await send(1, code=3, complain="no disk")
    with worker.at_work():
        record = await ended(client, event_id)
        (dead,) = await client.request("event_list", states=["dead"])

    assert worker.steps == [("begun", 1), ("ended", 1)] * 3
    assert (record["state"], record["reason"], record["summary"]) == ("dead", "failed", "exit code 3: no disk")
    assert (dead["eventId"], dead["attempts"]) == (event_id, 3)
    assert [run["env"]["EVENT_ATTEMPT"] for run in worker.runs[::2]] == ["1", "2", "3"]


async def test_a_run_that_takes_too_long_is_stopped(client, send, worker):
    """And counts as one that failed."""
    event_id = await send(1, until="never")
    with worker.at_work("--timeout", "1"):
        await eventually(lambda: "stopped after 1 s" in worker.errors, timeout=PATIENCE)
        await eventually(lambda: not command_line(worker.runs[0]["pid"]), timeout=PATIENCE)
    (waiting,) = await client.request("event_list", states=["offered", "queued"])

    assert waiting["eventId"] == event_id


async def test_an_interrupt_waits_for_the_run_and_goes_before_the_rest(client, send, worker):
    """Never two runs at a time: the run under way is finished, then the interrupt, then what waited before it."""
    first, second = await send(1, until="go"), await send(2)
    with worker.at_work():
        await eventually(lambda: worker.steps == [("begun", 1)], timeout=PATIENCE)
        urgent = await send(9, priority="interrupt")
        offered = await eventually(lambda: offered_ids(client, {first, urgent}), timeout=PATIENCE)
        during = worker.steps
        worker.allow("go")
        records = [await ended(client, event_id) for event_id in (first, urgent, second)]

    assert offered
    assert during == [("begun", 1)]
    assert worker.steps == [(what, n) for n in (1, 9, 2) for what in ("begun", "ended")]
    assert [record["state"] for record in records] == ["acked"] * 3


async def offered_ids(client, event_ids):
    """Say whether a session was given all of these."""
    return {each["eventId"] for each in await client.request("event_list", states=["offered"])} >= event_ids


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_that_is_stopped_ends_its_run_and_gives_the_event_back(client, send, worker, number):
    """Nothing is left of the run; the event is first in line again, and neither a failure nor a loss is counted."""
    event_id = await send(1, until="go")
    with worker.at_work():
        await eventually(lambda: worker.runs, timeout=PATIENCE)
        worker.process.send_signal(number)
        code = worker.process.wait(PATIENCE)
        left = command_line(worker.runs[0]["pid"])
    worker.allow("go")
    with worker.at_work():
        record = await ended(client, event_id)

    assert code == (130 if number is signal.SIGINT else 0)
    assert left == b""
    assert (record["state"], record["attempts"]) == ("acked", 2)
    assert worker.steps == [("begun", 1), ("begun", 1), ("ended", 1)]


async def test_a_killed_worker_takes_its_run_along_and_loses_nothing(client, send, worker):
    """Kill -9: the kernel ends the run, and the next worker is given the event again, which says so."""
    event_id, after = await send(1, until="go"), await send(2)
    with worker.at_work():
        await eventually(lambda: worker.runs, timeout=PATIENCE)
        worker.process.kill()
        await eventually(lambda: not command_line(worker.runs[0]["pid"]), timeout=PATIENCE)
    worker.allow("go")
    with worker.at_work():
        records = [await ended(client, each) for each in (event_id, after)]

    assert [(record["state"], record["attempts"]) for record in records] == [("acked", 2), ("acked", 1)]
    assert worker.steps == [("begun", 1), ("begun", 1), ("ended", 1), ("begun", 2), ("ended", 2)]


async def test_an_ack_outlives_a_killed_server_and_a_killed_worker(own_server, tmp_path, http):
    """The run ends while the server is down; the worker is killed; the next one hands in its ack, and nothing runs."""
    own_server.start()
    token = own_server.token()
    own_server.log_in(token, tmp_path)
    worker = Worker(tmp_path)
    async with LegacyClient(own_server.socket_url, token.value, "observer") as client:
        made = await client.request("source_create", slug="s", verifierType="none", sessionTag=TAG)
    sent = (await http.post(made["url"], json={"n": 1, "until": "go"})).json()["eventId"]
    with worker.at_work():
        await eventually(lambda: worker.runs, timeout=PATIENCE)
        own_server.kill9()
        worker.allow("go")
        await eventually(lambda: "exit code 0" in worker.errors, timeout=PATIENCE)
        await eventually(lambda: list(tmp_path.glob("share/clawback/channel/acks/*/*.jsonl")), timeout=PATIENCE)
        worker.process.kill()
        worker.process.wait(PATIENCE)
    own_server.start()
    with worker.at_work():
        async with LegacyClient(own_server.socket_url, token.value, "observer") as client:
            record = await ended(client, sent)

    assert (record["state"], record["summary"]) == ("acked", "looked at it")
    assert worker.steps == [("begun", 1), ("ended", 1)]


async def test_another_session_of_the_tag_that_takes_over_gets_the_event(server, token, client, send, worker):
    """The run here is stopped: the event is worked on there."""
    event_id = await send(1, until="never")
    with worker.at_work():
        await eventually(lambda: worker.runs, timeout=PATIENCE)
        async with LegacyClient(server.socket_url, token.value, TAG) as other:
            await other.request("session_takeover")
            event = await other.event()
            await eventually(lambda: not command_line(worker.runs[0]["pid"]), timeout=PATIENCE)
            await other.ack(event, "done elsewhere")
            record = await ended(client, event_id)

    assert event["id"] == event_id
    assert record["summary"] == "done elsewhere"
    assert worker.steps == [("begun", 1)]


async def test_what_a_run_leaves_behind_ends_with_it(client, send, worker):
    """A program that it started in the background, and that would hold its output open."""
    (worker.home / "program.py").write_text(
        "import pathlib, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "pathlib.Path(sys.argv[1], 'child').write_text(str(child.pid))\n"
        "print('started it')\n"
    )
    event_id = await send(1)
    with worker.at_work():
        record = await ended(client, event_id)
        left = int((worker.home / "child").read_text())
        await eventually(lambda: not command_line(left), timeout=PATIENCE)

    assert record["summary"] == "started it"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "work needs a command to run"),
        (("--",), "work needs a command to run"),
        (("--", "no-such-program"), "there is no program 'no-such-program'"),
        (("--timeout", "0", "--", "true"), "--timeout: read 0; accepted are 1 to 43200 seconds"),
        (("--tag", "a b", "--", "true"), "tag"),
    ],
)
def test_a_wrong_call_is_told_before_anything_is_connected(server, shared_token, tmp_path, arguments, message):
    """With what is accepted."""
    server.log_in(shared_token, tmp_path)
    ran = server.run("work", *arguments, **environment(tmp_path))

    assert ran.returncode in {1, 2}
    assert message in ran.stderr


def test_without_a_config_it_says_how_to_get_one(server, tmp_path):
    """As the plugin does."""
    ran = server.run("work", "--", "true", **environment(tmp_path))

    assert ran.returncode == 2
    assert "clawback login" in ran.stderr
