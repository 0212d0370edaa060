"""The skill /clawback:configure in the real Claude Code."""

import json
import re
from pathlib import Path

import pytest

from claude.model import ToolCall, Turn
from waiting import eventually

pytestmark = pytest.mark.timeout(180)

PATIENCE_SECONDS = 60


def unasked(terminal):
    """Allow all tools, so that nothing asks."""
    settings = terminal.config / "settings.json"
    allowed = json.loads(settings.read_text())
    allowed["permissions"]["allow"] += ["Bash", "Write"]
    settings.write_text(json.dumps(allowed))


def is_there(path):
    """Say whether a file or directory exists."""
    return Path(path).exists()


class Reader:
    """A model that does what the skill says under 'With a token': its commands, and the file in between."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._commands: list[str] = []

    def __call__(self, turn: Turn) -> ToolCall | str:
        """Take the next step."""
        if commands := re.findall(r"```sh\n\s*(.*?)\n\s*```", turn.text, re.DOTALL):
            self._commands = commands
            return "Bash", {"command": commands[0]}
        if directory := re.search(r"^/tmp/tmp\.\w+$", turn.text, re.MULTILINE):
            self._commands[1] = self._commands[1].replace("DIRECTORY", directory[0])
            return "Write", {"file_path": f"{directory[0]}/token", "content": self._token}
        if "File created successfully" in turn.text:
            return "Bash", {"command": self._commands[1]}
        return "It is saved."


async def test_it_shows_how_things_stand(installed, model):
    """What doctor finds is part of the prompt: nothing has to be called, or allowed, for it."""
    async with installed as session:
        await session.connected()
        await session.type("/clawback:configure")
        turn = await eventually(lambda: model.told("What `clawback doctor` finds here:"), PATIENCE_SECONDS)

    assert "ok " in turn.text
    assert str(installed.config / "channels/clawback/config.json") in turn.text
    assert "cbt_" not in turn.text.replace("starts with `cbt_`", "")


async def test_it_saves_a_token_that_was_pasted(installed, model, server):
    """By way of a file that only its user can read, which is gone afterwards, and of no command."""
    unasked(installed)
    token = server.token("another").value
    config = installed.config / "channels/clawback/config.json"
    model.script = Reader(token)
    async with installed as session:
        await session.connected()
        await session.type(f"/clawback:configure {token} {server.url}")
        await eventually(lambda: json.loads(config.read_text())["connectionToken"] == token, PATIENCE_SECONDS)
        await eventually(lambda: len(model.results) == 3, PATIENCE_SECONDS)

    commands = [arguments["command"] for name, arguments in model.calls if name == "Bash"]
    assert config.stat().st_mode & 0o777 == 0o600
    assert not [command for command in commands if token in command]
    assert not is_there(commands[-1].rpartition(" ")[2])
    assert [name for name, text in model.results if token in text] == []
