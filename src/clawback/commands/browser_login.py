"""
`clawback login` without a token: the person says yes in their browser, and the answer comes back to this program.

It is a native app's login (RFC 8252): the program listens on a loopback port that the system chooses, opens the
server's page `/auth/cli` with that port, and gets a code there once the person has clicked. The code is worth a token
only together with the PKCE verifier (RFC 7636), which never leaves this program but for the exchange; the answer is
known by its `state`. So another program on this machine that reaches the port can hand over nothing, and one that sees
the browser's URLs can use nothing.
"""

import asyncio
import base64
import hashlib
import hmac
import os
import platform
import re
import secrets
import sys
import webbrowser
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import msgspec

from clawback.channel.settings import PluginConfig, is_loopback
from clawback.errors import ConfigError, ProtocolViolation, Rejected, Unavailable
from clawback.system.trust import system_trust

WAIT_SECONDS = 600.0
"""As long as the server keeps a code; who takes longer runs the command again."""

ASK_SECONDS = 10.0
"""For one answer of the server; more means that it cannot be reached."""

READ_SECONDS = 10.0
MAX_REQUEST_BYTES = 8192
"""A browser's request for one URL has about 1 KiB."""

MAX_LABEL_CHARACTERS = 100

_PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=color-scheme content='light dark'>"
    "<meta name=viewport content='width=device-width, initial-scale=1'><title>Clawback</title><p>{}</p></html>"
)
_HEADERS = (
    "Content-Type: text/html; charset=utf-8\r\nContent-Security-Policy: default-src 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-store\r\n"
    "Connection: close\r\n"
)


async def fetch_config(server: str, say: Callable[[str], None], open_page: Callable[[str], None]) -> PluginConfig:
    """
    Have the person log in at a server in their browser, and return the config that comes of it.

    `say` tells the person something, `open_page` opens their browser where there is one.

    Raises:
        ConfigError: the URL is none of a server, or not private.
        Rejected: the server does not take the code.
        ProtocolViolation: what answers there is no Clawback server.
        Unavailable: the server cannot be reached, or nobody came back in time.
    """
    base = base_url(server)
    await _ask("GET", f"{base}/auth/cli", base)
    state, verifier = secrets.token_urlsafe(24), secrets.token_urlsafe(32)
    async with _listen(state) as (port, code):
        digest = hashlib.sha256(verifier.encode()).digest()
        asked = {
            "port": str(port),
            "state": state,
            "challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "label": _machine_name(),
        }
        link = f"{base}/auth/cli?{urlencode(asked)}"
        say(
            f"Log in on this page, in a browser on this machine:\n\n  {link}\n\nIn a browser elsewhere, open"
            f" {base}/auth/cli and paste the command that it shows. Waiting; Ctrl-C ends it."
        )
        await asyncio.to_thread(open_page, link)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                received = await code
        except TimeoutError as error:
            raise Unavailable(f"nobody came back from {base} within 10 minutes: run clawback login again") from error
    answer = await _ask("POST", f"{base}/auth/cli/exchange", base, json={"code": received, "verifier": verifier})
    try:
        return msgspec.json.decode(answer, type=PluginConfig)
    except msgspec.DecodeError as error:
        raise _not_clawback(base) from error


def base_url(server: str) -> str:
    """
    Read a server's URL as that of its pages, without a slash at its end.

    Raises:
        ConfigError: it is none, or a code and a token would cross a network in the clear.
    """
    text = re.sub(r"/ws$", "", server.strip().rstrip("/"))
    text = re.sub(r"^ws(?=s?://)", "http", text)
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
    except ValueError:
        host = ""
    if not host or url.scheme not in ("http", "https") or url.query or url.fragment or url.username is not None:
        raise ConfigError(f"--server: read {server!a}; accepted is a URL such as https://clawback.example.com")
    if url.scheme == "http" and not is_loopback(host):
        raise ConfigError(f"--server: {text} is http on a network, where others can read along; use its https:// URL")
    return text


def open_in_browser(link: str) -> None:
    """Open a page where there is a browser with a window; one for the terminal would take this terminal."""
    shown = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if shown:
        webbrowser.open(link)


@asynccontextmanager
async def _listen(state: str) -> AsyncIterator[tuple[int, asyncio.Future[str]]]:
    """Listen on a loopback port for the browser that brings a code with our state."""
    code: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        status, text = HTTPStatus.NOT_FOUND, "This is clawback login, and not the page that it waits for."
        try:
            async with asyncio.timeout(READ_SECONDS):
                request = await reader.readuntil(b"\r\n\r\n")
            brought = _read_code(request, state)
            if brought is not None:
                status, text = (
                    HTTPStatus.OK,
                    "clawback login has its answer: go back to the terminal. You can close this page.",
                )
                if not code.done():
                    code.set_result(brought)
            page = _PAGE.format(text).encode()
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Length: {len(page)}\r\n{_HEADERS}\r\n"
            writer.write(head.encode() + page)
            await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # whoever it was, it was no browser with our answer
        finally:
            writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0, limit=MAX_REQUEST_BYTES)
    try:
        yield listener.sockets[0].getsockname()[1], code
    finally:
        listener.close()


def _read_code(request: bytes, state: str) -> str | None:
    """Read the code from a browser's request; None for any request but the one with our state."""
    match = re.match(rb"GET /\?([!-~]*) HTTP/1\.[01]\r\n", request)
    if match is None:
        return None
    query = dict(parse_qsl(match[1].decode()))
    if not hmac.compare_digest(query.get("state", "").encode(), state.encode()):
        return None
    return query.get("code")


async def _ask(method: str, url: str, base: str, **options: Any) -> bytes:  # noqa: ANN401 -- httpx's
    """
    Ask the server something, following no redirect; returns the body of a 200.

    Raises:
        Rejected: it refuses, with the reason.
        ProtocolViolation: what answers is no Clawback server.
        Unavailable: it cannot be reached, or not now.
    """
    # A proxy for the outside world cannot reach this machine's loopback.
    beyond = not is_loopback(urlsplit(url).hostname or "")
    try:
        async with httpx.AsyncClient(
            verify=system_trust(), follow_redirects=False, trust_env=beyond, timeout=ASK_SECONDS
        ) as client:
            answer = await client.request(method, url, **options)
    except httpx.HTTPError as error:
        raise Unavailable(
            f"{base} cannot be reached ({error or type(error).__name__}): is the server running? --server names another"
        ) from error
    if answer.status_code == HTTPStatus.OK:
        return answer.content
    if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise Unavailable(f"{base} answers HTTP {answer.status_code} for now: try again in a minute")
    try:
        detail = msgspec.json.decode(answer.content, type=dict[str, Any])["detail"]
    except (msgspec.DecodeError, KeyError) as error:
        raise _not_clawback(base) from error
    raise Rejected(f"{base} refuses: {detail}")


def _not_clawback(base: str) -> ProtocolViolation:
    return ProtocolViolation(f"{base} is no Clawback server with a login for programs: check --server")


def _machine_name() -> str:
    """Name this machine, as a proposal for the token's label."""
    name = platform.node()[:MAX_LABEL_CHARACTERS]
    return name if name.isprintable() else ""
