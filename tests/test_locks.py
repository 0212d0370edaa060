"""What is installed is what was locked: exact versions, with hashes, from wherever they come."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-build.lock", "requirements-dev.lock"])
def test_everything_is_pinned_with_its_hashes(name):
    """Each requirement is one version and has a SHA-256; no index and no other file is named."""
    lines = re.sub(r"\\\n", "", (ROOT / name).read_text()).splitlines()
    requirements = [line for line in lines if line.strip() and not line.startswith("#")]
    loose = [
        line[:60]
        for line in requirements
        if not re.fullmatch(r"[a-z0-9-]+(\[[a-z,]+\])?==\S+( ; [^#]+?)?( +--hash=sha256:[0-9a-f]{64})+", line)
    ]

    assert len(requirements) > (3 if name == "requirements-build.lock" else 20)
    assert loose == []


def test_what_runs_holds_nothing_that_builds_or_tests():
    """The image and `make run` install it; a build backend there is one more thing to attack."""
    runs = {line.partition("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line}

    assert not runs & {
        "hatchling",
        "editables",
        "pathspec",
        "pluggy",
        "trove-classifiers",
        "pytest",
        "ruff",
        "mypy",
        "uv",
    }


def test_every_import_is_declared():
    """By this project itself, and not by luck through something that it depends on; each once."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for listed in project["optional-dependencies"].values() for each in listed]
    names = [re.match(r"[A-Za-z0-9-]+", each)[0] for each in [*project["dependencies"], *extras]]
    imported = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {each.name.partition(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.partition(".")[0])
    declared = {_normal(each) for each in names}
    provided = {module for module, by in packages_distributions().items() if {_normal(each) for each in by} & declared}

    assert len(names) == len(set(names))
    assert imported - set(sys.stdlib_module_names) - {"clawback"} <= provided


def _normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_python_of_the_classifiers_is_tested():
    """The workflow's matrix has each, and the package takes no older one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [each.rpartition(" ")[2] for each in project["classifiers"] if re.search(r"Python :: 3\.\d+$", each)]
    workflow = (ROOT / ".github/workflows/tests.yml").read_text()

    assert project["requires-python"] == f">={named[0]}"
    assert re.search(r"python: \[(.*)\]", workflow)[1] == ", ".join(f'"{each}"' for each in named)


def test_nothing_is_installed_without_the_locks():
    """Every install of the Makefile wants hashes, but for our own tree, which has no dependencies then."""
    installs = re.findall(r"^\t\$\(PIP\) .*$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert len(installs) >= 3
    assert [
        line for line in installs if "--require-hashes -r requirements" not in line and "--no-deps" not in line
    ] == []
