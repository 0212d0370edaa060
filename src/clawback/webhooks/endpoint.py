"""
The webhook endpoint: `POST /webhooks/{webhookId}/{slug}`, as a bare ASGI app; and what senders ask there before.

Bare, because it is the hot path and the one door that strangers reach: every await between the socket and the PubAck
stands in this file. It finds the source, reads the body under a size and a deadline, lets `intake` decide, and carries
that out. A 2xx leaves after the PubAck, never before; where NATS is away and there is a spool, once that is synced.

    202  queued                                     stored
    200  dropped, filtered, duplicate, or a handshake   nothing new to store
    400 401 403 404 405 408 413               the request is refused for what it is
    429 503, with Retry-After                 not stored; the sender should come again
"""

import asyncio
import contextlib
import hmac
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Struct

from clawback.accounts.vault import Vault
from clawback.errors import ClawbackError, NotFound, QueueFull, RateLimited, StoreFull, TooLarge, Unavailable
from clawback.fabric import subjects
from clawback.http.allowance import Allowance
from clawback.http.problems import CONTENT_TYPE, build_problem
from clawback.model import Address, Event, Refusal, Source, encode_json, new_id
from clawback.senders.contents import is_packed
from clawback.senders.handshakes import Reply, keeps_secret
from clawback.senders.presets import PRESETS
from clawback.senders.published import Wanted
from clawback.senders.request import Headers, Request
from clawback.senders.verifying import list_wanted_keys
from clawback.store.events import EventStore
from clawback.store.history import History
from clawback.store.refusals import Refusals
from clawback.store.registry import Registry
from clawback.system.heavy import run_heavy
from clawback.telemetry import metrics, traceparent
from clawback.webhooks.bodies import Bodies, Body, TooSlow
from clawback.webhooks.intake import Accepted, Dropped, EventIds, Greeted, claimed_delivery_id, greet_visitor, take
from clawback.webhooks.published import PublishedKeys
from clawback.webhooks.spool import Spool
from clawback.webhooks.spooled import Spooled
from clawback.webhooks.wanted import has_conditions

if TYPE_CHECKING:
    from clawback.telemetry.tracing import Span, Traces

PATH = "/webhooks/"
"""What the paths of this app start with; the mounting app passes them on whole."""

DEFAULT_PATIENCE_S = 4.0
"""How long NATS is tried before a 503 where a newer server's preset says how long its sender waits."""

LEAST_PATIENCE_S = 1.0
"""What is left for NATS however long the body took: one attempt. It is less where the sender waits no longer."""

THREAD_BYTES = 1024 * 1024
"""Larger bodies are verified in a thread: HMAC and UTF-8 of 25 MiB take 30 ms, in which nobody else would be served."""

ASKED_BYTES = 64 * 1024
"""The same where a condition is asked: of a megabyte of small values that takes 0.1 s."""

LINGER_SECONDS = 2.0
"""How long the rest of a refused body is read before the connection is closed."""

CONNECTED_SECONDS = 0.5
"""How long a sender that only says that it is there waits for this to be kept: some give up after a second."""

CONNECTED_EVERY = timedelta(minutes=1)
"""How often that is kept at most: whoever caught such a request may send it again and again."""

BRINGERS = frozenset(name for name, preset in PRESETS.items() if keeps_secret(preset.handshakes))
"""Types whose senders bring the secret."""

_VISITS = ("GET", "HEAD", "OPTIONS")
_METHODS = "GET, HEAD, OPTIONS, POST"

_CLOSE = ("connection", "close")

_TARGET = re.compile(r"/webhooks/([a-z2-7]{1,64})/([A-Za-z0-9._-]{1,64})")
"""What a webhook id and a slug can be. Anything else is answered without asking NATS."""

_NOWHERE = "no webhook source has this URL: compare it with the one that source_list shows, or create the source"

_TOLD: dict[type[ClawbackError], str] = {
    QueueFull: "as many events of this source wait as may: once its session has worked some off, send this one again",
    StoreFull: "there is no room for another event, so this one was not accepted: send it again later",
    Unavailable: "the event could not be stored just now and was not accepted: send it again",
}
"""What senders read instead of the error's own text. That names subjects, and is for the log."""

_COUNTED = frozenset({"queued", "spooled", "dropped", "filtered"})
"""
Outcomes that use up what a source may send: those that have something written.

Whoever captured a request and sends it again and again makes duplicates, and keeps nobody out.
"""

_EVERYWHERE = (("cache-control", "no-store"), ("x-content-type-options", "nosniff"))
"""Answers are for their sender alone, and JSON whatever a browser thinks."""

_new_event_id = partial(new_id, "evt")

log = logging.getLogger("clawback.webhooks")

Scope = Mapping[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Limits(Struct, frozen=True):
    """
    What a request may cost.

    `body_bytes` is GitHub's own cap. `body_s` is for the whole body. `held_bytes` bounds the bodies in memory at one
    time, of everybody together: a stranger who knows a URL can make the server hold what it cannot verify yet. How it
    is shared stands in `bodies`.
    """

    body_bytes: int = 25 * 1024 * 1024
    body_s: float = 30.0
    held_bytes: int = 256 * 1024 * 1024


class _Answer(NamedTuple):
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class _Gone(Exception):
    """The sender closed the connection before its body had come."""


class _Late(Exception):
    """The body did not come in time; says in which."""


class _Visit(Struct):
    """One request as it goes; its fields are the log line. Status 0 is a bug, which the server answers with a 500."""

    outcome: str
    status: int
    peer: str
    profile: str | None = None
    source: str | None = None
    slug: str | None = None
    event: str | None = None
    type: str | None = None
    bytes: int = 0
    duration_ms: float = 0.0
    reason: str | None = None
    body: Body | None = None


class WebhookEndpoint:
    """
    The ASGI app. `clock` is what signed times are held against, and `public_url` what senders that sign it call us.

    `keys` are those that senders publish. `allowance` is what each source may send, by its id; None lets it send
    whatever it will.
    """

    def __init__(
        self,
        registry: Registry,
        vault: Vault,
        events: EventStore,
        history: History,
        refusals: Refusals,
        *,
        spool: Spool | None = None,
        allowance: Allowance[str] | None = None,
        traces: "Traces | None" = None,
        limits: Limits | None = None,
        public_url: str = "",
        keys: PublishedKeys | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._registry = registry
        self._vault = vault
        self._events = events
        self._history = history
        self._refusals = refusals
        self._spool = spool
        self._allowance = allowance
        self._traces = traces
        self._public_url = public_url
        self._keys = keys or PublishedKeys()
        self._limits = limits or Limits()
        self._clock = clock
        self._bodies = Bodies(self._limits.held_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and log one line about it whatever happens."""
        assert scope["type"] == "http", "whoever mounts this app sends it HTTP only"
        started = time.monotonic()
        visit = _Visit("refused", 0, (scope.get("client") or ("unknown",))[0])
        span = None if self._traces is None else self._traces.request(scope["method"], scope["scheme"], visit.peer)
        try:
            answer = await self._answer(scope, receive, visit, span, started)
            visit.status = answer.status
            await _send(send, answer, receive)
        except _Gone:
            # Nobody is left to answer; 499 is nginx's name for it in logs.
            visit.outcome, visit.status = "gone", 499
        finally:
            if visit.body is not None:
                self._bodies.leave(visit.body)
                visit.body = None
            visit.duration_ms = round((time.monotonic() - started) * 1000, 1)
            metrics.webhooks(visit.profile or "", visit.source or "", visit.outcome).inc()
            level = logging.INFO if 0 < visit.status < HTTPStatus.INTERNAL_SERVER_ERROR else logging.WARNING
            fields = {name: value for name, value in msgspec.structs.asdict(visit).items() if value is not None}
            if span is not None:
                span.answered(fields)
                fields |= span.log_fields
            log.log(level, visit.outcome, extra={"action": "webhook", **fields})

    async def _answer(
        self, scope: Scope, receive: Receive, visit: _Visit, span: "Span | None", started: float
    ) -> _Answer:
        body: bytes | None = None
        source: Source | None = None
        try:
            if scope["method"] != "POST":
                return _closing(await self._greet(scope, visit))
            source = await self._find(scope["path"], visit)
            headers = Headers(scope["headers"])
            body = await self._read(headers, receive, visit)
            return await self._take(self._request(scope, headers, body), source, visit, span, started)
        except _Late as late:
            detail = f"the body did not come {late}; send it anew"
            visit.reason = detail
            self._remember(source, scope, visit, HTTPStatus.REQUEST_TIMEOUT, detail)
            return _closing(_refusal(HTTPStatus.REQUEST_TIMEOUT, detail))
        except ClawbackError as error:
            visit.reason = str(error)
            told = _TOLD.get(type(error))
            answer = _Answer(*build_problem(error if told is None else type(error)(told)))
            self._remember(source, scope, visit, answer.status, msgspec.json.decode(answer.body)["detail"])
            if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                visit.outcome = "failed"
            elif isinstance(error, RateLimited):
                visit.outcome = "rate_limited"
            return _closing(answer) if body is None else answer

    def _request(self, scope: Scope, headers: Headers, body: bytes) -> Request:
        # As it was asked for, escapes and all: that is what some senders sign.
        target = scope.get("raw_path") or scope["path"].encode()
        if query := scope.get("query_string"):
            target = target + b"?" + query
        return Request(headers, body, method=scope["method"], base=self._public_url, target=target.decode("latin-1"))

    def _remember(self, source: Source | None, scope: Scope, visit: _Visit, status: int, detail: str) -> None:
        """Let the source's owner see what its sender is told; nobody owns what leads to no source."""
        if source is not None:
            delivery_id = claimed_delivery_id(Headers(scope["headers"]), source.scheme)
            refusal = Refusal(self._clock(), status, detail, visit.peer, delivery_id)
            self._refusals.note(source.profile_id, source.id, refusal)

    async def _greet(self, scope: Scope, visit: _Visit) -> _Answer:
        """Answer who asks for a URL before using it; by these methods no event comes."""
        method = scope["method"]
        if method not in _VISITS:
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, "webhooks are sent by POST", ("allow", _METHODS))
        source = await self._find(scope["path"], visit)
        if method == "OPTIONS":
            visit.outcome = "visit"
            return _Answer(HTTPStatus.NO_CONTENT.value, (("allow", _METHODS),), b"")
        request = self._request({**scope, "method": "GET"}, Headers(scope["headers"]), b"")
        greeted = greet_visitor(request, source, self._open_secrets(source, self._clock()))
        if greeted is None:
            visit.reason = "the verify token is another one"
            return _refusal(HTTPStatus.FORBIDDEN, "the verify token is another one: take it from the source's set-up")
        return await self._reply(greeted.reply, source, visit)

    async def _reply(self, reply: Reply, source: Source, visit: _Visit) -> _Answer:
        """Carry out a handshake: nothing of it is an event."""
        handshake = reply.handshake
        visit.outcome = "visit" if not handshake.when else "ping" if handshake.echo is None else "challenge"
        if reply.keep is not None and not await self._take_secret(source, reply.keep):
            visit.outcome, visit.reason = "refused", "a secret came that nobody waits for"
            return _refusal(
                HTTPStatus.FORBIDDEN,
                "this source has its secret: make a source for each webhook, or let this one wait for a new secret"
                " (source_update with an empty one)",
            )
        if handshake.visits:
            if reply.link is None or not reply.proven:
                visit.outcome, visit.reason = "refused", "the link leads elsewhere"
                return _refusal(HTTPStatus.FORBIDDEN, "the link that confirms leads elsewhere, so it is not visited")
            # By the way that keys are fetched, with its bounds; the sender asks again where that fails.
            await self._keys.fetch([Wanted(reply.link)])
        if reply.proven:
            await self._note_connected(source)
        if handshake.when and not reply.body and not reply.headers and reply.status == HTTPStatus.OK:
            return _json(HTTPStatus.OK, {"status": "connected"})
        content_type = (("content-type", reply.content_type),) if reply.body else ()
        return _Answer(reply.status, (*content_type, *reply.headers), reply.body)

    async def _take_secret(self, source: Source, secret: str) -> bool:
        """
        Take the secret that a sender brings, if the source waits for one; the same one again is no other.

        Raises:
            Unavailable: not known to be stored, so the sender must not hear that it was.
        """
        sealed = self._vault.seal(secret.encode(), profile_id=source.profile_id, source_id=source.id)

        def take(current: Source) -> Source:
            # Asked of the record as it is stored: of two that come at once the first one counts.
            return current if current.secrets else msgspec.structs.replace(current, secrets=(sealed,))

        if not source.secrets:
            source = await self._registry.update_source(source.profile_id, source.id, take)
        return any(hmac.compare_digest(secret.encode(), known) for known in self._open_secrets(source, self._clock()))

    async def _note_connected(self, source: Source) -> None:
        """Keep when the sender last said that it is there. It hears so whether or not that could be kept."""
        now = self._clock()
        if source.connected_at is not None and now - source.connected_at < CONNECTED_EVERY:
            return
        try:
            async with asyncio.timeout(CONNECTED_SECONDS):
                await self._registry.update_source(
                    source.profile_id, source.id, lambda current: msgspec.structs.replace(current, connected_at=now)
                )
        except (ClawbackError, TimeoutError) as error:
            log.info("that source %s is connected is not kept: %s", source.id, error)

    def _open_secrets(self, source: Source, now: datetime) -> list[bytes]:
        # Opened for each request: it takes microseconds, and keeps no secret in memory between two.
        return [
            self._vault.open(sealed, profile_id=source.profile_id, source_id=source.id)
            for sealed in source.secrets_at(now)
        ]

    async def _find(self, path: str, visit: _Visit) -> Source:
        target = _TARGET.fullmatch(path)
        if target is None:
            raise NotFound(_NOWHERE)
        visit.slug = target[2]
        found = await self._registry.find_source(target[1], target[2])
        if found is None:
            raise NotFound(_NOWHERE)
        profile, source = found
        visit.profile, visit.source = profile.id, source.id
        return source

    async def _read(self, headers: Headers, receive: Receive, visit: _Visit) -> bytes:
        """Collect the body; stops at the first byte too many, whether or not the sender told its size."""
        declared = headers.get("Content-Length") or ""
        if declared.isdecimal() and (len(declared) > 12 or int(declared) > self._limits.body_bytes):  # noqa: PLR2004 -- digits
            raise self._too_large()
        # What asyncio.timeout does, in a third of its time.
        task = asyncio.current_task()
        assert task is not None, "requests are served in tasks"
        why: Exception | None = None

        def stop(error: Exception) -> None:
            nonlocal why
            if why is None and task.cancel():
                why = _Late(str(error)) if isinstance(error, TooSlow) else error

        body = visit.body = Body(visit.source or "", visit.peer, stop)
        expiry = asyncio.get_running_loop().call_later(
            self._limits.body_s, stop, _Late(f"within {self._limits.body_s:g} s")
        )
        try:
            return await self._collect(receive, visit, body)
        except asyncio.CancelledError as error:
            if why is not None and task.uncancel() == 0:
                raise why from error
            raise
        finally:
            expiry.cancel()

    async def _collect(self, receive: Receive, visit: _Visit, body: Body) -> bytes:
        chunks: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            chunk: bytes = message.get("body", b"")
            visit.bytes += len(chunk)
            if visit.bytes > self._limits.body_bytes:
                raise self._too_large()
            self._bodies.add(body, len(chunk))
            chunks.append(chunk)
            if not message.get("more_body", False):
                body.whole = True
                return b"".join(chunks)

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the body is larger than {self._limits.body_bytes} bytes, which is the limit; let the sender send less"
        )

    async def _take(
        self, request: Request, source: Source, visit: _Visit, span: "Span | None", started: float
    ) -> _Answer:
        now = self._clock()
        secrets = self._open_secrets(source, now)
        if wanted := list_wanted_keys(request, source.scheme, secrets):
            request.published = await self._keys.fetch(wanted)
        ids = EventIds(self._registry.install.id_key, _new_event_id)
        packed = is_packed(request.headers.get("Content-Encoding"))

        def decide() -> Accepted | Dropped | Greeted:
            whole = request.unpacked(self._limits.body_bytes) if packed else request
            return take(whole, source, secrets, ids=ids, now=now)

        # What is in a packed body is not known before it is unpacked.
        small = not packed and len(request.body) <= (ASKED_BYTES if has_conditions(source) else THREAD_BYTES)
        verdict = decide() if small else await run_heavy(decide)
        if span is not None:
            verdict = _trace(verdict, request, span)
        self._count(source)
        try:
            return await self._carry_out(verdict, request.body, source, visit, started)
        finally:
            if self._allowance is not None and visit.outcome not in _COUNTED:
                self._allowance.give_back(source.id)

    def _count(self, source: Source) -> None:
        """Count a verified request against what its source may send."""
        allowed = self._allowance
        if allowed is not None and (wait_s := allowed.take(source.id, time.monotonic())):
            raise RateLimited(
                f"more webhooks came than this source may send, {allowed.burst} at once (max_webhook_burst) and then"
                f" {allowed.per_second:g} a second (max_webhooks_per_second): send this one again in"
                f" {math.ceil(wait_s)} s, or have the server's settings raised",
                wait_s,
            )

    async def _carry_out(
        self, verdict: Accepted | Dropped | Greeted, received: bytes, source: Source, visit: _Visit, started: float
    ) -> _Answer:
        match verdict:
            case Accepted(event, body):
                visit.event, visit.type = event.id, event.event_type
                visit.outcome = await self._keep(event, received if body is None else body, source, started)
                if source.connected_at is None and source.scheme in BRINGERS:
                    # What it brought is proven now, and need not be shown any more.
                    await self._note_connected(source)
                if visit.outcome == "duplicate":
                    return _success(source, HTTPStatus.OK, {"status": "duplicate", "eventId": event.id})
                return _success(
                    source,
                    HTTPStatus.ACCEPTED,
                    {"status": "queued", "eventId": event.id, "eventType": event.event_type},
                )
            case Dropped(record):
                visit.outcome, visit.event, visit.type = record.state.value, record.event_id, record.event_type
                await self._history.record_drop(source.profile_id, record)
                return _success(
                    source,
                    HTTPStatus.OK,
                    {"status": record.state.value, "reason": record.reason, "eventType": record.event_type},
                )
            case Greeted(reply):
                return await self._reply(reply, source, visit)

    async def _keep(self, event: Event, body: bytes, source: Source, started: float) -> str:
        """Store an event, or put it into the spool where NATS is away and there is one; says what became of it."""
        spool = self._spool if self._spool is not None and self._spool.takes_events else None
        # With a spool there is nothing to gain by waiting.
        whole_s = _patience_s(source.scheme)
        left_s = 0.0 if spool else whole_s - (time.monotonic() - started)
        if spool is None or not spool.has_events_of(source.id):
            try:
                new = await self._events.store(
                    Address(source.profile_id, source.tag),
                    event,
                    body,
                    maker=subjects.source_maker(source.id),
                    patience_s=max(left_s, min(whole_s, LEAST_PATIENCE_S)),
                )
            except Unavailable as error:
                if spool is None:
                    raise
                log.info("NATS did not store %s, the spool shall: %s", event.id, error)
            else:
                return "queued" if new else "duplicate"
        new = await spool.put(Spooled(source.profile_id, source.tag, source.id, event, body))
        return "spooled" if new else "duplicate"


def _patience_s(scheme: str) -> float:
    preset = PRESETS.get(scheme)
    return DEFAULT_PATIENCE_S if preset is None else preset.patience_s


async def _send(send: Send, answer: _Answer, receive: Receive) -> None:
    headers = (*answer.headers, *_EVERYWHERE, ("content-length", str(len(answer.body))))
    closing = _CLOSE in answer.headers
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers],
        }
    )
    await send({"type": "http.response.body", "body": answer.body, "more_body": closing})
    if closing:
        await _linger(receive)
        await send({"type": "http.response.body", "body": b""})


async def _linger(receive: Receive) -> None:
    """
    Throw away what still comes of a body that was answered already, for a moment, before the connection is closed.

    Closed with bytes unread, the kernel resets it, and the sender may lose the answer (RFC 9112, 9.6).
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
                pass


def _trace(verdict: Accepted | Dropped | Greeted, request: Request, span: "Span") -> Accepted | Dropped | Greeted:
    """Have an event's trace begin with its request, and point at that of its sender, now that it is verified."""
    if theirs := traceparent.parse_traceparent(request.headers.get(traceparent.HEADER)):
        span.link(theirs)
    if isinstance(verdict, Accepted):
        return Accepted(msgspec.structs.replace(verdict.event, traceparent=span.traceparent), verdict.body)
    return verdict


def _success(source: Source, status: HTTPStatus, content: Mapping[str, object]) -> _Answer:
    """Answer as the sender understands it: with the status that it wants, and with nothing where it acts on words."""
    preset = PRESETS.get(source.scheme)
    wanted = source.answer or (None if preset is None or preset.answer == HTTPStatus.ACCEPTED else preset.answer)
    status = status if wanted is None else HTTPStatus(wanted)
    if status is HTTPStatus.NO_CONTENT or (preset is not None and preset.empty):
        return _Answer(status.value, (), b"")
    return _json(status, content)


def _json(status: HTTPStatus, content: Mapping[str, object]) -> _Answer:
    return _Answer(status.value, (("content-type", "application/json"),), encode_json(content))


def _refusal(status: HTTPStatus, detail: str, *headers: tuple[str, str]) -> _Answer:
    """Build the answers that no error of ours stands for."""
    content = {"title": status.phrase, "status": status.value, "detail": detail}
    return _Answer(status.value, (("content-type", CONTENT_TYPE), *headers), encode_json(content))


def _closing(answer: _Answer) -> _Answer:
    """End the connection after an answer that came before the body's end: nobody reads the rest of it."""
    return answer._replace(headers=(*answer.headers, _CLOSE))
