"""`clawback tail` as a person runs it: beside a running server, through its restarts, until Ctrl-C."""

import asyncio
import itertools
import json
import os
import pty
import re
import signal
import subprocess
from contextlib import contextmanager

import pytest

from github import make_source, post
from legacy import LegacyClient
from processes import CLAWBACK, environment
from waiting import eventually

PATIENCE = 20.0


@contextmanager
def tailing(home, *arguments):
    """Run it for a while; yields its process and what reads what it has printed."""
    with (home / "out").open("wb") as out, (home / "err").open("wb") as err:
        process = subprocess.Popen([CLAWBACK, "tail", *arguments], env=environment(home), stdout=out, stderr=err)
    try:
        yield process, (home / "out").read_text
    finally:
        process.kill()
        process.wait(PATIENCE)


async def test_an_event_is_followed_to_its_end(server, token, http, tmp_path):
    """As lines without colour where nobody looks; a summary cannot command a terminal. Ctrl-C is quiet."""
    server.log_in(token, tmp_path)
    async with LegacyClient(server.socket_url, token.value, "ci") as client:
        url = await make_source(client)
        with tailing(tmp_path) as (process, printed):
            await eventually(lambda: "listening" in printed(), timeout=PATIENCE)
            event_id = await post(http, url)
            event = await client.event()
            await client.ack(event, "done\x1b]0;pwned\x07\u2028 at last")
            await eventually(lambda: "acked" in printed(), timeout=PATIENCE)
            process.send_signal(signal.SIGINT)
            code = process.wait(PATIENCE)
        lines = [line for line in printed().splitlines() if event_id in line]

    assert [re.split(r"\s+", line)[1] for line in lines] == ["queued", "offered", "acked"]
    assert f"{event_id}  ci  webhook  /github  pull_request.opened" in lines[0]
    assert lines[2].endswith("done ]0;pwned   at last")
    assert "\x1b" not in printed()
    assert token.value not in printed()
    assert code == 130
    assert (tmp_path / "err").read_text() == ""


async def test_a_script_reads_json_of_one_tag(server, token, http, tmp_path):
    """One object a line, in ASCII; what is of other tags is left out."""
    server.log_in(token, tmp_path)
    async with LegacyClient(server.socket_url, token.value, "ci") as client:
        ours, others = await make_source(client, "ours"), await make_source(client, "others", sessionTag="other")
        with tailing(tmp_path, "--json", "--tag", "ci") as (_, printed):
            await eventually(lambda: "listening" in printed(), timeout=PATIENCE)
            await post(http, others)
            event_id = await post(http, ours)
            await client.ack(await client.event(), "ünï")
            await eventually(lambda: "acked" in printed(), timeout=PATIENCE)
        records = [json.loads(line) for line in printed().splitlines()]

    assert printed().isascii()
    assert {record["eventId"] for record in records if record["type"] == "event"} == {event_id}
    assert records[-1].items() >= {"state": "acked", "summary": "ünï", "sessionTag": "ci"}.items()


async def test_it_comes_back_after_the_server(own_server, tmp_path):
    """Killed and started again; meanwhile it says what it waits for."""
    own_server.start()
    own_server.log_in(own_server.token(), tmp_path)
    with tailing(tmp_path) as (process, printed):
        await eventually(lambda: "listening" in printed(), timeout=PATIENCE)
        own_server.kill9()
        await eventually(lambda: "trying again" in (tmp_path / "err").read_text(), timeout=PATIENCE)
        own_server.start()
        await eventually(lambda: printed().count("listening") == 2, timeout=PATIENCE)

        assert process.poll() is None


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_colour(server, shared_token, tmp_path, variables, coloured):
    """Unless NO_COLOR asks for none; doctor is a session that comes and goes."""
    server.log_in(shared_token, tmp_path)
    ours, theirs = pty.openpty()
    process = subprocess.Popen([CLAWBACK, "tail"], env=environment(tmp_path) | variables, stdout=theirs)
    os.close(theirs)
    try:
        text = os.read(ours, 4096)
        assert server.run("doctor", **environment(tmp_path)).stdout
        while b"active" not in text:
            text += os.read(ours, 4096)
    finally:
        process.kill()
        process.wait(PATIENCE)
        os.close(ours)

    assert (b"\x1b[36m" in text) is coloured
    assert (b"\x1b" in text) is coloured


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((), "refuses the token"), (("--tag", "a b"), "tag")],
)
def test_what_cannot_be_followed_ends_it(server, tmp_path, arguments, message):
    """A token that is no longer taken, a tag that is none: no use in trying again."""
    token = server.token("revoked")
    server.log_in(token, tmp_path)
    server.run("token", "revoke", token.id, "--data-dir", str(server.data_dir))
    ran = server.run("tail", *arguments, **environment(tmp_path))

    assert ran.returncode == 1
    assert message in ran.stderr
    assert token.value not in ran.stderr


async def test_whoever_has_read_enough_ends_it(server, token, tmp_path):
    """As `| head -1` does: no complaint."""
    server.log_in(token, tmp_path)
    command = ("bash", "-c", f"{CLAWBACK} tail | head -1")
    async with LegacyClient(server.socket_url, token.value) as client:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, env=environment(tmp_path), stdout=pipe, stderr=pipe)
        reading = asyncio.create_task(process.communicate())
        numbers = itertools.count()

        async def ended():
            await make_source(client, f"s{next(numbers)}")
            return reading.done()

        await eventually(ended, timeout=PATIENCE)
        out, err = reading.result()

    assert b"listening" in out
    assert err == b""
