"""
One run of a command: text on its stdin, its output passed on and the end of it kept, and nothing left of it afterwards.

No shell: the words are the program and its arguments. The command has a process group of its own, so that a Ctrl-C at
the terminal is ours to handle, and so that what it started ends with it.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import IO, BinaryIO

from clawback.commands.run_rules import Ended
from clawback.system.children import dies_with_parent

GRACE_SECONDS = 10.0
"""Between SIGTERM and SIGKILL: time to put down what it holds."""

DRAIN_SECONDS = 1.0
"""For output that is still in the pipe when the command has ended."""

KEPT_BYTES = 8192
"""Of the end of each output."""


async def run_command(command: Sequence[str], text: str, environment: Mapping[str, str], timeout_s: float) -> Ended:
    """
    Run a command to its end, or until its time is up; cancelled, it ends the command before it returns.

    Raises:
        OSError: it cannot be started.
    """
    started = time.monotonic()
    with tempfile.TemporaryFile() as stdin:
        # A file without a name, and no pipe: a command need not read what it is given.
        stdin.write(text.encode("utf-8", "replace"))
        stdin.seek(0)
        # Not asyncio's own: that says that a process has ended only when its pipes are closed, and what the command
        # started and left behind may hold them open.
        process = subprocess.Popen(  # noqa: ASYNC220, S603 -- starting takes no time; what is run is the user's own
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            preexec_fn=dies_with_parent,  # noqa: PLW1509 -- it makes one system call
        )
    assert process.stdout is not None, "it was asked for"
    assert process.stderr is not None, "it was asked for"
    output, errors = bytearray(), bytearray()
    ending = asyncio.create_task(asyncio.to_thread(process.wait), name="end of the command")
    passing = [
        asyncio.create_task(_pass_on(process.stdout, sys.stdout.buffer, output), name="stdout"),
        asyncio.create_task(_pass_on(process.stderr, sys.stderr.buffer, errors), name="stderr"),
    ]
    try:
        await asyncio.wait([ending], timeout=timeout_s)
        timed_out = not ending.done()
    finally:
        code = await _stop(process.pid, ending)
        await asyncio.wait(passing, timeout=DRAIN_SECONDS)
        for task in passing:
            task.cancel()
    return Ended(code, timed_out, time.monotonic() - started, _text(output), _text(errors))


async def _stop(group: int, ending: "asyncio.Task[int]") -> int:
    """End the command if it runs, first kindly, and what it left behind; returns its exit code."""
    if not ending.done():
        _signal_group(group, signal.SIGTERM)
        await asyncio.wait([ending], timeout=GRACE_SECONDS)
    # Nothing else has this number yet: the kernel goes through all others before it gives one again.
    _signal_group(group, signal.SIGKILL)
    return await ending


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


async def _pass_on(pipe: IO[bytes], to: BinaryIO, kept: bytearray) -> None:
    stream = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
    try:
        await _read(stream, to, kept)
    finally:
        transport.close()


async def _read(stream: asyncio.StreamReader, to: BinaryIO, kept: bytearray) -> None:
    is_open = True
    while chunk := await stream.read(65536):
        kept += chunk
        del kept[:-KEPT_BYTES]
        if is_open:
            # In a thread: whoever reads our output may be slow, and the server waits for no pong.
            is_open = await asyncio.to_thread(_write, to, chunk)


def _write(to: BinaryIO, chunk: bytes) -> bool:
    """Write, and say whether anybody may still be reading."""
    try:
        to.write(chunk)
        to.flush()
    except OSError:
        return False  # as after `| head`; the run goes on
    return True


def _text(kept: bytearray) -> str:
    return bytes(kept).decode("utf-8", "replace")
