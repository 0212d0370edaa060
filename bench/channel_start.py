"""
How long Claude Code waits for `clawback channel`, next to the least server on the same SDK, and what both hold.

From spawning the process to reading its answer to `initialize`, the two in turns. Memory is what a process holds once
it has listed its tools; for ours also connected to a server, having answered a call through it, as in a session. Then
both are let be for a while, ours connected, and the CPU time that they take all the same is told.
"""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from bench.common import (
    BIN,
    PYTHON,
    ROOT,
    Clawback,
    clawback,
    idle_shares,
    p50,
    print_machine,
    print_table,
    resident_mb,
    scratch,
)

ROUNDS = 10
IDLE_SECONDS = 35.0
"""As long as one ping of the server's and its pong take their turn."""

INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"roots": {}, "elicitation": {}},
    "clientInfo": {"name": "claude-code", "version": "2.1.330"},
}


class Mcp:
    """An MCP server as a child process, spoken to in lines of JSON-RPC."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.started = time.perf_counter()
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**os.environ, **environment},
                cwd=ROOT,
            )
        self._asked = 0

    def __enter__(self) -> Self:
        """Nothing more: it runs since it was made."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close its stdin, as Claude Code does, and wait for its end."""
        self._child.stdin.close()
        self._child.wait(20)
        self._child.stdout.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        self._asked += 1
        self._write({"id": self._asked, "method": method, "params": params})
        while True:
            line = json.loads(self._child.stdout.readline())
            if line.get("id") == self._asked:
                return line["result"]

    def tell(self, method: str) -> None:
        """Send a notification."""
        self._write({"method": method})

    def _write(self, message: Mapping[str, Any]) -> None:
        self._child.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self._child.stdin.flush()


def main() -> None:
    with scratch() as directory:
        print_machine(directory)
        with clawback(directory / "clawback", sync="always") as server:
            measure(directory, server)


def measure(directory: Path, server: Clawback) -> None:
    """Start both in turns, and print how long it took and what they held."""
    config = directory / "config.json"
    remote = f"ws://127.0.0.1:{server.target.port}/ws"
    config.write_text(
        json.dumps({"remote": remote, "connectionToken": server.token, "dataDir": str(directory / "data")})
    )
    config.chmod(0o600)
    commands = {
        "clawback channel": [str(BIN / "clawback"), "channel"],
        "bare server": [PYTHON, "-m", "bench.bare_channel"],
    }
    took_ms: dict[str, list[float]] = {name: [] for name in commands}
    held_mb: dict[str, list[float]] = {name: [] for name in [*commands, "clawback channel, connected"]}
    for number in range(ROUNDS + 1):
        for name, command in commands.items():
            with Mcp(command, {"CLAWBACK_CONFIG": str(config)}, directory / "channel.log") as mcp:
                mcp.ask("initialize", INITIALIZE)
                took = (time.perf_counter() - mcp.started) * 1000
                assert mcp.ask("tools/list", {})["tools"]
                # The first of each reads its files from the disk.
                if number:
                    took_ms[name].append(took)
                    held_mb[name].append(resident_mb(mcp.pid))
    with (
        Mcp(commands["clawback channel"], {"CLAWBACK_CONFIG": str(config)}, directory / "channel.log") as mcp,
        Mcp(commands["bare server"], {}, directory / "channel.log") as bare,
    ):
        for each in (mcp, bare):
            each.ask("initialize", INITIALIZE)
            each.tell("notifications/initialized")
        answer = mcp.ask("tools/call", {"name": "account_info", "arguments": {}})
        assert not answer["isError"], answer
        held_mb["clawback channel, connected"].append(resident_mb(mcp.pid))
        time.sleep(1)  # what a call still has to do
        idle = idle_shares({"clawback channel, connected": mcp.pid, "bare server": bare.pid}, IDLE_SECONDS)
    bare_ms, bare_mb = took_ms["bare server"], held_mb["bare server"]
    rows = []
    for name, held in held_mb.items():
        took = took_ms.get(name)
        rows.append(
            [
                name,
                f"{p50(took):.0f}" if took else "",
                f"{p50([ours / bare for ours, bare in zip(took, bare_ms, strict=True)]):.2f}" if took else "",
                f"{min(took):.0f}" if took else "",
                f"{p50(held):.0f}",
                f"{p50(held) / p50(bare_mb):.2f}",
                f"{100 * idle[name]:.2f} %" if name in idle else "",
            ]
        )
    head = ["", "p50 ms", "of the bare", "least ms", "MB held", "of the bare", "idle, of a core"]
    print_table("From spawn to the answer to `initialize`", head, rows)


if __name__ == "__main__":
    main()
