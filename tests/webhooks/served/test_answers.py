"""What a sender is answered, in the words that it understands, at a real server."""

import json

import pytest

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize("kind", ["linear", "woocommerce", "slack", "slack-commands", "telegram"])
async def test_who_takes_202_for_a_failure_is_answered_200(caller, kind):
    """For what is stored, and for what comes again."""
    sender = await caller(kind)
    body = b'{"id":1,"update_id":7,"event_id":"e","trigger_id":"t"}'
    if kind == "linear":
        now = sender.now()
        body = json.dumps(
            {"type": "Issue", "action": "create", "webhookTimestamp": int(now.timestamp() * 1000)}
        ).encode()

    answers = [await sender.send(body), await sender.send(body)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert await sender.stored() == 1


@pytest.mark.parametrize("kind", ["slack-commands", "discord-interactions", "telegram"])
async def test_who_acts_on_an_answer_is_told_nothing(caller, kind):
    """A body would be shown to somebody."""
    sender = await caller(kind)

    answer = await sender.send(b'{"id":"1","type":2,"update_id":7,"command":"/deploy","trigger_id":"1.2"}')
    wrong = await sender.send(b"{}", signed=False)

    assert (answer.status_code // 100, answer.content) == (2, b"")
    assert "content-type" not in answer.headers
    assert wrong.status_code == 401
    assert wrong.json()["detail"]


async def test_a_source_says_what_success_is(caller):
    """With 204 there is no body; 0 takes it back."""
    sender = await caller("token", answer=204, routes={"a": "/look"})
    dropped = await sender.send(b"{}")
    changed = await sender.peer.ask("source_update", sourceId=sender.source["id"], answer=201)
    created = await sender.send(b"{}")
    reset = await sender.peer.ask("source_update", sourceId=sender.source["id"], answer=0)

    assert (dropped.status_code, dropped.content) == (204, b"")
    assert changed["data"]["answer"] == 201
    assert (created.status_code, created.json()["status"]) == (201, "dropped")
    assert "answer" not in reset["data"]
    refused = await sender.peer.ask("source_update", sourceId=sender.source["id"], answer=299)
    assert "200, 201, 202, 204" in refused["error"]


async def test_a_source_says_where_the_delivery_id_is(caller):
    """In a header, else in the body; where both are missing there is none."""
    sender = await caller("token", deliveryId={"header": "X-Request-Id", "body": "meta.id"}, skill="/look")

    by_header = [(await sender.send(b"{}", {"X-Request-Id": "r1"})).json()["status"] for _ in range(2)]
    by_body = [(await sender.send(b'{"meta":{"id":7}}')).json()["status"] for _ in range(2)]
    nameless = [(await sender.send(b"{}")).json()["status"] for _ in range(2)]

    assert by_header == by_body == ["queued", "duplicate"]
    assert nameless == ["queued", "queued"]
    assert (await sender.listed())["deliveryId"] == {"header": "X-Request-Id", "body": "meta.id"}


async def test_the_type_has_two_names_in_the_api(caller):
    """`type`, as the answers and the tools have it, and `verifierType`."""
    sender = await caller("token")

    async def make(**fields):
        headers = {"Authorization": f"Bearer {sender.house.token.value}"}
        return await sender.web.post("/api/v1/sources", json={"generateSecret": True} | fields, headers=headers)

    made = await make(slug="one", type="github")
    same = await make(slug="two", type="github", verifierType="github")
    torn = await make(slug="three", type="github", verifierType="gitlab")
    none = await make(slug="four")

    assert [each.status_code for each in (made, same, torn, none)] == [201, 201, 400, 400]
    assert made.json()["type"] == "github"
    assert "one field" in torn.json()["detail"]
    headers = {"Authorization": f"Bearer {sender.house.token.value}"}
    url = f"/api/v1/sources/{made.json()['id']}"
    kept = await sender.web.patch(url, json={"type": "github", "note": "hi"}, headers=headers)
    other = await sender.web.patch(url, json={"type": "gitlab", "note": "hi"}, headers=headers)
    assert (kept.status_code, other.status_code) == (200, 400)


async def test_a_new_source_says_how_its_sender_is_set_up(house):
    """With its URL, and with the secret only where the server made it; a client without an instance sees none."""
    named, unnamed = await house.connect(instanceId="a"), await house.connect(sessionTag="old")
    given = (await named.ask("source_create", slug="a", verifierType="github", secret="planted-secret"))["data"]
    made = (await named.ask("source_create", slug="b", verifierType="github", generateSecret=True))["data"]
    old = (await unnamed.ask("source_create", slug="c", verifierType="github", secret="planted-secret"))["data"]
    listed = (await named.ask("source_list"))["data"]

    assert given["url"] in " ".join(given["setup"])
    assert "planted-secret" not in " ".join(given["setup"])
    assert made["secret"] in " ".join(made["setup"])
    assert [each["slug"] for each in (old, *listed) if "setup" in each] == []
