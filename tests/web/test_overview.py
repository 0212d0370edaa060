"""The page that shows a profile at work: what it says, to whom, and that strangers' text stays text."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape

import httpx
import msgspec
import pytest
import pytest_asyncio

from browsing import hidden_fields
from clawback.accounts.profiles import ensure_profile
from clawback.http import event_stream
from clawback.model import Event, EventState, HistoryRecord, Origin, Priority, new_id, random_id
from clawback.web.overview import join_lanes
from waiting import eventually

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202egnp\x1b[31m"
SEEN = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>⟨U+202E⟩gnp⟨U+001B⟩[31m"

SEEN_STEPS = ["accepted ", " delivered ", " in flight, seen "]
"""What stands on the way of an event that reached its model."""


@pytest_asyncio.fixture(loop_scope="module")
async def person(house, browser):
    """Somebody who is logged in to the house's profile, with a browser."""
    await browser.log_in(house.token.value)
    return browser


@pytest_asyncio.fixture(loop_scope="module")
async def neighbour(house, stranger):
    """Somebody of another profile on the same server, with a browser."""
    profile = await ensure_profile(house.servers[0].registry, f"other-{random_id(8)}")
    await stranger.log_in((await house.tokens.create(profile.id, "other")).value)
    return stranger


def words(page):
    """Read a page as a person does: its text, spaces folded."""
    assert page.status_code == 200, page.text
    text = re.sub(r"<(script|style|template)\b.*?</\1>|<[^>]*>", " ", page.text, flags=re.DOTALL)
    return " ".join(unescape(text).split())


async def read(browser, path="/"):
    """Open a page and read it."""
    return words(await browser.get(path))


async def bury(house, tag=None, body=b"{}", **fields):
    """Make a dead letter, with its record, and return its id."""
    event = Event(
        new_id("evt"),
        Origin.WEBHOOK,
        Priority.NORMAL,
        datetime.now(UTC) - timedelta(hours=3),
        **{"source_id": "src_a", "path": "/hub", "event_type": "push", "attempts": 5, **fields},
    )
    await house.events.bury(house.address(tag), event, body, reason="crash_loop")
    record = HistoryRecord(
        event.id, "webhook", EventState.DEAD, datetime.now(UTC), path="/hub", event_type=event.event_type or "",
        attempts=5, reason="crash_loop", created_at=event.created_at, session_tag=tag,
    )  # fmt: skip
    await house.history.record(house.address(tag), record)
    return event.id


async def test_an_empty_profile_is_told_what_to_do_next(house, person):
    """Each part says how to fill it, with this server's own URL."""
    page = await read(person)

    assert f"clawback login --server {house.servers[0].url}" in page
    assert "claude --dangerously-load-development-channels plugin:clawback@clawback" in page
    for start in ("No session is connected", "No source yet", "No cron yet", "Nothing has ended yet", "None. An event"):
        assert start in page


async def test_sessions_are_shown_with_what_they_hold_and_what_waits(house, person):
    """By tag, the connected first; more than a few are counted."""
    peer = await house.connect(sessionTag="deploys", instanceId="a")
    await house.connect(sessionTag="deploys", instanceId="b")
    await house.connect(sessionTag="quiet", instanceId="c")
    for _ in range(9):
        await house.publish("x", "deploys")
    await peer.frame("event")
    await house.publish("x", "nobody", priority=Priority.PRIORITY)
    await eventually(lambda: house.held("deploys"))
    page = await read(person, "/parts/now")

    assert "3 sessions connected, 1 in flight, 9 waiting" in page
    deploys, quiet, nobody = (*page.split(" deploys ")[1].partition(" quiet ")[::2], page.split(" nobody ")[1])
    assert deploys.startswith("connected ")
    assert "+ 1 standby" in deploys
    assert deploys.count("in flight") == 1
    assert deploys.count("waiting") == 5
    assert "and 3 more wait" in deploys
    assert "Idle. The next event for it leaves at once." in quiet
    assert nobody.startswith("offline")
    assert "waiting priority" in nobody


async def test_an_event_that_reached_the_model_is_shown_as_seen(house, person):
    """In flight, and afterwards as a step on its way."""
    peer = await house.connect(instanceId="a")
    event_id = await house.publish("x")
    await peer.frame("event")
    await eventually(house.held)
    delivered = await read(person, "/parts/now")
    await peer.ask("event_seen", eventId=event_id)
    seen = await read(person, "/parts/now")
    way = (await read(person, f"/events/{event_id}")).partition(" Timeline ")[2]
    await peer.ack(event_id)

    async def ended():
        text = (await read(person, f"/events/{event_id}")).partition(" Timeline ")[2]
        return text if " acked " in text else None

    whole = await eventually(ended)

    assert " in flight attempt 1" in delivered
    assert " in flight, seen attempt 1" in seen
    for text, steps in (way, SEEN_STEPS), (whole, [*SEEN_STEPS, " acked "]):
        places = [text.find(step) for step in steps]
        assert places[0] > -1
        assert places == sorted(places), text


async def test_an_interrupt_is_in_flight_and_what_it_suspended_below_it(house, person):
    """As the session has it."""
    peer = await house.connect(instanceId="a")
    await house.publish("x")
    await peer.frame("event")
    await house.publish("x", priority=Priority.INTERRUPT)
    await peer.frame("event")
    page = await read(person, "/parts/now")

    assert page.index(" in flight attempt 1") < page.index(" suspended attempt 1")


async def test_a_source_shows_its_note_and_what_its_owner_risks(house, person):
    """A note is text and no markup. A source that anybody may interrupt with says so."""
    peer = await house.connect()
    made = {"verifierType": "none", "priority": "interrupt", "skill": "/look", "note": "<b>alerts</b> of the night"}
    await peer.ask("source_create", slug="alarm", **made)
    silent = await read(person, "/parts/sources")
    [source] = house.servers[0].registry.list_sources(house.profile.id)
    connected = msgspec.structs.replace(source, connected_at=datetime.now(UTC) - timedelta(minutes=5))
    await house.servers[0].registry.update_source(house.profile.id, source.id, lambda _: connected)
    page = await read(person, "/parts/sources")

    assert "Its sender said" not in silent
    assert "Its sender said that it is there 5 min ago" in page
    assert "<b>alerts</b> of the night" in page, "as text"
    assert "anyone who knows the URL can stop what the session does" in page


async def test_sources_crons_and_what_was_refused_are_shown(house, person):
    """With the URL, the zone and the reason."""
    peer = await house.connect(sessionTag="deploys", instanceId="a")
    source = (await peer.ask("source_create", slug="hub", verifierType="github", secret="planted", skill="/go"))["data"]
    common = {"schedule": "0 9 * * *", "timezone": "Asia/Kolkata"}
    cron = (await peer.ask("cron_create", **common, prompt="Look around.", label="Round"))["data"]
    await peer.ask("cron_create", **common, prompt="Sleep.")
    paused = (await peer.ask("cron_create", **common, prompt="Never."))["data"]
    await peer.ask("cron_pause", cronId=paused["id"])
    async with httpx.AsyncClient(base_url=house.servers[0].url, trust_env=False) as web:
        headers = {"X-Hub-Signature-256": "sha256=" + "0" * 64, "X-GitHub-Delivery": "planted-delivery"}
        refused = await web.post(httpx.URL(source["url"]).path, content=b"planted-body", headers=headers)

    async def told():
        return "1 refused request" in await read(person, "/parts/sources")

    await eventually(told)
    page = await read(person)

    assert source["url"] in page
    assert source["url"] in page.split("At the sender")[1]
    assert "and the secret SECRET" in page
    assert refused.json()["detail"] in page
    assert "planted-delivery" in page
    assert "127.0.0.1" in page
    assert "planted-body" not in page
    assert "0" * 64 not in page
    assert "Round Look around. deploys 0 9 * * * Asia/Kolkata in " in page
    runs = [datetime.fromisoformat(run) for run in cron["nextRuns"]]
    assert f"{runs[0]:%Y-%m-%d} 09:00 +05:30" in page
    assert "paused none while paused" in page


async def test_what_ended_is_shown_with_its_way(house, person):
    """In the history, and on its own page; its payload is gone."""
    peer = await house.connect(instanceId="a")
    await house.publish("the payload")
    event = await peer.frame("event")
    await peer.ack(event["id"], "All is well.")
    listed, page = await read(person, "/parts/history"), await read(person, f"/events/{event['id']}")

    assert "acked All is well." in listed
    assert [word for word in ("accepted", "delivered", "acked") if word in page.partition("Timeline")[2]] == [
        "accepted",
        "delivered",
        "acked",
    ]
    assert "Not kept." in page
    assert "the payload" not in page


async def test_what_waits_is_shown_with_its_payload(house, person):
    """Laid out, where it is JSON."""
    event_id = await house.publish('{"a":1}', "later")
    page = await person.get(f"/events/{event_id}")

    assert "<pre" in page.text
    assert unescape(page.text.partition("<pre")[2].partition(">")[2].partition("</pre>")[0]) == '{\n  "a": 1\n}'
    assert "7 bytes, laid out as JSON" in words(page)


@pytest.mark.parametrize(("size", "cut"), [(70_000, True), (1000, False)])
async def test_a_long_payload_is_shown_in_part(house, person, size, cut):
    """A page of megabytes would help nobody."""
    event_id = await house.publish("x" * size, "later")
    page = await person.get(f"/events/{event_id}")

    assert ("only the beginning is shown" in words(page)) == cut
    assert len(page.text) < 80_000


async def test_strangers_text_stays_text(house, person):
    """Whatever field it is in, and wherever it is shown; what turns the direction of text is made visible."""
    peer = await house.connect(sessionTag="deploys", instanceId="a")
    source = (
        await peer.ask(
            "source_create", slug="hub", verifierType="none", routes={"*": HOSTILE}, eventType={"header": "X-Type"}
        )
    )["data"]
    await peer.ask("cron_create", schedule="0 9 * * *", prompt=HOSTILE, label=HOSTILE)
    path = httpx.URL(source["url"]).path
    # A header holds Latin-1 without control characters; the body anything.
    hostile_type = HOSTILE.replace("\u202e", "").replace("\x1b", "")
    async with httpx.AsyncClient(base_url=house.servers[0].url, trust_env=False) as web:
        await web.post(path, content=HOSTILE.encode(), headers={"X-Type": hostile_type})
    event = await peer.frame("event")
    dead = await bury(house, "deploys", HOSTILE.encode(), event_type=HOSTILE, path=HOSTILE, delivery_id=HOSTILE)
    held = await person.get(f"/events/{event['id']}")
    await peer.ack(event["id"], HOSTILE)
    pages = [
        held,
        await person.get("/"),
        await person.get(f"/events/{dead}"),
        await person.get(f"/events/{event['id']}"),
    ]

    for page in pages:
        assert "<script>alert" not in page.text
        assert "<img" not in page.text
        assert "\u202e" not in page.text
        assert "\x1b" not in page.text
        assert "alert(1)" in page.text
    assert words(pages[1]).count(SEEN) >= 4
    assert SEEN in words(pages[2]).partition("Payload")[2]


@pytest.mark.parametrize("path", ["/", "/parts/now", "/events/evt_a", "/events/evt_a/part", "/live"])
async def test_a_stranger_sees_nothing(stranger, path):
    """Pages lead to the login, scripts are refused."""
    page, script = await stranger.get(path), await stranger.get(path, headers={"accept": "*/*"})

    assert (page.status_code, script.status_code) == (303, 401)
    assert page.headers["location"].startswith("/login?next=")


async def test_a_neighbour_sees_and_does_nothing(house, person, neighbour):
    """What is another profile's is as unknown as what does not exist."""
    peer = await house.connect(sessionTag="planted-tag", instanceId="a")
    made = {"slug": "planted-slug", "verifierType": "none", "skill": "planted-skill"}
    await peer.ask("source_create", **made)
    await peer.ask("cron_create", schedule="0 9 * * *", prompt="planted-prompt")
    waiting = await house.publish("planted-payload", "planted-later")
    dead = await bury(house, "planted-tag", b"planted-payload", event_type="planted-type")
    seen = [(await neighbour.get(path)).text for path in ("/", *(f"/parts/{p}" for p in ("now", "dead", "history")))]
    missing = [await neighbour.get(f"/events/{each}") for each in (waiting, dead, new_id("evt"))]
    tried = await neighbour.send_form(f"/events/{dead}/replay", form_token=await neighbour.form_token())

    assert all("planted" not in page for page in seen)
    assert [page.status_code for page in missing] == [404, 404, 404]
    assert {page.text.replace(each, "") for page, each in zip(missing, (waiting, dead), strict=False)} == {
        missing[2].text.replace(re.search(r"evt_\w+", missing[2].text)[0], "")
    }
    assert tried.headers["location"] == f"/?gone={dead}"
    assert "crash" in await read(person, "/parts/dead") or "lost five times" in await read(person, "/parts/dead")


async def test_a_dead_letter_is_replayed_once(house, person):
    """The page says what became of it, also where the button was pressed twice."""
    dead = await bury(house, "deploys", b"again")
    form = hidden_fields(await person.get("/"))
    first = await person.send_form(f"/events/{dead}/replay", **form)
    second = await person.send_form(f"/events/{dead}/replay", **form)
    told = [await read(person, answer.headers["location"]) for answer in (first, second)]

    assert (first.status_code, second.status_code) == (303, 303)
    assert await house.stored("deploys") == 1
    assert "Replayed. evt_" in told[0]
    assert f"in place of the dead letter {dead}" in told[0]
    assert f"Nothing to do: {dead} is no dead letter any more." in told[1]
    assert "None. An event that times out" in told[0]


async def test_nothing_is_replayed_for_a_page_elsewhere(house, person):
    """Neither without the visit's token nor from another origin; and never by a link."""
    dead = await bury(house)
    path, form = f"/events/{dead}/replay", hidden_fields(await person.get("/"))
    elsewhere = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    refused = [
        await person.send_form(path),
        await person.send_form(path, form_token="guessed"),
        await person.send_form(path, headers=elsewhere, **form),
        await person.get(path),
    ]

    assert [answer.status_code for answer in refused] == [400, 400, 400, 405]
    assert await house.stored() == 0
    assert dead in (await person.get("/parts/dead")).text


@pytest.mark.parametrize("name", ["replayed", "new", "gone"])
async def test_nobody_has_the_page_say_things_by_a_link(person, name):
    """What stands in its URL is an id or is not shown."""
    page = await person.get("/", params={"replayed": "evt_a", "new": "evt_b", name: "call 0900 1234"})

    assert "0900" not in page.text


async def test_an_unknown_part_is_not_found(person):
    """It names those there are."""
    page = await person.get("/parts/nope")

    assert page.status_code == 404
    assert "now, dead, history, sources, crons" in page.text


async def test_a_part_is_what_the_page_has_of_it(house, person):
    """One rendering, so what is fetched later looks the same."""
    await bury(house)
    page, part = (await person.get("/")).text, (await person.get("/parts/dead")).text

    assert re.sub(r"<time.*?</time>", "", part.strip()) in re.sub(r"<time.*?</time>", "", page)


async def follow(browser, lines):
    """Read the page's stream to its end."""
    async with browser.stream("GET", "/live", headers={"accept": "text/event-stream"}) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            lines.append(line)


def records(lines):
    """Read what a stream told."""
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


async def test_the_page_hears_of_its_own_profile_until_the_token_is_revoked(house, person, neighbour):
    """The visit rests on it; a neighbour hears nothing."""
    mine, others = [], []
    following, overhearing = asyncio.create_task(follow(person, mine)), asyncio.create_task(follow(neighbour, others))
    await eventually(lambda: records(mine) and records(others))
    event_id = await house.publish("x")
    await eventually(lambda: [each for each in records(mine) if each.get("eventId") == event_id])
    await house.tokens.revoke(house.profile.id, house.token.record.id)
    async with asyncio.timeout(5):
        await following
    again = await person.get("/live", headers={"accept": "text/event-stream"})
    overhearing.cancel()
    await asyncio.wait([overhearing])

    assert [each["type"] for each in records(others)] == ["listening"]
    assert again.status_code == 401


async def test_a_stream_ends_with_the_visit(house, person, monkeypatch):
    """A token that was replaced closes no socket, but a page's visit is over by it."""
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.05)
    lines = []
    following = asyncio.create_task(follow(person, lines))
    await eventually(lambda: records(lines))
    await house.tokens.rotate(house.profile.id, house.token.record.id, None)
    async with asyncio.timeout(5):
        await following


async def test_a_person_with_many_windows_is_told_when_they_are_too_many(house, person):
    """In words, and the page itself works on."""
    feed = house.servers[0].application.feed
    for _ in range(32):
        await house._stack.enter_async_context(feed.listen(house.profile.id, "k"))
    answer = await person.get("/live", headers={"accept": "text/event-stream"})

    assert answer.status_code == 429
    assert (await person.get("/")).status_code == 200


def test_lanes_and_sessions_are_joined_by_tag():
    """A session without events and events without a session each have their row; standbys are counted."""
    sessions = [
        {"sessionTag": "b", "role": "active"},
        {"sessionTag": "b", "role": "standby"},
        {"sessionTag": None, "role": "active"},
    ]
    lanes = [{"sessionTag": tag, "held": [], "next": [], "waiting": 1, "deferred": []} for tag in ("a", "b")]
    rows = join_lanes(sessions, lanes)

    assert [(row["sessionTag"], row["active"] is not None, row["standbys"], row["waiting"]) for row in rows] == [
        (None, True, 0, 0),
        ("b", True, 1, 1),
        ("a", False, 0, 1),
    ]


async def test_a_visit_without_scripts_is_told_to_reload(person):
    """The page is whole without them."""
    page = (await person.get("/")).text

    assert re.search(r'<noscript>.*<a href="">Reload</a>.*</noscript>', page)
    assert re.findall(r"<script(?! src=)", page) == []
    assert re.findall(r"\son\w+=|style=", page) == []
