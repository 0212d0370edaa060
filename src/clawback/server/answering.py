"""
What every answer of the site has, and whom the pages are shown to: headers, and the names that this server goes by.

A page of another site can have its own name lead to 127.0.0.1 and then read what is there as its own (DNS rebinding).
So pages and `/metrics` are shown under the names of this server alone; an address is no name, and cannot be rebound.
The API wants a token, which no browser sends by itself, and probes come by whatever name their platform has.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from clawback.api.answers import PATH as API_PATH
from clawback.http.problems import CONTENT_TYPE
from clawback.model import encode_json

OPEN_PATHS = ("/healthz", "/readyz", f"{API_PATH}/", "/schema")
"""Where the name does not matter."""

_NEVER_SNIFF = (b"x-content-type-options", b"nosniff")
_NEVER_STORE = (b"cache-control", b"no-store")

Message = Any
Asgi = Callable[[Message, Message, Message], Awaitable[None]]


class Answering:
    """Wraps an ASGI application. `public_url` has the name that others know this server by."""

    def __init__(self, app: Asgi, public_url: str) -> None:
        self._app = app
        self._public_host = (urlsplit(public_url).hostname or "").lower()

    async def __call__(self, scope: Message, receive: Message, send: Message) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                added = [each for each in (_NEVER_SNIFF, _NEVER_STORE) if each[0] not in given]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        has_token = any(name == b"authorization" for name, _ in scope["headers"])
        if scope["path"].startswith(OPEN_PATHS) or has_token or is_own_name(host, self._public_host):
            await self._app(scope, receive, complete)
        else:
            await _misdirected(complete)


def is_own_name(host: str, public_host: str) -> bool:
    """Tell whether a Host header names this server: by an address, as this machine, or as `public_url` does."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").lower().rstrip(".")
    except ValueError:
        return False
    if name in ("", "localhost", public_host) or name.endswith(".localhost"):
        return True  # HTTP/1.0 has no Host, and no browser speaks it
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


async def _misdirected(send: Callable[[Message], Awaitable[None]]) -> None:
    status = HTTPStatus.MISDIRECTED_REQUEST
    detail = (
        "this server does not go by the name in Host: open it by its address or by the name in public_url, or have"
        " public_url say the name that you use"
    )
    body = encode_json({"title": status.phrase, "status": status.value, "detail": detail})
    headers = [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status.value, "headers": headers})
    await send({"type": "http.response.body", "body": body})
