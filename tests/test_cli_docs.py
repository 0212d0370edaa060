"""The examples of docs/cli.md, run as they stand, one after the other, against one server."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from console import PORT, expectation, steps
from github import make_source
from legacy import LegacyClient
from processes import CLAWBACK, Server, environment
from waiting import eventually

ROOT = Path(__file__).parent.parent
STEPS = steps((ROOT / "docs/cli.md").read_text())

PATIENCE_SECONDS = 40.0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with a token that is saved for its own home, where the examples are run, and with a source."""
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        server.start()
        token = server.token()
        server.log_in(token, server.home)
        asyncio.run(make_sources(server, token))
        yield server
    finally:
        server.close()


async def make_sources(server, token):
    """Make the source of the quickstart, and one whose events go to another tag."""
    async with LegacyClient(server.socket_url, token.value) as client:
        await make_source(client, "demo", routes={"pull_request.opened": "/review"})
        await make_source(client, "ci", verifierType="generic", sessionTag="ci")


LASTING = ("clawback tail", "clawback work")
"""They go on until Ctrl-C, which is what they get once they have printed what the document shows."""

MEANWHILE = {"clawback tail --tag ci": ("listening", "clawback trigger generic")}
"""What is run in another terminal once a command has printed this."""


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.command)
async def test_an_example_prints_what_the_document_shows(server, step, tmp_path):
    """In a shell, with the installed program on its path."""
    printed = tmp_path / "printed"
    pattern = expectation(step.expected, server.port)
    with printed.open("wb") as output:
        process = await run(server, step.command, output)
    try:
        if step.command in MEANWHILE:
            said, then = MEANWHILE[step.command]
            await eventually(lambda: said in printed.read_text(), PATIENCE_SECONDS)
            other = await run(server, then, asyncio.subprocess.DEVNULL)
            assert await other.wait() == 0
        if step.command.startswith(LASTING):
            await eventually(lambda: pattern.fullmatch(printed.read_text()), PATIENCE_SECONDS)
            process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert pattern.fullmatch(printed.read_text()), printed.read_text()


async def run(server, command, output):
    """Start a command as a user of the server's machine types it."""
    home = environment(server.home) | {
        "PATH": f"{CLAWBACK.parent}:{os.environ['PATH']}",
        "CLAWBACK_DATA_DIR": str(server.data_dir),
        "CLAWBACK_PUBLIC_URL": server.url,
    }
    command = command.replace(f":{PORT}", f":{server.port}")
    exec_it = "exec " if command.startswith(LASTING) else ""
    return await asyncio.create_subprocess_exec(
        "bash", "-c", exec_it + command, cwd=ROOT, env=home, stdout=output, stderr=asyncio.subprocess.STDOUT
    )
