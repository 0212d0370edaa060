"""Who may import whom: the rule of CONTRIBUTING.md, read off the source."""

import ast
import re
from pathlib import Path

import pytest

import clawback

ROOT = Path(clawback.__file__).parent
WORDS = {"errors", "model", "fields", "wire"}
ROOMS = {"senders", "webhooks", "crons", "sessions", "accounts", "operations", "web", "api"}
KNOWN_EXCEPTIONS = {
    ("webhooks", "accounts"),
    ("webhooks", "senders"),
    ("webhooks", "payloads"),
    ("operations", "senders"),
    ("operations", "accounts"),
    ("operations", "webhooks"),
    ("web", "accounts"),
    ("web", "operations"),
    ("web", "api"),
    ("api", "accounts"),
    ("api", "operations"),
}
"""
The endpoint opens secrets with the vault; operations are made of the rooms' rules: what a source or token may be. Pages
let people in by their tokens and show what operations answer, and the API answers it to programs.
"""

MODULES = sorted(path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.rglob("*.py"))


def says_pure(module):
    """Tell whether a module's docstring has a sentence that begins with `Pure`."""
    words = ast.get_docstring(ast.parse((ROOT / f"{module}.py").read_text())) or ""
    return re.search(r"(^|[.!?]\s+)Pure\b", words) is not None


PURE = [module for module in MODULES if says_pure(module)]


def imported(module):
    """Name what a module imports: our own modules as paths (`store/lines`), others by their first name."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} if node.module != "clawback" else {f"clawback.{alias.name}" for alias in node.names}
    ours = {name.removeprefix("clawback.").replace(".", "/") for name in names if name.startswith("clawback.")}
    return ours - {"__version__"}, {name.split(".")[0] for name in names if not name.startswith("clawback")}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_what_it_may(module):
    """Only the fabric knows nats, rooms meet through it, the channel knows the words only, `tracing` OpenTelemetry."""
    ours, others = imported(module)
    folder = module.partition("/")[0] if "/" in module else None
    rooms = {name.partition("/")[0] for name in ours} & ROOMS

    assert folder == "fabric" or "nats" not in others
    assert module == "telemetry/tracing" or "opentelemetry" not in others
    if folder in ROOMS:
        assert {(folder, room) for room in rooms - {folder}} <= KNOWN_EXCEPTIONS
    if folder == "fabric":
        assert not rooms, "the fabric is below the rooms"
        assert not any(name.startswith("store/") for name in ours), "the fabric is below the store"
    if folder == "store":
        assert not rooms, "the store is below the rooms"
    if folder == "channel":
        assert {name for name in ours if not name.startswith("channel")} <= WORDS | {"system/file_lock"}


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_does_nothing(module):
    """No event loop, no clock, no randomness, no files, no log: values in, values out."""
    _, others = imported(module)

    assert not others & {"asyncio", "time", "random", "secrets", "os", "logging", "nats", "anyio"}


SUBJECT = re.compile(
    r"(\$KV|evt|wake|stack|hist|drop|dead|later|seen|refused|ctl|msg|left|changed|packs"
    r"|prof|hook|tok|tokid|src|cron|slug|gh|ghlogin|quiet)\.[a-z0-9_$*>{]*"
)
"""What begins with the first token of a subject, or of a key, and a dot."""


@pytest.mark.parametrize(
    "module", [module for module in MODULES if module != "fabric/subjects" and "senders/" not in module]
)
def test_subjects_are_written_in_one_file(module):
    """No subject, filter or key of NATS is put together anywhere but in `fabric/subjects.py`; docstrings name them."""
    tree = ast.parse((ROOT / f"{module}.py").read_text())
    words = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    found = [each.value for each in texts if id(each) not in words and SUBJECT.fullmatch(each.value)]

    assert not found
