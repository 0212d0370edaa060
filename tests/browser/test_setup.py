"""Set up Claude Code with a real browser: page, GitHub, a click, a command in a shell, and the plugin is connected."""

import asyncio
import json
import stat
import sys
from pathlib import Path

from browsing import page_url
from channel.claude import Claude, read_list
from github_standin import TOKEN, Answer
from processes import CLAWBACK, environment
from waiting import eventually


async def log_in_with_github(page):
    """Follow the page's button to GitHub, and agree there."""
    await page.click("a.button")
    await page.shows("Authorize as octocat?")
    await page.click("#authorize")


async def paste(command: str, home: Path) -> tuple[int, str]:
    """Paste a command into a shell; its exit code and what it said."""
    shell = await asyncio.create_subprocess_exec(
        "sh",
        env=environment(home),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await shell.communicate(command.encode() + b"\n")
    return shell.returncode, said.decode()


async def test_from_an_empty_browser_to_a_connected_plugin(server, page, tmp_path, album):
    """The page says whose account it is; nothing is made before the click; the pasted command connects the plugin."""
    await page.open(f"{server.url}/auth/cli")
    await page.shows("Log in with GitHub")
    await page.look(album / "cli-login.png", width=390)
    await log_in_with_github(page)
    await page.shows("GitHub account octocat, id 583231")
    await page.look(album / "cli-ask.png", width=390)
    await page.type("#label", "laptop of Ada")
    await page.click("main button")
    await page.shows("Paste this into a terminal")
    await page.look(album / "cli-command.png")
    await page.look(album / "cli-command-phone-dark.png", width=390, dark=True)
    origin = {"origin": page_url(server.url), "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    await page.call("Browser.grantPermissions", **origin)
    await page.click("button[data-copies=shell]")
    await page.until("document.querySelector('button[data-copies=shell]').textContent === 'Copied'")
    command = await page.evaluate("navigator.clipboard.readText()")
    code, said = await paste(command, tmp_path / "home")
    config = tmp_path / "home/claude/channels/clawback/config.json"

    assert (code, said) == (0, f"Saved to {config}, where the Clawback plugin of Claude Code finds it.\n")
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert page.console == []
    assert "cbt_" not in "".join(page.requests)
    async with Claude(config, command=[str(CLAWBACK), "channel"], **environment(tmp_path / "home")) as claude:
        text, failed = await claude.call("token_list")
    assert not failed, text
    assert [(each["label"], each["current"]) for each in read_list(text)] == [("laptop of Ada", True)]


async def test_clawback_login_is_answered_by_the_browser_that_it_opened(server, page, tmp_path, album):
    """The program opens its page, the person agrees, and the terminal says that the config is saved."""
    opener, opened, home = tmp_path / "opener", tmp_path / "opened", tmp_path / "home"
    opener.write_text(f"#!{sys.executable}\nimport sys\nopen({str(opened)!r}, 'w').write(sys.argv[1] + '\\n')\n")
    opener.chmod(0o755)
    program = await asyncio.create_subprocess_exec(
        CLAWBACK,
        "login",
        "--server",
        server.url,
        env=environment(home) | {"BROWSER": str(opener)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    link = (await eventually(lambda: opened.exists() and opened.read_text(), 20)).strip()
    await page.open(link)
    await log_in_with_github(page)
    await page.shows("waits on this computer for access to")
    await page.look(album / "cli-ask-program.png")
    await page.click("main button")
    await page.shows("clawback login has its answer")
    await page.look(album / "cli-answered.png", width=390)
    said, _ = await program.communicate()
    config = home / "claude/channels/clawback/config.json"

    assert program.returncode == 0, said.decode()
    assert f"Saved to {config}: {server.socket_url}, profile " in said.decode()
    assert json.loads(config.read_text())["connectionToken"] not in said.decode()
    assert page.console == []


async def test_the_login_page_offers_both_ways(server, page, album):
    """GitHub first, a token beside it; both reached by the keyboard."""
    await page.open(f"{server.url}/login")
    await page.look(album / "login.png")
    await page.look(album / "login-phone-dark.png", width=390, dark=True)
    reached = set()
    for _ in range(8):
        await page.press("Tab")
        reached.add(await page.evaluate("document.activeElement.innerText || document.activeElement.id"))

    assert reached >= {"Log in with GitHub", "token", "Log in"}


async def test_the_page_says_that_github_is_down(server, github, page, album):
    """And the way back to try again; who is there already goes on."""
    await page.open(f"{server.url}/login")
    github.fault[TOKEN] = Answer(500)
    await log_in_with_github(page)
    await page.shows("does not answer as it should (status 500)")
    await page.look(album / "github-down.png", width=390)
    await page.click("main a")
    await page.until("location.pathname === '/login'")
