"""Turns: a few requests of each caller at a time, whoever asks how often."""

import asyncio

import pytest

from clawback.http.turns import AT_ONCE, Turns
from waiting import eventually


class Asked:
    """What was asked, in the order in which it began; it goes on until it is let go."""

    def __init__(self, turns):
        self._turns = turns
        self.begun = []
        self.go = asyncio.Event()

    async def ask(self, caller, name):
        """Wait for a turn, and have it until it is let go."""
        async with self._turns.turn(caller):
            self.begun.append(name)
            await self.go.wait()


async def test_a_few_are_under_way_and_the_others_in_their_order():
    """None is left out, and none passes another."""
    turns = Turns()
    asked = Asked(turns)
    async with asyncio.TaskGroup() as tasks:
        for number in range(5 * AT_ONCE):
            tasks.create_task(asked.ask("a", number))
        await eventually(lambda: len(asked.begun) == AT_ONCE)
        asked.go.set()

    assert asked.begun == list(range(5 * AT_ONCE))


async def test_others_wait_for_none_of_it():
    """Another caller's request begins at once, while one has all turns that it may have and more waiting."""
    turns = Turns()
    asked = Asked(turns)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(5 * AT_ONCE):
            tasks.create_task(asked.ask("a", "a"))
        await eventually(lambda: len(asked.begun) == AT_ONCE)
        tasks.create_task(asked.ask("b", "b"))
        await eventually(lambda: asked.begun[-1] == "b")
        asked.go.set()


async def test_what_is_answered_without_waiting_comes_in_steps():
    """Between two steps of the loop no more of it is done than there are turns."""
    turns = Turns()
    done, most = 0, 0

    async def ask():
        nonlocal done
        async with turns.turn("a"):
            done += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(10 * AT_ONCE):
            tasks.create_task(ask())
        while done < 10 * AT_ONCE:
            before = done
            await asyncio.sleep(0)
            most = max(most, done - before)

    assert most == AT_ONCE


async def test_who_gives_up_takes_no_turn():
    """One that ends while it waits leaves its turn to the next, and one that fails gives it back."""
    turns = Turns(at_once=1)
    asked = Asked(turns)
    holding, waiting = [asyncio.create_task(asked.ask("a", name)) for name in ("holding", "waiting")]
    await eventually(lambda: asked.begun)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    asked.go.set()
    await holding
    with pytest.raises(ZeroDivisionError):
        async with turns.turn("a"):
            raise ZeroDivisionError
    await asked.ask("a", "last")

    assert asked.begun == ["holding", "last"]
    assert not turns._lines, "who asks nothing costs nothing"


async def test_a_turn_is_over_once_the_answer_begins():
    """So as many may read a stream as want to, and a client that does not read holds up none of the caller's others."""
    turns = Turns(at_once=1)
    begun, go = 0, asyncio.Event()

    async def stream(_scope, _receive, send):
        nonlocal begun
        await send({"type": "http.response.start", "status": 200})
        begun += 1
        await go.wait()

    async def send(_message):
        pass

    async with asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(turns.serve("a", stream, {}, None, send))
        await eventually(lambda: begun == 20)
        go.set()
