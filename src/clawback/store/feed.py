"""
The feed: what changes for a profile, told to whoever looks on, as it happens.

Nothing is subscribed while nobody looks; those who look at one profile share its subscriptions. A listener that reads
too slowly loses what waits for it and is told `missed`, and so is everybody after a reconnect to NATS: to look again at
what is stored is always right, so nothing here needs to be complete.

Leases are renewed all the time and expire in silence. So the feed remembers who is connected, tells only what differs,
and compares with the leases themselves every SWEEP_SECONDS.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from clawback.errors import RateLimited, Unavailable
from clawback.fabric import subjects
from clawback.fabric.connection import Subscription
from clawback.fabric.jetstream import CoreMessage
from clawback.fabric.streams import Fabric
from clawback.fabric.subjects import LeaseSubject
from clawback.store.leases import Leases
from clawback.store.news import ACTIVE, LEFT, STANDBY, News, NewsType, read_lease, read_news, session_news

QUEUE_NEWS = 256
"""What may wait for one listener: a few seconds of a busy profile, some 100 KB."""

MAX_LISTENERS = 32
"""Of one profile on one server. A person has a few tabs and terminals."""

SWEEP_SECONDS = 20.0
"""How long a session whose server vanished may still seem to be connected, after its lease has expired."""

Clock = Callable[[], datetime]


class Listener:
    """One who looks on. `key` says by whose leave, so that it can be ended."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.ended = False
        self._waiting: deque[News] = deque()
        self._stirred = asyncio.Event()

    def tell(self, news: News) -> None:
        """Hand over one more; what waits gives way to `missed` where it is too much."""
        if len(self._waiting) >= QUEUE_NEWS:
            self._waiting.clear()
            self._waiting.append(News(NewsType.MISSED, news.at))
        self._waiting.append(news)
        self._stirred.set()

    def end(self) -> None:
        """Let `take` return at once from now on."""
        self.ended = True
        self._stirred.set()

    async def take(self, wait_s: float) -> list[News]:
        """Return what came, as soon as something has; nothing after `wait_s` seconds without, or when it has ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._stirred.wait()
        if not self.ended:
            self._stirred.clear()
        taken = list(self._waiting)
        self._waiting.clear()
        return taken


class _Channel:
    """What is subscribed for one profile, and who listens to it."""

    def __init__(self, fabric: Fabric, leases: Leases, profile_id: str, filters: Iterable[str], clock: Clock) -> None:
        self.listeners: set[Listener] = set()
        self._fabric = fabric
        self._leases = leases
        self._profile_id = profile_id
        self._filters = tuple(filters)
        self._clock = clock
        self._opening = asyncio.Lock()
        self._subscriptions: list[Subscription] = []
        self._sweeping: asyncio.Task[None] | None = None
        # The connection that each lease is of.
        self._connected: dict[LeaseSubject, str] = {}

    async def ensure_open(self) -> None:
        """
        Subscribe, unless that is done, and read who is connected.

        Raises:
            Unavailable: NATS does not answer.
        """
        async with self._opening:
            if self._sweeping is not None:
                return
            for each in self._filters[len(self._subscriptions) :]:
                self._subscriptions.append(await self._fabric.subscribe(each, self._heard))
            self._connected |= await self._read_leases()
            self._sweeping = asyncio.create_task(self._sweep(), name=f"feed of {self._profile_id}")

    async def close(self) -> None:
        """Subscribe to nothing any more."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait([self._sweeping])
        for subscription in self._subscriptions:
            await subscription.unsubscribe()

    def tell(self, news: News) -> None:
        """Tell every listener."""
        for listener in self.listeners:
            listener.tell(news)

    def _heard(self, message: CoreMessage) -> None:
        if not subjects.is_of_lease(message.subject):
            for news in read_news(message, self._clock()):
                self.tell(news)
        elif (found := read_lease(message)) is not None:
            lease, connection_id = found
            if connection_id is None:
                self._gone(lease)
            else:
                self._seen(lease, connection_id)

    def _seen(self, lease: LeaseSubject, connection_id: str) -> None:
        if self._connected.get(lease) != connection_id:
            self._connected[lease] = connection_id
            self.tell(session_news(lease, STANDBY if lease.standby else ACTIVE, self._clock()))

    def _gone(self, lease: LeaseSubject) -> None:
        if self._connected.pop(lease, None) is not None:
            self.tell(session_news(lease, LEFT, self._clock()))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            with contextlib.suppress(Unavailable):  # after the reconnect everybody looks again
                leases = await self._read_leases()
                for lease in self._connected.keys() - leases.keys():
                    self._gone(lease)
                for lease, connection_id in leases.items():
                    self._seen(lease, connection_id)

    async def _read_leases(self) -> dict[LeaseSubject, str]:
        return {
            LeaseSubject(entry.address, None if entry.active else entry.lease.connection_id): entry.lease.connection_id
            for entry in await self._leases.of_profile(self._profile_id)
        }


class Feed:
    """The feeds of every profile on this server."""

    def __init__(
        self, fabric: Fabric, leases: Leases, shards: int, *, clock: Clock = lambda: datetime.now(UTC)
    ) -> None:
        self._fabric = fabric
        self._leases = leases
        self._shards = shards
        self._clock = clock
        self._channels: dict[str, _Channel] = {}
        self._closed = False
        fabric.on_reconnect(self._reconnected)

    @asynccontextmanager
    async def listen(self, profile_id: str, key: str) -> AsyncIterator[Listener]:
        """
        Look on at a profile as long as the context lasts; the first news is `listening`.

        Whoever then reads what is stored misses nothing.

        Raises:
            RateLimited: as many look on as may.
            Unavailable: NATS does not answer, or the server is being stopped.
        """
        if self._closed:
            raise Unavailable("the server is being stopped: connect again in a moment")
        channel = self._channels.get(profile_id)
        if channel is None:
            filters = subjects.news_filters(subjects.shard_of(profile_id, self._shards), profile_id)
            channel = _Channel(self._fabric, self._leases, profile_id, filters, self._clock)
            self._channels[profile_id] = channel
        if len(channel.listeners) >= MAX_LISTENERS:
            raise RateLimited(f"{MAX_LISTENERS} live feeds of this profile are open, which is the limit: close one")
        listener = Listener(key)
        channel.listeners.add(listener)
        try:
            await channel.ensure_open()
            listener.tell(News(NewsType.LISTENING, self._clock()))
            yield listener
        finally:
            channel.listeners.discard(listener)
            if not channel.listeners:
                # Whoever comes from now on makes a new one.
                del self._channels[profile_id]
                await channel.close()

    def end(self, key: str, _keeps: str | None = None) -> None:
        """End what was opened with a key, such as the hash of a token that was revoked or replaced."""
        for listener in self._listeners():
            if listener.key == key:
                listener.end()

    def close(self) -> None:
        """End every listener, and let none begin."""
        self._closed = True
        for listener in self._listeners():
            listener.end()

    def _listeners(self) -> list[Listener]:
        return [listener for channel in self._channels.values() for listener in channel.listeners]

    async def _reconnected(self) -> None:
        for channel in self._channels.values():
            channel.tell(News(NewsType.MISSED, self._clock()))
