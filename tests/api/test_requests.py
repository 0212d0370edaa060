"""What every endpoint refuses, whatever it is for."""

import asyncio
import json
import re

import httpx
import pytest

from clawback.api import requests
from clawback.api.requests import MAX_BODY_BYTES

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "nothing to change"),
        (b"{", "truncated"),
        (b"null", "Expected `object`, got `null`"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"timezone": 5}', "Expected `str | null`, got `int` - at `$.timezone`"),
        (b'{"timezon": "UTC"}', "unknown field `timezon`"),
        (b'{"timezone": "\\ud800 and more"}', "surrogate"),
        (b'{"timezone": "\xff"}', "utf-8"),
        (b'\xef\xbb\xbf{"timezone": "UTC"}', "malformed"),
        (b"[" * 100_000, "Expected `object`, got `array`"),
        (b'{"timezone": ' + b"[" * 100_000, "timezone"),
    ],
)
async def test_a_body_that_cannot_be_read_is_a_problem(api, body, why):
    """It says where."""
    answer = await api.ask("PATCH", "/account", content=body, headers=JSON)

    assert answer.status_code == 400
    assert why in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "body", "field", "words"),
    [
        ("POST", "/sources", {"slug": "a", "verifierType": "gitlub"}, "verifierType", ("github", "stripe", "none")),
        (
            "POST",
            "/sources",
            {"slug": "a", "verifierType": "none", "priority": "low"},
            "priority",
            ("normal", "priority", "interrupt"),
        ),
        ("POST", "/crons", {"prompt": "a", "overlap": "never"}, "overlap", ("queue", "skip")),
        ("GET", "/events?state=lost", None, "state", ("queued", "dead")),
        ("GET", "/history?state=lost", None, "state", ("acked", "skipped")),
    ],
)
async def test_a_wrong_word_is_refused_with_those_that_are_taken(api, method, path, body, field, words):
    """Nobody has to look them up."""
    answer = await api.ask(method, path, **({} if body is None else {"json": body}))
    said, _, accepted = re.sub("[:;] accepted is", "; accepted is", answer.json()["detail"]).partition(
        "; accepted is one of "
    )

    assert answer.status_code == 400
    assert field.casefold() in said.replace(" ", "").casefold()
    assert set(words) <= set(accepted.partition(" (")[0].split(", "))


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "a"])
async def test_another_media_type_is_refused(api, media_type):
    """A form of another site's page could send no JSON, and has no token either."""
    body = json.dumps({"timezone": "UTC"})
    answer = await api.ask("PATCH", "/account", content=body, headers={"Content-Type": media_type})

    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]


@pytest.mark.parametrize(
    "media_type", ["application/json", "application/json; charset=utf-8", "Application/JSON", None]
)
async def test_json_is_taken_however_it_is_said(api, media_type):
    """Without a media type the body is what the endpoint takes."""
    headers = {} if media_type is None else {"Content-Type": media_type}
    answer = await api.ask("PATCH", "/account", content=b'{"timezone": "UTC"}', headers=headers)

    assert answer.status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_refused(api, chunked):
    """Whether its length is said or not."""
    body = b'{"timezone": "' + b"x" * MAX_BODY_BYTES + b'"}'

    async def pieces():
        yield body[:1000]
        yield body[1000:]

    answer = await api.ask("PATCH", "/account", content=pieces() if chunked else body, headers=JSON)

    assert answer.status_code == 413
    assert str(MAX_BODY_BYTES) in answer.json()["detail"]


async def test_a_body_that_does_not_come_is_given_up(house, monkeypatch):
    """A slow sender holds no connection for ever."""
    monkeypatch.setattr(requests, "BODY_SECONDS", 0.05)
    url = httpx.URL(house.servers[0].url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"PATCH /api/v1/account HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {house.token.value}\r\n"
    writer.write(f"{head}Content-Length: 10\r\n\r\n{{".encode())
    answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the body did not come within" in answer


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/account", {"GET", "PATCH"}), ("/tokens/x", {"GET", "DELETE"}), ("/events/x/ack", {"POST"})],
)
async def test_options_are_the_methods_of_the_path(web, path, methods):
    """All of them, for everybody; no other site is let in by it."""
    answer = await web.options(f"/api/v1{path}", headers={"Origin": "https://example.com"})

    assert answer.status_code == 204
    assert set(answer.headers["allow"].split(", ")) == methods | {"OPTIONS"}
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_unknown_paths_and_methods_are_problems(web, house):
    """As on every other page."""
    headers = {"Authorization": f"Bearer {house.token.value}"}
    missing = await web.get("/api/v1/nope", headers=headers)
    method = await web.put("/api/v1/account", headers=headers, json={})

    assert (missing.status_code, method.status_code) == (404, 405)
    assert missing.headers["content-type"] == method.headers["content-type"] == "application/problem+json"
    assert set(method.headers["allow"].replace(" ", "").split(",")) >= {"GET", "PATCH"}
