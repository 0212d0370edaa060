"""What is installed is what was locked: exact versions, with hashes, from wherever they come."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_everything_is_pinned_with_its_hashes(name):
    """Each requirement is one version and has a SHA-256; no index and no other file is named."""
    lines = re.sub(r"\\\n", "", (ROOT / name).read_text()).splitlines()
    requirements = [line for line in lines if line.strip() and not line.startswith("#")]
    loose = [
        line[:60]
        for line in requirements
        if not re.fullmatch(r"[a-z0-9-]+(\[[a-z,]+\])?==\S+( ; [^#]+?)?( +--hash=sha256:[0-9a-f]{64})+", line)
    ]

    assert len(requirements) > 20
    assert loose == []


def test_nothing_is_installed_without_the_locks():
    """Every install of the Makefile wants hashes, but for our own tree, which has no dependencies then."""
    installs = re.findall(r"^\t\$\(PIP\) .*$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert len(installs) >= 3
    assert [
        line for line in installs if "--require-hashes -r requirements" not in line and "--no-deps" not in line
    ] == []
