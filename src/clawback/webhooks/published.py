"""
The keys that senders publish, fetched and kept for a while.

Where a key may be is a preset's to say (`senders/published.py`); nothing else is ever fetched. A stranger can make us
ask for one, with a request that names a key, so every way is bounded: one fetch at a time for one document, a few for a
host in a minute, a few seconds and kilobytes for each, no redirects, and a failure is remembered for a moment. A key
set that has not the key which a request names is asked for again, but not more than once a minute.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

import httpx
from msgspec import Struct

from clawback.errors import RateLimited, Unavailable
from clawback.http.allowance import Allowance
from clawback.senders.published import Wanted
from clawback.system.trust import system_trust

KEPT_S = 3600.0
"""How long a document is taken for what its sender still publishes."""

MISSING_S = 60.0
"""How long a failure counts, and a key set without the key that is looked for."""

MAX_DOCUMENTS = 256
MAX_DOCUMENT_BYTES = 256 * 1024
FETCH_SECONDS = 5.0
BURST, PER_SECOND = 20, 0.2
"""Fetches from one host: so many at once, and then one every five seconds."""

log = logging.getLogger("clawback.webhooks")


class _Kept(Struct):
    """What a fetch brought, and when; None: it failed."""

    document: bytes | None
    at: float


class PublishedKeys:
    """The documents that requests were checked by. `client` makes what fetches them."""

    def __init__(
        self, client: Callable[[], httpx.AsyncClient] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client or _make_client
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._running: dict[str, asyncio.Task[_Kept]] = {}
        self._allowance = Allowance[str](BURST, PER_SECOND)

    async def fetch(self, wanted: Sequence[Wanted]) -> dict[str, bytes]:
        """
        Return the documents by their names.

        Raises:
            Unavailable: their host does not answer with one now.
            RateLimited: too many were asked for in a short time.
        """
        found = {}
        for each in wanted:
            kept = self._usable(each)
            if kept is None:
                kept = await self._refresh(each)
            if kept.document is None:
                raise Unavailable(f"{urlsplit(each.url).hostname} does not show the key of its webhooks just now")
            found[each.name] = kept.document
        return found

    def _usable(self, wanted: Wanted) -> _Kept | None:
        kept = self._kept.get(wanted.name)
        if kept is None:
            return None
        # A failure was perhaps that of other credentials, so it counts for nobody else's.
        complete = kept.document is not None and (not wanted.key_id or wanted.key_id.encode() in kept.document)
        return kept if self._clock() - kept.at < (KEPT_S if complete else MISSING_S) else None

    async def _refresh(self, wanted: Wanted) -> _Kept:
        """Fetch a document, together with whoever waits for the same one."""
        running = self._running.get(wanted.name)
        if running is None:
            host = urlsplit(wanted.url).hostname or ""
            if wait_s := self._allowance.take(host, self._clock()):
                raise RateLimited(f"too many keys of {host} were asked for: send this one again later", wait_s)
            running = asyncio.create_task(self._fetch(wanted))
            self._running[wanted.name] = running
            running.add_done_callback(lambda _: self._running.pop(wanted.name, None))
        # Whoever asked first may leave; the others still wait for it.
        return await asyncio.shield(running)

    async def _fetch(self, wanted: Wanted) -> _Kept:
        document: bytes | None = None
        try:
            async with asyncio.timeout(FETCH_SECONDS), self._client() as client:
                document = await _read(client, wanted)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            log.warning("no key from %s: %s", urlsplit(wanted.url).hostname, error or type(error).__name__)
        old = self._kept.pop(wanted.name, None)
        if document is None and old is not None and old.document is not None and self._clock() - old.at < KEPT_S:
            # It was only asked for again because of one key.
            document = old.document
        kept = _Kept(document, self._clock())
        self._kept[wanted.name] = kept
        while len(self._kept) > MAX_DOCUMENTS:
            del self._kept[next(iter(self._kept))]
        return kept


def _make_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=system_trust(), timeout=FETCH_SECONDS, follow_redirects=False)


async def _read(client: httpx.AsyncClient, wanted: Wanted) -> bytes | None:
    method, headers = ("GET", {}) if wanted.posted is None else ("POST", {"Content-Type": "application/json"})
    async with client.stream(method, wanted.url, content=wanted.posted, headers=headers) as answer:
        if answer.status_code != HTTPStatus.OK:
            log.warning("no key from %s: HTTP %d", urlsplit(wanted.url).hostname, answer.status_code)
            return None
        document = b""
        async for chunk in answer.aiter_bytes():
            document += chunk
            if len(document) > MAX_DOCUMENT_BYTES:
                log.warning("no key from %s: more than %d bytes", urlsplit(wanted.url).hostname, MAX_DOCUMENT_BYTES)
                return None
        return document
