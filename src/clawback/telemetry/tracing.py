"""
What OpenTelemetry is told: one trace for each event, from the request that brought it to the ack that ended it.

    POST /webhooks/…            SERVER    the request
      publish EVT3              PRODUCER  until the PubAck; crons and messages begin here
        wait EVT3               INTERNAL  in its line, until it is delivered
        deliver EVT3            CONSUMER  one attempt, while it is with one connection of its session
          ack EVT3              CLIENT    until JetStream has confirmed the end; `set aside` where it is a dead letter

A span has ids and decisions in it: no payload, no token, nothing that a stranger wrote but the event type. Between
servers, restarts and days the trace is kept by the event, in its `traceparent`: see ADR 0019.

This alone imports OpenTelemetry, and only a server with an endpoint imports this. `OTEL_…` variables are read by the
SDK. Spans are sent by a thread of its, from a queue that is bounded: what the collector does not take is lost, and
nothing else.
"""

import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as OtelSpan

from clawback import __version__
from clawback.errors import ConfigError
from clawback.model import Address, Event, EventState, Held, random_id
from clawback.telemetry.traceparent import parse_traceparent

FLUSH_SECONDS = 5.0
"""How long the last spans may take when the server stops."""

PROTOCOL = "http/protobuf"

WEBHOOK_ROUTE = "/webhooks/{webhook_id}/{slug}"
"""Instead of the path: whoever knows a webhook id can send to it."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
"""Any other word is `_OTHER`, as the semantic conventions have it: a stranger could make them up."""

_FAULTS = frozenset({"failed", "lost", "timed_out", "dead"})
"""Outcomes of an attempt that are errors."""

_EXPORTER_LOG = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_HEADERS_LOG = "opentelemetry.util.re"
_QUEUE_LOG = "opentelemetry.sdk._shared_internal"

_SERVER_ERROR = 500

_REQUEST_ATTRIBUTES = {
    "bytes": "http.request.body.size",
    "outcome": "clawback.outcome",
    "profile": "clawback.profile.id",
    "source": "clawback.source.id",
    "event": "clawback.event.id",
    "type": "clawback.event.type",
}
"""What a request's log line says of it that a span says too."""

log = logging.getLogger("clawback.tracing")

Attributes = Mapping[str, str | int | float | bool | None]


class Span:
    """
    One step, from its making to `end`.

    `traceparent` is for what follows from it, `log_fields` for the lines about it.
    """

    __slots__ = ("_span", "log_fields", "traceparent")

    def __init__(self, span: OtelSpan) -> None:
        self._span = span
        context = span.get_span_context()
        trace_id, span_id = f"{context.trace_id:032x}", f"{context.span_id:016x}"
        self.traceparent = f"00-{trace_id}-{span_id}-{context.trace_flags & TraceFlags.SAMPLED:02x}"
        self.log_fields = {"trace_id": trace_id, "span_id": span_id}

    def link(self, traceparent: str) -> None:
        """Point at the span of somebody else, from which this one came."""
        self._span.add_link(_context_of(traceparent), {"clawback.link": "sender"})

    def note(self, attributes: Attributes) -> None:
        """Add what has become known."""
        self._span.set_attributes(_given(attributes))

    def answered(self, fields: Mapping[str, Any]) -> None:
        """End a request, of which the log says this; status 0 is a bug."""
        status = fields["status"] or _SERVER_ERROR
        known = {_REQUEST_ATTRIBUTES[name]: value for name, value in fields.items() if name in _REQUEST_ATTRIBUTES}
        self.note(known | {"http.response.status_code": status})
        self.end(error=str(status) if status >= _SERVER_ERROR else None)

    def delivered(self, outcome: str, *, reason: str | None = None, seen_at: float = 0.0) -> None:
        """End an attempt with what became of it; `seen_at` is when it was known to have reached the model."""
        if seen_at:
            self._span.add_event("seen", timestamp=_nanoseconds(seen_at))
        self.note({"clawback.outcome": outcome, "clawback.reason": reason})
        self.end(error=reason or outcome if _FAULTS & {outcome, reason} else None)

    def end(self, *, error: str | None = None) -> None:
        """End it; `error` is the short name of what went wrong."""
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class Traces:
    """Makes a server's spans. `close` when it ends."""

    def __init__(self, exporter: SpanExporter) -> None:
        # What the environment says of the resource comes before what is known here.
        known = {
            "service.name": "clawback",
            "service.version": __version__,
            "service.instance.id": random_id(),
        }
        self._provider = TracerProvider(
            resource=Resource.create(known).merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("clawback", __version__)

    def close(self) -> None:
        """Send what there is, for FLUSH_SECONDS at most; nothing that was made by this may be used any more."""
        # The SDK's own bounds are longer, and a collector that does not answer may hold its thread beyond them.
        flush = threading.Thread(target=self._provider.shutdown, name="last traces", daemon=True)
        flush.start()
        flush.join(FLUSH_SECONDS)
        if flush.is_alive():
            log.warning("the last traces were not taken within %g s and are lost", FLUSH_SECONDS)

    # --- the request ---------------------------------------------------------------------------------------------

    def request(self, method: str, scheme: str, client: str) -> Span:
        """Begin a webhook's request, which begins a trace: a stranger's ids and sampling decide nothing here."""
        known = method if method in _METHODS else "_OTHER"
        return self._begin(
            f"{known} {WEBHOOK_ROUTE}",
            SpanKind.SERVER,
            {
                "http.request.method": known,
                "http.route": WEBHOOK_ROUTE,
                "url.scheme": scheme,
                "client.address": client,
            },
        )

    # --- the event -----------------------------------------------------------------------------------------------

    @contextmanager
    def publishing(
        self,
        stream: str,
        address: Address,
        event: Event,
        *,
        size: int,
        copies: int = 1,
        replays: str | None = None,
        tells_failure: bool = True,
    ) -> Iterator[Span]:
        """
        Span the storing of an event, whose trace it continues or begins; of `copies` that are stored together.

        `replays` is the traceparent of the event that this one repeats. Without `tells_failure` there is no span of one
        that fails: whoever tries it all day would make thousands.
        """
        span = self._begin(
            f"publish {stream}",
            SpanKind.PRODUCER,
            {
                **_messaging("publish", "send", stream),
                **_about(address, event),
                "messaging.message.id": event.id if copies == 1 else None,
                "messaging.message.body.size": size,
                "messaging.batch.message_count": copies if copies > 1 else None,
                "clawback.replay": event.replay,
            },
            parent=event.traceparent,
            links=() if replays is None else (Link(_context_of(replays), {"clawback.link": "replay"}),),
        )
        with _until_its_end(span, tells_failure=tells_failure):
            yield span

    @contextmanager
    def broadcasting(self, address: Address) -> Iterator[Span]:
        """Span a message to everybody, from which each server's copies follow."""
        attributes = {"clawback.profile.id": address.profile_id, "clawback.origin": "session"}
        span = self._begin(
            "publish broadcast", SpanKind.PRODUCER, _messaging("publish", "send", "broadcast") | attributes
        )
        with _until_its_end(span):
            yield span

    def waited(self, stream: str, address: Address, event: Event, since: float, until: float) -> None:
        """Tell how long an event waited in its line (Unix seconds)."""
        span = self._begin(
            f"wait {stream}",
            SpanKind.INTERNAL,
            {
                "messaging.system": "nats",
                "messaging.destination.name": stream,
                "messaging.message.id": event.id,
                **_about(address, event),
            },
            parent=event.traceparent,
            start=since,
        )
        # Of two clocks one may be behind.
        span._span.end(_nanoseconds(max(since, until)))  # noqa: SLF001 -- its own

    def delivering(
        self, stream: str, address: Address, event: Event, held: Held, *, connection: str, resumed: bool
    ) -> Span:
        """Begin what one connection has of an attempt: all of it, or what is left when a client comes back with it."""
        return self._begin(
            f"deliver {stream}",
            SpanKind.CONSUMER,
            {
                **_messaging("deliver", "process", stream),
                **_about(address, event),
                "messaging.message.id": event.id,
                "messaging.client.id": connection,
                "clawback.attempt": held.attempt,
                "clawback.resumed": resumed or None,
            },
            parent=event.traceparent,
            start=None if resumed else held.delivered_at,
        )

    @contextmanager
    def ending(
        self, stream: str, address: Address, event: Event, held: Held, state: EventState, delivery: Span | None
    ) -> Iterator[Span]:
        """Span an event's end, until JetStream has confirmed it; `delivery` is the attempt that it ends, if known."""
        name = "ack" if state is EventState.ACKED else "set aside"
        span = self._begin(
            f"{name} {stream}",
            SpanKind.CLIENT,
            {
                **_messaging(name, "settle", stream),
                **_about(address, event),
                "messaging.message.id": event.id,
                "clawback.attempt": held.attempt or None,
                "clawback.outcome": state.value,
            },
            parent=event.traceparent if delivery is None else delivery.traceparent,
        )
        with _until_its_end(span):
            yield span

    def _begin(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        *,
        parent: str | None = None,
        links: Sequence[Link] = (),
        start: float | None = None,
    ) -> Span:
        # Never the context that is current: what is one's parent is said by its event.
        context = Context() if parent is None else set_span_in_context(NonRecordingSpan(_context_of(parent)), Context())
        begun = None if start is None else _nanoseconds(start)
        return Span(
            self._tracer.start_span(
                name, context, kind=kind, attributes=_given(attributes), links=links, start_time=begun
            )
        )


def open_traces(endpoint: str) -> Traces | None:
    """
    Begin to send traces as the environment says; None where it asks for another protocol. `endpoint` is for the log.

    Raises:
        ConfigError: a variable of OpenTelemetry cannot be used.
    """
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if (asked := os.environ.get(name, "").strip()) and asked != PROTOCOL:
            log.warning("no traces: read %r from %s, and they are sent by %s only", asked, name, PROTOCOL)
            return None
        if asked:
            break
    logging.getLogger(_HEADERS_LOG).addFilter(_hide_headers)
    try:
        return Traces(_Exporter(OTLPSpanExporter(), endpoint))
    except ValueError as error:
        raise ConfigError(f"traces: OpenTelemetry cannot use one of its OTEL_… variables: {error}") from error


def _hide_headers(record: logging.LogRecord) -> bool:
    """Say that headers are no headers without repeating them: most of them are somebody's key."""
    record.msg = "OTEL_EXPORTER_OTLP_HEADERS: left out what is not name=value, percent-encoded, with commas between"
    record.args = ()
    return True


class _Exporter(SpanExporter):
    """Sends spans, and says once that they are not taken, and once that they are again."""

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self._exporter = exporter
        self._endpoint = endpoint
        self._failing = False
        self._last = _LastWord()
        # It would say so at every batch and every try, and where: a URL may have a key in it.
        theirs = logging.getLogger(_EXPORTER_LOG)
        theirs.propagate = False
        theirs.addHandler(self._last)
        # Nor need it be said every 20 s that the queue is full, as long as it is known why.
        logging.getLogger(_QUEUE_LOG).addFilter(lambda _: not self._failing)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; called by the SDK's thread."""
        result = self._exporter.export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            log.warning("traces are lost until %s takes them: %s", self._endpoint, self._last.why())
        elif self._failing and not failing:
            log.info("traces are taken again by %s", self._endpoint)
        self._failing = failing
        return result

    def shutdown(self) -> None:
        """End it."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Send what there is."""
        return self._exporter.force_flush(timeout_millis)


class _LastWord(logging.Handler):
    """Keeps the last thing that the exporter said."""

    def __init__(self) -> None:
        super().__init__()
        self._text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self._text = record.getMessage()

    def why(self) -> str:
        """Tell the status in it, and nothing else of it."""
        status = re.search(r"\bcode: (\d{3})\b", self._text)
        return f"it answered {status[1]}" if status else "it does not answer"


@contextmanager
def _until_its_end(span: Span, *, tells_failure: bool = True) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if tells_failure:  # a span that is never ended is never sent
            span.end(error=type(error).__name__)
        raise
    span.end()


def _messaging(name: str, kind: str, stream: str) -> dict[str, str]:
    return {
        "messaging.system": "nats",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": stream,
    }


def _about(address: Address, event: Event) -> dict[str, str | None]:
    return {
        "clawback.profile.id": address.profile_id,
        "clawback.tag": address.tag,
        "clawback.origin": event.origin.value,
        "clawback.priority": event.priority.value,
        "clawback.source.id": event.source_id,
        "clawback.cron.id": event.cron_id,
        "clawback.event.type": event.event_type,
    }


def _given(attributes: Attributes) -> dict[str, str | int | float | bool]:
    return {name: value for name, value in attributes.items() if value is not None}


def _context_of(traceparent: str) -> SpanContext:
    known = parse_traceparent(traceparent)
    assert known is not None, "whoever reads one from outside parses it"
    return SpanContext(
        int(known[3:35], 16), int(known[36:52], 16), is_remote=True, trace_flags=TraceFlags(int(known[53:], 16))
    )


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
