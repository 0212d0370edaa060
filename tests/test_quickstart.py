"""
The README's quickstart, run as it stands.

Everything happens in a home of its own and on a free port; that port is all that differs from what a person types.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clawback.model import Address, Event, Origin, Priority, new_id, random_id
from clawback.store.events import EventStore
from clawback.store.ledger import Ledger
from clawback.store.registry import Registry
from console import PORT, Step, expectation, steps
from natsd import free_port
from processes import CLAWBACK

ROOT = Path(__file__).parent.parent
END_OF_OUTPUT = "end-of-output-of-one-command"
START_SECONDS = 45.0
SHARDS = 2

# Until a stale environment is brought up to date, this may take longer than a test usually may.
pytestmark = pytest.mark.timeout(240)


def quickstart() -> list[Step]:
    """Read the steps from the README's section of that name."""
    return steps((ROOT / "README.md").read_text(), "Quickstart")


@pytest.fixture
def home(tmp_path) -> dict[str, str]:
    """The environment of somebody who never used Clawback or Claude Code."""
    ours = ("CLAWBACK_", "CLAUDE_", "XDG_", "MAKE", "MFLAGS", "ARGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"HOME": str(tmp_path), "PATH": f"{CLAWBACK.parent}:{os.environ['PATH']}"}


@pytest.fixture
def server(home, tmp_path) -> Iterator[tuple[int, Path]]:
    """What the first block starts, in a terminal of its own: its port, and the file of what it printed."""
    port = free_port()
    printed = tmp_path / "first-terminal"
    with printed.open("wb") as stdout, (tmp_path / "server.log").open("wb") as stderr:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {quickstart()[0].command}"],
            cwd=ROOT,
            env=home | {"CLAWBACK_PORT": str(port)},
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        yield port, printed
    finally:
        # Ctrl-C goes to everything in the terminal.
        os.killpg(process.pid, signal.SIGINT)
        process.wait(20)


def test_the_readmes_quickstart_does_what_it_says(server, home, tmp_path):
    """The five commands, in this order, print what the README shows and end in a delivered and acked event."""
    port, printed = server
    first, *others = quickstart()
    deadline = time.monotonic() + START_SECONDS
    while not expectation(first.expected, port).fullmatch(printed.read_text()):
        assert time.monotonic() < deadline, f"{printed.read_text()}\n{(tmp_path / 'server.log').read_text()[-2000:]}"
        time.sleep(0.05)
    # One shell, since later commands use what earlier ones set.
    script = f"\necho; echo {END_OF_OUTPUT}\n".join(step.command for step in others)
    script = script.replace(f":{PORT}", f":{port}")
    shell = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    outputs = shell.stdout.split(END_OF_OUTPUT)

    assert shell.returncode == 124, shell.stdout  # `timeout` ended the worker
    assert len(outputs) == len(others) == 4
    for step, output in zip(others, outputs, strict=True):
        assert expectation(step.expected, port).fullmatch(output.strip() + "\n"), f"{step.command}\nprinted:\n{output}"


async def test_the_rest_of_a_cut_payload_can_be_read(fresh_natsd, fresh_fabric):
    """docs/operations.md, 'Read one event': the script prints the payload as it came, until the event has ended."""
    registry = await Registry.open(fresh_fabric, shards=SHARDS)
    body = random_id(4).encode() * 100_000
    event = Event(new_id("evt"), Origin.WEBHOOK, Priority.NORMAL, datetime.now(UTC))
    store = EventStore(fresh_fabric, Ledger(fresh_fabric), registry.install.shards)
    await store.store(Address(random_id(16)), event, body, maker="w-src_demo", patience_s=2.0)

    async def read(event_id: str) -> tuple[int, bytes, bytes]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "docs/examples/read_event.py",
            event_id,
            "1",
            cwd=ROOT,
            env=os.environ | {"CLAWBACK_NATS_URL": fresh_natsd.auth.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        stdout, stderr = await process.communicate()
        return process.returncode, stdout, stderr

    found, missing = await read(event.id), await read("evt_other")

    assert found == (0, body, b"")
    assert missing == (1, b"", b"evt_other is not there any more: it has ended\n")


def test_a_pattern_takes_what_it_shows_and_nothing_else():
    """`…` stands for one word, or alone for any lines; everything else, the port apart, is as it is printed."""
    pattern = expectation("ready at http://127.0.0.1:8787\n…", 1234)

    assert pattern.fullmatch("ready at http://127.0.0.1:1234\nand\nmore\n")
    assert pattern.fullmatch("ready at http://127.0.0.1:1234\n")
    assert not pattern.fullmatch("ready at http://127.0.0.1:8787\nand\nmore\n")
    assert expectation('{"id":"evt_…","type":"a.b"}', 1).fullmatch('{"id":"evt_abc","type":"a.b"}\n')
    assert not expectation('{"id":"evt_…","type":"a.b"}', 1).fullmatch('{"id":"evt_abc","type":"axb"}\n')
    assert not expectation("acked", 1).fullmatch("acked\nand an error\n")
