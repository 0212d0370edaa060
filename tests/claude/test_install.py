"""The ways to install, each in a clean home, with the real Claude Code."""

import json

import pytest

from claude.model import PREFIX
from processes import CLAWBACK

pytestmark = pytest.mark.timeout(180)


async def test_the_manifests_are_valid(terminal, marketplace):
    """Claude Code's own strict check passes for the plugin and for the marketplace."""
    for folder in (marketplace / "plugin", marketplace):
        assert "Validation passed" in await terminal.run("plugin", "validate", "--strict", str(folder))


async def test_the_plugin_works_from_its_copy(installed, model):
    """Installed from a folder that has nothing of the repository but the plugin, its tools are there and answer."""
    listed = json.loads(await installed.run("plugin", "list", "--json"))
    async with installed as session:
        await session.connected()
        told = await session.ask(model, "account_info")

    assert [(each["id"], each["enabled"]) for each in listed] == [("clawback@clawback", True)]
    assert PREFIX + "event_ack" in model.turns[0].tools, "always loaded"
    assert "This session: (untagged), active, works on no event." in told


async def test_one_command_installs_and_a_second_run_finds_it(terminal):
    """`clawback install` with the real `claude`."""
    terminal.link_claude()
    first = await terminal.run("install", program=CLAWBACK)
    second = await terminal.run("install", program=CLAWBACK)
    health = await terminal.run("mcp", "list")

    assert [line.partition(":")[0] for line in first.splitlines()][:3] == ["done"] * 3
    assert [line.partition(":")[0] for line in second.splitlines()][:3] == ["unchanged"] * 3
    assert "plugin:clawback:clawback" in health
    assert "Connected" in health


async def test_the_program_alone_is_added_from_a_clone(terminal):
    """`claude mcp add`, as the README has it."""
    await terminal.run("mcp", "add", "--scope", "user", "clawback", "--", str(CLAWBACK), "channel")

    assert "Connected" in await terminal.run("mcp", "list")
