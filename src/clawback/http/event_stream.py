"""
The feed as an HTTP answer: Server-Sent Events (WHATWG HTML, section 9.2), for the REST API and the page.

A record is one `data:` line of JSON and nothing else: no names, so that a browser's `onmessage` gets all of them, and
no ids, since what was missed is not kept: whoever connects again is told `listening` and looks again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from clawback.errors import ClawbackError
from clawback.model import encode_json
from clawback.store.feed import Feed, Listener

CONTENT_TYPE = "text/event-stream"

HEARTBEAT_SECONDS = 15.0
"""Between comments when there is no news: proxies give up after 30 s to 60 s of silence, and readers may too."""

RETRY_MS = 2000
"""How long a browser waits before it connects again; a server that restarts is back by then."""

_HEADERS = [
    (b"content-type", CONTENT_TYPE.encode()),
    # no-transform and the nginx header: a proxy that collects output to compress it would hold news back.
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
]

Message = Any
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class EventStream:
    """
    A profile's feed as an ASGI app, for one request; whoever makes it has checked who asks.

    `key` is what ends it: see `Feed.end`. `check` raises where the caller is not to look any more. It is awaited once
    it listens, since what was withdrawn just before ended nothing, and with every heartbeat.
    """

    def __init__(self, feed: Feed, profile_id: str, key: str, check: Callable[[], Awaitable[object]]) -> None:
        self._feed = feed
        self._profile_id = profile_id
        self._key = key
        self._check = check

    async def __call__(self, _: Message, receive: Receive, send: Send) -> None:
        """
        Stream until either end has enough.

        Raises:
            RateLimited, Unavailable: as `Feed.listen`; nothing was sent.
        """
        async with self._feed.listen(self._profile_id, self._key) as listener:
            await self._check()
            gone = asyncio.create_task(_wait_until_gone(receive), name="end of a feed's reader")
            gone.add_done_callback(lambda _: listener.end())
            try:
                await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                await send(_chunk(f"retry: {RETRY_MS}\n\n".encode()))
                await self._write(listener, send)
            finally:
                gone.cancel()
                await asyncio.wait([gone])

    async def _write(self, listener: Listener, send: Send) -> None:
        loop = asyncio.get_running_loop()
        checked_at = loop.time()
        while not listener.ended:
            news = await listener.take(HEARTBEAT_SECONDS)
            if loop.time() - checked_at >= HEARTBEAT_SECONDS:
                checked_at = loop.time()
                try:
                    await self._check()
                except ClawbackError:
                    # Whoever comes again is told what it was.
                    break
            await send(_chunk(b"".join(b"data: %b\n\n" % encode_json(each) for each in news) or b":\n\n"))
        await send({"type": "http.response.body", "body": b""})


def _chunk(text: bytes) -> Message:
    return {"type": "http.response.body", "body": text, "more_body": True}


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
