"""What a collector is told of an event's way between servers, attempts and ends; what OpenTelemetry is asked to do."""

import logging
import os
import threading
from contextlib import asynccontextmanager

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from clawback.errors import ConfigError
from clawback.sessions import lane
from clawback.telemetry import tracing
from clawback.telemetry.tracing import Traces, open_traces
from collector import collecting
from houses import House
from senders import SECRET, github
from waiting import eventually

POST = "POST /webhooks/{webhook_id}/{slug}"
TAKEN = (f"{POST} outcome=queued", "  publish", "    wait")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Spans are sent at once, and OpenTelemetry is told nothing else."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setattr(lane, "FAILURE_PAUSE_SECONDS", 0.05)


@pytest.fixture
def collector():
    """A collector of the test's own."""
    with collecting() as collector:
        yield collector


@pytest.fixture
def traces(collector):
    """What sends to it."""
    traces = Traces(OTLPSpanExporter(f"{collector.url}/v1/traces"))
    yield traces
    traces.close()


@pytest.fixture
async def house(natsd, tmp_path, traces):
    """A profile with two servers on one NATS, which send what they do."""
    async with House.open(natsd, tmp_path, servers=2, traces=traces) as house:
        yield house


@asynccontextmanager
async def posted(house):
    """Post a webhook to the first server; its event's id."""
    peer = await house.connect(instanceId="maker", sessionTag="maker")
    usual = {"slug": "github", "verifierType": "github", "secret": SECRET.decode(), "sessionTag": "work"}
    source = (await peer.ask("source_create", **usual))["data"]
    body = b'{"action":"opened"}'
    headers = dict(github(body)) | {"X-GitHub-Event": "pull_request", "X-GitHub-Delivery": "one"}
    async with httpx.AsyncClient(trust_env=False) as http:
        path = source["url"].partition("/webhooks/")[2]
        answer = await http.post(f"{house.servers[0].url}/webhooks/{path}", content=body, headers=headers)
    yield answer.json()["eventId"]


# --- an event's way --------------------------------------------------------------------------------------------------


async def test_a_trace_goes_on_at_another_server(house, collector):
    """Taken by one, delivered by another."""
    async with posted(house) as event_id:
        peer = await house.connect(house.servers[1], sessionTag="work", instanceId="i")
        await peer.frame("event")
        await peer.ack(event_id)

        await collector.shows(
            event_id, *TAKEN, "    deliver attempt=1 outcome=acked", "      ack attempt=1 outcome=acked"
        )


async def test_each_attempt_says_what_became_of_it(house, collector):
    """A session that cannot take the event, one that puts it off, and one that takes the session over."""
    async with posted(house) as event_id:
        peer = await house.connect(sessionTag="work", instanceId="i")
        await peer.frame("event")
        await peer.ask("event_fail", eventId=event_id, reason="planted reason")
        await peer.frame("event")
        await peer.ask("event_defer", eventId=event_id)
        await peer.frame("event")
        other = await house.connect(house.servers[1], sessionTag="work", instanceId="j")
        await other.ask("session_takeover")
        await other.frame("event")
        await other.ack(event_id)

        spans = await collector.shows(
            event_id,
            *TAKEN,
            "    deliver attempt=1 outcome=failed",
            "    deliver attempt=2 outcome=deferred",
            "    wait",
            "    deliver attempt=3 outcome=released reason=taken_over",
            "    deliver attempt=4 outcome=acked",
            "      ack attempt=4 outcome=acked",
        )
    assert [span.error for span in spans if span.kind == "CONSUMER"] == ["failed", None, None, None]
    assert b"planted" not in collector.raw


async def test_a_client_that_comes_back_goes_on_with_its_attempt(house, collector):
    """Both connections have a span of it; what the model has seen is marked."""
    async with posted(house) as event_id:
        peer = await house.connect(sessionTag="work", instanceId="i")
        await peer.frame("event")
        peer.abort()
        await eventually(lambda: any("lost" in step for step in collector.tree(event_id)))
        peer = await house.connect(sessionTag="work", instanceId="i", inflight=[event_id])
        await peer.ask("event_seen", eventId=event_id)
        await peer.ack(event_id)

        spans = await collector.shows(
            event_id,
            *TAKEN,
            "    deliver attempt=1 outcome=released reason=lost",
            "    deliver attempt=1 resumed=True outcome=acked",
            "      ack attempt=1 outcome=acked",
        )
    assert [span.marks for span in spans if span.kind == "CONSUMER"] == [[], ["seen"]]


async def test_an_ack_that_comes_with_the_next_connection_is_in_the_trace(house, collector, caplog):
    """It was made while the client was offline; the log has its line too."""
    caplog.set_level(logging.INFO, "clawback.sessions")
    async with posted(house) as event_id:
        peer = await house.connect(sessionTag="work", instanceId="i")
        await peer.frame("event")
        await peer.close()
        await eventually(lambda: any("left" in step for step in collector.tree(event_id)))
        await house.connect(sessionTag="work", instanceId="j", acked=[{"eventId": event_id, "summary": "done"}])

        spans = await collector.shows(
            event_id,
            *TAKEN,
            "    deliver attempt=1 outcome=released reason=left",
            "    ack attempt=1 outcome=acked",
        )
    of_sessions = [record for record in caplog.records if record.name == "clawback.sessions"]
    lines = [record for record in of_sessions if getattr(record, "event", None) == event_id]
    assert [record.action for record in lines] == ["deliver", "released", "acked"]
    assert lines[-1].span_id == spans[-1].id


async def test_a_dead_letter_ends_its_trace_and_a_replay_points_back_at_it(house, collector):
    """The replay is a trace of its own."""
    async with posted(house) as event_id:
        peer = await house.connect(sessionTag="work", instanceId="i")
        for _ in range(lane.MAX_FAILURES):
            await peer.frame("event")
            await peer.ask("event_fail", eventId=event_id)
        dead = await collector.shows(
            event_id,
            *TAKEN,
            "    deliver attempt=1 outcome=failed",
            "    deliver attempt=2 outcome=failed",
            "    deliver attempt=3 outcome=dead reason=failed",
            "      set aside attempt=3 outcome=dead",
        )
        again = (await peer.ask("event_replay", eventId=event_id))["data"]["eventId"]
        await eventually(lambda: again in [frame.get("id") for frame in peer.frames])
        await peer.ack(again)
        await eventually(lambda: any(span.name.startswith("ack ") for span in collector.of_event(again)))

    (replay,) = [span for span in collector.spans if span.attributes.get("clawback.replay")]
    assert replay.attributes["clawback.replay"] == event_id
    assert replay.attributes["messaging.message.id"] == again
    assert replay.links == [f"{dead[1].trace}-{dead[1].id}"]
    assert replay.trace != dead[0].trace


async def test_what_is_withdrawn_ends_its_trace_too(house, collector):
    """Its source was deleted while it waited."""
    async with posted(house) as event_id:
        peer = await house.connect(instanceId="other", sessionTag="other")
        (source,) = (await peer.ask("source_list"))["data"]
        await peer.ask("source_delete", sourceId=source["id"])

        await collector.shows(event_id, f"{POST} outcome=queued", "  publish", "    set aside outcome=dead")


# --- OpenTelemetry ---------------------------------------------------------------------------------------------------


def test_the_operators_sampler_decides(collector, monkeypatch):
    """What follows from a span that was not sampled is not either, whatever the ratio."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    traces = Traces(OTLPSpanExporter(f"{collector.url}/v1/traces"))
    span = traces.request("POST", "http", "127.0.0.1")
    span.answered({"status": 202})
    traces.close()

    assert span.traceparent.endswith("-00")
    assert collector.spans == []


@pytest.mark.parametrize(("method", "shown"), [("POST", "POST"), ("PLANTED", "_OTHER")])
def test_a_stranger_makes_up_no_span_names(collector, traces, method, shown):
    """A method that nobody has defined is none."""
    traces.request(method, "http", "127.0.0.1").answered({"status": 405})
    traces.close()

    (span,) = collector.spans
    assert span.name.partition(" ")[0] == span.attributes["http.request.method"] == shown
    assert span.error is None


def test_a_bug_is_a_500(collector, traces):
    """Status 0 is what the log says of it."""
    traces.request("POST", "http", "127.0.0.1").answered({"status": 0})
    traces.close()

    (span,) = collector.spans
    assert (span.attributes["http.response.status_code"], span.error) == (500, "500")


def test_the_last_spans_are_sent_at_the_end(collector, monkeypatch):
    """Even where the next batch was a minute away."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    traces = Traces(OTLPSpanExporter(f"{collector.url}/v1/traces"))
    traces.request("POST", "http", "127.0.0.1").answered({"status": 202})
    traces.close()

    assert len(collector.spans) == 1
    assert collector.resources[0]["service.name"] == "clawback"


def test_the_end_waits_for_no_collector(caplog, monkeypatch):
    """One that holds a batch for ever is left alone, and the log says what that costs."""
    monkeypatch.setattr(tracing, "FLUSH_SECONDS", 0.1)
    release = threading.Event()

    class Holding(SpanExporter):
        def export(self, spans):
            del spans
            release.wait()
            return SpanExportResult.SUCCESS

        def shutdown(self):
            release.wait()

    traces = Traces(Holding())
    traces.request("POST", "http", "127.0.0.1").answered({"status": 202})
    traces.close()
    release.set()

    assert "the last traces were not taken within 0.1 s and are lost" in caplog.text


def test_headers_are_sent_and_a_refusal_is_told_once(collector, caplog, monkeypatch):
    """With the status, since it says what to mend, and not with what is secret."""
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20planted")
    collector.status = 401
    traces = open_traces(collector.url)
    for _ in range(2):
        traces.request("POST", "http", "127.0.0.1").answered({"status": 202})
        traces._provider.force_flush()
    logging.getLogger("opentelemetry.sdk._shared_internal").warning("Queue full, dropping Span.")
    collector.status = 200
    traces.request("POST", "http", "127.0.0.1").answered({"status": 202})
    traces.close()

    assert [record.getMessage() for record in caplog.records] == [
        f"traces are lost until {collector.url} takes them: it answered 401",
        f"traces are taken again by {collector.url}",
    ]
    assert collector.headers[0]["authorization"] == "Bearer planted"


def test_another_protocol_is_said_to_be_none_of_ours(caplog, monkeypatch):
    """A collector's gRPC port understands nothing that is sent here."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")

    assert open_traces("http://127.0.0.1:4317") is None
    assert (
        "no traces: read 'grpc' from OTEL_EXPORTER_OTLP_PROTOCOL, and they are sent by http/protobuf only"
        in caplog.text
    )


def test_a_variable_that_cannot_be_used_stops_the_start(monkeypatch):
    """With a sentence."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")

    with pytest.raises(ConfigError, match="cannot use one of its OTEL_… variables: max_queue_size must be"):
        open_traces("http://127.0.0.1:4318")


def test_headers_that_are_none_are_not_repeated(caplog, monkeypatch):
    """Somebody forgot the name of what may be a key."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "planted key")
    open_traces("http://127.0.0.1:9").close()

    assert "OTEL_EXPORTER_OTLP_HEADERS: left out what is not name=value" in caplog.text
    assert "planted" not in caplog.text
