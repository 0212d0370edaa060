"""Waiting for what happens elsewhere: on a condition, under a deadline."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.01


async def eventually(condition: Callable[[], T | Awaitable[T]], timeout: float = 15.0) -> T:  # noqa: ASYNC109 -- the last value goes into the failure
    """Ask `condition` (plain or async) every 10 ms until it is true and return what it said; fail after `timeout` s."""
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not so within {timeout:g} s; the last value was {value!r}")
        await asyncio.sleep(POLL_SECONDS)
