"""Writes the commit that a wheel is built from into it; `clawback --version` names it (src/clawback/build.py)."""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CommitHook(BuildHookInterface):
    """Adds `commit.txt` to the package, from BUILD_COMMIT (an image has no .git) or git; nothing without both."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Take part in a build; an editable install reads the clone's own .git instead."""
        commit = os.environ.get("BUILD_COMMIT") or self._ask_git()
        if version == "editable" or not commit:
            return
        folder = Path(tempfile.mkdtemp())
        (folder / "commit.txt").write_text(commit)
        build_data["force_include"][str(folder / "commit.txt")] = "clawback/commit.txt"

    def _ask_git(self) -> str:
        if not (Path(self.root) / ".git").exists():
            return ""
        try:
            asked = subprocess.run(  # noqa: S603 -- nothing of it comes from outside
                ["git", "-C", self.root, "rev-parse", "HEAD"],  # noqa: S607 -- the builder's own
                capture_output=True, text=True, check=True,
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError):
            return ""
        return asked.stdout.strip()
