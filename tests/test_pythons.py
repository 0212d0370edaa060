"""Every source file compiles on each Python that this machine has; `make pythons` also imports and serves."""

import subprocess

import pytest

from pythons import COMPILE, ROOT, interpreters


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
