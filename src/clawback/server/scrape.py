"""
`GET /metrics`: what the server has counted, and what is looked up when somebody asks.

It names profiles and tags. So it is for this machine, or for whoever has the metrics token: behind a proxy on this
machine, every request of the world comes from loopback.
"""

import asyncio
import hmac
import logging
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import prometheus_client
from litestar import Request, Response, get
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec

from clawback.api.answers import Problem
from clawback.errors import Unavailable
from clawback.fabric.streams import Fabric
from clawback.http.problems import CONTENT_TYPE
from clawback.sessions.socket import Bridge
from clawback.settings import Network
from clawback.store.depths import Depths, read_depths
from clawback.store.room import Room
from clawback.telemetry import metrics

FORWARDED_HEADERS = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""What proxies add."""

MEDIA_TYPE = prometheus_client.CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8")
"""Litestar adds the charset of what is text."""

LOOK_SECONDS = 10.0
"""How long a look at the streams is good for, however many ask."""

PATIENCE_SECONDS = 3.0
"""How long NATS may take; Prometheus gives up after 10 s, and wants to hear that NATS is away."""

log = logging.getLogger("clawback")


class Scrape:
    """Looks up what nobody counts, at most every LOOK_SECONDS."""

    def __init__(self, fabric: Fabric, bridge: Bridge, shards: int, room: Room) -> None:
        self._fabric = fabric
        self._room = room
        self._bridge = bridge
        self._shards = shards
        self._turn = asyncio.Lock()
        self._looked_at = float("-inf")

    async def look(self) -> None:
        """Bring the gauges up to date. What cannot be looked up is left out, not told as it was."""
        for role, number in self._bridge.roles.items():
            metrics.SESSIONS.labels(role).set(number)
        metrics.NATS_UP.set(await self._fabric.check() is None)
        await self._room.problem()
        metrics.ROOM.set(math.nan if self._room.left is None else self._room.left)
        async with self._turn:
            now = asyncio.get_running_loop().time()
            if now - self._looked_at < LOOK_SECONDS:
                return
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    depths = await read_depths(self._fabric, self._shards)
            except (Unavailable, TimeoutError) as error:
                log.warning("metrics without the queues: %s", error or "NATS takes too long")
                depths = Depths([], 0, {})
            else:
                self._looked_at = now
            _tell(depths)


def _tell(depths: Depths) -> None:
    now = datetime.now(UTC)
    for gauge in (metrics.QUEUE_EVENTS, metrics.QUEUE_OLDEST, metrics.DEAD_LETTERS):
        gauge.clear()
    for depth in depths.listed:
        labels = depth.address.profile_id, depth.address.tag or ""
        metrics.QUEUE_EVENTS.labels(*labels).set(depth.events)
        if depth.oldest is not None:
            metrics.QUEUE_OLDEST.labels(*labels).set(max(0.0, (now - depth.oldest).total_seconds()))
    metrics.QUEUE_UNLISTED.set(depths.unlisted_events)
    for profile_id, number in depths.dead.items():
        metrics.DEAD_LETTERS.labels(profile_id).set(number)


def build_metrics(scrape: Scrape, token: str | None, proxies: Sequence[Network]) -> HTTPRouteHandler:
    """Build the page: for the bearer of `token` where there is one, and for this machine unless `proxies` are set."""

    @get(
        "/metrics",
        summary="Prometheus metrics, for this machine or a metrics token: they name profiles",
        responses={
            200: ResponseSpec(str, generate_examples=False, description="Prometheus text", media_type="text/plain"),
            401: _refused("Not the bearer of metrics_token"),
            403: _refused("Not from this machine, and no metrics_token is set"),
        },
    )
    async def page(request: Request[Any, Any, Any]) -> Response[bytes]:
        if not (_bears(request, token) or (not proxies and _is_local(request))):
            if token is not None:
                raise NotAuthorizedException(
                    "metrics are for the bearer of metrics_token", headers={"www-authenticate": "Bearer"}
                )
            raise PermissionDeniedException(
                "metrics are for this machine: ask 127.0.0.1, and through no proxy; or set metrics_token"
            )
        await scrape.look()
        return Response(prometheus_client.generate_latest(), media_type=MEDIA_TYPE)

    return page


def _refused(description: str) -> ResponseSpec:
    return ResponseSpec(Problem, generate_examples=False, description=description, media_type=CONTENT_TYPE)


def _bears(request: Request[Any, Any, Any], token: str | None) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return (
        token is not None and scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())
    )


def _is_local(request: Request[Any, Any, Any]) -> bool:
    if request.client is None or any(name in request.headers for name in FORWARDED_HEADERS):
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False  # a proxy may forward any text
