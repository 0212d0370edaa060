"""The API's description: complete, true, and shown by a page that loads nothing."""

import base64
import hashlib
import re
from datetime import UTC, datetime
from typing import get_args

import jsonschema
import pytest
from msgspec.structs import fields

from clawback import wire
from clawback.api import account, crons, events, messages, sources, tokens
from clawback.model import Event, Origin, Priority, new_id

BODIES = [
    (account.AccountChange, wire.AccountUpdate),
    (tokens.TokenLabel, wire.TokenCreate),
    (tokens.TokenLabel, wire.TokenRotate),
    (sources.NewSource, wire.SourceCreate),
    (sources.SourceChange, wire.SourceUpdate),
    (crons.NewCron, wire.CronCreate),
    (crons.CronChange, wire.CronUpdate),
    (messages.Message, wire.SessionSend),
    (events.AckBody, wire.Ack),
    (events.Extension, wire.EventExtend),
    (events.Deferral, wire.EventDefer),
    (events.Failure, wire.EventFail),
]
"""What is sent to the API, and the request that it becomes."""

IN_PATH = {"requestId", "sourceId", "cronId", "eventId"}


def operations(document):
    """List method, path and description of everything under the API's path."""
    return [
        (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if path.startswith("/api/v1")
    ]


async def test_every_operation_says_what_it_does_and_how_it_can_end(api):
    """A summary, an example of success, every problem with an example, the token that it wants."""
    for method, path, operation in operations(api.document):
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["description"], where
        assert operation["security"] == [{"token": []}], where
        assert {"400", "401", "429", "503"} <= operation["responses"].keys(), where
        assert ("requestBody" in operation) == ("415" in operation["responses"]), where
        assert ("{" not in path) or "404" in operation["responses"], where
        for status, answer in operation["responses"].items():
            for media_type, content in answer.get("content", {}).items():
                assert (media_type == "application/problem+json") == (int(status) >= 400), f"{where} {status}"
                assert media_type == "application/octet-stream" or content["examples"], f"{where} {status}"


async def test_examples_are_true(api):
    """Each has the shape that stands beside it."""
    for _, _, operation in operations(api.document):
        for answer in operation["responses"].values():
            for content in answer.get("content", {}).values():
                for example in content.get("examples", {}).values():
                    api.check_shape(example["value"], content["schema"])


async def test_the_document_is_openapi(api):
    """Names are used once, and every reference leads somewhere."""
    ids = [operation["operationId"] for _, _, operation in operations(api.document)]
    references = set(re.findall(r'"\$ref": ?"#/components/schemas/(\w+)"', str(api.document).replace("'", '"')))

    assert len(ids) == len(set(ids))
    assert references
    assert references <= api.document["components"]["schemas"].keys()
    for schema in api.document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


async def test_the_page_shows_every_operation_and_loads_nothing(web, api):
    """Under a policy that would not let it: no script, and no style but its own."""
    page = await web.get("/schema")
    policy = page.headers["content-security-policy"]
    (style,) = re.findall(r"<style>(.*?)</style>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in policy
    assert f"style-src 'sha256-{digest}'" in policy
    assert not re.search(r"<script|<link|<img|style=|https?://(?!hooks\.example\.com)", page.text)
    assert "<code>Authorization: Bearer cbt_…</code>" in page.text
    assert "`" not in page.text
    for method, path, _ in operations(api.document):
        assert f"<code>{method.upper()} {path}</code>" in page.text


async def test_every_request_is_an_operation(api):
    """Whatever a session can ask, but for what is about its own connection."""
    asked = {request.__struct_config__.tag for request in get_args(wire.Request)}
    offered = {operation["operationId"] for _, _, operation in operations(api.document)}

    assert asked - offered == {"session_takeover", "event_seen"}


async def test_every_operation_succeeds_as_described(house, api):
    """Each is asked what it can do, once, and its answer held against its description."""
    peer = await house.connect(sessionTag="builds", instanceId="i")
    first, *others = [await house.publish(f'{{"n": {n}}}', "builds") for n in range(4)]
    await peer.frame("event", id=first)
    dead = Event(new_id("evt"), Origin.WEBHOOK, Priority.NORMAL, datetime.now(UTC), path="/hub")
    await house.events.bury(house.address("builds"), dead, b"", reason="failed")
    done = []

    async def ask(method, path, status=200, **options):
        answer = await api.ask(method, path, **options)
        assert answer.status_code == status, answer.text
        done.append(api.operation(answer.request)["operationId"])
        return answer

    for path in ("/source-types", "/account", "/tokens", "/sources", "/crons", "/sessions", "/events", "/history"):
        await ask("GET", path)
    await ask("PATCH", "/account", json={"timezone": "UTC"})
    await ask("PUT", "/config", json={"sources": {"kept": {"type": "none"}}, "crons": {}})
    await ask("GET", "/config")
    for path, body, change in (
        (
            "/sources",
            {"slug": "hub", "verifierType": "github", "generateSecret": True, "skill": "/go"},
            {"skill": "/x"},
        ),
        ("/crons", {"schedule": "@daily", "prompt": "look"}, {"prompt": "again"}),
        ("/tokens", {"label": "desk"}, None),
    ):
        one = f"{path}/{(await ask('POST', path, 201, json=body)).json()['id']}"
        await ask("GET", one)
        if change is not None:
            await ask("PATCH", one, json=change)
        if path == "/crons":
            for action in ("pause", "resume", "run"):
                await ask("POST", f"{one}/{action}")
        await ask("DELETE", one, 204)
    await ask("POST", "/messages", json={"targets": ["builds"], "content": "hello"})
    for path in (f"/events/{first}", f"/events/{first}/payload", f"/events/{first}/payload/part"):
        await ask("GET", path)
    await ask("GET", "/events/active", params={"sessionTag": "builds"})
    await ask("POST", f"/events/{dead.id}/replay", 201)
    await ask("POST", f"/events/{first}/extend", json={"seconds": 60})
    await ask("POST", f"/events/{first}/defer", json={})
    for event_id, action in zip(others, ("ack", "fail"), strict=False):
        await peer.frame("event", id=event_id)
        await ask("POST", f"/events/{event_id}/{action}", json={})
    late = await house.publish("late", "nobody")
    await ask("DELETE", f"/events/{late}", 204)
    await ask("POST", "/events/discard", json={"states": ["dead"], "dryRun": True})
    await ask("DELETE", "/sessions", params={"sessionTag": "nobody"})
    await ask("POST", "/tokens/rotate", 201, json={})

    # The feed has no end: tests/http/test_event_stream.py holds on to it.
    assert set(done) | {"event_stream"} == {operation["operationId"] for _, _, operation in operations(api.document)}


@pytest.mark.parametrize(("body", "request_type"), BODIES, ids=lambda each: each.__name__)
def test_a_body_has_the_fields_of_its_request(body, request_type):
    """What can be said over the WebSocket can be said here, but for what is in the path."""
    # `type` is what a frame calls itself, and beside it a source's type has its longer name alone.
    assert {field.encode_name for field in fields(body)} - {"type"} == {
        field.encode_name for field in fields(request_type)
    } - IN_PATH
