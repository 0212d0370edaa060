"""Heavy work takes turns."""

import asyncio
import threading

from clawback.system.heavy import MAX_AT_ONCE, run_heavy


async def test_few_are_at_work_at_once():
    """All of them are done, and the loop goes on meanwhile."""
    gate, lock = threading.Event(), threading.Lock()
    at_work, most = 0, 0

    def work(number: int) -> int:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        gate.wait(timeout=30)
        with lock:
            at_work -= 1
        return number

    tasks = [asyncio.create_task(run_heavy(work, number)) for number in range(8)]
    await asyncio.sleep(0)
    gate.set()

    assert await asyncio.gather(*tasks) == list(range(8))
    assert most <= MAX_AT_ONCE


async def test_what_fails_there_fails_here():
    """With its own error."""
    results = await asyncio.gather(run_heavy(int, "x"), return_exceptions=True)

    assert isinstance(results[0], ValueError)
