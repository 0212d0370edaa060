"""The ways to install, each in a clean home, with the real Claude Code."""

import json
from functools import partial

import pytest

from claude.model import PREFIX
from processes import CLAWBACK
from waiting import eventually

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

    # Claude Code lists what it has built in as well.
    assert {each["id"]: each["enabled"] for each in listed}["clawback@clawback"]
    assert PREFIX + "event_ack" in model.turns[0].tools, "always loaded"
    assert "This session: (untagged), active, works on no event." in told


async def test_a_clone_is_added_as_the_readme_has_it(terminal, marketplace):
    """`claude plugin marketplace add ./` in it; the program is found in its .venv, though no PATH leads there."""
    (marketplace / ".venv/bin").mkdir(parents=True)
    (marketplace / ".venv/bin/clawback").symlink_to(CLAWBACK)
    terminal.env["PATH"] = "/usr/local/bin:/usr/bin:/bin"
    terminal.project = marketplace
    await terminal.run("plugin", "marketplace", "add", "./")
    await terminal.run("plugin", "install", "clawback@clawback")
    health = await terminal.run("mcp", "list")

    assert "plugin:clawback:clawback" in health
    assert "Connected" in health


async def test_no_rule_and_no_question_is_needed_for_its_event_tools(installed, github):
    """An event is read and acknowledged in the default mode, with nothing allowed; another tool still asks."""
    (installed.config / "settings.json").write_text(
        json.dumps({**json.loads((installed.config / "settings.json").read_text()), "permissions": {}})
    )
    async with installed as session:
        await session.connected()
        event_id = await github.post()
        ended = await eventually(lambda: github.ended(event_id), 60)
        await eventually(session.is_idle, 60)
        await session.type("CALL token_list {}")
        asked = await eventually(partial(screen_with, session, "Do you want to proceed?"), 60)

    assert ended["state"] == "acked"
    assert "token_list" in asked


async def screen_with(session, text):
    """Return the screen once it shows a text."""
    screen = await session.screen()
    return screen if text in screen else None


async def test_a_plugin_without_its_program_costs_no_turn(terminal, marketplace, model):
    """It says so at the start; its monitor waits, since an end of it would begin a turn."""
    terminal.env["PATH"] = "/usr/local/bin:/usr/bin:/bin"
    await terminal.run("plugin", "marketplace", "add", str(marketplace))
    await terminal.run("plugin", "install", "clawback@clawback")
    async with terminal as session:
        told = await eventually(partial(screen_with, session, "the program clawback was not found"), 60)
        await session.type("hello")
        await eventually(lambda: model.told("hello"), 60)
        await eventually(session.is_idle, 60)
        turns = len(model.turns)

    assert "clawback install" in " ".join(told.split())
    assert turns == 1


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
