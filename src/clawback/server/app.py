"""
The composition root: the one place that makes the parts of a server and hands each what it needs.

    NATS (its own or a given one) → fabric → registry, events, history → webhooks, crons, sessions, operations → one app
"""

import asyncio
import gc
import logging
import math
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import uvicorn
from litestar import Router
from litestar.types import ControllerRouterHandler

from clawback import wire
from clawback.accounts.codes import Codes
from clawback.accounts.gate import Gate
from clawback.accounts.github import Github, GithubSettings
from clawback.accounts.people import People
from clawback.accounts.profiles import DEFAULT_PROFILE, ensure_profile
from clawback.accounts.seals import check_keys, keep_forgetting
from clawback.accounts.throttle import Throttle
from clawback.accounts.tokens import Tokens, token_hash
from clawback.accounts.vault import Vault, load_vault
from clawback.api import build_api
from clawback.crons.firing import KIND as CRON
from clawback.crons.firing import Crons, now_utc
from clawback.errors import ConfigError, RecordUnreadable
from clawback.fabric import subjects
from clawback.fabric.auth import NatsAuth
from clawback.fabric.embedded import EmbeddedNats
from clawback.fabric.streams import Fabric
from clawback.http.allowance import Allowance
from clawback.http.turns import Turns
from clawback.model import Address, TokenRecord
from clawback.operations import Caller, Quotas, Services, perform
from clawback.server.answering import Answering
from clawback.server.guard import ConnectionLimits, Guard, allow_connections
from clawback.server.protocols import GuardedHttp, GuardedWebSocket
from clawback.server.request_log import RequestLog
from clawback.server.scrape import Scrape, build_metrics
from clawback.server.site import build_site
from clawback.server.welcome import find_container, next_steps
from clawback.sessions.discarding import Discards
from clawback.sessions.dispatcher import Client, Dispatcher
from clawback.sessions.ending import Ending, Finisher, settle_kept_acks
from clawback.sessions.errands import Errands
from clawback.sessions.messages import Messages
from clawback.sessions.presence import Presence
from clawback.sessions.sleep import Watch
from clawback.sessions.socket import Bridge, Connection
from clawback.sessions.withdrawal import Withdrawals
from clawback.settings import Network, ServerSettings
from clawback.store.damage import Damage
from clawback.store.events import DEFERRED, PROMISED_END, PROMISED_REPLAY, EventStore
from clawback.store.feed import Feed
from clawback.store.github_accounts import GithubAccounts
from clawback.store.history import History
from clawback.store.inventory import Inventory
from clawback.store.last_seen import LastSeen
from clawback.store.later import DISCARD, WITHDRAWAL, Relay
from clawback.store.leases import Leases
from clawback.store.ledger import Ledger
from clawback.store.lines import Lines
from clawback.store.once import Once
from clawback.store.refusals import Refusals
from clawback.store.registry import Registry
from clawback.store.room import DiskRoom, NatsRoom, Room
from clawback.store.shares import Bounds, Shares
from clawback.store.stacks import Stacks
from clawback.store.wakeups import WakeUps
from clawback.telemetry.aside import Aside
from clawback.web.cli_login import build_cli_pages, build_exchange_router
from clawback.web.door import Door
from clawback.web.github_login import CALLBACK_PATH, GithubLogin, build_github_pages
from clawback.web.login import build_login_pages
from clawback.web.open_page import build_link_router, build_open_pages
from clawback.web.overview import build_overview
from clawback.web.pages import build_router, build_static_router, show_missing
from clawback.web.place import Place
from clawback.webhooks.endpoint import PATH as WEBHOOKS_PATH
from clawback.webhooks.endpoint import Limits, WebhookEndpoint
from clawback.webhooks.spool import Spool

if TYPE_CHECKING:
    from clawback.telemetry.tracing import Traces

DRAIN_SECONDS = 10
"""How long requests and sessions may take to end once the server was told to stop."""

COLLECT_AFTER = 5_000
"""
Objects made and not freed before the youngest are collected. Python's 700 are the webhooks that are under way. Not
more: a body may be waiting in a cycle of garbage.
"""

log = logging.getLogger("clawback")

Message = Any
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


class Application:
    """The server as ASGI: the two hot paths by themselves, everything else as a Litestar site."""

    def __init__(self, webhooks: Asgi, bridge: Bridge, site: Asgi, feed: Feed, public_url: str) -> None:
        self.bridge = bridge
        self.feed = feed
        self._webhooks = webhooks
        self._site = RequestLog(Answering(site, public_url))

    async def __call__(self, scope: Message, receive: Message, send: Message) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] == "http" and scope["path"].startswith(WEBHOOKS_PATH):
            await self._webhooks(scope, receive, send)
        elif scope["type"] == "websocket" and scope["path"] == "/ws":
            await self.bridge(scope, receive, send)
        else:
            await self._site(scope, receive, send)


@asynccontextmanager
async def open_nats(settings: ServerSettings) -> AsyncIterator[NatsAuth]:
    """Say where NATS is: the one of the settings, or our own, which runs as long as this context."""
    if settings.nats_url is not None:
        yield NatsAuth(settings.nats_url, settings.nats_user, settings.nats_password)
        return
    async with EmbeddedNats(settings.data_dir) as embedded:
        yield embedded.auth


@asynccontextmanager
async def open_application(
    settings: ServerSettings,
    auth: NatsAuth,
    *,
    traces: "Traces | None" = None,
    now: Callable[[], datetime] = now_utc,
) -> AsyncIterator[tuple[Application, Registry]]:
    """
    Make every part of a server over a running NATS; on the way out let sessions and writes under way finish.

    `now` is the time of day that crons go by.
    """
    fabric = await Fabric.open(auth, name="clawback", replicas=settings.replicas)
    background, closing = set[asyncio.Task[None]](), list[Callable[[], Awaitable[None]]]([fabric.close])
    try:
        registry = await Registry.open(fabric, shards=settings.shards)
        shards = registry.install.shards
        vault = await _open_vault(settings, registry)
        ledger, history, refusals = Ledger(fabric), History(fabric), Refusals(fabric)
        wake_ups, turns = WakeUps(fabric), Turns[str]()
        stacks, lines = Stacks(fabric, shards, Aside()), await _opened(Lines(fabric, shards, wake_ups))
        room = await _open_room(settings, fabric)
        events = EventStore(
            fabric, ledger, shards, room, traces, wake_ups=wake_ups, shares=_shares(settings, fabric, shards, room)
        )
        presence = await _opened(Presence(fabric, Leases(fabric), stacks))
        tokens = Tokens(registry, LastSeen(fabric))
        gate = Gate(tokens, Throttle())
        settle_journal = partial(
            settle_kept_acks, lines=lines, stacks=stacks, events=events, history=history, traces=traces
        )
        messages = await _opened(
            Messages(fabric, events, presence, traces, per_minute=settings.max_messages_per_minute)
        )
        crons = Crons(fabric, registry, events, history, aside=stacks.aside, now=now)

        async def operate(connection: Connection, request: wire.Request) -> object:
            address = connection.address
            caller = Caller(
                address.profile_id,
                connection.token_id,
                address.tag,
                connection.id,
                messaging=connection.messaging,
                names_events=connection.names_events,
            )
            async with turns.turn(address.profile_id):
                return await perform(services, caller, request)

        async def verify(value: str, address: str | None) -> tuple[str, TokenRecord]:
            record = await gate.admit(value, address)
            return token_hash(value), record

        def dispatcher(address: Address, client: Client) -> Dispatcher:
            default_seconds = partial(registry.timeout_seconds, address.profile_id)
            return Dispatcher(
                address,
                client,
                lines,
                stacks,
                events,
                history,
                server_id=presence.server_id,
                default_seconds=default_seconds,
                traces=traces,
            )

        async def activated(connection: Connection) -> None:
            await registry.keep_messaging(connection.address, allowed=connection.messaging)

        bridge = Bridge(
            presence,
            Watch(),
            verify=verify,
            operate=operate,
            settle_journal=settle_journal,
            dispatcher=lambda connection: dispatcher(connection.address, connection),
            activated=activated,
        )
        errands = await _opened(
            Errands(fabric, presence, Leases(fabric), stacks, served=bridge.serving, dispatcher=dispatcher)
        )
        withdrawals, discards = (
            Withdrawals(lines, events, history, ask=errands.withdraw, delete=registry.delete_source),
            Discards(
                fabric, await _open_inventory(auth, fabric, shards, closing), events, history, ask=errands.withdraw
            ),
        )
        services = Services(
            registry=registry,
            tokens=tokens,
            vault=vault,
            history=history,
            public_url=settings.public_url,
            sessions=presence.of_profile,
            withdraw=withdrawals.begin,
            messages=messages,
            take_over=presence.take_over,
            events=events,
            inventory=discards.inventory,
            crons=crons,
            ask_session=bridge.ask,
            refusals=refusals,
            errands=errands,
            dismiss=presence.dismiss,
            discards=discards,
            quotas=Quotas(settings.max_crons, settings.max_sources, settings.max_tokens),
        )
        registry.on_token_revoked(bridge.revoke)
        feed, spool = _make_feed(fabric, registry), _open_spool(settings, events, registry)
        webhooks = WebhookEndpoint(
            registry,
            vault,
            events,
            history,
            refusals,
            spool=spool,
            allowance=_allowance_of_sources(settings),
            traces=traces,
            limits=Limits(body_bytes=settings.max_body_bytes, held_bytes=settings.max_held_bytes),
            public_url=settings.public_url,
        )
        relay = await _open_relay(
            fabric, events, crons, Finisher(Ending(lines, events, history), stacks), withdrawals, discards
        )
        background |= {
            _keep_running("read the ledger", ledger.keep_reading([subjects.event_stream(k) for k in range(shards)])),
            _keep_running("pack the ledger", ledger.keep_packing()),
            _keep_running("renew leases", presence.renew()),
            _keep_running("sweep lines", lines.keep_sweeping()),
            _keep_running("relay", relay.run()),
            _keep_running("watch", bridge.watch.run()),
            _keep_running("drain the spool", spool.drain()),
            _keep_running("write refusals", refusals.write()),
            _keep_running("forget expired secrets", keep_forgetting(registry)),
        }
        try:
            rooms: list[ControllerRouterHandler] = [
                build_api(services, gate, feed, turns),
                *_build_pages(settings, fabric, gate, services, feed, turns),
                build_metrics(Scrape(fabric, bridge, shards, room), settings.metrics_token, settings.trusted_proxies),
            ]
            site = build_site(
                fabric,
                *rooms,
                show_missing=partial(show_missing, Place(settings.public_url)),
                spool=spool,
                room=room,
                damage=await _opened(Damage(fabric, shards)),
                aside=crons.aside,
            )
            yield Application(webhooks, bridge, site, feed, settings.public_url), registry
        finally:
            await bridge.stop()
            await ledger.drain()
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await asyncio.gather(*(close() for close in closing))


async def _open_inventory(
    auth: NatsAuth, fabric: Fabric, shards: int, closing: list[Callable[[], Awaitable[None]]]
) -> Inventory:
    """Give lists and look-ups a connection of their own: what reading bodies does to it is nobody else's business."""
    reader = await Fabric.open(auth, name="clawback reader", replicas=fabric.replicas)
    closing.append(reader.close)
    return Inventory(reader, EventStore(reader, Ledger(reader), shards), Stacks(reader, shards), shards)


async def _open_room(settings: ServerSettings, fabric: Fabric) -> Room:
    if settings.nats_url is None:
        return DiskRoom(settings.data_dir)
    return await _opened(NatsRoom(fabric, max_bytes=settings.nats_max_bytes, replicas=settings.replicas))


def _shares(settings: ServerSettings, fabric: Fabric, shards: int, room: Room) -> Shares:
    bounds = Bounds(settings.max_source_bytes, settings.max_unsigned_source_bytes, settings.max_profile_bytes)
    return Shares(fabric, shards, room, bounds)


def _allowance_of_sources(settings: ServerSettings) -> Allowance[str] | None:
    rate = settings.max_webhooks_per_second
    return Allowance(settings.max_webhook_burst, rate) if rate else None


def _open_spool(settings: ServerSettings, events: EventStore, registry: Registry) -> Spool:
    max_bytes = settings.spool_max_bytes if settings.spool else 0
    room = DiskRoom(settings.data_dir)
    spool = Spool(settings.data_dir / "spool", events, registry, max_bytes=max_bytes, room=room)
    spool.open()
    return spool


class _Opens(Protocol):
    async def open(self) -> None:
        """Listen to NATS."""


Opens = TypeVar("Opens", bound=_Opens)


async def _opened(part: Opens) -> Opens:
    await part.open()
    return part


def _make_feed(fabric: Fabric, registry: Registry) -> Feed:
    feed = Feed(fabric, Leases(fabric), registry.install.shards)
    registry.on_token_revoked(feed.end)
    return feed


def _build_pages(
    settings: ServerSettings, fabric: Fabric, gate: Gate, services: Services, feed: Feed, turns: Turns[str]
) -> list[Router]:
    registry, tokens, vault = services.registry, services.tokens, services.vault
    place = Place(settings.public_url)
    once = Once(fabric)
    people = People(GithubAccounts(fabric, registry), registry, settings.github_logins)
    door = Door(vault, gate, tokens, people, registry, once, place)
    codes = Codes(once, tokens, registry)
    login = GithubLogin(_github(settings), people, gate, door, vault, once, place)
    handlers = [
        *build_login_pages(door, login),
        *build_github_pages(login),
        *build_cli_pages(door, login, codes, place),
        *build_open_pages(door, once),
        *build_overview(services, feed, door),
    ]
    pages = build_router(door, place, handlers, turns)
    programs = [build_exchange_router(codes, gate, place), build_link_router(door, once, gate, place)]
    return [pages, build_static_router(place), *programs]


def _github(settings: ServerSettings) -> Github | None:
    if settings.github_client_id is None or settings.github_client_secret is None:
        return None
    app = GithubSettings(
        settings.github_client_id, settings.github_client_secret, settings.github_url, settings.github_api_url
    )
    return Github(app, settings.public_url + CALLBACK_PATH)


async def _open_vault(settings: ServerSettings, registry: Registry) -> Vault:
    vault = load_vault(settings.master_key, settings.data_dir)
    await check_keys(registry, vault)
    return vault


async def _open_relay(
    fabric: Fabric, events: EventStore, crons: Crons, finisher: Finisher, withdrawals: Withdrawals, discards: Discards
) -> Relay:
    relay = Relay(fabric, crons.aside)
    relay.on_due(DEFERRED, events.take_back)
    relay.on_due(PROMISED_REPLAY, discards.finish)
    relay.on_due(PROMISED_END, finisher.finish)
    relay.on_due(WITHDRAWAL, withdrawals.carry_on)
    relay.on_due(DISCARD, discards.carry_on)
    relay.on_due(CRON, crons.fire)
    await relay.open()
    await crons.open()
    return relay


def _keep_running(name: str, forever: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.create_task(forever, name=name)
    task.add_done_callback(_tell_why_it_ended)
    return task


def _tell_why_it_ended(task: asyncio.Task[None]) -> None:
    """Say at once that something ended that runs for ever, and not only when somebody asks for its result."""
    if not task.cancelled():
        log.critical("the task %r ended: restart the server", task.get_name(), exc_info=task.exception())


def build_config(
    application: Application, limits: ConnectionLimits | None = None, trusted_proxies: Sequence[Network] = ()
) -> uvicorn.Config:
    """
    Say how the application is to be served; its protocols' limits stand here, in `guard` and `protocols`.

    What a proxy says of its client is believed of `trusted_proxies` alone.
    """
    guard = Guard(limits or ConnectionLimits(), trusted_proxies)
    return uvicorn.Config(
        application,
        # uvicorn says "a class" and means what makes a protocol.
        http=cast("Any", partial(GuardedHttp, guard=guard)),
        ws=cast("Any", partial(GuardedWebSocket, guard=guard)),
        ws_max_size=wire.MAX_FRAME_BYTES,
        ws_per_message_deflate=False,
        # The protocol has its own pings, which tell more: that the client works, not only its WebSocket library.
        ws_ping_interval=None,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=[str(network) for network in trusted_proxies],
        timeout_keep_alive=math.ceil(guard.limits.idle_s),
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


class _Server(uvicorn.Server):
    """uvicorn, but signals are ours: what it re-raises after its own end would cut ours short."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None], on_stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._on_stopping = on_stopping
        self._told_to_end = asyncio.Event()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End, and now: the main loop sleeps."""
        super().handle_exit(sig, frame)
        self._told_to_end.set()

    async def main_loop(self) -> None:
        """Write the date for answers once a second; uvicorn looks ten times a second whether it was told to end."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._told_to_end.wait()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Turn SIGINT and SIGTERM into a graceful end, a second one into a quick one."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        if self.started:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what would never end by itself, then wait for the rest."""
        self._on_stopping()
        await super().shutdown(sockets)


async def serve(settings: ServerSettings, *, program: Path, announce: Callable[[str], None]) -> None:
    """
    Run a server until SIGINT or SIGTERM; announces what to do next, with the path of `program`.

    Raises:
        ConfigError: a setting does not work on this machine: the port is taken, the data directory cannot be written.
        Unavailable: NATS does not come up, or does not answer.
    """
    given = "; ".join(settings.describe()) or "none given"
    log.info("settings: %s. All others have their defaults: clawback serve --help lists them", given)
    limits = ConnectionLimits(
        total=allow_connections(settings.max_connections), per_address=settings.max_connections_per_address
    )
    listener = _listen(settings.host, settings.port)
    with listener:
        async with (
            _open_traces(settings) as traces,
            open_nats(settings) as auth,
            open_application(settings, auth, traces=traces) as (application, registry),
        ):
            container = find_container(os.environ, os.path.exists, socket.gethostname(), (os.getpid(), os.getppid()))
            is_first = await _ensure_default_profile(registry)
            steps = next_steps(settings, program, first_start=is_first, container=container)
            config = build_config(application, limits, settings.trusted_proxies)
            server = _Server(config, lambda: announce(steps), application.feed.close)
            _spare_collections()
            await server.serve([listener])


def _spare_collections() -> None:
    """
    Take what was made up to now, which stays, out of Python's collections of garbage.

    Each full one goes over all there is, some 70,000 objects of modules alone, and nothing else runs meanwhile: 25 to
    40 ms, and 125 with 100,000 crons, several times a minute under load. What is made from now on is collected, only
    less often: nearly all that a webhook makes is freed without it, so every 33rd one paid for nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 10, 10)


@asynccontextmanager
async def _open_traces(settings: ServerSettings) -> AsyncIterator["Traces | None"]:
    """
    Send traces as long as this context, where OpenTelemetry has an endpoint.

    Raises:
        ConfigError: a variable of OpenTelemetry cannot be used.
    """
    traces = None
    if settings.trace_endpoint is not None:
        # Not before somebody wants it: it takes some 0.15 s and 8 MB.
        try:
            from clawback.telemetry.tracing import open_traces  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"traces need OpenTelemetry ({error.name} is not installed): install clawback[traces], or unset"
                " OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
            ) from error

        traces = open_traces(settings.trace_endpoint)
    try:
        yield traces
    finally:
        if traces is not None:
            # Nothing is served any more, so nobody waits for the loop.
            traces.close()


async def _ensure_default_profile(registry: Registry) -> bool:
    """Make the profile of the first start where it is missing, and tell whether it was."""
    try:
        missing = await registry.find_profile_named(DEFAULT_PROFILE) is None
        await ensure_profile(registry, DEFAULT_PROFILE)
    except RecordUnreadable as error:
        # One profile that does not work, and no reason to keep the others waiting.
        log.error("%s", error, extra={"action": "profile_unreadable"})  # noqa: TRY400 -- the sentence says it
        return False
    return missing


def _listen(host: str, port: int) -> socket.socket:
    """
    Take the port, before anything else is started.

    Raises:
        ConfigError: it cannot be had.
    """
    try:
        if ":" not in host:
            return socket.create_server((host, port), backlog=2048)
        # All addresses of IPv6 are all of IPv4 too, whatever the system's own habit (net.ipv6.bindv6only).
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=socket.AF_INET6, backlog=2048, dualstack_ipv6=both)
    except OSError as error:
        # What asyncio or socket add to the text says the address again.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigError(
            f"cannot listen on {host} port {port} ({reason}): stop what uses it, or choose another with --port"
        ) from error
