"""
The channel's end of the socket that hooks and the monitor of its Claude Code connect to (rendezvous.py).

A hook sends one line of JSON and is answered with the text that it prints; the monitor says that it is one and is sent
a line for each announcement; `clawback doctor` asks by which way events go, and is answered with that as JSON. A newer
channel of the same Claude Code takes the socket's place.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from clawback.channel.claude import rendezvous
from clawback.channel.claude.ways import Standing

MAX_QUESTION_BYTES = 32 * 1024 * 1024
"""A hook is told the whole prompt; far above what a model takes."""

log = logging.getLogger("clawback.channel")


class HookCall(Struct, frozen=True):
    """A hook ran: its name, and what Claude Code told it. Or who asks is no hook."""

    hook: str = ""
    input: dict[str, Any] = {}
    monitor: bool = False
    standing: bool = False


_decode = msgspec.json.Decoder(HookCall).decode


class Link:
    """
    Takes hooks and the monitor for the Claude Code process `pid`.

    `hooked` answers a hook; `monitor_came` and `monitor_went` are told when there is a monitor and when there is none;
    `standing` says by which way events go.
    """

    def __init__(
        self,
        pid: int,
        hooked: Callable[[str, dict[str, Any]], str],
        monitor_came: Callable[[], None],
        monitor_went: Callable[[], None],
        standing: Callable[[], Standing],
    ) -> None:
        self._pid = pid
        self._hooked = hooked
        self._monitor_came = monitor_came
        self._monitor_went = monitor_went
        self._standing = standing
        self._monitor: asyncio.StreamWriter | None = None
        self._directory = Path(rendezvous.run_directory())
        self._inode = 0

    async def run(self) -> None:
        """Listen for as long as the program lives; without a directory to listen in, it goes on without hooks."""
        if not hasattr(socket, "AF_UNIX"):
            log.warning("hooks cannot reach this channel: this system has no sockets that are files")
            return
        try:
            listener = self._bind()
        except OSError as error:
            log.warning("hooks cannot reach this channel: %s: %s", self._directory, error.strerror)
            return
        server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MAX_QUESTION_BYTES)
        async with server:
            await server.serve_forever()

    def take_start(self) -> dict[str, Any] | None:
        """Read what the SessionStart hook was told, which ran before there was a channel; once."""
        path = self._directory / f"{self._pid}.start"
        try:
            told = path.read_bytes()
            path.unlink()
            return msgspec.json.decode(told, type=dict[str, Any])
        except (OSError, msgspec.DecodeError):
            return None  # it did not run, or an older channel of this Claude Code took it

    def announce(self, line: str) -> None:
        """
        Have the monitor print a line.

        Raises:
            ConnectionError: there is no monitor.
        """
        if self._monitor is None or self._monitor.is_closing():
            raise ConnectionResetError("no monitor is connected")
        self._monitor.write(line.encode() + b"\n")

    def close(self) -> None:
        """Remove the socket, unless it is a newer channel's."""
        path = self._directory / f"{self._pid}.sock"
        with contextlib.suppress(OSError):
            if path.stat().st_ino == self._inode:
                path.unlink()

    def _bind(self) -> socket.socket:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        self._sweep()
        listener = socket.socket(socket.AF_UNIX)
        name = f"{self._pid}.sock"
        # From within the directory, as in `connect`; nothing else runs in this process meanwhile.
        before = os.open(".", os.O_RDONLY)
        try:
            os.chdir(self._directory)
            Path(name).unlink(missing_ok=True)
            listener.bind(name)
            self._inode = Path(name).stat().st_ino
        except OSError:
            listener.close()
            raise
        finally:
            os.fchdir(before)
            os.close(before)
        listener.settimeout(0)
        return listener

    def _sweep(self) -> None:
        """Remove what killed channels left behind."""
        for path in self._directory.iterdir():
            try:
                os.kill(int(path.stem), 0)
            except ProcessLookupError:
                path.unlink(missing_ok=True)
            except (ValueError, PermissionError):
                continue  # not ours

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            call = _decode(await reader.readline())
            if call.monitor:
                await self._keep(reader, writer)
            elif call.standing:
                # Who only looks is no hook of this session, and so no witness.
                writer.write(msgspec.json.encode(self._standing()))
                await writer.drain()
            else:
                writer.write(self._hooked(call.hook, call.input).encode())
                await writer.drain()
        except (msgspec.DecodeError, ValueError) as error:
            log.warning("a hook said what is not understood: %s", error)
        except ConnectionError:
            pass  # it was killed; Claude Code limits its time
        except Exception:
            # A bug in one hook's answer ends neither the channel nor Claude's turn.
            log.exception("a hook could not be answered")
        finally:
            writer.close()

    async def _keep(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Keep a monitor until it goes; of two the newer one counts."""
        self._monitor = writer
        self._monitor_came()
        await reader.read()
        if self._monitor is writer:
            self._monitor = None
            self._monitor_went()
