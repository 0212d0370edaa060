"""
Fenced `console` blocks of the documents: a command, and what it prints.

`…` in the expected output stands for anything, as a line of its own for any lines.
"""

import re
from typing import NamedTuple

PORT = "8787"
"""What the documents show, and a test replaces by the port of its server."""


class Step(NamedTuple):
    """One block: what is typed, and what is printed."""

    command: str
    expected: str


def steps(document: str, heading: str | None = None) -> list[Step]:
    """Read the blocks of a document, or of its section with that heading."""
    if heading is not None:
        document = document.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^( *)```console\n(.*?)^\1```$", document, re.MULTILINE | re.DOTALL)
    return [parse_block(re.sub(f"^{indent}", "", block, flags=re.MULTILINE)) for indent, block in blocks]


def parse_block(block: str) -> Step:
    """Part a block: a line that ends in a backslash or inside single quotes goes on in the next, the rest is output."""
    command, lines = "", block.splitlines()
    while lines and (not command or command.endswith("\\\n") or command.count("'") % 2):
        command += lines.pop(0) + "\n"
    assert command.startswith("$ "), f"a block starts with a command: {block}"
    return Step(command[2:].rstrip("\n"), "\n".join(lines))


def expectation(expected: str, port: int) -> re.Pattern[str]:
    """Turn expected output into a pattern: `…` is a word, any fields in JSON, and any lines where it stands alone."""
    lines = expected.replace(f":{PORT}", f":{port}").split("\n")
    return re.compile("".join(map(_pattern, lines)))


def _pattern(line: str) -> str:
    if line == "…":
        return r"(?:.*\n)*"
    return re.escape(line).replace("…", ".+" if line.startswith("{") else r"\S+") + r"\n"
