"""Traces as a collector gets them: one for each event, from its request to its ack, whatever happens in between."""

import asyncio
import json
import re
from collections.abc import Iterator

import pytest

import senders
from collector import Collector, collecting
from github import PULL_REQUEST, delivery, make_source, post
from legacy import LegacyClient
from processes import Server, frozen, stable_port
from waiting import eventually

POST = "POST /webhooks/{webhook_id}/{slug}"
ACKED = (
    f"{POST} outcome=queued",
    "  publish",
    "    wait",
    "    deliver attempt=1 outcome=acked",
    "      ack attempt=1 outcome=acked",
)
TRACING = {
    "opentelemetry.trace",
    "opentelemetry.sdk.trace",
    "requests",
    "clawback.telemetry.tracing",
}
"""Some of what traces are made with. Not `opentelemetry` itself: Litestar looks for it, and finds some constants."""

THEIR_TRACE, THEIR_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """A collector for the tests that leave it alone."""
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def server(tmp_path_factory, collector) -> Iterator[Server]:
    """A server that sends it traces, for the tests that do not stop it."""
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        named = {"OTEL_SERVICE_NAME": "named-by-env", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"}
        server.start(PYTHONPROFILEIMPORTTIME="1", **named, **collector.variables)
        yield server
    finally:
        server.close()


def traced(traceparent: str, body: bytes = PULL_REQUEST) -> dict:
    """Build a delivery whose sender traces."""
    made = delivery(body=body)
    return made | {"headers": made["headers"] | {"traceparent": traceparent}}


def modules(server: Server) -> set[str]:
    """Name the modules that a server imported which was started with PYTHONPROFILEIMPORTTIME."""
    return {line.rpartition("|")[2].strip() for line in server.errors.splitlines() if line.startswith("import time:")}


def log_lines(server: Server, event_id: str) -> list[dict[str, str]]:
    """Read the fields of the log lines about an event."""
    lines = [line for line in server.errors.splitlines() if f'event="{event_id}"' in line]
    return [{name: json.loads(value) for name, value in re.findall(r'(\w+)=("[^"]*"|[\w.]+)', line)} for line in lines]


async def test_a_webhook_is_one_trace_from_post_to_ack(server, token, http, collector):
    """Request, PubAck, the wait in the line, the attempt and its ack; with ids, and nothing that is secret or said."""
    async with LegacyClient(server.socket_url, token.value, "builds") as client:
        event_id = await post(http, await make_source(client, sessionTag="builds"))
        await client.ack(await client.event(), summary="planted summary")
        spans = await collector.shows(event_id, *ACKED)
    request, publish, wait, deliver, ack = spans

    assert [span.kind for span in spans] == ["SERVER", "PRODUCER", "INTERNAL", "CONSUMER", "CLIENT"]
    assert request.attributes.items() >= {
        "http.request.method": "POST",
        "http.response.status_code": 202,
        "http.request.body.size": len(PULL_REQUEST),
        "clawback.event.id": event_id,
        "clawback.event.type": "pull_request.opened",
    }.items()  # fmt: skip
    assert (
        deliver.attributes.items()
        >= {
            "messaging.message.id": event_id,
            "clawback.profile.id": token.profile_id,
            "clawback.tag": "builds",
        }.items()
    )
    assert {span.attributes["messaging.system"] for span in spans[1:]} == {"nats"}
    assert [span.attributes["messaging.operation.type"] for span in (publish, deliver, ack)] == [
        "send",
        "process",
        "settle",
    ]
    assert request.start <= publish.start <= publish.end <= request.end
    assert wait.start <= wait.end <= ack.start <= ack.end <= deliver.end
    assert not any(span.error or span.links for span in spans)
    assert {"service.name": "named-by-env", "deployment.environment.name": "test"}.items() <= collector.resources[
        0
    ].items()
    assert b"Hello-World" in PULL_REQUEST
    for secret in (token.value, token.webhook_id, senders.SECRET.decode(), "planted summary", "Hello-World"):
        assert secret.encode() not in collector.raw


async def test_the_log_and_the_trace_find_each_other(server, token, http, collector):
    """The lines of the request and of the attempt carry the ids of their spans."""
    async with LegacyClient(server.socket_url, token.value) as client:
        event_id = await post(http, await make_source(client))
        await client.ack(await client.event())
        request, _, _, deliver, _ = await collector.shows(event_id, *ACKED)

    assert {line["action"]: (line["trace_id"], line["span_id"]) for line in log_lines(server, event_id)} == {
        "webhook": (request.trace, request.id),
        "deliver": (deliver.trace, deliver.id),
        "acked": (deliver.trace, deliver.id),
    }


async def test_a_senders_trace_is_pointed_at_and_decides_nothing(server, token, http, collector):
    """It becomes a link, whatever it wants sampled, and only of a delivery that was verified."""
    async with LegacyClient(server.socket_url, token.value) as client:
        url = await make_source(client)
        forged = traced(f"00-{THEIR_TRACE}-{THEIR_SPAN}-01")
        forged["headers"]["X-Hub-Signature-256"] = "sha256=" + "0" * 64
        refused = await http.post(url, **forged)
        event_id = await post(http, url, **traced(f"00-{THEIR_TRACE}-{THEIR_SPAN}-00"))
        await client.ack(await client.event())
        spans = await collector.shows(event_id, *ACKED)

    def of_refused():
        return [span for span in collector.spans if span.attributes.get("http.response.status_code") == 401]

    await eventually(of_refused)
    assert refused.status_code == 401
    assert spans[0].links == [f"{THEIR_TRACE}-{THEIR_SPAN}"]
    assert not any(span.links for span in (*spans[1:], *of_refused()))
    assert THEIR_TRACE not in {span.trace for span in collector.spans}


@pytest.mark.parametrize(
    "hostile",
    [
        f"00-{'0' * 32}-{THEIR_SPAN}-01",
        f"00-{THEIR_TRACE}-{'0' * 16}-01",
        f"ff-{THEIR_TRACE}-{THEIR_SPAN}-01",
        f"00-{THEIR_TRACE.upper()}-{THEIR_SPAN}-01",
        f"00-{THEIR_TRACE}-{THEIR_SPAN}-01, 00-{THEIR_TRACE}-{THEIR_SPAN}-01",
        "x" * 8000,
    ],
)
async def test_a_hostile_traceparent_is_ignored(server, shared_token, http, collector, hostile):
    """The event is accepted and traced as if it had none."""
    async with LegacyClient(server.socket_url, shared_token.value) as client:
        url = await make_source(client, f"hostile-{abs(hash(hostile))}")
        event_id = await post(http, url, **traced(hostile))
        await client.ack(await client.event())
        spans = await collector.shows(event_id, *ACKED)

    assert not any(span.links for span in spans)


async def test_crons_and_messages_begin_traces(server, token, collector):
    """A cron's event, a message to tags, whose copies share one trace, and one to everybody."""
    async with (
        LegacyClient(server.socket_url, token.value) as sender,
        LegacyClient(server.socket_url, token.value, "a") as a,
        LegacyClient(server.socket_url, token.value, "b") as b,
    ):
        cron = await sender.request("cron_create", schedule="0 0 1 1 *", prompt="planted prompt", sessionTag="a")
        await sender.request("cron_run_now", cronId=cron["id"])
        ran = await a.event()
        await a.ack(ran)
        both = await sender.request("session_send", targets=["a", "b"], content="planted message")
        of_message = []
        for client in (a, b):
            of_message.append(await client.event())
            await client.ack(of_message[-1])
        await sender.request("session_send", targets=["*"], content="planted message")
        of_broadcast = []
        for client in (a, b):
            of_broadcast.append(await client.event())
            await client.ack(of_broadcast[-1])

        delivered = ["wait", "deliver attempt=1 outcome=acked", "  ack attempt=1 outcome=acked"]
        await collector.shows(ran["id"], "publish", *(f"  {step}" for step in delivered))

        def complete(event: dict, acks: int) -> bool:
            return sum(span.name.startswith("ack ") for span in collector.of_event(event["id"])) == acks

        await eventually(lambda: complete(of_message[0], 2))
        await eventually(lambda: complete(of_broadcast[0], 2))
    traces = {
        kind: {span.trace for event in events for span in collector.of_event(event["id"])}
        for kind, events in (("message", of_message), ("broadcast", of_broadcast))
    }

    assert both["sent"] == 2
    assert {kind: len(found) for kind, found in traces.items()} == {"message": 1, "broadcast": 1}
    assert traces["message"] != traces["broadcast"]
    assert b"planted" not in collector.raw


async def test_a_spooled_webhook_keeps_its_trace(own_server, http, collector):
    """What NATS did not take, and what it took later, are steps of one trace."""
    await asyncio.to_thread(own_server.start, CLAWBACK_SPOOL="on", **collector.variables)
    token = await asyncio.to_thread(own_server.token)
    async with LegacyClient(own_server.socket_url, token.value) as client:
        url = await make_source(client)
        with frozen(own_server.nats_pid):
            event_id = await post(http, url)
            # So long that it was tried again, of which nothing is told.
            await eventually(lambda: "stay in the spool" in own_server.errors)
        await client.ack(await client.event())

        def ended():
            steps = [span.name.partition(" ")[0] for span in collector.of_event(event_id) if span.error is None]
            return {"publish", "ack"} <= set(steps)

        await eventually(ended, timeout=15)
    request, first, *rest = collector.of_event(event_id)

    assert request.attributes["clawback.outcome"] == "spooled"
    assert first.error == "Unavailable"
    assert [(span.parent, span.error) for span in rest if span.name.startswith("publish ")] == [(request.id, None)]
    assert len({span.trace for span in (request, first, *rest)}) == 1


async def test_a_redelivery_is_a_second_attempt_in_the_same_trace(server, token, http, collector):
    """Of an event whose session was killed; the first says so."""
    async with LegacyClient(server.socket_url, token.value) as client:
        event_id = await post(http, await make_source(client))
        await client.event()
        client.vanish()
    async with LegacyClient(server.socket_url, token.value) as client:
        await client.ack(await client.event())
        spans = await collector.shows(
            event_id,
            f"{POST} outcome=queued",
            "  publish",
            "    wait",
            "    deliver attempt=1 outcome=released reason=lost",
            "    deliver attempt=2 outcome=acked",
            "      ack attempt=2 outcome=acked",
        )

    assert [span.error for span in spans if span.kind == "CONSUMER"] == ["lost", None]
    assert [line["action"] for line in log_lines(server, event_id)] == [
        "webhook",
        "deliver",
        "released",
        "deliver",
        "acked",
    ]


async def test_a_trace_goes_on_after_a_restart_and_a_kill(own_server, http, collector):
    """Taken and delivered by one start of the server, delivered again by the next, acked in the third."""
    await asyncio.to_thread(own_server.start, **collector.variables)
    token = await asyncio.to_thread(own_server.token)
    async with LegacyClient(own_server.socket_url, token.value) as client:
        event_id = await post(http, await make_source(client))
        await client.event()
        await asyncio.to_thread(own_server.stop)
    await asyncio.to_thread(own_server.start, **collector.variables)
    async with LegacyClient(own_server.socket_url, token.value) as client:
        await client.event()
        await asyncio.to_thread(own_server.kill9)
    await asyncio.to_thread(own_server.start, **collector.variables)
    async with LegacyClient(own_server.socket_url, token.value) as client:
        await client.ack(await client.event())
        await collector.shows(
            event_id,
            f"{POST} outcome=queued",
            "  publish",
            "    wait",
            "    deliver attempt=1 outcome=released reason=closed",
            # What a killed process had not ended is lost with it.
            "    deliver attempt=3 outcome=acked",
            "      ack attempt=3 outcome=acked",
        )


async def test_a_dead_collector_costs_a_line_and_no_event(own_server, http):
    """Nobody listens there, then somebody does, then nobody, when NATS is killed and when the server ends."""
    port = stable_port()
    endpoint = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://user:planted@127.0.0.1:{port}/v1/traces?key=planted"}
    quick = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    await asyncio.to_thread(own_server.start, **endpoint, **quick)
    token = await asyncio.to_thread(own_server.token)
    async with LegacyClient(own_server.socket_url, token.value) as client:
        url = await make_source(client)

        async def one() -> str:
            event_id = await post(http, url)
            await client.ack(await client.event())
            return event_id

        for _ in range(3):
            await one()
        await eventually(lambda: "traces are lost" in own_server.errors)
        with collecting(port) as collector:
            await one()
            await eventually(lambda: "traces are taken again" in own_server.errors)
            await collector.shows(await one(), *ACKED)
            own_server.kill9_nats()
            await collector.shows(await one(), *ACKED)
        await one()
        await eventually(lambda: own_server.errors.count("traces are lost") == 2)
        await one()
    stopped = await asyncio.to_thread(own_server.stop)

    assert stopped == 0
    assert f"traces are lost until http://127.0.0.1:{port} takes them: it does not answer" in own_server.errors
    assert "Traceback" not in own_server.errors
    assert "planted" not in own_server.errors


async def test_nothing_is_imported_that_nobody_asked_for(server, own_server, http):
    """A server that has taken and delivered an event without an endpoint has none of what one with an endpoint has."""
    await asyncio.to_thread(own_server.start, PYTHONPROFILEIMPORTTIME="1")
    token = await asyncio.to_thread(own_server.token)
    async with LegacyClient(own_server.socket_url, token.value) as client:
        event_id = await post(http, await make_source(client))
        await client.ack(await client.event())
        await eventually(lambda: 'action="acked"' in own_server.errors)

    assert "clawback.server.app" in modules(own_server)
    assert modules(own_server) & TRACING == set()
    assert modules(server) >= TRACING
    assert not any("trace_id" in line for line in log_lines(own_server, event_id))
