"""What senders ask before they send events: each against a script of what it does, at a real server."""

import base64
import json
from datetime import UTC, datetime

import pytest

from clawback.senders.handshakes import verify_token
from signers import ED25519_KEY, SECRETS, SIGNERS, digest

NOWHERE = "/webhooks/aaaaaaaaaaaaaaaaaaaaaaaaaa/hub"


def as_json(**fields) -> bytes:
    """Write a body."""
    return json.dumps(fields).encode()


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("OPTIONS", 204)])
async def test_a_url_that_is_there_says_so(caller, method, status):
    """Before any event, and without a secret: Trello and Intercom ask by HEAD. One that is not there is 404."""
    trello = await caller("trello")

    there = await trello.ask(method)
    missing = await trello.web.request(method, NOWHERE)

    assert (there.status_code, missing.status_code) == (status, 404)
    assert "planted-secret" not in there.text
    assert there.headers["cache-control"] == "no-store"
    if method == "OPTIONS":
        assert there.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    if method == "GET":
        assert there.json()["status"] == "ready"
    assert await trello.stored() == 0


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_other_methods_are_405(caller, method):
    """With those there are."""
    answer = await (await caller("github")).ask(method)

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")


async def test_a_ping_of_github_marks_the_source_as_connected(caller):
    """It is no event and none that was dropped; the answer and the list say so. A push is an event as before."""
    github = await caller("github", routes={"push": "/look"})
    body = as_json(zen="Keep it logically awesome.", hook_id=7, hook={"type": "Repository"})

    before = await github.listed()
    ping = await github.send(body, {"X-GitHub-Event": "ping"})
    after = await github.listed()
    forged = await github.send(body, {"X-GitHub-Event": "ping", "X-Hub-Signature-256": "sha256=00"})
    push = await github.send(as_json(ref="r", before="a", after="b"), {"X-GitHub-Event": "push"}, delivery="msg_2")

    assert (ping.status_code, ping.json()) == (200, {"status": "connected"})
    assert "connectedAt" not in before
    assert datetime.fromisoformat(after["connectedAt"]) <= datetime.now(UTC)
    assert (forged.status_code, push.status_code) == (401, 202)
    assert await github.stored() == 1  # the push
    history = await github.peer.ask("event_history", states=["dropped"])
    assert history["data"] == []


async def test_who_routes_a_ping_gets_it(caller):
    """As an event, as before."""
    github = await caller("github", routes={"ping": "/hello"})

    answer = await github.send(as_json(zen="Hm.", hook_id=7), {"X-GitHub-Event": "ping"})

    assert (answer.status_code, answer.json()["eventType"]) == (202, "ping")


async def test_a_header_alone_makes_no_ping_of_an_event(caller):
    """Nothing signs it, so whoever caught a push cannot have it thrown away."""
    github = await caller("github")

    answer = await github.send(as_json(ref="r", before="a", after="b"), {"X-GitHub-Event": "ping"})

    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("kind", "body", "fields"),
    [
        ("bitbucket-server", as_json(test=True), {"X-Event-Key": "diagnostics:ping"}),
        ("intercom", as_json(type="notification_event", topic="ping", id=None), {}),
        ("pagerduty", as_json(event={"id": "01", "event_type": "pagey.ping"}), {}),
        ("cal-com", as_json(triggerEvent="PING", payload={}), {}),
    ],
)
async def test_pings_of_others(caller, kind, body, fields):
    """Signed, and told like GitHub's."""
    sender = await caller(kind)

    answer = await sender.send(body, fields)
    forged = await sender.send(body, fields | dict.fromkeys(SIGNERS[kind](b"x", body, datetime.now(UTC), "1"), "00"))

    assert (answer.status_code, answer.json()) == (200, {"status": "connected"})
    assert (await sender.listed())["connectedAt"]
    assert forged.status_code == 401


async def test_woocommerce_says_hello_without_a_signature(caller):
    """A form of its id, which proves nothing and marks nothing; the same with a wrong signature is refused."""
    shop = await caller("woocommerce")
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    hello = await shop.send(b"webhook_id=7", form, signed=False)
    forged = await shop.send(b"webhook_id=7", form | {"X-WC-Webhook-Signature": "AAAA"}, signed=False)
    event = await shop.send(as_json(webhook_id=7, id=9), {"X-WC-Webhook-Topic": "order.created"}, signed=False)

    assert hello.status_code == 200
    assert "connectedAt" not in await shop.listed()
    assert forged.status_code == 401
    assert await shop.stored() == 0
    assert event.status_code != 202


async def test_slack_and_twitch_get_their_challenge_back(caller):
    """Signed; in JSON, and as text."""
    slack, twitch = await caller("slack-events"), await caller("twitch")
    asked = as_json(type="url_verification", challenge="3eZbrw")
    subscribed = as_json(challenge="pogchamp-kappa", subscription={"id": "1"})
    verification = {"Twitch-Eventsub-Message-Type": "webhook_callback_verification"}

    answers = [await slack.send(asked), await twitch.send(subscribed, verification)]
    forged = [await slack.send(asked, signed=False), await twitch.send(subscribed, verification, signed=False)]

    assert answers[0].json() == {"challenge": "3eZbrw"}
    assert answers[1].text == "pogchamp-kappa"
    assert answers[1].headers["content-type"].startswith("text/plain")
    assert answers[1].headers["content-length"] == "14"
    assert [answer.status_code for answer in (*answers, *forged)] == [200, 200, 401, 401]


async def test_zoom_has_its_token_signed_and_nothing_else(caller):
    """Only behind its own signature, and never a text that it would sign itself."""
    zoom = await caller("zoom")

    def asked(token):
        return as_json(event="endpoint.url_validation", payload={"plainToken": token})

    answer = await zoom.send(asked("qgg8vlvZRS6UYooatFL8Aw"))
    oracle = [await zoom.send(asked(text)) for text in ("v0:1700000000:{}", '{"event":"meeting.ended"}', "", "a b")]
    stranger = await zoom.send(asked("qgg8vlvZRS6UYooatFL8Aw"), signed=False)

    assert answer.json() == {
        "plainToken": "qgg8vlvZRS6UYooatFL8Aw",
        "encryptedToken": digest(b"planted-secret", b"qgg8vlvZRS6UYooatFL8Aw").hex(),
    }
    assert all("encryptedToken" not in each.text for each in (*oracle, stranger))
    assert [each.status_code for each in (oracle[0], oracle[1], stranger)] == [401] * 3


async def test_x_has_its_crc_answered_each_hour_and_signs_nothing_for_strangers(caller):
    """What looks like JSON is refused, and what could have been a token is no event."""
    x = await caller("twitter")
    token = "MmQ5ZTMyNWYtYjU4NS00"

    answer = await x.ask(query=f"?crc_token={token}&nonce=7")
    oracle = [await x.ask(query=f"?crc_token={text}") for text in ("%7B%22a%22%3A1%7D", "%5B1%5D", "%22a%22", "a%20b")]
    mac = base64.b64encode(digest(b"planted-secret", b"123")).decode()
    used = await x.send(b"123", {"x-twitter-webhooks-signature": f"sha256={mac}"}, signed=False)

    expected = base64.b64encode(digest(b"planted-secret", token.encode())).decode()
    assert answer.json() == {"response_token": f"sha256={expected}"}
    assert [each.status_code for each in oracle] == [401] * 4
    assert used.status_code == 401
    assert await x.stored() == 0


async def test_dropbox_gets_its_challenge_back_as_text(caller):
    """Once, decoded, with nothing that a browser could take for a page."""
    dropbox = await caller("dropbox")

    answer = await dropbox.ask(query="?challenge=%3Cb%3Ehi%2B1")
    other = await dropbox.ask(query="?challenge=a&challenge=b")

    assert (answer.status_code, answer.text) == (200, "<b>hi+1")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert other.json()["status"] == "ready"


async def test_meta_must_have_the_verify_token(caller):
    """Which is made from the secret and is not the secret; another is 403."""
    meta = await caller("meta")
    query = "?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token="

    answer = await meta.ask(query=query + verify_token(b"planted-secret"))
    wrong = [await meta.ask(query=query + token) for token in ("", "guess", "%ff")]

    assert (answer.status_code, answer.text) == (200, "1158201444")
    assert [each.status_code for each in wrong] == [403] * 3
    assert all("1158201444" not in each.text for each in wrong)
    assert "connectedAt" in await meta.listed()


async def test_okta_gets_its_header_back_in_json(caller):
    """Without proof, so the source is not marked."""
    okta = await caller("okta")

    answer = await okta.ask(fields={"x-okta-verification-challenge": "g9cuH9"})

    assert answer.json() == {"verification": "g9cuH9"}
    assert "connectedAt" not in await okta.listed()


@pytest.mark.parametrize(
    ("kind", "body", "status", "told"),
    [("discord-interactions", b'{"type":1}', 200, b'{"type":1}'), ("discord-events", b'{"type":0}', 204, b"")],
)
async def test_discord_sends_wrong_signatures_on_purpose(caller, kind, body, status, told):
    """Each is 401, the ping is answered, and a command is an event."""
    discord = await caller(kind)
    assert SECRETS[kind]
    assert ED25519_KEY

    right = await discord.send(body)
    wrong = [
        await discord.send(body, {"X-Signature-Ed25519": "00" * 64}),
        await discord.send(body, {"X-Signature-Ed25519": "xyz"}),
        await discord.send(body, signed=False),
    ]

    assert (right.status_code, right.content) == (status, told)
    assert [each.status_code for each in wrong] == [401] * 3
    assert await discord.stored() == 0


async def test_asana_brings_its_secret_once(caller):
    """It is given back, and signs from then on; a second one, of a stranger, is refused, the first one again is not."""
    asana = await caller("asana", secret=None)
    waiting = (await asana.listed())["awaitsSecret"]

    early = await asana.send(as_json(events=[{"action": "changed"}]))
    first = await asana.send(b"{}", {"X-Hook-Secret": "planted-secret"}, signed=False)
    stranger = await asana.send(b"{}", {"X-Hook-Secret": "of-a-stranger"}, signed=False)
    again = await asana.send(b"{}", {"X-Hook-Secret": "planted-secret"}, signed=False)
    event = await asana.send(as_json(events=[{"action": "changed"}]))

    assert waiting
    assert [each.status_code for each in (early, first, stranger, again)] == [401, 200, 403, 200]
    assert first.headers["x-hook-secret"] == again.headers["x-hook-secret"] == "planted-secret"
    assert "x-hook-secret" not in stranger.headers
    assert event.status_code == 202
    listed = await asana.listed()
    assert "awaitsSecret" not in listed
    assert "planted-secret" not in json.dumps(listed)
    assert "connectedAt" in listed


async def test_notion_brings_a_token_that_a_person_enters_there(caller):
    """Shown until the first event, and never again; with an empty secret the source waits for the next one."""
    notion = await caller("notion", secret=None)

    asked = await notion.send(as_json(verification_token="planted-secret"), signed=False)
    shown = await notion.listed()
    stranger = await notion.send(as_json(verification_token="of-a-stranger"), signed=False)
    event = await notion.send(as_json(id="1", type="page.created"))
    proven = await notion.listed()
    await notion.peer.ask("source_update", sourceId=notion.source["id"], secret="")
    renewed = await notion.listed()

    assert [each.status_code for each in (asked, stranger, event)] == [200, 403, 202]
    assert "planted-secret" not in asked.text
    assert shown["verificationToken"] == "planted-secret"
    assert "verificationToken" not in proven
    assert (renewed["awaitsSecret"], renewed.get("verificationToken")) == (True, None)


async def test_monday_and_microsoft_have_their_challenges_back(caller):
    """Unsigned: in JSON, and as text, decoded."""
    monday, graph = await caller("monday"), await caller("microsoft-graph")

    asked = await monday.send(as_json(challenge="3eZbrw"), signed=False)
    validated = await graph.send(b"", signed=False, query="?validationToken=Validation%3A+Testing+it%21")

    assert asked.json() == {"challenge": "3eZbrw"}
    assert (validated.status_code, validated.text) == (200, "Validation: Testing it!")
    assert validated.headers["content-type"].startswith("text/plain")


async def test_figma_pings_with_its_passcode(caller):
    """Which must be right."""
    figma = await caller("figma")
    answers = [
        await figma.send(as_json(event_type="PING", passcode=passcode), signed=False)
        for passcode in (figma.secret.decode(), "guess")
    ]

    assert [each.status_code for each in answers] == [200, 401]
