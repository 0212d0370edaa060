"""`/api/v1/sources`."""

import json

import httpx
import pytest

import senders
from clawback.senders.presets import PRESETS

GITHUB = {"slug": "hub", "verifierType": "github", "secret": "planted-secret", "skill": "/go"}


async def test_a_source_is_made_and_takes_webhooks(house, web, api):
    """Its URL is in the answer, its secret in none."""
    made = await api.ask("POST", "/sources", json=GITHUB | {"sessionTag": "builds"})
    shown = await api.ask("GET", f"/sources/{made.json()['id']}")
    listed = await api.ask("GET", "/sources")
    body = json.dumps({"action": "opened"}).encode()
    headers = {"X-GitHub-Event": "issues", "X-GitHub-Delivery": "d1", **dict(senders.github(body))}
    sent = await web.post(httpx.URL(made.json()["url"]).path, content=body, headers=headers)
    peer = await house.connect(sessionTag="builds")

    assert made.status_code == 201
    assert made.headers["location"] == f"/api/v1/sources/{made.json()['id']}"
    assert shown.json() | {"setup": made.json()["setup"]} == made.json()
    assert listed.json() == {"items": [shown.json()]}
    assert "planted-secret" not in made.text + shown.text + listed.text
    assert sent.status_code == 202
    assert (await peer.frame("event"))["id"] == sent.json()["eventId"]


async def test_a_secret_that_the_server_made_is_shown_once(api):
    """In the answer that made it."""
    made = await api.ask("POST", "/sources", json={"slug": "a", "verifierType": "generic", "generateSecret": True})
    shown = await api.ask("GET", f"/sources/{made.json()['id']}")

    assert len(made.json()["secret"]) == 64
    assert "secret" not in shown.json()


async def test_a_source_is_changed_and_deleted(api):
    """What is left out stays; what is deleted is unknown."""
    path = f"/sources/{(await api.ask('POST', '/sources', json=GITHUB)).json()['id']}"
    changed = await api.ask("PATCH", path, json={"routes": {"push": "/deploy"}, "timeoutSeconds": 90})
    gone = [(await api.ask("DELETE", path)).status_code for _ in range(2)]

    assert changed.status_code == 200
    assert (changed.json()["skill"], changed.json()["routes"]) == ("/go", {"push": "/deploy"})
    assert gone == [204, 404]
    assert (await api.ask("GET", path)).status_code == 404
    assert (await api.ask("PATCH", path, json={"skill": "/x"})).status_code == 404


async def test_a_note_is_the_same_at_every_door(house, api):
    """Made over REST, listed over the WebSocket, changed there, shown over REST, and taken back."""
    made = (await api.ask("POST", "/sources", json=GITHUB | {"note": "for the night shift"})).json()
    peer = await house.connect()
    listed = (await peer.ask("source_list"))["data"]
    await peer.ask("source_update", sourceId=made["id"], note="for everybody")
    shown = (await api.ask("GET", f"/sources/{made['id']}")).json()
    emptied = (await api.ask("PATCH", f"/sources/{made['id']}", json={"note": ""})).json()

    assert made["note"] == listed[0]["note"] == "for the night shift"
    assert shown["note"] == "for everybody"
    assert "note" not in emptied


async def test_a_slug_that_is_taken_is_a_conflict(api):
    """The first source stays."""
    await api.ask("POST", "/sources", json=GITHUB)
    again = await api.ask("POST", "/sources", json=GITHUB)

    assert again.status_code == 409
    assert "hub" in again.json()["detail"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"slug": ".."}, "slug refused"),
        ({"slug": "a/b"}, "$.slug"),
        ({"slug": "a\0"}, "$.slug"),
        ({"verifierType": "geetea"}, "'geetea'"),
        ({"secret": None}, "the secret is missing"),
        ({"eventType": {"heder": "X-A"}}, "unknown field `heder`"),
        ({"signature": {"prefix": ""}}, "signature"),
        ({"routes": {"push": 5}}, "$.routes"),
        ({"skill": "x" * 20_000}, "skill"),
        ({"skill": "a\0"}, "NUL"),
        ({"sessionTag": "a b"}, "session tag"),
        ({"timeoutSeconds": 5}, "timeoutSeconds refused, read 5: accepted is 60 to 86400"),
        ({"timeoutSeconds": 86_401}, "$.timeoutSeconds"),
        ({"note": "x" * 501}, "$.note"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_made(api, change, why):
    """And the secret is never repeated."""
    answer = await api.ask("POST", "/sources", json=GITHUB | change)

    assert answer.status_code == 400
    assert why in answer.json()["detail"]
    assert "planted-secret" not in answer.text
    assert (await api.ask("GET", "/sources")).json() == {"items": []}


async def test_the_types_are_those_of_the_table(api):
    """Each with its steps, and a source can be made of each that makes no secret of its own."""
    listed = (await api.ask("GET", "/source-types")).json()["items"]

    assert [each["type"] for each in listed] == list(PRESETS)
    assert all(each["steps"] and each["title"] for each in listed)
    for each in listed:
        asked = {"slug": each["type"], "verifierType": each["type"]}
        if each["type"] != "none":
            asked["generateSecret"] = True
        made = await api.ask("POST", "/sources", json=asked)
        assert made.status_code == (400 if each["showsSecret"] else 201), made.text
