"""
Run schemathesis over the description of a real server's API: `make fuzz`, and `ARGS="--max-examples 1000"` for more.

The feed never ends, so it is left out; replacing the token of the run ends the run, so it comes last.
"""

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

from clawback.accounts import throttle
from houses import House
from natsd import Natsd

ROOT = Path(__file__).parent.parent.parent
PROGRAM = ROOT / ".venv-fuzz/bin/schemathesis"
CHOSEN = (
    ["--exclude-operation-id", "event_stream", "--exclude-operation-id", "token_rotate"],
    ["--include-operation-id", "token_rotate"],
)


async def main() -> int:
    """Serve, fuzz, and return the exit code of the first run that found something."""
    throttle.FAILURES = 10**9  # or most wrong tokens would be answered 429 and not 401
    with tempfile.TemporaryDirectory() as folder:
        natsd = Natsd(Path(folder) / "natsd")
        natsd.start()
        try:
            async with House.open(natsd, Path(folder)) as house:
                common = [
                    PROGRAM, "--config-file", Path(__file__).with_name("schemathesis.toml"),
                    "run", f"{house.servers[0].url}/schema/openapi.json",
                    "--header", f"Authorization: Bearer {house.token.value}",
                    "--phases", "examples,coverage,fuzzing", "--max-examples", "200", "--continue-on-failure",
                    "--suppress-health-check", "all", "--warnings", "off",
                ]  # fmt: skip
                codes = [
                    (await asyncio.to_thread(subprocess.run, [*common, *chosen, *sys.argv[1:]], check=False)).returncode
                    for chosen in CHOSEN
                ]
        finally:
            natsd.stop()
    return max(codes)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
