"""Conditions of sources and routes, at every door of a real server."""

import httpx
import pytest

from browsing import Browser

SOURCE = {"slug": "hub", "verifierType": "none", "eventType": {"header": "X-Type"}, "sessionTag": "builds"}


async def send(web, source, body, event_type="pull_request.opened", **headers):
    """Send a webhook to a source."""
    return await web.post(httpx.URL(source["url"]).path, content=body, headers={"X-Type": event_type, **headers})


async def test_what_a_condition_holds_back_is_in_the_history_with_what_it_saw(house, web, api):
    """Answered with a success, counted, shown at every door; what is true reaches the session, and nothing else."""
    routes = {"pull_request": {"do": "/review", "if": "!body.draft", "notFrom": ["My-Bot[bot]"]}, "*": "/look"}
    made = await api.ask("POST", "/sources", json=SOURCE | {"routes": routes, "if": "source == 'hub'"})
    source = made.json()
    peer = await house.connect(sessionTag="builds", instanceId="a")
    listed = (await peer.ask("source_list"))["data"][0]
    held_back = [
        await send(web, source, body)
        for body in (
            b'{"draft":true,"sender":{"login":"ada"}}',
            b'{"sender":{"login":"ada"}}',
            b'{"draft":false,"sender":{"login":"my-bot[bot]"}}',
            b'{"draft":false}',
            b"\xff",
        )
    ]
    passed = await send(web, source, b'{"draft":false,"sender":{"login":"ada"}}')
    event = await peer.frame("event")
    history = (await peer.ask("event_history", states=["filtered"]))["data"]
    over_rest = (await api.ask("GET", "/history", params={"state": "filtered"})).json()["items"]
    usual = (await peer.ask("event_history"))["data"]
    shown = await api.ask("GET", f"/events/{history[-1]['eventId']}")
    metrics = (await web.get("/metrics")).text
    async with Browser(house.servers[0].url) as browser:
        await browser.log_in(house.token.value)
        page = (await browser.get("/")).text

    assert source["routes"] == routes == listed["routes"]
    assert source["if"] == listed["if"] == "source == 'hub'"
    assert {each.status_code for each in held_back} == {200}
    assert held_back[0].json() == {"status": "filtered", "reason": "condition", "eventType": "pull_request.opened"}
    assert passed.status_code == 202
    assert event["id"] == passed.json()["eventId"]
    assert [(each["condition"], each["values"], each.get("note")) for each in reversed(history)] == [
        ("!body.draft", {"body.draft": "true"}, None),
        ("!body.draft", {"body.draft": None}, "there is no 'draft'"),
        ("notFrom: My-Bot[bot]", {"sender.login": "my-bot[bot]"}, None),
        ("notFrom: My-Bot[bot]", {}, "nothing in the body says who sent it"),
        ("notFrom: My-Bot[bot]", {}, "nothing in the body says who sent it"),
    ]
    assert [each["eventId"] for each in over_rest] == [each["eventId"] for each in history]
    assert over_rest[-1]["values"] == {"body.draft": "true"}
    assert usual == []
    assert shown.json()["condition"] == "!body.draft"
    assert f'outcome="filtered",profile="{house.profile.id}"' in metrics
    assert "!body.draft" in page
    assert "there is no" in page


async def test_a_changed_condition_lets_the_next_delivery_pass(web, api):
    """An empty one is none; the same delivery, sent again, is an event then."""
    source = (await api.ask("POST", "/sources", json=SOURCE | {"if": "false", "notFrom": ["x"]})).json()
    before = await send(web, source, b'{"sender":{"login":"ada"}}')
    changed = await api.ask("PATCH", f"/sources/{source['id']}", json={"if": "", "notFrom": []})
    after = await send(web, source, b'{"sender":{"login":"x"}}')

    assert before.json()["status"] == "filtered"
    assert not {"if", "notFrom"} & changed.json().keys()
    assert after.status_code == 202


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"if": "body.action =="}, "if is no CEL expression"),
        ({"routes": {"push": {"do": "/x", "if": "1 + 1"}}}, "if of the route of 'push' is a INT"),
        ({"if": "headers['x-gitlab-token'] == 'x'"}, "prove who sent a request"),
        ({"if": "headers.authorization == 'x'"}, "prove who sent a request"),
        ({"notFrom": [" "]}, "notFrom refused"),
    ],
)
async def test_what_is_no_condition_is_refused_at_every_door(house, api, fields, told):
    """When it is set, with the place."""
    peer = await house.connect(instanceId="a")
    over_rest = await api.ask("POST", "/sources", json=SOURCE | fields)
    over_socket = await peer.ask("source_create", **SOURCE, **fields)

    assert over_rest.status_code == 400
    assert told in over_rest.json()["detail"]
    assert told in over_socket["error"]


async def test_no_secret_comes_into_the_history(web, api):
    """A header that proves who sent a request is not there for a condition, however it asks."""
    source = (await api.ask("POST", "/sources", json=SOURCE | {"if": "headers['x-' + 'token'] == 'y'"})).json()
    answer = await send(web, source, b"{}", **{"x-token": "planted-secret"})
    history = await api.ask("GET", "/history", params={"state": "filtered"})

    assert answer.json()["status"] == "filtered"
    assert "planted-secret" not in history.text
    assert "there is no 'x-token'" in history.text
