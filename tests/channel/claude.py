"""Claude Code's end of the channel: the real program as a subprocess, and JSON-RPC lines as the client sends them."""

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from channel.peer import TOKEN
from clawback.channel.remote import Timing

# As 2.1.330 sends them, less the parts that nobody reads.
DISCOVER = {
    "method": "server/discover",
    "params": {
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "claude-code", "version": "2.1.330"},
            "io.modelcontextprotocol/clientCapabilities": {"roots": {}, "elicitation": {}},
        }
    },
}
INITIALIZE = {
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"roots": {}, "elicitation": {}},
        "clientInfo": {"name": "claude-code", "title": "Claude Code", "version": "2.1.330"},
    },
}
QUICK = Timing(
    backoff_first=0.05,
    backoff_most=0.2,
    refused=30.0,
    look=0.02,
    patience=3.0,
    settle=0.0,
    watch_parent=0.1,
    unseen=0.3,
)
SPEAK_SECONDS = 15.0
"""A program that starts on a busy machine takes its time."""

PROGRAM = """
import sys, msgspec
from clawback.channel.remote import Timing
from clawback.channel.server import main
main(msgspec.json.decode(sys.argv[1], type=Timing))
"""


def config_file(directory: Path, remote: str, **fields: Any) -> Path:
    """Write a config for `remote` and return its path."""
    path = directory / "config.json"
    path.write_text(
        json.dumps({"remote": remote, "connectionToken": TOKEN, "dataDir": str(directory / "data")} | fields)
    )
    path.chmod(0o600)
    return path


def read_list(text: str) -> Any:
    """Read what stands in the fence of a tool's answer."""
    return json.loads(text.partition("-----\n")[2].rpartition("\n-----END DATA")[0])


def environment(config: Path) -> dict[str, str]:
    """Build what the program is started with; PYTHONPATH, where it is set, says which checkout is tested."""
    own = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return own | {"HOME": str(config.parent), "CLAWBACK_CONFIG": str(config)}


class Claude:
    """
    One session: starts the program, talks to it, collects its channel notifications.

    Use it as a context manager; entering starts the program and, unless `handshake` is false, initializes it.
    """

    def __init__(
        self,
        config: Path,
        *,
        timing: Timing = QUICK,
        handshake: bool = True,
        command: list[str] | None = None,
        **env: str,
    ) -> None:
        self._command = command or [sys.executable, "-c", PROGRAM, msgspec.json.encode(timing).decode()]
        self._env = environment(config) | env
        self._handshake = handshake
        self._ids = itertools.count(1)
        self.answers: dict[int, dict[str, Any]] = {}
        self.lines: list[bytes] = []
        self.events: list[dict[str, Any]] = []
        self.stderr = ""
        self._spoke = asyncio.Event()
        self.process: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, stderr=pipe, env=self._env, limit=16 * 1024 * 1024
        )
        self._readers = [asyncio.create_task(self._read_stdout()), asyncio.create_task(self._read_stderr())]
        if self._handshake:
            await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await asyncio.gather(*self._readers)
        # asyncio closes the pipe of a dead process late, and warns when the loop is gone by then.
        self.process._transport.close()

    async def initialize(self, *, probe: bool = True) -> dict[str, Any]:
        """Shake hands as 2.1.330 does, or as 2.1.197 did, without the probe; return the result of initialize."""
        if probe:
            refused = await self.request(**DISCOVER)
            assert refused["error"]["code"] == -32601, refused
        answer = await self.request(**INITIALIZE)
        await self.notify("notifications/initialized")
        return answer["result"]

    async def request(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request and return its whole answer."""
        request_id = next(self._ids)
        message = {"jsonrpc": "2.0", "id": request_id, "method": method}
        await self.send(message if params is None else message | {"params": params})
        await self._hear(lambda: request_id in self.answers or self.process.returncode is not None)
        assert request_id in self.answers, f"the program ended with {self.process.returncode}: {self.stderr}"
        return self.answers[request_id]

    async def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Send a notification."""
        message = {"jsonrpc": "2.0", "method": method}
        await self.send(message if params is None else message | {"params": params})

    async def send(self, message: Mapping[str, Any]) -> None:
        """Write one line to the program's stdin."""
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        await self.process.stdin.drain()

    async def call(self, tool: str, **arguments: Any) -> tuple[str, bool]:
        """Call a tool; return its text and whether it is an error."""
        answer = await self.request("tools/call", {"name": tool, "arguments": arguments})
        result = answer["result"]
        return result["content"][0]["text"], result["isError"]

    async def event(self, number: int) -> dict[str, Any]:
        """Wait for the channel notification of this number, from 1, and return its params."""
        await self._hear(lambda: len(self.events) >= number)
        return self.events[number - 1]

    async def shown(self, number: int) -> str:
        """Wait for the notification of this number and return the id of its event."""
        return (await self.event(number))["meta"]["event_id"]

    async def quiet(self) -> None:
        """Let everything that is on its way arrive: a round trip through the program's stdin and stdout."""
        await self.request("ping")

    async def ended(self, seconds: float) -> float:
        """Wait for the end of the program and return how long it took."""
        started = time.monotonic()
        await asyncio.wait_for(self.process.wait(), seconds)
        return time.monotonic() - started

    def heard(self, message: dict[str, Any]) -> None:
        """Take a message of the program's, in the order in which it wrote them."""
        if message.get("method") == "notifications/claude/channel":
            self.events.append(message["params"])
        elif "id" in message:
            self.answers[message["id"]] = message

    async def _hear(self, condition: Callable[[], bool]) -> None:
        """Wait until the program has said what makes this true, looking at once whenever it speaks or ends."""
        try:
            async with asyncio.timeout(SPEAK_SECONDS):
                while not condition():
                    self._spoke.clear()
                    await self._spoke.wait()
        except TimeoutError:
            raise AssertionError(f"not said within {SPEAK_SECONDS:g} s; stderr: {self.stderr}") from None

    async def _read_stdout(self) -> None:
        async for line in self.process.stdout:
            self.lines.append(line)
            self.heard(json.loads(line))
            self._spoke.set()
        await self.process.wait()
        self._spoke.set()

    async def _read_stderr(self) -> None:
        async for line in self.process.stderr:
            self.stderr += line.decode()
