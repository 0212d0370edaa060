"""The examples of docs/cli.md, run as they stand, one after the other, against one server."""

import os
import subprocess
from pathlib import Path

import pytest

from console import expectation, steps
from processes import CLAWBACK, Server, environment

ROOT = Path(__file__).parent.parent
STEPS = steps((ROOT / "docs/cli.md").read_text())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with a token that is saved for its own home, which is where the examples are run."""
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        server.start()
        server.log_in(server.token(), server.home)
        yield server
    finally:
        server.close()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.command)
def test_an_example_prints_what_the_document_shows(server, step):
    """In a shell, with the installed program on its path."""
    home = environment(server.home) | {
        "PATH": f"{CLAWBACK.parent}:{os.environ['PATH']}",
        "CLAWBACK_DATA_DIR": str(server.data_dir),
    }
    ran = subprocess.run(
        ["bash", "-c", step.command], cwd=ROOT, env=home, capture_output=True, text=True, timeout=30, check=False
    )

    assert expectation(step.expected, server.port).fullmatch(ran.stdout), ran.stdout + ran.stderr
