"""
Turns: of what one caller asks, a few requests are under way at a time, and the others wait in their order.

There is one event loop for everybody. Who sends a hundred requests at once would have a hundred steps of it done
between two of anybody else's, whose delivery and ack take several each. Waiting costs nothing, and nothing is refused.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Generic, TypeVar

AT_ONCE = 8
"""As many as a person's programs have under way; and so many steps of the loop are some milliseconds."""

Caller = TypeVar("Caller", bound=Hashable)
Message = Any
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


class _Line:
    """What one caller asks: `asked` counts those that wait and those that are under way."""

    def __init__(self, at_once: int) -> None:
        self.free = asyncio.Semaphore(at_once)
        self.asked = 0


class Turns(Generic[Caller]):
    """The turns of every caller; one who asks nothing costs nothing."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._lines: dict[Caller, _Line] = {}

    @asynccontextmanager
    async def turn(self, caller: Caller) -> AsyncIterator[None]:
        """Wait for a turn, and have it as long as the context lasts."""
        line = self._lines.get(caller)
        if line is None:
            line = self._lines[caller] = _Line(self._at_once)
        line.asked += 1
        try:
            async with line.free:
                # Most is answered without waiting for anything: all of it would be, one after another, before others
                # have a step.
                await asyncio.sleep(0)
                yield
        finally:
            line.asked -= 1
            if not line.asked:
                del self._lines[caller]

    async def serve(self, caller: Caller, app: Asgi, scope: Message, receive: Message, send: Message) -> None:
        """Serve an HTTP request in its turn, which is over once its answer begins: some answers are streams."""
        async with AsyncExitStack() as turn:
            await turn.enter_async_context(self.turn(caller))

            async def begin(message: Message) -> None:
                if message["type"] == "http.response.start":
                    await turn.aclose()
                await send(message)

            await app(scope, receive, begin)
