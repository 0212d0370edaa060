"""A TCP connection to a server, or to any of several, that a test can cut, and mend, while the server runs on."""

import asyncio
import itertools
from contextlib import suppress
from typing import Self


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
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task] = set()

    async def __aenter__(self) -> Self:
        """Lay it."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take it away."""
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """End every connection, and refuse new ones until `mend`."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """Let new connections through again."""
        self._is_cut = False

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
        await asyncio.gather(self._forward(reader, far_writer), self._forward(far_reader, writer))
        self._writers -= {writer, far_writer}
        self._tasks.discard(asyncio.current_task())

    async def _far_end(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in range(self._tries):
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", next(self._targets))
        return None

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # An end of one direction, clean or not, is an end of both.
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
