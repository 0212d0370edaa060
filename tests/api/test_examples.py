"""The commands of docs/api.md, run as they stand but for the port."""

import asyncio
import json
import os
import re
from pathlib import Path

import pytest

DOCUMENT = (Path(__file__).parent.parent.parent / "docs/api.md").read_text()
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_of_the_document_is_answered(house, command):
    """With what was asked for, and no problem."""
    environment = os.environ | {"CLAWBACK_TOKEN": house.token.value, "no_proxy": "*"}
    shell = await asyncio.create_subprocess_shell(
        command.replace("http://127.0.0.1:8787", house.servers[0].url),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
    )
    written, _ = await shell.communicate()
    answer = json.loads(written)

    assert shell.returncode == 0
    assert "status" not in answer, answer
    assert answer.keys() & {"profileId", "nextRuns", "items"}


def test_the_document_has_commands():
    """Otherwise nothing was run."""
    assert len(COMMANDS) == 3
