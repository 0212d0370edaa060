"""Routes that say more than an order, at every door of a real server."""

import json

import httpx

from browsing import Browser

ROUTES = {
    "*": "/look",
    "pull_request": {"do": "Review {pull_request.title}", "priority": "priority", "payload": ["pull_request.number"]},
}
SOURCE = {"slug": "hub", "verifierType": "none", "eventType": {"header": "X-Type"}, "sessionTag": "builds"}


async def send(web, source, body, event_type, **headers):
    """Send a webhook to a source."""
    path = httpx.URL(source["url"]).path
    return await web.post(path, content=json.dumps(body).encode(), headers={"X-Type": event_type, **headers})


async def test_a_route_object_is_the_same_at_every_door(house, web, api):
    """Made over REST, listed and changed over the WebSocket, shown on the page; a first client sees its orders."""
    made = await api.ask("POST", "/sources", json=SOURCE | {"routes": ROUTES})
    peer = await house.connect(sessionTag="builds", instanceId="a")
    listed = (await peer.ask("source_list"))["data"]
    first = await house.connect(sessionTag="first")
    told = (await first.ask("source_list"))["data"]
    sent = await send(web, made.json(), {"pull_request": {"title": "Fix\nit", "number": 7}}, "pull_request.opened")
    event = await peer.frame("event")
    changed = await peer.ask("source_update", sourceId=made.json()["id"], routes={"push": {"do": "/push {ref}"}})
    async with Browser(house.servers[0].url) as browser:
        await browser.log_in(house.token.value)
        page = (await browser.get("/")).text

    assert made.json()["routes"] == ROUTES == listed[0]["routes"]
    assert told[0]["routes"] == {"*": "/look", "pull_request": "Review {pull_request.title}"}
    assert sent.status_code == 202
    assert event["content"].startswith(
        'Review {pull_request.title}\n\npull_request.title: "Fix\\nit"\n\n{"pull_request":{"number":7}}\n\n[a part'
    )
    assert event["meta"]["priority"] == "priority"
    assert changed["data"]["routes"] == {"push": {"do": "/push {ref}"}}
    assert "/push {ref}" in page


async def test_a_route_that_would_not_do_is_refused_at_every_door(house, api):
    """With the place; a word that nobody knows is refused too, since it may have been to hold events back."""
    peer = await house.connect(instanceId="a")
    for route, told in (({"do": "/x", "iff": "true"}, "iff"), ({"do": "Do {x"}, "stands alone"), ({}, "do")):
        asked = SOURCE | {"routes": {"push": route}}
        over_rest = await api.ask("POST", "/sources", json=asked)
        over_socket = await peer.ask("source_create", **asked)

        assert over_rest.status_code == 400
        assert told in over_rest.json()["detail"]
        assert told in over_socket["error"]
