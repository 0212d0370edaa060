"""The examples of docs/cli.md, run as they stand, one after the other, against one server."""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from console import PORT, expectation, steps
from github import make_source
from legacy import LegacyClient
from processes import CLAWBACK, Server, environment

ROOT = Path(__file__).parent.parent
STEPS = steps((ROOT / "docs/cli.md").read_text())


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


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.command)
def test_an_example_prints_what_the_document_shows(server, step):
    """In a shell, with the installed program on its path."""
    home = environment(server.home) | {
        "PATH": f"{CLAWBACK.parent}:{os.environ['PATH']}",
        "CLAWBACK_DATA_DIR": str(server.data_dir),
        "CLAWBACK_PUBLIC_URL": server.url,
    }
    ran = subprocess.run(
        ["bash", "-c", step.command.replace(f":{PORT}", f":{server.port}")],
        cwd=ROOT,
        env=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )

    assert expectation(step.expected, server.port).fullmatch(ran.stdout), ran.stdout
