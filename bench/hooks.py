"""
How long Claude's turn waits for a hook of the plugin, next to a Python that does nothing.

The hook is run as Claude Code runs it, by a shell and start.sh, and answered by a running channel; wall time and the
processor time of the processes that it takes, the two in turns.
"""

import json
import os
import resource
import subprocess
import time
from pathlib import Path

from bench.channel_start import INITIALIZE, Mcp
from bench.common import BIN, PYTHON, ROOT, p50, print_machine, print_table, scratch

ROUNDS = 40
TOLD = json.dumps({"session_id": "s", "transcript_path": "/nowhere", "stop_hook_active": False}).encode()


def main() -> None:
    with scratch() as directory:
        print_machine(directory)
        measure(directory)


def measure(directory: Path) -> None:
    """Run both in turns, and print what they took."""
    environment = {"HOME": str(directory), "PATH": f"{BIN}:{os.environ['PATH']}", "CLAUDE_PID": str(os.getpid())}
    commands = {
        "hook": ["sh", "-c", f'exec sh "{ROOT}/plugin/start.sh" hook Stop'],
        "empty Python": [PYTHON, "-c", "pass"],
    }
    wall_ms: dict[str, list[float]] = {name: [] for name in commands}
    processor_ms: dict[str, list[float]] = {name: [] for name in commands}
    with Mcp([str(BIN / "clawback"), "channel"], environment, directory / "channel.log") as channel:
        channel.ask("initialize", INITIALIZE)
        for _ in range(ROUNDS):
            for name, command in commands.items():
                before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
                subprocess.run(command, input=TOLD, env=environment, capture_output=True, check=True)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                wall_ms[name].append((time.perf_counter() - started) * 1000)
                spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                processor_ms[name].append(spent * 1000)
    empty = p50(wall_ms["empty Python"])
    rows = [
        [name, f"{p50(took):.0f}", f"{p50(took) / empty:.2f}", f"{min(took):.0f}", f"{p50(processor_ms[name]):.0f}"]
        for name, took in wall_ms.items()
    ]
    print_table("A hook, with its channel running", ["", "p50 ms", "of the empty", "least ms", "its CPU, ms"], rows)


if __name__ == "__main__":
    main()
