"""The webhook endpoint against a real NATS: every answer it gives, and what is stored when it gives it."""

import asyncio
import json
import logging
import os
import time
import zlib
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import httpx
import msgspec
import pytest
import uvicorn

import senders
from clawback.accounts.keyring import key_id
from clawback.accounts.vault import Vault
from clawback.fabric import subjects
from clawback.model import Address, EventState, EventTypeRule, Profile, Refusal, Scheme, Source, new_id, random_id
from clawback.store.events import EventStore, decode_event
from clawback.store.history import History
from clawback.store.ledger import Ledger
from clawback.store.refusals import Refusals
from clawback.store.registry import Registry
from clawback.webhooks.endpoint import Limits, WebhookEndpoint
from clawback.webhooks.published import PublishedKeys
from natsd import free_port
from senders import NOW, SECRET, SENDERS
from signers import PUBLISHED, SECRETS, sns
from waiting import eventually

GITHUB = Path(__file__).parents[1] / "data" / "github"
KEY = bytes(range(32))
SHARDS = 2


class Answer(NamedTuple):
    """What a sender gets to see."""

    status: int
    headers: dict
    content: dict


class House:
    """An endpoint with one profile, and everything behind it."""

    def __init__(self, fabric, registry, limits):
        self.fabric = fabric
        self.registry = registry
        self.vault = Vault({key_id(KEY): KEY}, key_id(KEY))
        self.ledger = Ledger(fabric)
        self.history = History(fabric)
        self.refusals = Refusals(fabric)
        self.now = NOW
        self.visited = []
        self.outside = 200
        self.endpoint = WebhookEndpoint(
            registry,
            self.vault,
            EventStore(fabric, self.ledger, SHARDS),
            self.history,
            self.refusals,
            limits=limits,
            clock=lambda: self.now,
            keys=PublishedKeys(lambda: httpx.AsyncClient(transport=httpx.MockTransport(self._publish))),
        )
        self.profile = Profile(random_id(16), f"house-{random_id(8)}", random_id(26), NOW)

    async def _publish(self, request):
        """Answer for the hosts outside: with what senders publish, and whatever is visited."""
        url = str(request.url)
        if url in PUBLISHED:
            return httpx.Response(200, content=PUBLISHED[url])
        self.visited.append(url)
        return httpx.Response(self.outside)

    async def add(self, scheme, slug="hub", secrets=None, **fields):
        """Store a source of this profile with the planted secret of its scheme."""
        source_id = new_id("src")
        if secrets is None:
            secrets = [] if scheme is Scheme.NONE else [senders.secret_for(scheme)]
        sealed = tuple(self.vault.seal(secret, profile_id=self.profile.id, source_id=source_id) for secret in secrets)
        source = Source(source_id, self.profile.id, slug, scheme, NOW, secrets=sealed, **fields)
        await self.registry.create_source(source)
        return source

    async def change(self, source, **fields):
        """Store a source with other fields."""
        await self.registry.update_source(
            self.profile.id, source.id, lambda current: msgspec.structs.replace(current, **fields)
        )

    async def post(self, body, fields=(), *, slug="hub", path=None, method="POST", chunks=None):
        """Send one request through ASGI; `chunks` replaces the body by messages."""
        path = path or f"/webhooks/{self.profile.webhook_id}/{slug}"
        messages = chunks or iter([{"type": "http.request", "body": body, "more_body": False}])
        sent = []

        async def receive():
            # A sender that has sent all of it hangs up when it is answered.
            gone = {"type": "http.disconnect"}
            return await anext(messages, gone) if hasattr(messages, "__anext__") else next(messages, gone)

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "headers": senders.raw(fields), "client": ("::1", 1)}
        await self.endpoint(scope, receive, send)
        if not sent:
            return None
        start, *rest = sent
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        answer = b"".join(message["body"] for message in rest)
        assert headers["content-length"] == str(len(answer))
        assert not rest[-1].get("more_body")
        return Answer(start["status"], headers, json.loads(answer))

    async def stored(self, tag=None):
        """Read back every event that waits at an address, with its body."""
        shard = subjects.shard_of(self.profile.id, SHARDS)
        found = await self.fabric.get_many(
            subjects.event_stream(shard), subjects.lane_filter(shard, Address(self.profile.id, tag))
        )
        return [decode_event(each.headers, each.data) for each in found]


@asynccontextmanager
async def house_on(fabric, limits=None):
    """Open a house on a connection."""
    house = House(fabric, await Registry.open(fabric, shards=SHARDS), limits)
    await house.registry.create_profile(house.profile)
    yield house
    await house.ledger.drain()


@pytest.fixture
async def house(fabric):
    """A house on the run's NATS."""
    async with house_on(fabric) as house:
        yield house


@pytest.fixture
async def fresh_house(fresh_fabric):
    """A house on a NATS of its own."""
    async with house_on(fresh_fabric) as house:
        yield house


def github(body, event="push", delivery=None, secret=SECRET):
    """Make the headers that GitHub sends."""
    extra = [] if delivery is None else [("X-GitHub-Delivery", delivery)]
    return [*senders.github(body, secret), ("X-GitHub-Event", event), *extra]


def is_problem(answer, status):
    """Check an RFC 9457 answer, and return its detail."""
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.content["status"] == status
    assert answer.content["title"]
    return answer.content["detail"]


# --- accepted ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(GITHUB.glob("*.json")), ids=lambda path: path.stem)
async def test_github_webhook_is_stored_as_received(house, path):
    """Signed as GitHub signs: 202 names an event that is in JetStream byte for byte."""
    source = await house.add(Scheme.GITHUB, routes={path.stem: "/review"}, tag="web")
    body = path.read_bytes()

    answer = await house.post(body, github(body, path.stem.partition(".")[0], "guid-1"))

    [(event, stored)] = await house.stored("web")
    assert answer == Answer(
        202,
        {
            "content-type": "application/json",
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            "content-length": answer.headers["content-length"],
        },
        {"status": "queued", "eventId": event.id, "eventType": path.stem},
    )
    assert stored == body
    assert (event.source_id, event.path, event.event_type, event.skill) == (source.id, "/hub", path.stem, "/review")
    assert (event.verified, event.delivery_id) == (True, "guid-1")


@pytest.mark.parametrize("scheme", Scheme)
async def test_every_scheme_is_accepted_end_to_end(house, scheme):
    """Each sender's own way of signing leads to a stored event."""
    await house.add(scheme)
    body = senders.body_for(scheme)

    answer = await house.post(body, SENDERS[scheme](body) if scheme in SENDERS else [])

    [(event, stored)] = await house.stored()
    assert answer.status == (200 if scheme in (Scheme.LINEAR, Scheme.SLACK) else 202)
    assert (event.id, stored, event.verified) == (answer.content["eventId"], body, scheme is not Scheme.NONE)


async def test_same_delivery_is_one_event(house):
    """Sent again, at once or while the first is on its way, it is answered as a duplicate with the same id."""
    await house.add(Scheme.GITHUB)
    headers = github(b"{}", delivery="guid-1")

    answers = await asyncio.gather(*(house.post(b"{}", headers) for _ in range(20)))
    again = await house.post(b"{}", headers)
    other = await house.post(b"{}", github(b"{}", delivery="guid-2"))

    [first, second] = await house.stored()
    assert sorted(answer.status for answer in answers) == [200] * 19 + [202]
    assert {answer.content["eventId"] for answer in answers} == {first[0].id}
    assert again == Answer(200, again.headers, {"status": "duplicate", "eventId": first[0].id})
    assert other.content["eventId"] == second[0].id


async def test_equal_bodies_without_a_delivery_id_are_two_events(house):
    """Nothing says that they are one."""
    await house.add(Scheme.GENERIC)

    answers = [await house.post(b"{}", senders.generic(b"{}")) for _ in range(2)]

    assert [answer.status for answer in answers] == [202, 202]
    assert len(await house.stored()) == 2


async def test_forged_request_does_not_use_up_a_delivery_id(house):
    """Whoever guesses an id cannot have the real delivery taken for a duplicate."""
    await house.add(Scheme.GITHUB)

    forged = await house.post(b"{}", github(b"{}", delivery="guid-1", secret=b"guess"))
    real = await house.post(b"{}", github(b"{}", delivery="guid-1"))

    assert (forged.status, real.status) == (401, 202)


@pytest.mark.parametrize("size", [300 * 1024, 1024 * 1024 + 1, 20 * 1024 * 1024])
async def test_large_body_is_stored_compressed(house, size):
    """Up to the limit, as long as NATS can take it; large ones are verified beside the event loop."""
    await house.add(Scheme.GENERIC)
    body = b'{"x":"' + b"a" * size + b'"}'

    answer = await house.post(body, senders.generic(body))

    [(_, stored)] = await house.stored()
    assert answer.status == 202
    assert zlib.crc32(stored) == zlib.crc32(body)


async def test_body_that_is_no_text_is_stored_as_received_and_marked(house):
    """Where nothing of it must be read."""
    await house.add(Scheme.GENERIC)

    answer = await house.post(b"\xff\0\xfe", senders.generic(b"\xff\0\xfe"))

    [(event, stored)] = await house.stored()
    assert answer.status == 202
    assert (event.encoding, stored) == ("base64", b"\xff\0\xfe")


@pytest.mark.parametrize("event_type", ["öpened\u2028", "a\r\nNats-Msg-Id: x", "\x00\x1c\x85", "😀" * 256])
async def test_event_type_of_any_text_survives_the_way_through_nats(house, event_type):
    """It travels in a header, which must neither break nor be broken out of."""
    await house.add(Scheme.GENERIC, event_type=EventTypeRule(body="type"))
    body = json.dumps({"type": event_type}).encode()

    answer = await house.post(body, senders.generic(body))

    [(event, _)] = await house.stored()
    assert answer.content["eventType"] == event.event_type == event_type


async def test_slack_challenge_is_answered_and_not_stored(house):
    """What Slack asks when the URL is entered."""
    await house.add(Scheme.SLACK)
    body = b'{"type":"url_verification","challenge":"3eZbrw"}'

    answer = await house.post(body, senders.slack(body))

    assert answer == Answer(200, answer.headers, {"challenge": "3eZbrw"})
    assert await house.stored() == []


async def test_dropped_event_is_in_the_history_and_comes_through_once_a_route_exists(house):
    """Not stored, but visible; the redelivery of the same id is no duplicate."""
    source = await house.add(Scheme.GITHUB, routes={"push": "/review"})
    headers = github(b"{}", "star", "guid-1")

    dropped = await house.post(b"{}", headers)
    [record] = await house.history.newest(house.profile.id, limit=9, states={EventState.DROPPED})
    await house.change(source, routes={"*": "/look"})
    taken = await house.post(b"{}", headers)

    assert dropped == Answer(200, dropped.headers, {"status": "dropped", "reason": "no_route", "eventType": "star"})
    assert (record.event_type, record.path, record.reason) == ("star", "/hub", "no_route")
    assert taken.status == 202
    assert len(await house.stored()) == 1


# --- refused -----------------------------------------------------------------------------------------------------


async def test_a_refusal_is_remembered_for_the_sources_owner(house):
    """What its sender read, where it came from and what it called itself; nothing of a body, secret or signature."""
    source = await house.add(Scheme.GITHUB)
    headers = [*github(b"{}"), ("X-GitHub-Delivery", "planted-id")]
    detail = is_problem(await house.post(b"{} planted-body", headers), 401)
    writing = asyncio.create_task(house.refusals.write())
    found = (await eventually(lambda: house.refusals.of_profile(house.profile.id)))[source.id]
    writing.cancel()

    assert found == [Refusal(NOW, 401, detail, "::1", "planted-id")]
    text = msgspec.json.encode(found).decode()
    assert "planted-body" not in text
    assert SECRET.decode() not in text
    assert senders.github(b"{}")[0][1].removeprefix("sha256=") not in text


async def test_what_leads_to_no_source_is_remembered_for_nobody(house):
    """A stranger who guesses URLs is no owner's business; what is accepted is no refusal."""
    await house.add(Scheme.NONE, skill="/go")
    await house.post(b"{}", slug="other")
    await house.post(b"{}", method="GET")
    await house.post(b"{}")

    assert house.refusals._waiting.empty()


async def test_wrong_signature_is_401_and_stores_nothing(house):
    """The answer names the header and holds neither secret nor signature."""
    await house.add(Scheme.GITHUB)

    detail = is_problem(await house.post(b"{} ", github(b"{}")), 401)

    assert "X-Hub-Signature-256" in detail
    assert SECRET.decode() not in detail
    assert senders.github(b"{} ")[0][1].removeprefix("sha256=") not in detail
    assert await house.stored() == []


async def test_signed_time_is_held_against_the_clock(house):
    """A captured request is worth nothing later."""
    await house.add(Scheme.STRIPE)
    body = senders.body_for(Scheme.STRIPE)
    house.now = NOW + timedelta(seconds=301)

    assert "out of time" in is_problem(await house.post(body, senders.stripe(body)), 401)


async def test_body_that_is_no_json_is_400_where_the_type_is_in_it(house):
    """The answer says what to do about it."""
    await house.add(Scheme.STRIPE)

    assert "send JSON" in is_problem(await house.post(b"no", senders.stripe(b"no")), 400)


async def test_unknown_id_slug_and_path_are_the_same_404(house):
    """Nobody can tell which part of a URL is right, and nothing of the body is read for it."""
    await house.add(Scheme.NONE)
    webhook_id = house.profile.webhook_id
    paths = [
        f"/webhooks/{webhook_id}/other",
        f"/webhooks/{random_id(26)}/hub",
        f"/webhooks/{webhook_id}/hub/",
        f"/webhooks/{webhook_id}/HUB",
        f"/webhooks/{webhook_id}/>",
        "/webhooks/*/hub",
        f"/webhooks/{webhook_id}",
        "/webhooks/",
    ]

    answers = [await house.post(b"", path=path, chunks=iter([])) for path in paths]

    assert is_problem(answers[0], 404)
    assert all(answer == answers[0] for answer in answers)


async def test_other_methods_are_405_whether_or_not_there_is_a_source(house):
    """With what is allowed."""
    await house.add(Scheme.NONE)
    answers = [await house.post(b"", slug=slug, method="PUT", chunks=iter([])) for slug in ("hub", "other")]

    is_problem(answers[0], 405)
    assert answers[0].headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert answers[0] == answers[1]


async def test_deleted_source_is_404(house):
    """From the moment it is deleted."""
    source = await house.add(Scheme.NONE)
    await house.registry.delete_source(house.profile.id, source.id)

    assert is_problem(await house.post(b"{}"), 404)


class TestLimits:
    """Bodies under a limit of 1000 bytes and a tenth of a second."""

    LIMITS = Limits(body_bytes=1000, body_s=0.1, held_bytes=2500)

    @pytest.fixture
    async def house(self, fabric):
        """A house with a source that checks nothing."""
        async with house_on(fabric, self.LIMITS) as house:
            await house.add(Scheme.NONE)
            yield house

    @pytest.mark.parametrize(("size", "status"), [(1000, 202), (1001, 413)])
    @pytest.mark.parametrize("told", [True, False], ids=["content-length", "chunked"])
    async def test_body_may_be_exactly_the_limit(self, house, size, status, told):
        """With and without a size told beforehand."""
        fields = [("Content-Length", str(size))] if told else []

        assert (await house.post(b"a" * size, fields)).status == status

    @pytest.mark.parametrize("declared", ["1001", "9" * 5000])
    async def test_declared_size_over_the_limit_is_refused_unread(self, house, declared):
        """The connection ends, as nobody will read what follows."""
        answer = await house.post(b"", [("Content-Length", declared)], chunks=iter([]))

        assert "larger than 1000 bytes" in is_problem(answer, 413)
        assert answer.headers["connection"] == "close"

    async def test_endless_body_is_left_at_the_first_byte_too_many(self, house):
        """What it would still send is not waited for."""
        pieces = iter([{"type": "http.request", "body": b"a" * 400, "more_body": True}] * 3)

        answer = await house.post(b"", chunks=pieces)

        is_problem(answer, 413)
        assert answer.headers["connection"] == "close"

    async def test_body_that_does_not_come_is_408(self, house):
        """A sender that dribbles holds nothing for longer than the deadline."""

        async def dribble():
            while True:
                yield {"type": "http.request", "body": b"a", "more_body": True}
                await asyncio.sleep(0.03)

        answer = await house.post(b"", chunks=dribble())

        assert "0.1 s" in is_problem(answer, 408)
        assert answer.headers["connection"] == "close"

    async def test_sender_that_goes_away_is_not_answered_and_nothing_is_stored(self, house):
        """Half a body is no event."""
        pieces = iter([{"type": "http.request", "body": b"{}", "more_body": True}, {"type": "http.disconnect"}])

        assert await house.post(b"", chunks=pieces) is None
        assert await house.stored() == []

    async def test_bodies_held_at_one_time_are_bounded_together_and_given_back(self, house):
        """A flood of half-sent bodies is told to come again; once they are over there is room."""
        release = asyncio.Event()

        async def half():
            yield {"type": "http.request", "body": b"a" * 900, "more_body": True}
            release.set()
            await asyncio.sleep(10)

        waiting = [asyncio.create_task(house.post(b"", chunks=half())) for _ in range(2)]
        await release.wait()
        refused = await house.post(b"a" * 900)
        ended = await asyncio.gather(*waiting)

        assert is_problem(refused, 503)
        assert refused.headers["retry-after"]
        assert [answer.status for answer in ended] == [408, 408]
        assert (await house.post(b"a" * 900)).status == 202


async def test_unfinished_bodies_of_a_stranger_keep_no_one_out(fabric):
    """Eleven of 25 MiB to one URL: every webhook of another source is answered 202, a large one too."""
    async with house_on(fabric) as house:
        source = await house.add(Scheme.NONE)
        other = await house.add(Scheme.GITHUB, slug="other")
        piece = os.urandom(1024 * 1024)

        async def unfinished():
            for _ in range(24):
                yield {"type": "http.request", "body": piece, "more_body": True}
            await asyncio.Event().wait()

        attack = [asyncio.create_task(house.post(b"", chunks=unfinished(), slug=source.slug)) for _ in range(11)]
        await eventually(lambda: sum(each.done() for each in attack) >= 6)
        bodies = [b'{"a":%d}' % number for number in range(40)] + [b'{"a":"' + b"a" * 6 * 1024 * 1024 + b'"}']
        answers = [
            await house.post(body, github(body, "push", f"guid-{number}"), slug=other.slug)
            for number, body in enumerate(bodies)
        ]
        for each in attack:
            each.cancel()
        await asyncio.gather(*attack, return_exceptions=True)

    assert [answer.status for answer in answers] == [202] * 41


# --- not now -----------------------------------------------------------------------------------------------------


async def test_full_line_is_429(fresh_house):
    """With the time to come again; the waiting events stay."""
    house = fresh_house
    await house.add(Scheme.NONE)
    stream = subjects.event_stream(subjects.shard_of(house.profile.id, SHARDS))
    config = (await house.fabric.api(f"STREAM.INFO.{stream}", {}))["config"]
    await house.fabric.api(f"STREAM.UPDATE.{stream}", config | {"max_msgs_per_subject": 2})

    answers = [await house.post(b"{}") for _ in range(3)]

    assert [answer.status for answer in answers] == [202, 202, 429]
    assert "its session" in is_problem(answers[2], 429)
    assert int(answers[2].headers["retry-after"]) > 0
    assert len(await house.stored()) == 2


async def test_body_that_nats_cannot_take_is_413(house):
    """25 MiB of noise do not compress to 8 MB."""
    await house.add(Scheme.NONE)

    assert is_problem(await house.post(os.urandom(9 * 1024 * 1024)), 413)


@pytest.mark.parametrize(
    ("scheme", "patience_s", "fault"),
    [(Scheme.SLACK, 2.0, "kill9"), (Scheme.SLACK, 2.0, "freeze"), (Scheme.SHOPIFY, 4.0, "freeze")],
)
async def test_nats_away_is_503_within_the_senders_patience(fresh_house, fresh_natsd, scheme, patience_s, fault):
    """Never a 2xx for what is not stored, never an answer that the sender no longer waits for."""
    await fresh_house.add(scheme)
    body = b'{"event_id":"Ev1"}'
    fields = [*SENDERS[scheme](body), ("X-Shopify-Webhook-Id", "guid")]
    getattr(fresh_natsd, fault)()
    started = time.monotonic()

    answer = await fresh_house.post(body, fields)

    assert time.monotonic() - started < patience_s + 0.9
    assert "send it again" in is_problem(answer, 503)
    assert int(answer.headers["retry-after"]) > 0


async def test_short_restart_of_nats_costs_no_event(fresh_house, fresh_natsd):
    """A GitHub delivery, which nobody would send again, waits it out and is stored once."""
    await fresh_house.add(Scheme.GITHUB)
    fresh_natsd.kill9()

    request = asyncio.create_task(fresh_house.post(b"{}", github(b"{}", delivery="guid-1")))
    await asyncio.to_thread(fresh_natsd.start)
    answer = await request

    assert answer.status == 202
    assert [event.id for event, _ in await fresh_house.stored()] == [answer.content["eventId"]]


async def test_during_an_overlap_old_and_new_secret_sign(house):
    """Until the second it ends; a secret that neither of them is stays refused throughout."""
    source = await house.add(Scheme.GITHUB, secrets=[b"new", b"old"])
    new, old = source.secrets
    ends_at = NOW + timedelta(hours=1)
    await house.change(source, secrets=(new, msgspec.structs.replace(old, expires_at=ends_at)))

    async def statuses():
        answers = [await house.post(b"{}", github(b"{}", secret=secret)) for secret in (b"new", b"old", b"other")]
        return [answer.status for answer in answers]

    house.now = ends_at - timedelta(seconds=1)
    during = await statuses()
    house.now = ends_at

    assert during == [202, 202, 401]
    assert await statuses() == [202, 401, 401]


async def test_record_that_cannot_be_read_stops_its_source_only(house):
    """503 and not 404: the sender keeps the event until somebody mends it; a stranger is told nothing of it."""
    broken = await house.add(Scheme.GITHUB, "broken")
    await house.add(Scheme.GITHUB, "whole")
    await house.fabric.publish(subjects.config_subject(subjects.source_key(house.profile.id, broken.id)), b"{junk")
    await eventually(lambda: house.registry.unreadable_sources(house.profile.id))
    refused = await house.post(b"{}", github(b"{}"), slug="broken")
    taken = await house.post(b"{}", github(b"{}"), slug="whole")

    assert broken.id not in is_problem(refused, 503)
    assert refused.headers["retry-after"] == "60"
    assert taken.status == 202


async def test_secret_that_does_not_open_stops_its_source_only(house, caplog):
    """503, because the key may come back; the log names the source for whoever runs the server."""
    broken = await house.add(Scheme.GITHUB, "broken")
    await house.add(Scheme.GITHUB, "whole")
    lost = Vault({"gone": bytes(32)}, "gone").seal(SECRET, profile_id=house.profile.id, source_id=broken.id)
    await house.change(broken, secrets=(lost,))

    with caplog.at_level(logging.INFO, "clawback.webhooks"):
        refused = await house.post(b"{}", github(b"{}"), slug="broken")
        taken = await house.post(b"{}", github(b"{}"), slug="whole")

    assert broken.id not in is_problem(refused, 503)
    assert refused.headers["retry-after"]
    assert taken.status == 202
    line = caplog.records[0]
    assert (line.levelname, line.message, line.source) == ("WARNING", "failed", broken.id)
    assert "key gone, which is not at hand" in line.reason


# --- the log -----------------------------------------------------------------------------------------------------


async def test_each_request_is_one_line_without_payload_or_secret(house, caplog):
    """Accepted or refused: ids, type, status, size and duration."""
    source = await house.add(Scheme.GITHUB, routes={"issues.opened": "/triage"})
    body = b'{"action":"opened","planted":"payload"}'

    with caplog.at_level(logging.INFO, "clawback.webhooks"):
        answer = await house.post(body, github(body, "issues", "guid-1"))
        await house.post(body, github(b"other", "issues"))
        await house.post(body, slug="nowhere")

    lines = [vars(record) for record in caplog.records]
    assert [(line["action"], line["message"]) for line in lines] == [
        ("webhook", "queued"),
        ("webhook", "refused"),
        ("webhook", "refused"),
    ]
    assert [line["status"] for line in lines] == [202, 401, 404]
    assert (
        lines[0].items()
        >= {
            "peer": "::1",
            "profile": house.profile.id,
            "source": source.id,
            "slug": "hub",
            "event": answer.content["eventId"],
            "type": "issues.opened",
            "bytes": len(body),
        }.items()
    )
    assert lines[0]["duration_ms"] > 0
    assert "planted" not in repr(lines)


# --- over a socket -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def served(app):
    """Serve an ASGI app with uvicorn on a free port."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, lifespan="off", log_config=None, http="httptools"))
    task = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    yield port
    server.should_exit = True
    await task


async def test_endless_chunked_body_is_cut_off_over_a_real_connection(fabric):
    """Uvicorn alone would read for ever: the answer comes, then the connection ends."""
    async with house_on(fabric, Limits(body_bytes=100_000)) as house, served(house.endpoint) as port:
        await house.add(Scheme.NONE)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        path = f"/webhooks/{house.profile.webhook_id}/hub"
        writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        writer.write(b"fff\r\n" + b"a" * 0xFFF + b"\r\n")
        for _ in range(25):
            writer.write(b"fff\r\n" + b"a" * 0xFFF + b"\r\n")
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()

        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"problem+json" in answer


# --- a link that confirms ----------------------------------------------------------------------------------------

CONFIRM = "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-east-1:1:shop&Token="
CONFIRM += "2336412f37" * 25


def confirmation(link=CONFIRM, **fields):
    """Make the request by which SNS has a subscription confirmed, signed."""
    body = {"Type": "SubscriptionConfirmation", "MessageId": "165545c9", "Token": "2336", "Message": "You have chosen"}
    return sns(
        SECRETS["aws-sns"],
        json.dumps(body | {"SubscribeURL": link, "SignatureVersion": "2", **fields}).encode(),
        NOW,
    )


async def test_a_subscription_is_confirmed_once_it_is_signed(house):
    """The link is visited, the source is connected, and there is no event."""
    source = await house.add("aws-sns", secrets=[SECRETS["aws-sns"]])
    answer = await house.post(confirmation())
    known = await house.registry.find_source_by_id(house.profile.id, source.id)

    assert (answer.status, answer.content) == (200, {"status": "connected"})
    assert house.visited == [CONFIRM]
    assert known.connected_at == NOW
    assert await house.stored() == []


@pytest.mark.parametrize(
    "link",
    [
        "https://sns.us-east-1.amazonaws.com.evil.example/?Action=ConfirmSubscription&Token=1",
        "https://evil.example/?https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&Token=1",
        "https://user@sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&Token=1",
        "http://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&Token=1",
        "https://sns.us-east-1.amazonaws.com:8443/?Action=ConfirmSubscription&Token=1",
        "https://sns.us-east-1.amazonaws.com/?Action=DeleteTopic&Token=1",
        CONFIRM + "\n",
        "",
    ],
)
async def test_a_link_that_leads_elsewhere_is_not_visited(house, link):
    """Even where it is signed; nothing is stored."""
    await house.add("aws-sns", secrets=[SECRETS["aws-sns"]])
    answer = await house.post(confirmation(link))

    assert "leads elsewhere" in is_problem(answer, 403)
    assert house.visited == []
    assert await house.stored() == []


async def test_a_link_of_a_stranger_is_not_visited(house):
    """A tampered link, and another topic's."""
    await house.add("aws-sns", secrets=[SECRETS["aws-sns"]])
    await house.add("aws-sns", "other", secrets=[b"arn:aws:sns:us-east-1:1:other"])
    tampered = await house.post(confirmation().replace(b"Token=2336", b"Token=9999"))
    other = await house.post(confirmation(), slug="other")

    assert (tampered.status, other.status) == (401, 401)
    assert house.visited == []


async def test_a_confirmation_that_fails_is_asked_for_again(house):
    """AWS hears 503, and sends it once more."""
    source = await house.add("aws-sns", secrets=[SECRETS["aws-sns"]])
    house.outside = 500
    answer = await house.post(confirmation())
    known = await house.registry.find_source_by_id(house.profile.id, source.id)

    assert answer.status == 503
    assert known.connected_at is None


async def test_a_confirmation_that_a_route_names_is_an_event(house):
    """For a server without a way out: a person opens the link."""
    await house.add("aws-sns", secrets=[SECRETS["aws-sns"]], routes={"SubscriptionConfirmation": "Tell me the link."})
    answer = await house.post(confirmation())

    assert answer.status == 202
    assert house.visited == []
