"""
Profiles are isolated: whatever Charlie asks with ids and tags of Alice's, he learns nothing and changes nothing.

What is tried is made of the requests' own types, so a request that is added later is tried too, or this test fails. An
answer to another's id has to be the very answer to an id that nobody has.
"""

import json
import re
from typing import Any, get_args

import msgspec
import pytest
import pytest_asyncio

from clawback import wire
from clawback.accounts.profiles import ensure_profile
from clawback.channel.tools import FORMER, TOOLS, Tool
from clawback.model import random_id
from houses import House
from waiting import eventually

TAG = "deploys"
"""Alice's session, and Charlie's: a tag is nobody's alone."""

VALUES: dict[str, Any] = {
    "slug": "charlies",
    "verifier_type": "generic",
    "secret": "charlies-secret",
    "generate_secret": False,
    "overlap_seconds": 0,
    "skill": "/charlies",
    "routes": {"*": "/charlies"},
    "event_type": {"header": "X-Kind"},
    "signature": {"header": "X-Sig"},
    "session_tag": TAG,
    "priority": "normal",
    "timeout_seconds": 3600,
    "limit": 100,
    "states": None,
    "seconds": 60,
    "delay_seconds": 0,
    "reason": "charlies reason",
    "summary": "charlies summary",
    "timezone": "UTC",
    "label": "charlies label",
    "targets": [TAG],
    "content": "charlies message",
    "prompt": "charlies prompt",
    "schedule": "@daily",
    "once": None,
    "missed": "none",
    "overlap": "queue",
    "jitter_seconds": 0,
    "payload": "compact",
    "note": "charlies note",
    "answer": 200,
    "condition": "type == 'charlies'",
    "not_from": ["charlies-bot"],
    "delivery_id": {"header": "X-Charlies-Id"},
    "path": "",
    "offset": 0,
    "after": None,
    "source": "webhook",
    "dry_run": False,
}
"""What a field of a request is given that is no id; a new field needs a value here."""

ASKED = [*get_args(wire.Request), wire.Ack]


def fields_of(request: type) -> dict[str, str]:
    """Name a request's fields but its own id, as in Python and on the wire."""
    return {field.name: field.encode_name for field in msgspec.structs.fields(request) if field.name != "request_id"}


def id_fields(request: type) -> list[str]:
    """Name the fields that hold an id of something."""
    return [name for name in fields_of(request) if name.endswith("_id")]


def tag_of(request: type) -> str:
    """Name a request on the wire."""
    return request.__struct_config__.tag


class World:
    """What Alice has: one of everything that has an id, and what she sees of it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.ids: dict[str, str] = {}
        self.words = {"alices-slug", "alices skill", "alices prompt", "alices label", "alices text", "alices summary"}

    async def fill(self) -> None:
        """Make it all: a source, a cron, a token, and events that are done, held, waiting and dead."""
        house = self.house
        self.session = session = await house.connect(sessionTag=TAG, instanceId=random_id())
        self.looker = await house.connect(sessionTag="alices-other", instanceId=random_id())
        fields = {"verifierType": "github", "generateSecret": True, "skill": "alices skill"}
        source, doomed = [
            (await session.ask("source_create", slug=slug, **fields))["data"] for slug in ("alices-slug", "doomed")
        ]
        cron = (await session.ask("cron_create", prompt="alices prompt", schedule="@yearly"))["data"]
        token = (await session.ask("token_create", label="alices label"))["data"]
        done = await house.publish("alices text, done", TAG)
        await session.event()
        await session.ack(done, "alices summary")
        held = await house.publish("alices text, held", TAG)
        await session.event()
        waiting = await house.publish("alices text, waiting", TAG)
        dead = await house.publish("alices text, dead", TAG, source_id=doomed["id"])
        await session.ask("source_delete", sourceId=doomed["id"])
        self.ids = {
            "source": source["id"],
            "cron": cron["id"],
            "token": token["id"],
            "own token": house.token.record.id,
            "done": done,
            "held": held,
            "waiting": waiting,
            "dead": dead,
            "profile": house.profile.id,
            "webhook": house.profile.webhook_id,
        }
        self.words |= {source["secret"], token["token"], *self.ids.values()}
        self.before = await self.seen()

    async def seen(self) -> dict[str, Any]:
        """Look at everything, as Alice can."""
        lists = {kind: {} for kind in ("source_list", "cron_list", "token_list", "session_list", "event_list")}
        lists["event_history"] = {"limit": 100, "states": ["acked", "timed_out", "dead", "dropped", "skipped"]}
        seen = {kind: (await self.looker.ask(kind, **asked))["data"] for kind, asked in lists.items()}
        return seen | {"account": (await self.looker.ask("account_info"))["data"], "frames": len(self.session.frames)}


in_one_loop = pytest.mark.asyncio(loop_scope="module")
"""Where `world` runs."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(natsd, tmp_path_factory):
    """Alice's world, on one server: nobody changes it, so all tests look at the same."""
    async with House.open(natsd, tmp_path_factory.mktemp("house")) as house:
        world = World(house)
        await world.fill()
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def own_world(world):
    """Another like it, of a profile of its own, for a test in which Alice goes on."""
    async with world.house.newcomer() as house:
        own = World(house)
        await own.fill()
        yield own


async def charlie(house: House, **auth: Any):
    """Connect Charlie, with a profile and a token of his own, to a session of the same tag."""
    profile = await ensure_profile(house.servers[0].registry, f"charlie-{random_id(8)}")
    token = await house.tokens.create(profile.id, None)
    return await house.connect(token=token.value, sessionTag=TAG, **{"instanceId": random_id(), **auth})


def unknown_like(identifier: str) -> str:
    """Make an id of the same form that nobody has."""
    kind, underscore, rest = identifier.rpartition("_")
    return f"{kind}{underscore}{random_id(len(rest))}"


async def answer(peer, request: type, given: dict[str, Any]) -> str:
    """Ask, and return the answer as text without what only names the question."""
    response = await peer.ask(tag_of(request), **given)
    del response["requestId"]
    return json.dumps(response)


def without(text: str, *identifiers: str) -> str:
    """Put one word for each of the ids."""
    return re.sub("|".join(map(re.escape, identifiers)), "ID", text)


@in_one_loop
@pytest.mark.parametrize("request_type", ASKED, ids=tag_of)
async def test_a_request_with_anothers_id_is_one_with_an_unknown_id(world, request_type):
    """The same answer to the letter, whatever kind of id stands in whichever field; Alice notices nothing."""
    peer = await charlie(world.house)
    wire_names = fields_of(request_type)
    usual = {wire_names[name]: VALUES[name] for name in wire_names if not name.endswith("_id")}
    usual = {name: value for name, value in usual.items() if value is not None}
    told = []
    for field in id_fields(request_type):
        for identifier in world.ids.values():
            unknown = unknown_like(identifier)
            others = {wire_names[name]: identifier for name in id_fields(request_type)}
            theirs = await answer(peer, request_type, usual | others | {wire_names[field]: identifier})
            nobodys = await answer(peer, request_type, usual | others | {wire_names[field]: unknown})

            assert without(theirs, identifier) == without(nobodys, identifier, unknown), field
            told.append(without(theirs, identifier))
    if not told:
        told.append(await answer(peer, request_type, usual))
    told += [json.dumps(frame) for frame in peer.frames if frame["type"] != "response"]

    assert [word for word in world.words if any(word in text for text in told)] == []
    assert await world.seen() == world.before


@in_one_loop
async def test_nothing_of_another_is_settled_or_held_by_saying_so_in_auth(own_world):
    """What Charlie says he finished or holds is not his: it is passed over, and told like what nobody has."""
    events = [own_world.ids[name] for name in ("held", "waiting", "dead", "done")]
    unknown = unknown_like(events[0])
    peer = await charlie(
        own_world.house,
        inflight=[*events, unknown],
        acked=[{"eventId": each, "summary": "charlies"} for each in [*events, unknown]],
    )
    await eventually(lambda: sum(frame["type"] == "timed_out" for frame in peer.frames) == len(events) + 1)
    after = await own_world.seen()
    receipt = await own_world.session.ack(own_world.ids["held"])

    assert after == own_world.before
    assert receipt == {"eventId": own_world.ids["held"], "settled": True}
    assert [frame for frame in peer.frames if frame["type"] == "event"] == []


@in_one_loop
async def test_messages_stay_within_a_profile(world):
    """To Alice's tag, to everybody, and in the name of the same tag: none of hers gets any."""
    peer = await charlie(world.house)
    for targets in ([TAG], ["alices-other"], ["*"]):
        await peer.ask("session_send", targets=targets, content="charlies message")
    await eventually(lambda: any(frame.get("content") == "charlies message" for frame in peer.frames))
    listed = (await peer.ask("session_list"))["data"]

    assert len(listed) == 1
    assert await world.seen() == world.before


def test_every_tool_asks_what_was_tried():
    """The MCP tools add no way of their own: each makes one of the requests above."""
    made = {*TOOLS.values(), *FORMER.values()} - {TOOLS["event_ack"], TOOLS["session_send"]}

    assert {tool.asks for tool in made} <= set(ASKED)
    assert all(issubclass(tool, Tool) for tool in made)
