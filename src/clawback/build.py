"""Which build this is: the version, and the commit where it is known. For support; nothing decides by it."""

import re
from functools import cache
from pathlib import Path

from clawback import __version__

_PACKAGE = Path(__file__).parent
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
SHOWN_CHARACTERS = 12


@cache
def commit() -> str:
    """Name the commit: as the wheel's build wrote it, or as the clone's .git has it; empty where neither is known."""
    for text in (_read(_PACKAGE / "commit.txt"), _read_head(_PACKAGE.parent.parent / ".git")):
        if _COMMIT.fullmatch(text):
            return text[:SHOWN_CHARACTERS]
    return ""


def describe() -> str:
    """Name version and commit."""
    return f"{__version__} ({commit()})" if commit() else __version__


def _read_head(git: Path) -> str:
    """Read what a clone has checked out, without git. In a worktree, .git is a file that leads there."""
    if (pointer := _read(git)).startswith("gitdir: "):
        git = git.parent / pointer.removeprefix("gitdir: ")
    head = _read(git / "HEAD")
    if not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    common = git / (_read(git / "commondir") or ".")
    packed = re.search(rf"^([0-9a-f]+) {re.escape(name)}$", _read(common / "packed-refs"), re.MULTILINE)
    return _read(common / name) or (packed[1] if packed else "")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""  # not there, or a directory: nothing is known from it
