"""
What tasks wait for where there are thousands of them: asyncio's Event and Queue, as far as sessions use them.

Each of asyncio's holds deques of 760 bytes whether anybody waits or not: an Event one, a Queue four. A connected
session has eight of the one and three of the other, which was a third of its memory (docs/performance.md).
"""

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Signal:
    """An `asyncio.Event`: set and cleared by anybody, waited for by any number of tasks."""

    __slots__ = ("_future", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._future: asyncio.Future[None] | None = None

    def is_set(self) -> bool:
        """Tell whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it, and let every waiter go on, even where it is cleared at once."""
        self._is_set = True
        if self._future is not None:
            self._future.set_result(None)
            self._future = None

    def clear(self) -> None:
        """Make later waiters wait until it is set again."""
        self._is_set = False

    def future(self) -> asyncio.Future[None]:
        """Return what is done once it is set; for `asyncio.wait`. It is everybody's: do not cancel it."""
        future = self._future or asyncio.get_running_loop().create_future()
        if self._is_set:
            future.set_result(None)
        else:
            self._future = future
        return future

    async def wait(self) -> None:
        """Return once it is set."""
        if not self._is_set:
            await asyncio.shield(self.future())


class Mailbox(Generic[T]):
    """An `asyncio.Queue` with one reader, and with one writer that waits for room where it has a `size`."""

    __slots__ = ("_items", "_reader", "_size", "_writer")

    def __init__(self, size: int | None = None) -> None:
        self._size = size
        # Made for what waits: most are empty at nearly all times.
        self._items: deque[T] | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    def empty(self) -> bool:
        """Tell whether nothing is in it."""
        return self._items is None

    def put_nowait(self, item: T) -> None:
        """
        Put something in.

        Raises:
            QueueFull: as much is in it as may.
        """
        if self._is_full():
            raise asyncio.QueueFull
        if self._items is None:
            self._items = deque()
        self._items.append(item)
        _wake(self._reader)

    async def put(self, item: T) -> None:
        """Put something in, as soon as there is room for it."""
        while self._is_full():
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer
        self.put_nowait(item)

    async def get(self) -> T:
        """Take what came first, as soon as there is something. Cancelled, it has taken nothing."""
        while self._items is None:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        item = self._items.popleft()
        if not self._items:
            self._items = None
        _wake(self._writer)
        return item

    def _is_full(self) -> bool:
        return self._size is not None and self._items is not None and len(self._items) >= self._size


def _wake(waiting: asyncio.Future[None] | None) -> None:
    # Neither one that was cancelled nor one that was woken waits any more.
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
