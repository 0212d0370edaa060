"""`clawback tail`: what happens to a profile's events, as it happens, from the server's feed."""

import asyncio
import json
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

import httpx

from clawback.channel.settings import PluginConfig, is_loopback, read_config
from clawback.commands.facts import build_base_url
from clawback.commands.tail_lines import wants, write_line
from clawback.commands.terminal import printable
from clawback.errors import ClawbackError, NotFound, ProtocolViolation, Unauthorized, Unavailable
from clawback.fabric.subjects import normalise_tag
from clawback.model import UNTAGGED_NAME
from clawback.system.trust import system_trust

PATH = "/api/v1/events/stream"

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 45.0
"""Without a byte: three of the feed's heartbeats, so the connection is dead whatever the network says."""

BACKOFF_FIRST_SECONDS, BACKOFF_MOST_SECONDS = 0.5, 30.0

MAX_LINE_BYTES = 1024 * 1024
"""Far above any record; a bound, so that what is no feed does not fill the memory."""

log = logging.getLogger("clawback.tail")

Write = Callable[[str], None]


async def tail(tag: str | None, *, as_json: bool, colour: bool, write: Write) -> None:
    """
    Write a line for each record of the feed, and connect again whenever it ends, until cancelled.

    Raises:
        ConfigError: there is no usable config.
        Rejected: the tag is none.
        Unauthorized: the server refuses the token.
        NotFound, ProtocolViolation: the server has no such feed.
    """
    wanted = None if tag is None else normalise_tag(tag) or UNTAGGED_NAME
    read_config()
    failures = 0
    while True:
        try:
            async with aclosing(_follow(read_config())) as records:
                async for record in records:
                    failures = 0
                    if wants(record, wanted):
                        # ASCII: a script reads it, and a terminal is not moved by it.
                        write(json.dumps(record) if as_json else write_line(record, None, colour=colour))
            problem: Exception | str = "the server ended the feed"
        except (Unavailable, httpx.HTTPError) as error:
            problem = error
        failures += 1
        longest = min(BACKOFF_MOST_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** min(failures, 16))
        wait = random.uniform(0, longest)  # noqa: S311 -- jitter, so that clients do not come in step
        said = str(problem) or type(problem).__name__
        log.warning("not connected: %s; trying again in %.1f s", printable(said), wait)
        await asyncio.sleep(wait)


async def _follow(config: PluginConfig) -> AsyncGenerator[dict[str, Any], None]:
    """Read the records of one connection to its end."""
    url = httpx.URL(build_base_url(config.remote) + PATH)
    async with (
        httpx.AsyncClient(
            verify=system_trust(),
            timeout=httpx.Timeout(CONNECT_SECONDS, read=SILENCE_SECONDS),
            # A proxy for the outside world cannot reach this machine's loopback.
            trust_env=not is_loopback(url.host),
            headers={"Authorization": f"Bearer {config.connection_token}", "Accept": "text/event-stream"},
        ) as client,
        client.stream("GET", url) as answer,
    ):
        if answer.status_code != HTTPStatus.OK:
            raise _refusal(answer.status_code, str(url), await _detail(answer))
        async for line in _lines(answer.aiter_bytes()):
            if not line.startswith(b"data:"):
                continue  # a comment that keeps the connection alive, or a field that this does not use
            try:
                record = json.loads(line.removeprefix(b"data:"))
            except ValueError as error:
                raise ProtocolViolation(f"{url} sends what is no record: is there an old proxy in between?") from error
            if isinstance(record, dict):
                yield record


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Part bytes at line ends. Not as text: that has further line ends, which may stand within a record."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            raise ProtocolViolation(f"a line of more than {MAX_LINE_BYTES} bytes is no record of the feed")
        for line in lines:
            yield line.rstrip(b"\r")


async def _detail(answer: httpx.Response) -> str:
    try:
        content = json.loads(await answer.aread())
    except ValueError:
        return ""
    return str(content.get("detail", "")) if isinstance(content, dict) else ""


def _refusal(status: int, url: str, detail: str) -> ClawbackError:
    said = printable(detail) or f"HTTP {status}"
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return Unauthorized(f"{url} refuses the token: {said}. Make a new one, and save it with clawback login")
        case HTTPStatus.NOT_FOUND:
            return NotFound(f"{url} is not there: the server is older than this program, or a proxy hides it")
        case HTTPStatus.TOO_MANY_REQUESTS | HTTPStatus.BAD_GATEWAY | HTTPStatus.SERVICE_UNAVAILABLE:
            return Unavailable(said)
        case HTTPStatus.GATEWAY_TIMEOUT:
            return Unavailable(said)
        case _:
            return ProtocolViolation(f"{url} answers HTTP {status}: {said}")
