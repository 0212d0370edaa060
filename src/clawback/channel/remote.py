"""
The connection to the server: one authenticated WebSocket at a time, made again for as long as the program lives.

Only the protocol's life cycle is here: authenticate, answer pings, match responses to requests, notice silence, come
back. What is said in `auth` and done with what arrives is the listener's (delivery.py).
"""

import asyncio
import contextlib
import itertools
import logging
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from msgspec import UNSET, Struct, structs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from clawback import __version__, wire
from clawback.channel.claude.ways import PATIENCE_SECONDS
from clawback.channel.settings import PluginConfig, is_loopback
from clawback.errors import ClawbackError, ConfigError, ProtocolViolation, Rejected, Unauthorized, Unavailable

MAX_SERVER_FRAME_BYTES = 8 * 1024 * 1024
"""MAX_CONTENT_CHARACTERS of four bytes each, escaped, and long lists, with room to spare."""

log = logging.getLogger("clawback.channel")


class Timing(Struct, frozen=True):
    """
    How long things take, in seconds.

    `silence` without a frame means that the server is gone. Reconnects wait a random time below a limit that doubles
    from `backoff_first` to `backoff_most` and falls back after `stable` of connection. A refused token is tried again
    after `refused`, a file is looked at every `look`. A request that is made while connecting waits `patience` for it,
    and `answer` for its response. `settle` is between Claude Code's `initialized` and our connecting, `goodbye` what a
    close frame may take at the end, and every `watch_parent` it is checked that Claude Code lives. An event that Claude
    was not seen to have after `unseen` goes by another way.
    """

    silence: float = wire.SILENCE_SECONDS
    backoff_first: float = 0.5
    backoff_most: float = 30.0
    stable: float = 30.0
    refused: float = 60.0
    look: float = 1.0
    patience: float = 5.0
    answer: float = 30.0
    settle: float = 0.3
    goodbye: float = 0.05
    watch_parent: float = 2.0
    unseen: float = PATIENCE_SECONDS


class Listener(Protocol):
    """What the remote tells and asks; called on the event loop, in the order of the frames."""

    def introduce(self, config: PluginConfig) -> wire.Auth:
        """Say what goes into `auth`, all but the token."""

    def opened(self, connection: "Connection", auth: wire.Auth, welcome: wire.AuthOk) -> None:
        """Take a connection into use; `auth` is what was sent on it, `welcome` what came back."""

    def received(self, message: wire.ServerMessage) -> None:
        """Take a frame other than pings and responses."""

    def closed(self) -> None:
        """Forget the connection."""


class Connection:
    """One authenticated WebSocket: sends frames, and requests that are answered."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._asked: dict[str, asyncio.Future[Any]] = {}

    async def ask(self, message: wire.Ack | wire.Request) -> Any:  # noqa: ANN401 -- data is whatever the server answers
        """
        Send a message under a new `requestId` and wait for its response, without limit of time.

        Raises:
            Rejected: the server answered with an error, whose sentence this is.
            Unavailable: the connection ended first; whether the message was carried out is unknown.
        """
        request_id = f"r{next(self._numbers)}"
        answer = self._asked[request_id] = asyncio.get_running_loop().create_future()
        try:
            await self._socket.send(wire.encode(structs.replace(message, request_id=request_id)), text=True)
            return await answer
        except ConnectionClosed as error:
            raise Unavailable("The connection to the Clawback server was lost.") from error
        finally:
            del self._asked[request_id]

    def answered(self, response: wire.Response) -> None:
        """Hand a response to its asker; a response whose asker gave up is passed over."""
        answer = self._asked.get(response.request_id)
        if answer is None or answer.done():
            return
        if response.error is UNSET:
            answer.set_result(response.data)
        else:
            answer.set_exception(Rejected(response.error))

    def lost(self) -> None:
        """End every question that is still open."""
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(Unavailable("The connection to the Clawback server was lost."))


class Remote:
    """
    The server, as seen from here: `run` keeps connected, `ask` asks, `problem` says why not.

    `read_config` is called before each attempt, so that a new token or a first config is used without a restart.
    `role` is what the server last said: active or standby.
    """

    def __init__(
        self,
        read_config: Callable[[], PluginConfig],
        config_file: Callable[[], Path],
        listener: Listener,
        timing: Timing,
    ) -> None:
        self.problem: str | None = None
        self.role = ""
        self._read_config = read_config
        self._config_file = config_file
        self._listener = listener
        self._timing = timing
        self._connection: Connection | None = None
        self._socket: ClientConnection | None = None
        self._leaving = False
        # Set when there is something to say to whoever asks: a connection, or why there is none.
        self._settled = asyncio.Event()

    async def find_away(self) -> str | None:
        """Say why there is no connection, as a sentence, or None while there is one; a first attempt is waited for."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), self._timing.patience)
        if self._connection is not None:
            return None
        return f"Not connected to the Clawback server: {self.problem or 'still connecting.'}"

    async def ask(self, request: wire.Request) -> Any:  # noqa: ANN401 -- see Connection.ask
        """
        Carry out a request.

        Raises:
            Rejected: the server refused; the text is its sentence for the user.
            Unavailable: there is no connection, or no answer in time; the text says which, and why.
        """
        if (away := await self.find_away()) is not None:
            raise Unavailable(away)
        assert self._connection is not None, "else it is away"
        try:
            async with asyncio.timeout(self._timing.answer):
                return await self._connection.ask(request)
        except TimeoutError as error:
            raise Unavailable(
                f"The Clawback server did not answer within {self._timing.answer:.0f} s. It may have carried the "
                "request out all the same: look before you repeat it."
            ) from error

    async def run(self) -> None:
        """Connect and stay connected; return only after `close`, or when another process took this one's place."""
        failures = 0
        while True:
            started = time.monotonic()
            file = _stamp(self._config_file())
            try:
                await self._connect_once()
            except ConfigError as error:
                self._report(str(error))
                await self._config_changes(file, None)
                continue
            except Unauthorized as error:
                self._report(str(error))
                await self._config_changes(file, self._timing.refused)
                continue
            except _Replaced:
                self._report(
                    "another process took over this session's connection. Reconnect this MCP server with /mcp to use "
                    "it here again."
                )
                return
            except ClawbackError as error:
                if self._leaving:
                    return
                self._report(str(error))
            except Exception:
                # Claude Code does not restart a server that exits, so no bug here may end the program.
                self._report("of an internal error, which stderr shows; trying again.")
                log.exception("connection failed")
            if time.monotonic() - started >= self._timing.stable:
                failures = 0
            limit = min(self._timing.backoff_most, self._timing.backoff_first * 2 ** min(failures, 16))
            failures += 1
            await asyncio.sleep(random.uniform(0, limit))  # noqa: S311 -- jitter, so that clients do not come in step

    async def close(self) -> None:
        """Say goodbye, so that the server need not wait for this session: an unclean end counts against its event."""
        self._leaving = True
        if self._socket is not None:
            await self._socket.close()

    async def _connect_once(self) -> None:
        config = self._read_config()
        try:
            async with connect(
                config.remote,
                compression=None,
                max_size=MAX_SERVER_FRAME_BYTES,
                user_agent_header=f"clawback/{__version__}",
                # A proxy for the outside world cannot reach this machine's loopback.
                proxy=None if is_loopback(urlsplit(config.remote).hostname or "") else True,
                close_timeout=1,
            ) as socket:
                self._socket = socket
                await self._converse(socket, config)
        except ConnectionClosed as error:
            raise self._explain(error, config) from error
        except TimeoutError as error:
            raise Unavailable(f"{config.remote} is silent; connecting again.") from error
        except (OSError, WebSocketException) as error:
            raise Unavailable(f"{config.remote} cannot be reached: {error}. Trying again.") from error
        finally:
            self._socket = None
            if self._connection is not None:
                self._connection.lost()
                self._connection = None
                self._settled.clear()
                self._listener.closed()

    async def _converse(self, socket: ClientConnection, config: PluginConfig) -> None:
        """Authenticate, then take frames until the connection ends (ConnectionClosed) or is silent (TimeoutError)."""
        auth = self._listener.introduce(config)
        await socket.send(wire.encode(structs.replace(auth, token=config.connection_token)), text=True)
        connection = Connection(socket)
        while True:
            async with asyncio.timeout(self._timing.silence):
                frame = await socket.recv()
            try:
                message = wire.decode_server(frame)
            except ProtocolViolation as error:
                log.warning("the server sent what this version does not understand: %s", error)
                continue
            match message:
                case wire.Ping():
                    await socket.send(wire.encode(wire.Pong()), text=True)
                case wire.AuthOk() if self._connection is None:
                    self._connection = connection
                    self._accept(message)
                    self._listener.opened(connection, auth, message)
                case wire.Response():
                    connection.answered(message)
                case _ if self._connection is None:
                    raise Unavailable(f"{config.remote} spoke before it accepted the token; connecting again.")
                case wire.Role(role):
                    self.role = role
                    log.info("this session is %s", role)
                    self._listener.received(message)
                case _:
                    self._listener.received(message)

    def _accept(self, welcome: wire.AuthOk) -> None:
        self.problem = None
        self.role = welcome.role
        self._settled.set()
        log.info("connected, %s", welcome.role or "active")

    def _explain(self, error: ConnectionClosed, config: PluginConfig) -> ClawbackError:
        code, reason = (error.rcvd.code, error.rcvd.reason) if error.rcvd else (None, "")
        said = f" ({reason})" if reason else ""
        if code == wire.CLOSE_UNAUTHORIZED:
            return Unauthorized(
                f"{config.remote} refused the token in {self._config_file()}{said}: it was revoked, or belongs to "
                "another server. Run `clawback login` in a terminal; the new token is picked up from the file without "
                "a restart."
            )
        if code == wire.CLOSE_REPLACED:
            return _Replaced()
        return Unavailable(f"{config.remote} closed the connection with code {code or 'none'}{said}. Trying again.")

    def _report(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("not connected: %s", problem)
        self.problem = problem
        self._settled.set()

    async def _config_changes(self, before: object, patience: float | None) -> None:
        """Wait until the config file is another one than `before`, at most `patience` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while _stamp(self._config_file()) == before:  # noqa: ASYNC110 -- a file sets no event
                    await asyncio.sleep(self._timing.look)


class _Replaced(ClawbackError):
    """The server gave this instance's place to another connection."""


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Read what changes when a file or its mode does; None when it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns, status.st_size
