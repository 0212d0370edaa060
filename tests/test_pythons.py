"""Every source file compiles on each Python that this machine has, from the oldest that is supported to the newest."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MINORS = range(11, 20)
COMPILE = """
import pathlib, sys
for path in map(pathlib.Path, sys.argv[1:]):
    for file in sorted(path.rglob("*.py")):
        compile(file.read_bytes(), str(file), "exec")
"""


def interpreters():
    """Find `python3.N` on the PATH, and beside it those that pyenv keeps. The one that runs the tests comes first."""
    found = {f"3.{sys.version_info.minor}": sys.executable}
    for minor in MINORS:
        name = f"3.{minor}"
        kept = sorted(Path.home().glob(f".pyenv/versions/{name}.*/bin/python3"))
        path = kept[-1] if kept else shutil.which(f"python{name}")
        if path is not None:
            found.setdefault(name, str(path))
    return found


@pytest.mark.parametrize(("name", "python"), interpreters().items())
def test_every_file_compiles(name, python):
    """A file that one Python refuses stops `clawback serve` there, whatever the other tests say."""
    ran = subprocess.run(
        [python, "-W", "error", "-c", COMPILE, ROOT / "src", ROOT / "plugin", ROOT / "bench", ROOT / "docs"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, ""), f"on Python {name}"
