"""`/api/v1/events` and `/api/v1/history`: what waits, is held, is dead or ended."""

from datetime import UTC, datetime

import pytest

from clawback.model import Event, Origin, Priority, new_id


async def bury(house, tag=None, reason="failed"):
    """Make a dead letter and return its id."""
    event = Event(new_id("evt"), Origin.WEBHOOK, Priority.NORMAL, datetime.now(UTC), path="/github")
    await house.events.bury(house.address(tag), event, b"payload", reason=reason)
    return event.id


async def walk(api, path, **parameters):
    """Read a list page by page; the ids of each page."""
    pages, cursor = [], {}
    while True:
        page = (await api.ask("GET", path, params=parameters | cursor)).json()
        pages.append([item["eventId"] for item in page["items"]])
        if page["nextCursor"] is None:
            return pages
        cursor = {"cursor": page["nextCursor"]}


async def test_events_are_listed_in_pages(house, api):
    """Each once, those first that are where they are for the longest time."""
    ids = [await house.publish(f"{number}", "builds" if number % 2 else None) for number in range(5)]
    ids += [await bury(house), await bury(house, "builds", "timed_out")]

    assert await walk(api, "/events") == [ids]
    assert await walk(api, "/events", limit=3) == [ids[:3], ids[3:6], ids[6:]]
    assert await walk(api, "/events", limit=7) == [ids]
    assert await walk(api, "/events", state=["dead", "timed_out"], limit=1) == [[ids[5]], [ids[6]]]
    assert await walk(api, "/events", sessionTag="builds", limit=2) == [[ids[1], ids[3]], [ids[6]]]
    assert await walk(api, "/events", sessionTag="(untagged)", state="queued") == [[ids[0], ids[2], ids[4]]]


async def test_history_is_listed_in_pages(house, api):
    """The newest first, as a session is told."""
    peer = await house.connect(instanceId="i")
    ids = []
    for number in range(5):
        ids.append(await house.publish(f"{number}"))
        await peer.frame("event", id=ids[-1])
        await peer.ack(ids[-1], f"summary {number}")
    told = (await peer.ask("event_history"))["data"]
    answer = (await api.ask("GET", "/history")).json()

    assert answer == {"items": told, "nextCursor": None}
    assert await walk(api, "/history", limit=2) == [ids[4:2:-1], ids[2:0:-1], ids[:1]]
    assert await walk(api, "/history", state="dead") == [[]]


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("limit=1.5", "limit"),
        (f"limit={10**400}", "limit"),
        ("state=acked", "states refused"),
        ("state=%00", "states refused"),
        ("cursor=", "cursor refused"),
        ("cursor=abc", "cursor refused"),
        ("cursor=aGlzdG9yeS00Mg", "cursor refused"),
        ("sessionTag=a%20b", "session tag refused"),
        ("sessionTag=%ED%A0%80", "session tag refused"),
    ],
)
async def test_a_wrong_parameter_is_refused(api, query, why):
    """By its name."""
    answer = await api.ask("GET", f"/events?{query}")

    assert answer.status_code == 400
    assert why in answer.json()["detail"]


async def test_an_event_is_shown_wherever_it_is(house, api):
    """With its payload until it is acked, and its way."""
    event_id = await house.publish("the payload")
    waiting = (await api.ask("GET", f"/events/{event_id}")).json()
    peer = await house.connect(instanceId="i")
    await peer.frame("event")
    held = (await api.ask("GET", f"/events/{event_id}")).json()
    await peer.ack(event_id, "well done")
    ended = (await api.ask("GET", f"/events/{event_id}")).json()

    assert [each["state"] for each in (waiting, held, ended)] == ["queued", "offered", "acked"]
    assert waiting["payload"] == held["payload"] == {"text": "the payload", "bytes": 11}
    assert ended["payload"] is None
    assert [step["state"] for step in ended["timeline"]] == ["queued", "offered", "acked"]
    assert ended["summary"] == "well done"


@pytest.mark.parametrize("body", [b"", b'{"a": 1}', bytes(range(256)), b"x" * 1_000_000])
async def test_a_payload_is_fetched_as_it_came(house, api, body):
    """Byte for byte, and nothing that a browser would run."""
    event = Event(new_id("evt"), Origin.WEBHOOK, Priority.NORMAL, datetime.now(UTC), path="/github")
    await house.events.store(house.address(), event, body, maker="w-src_a", patience_s=5)
    answer = await api.ask("GET", f"/events/{event.id}/payload")

    assert answer.status_code == 200
    assert answer.content == body
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_part_of_a_payload_is_read_by_its_path(house, api):
    """As a session reads it."""
    event_id = await house.publish('{"head": {"sha": "6dcb09b"}}')
    part = await api.ask("GET", f"/events/{event_id}/payload/part", params={"path": "head.sha", "limit": 3})
    nowhere = await api.ask("GET", f"/events/{event_id}/payload/part", params={"path": "head.ref"})
    wrong = await api.ask("GET", f"/events/{event_id}/payload/part", params={"offset": -1})

    assert (part.json()["text"], part.json()["kind"], part.json()["nextOffset"]) == ("6dc", "string", 3)
    assert (nowhere.status_code, wrong.status_code) == (404, 400)


async def test_a_dead_letter_is_replayed_once(house, api):
    """As a new event, which is where the answer says."""
    dead = await bury(house, "builds")
    answer = await api.ask("POST", f"/events/{dead}/replay")
    again = await api.ask("POST", f"/events/{dead}/replay")
    new = await api.web.get(answer.headers["location"], headers={"Authorization": f"Bearer {api.token}"})
    peer = await house.connect(sessionTag="builds")

    assert (answer.status_code, again.status_code) == (201, 404)
    assert answer.json() == {"eventId": new.json()["eventId"], "replay": dead}
    assert (await peer.frame("event"))["meta"]["replay"] == dead


@pytest.mark.parametrize(
    "event_id", ["evt_unknown", "evt_" + "x" * 5000, "a%00b", "%2e%2e", "*", "%3E", "evt_%F0%9F%92%A9"]
)
async def test_an_unknown_event_is_not_found(api, event_id):
    """Whatever it is called."""
    answers = [
        await api.ask("GET", f"/events/{event_id}"),
        await api.ask("GET", f"/events/{event_id}/payload"),
        await api.ask("POST", f"/events/{event_id}/replay"),
    ]

    assert [answer.status_code for answer in answers] == [404] * 3
