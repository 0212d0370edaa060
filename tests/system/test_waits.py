"""What sessions wait for behaves as asyncio's Event and Queue do."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.system.waits import Mailbox, Signal


async def test_a_signal_lets_everybody_go_who_waits():
    """All of them, and whoever comes once it is set."""
    signal = Signal()
    waiting = [asyncio.create_task(signal.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    signal.set()
    await asyncio.gather(*waiting)
    await signal.wait()

    assert signal.is_set()


async def test_a_signal_that_is_cleared_at_once_has_been_heard():
    """As with asyncio's: who waited goes on, who comes later waits."""
    signal = Signal()
    waiting = asyncio.create_task(signal.wait())
    await asyncio.sleep(0)
    signal.set()
    signal.clear()
    await waiting
    late = asyncio.create_task(signal.wait())
    done, _ = await asyncio.wait([late], timeout=0.01)
    late.cancel()

    assert not done


async def test_one_who_gives_up_keeps_nobody_else_from_waiting():
    """A cancelled wait ends itself alone."""
    signal = Signal()
    gives_up, stays = (asyncio.create_task(signal.wait()) for _ in range(2))
    await asyncio.sleep(0)
    gives_up.cancel()
    await asyncio.wait([gives_up])
    signal.set()
    await stays

    assert gives_up.cancelled()


@given(st.lists(st.one_of(st.integers(1, 9), st.sampled_from(["get", "give up", "turn"])), max_size=30))
def test_a_mailbox_gives_everything_once_and_in_order(steps):
    """Whatever is put in and whenever its reader gives up: nothing is lost, nothing overtakes."""

    async def run() -> tuple[list[int], list[int]]:
        mailbox: Mailbox[int] = Mailbox()
        put: list[int] = []
        got: list[int] = []
        reading: asyncio.Task[None] | None = None

        async def read() -> None:
            got.append(await mailbox.get())

        for step in steps:
            if isinstance(step, int):
                mailbox.put_nowait(step)
                put.append(step)
            elif step == "get" and (reading is None or reading.done()):
                reading = asyncio.create_task(read())
            elif step == "give up" and reading is not None:
                reading.cancel()
                await asyncio.wait([reading])
            else:
                await asyncio.sleep(0)
        if reading is not None:
            reading.cancel()
            await asyncio.wait([reading])
        while not mailbox.empty():
            got.append(await mailbox.get())
        return put, got

    put, got = asyncio.run(run())

    assert got == put


async def test_a_full_mailbox_refuses_or_waits():
    """`put_nowait` raises as asyncio's does; `put` goes on when something was taken."""
    mailbox: Mailbox[str] = Mailbox(1)
    await mailbox.put("first")
    with pytest.raises(asyncio.QueueFull):
        mailbox.put_nowait("second")
    waiting = asyncio.create_task(mailbox.put("third"))
    await asyncio.sleep(0)
    first = await mailbox.get()
    await waiting

    assert (first, await mailbox.get(), mailbox.empty()) == ("first", "third", True)
