"""The command that people paste: what is in it, and what it does in real shells."""

import asyncio
import json
import os
import shutil
import stat
import subprocess
from functools import partial
from html import unescape

import pytest

from clawback.web.command import build_powershell_command, build_shell_command

CODE = "abcdefghijklmnopqrstuvwx27"

BUILDERS = [build_powershell_command, partial(build_shell_command, local=False)]

SHELLS = [shell for shell in ("sh", "dash", "bash", "zsh", "fish") if shutil.which(shell)]
"""Those of this machine. sh is everywhere; the others are Debian's packages of these names."""


async def run(command, home, shell="sh", **environment):
    """Paste a command into a shell of somebody with this home."""
    inherited = {"PATH": os.environ["PATH"], "HOME": str(home)}
    return await asyncio.to_thread(
        subprocess.run,
        [shell],
        input=command + "\n",
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


async def make_code(house, browser):
    """Log in, and ask for a code as the page does; the command."""
    await browser.log_in(house.token.value)
    page = await browser.send_form(
        "/auth/cli", form_token=await browser.form_token(), token=house.token.value, label="laptop"
    )
    assert page.status_code == 200, page.text
    return page


def read_command(page, name="shell"):
    """Read a command off the page, as the clipboard would have it."""
    return unescape(page.text.partition(f'<pre id="{name}" tabindex="0"><code>')[2].partition("</code>")[0])


@pytest.mark.parametrize("shell", SHELLS)
async def test_the_command_saves_the_config(house, browser, tmp_path, shell):
    """In every shell: a folder that was not there, the file for its owner alone, and a token that works."""
    command = read_command(await make_code(house, browser))
    done = await run(command, tmp_path / "a home", shell)
    saved = tmp_path / "a home/.claude/channels/clawback/config.json"
    config = json.loads(saved.read_text())
    peer = await house.peer()
    await peer.say("auth", token=config["connectionToken"])
    welcome = await peer.frame("auth_ok")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Saved to {saved}, where the Clawback plugin of Claude Code finds it.\n"
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert stat.S_IMODE(saved.parent.stat().st_mode) == 0o700
    assert [each.name for each in saved.parent.iterdir()] == ["config.json"]
    assert config["remote"] == house.servers[0].socket_url
    assert welcome["profileId"] == house.profile.id


@pytest.mark.parametrize("shell", SHELLS)
async def test_no_process_shows_the_code(house, browser, tmp_path, shell):
    """Another user of the machine who reads every process's arguments, while the request is made, finds none."""
    spy = tmp_path / "bin/curl"
    spy.parent.mkdir()
    real = shutil.which("curl")
    spy.write_text(f'#!/bin/sh\ncat /proc/[0-9]*/cmdline 2>/dev/null >"{tmp_path}/seen"\nexec {real} "$@"\n')
    spy.chmod(0o755)
    page = await make_code(house, browser)
    command = read_command(page)
    code = command.removeprefix("echo ").partition(" ")[0]
    done = await run(command, tmp_path, shell, PATH=f"{spy.parent}:{os.environ['PATH']}")

    assert done.returncode == 0, done.stderr
    assert len(code) >= 20
    assert b"/auth/cli/exchange" in (tmp_path / "seen").read_bytes()
    assert code.encode() not in (tmp_path / "seen").read_bytes()


async def test_a_config_that_was_there_is_kept_beside_the_new_one(house, browser, tmp_path):
    """As private as the new one, whatever it was before."""
    folder = tmp_path / "claude/channels/clawback"
    folder.mkdir(parents=True)
    old, new = folder / "config.json.old", folder / "config.json"
    new.write_text("planted")
    new.chmod(0o644)
    command = read_command(await make_code(house, browser))
    done = await run(command, tmp_path, CLAUDE_CONFIG_DIR=str(tmp_path / "claude"))

    assert done.returncode == 0, done.stderr
    assert old.read_text() == "planted"
    assert [stat.S_IMODE(each.stat().st_mode) for each in (old, new)] == [0o600, 0o600]
    assert json.loads(new.read_text())["connectionToken"].startswith("cbt_")


async def test_a_command_that_is_pasted_twice_leaves_the_first_config(house, browser, tmp_path):
    """It says that the code is used, and where to get another."""
    command = read_command(await make_code(house, browser))
    target = str(tmp_path / "named" / "here.json")
    first = await run(command, tmp_path, CLAWBACK_CONFIG=target)
    saved = (tmp_path / "named" / "here.json").read_text()
    second = await run(command, tmp_path, CLAWBACK_CONFIG=target)

    assert (first.returncode, second.returncode) == (0, 1)
    assert f"get another at {house.servers[0].url}/auth/cli" in second.stderr
    assert (tmp_path / "named" / "here.json").read_text() == saved
    assert [each.name for each in (tmp_path / "named").iterdir()] == ["here.json"]


async def test_a_machine_without_curl_is_told_what_to_do(tmp_path):
    """Nothing is made."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "rm", "mkdir", "dirname"):
        (tools / tool).symlink_to(shutil.which(tool))
    command = build_shell_command("https://clawback.example.com", CODE, local=False)
    done = await run(command, tmp_path, shutil.which("sh"), PATH=str(tools))

    assert done.returncode == 1
    assert "install it, or run: clawback login --server https://clawback.example.com" in done.stderr
    assert not (tmp_path / ".claude").exists()


@pytest.mark.parametrize("code", ["", "short", CODE + '"', CODE + "$(id)", CODE.upper(), CODE + "\n", "a" * 65])
@pytest.mark.parametrize("build", BUILDERS)
def test_nothing_but_a_code_gets_into_a_command(build, code):
    """A bug that let anything else through would be a shell's to run."""
    with pytest.raises(AssertionError, match="codes are made here"):
        build("https://clawback.example.com", code)


@pytest.mark.parametrize(
    "url", ["https://a.example/'", 'https://a.example/"', "https://a.example/$(id)", "https://a`id`"]
)
@pytest.mark.parametrize("build", BUILDERS)
def test_nothing_but_a_plain_url_gets_into_a_command(build, url):
    """The settings refuse such a URL before."""
    with pytest.raises(AssertionError, match="the settings let no other URL through"):
        build(url, CODE)


def test_the_command_quotes_for_every_shell():
    """Between its single quotes there is none, and nothing that fish takes for an escape."""
    command = build_shell_command("https://clawback.example.com", CODE, local=False)
    body = command.removeprefix(f"echo {CODE} | sh -c '").removesuffix("'")

    assert "'" not in body
    assert "\\\\" not in body
    assert "!" not in body
    assert '--proto "=https"' in body
    assert "noproxy" not in body
    assert '--proto "=http" --noproxy "*"' in build_shell_command("http://127.0.0.1:8787", CODE, local=True)
