"""
Work that takes the CPU for long: in threads, of which there are few.

Python runs one thread at a time, so more of them would only take turns with whoever serves; and each may hold a large
body more than once. What waits here is bounded by what asks: a request or a session each waits for its own.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

MAX_AT_ONCE = 2

HEAVY_BYTES = 256 * 1024
"""Reading JSON up to here takes some milliseconds at most; what is larger is worth a thread."""

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")

_pool = ThreadPoolExecutor(MAX_AT_ONCE, thread_name_prefix="heavy")


async def run_heavy(work: Callable[_Given, _Result], *args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
    """Do `work` in one of the few threads, once it is its turn."""
    return await asyncio.get_running_loop().run_in_executor(_pool, partial(work, *args, **kwargs))
