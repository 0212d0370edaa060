"""The package as people install it: a wheel, in an environment of its own, with no clone beside it."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from processes import Server, environment

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(600)


def run(*command, **options):
    """Run a command that must succeed; what it prints."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500, **options)
    assert ran.returncode == 0, f"{command}: {ran.stdout[-2000:]}{ran.stderr[-2000:]}"
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel, as a release does."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*pip, "--wheel-dir", folder, ROOT, env=os.environ | {"BUILD_COMMIT": "0123456789abcdef"})
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def program(wheel, tmp_path_factory):
    """Install it elsewhere with pip, and what it depends on as locked; the program."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=True)
    pip = [folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--require-hashes", "-r", ROOT / "requirements.lock")
    run(*pip, "--no-deps", wheel)
    run(folder / "bin/pip", "check")
    return folder / "bin/clawback"


def test_the_wheel_says_what_it_is(wheel):
    """License, types, the plugin with a launcher that can be run, the commit; and a README that is its description."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
        launcher = archive.getinfo("clawback/marketplace/plugin/start")
        commit = archive.read("clawback/commit.txt").decode()

    assert "License-Expression: MIT\n" in text
    assert "Author: Clawback contributors\n" in text
    assert "Description-Content-Type: text/markdown\n" in text
    assert "Provides-Extra: traces\n" in text
    assert {"clawback/py.typed", "clawback/marketplace/.claude-plugin/marketplace.json"} <= names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert launcher.external_attr >> 16 & 0o111
    assert commit == "0123456789abcdef"


def test_the_installed_program_does_its_work(program, tmp_path):
    """It serves, makes a token and saves it, examines, installs its plugin and works off an event."""
    home = environment(tmp_path) | {"PATH": f"{tmp_path}/bin:{program.parent}:/usr/bin:/bin"}
    (tmp_path / "bin").mkdir()
    claude = tmp_path / "bin/claude"
    claude.write_text('#!/bin/sh\ncase "$*" in --version) echo "2.1.332" ;; *list*) echo "[]" ;; esac\n')
    claude.chmod(0o755)
    server = Server(tmp_path / "server", program=program)
    try:
        server.start()
        token = json.loads(run(program, "token", "create", "--json", "--data-dir", server.data_dir, env=home))["token"]
        run(program, "login", "--token-stdin", "--server", server.url, env=home, input=token)
        installed = run(program, "install", env=home, cwd=tmp_path)
        found = json.loads(subprocess.run(
            [program, "doctor", "--json"], env=home, capture_output=True, text=True, check=False, cwd=tmp_path
        ).stdout)  # fmt: skip
        worker = subprocess.run(
            [program, "work", "--tag", "ci", "--", "no-such-program"],
            env=home, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    finally:
        server.close()

    market = program.parent.parent.joinpath("lib").glob("python3*/site-packages/clawback/marketplace")
    launched = run(next(market) / "plugin/start", "--version", env=home)
    assert run(program, "--version", env=home) == launched
    assert launched.endswith(" (0123456789ab)\n")
    assert f"{program}" in installed
    assert {each["check"]: each["level"] for each in found}["token"] == "ok"
    assert worker.returncode == 2
    assert "no-such-program" in worker.stderr
