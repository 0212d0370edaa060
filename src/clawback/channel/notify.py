"""
Desktop notifications: a program of the platform's is asked to show one, `notify-send` or `osascript`.

Texts are arguments and nothing else: there is no shell, what follows `--` is no option, and AppleScript gets them as
the arguments of its `run` handler. They quote what Claude wrote about data from outside, so they may hold anything. A
notification that cannot be shown is no reason for anything: the first one is logged, and that is all.
"""

import asyncio
import logging
import sys
import unicodedata
from collections.abc import Sequence

MAX_CHARACTERS = 300
"""Of a text; desktops show less."""

SHOW_SECONDS = 10.0
"""What the program may take; then it is ended."""

_SCRIPT = (
    "on run argv",
    'display notification (item 1 of argv) with title "Clawback" subtitle (item 2 of argv)',
    "end run",
)

log = logging.getLogger("clawback.channel")


def build_command(platform: str, text: str, about: str) -> list[str]:
    """
    Build the program and arguments that show `text`, with a line on what it is `about`. Pure.

    `text` is the heading on a desktop of freedesktop.org, where a heading is plain text and a body is markup, so what
    could be markup in `about` is left out.
    """
    text, about = _clean(text), _clean(about)
    if platform == "darwin":
        script = [part for line in _SCRIPT for part in ("-e", line)]
        return ["osascript", *script, "--", text, about]
    plain = "".join(character for character in about if character not in "<>&")
    return ["notify-send", "--app-name=Clawback", "--", text, plain]


class Notifier:
    """Shows notifications in the background, one program each; `platform` is as `sys.platform`."""

    def __init__(self, platform: str = sys.platform) -> None:
        self._platform = platform
        self._showing: set[asyncio.Task[None]] = set()
        self._failed = False

    def notify(self, text: str, about: str) -> None:
        """Show a notification, soon, if that is possible. Returns at once."""
        task = asyncio.create_task(self._show(build_command(self._platform, text, about)), name="notification")
        self._showing.add(task)
        task.add_done_callback(self._showing.discard)

    async def _show(self, command: Sequence[str]) -> None:
        try:
            code = await _run(command)
        except (OSError, TimeoutError) as error:
            self._report(command[0], str(error) or f"it took more than {SHOW_SECONDS:.0f} s")
        else:
            if code != 0:
                self._report(command[0], f"it ended with code {code}")

    def _report(self, program: str, problem: str) -> None:
        if not self._failed:
            log.warning(
                "no desktop notification could be shown with %s: %s; further ones are not told", program, problem
            )
        self._failed = True


async def _run(command: Sequence[str]) -> int:
    """
    Run a program to its end and return its code.

    Raises:
        OSError: it cannot be started.
        TimeoutError: it took too long, and was ended.
    """
    nothing = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdin=nothing, stdout=nothing, stderr=nothing)
    try:
        async with asyncio.timeout(SHOW_SECONDS):
            return await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise


def _clean(text: str) -> str:
    """Make a text one line without control characters or halves of surrogate pairs, which no argument can hold."""
    spaced = "".join(" " if character.isspace() else character for character in text)
    kept = "".join(character for character in spaced if unicodedata.category(character) not in ("Cc", "Cs"))
    return kept if len(kept) <= MAX_CHARACTERS else f"{kept[: MAX_CHARACTERS - 1]}…"
