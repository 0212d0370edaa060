"""A TCP connection to a server, or to any of several, that a test can cut, slow down, and mend, while it runs on."""

import asyncio
import itertools
from contextlib import suppress
from typing import Literal, Self

Way = Literal["up", "down"]
"""To the server, or from it."""

WAYS: tuple[Way, ...] = ("up", "down")


class Cable:
    """
    A forwarder to a local port: `async with Cable(port) as cable: … cable.port`.

    Of several ports each connection goes to the next on which somebody listens, as a load balancer does it.
    """

    def __init__(self, *targets: int) -> None:
        self.port = 0
        self._targets = itertools.cycle(targets)
        self._tries = len(targets)
        self._is_cut = False
        self._delay_s = 0.0
        self._piece_bytes = 65536
        self._server: asyncio.Server | None = None
        # Of each connection one event for each way, which is cleared while nothing goes through.
        self._open: set[tuple[Way, asyncio.Event]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task] = set()

    @property
    def url(self) -> str:
        """Where its near end is, for what speaks HTTP."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        """Lay it."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take it away."""
        self._server.close()
        self.cut()
        self._let_through()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """End every connection, and refuse new ones until `mend`."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def hold(self, *ways: Way) -> None:
        """
        Let nothing more through these ways of the connections that there are, and tell neither end, until `mend`.

        As a router does it that has forgotten a connection; new ones are none of its business.
        """
        for way, event in self._open:
            if way in ways:
                event.clear()

    def slow(self, delay_s: float, piece_bytes: int = 65536) -> None:
        """Let `piece_bytes` at a time through, each piece so much later, in every connection until `mend`."""
        self._delay_s, self._piece_bytes = delay_s, piece_bytes

    def mend(self) -> None:
        """Let everything through again, at once: new connections, and what was held, which arrives late."""
        self._is_cut = False
        self.slow(0.0)
        self._let_through()

    def _let_through(self) -> None:
        for _, event in self._open:
            event.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        self._tasks.add(asyncio.current_task())
        far = await self._far_end()
        if far is None:
            writer.transport.abort()
            self._tasks.discard(asyncio.current_task())
            return
        far_reader, far_writer = far
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._forward("up", reader, far_writer), self._forward("down", far_reader, writer))
        self._writers -= {writer, far_writer}
        self._tasks.discard(asyncio.current_task())

    async def _far_end(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in range(self._tries):
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", next(self._targets))
        return None

    async def _forward(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (way, asyncio.Event())
        line[1].set()
        self._open.add(line)
        # An end of one direction, clean or not, is an end of both. While it is held, that is not heard of either.
        with suppress(OSError):
            while data := await reader.read(self._piece_bytes):
                await asyncio.sleep(self._delay_s)
                await line[1].wait()
                writer.write(data)
                await writer.drain()
        await line[1].wait()
        self._open.discard(line)
        writer.close()
