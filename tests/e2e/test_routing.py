"""
The routing table: an event goes to the session it is addressed to, now or when that comes, and to no other.

Every session here is a plugin process of its own. Rows share one server and its residents, the sessions that are
connected all the time; a session that is no resident is started for its row.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import pytest_asyncio

from channel.claude import Claude, config_file
from github import make_source, post
from legacy import LegacyClient
from processes import Server, Token
from waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNTAGGED = "(untagged)"
ALONE = ()
TAGGED = ("sender", "builds")
EVERYBODY = ("sender", "builds", "builds-eu", UNTAGGED)


class Row(NamedTuple):
    """Whom an event is for, who is connected all the time, and whether the one it is for is when it is sent."""

    target: str
    residents: tuple[str, ...]
    connected: bool


ROWS = {
    "a tag, alone": Row("builds", ALONE, connected=True),
    "a tag, offline, alone": Row("builds", ALONE, connected=False),
    "untagged, alone": Row(UNTAGGED, ALONE, connected=True),
    "untagged, offline, alone": Row(UNTAGGED, ALONE, connected=False),
    "a tag, beside tags and untagged": Row("builds", EVERYBODY, connected=True),
    "a tag, offline, beside tags and untagged": Row("away", EVERYBODY, connected=False),
    "untagged, beside tags": Row(UNTAGGED, EVERYBODY, connected=True),
    "untagged, offline, beside tags": Row(UNTAGGED, TAGGED, connected=False),
}
# A message has a sender, who is somebody else.
ROWS_OF_MESSAGES = {name: row for name, row in ROWS.items() if row.residents}


class Town:
    """A profile with its residents, and a source for each address."""

    def __init__(self, server: Server, token: Token, home: Path) -> None:
        self.residents: dict[str, Claude] = {}
        self.sources: dict[str, str] = {}
        self._server = server
        self._token = token
        self._config = config_file(home, server.socket_url, connectionToken=token.value)

    def session(self, tag: str) -> Claude:
        """Make a session; it is there once entered."""
        return Claude(self._config, **({} if tag == UNTAGGED else {"CLAWBACK_SESSION": tag}))

    async def connected(self) -> set[str | None]:
        """Ask who is connected, apart from the one who asks."""
        async with LegacyClient(self._server.socket_url, self._token.value, "asker") as asker:
            listed = await asker.request("session_list")
        return {each["sessionTag"] or UNTAGGED for each in listed} - {"asker"}

    @asynccontextmanager
    async def visitor(self, tag: str) -> AsyncIterator[Claude]:
        """Connect a session for one row; it has left, and the server knows, when the block ends."""
        async with self.session(tag) as visitor:
            await eventually(lambda: self._has(tag), 20.0)
            yield visitor
        await eventually(lambda: self._lacks(tag), 20.0)

    async def _has(self, tag: str) -> bool:
        return tag in await self.connected()

    async def _lacks(self, tag: str) -> bool:
        return tag not in await self.connected()


@asynccontextmanager
async def founded(server: Server, home: Path, residents: tuple[str, ...]) -> AsyncIterator[Town]:
    """Found a town, whose residents stay connected until the block ends."""
    token = await asyncio.to_thread(server.token, f"town-of-{len(residents)}")
    town = Town(server, token, home)
    async with LegacyClient(server.socket_url, token.value, "founder") as founder:
        for number, tag in enumerate((*EVERYBODY, "away")):
            town.sources[tag] = await make_source(founder, f"source-{number}", sessionTag=tag)
    async with AsyncExitStack() as stack:
        for tag in residents:
            town.residents[tag] = await stack.enter_async_context(town.session(tag))
        yield town


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def towns(server, tmp_path_factory) -> AsyncIterator[dict[tuple[str, ...], Town]]:
    """Every town of the module, by its residents."""
    every = (ALONE, TAGGED, EVERYBODY)
    async with AsyncExitStack() as stack:
        founding = [founded(server, tmp_path_factory.mktemp("town"), residents) for residents in every]
        towns = await asyncio.gather(*(stack.enter_async_context(town) for town in founding))
        yield dict(zip(every, towns, strict=True))


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_a_webhook_reaches_its_session_and_no_other(towns, row):
    """A tagged session gets what is for its tag, the untagged one what is for none; whoever is offline, on coming."""
    town = towns[row.residents]

    async def send() -> str:
        async with httpx.AsyncClient(timeout=30.0, trust_env=False) as http:
            return await post(http, town.sources[row.target])

    sent, meta = await routed(town, row, send)

    assert meta["event_id"] == sent
    assert meta["origin"] == "webhook"


@pytest.mark.parametrize("row", ROWS_OF_MESSAGES.values(), ids=ROWS_OF_MESSAGES)
async def test_a_message_reaches_its_session_and_no_other(towns, row):
    """The same holds of what a session sends; it is told whether its target was connected."""
    town = towns[row.residents]

    async def send() -> dict:
        text, failed = await town.residents["sender"].call("session_send", target=row.target, message="hello")
        assert not failed, text
        return json.loads(text)

    sent, meta = await routed(town, row, send)

    assert sent == {"sent": int(row.connected), "queued": int(not row.connected)}
    assert (meta["origin"], meta["from"]) == ("session", "sender")


async def routed(town: Town, row: Row, send) -> tuple:
    """Play a row; return what sending returned and the meta of the one event that its target, and nobody else, got."""
    seen_before = {tag: len(resident.events) for tag, resident in town.residents.items()}
    async with AsyncExitStack() as stack:
        receiver = town.residents.get(row.target)
        if receiver is None and row.connected:
            receiver = await stack.enter_async_context(town.visitor(row.target))
        sent = await send()
        if not row.connected:
            await nothing_is_on_its_way(town.residents.values())
            assert seen_before == {tag: len(resident.events) for tag, resident in town.residents.items()}
            receiver = await stack.enter_async_context(town.visitor(row.target))
        before = seen_before.get(row.target, 0)
        shown = await receiver.shown(before + 1)
        text, failed = await receiver.call("event_ack", event_id=shown, summary="done")
        assert not failed, text
        await nothing_is_on_its_way([receiver, *town.residents.values()])
        (event,) = receiver.events[before:]
    strangers = {tag: resident for tag, resident in town.residents.items() if tag != row.target}

    assert {tag: len(stranger.events) for tag, stranger in strangers.items()} == {
        tag: seen_before[tag] for tag in strangers
    }
    assert event["meta"]["attempt"] == "1"
    return sent, event["meta"]


async def nothing_is_on_its_way(sessions) -> None:
    """Make a round trip to the server and back with each: what was sent to it before has arrived."""
    for session in sessions:
        text, failed = await session.call("account_info")
        assert not failed, text
