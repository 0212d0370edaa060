"""One run of a command: real processes that read nothing, say much, or do not want to end."""

import asyncio
import os
import sys

import pytest

from clawback.commands import child
from clawback.commands.child import run_command
from waiting import eventually

BIG = "x" * 300_000


async def run(script, text="", timeout_s=30.0):
    """Run some Python."""
    return await run_command([sys.executable, "-c", script], text, os.environ, timeout_s)


async def test_the_text_is_on_standard_input_and_ends_there():
    """However long, and in UTF-8."""
    ended = await run("import sys; text = sys.stdin.buffer.read().decode(); print(len(text), text[-2:])", BIG + "é\n")

    assert (ended.code, ended.output) == (0, "300002 é\n\n")


@pytest.mark.parametrize("script", ["pass", "import sys; sys.stdin.close()"])
async def test_a_command_need_not_read_it(script):
    """More than a pipe holds is no reason to wait for ever."""
    assert (await run(script, BIG)).code == 0


async def test_the_end_of_much_output_is_kept(capfdbinary):
    """And all of it is passed on."""
    ended = await run("import sys; print('y' * 500_000); print('end', file=sys.stderr)")
    passed_on = capfdbinary.readouterr()

    assert ended.output == "y" * (child.KEPT_BYTES - 1) + "\n"
    assert (len(passed_on.out), passed_on.err) == (500_001, b"end\n")


async def test_one_that_does_not_want_to_end_is_killed(monkeypatch):
    """After its time it is asked, then told."""
    monkeypatch.setattr(child, "GRACE_SECONDS", 0.2)
    ended = await run("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)", "", 0.5)

    assert (ended.code, ended.timed_out) == (-9, True)


async def test_cancelled_it_is_ended_before_anything_else_happens(tmp_path):
    """Whoever cancels may start the next one at once."""
    script = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    task = asyncio.create_task(run(script))
    pid = int(await eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), timeout=20.0))
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_what_cannot_be_started_says_so():
    """As an error of the system's."""
    with pytest.raises(FileNotFoundError):
        await run_command(["/no/such/program"], "", os.environ, 1.0)
