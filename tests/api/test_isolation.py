"""No endpoint shows or changes what another profile has (T13, T14 of the threat model): tried with every id of it."""

from datetime import UTC, datetime

import pytest_asyncio

from clawback.accounts.profiles import ensure_profile
from clawback.model import Event, Origin, Priority, new_id, random_id
from described import Api

UNKNOWN = "x" * 26
BODIES = {"extend": {"seconds": 60}, "cron": {"prompt": "mine now"}, "source": {"skill": "/mine"}}


@pytest_asyncio.fixture(loop_scope="module")
async def charlie(house, web, api):
    """The API, asked with a token of another profile."""
    profile = await ensure_profile(house.servers[0].registry, f"charlie-{random_id(8)}")
    return Api(web, api.document, (await house.tokens.create(profile.id, "charlie")).value)


@pytest_asyncio.fixture(loop_scope="module")
async def hers(house, api):
    """Everything that Alice has, by its id: a source, a cron, her tokens, events in every state."""
    source = (await api.ask("POST", "/sources", json={"slug": "hub", "verifierType": "none", "skill": "/go"})).json()
    cron = (await api.ask("POST", "/crons", json={"schedule": "@daily", "prompt": "look"})).json()
    peer = await house.connect(sessionTag="builds", instanceId="i")
    acked = await house.publish("one", "builds")
    await peer.frame("event", id=acked)
    await peer.ack(acked)
    held = await house.publish("two", "builds")
    await peer.frame("event", id=held)
    waiting = await house.publish("three", "builds")
    dead = Event(new_id("evt"), Origin.WEBHOOK, Priority.NORMAL, datetime.now(UTC), path="/hub")
    await house.events.bury(house.address("builds"), dead, b"", reason="failed")
    return [source["id"], cron["id"], house.token.record.id, acked, held, waiting, dead.id, house.profile.id]


async def everything(api):
    """All that a profile can be shown, but for when its token was last seen."""
    lists = ("/account", "/sources", "/crons", "/tokens", "/sessions", "/events", "/history", "/events/active")
    answers = [await api.ask("GET", path) for path in lists]
    answers.append(await api.ask("GET", "/events/active", params={"sessionTag": "builds"}))
    return [answer.json() for answer in answers]


def with_ids(document):
    """List the operations that take an id: method and path."""
    for path, item in document["paths"].items():
        if path.startswith("/api/v1/") and "{" in path:
            for method in item:
                yield method.upper(), path.removeprefix("/api/v1")


def told(answer, identifier):
    """What an answer says, whatever the id was."""
    return answer.status_code, answer.text.replace(identifier, "…")


async def test_another_profiles_ids_are_as_unknown(api, charlie, hers):
    """Every operation, every id of hers: the answer is that to an id that nobody has, and hers stays as it is."""
    before = await everything(api)
    operations = list(with_ids(api.document))
    for method, path in operations:
        last = path.rpartition("/")[2]
        body = BODIES.get(last, BODIES.get(path.split("/")[1].removesuffix("s"), {}) if method == "PATCH" else {})
        options = {"json": body} if method in ("POST", "PATCH") else {}
        ids = {identifier: path[: path.index("{")] + identifier + path[path.index("}") + 1 :] for identifier in hers}
        nobodys = path[: path.index("{")] + UNKNOWN + path[path.index("}") + 1 :]
        unknown = told(await charlie.ask(method, nobodys, **options), UNKNOWN)
        for identifier, tried in ids.items():
            assert told(await charlie.ask(method, tried, **options), identifier) == unknown, f"{method} {tried}"
        assert unknown[0] == 404, f"{method} {path}"

    assert len(operations) >= 18
    assert await everything(api) == before


async def test_lists_and_messages_end_at_the_profile(house, api, charlie, hers):
    """Nothing of hers is listed, a cursor of hers shows nothing, and a message reaches none of her sessions."""
    events = await api.ask("GET", "/events", params={"limit": 1})
    cursor = events.json()["nextCursor"]
    shown = str(await everything(charlie)) + (await charlie.ask("GET", "/events", params={"cursor": cursor})).text
    sent = await charlie.ask("POST", "/messages", json={"targets": ["*"], "content": "hello"})

    assert [identifier for identifier in hers if identifier in shown] == []
    assert house.profile.webhook_id not in shown
    assert sent.json() == {"sent": 0, "queued": 0}
