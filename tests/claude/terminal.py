"""
The real Claude Code in a terminal (tmux), in a home of its own, with a scripted model for company.

Nothing of the user's is read or changed: HOME, the configuration and the environment are made for the run.
"""

import asyncio
import json
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Self

from claude.model import PREFIX, Model
from waiting import eventually

# The form of a key, and no key: the API is the scripted one.
KEY = "sk-ant-" + "api03-" + "scripted" * 10
CONNECTED = re.compile(r'"[\w:]*clawback": Channel notifications (?:registered|skipped)')
PROMPT = "\N{HEAVY RIGHT-POINTING ANGLE QUOTATION MARK ORNAMENT}"
PACKAGE = "@anthropic-ai/claude-code"
INSTALL = (
    f"install it with `npm install {PACKAGE}@2.1.330` in some directory, and name its program: make claude "
    "CLAUDE_PROGRAM=…/node_modules/@anthropic-ai/claude-code-linux-x64/claude"
)


def find_program() -> Path:
    """Find the client, or say what to install."""
    named = os.environ.get("CLAUDE_PROGRAM")
    assert named, f"These tests need Claude Code: {INSTALL}"
    path = Path(named)
    assert path.is_file(), f"There is no Claude Code at {path}: {INSTALL}"
    assert shutil.which("tmux"), "These tests need tmux: install it with the system's package manager"
    return path


class Terminal:
    """
    One home with Claude Code in it.

    `run` runs a command of the client's; as a context manager it is an interactive session.
    """

    def __init__(self, directory: Path, model_url: str, **env: str) -> None:
        self.home = directory / "home"
        self.config = self.home / ".claude"
        self.project = directory / "project"
        self.debug_file = directory / "debug.txt"
        self.program = find_program()
        for each in (self.config, self.project):
            each.mkdir(parents=True, exist_ok=True)
        self.env = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "SHELL": "/bin/bash",
            "CLAUDE_CONFIG_DIR": str(self.config),
            "ANTHROPIC_BASE_URL": model_url,
            "ANTHROPIC_API_KEY": KEY,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL": "1",
            "DISABLE_AUTOUPDATER": "1",
        } | env
        self._name = f"clawback-{os.getpid()}-{directory.name}"
        self._seed()

    def _seed(self) -> None:
        """Answer the questions of a first start beforehand: greeting, key, trust."""
        trusted = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
        state = {
            "hasCompletedOnboarding": True,
            "lastOnboardingVersion": "2.1.999",
            "theme": "dark",
            "numStartups": 5,
            "customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []},
            "projects": {str(self.project): trusted},
        }
        (self.config / ".claude.json").write_text(json.dumps(state))
        allowed = {"permissions": {"allow": ["mcp__plugin_clawback_clawback", "mcp__clawback"]}}
        (self.config / "settings.json").write_text(json.dumps(allowed))

    def link_claude(self) -> None:
        """Put `claude` on the PATH, under its own name."""
        link = self.home / "bin/claude"
        link.parent.mkdir()
        link.symlink_to(self.program)
        self.env["PATH"] = f"{link.parent}:{self.env['PATH']}"

    async def run(self, *arguments: str, program: str | Path | None = None) -> str:
        """Run a command in this home and return what it prints; it must succeed."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            program or self.program, *arguments, env=self.env, cwd=self.project,
            stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        assert process.returncode == 0, f"{arguments} ended with {process.returncode}:\n{output.decode()}"
        return output.decode()

    async def __aenter__(self) -> Self:
        command = [self.program, "--debug-file", self.debug_file, "--model", "claude-sonnet-4-5"]
        start = ["env", "-i", *(f"{name}={value}" for name, value in self.env.items()), *map(str, command)]
        script = self.project.parent / "start.sh"
        script.write_text(f"cd {shlex.quote(str(self.project))}\nexec {shlex.join(start)}\n")
        await self._tmux(
            "-f", "/dev/null", "new-session", "-d", "-s", "main", "-x", "160", "-y", "50", f"bash {script}"
        )
        await eventually(self._is_ready, timeout=60)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._tmux("kill-server")

    async def connected(self) -> None:
        """Wait until the client has the server's tools, which it says last of all whether it is a channel."""
        await eventually(lambda: CONNECTED.search(self.debug()), timeout=60)

    async def ask(self, model: Model, tool: str) -> str:
        """Have the model call a tool without arguments, and return what it was answered."""
        before = len(model.results)
        await self.type(f"CALL {tool} {{}}")

        def answered() -> str | None:
            return next((text for name, text in model.results[before:] if name == PREFIX + tool), None)

        return await eventually(answered, timeout=60)

    async def is_idle(self) -> bool:
        """Say whether nothing is being worked on."""
        return "esc to interrupt" not in await self.screen()

    async def type(self, text: str) -> None:
        """Type a line and press Enter."""
        await self._tmux("send-keys", "-t", "main", "-l", text)

        async def is_there() -> bool:
            # An Enter that comes with the text is taken for a pasted line's end. Lines wrap.
            return "".join(text.split())[-20:] in "".join((await self.screen()).split())

        await eventually(is_there, timeout=20)
        await self._tmux("send-keys", "-t", "main", "Enter")

    async def screen(self) -> str:
        """Return what the terminal shows."""
        return await self._tmux("capture-pane", "-p", "-t", "main")

    def debug(self) -> str:
        """Return the client's debug log so far."""
        return self.debug_file.read_text(errors="replace") if self.debug_file.exists() else ""

    async def _is_ready(self) -> bool:
        screen = await self.screen()
        return PROMPT in screen and "Enter to confirm" not in screen

    async def _tmux(self, *arguments: str) -> str:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec("tmux", "-L", self._name, *arguments, stdout=pipe, stderr=pipe)
        output, error = await process.communicate()
        assert process.returncode == 0, f"tmux {arguments}: {error.decode()}"
        return output.decode()
