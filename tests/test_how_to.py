"""The pages of docs/how-to and docs/start.md, run as they stand, each in a shell of its own, against one server."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from console import PORT, expectation, steps
from processes import CLAWBACK, Server, environment

ROOT = Path(__file__).parent.parent
INDEX = ROOT / "docs/README.md"
HOW_TO = ROOT / "docs/how-to"
PAGES = sorted(path for path in HOW_TO.glob("*.md") if path.name != "README.md")
TRIED = [page for page in [ROOT / "docs/start.md", *PAGES] if steps(page.read_text())]
END_OF_OUTPUT = "end-of-output-of-one-command"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with a token that is saved for its own home, where the pages are run."""
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        server.start()
        server.log_in(server.token(), server.home)
        yield server
    finally:
        server.close()


def preparation() -> str:
    """Read what docs/how-to/README.md has a reader type first."""
    section = (HOW_TO / "README.md").read_text().partition("\n## Before you begin\n")[2]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[0]


@pytest.mark.parametrize("page", TRIED, ids=lambda page: page.stem)
def test_the_commands_of_a_page_print_what_it_shows(server, page, tmp_path):
    """On a port that is not 8787, after what the index has a reader type first."""
    typed = steps(page.read_text())
    script = f"\necho; echo {END_OF_OUTPUT}\n".join(step.command for step in typed)
    ran = subprocess.run(
        ["bash", "-c", f"{preparation()}\n{script}".replace(f":{PORT}", f":{server.port}")],
        cwd=tmp_path,
        env=environment(server.home)
        | {"PATH": f"{CLAWBACK.parent}:{os.environ['PATH']}", "CLAWBACK_DATA_DIR": str(server.data_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        check=False,
    )
    outputs = ran.stdout.split(END_OF_OUTPUT)

    assert len(outputs) == len(typed), ran.stdout
    for step, output in zip(typed, outputs, strict=True):
        assert expectation(step.expected, server.port).fullmatch(output.strip() + "\n"), f"{step.command}\n{output}"


def test_each_page_is_in_both_indexes():
    """The index of how-to pages names each page by its question; the index of all documents leads to that one."""
    index = (HOW_TO / "README.md").read_text()

    assert [page.name for page in PAGES if f"({page.name})" not in index] == []
    assert "(how-to/README.md)" in INDEX.read_text()


def test_each_document_is_in_the_index():
    """docs/README.md leads to every document beside it."""
    index = INDEX.read_text()

    assert [
        path.name for path in sorted((ROOT / "docs").glob("*.md")) if path != INDEX and f"({path.name})" not in index
    ] == []
