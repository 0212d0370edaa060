"""An OpenTelemetry collector on loopback: takes OTLP over HTTP, and keeps the spans as a test reads them."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

from waiting import eventually


class Span(NamedTuple):
    """One span; ids in hexadecimal, `parent` empty at the root, times in nanoseconds, `error` None if there is none."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    attributes: dict[str, Any]
    links: list[str]
    marks: list[str]
    error: str | None

    @property
    def step(self) -> str:
        """Its name without the stream's number, and how often and how it went where that is told."""
        name = re.sub(r" EVT\d+$", "", self.name)
        words = [f"{key.rpartition('.')[2]}={self.attributes[key]}" for key in _TOLD if key in self.attributes]
        return " ".join([name, *words])


_TOLD = ("clawback.attempt", "clawback.resumed", "clawback.outcome", "clawback.reason")


class Collector:
    """Takes what servers send; `status` is what it answers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.status = 200
        self.refused = 0
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.raw = b""

    @property
    def variables(self) -> dict[str, str]:
        """What a server is started with to send here, and soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def of_event(self, event_id: str) -> list[Span]:
        """The spans of every trace that an event is in, by their start."""
        traces = {span.trace for span in self.spans if event_id in map(str, span.attributes.values())}
        return sorted((span for span in self.spans if span.trace in traces), key=lambda span: span.start)

    def tree(self, event_id: str) -> list[str]:
        """The steps of an event's trace, each indented below its parent."""
        spans = self.of_event(event_id)

        def below(parent: str, indent: str) -> Iterator[str]:
            for span in spans:
                if span.parent == parent:
                    yield indent + span.step
                    yield from below(span.id, indent + "  ")

        return list(below("", ""))

    async def shows(self, event_id: str, *steps: str) -> list[Span]:
        """Wait until an event's trace is these steps, each indented below its parent, and return them as they began."""
        with suppress(AssertionError):
            await eventually(lambda: self.tree(event_id) == list(steps), timeout=10)
        assert self.tree(event_id) == list(steps)
        return self.of_event(event_id)

    def take(self, headers: dict[str, str], body: bytes) -> None:
        """Keep what a server sent."""
        self.headers.append(headers)
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(_attributes(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.spans.extend(map(_span, scope.spans))


@contextmanager
def collecting(port: int = 0) -> Iterator[Collector]:
    """Run a collector, on any port or this one, until the context ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if collector.status == HTTPStatus.OK:
                collector.take({name.lower(): value for name, value in self.headers.items()}, body)
            else:
                collector.refused += 1
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def _attributes(pairs: list[KeyValue]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def _span(span: ProtoSpan) -> Span:
    attributes = _attributes(span.attributes)
    return Span(
        span.name,
        ProtoSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        attributes,
        [f"{link.trace_id.hex()}-{link.span_id.hex()}" for link in span.links],
        [event.name for event in span.events],
        attributes.get("error.type") if span.status.code else None,
    )
