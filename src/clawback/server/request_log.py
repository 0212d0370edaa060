"""
The log's line of each HTTP request but a webhook's, which has its own: who asked for what, and what was answered.

The query is left out: the login sends codes in it.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from clawback.operations import Caller

MAX_PATH_CHARACTERS = 200
"""Of a path in a line. Ours are shorter; a stranger's may have 32 KiB."""

ROUTINE = ("/healthz", "/readyz", "/metrics", "/static/")
"""What programs and pages ask for all the time. A line tells only where it was refused or failed."""

GONE = 499
"""nginx's name in logs for a client that left before it was answered."""

log = logging.getLogger("clawback.requests")

Message = Any
Asgi = Callable[[Message, Message, Message], Awaitable[None]]


class RequestLog:
    """Wraps an ASGI application, and writes a line for each request once it was answered, whatever happens."""

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Message, send: Message) -> None:
        """Serve one request; of anything else nothing is told."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        status = GONE

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception:
            status = HTTPStatus.INTERNAL_SERVER_ERROR.value
            raise
        finally:
            _write(scope, status, time.monotonic() - started)


def _write(scope: Message, status: int, seconds: float) -> None:
    if status < HTTPStatus.BAD_REQUEST and scope["path"].startswith(ROUTINE):
        return
    fields = {
        "method": scope["method"],
        "path": scope["path"][:MAX_PATH_CHARACTERS],
        "status": status,
        "peer": (scope.get("client") or ("unknown",))[0],
        "duration_ms": round(seconds * 1000, 1),
    }
    level = logging.WARNING if status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO
    log.log(level, "answered", extra={"action": "request", **fields, **_who(scope)})


def _who(scope: Message) -> dict[str, str]:
    """Name the profile that asked, and the token where one was shown; both are known once the request was answered."""
    if isinstance(caller := scope.get("user"), Caller):
        return {"profile": caller.profile_id, "token": caller.token_id}
    person = scope.get("state", {}).get("person")
    return {} if person is None else {"profile": person.profile.id}
