"""
An inquiry: one short connection to a server, under a tag of its own, that asks a few things and leaves.

For commands that check or look something up. It takes nobody's events: as the untagged session, or under a tag in use,
it would be handed what waits there.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from msgspec import UNSET, structs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from clawback import __version__, wire
from clawback.channel.remote import MAX_SERVER_FRAME_BYTES
from clawback.channel.settings import is_loopback
from clawback.errors import ClawbackError, ProtocolViolation, Rejected, Unauthorized, Unavailable
from clawback.model import random_id

CONNECT_SECONDS = 10.0
"""For all of connecting and authenticating; a server that takes longer counts as unreachable."""

ANSWER_SECONDS = 10.0
"""For one answer, or one event; as the other end is a server and no person, more means that it does not come."""

PROXY_STATUSES = frozenset({502, 503, 504})
"""What a proxy answers while its server is away."""

T = TypeVar("T")


class Inquiry:
    """One authenticated connection. `tag` is its own, `welcome` what the server said to it."""

    def __init__(self, socket: ClientConnection, tag: str, welcome: wire.AuthOk) -> None:
        self.tag = tag
        self.welcome = welcome
        self._socket = socket
        self._numbers = itertools.count(1)
        self._events: deque[wire.EventFrame] = deque()

    async def ask(self, message: wire.Ack | wire.Request) -> Any:  # noqa: ANN401 -- data is whatever the server answers
        """
        Carry out a request, and return the `data` of its answer.

        Raises:
            Rejected: the server refused; the text is its sentence.
            Unavailable: there was no answer; whether it was carried out is unknown.
        """
        number = f"r{next(self._numbers)}"
        await self._socket.send(wire.encode(structs.replace(message, request_id=number)).decode())

        def answer(frame: wire.ServerMessage) -> wire.Response | None:
            return frame if isinstance(frame, wire.Response) and frame.request_id == number else None

        response = await self._receive(answer, "the answer")
        if response.error is not UNSET:
            raise Rejected(response.error)
        return response.data

    async def next_event(self, event_id: str) -> wire.EventFrame:
        """
        Wait for an event that was sent to this inquiry's tag.

        Raises:
            Unavailable: it did not come.
        """
        while self._events:
            if (kept := self._events.popleft()).id == event_id:
                return kept
        return await self._receive(
            lambda frame: frame if isinstance(frame, wire.EventFrame) and frame.id == event_id else None, "the event"
        )

    async def _receive(self, wanted: Callable[[wire.ServerMessage], T | None], what: str) -> T:
        """Read frames until the one that is waited for; events that come meanwhile are kept."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while True:
                    frame = wire.decode_server(await self._socket.recv())
                    if (found := wanted(frame)) is not None:
                        return found
                    if isinstance(frame, wire.Ping):
                        await self._socket.send(wire.encode(wire.Pong()).decode())
                    elif isinstance(frame, wire.EventFrame):
                        self._events.append(frame)
        except TimeoutError as error:
            raise Unavailable(f"{what} did not come within {ANSWER_SECONDS:.0f} s") from error
        except ConnectionClosed as error:
            raise Unavailable(f"the connection was lost before {what} came") from error


@asynccontextmanager
async def inquire(remote: str, token: str, name: str) -> AsyncIterator[Inquiry]:
    """
    Connect under the tag `<name>-<random>`, and leave with a goodbye.

    Raises:
        Unauthorized: the server refuses the token.
        ProtocolViolation: what answers there is no Clawback server.
        Unavailable: it cannot be reached.
    """
    tag = f"{name}-{random_id(12)}"
    auth = wire.Auth(token, tag, instance_id=random_id(), client=wire.ClientInfo(f"clawback {name}", __version__))
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            socket = await connect(
                remote,
                open_timeout=None,
                max_size=MAX_SERVER_FRAME_BYTES,
                # A proxy for the outside world cannot reach this machine's loopback.
                proxy=None if is_loopback(urlsplit(remote).hostname or "") else True,
                close_timeout=1,
            )
    except InvalidStatus as error:
        if error.response.status_code in PROXY_STATUSES:
            raise Unavailable(f"{remote} answers HTTP {error.response.status_code} for now") from error
        raise _not_clawback(remote, f"it answers HTTP {error.response.status_code}") from error
    except (InvalidHandshake, InvalidURI) as error:
        raise _not_clawback(remote, str(error)) from error
    except TimeoutError as error:
        raise _silent(remote) from error
    except OSError as error:
        raise Unavailable(f"{remote} cannot be reached ({error.strerror or error})") from error
    async with socket:
        yield Inquiry(socket, tag, await _authenticate(socket, remote, auth))


async def _authenticate(socket: ClientConnection, remote: str, auth: wire.Auth) -> wire.AuthOk:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await socket.send(wire.encode(auth).decode())
            answer = wire.decode_server(await socket.recv())
    except ConnectionClosed as error:
        raise _closed(remote, error) from error
    except ProtocolViolation as error:
        raise _not_clawback(remote, str(error)) from error
    except TimeoutError as error:
        raise _silent(remote) from error
    if not isinstance(answer, wire.AuthOk):
        raise _not_clawback(remote, "it does not answer the token")
    return answer


def _closed(remote: str, error: ConnectionClosed) -> ClawbackError:
    code, reason = (error.rcvd.code, error.rcvd.reason) if error.rcvd is not None else (None, "")
    if code == wire.CLOSE_UNAUTHORIZED:
        return Unauthorized(f"{remote} refuses the token: {reason or 'it is unknown or was revoked'}")
    if code == wire.CLOSE_VIOLATION:
        return _not_clawback(remote, reason)
    return Unavailable(f"{remote} closed the connection ({reason or code or 'without a word'})")


def _silent(remote: str) -> Unavailable:
    return Unavailable(f"{remote} does not answer within {CONNECT_SECONDS:.0f} s")


def _not_clawback(remote: str, found: str) -> ProtocolViolation:
    return ProtocolViolation(f"{remote} is not a Clawback server this program can talk to ({found}): check its URL")
