"""
What is printed for people: tables and facts, in 80 columns where nobody says otherwise.

Slugs, tags, types and payloads are others' text, so nothing of them reaches the terminal unless it prints, and none of
it is read as rich's markup.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from clawback.commands.terminal import printable

COLUMNS = 80
WATCH_SECONDS = 2.0

GAP = 2
"""Columns between two columns of a table."""

NARROWEST = 4

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def text(value: object, style: str = "") -> Text:
    """Take somebody's words as they are, without what could command a terminal."""
    return Text("" if value is None else printable(str(value)), style=style)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, whole: Sequence[str] = ()) -> Table:
    """Build a table that fits the width; columns in `whole`, such as an id, are never cut, the widest others are."""
    cells = [[cell if isinstance(cell, Text) else text(cell) for cell in row] for row in rows]
    widths = [max([len(name), *(row[number].cell_len for row in cells)]) for number, name in enumerate(columns)]
    for _ in range(max(0, sum(widths) + GAP * (len(columns) - 1) - width())):
        flexible = [number for number, name in enumerate(columns) if name not in whole and widths[number] > NARROWEST]
        if not flexible:
            break
        widths[max(flexible, key=lambda number: widths[number])] -= 1
    made = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for name, wide in zip(columns, widths, strict=True):
        made.add_column(name.upper(), no_wrap=True, overflow="ellipsis", min_width=wide, max_width=wide)
    for row in cells:
        made.add_row(*row)
    return made


def facts(pairs: Iterable[tuple[str, object]]) -> RenderableType:
    """Build a list of names and values; what has no value is left out, and nothing is cut."""
    known = [(name, value) for name, value in pairs if value not in (None, "")]
    wide = max((len(name) for name, _ in known), default=0) + GAP
    lines = []
    for name, value in known:
        line = text(name.ljust(wide), "bold")
        lines.append(line.append_text(value if isinstance(value, Text) else text(value)))
    return Group(*lines)


def show(*parts: RenderableType) -> None:
    """Print on stdout; lines of text are not broken, so that a URL can be copied."""
    console = _console()
    with console.capture() as capture:
        for part in parts:
            console.print(part, soft_wrap=not isinstance(part, Table))
    said = capture.get()
    if not console.is_terminal:
        said = "".join(f"{line.rstrip()}\n" for line in said.splitlines())
    sys.stdout.write(said)
    sys.stdout.flush()


def watch(build: Callable[[], RenderableType]) -> None:
    """Show it anew every two seconds until Ctrl-C; where no terminal is, only when it has changed."""
    console = _console()
    if console.is_terminal:
        from rich.live import Live

        with Live(build(), console=console, auto_refresh=False, vertical_overflow="visible") as live:
            while True:
                time.sleep(WATCH_SECONDS)
                live.update(build(), refresh=True)
    last = ""
    while True:
        with console.capture() as capture:
            console.print(build())
        if capture.get() != last:
            last = capture.get()
            print(last, end="", flush=True)
        time.sleep(WATCH_SECONDS)


def _console() -> Console:
    return Console(width=width(), highlight=False, markup=False, emoji=False)


def width() -> int:
    """Say how wide the terminal is; 80 columns where none is."""
    return shutil.get_terminal_size((COLUMNS, 24)).columns if sys.stdout.isatty() else COLUMNS


def age(at: object, now: datetime | None = None) -> str:
    """Say how long ago, or in how long: `5m`, `in 3h`; empty where there is no time."""
    if not isinstance(at, str):
        return ""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(at)).total_seconds()
    size = abs(seconds)
    if size < _MINUTE:
        said = f"{size:.0f}s"
    elif size < _HOUR:
        said = f"{size / _MINUTE:.0f}m"
    elif size < _DAY:
        said = f"{size / _HOUR:.0f}h"
    else:
        said = f"{size / _DAY:.0f}d"
    return f"in {said}" if seconds < 0 else said


def moment(at: object) -> str:
    """Write a time by this machine's clock; empty where there is none."""
    return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M:%S}" if isinstance(at, str) else ""


def tag(value: object) -> str:
    """Name a session; null is the one without a tag."""
    return "(untagged)" if value in (None, "") else str(value)


def first_line(value: Any, most: int = 60) -> str:
    """Take the beginning of a text, for a row."""
    line = printable(str(value or "").strip())
    return line if len(line) <= most else f"{line[: most - 1]}…"
