"""GitHub as a sender: real bodies with the headers it sends, signed."""

import itertools
from pathlib import Path
from typing import Any

import httpx

import senders
from legacy import LegacyClient

BODIES = sorted((Path(__file__).parents[1] / "data/github").glob("*.json"))
PULL_REQUEST = next(path for path in BODIES if path.name == "pull_request.opened.json").read_bytes()

_numbers = itertools.count(1)


def delivery(kind: str = "pull_request", body: bytes = PULL_REQUEST, delivery_id: str | None = None) -> dict:
    """Build what `httpx.post` takes; each call is another delivery unless it is named."""
    headers = {"X-GitHub-Event": kind, "X-GitHub-Delivery": delivery_id or f"delivery-{next(_numbers)}"}
    return {"content": body, "headers": headers | dict(senders.github(body)) | {"Content-Type": "application/json"}}


def kind_of(path: Path) -> str:
    """Read a body's `X-GitHub-Event` from its file's name."""
    return path.name.split(".")[0]


async def make_source(client: LegacyClient, slug: str = "github", **fields: Any) -> str:
    """Create a source that verifies what `delivery` signs, and return its URL."""
    usual = {"slug": slug, "verifierType": "github", "secret": senders.SECRET.decode()}
    created = await client.request("source_create", **usual | fields)
    return created["url"]


async def post(http: httpx.AsyncClient, url: str, **request: Any) -> str:
    """Send a delivery that is accepted, by default a new pull request, and return its event's id."""
    answer = await http.post(url, **(request or delivery()))
    assert answer.status_code == 202, answer.text
    return answer.json()["eventId"]
