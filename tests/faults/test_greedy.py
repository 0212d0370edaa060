"""
A greedy profile beside one that wants nothing but its own.

The greedy one is a program (`greed.py`): a thousand webhooks a second, look-ups of what is not there, long pages, more
feeds than it may have, sockets that ask and do not read, bodies that never end, tokens, all at once and with megabytes
of its own waiting. The other one's webhooks, deliveries and acks are served in the order in which they come, and none
is refused. How fast is not looked at here: that is the machine's.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from faults.extent import IS_LONG
from github import delivery
from houses import Peer
from processes import Server, Token, resident_bytes
from senders import SECRET
from waiting import eventually

ATTACKS = ("webhooks", "unknown", "waiting", "history", "tokens", "feeds", "deaf", "bodies")
ROUNDS = 60 if IS_LONG else 5
AT_ONCE = 3
"""Webhooks of a round, one after another, before the first is acked."""

WAITING_EVENTS = 16
WAITING_BYTES = 512 * 1024
MAX_GROWTH_BYTES = 256 * 1024 * 1024
"""Of the server's memory: some bodies that are read, and not one for each that asks."""

PATIENCE_SECONDS = 60.0
"""For one step; a part of a second on an idle machine."""

RECONNECTED = "connected to NATS again"
"""What the log says where NATS cut the server off."""

GREEDY = "127.0.0.2"
TESTS = Path(__file__).parents[1]

pytestmark = pytest.mark.timeout(600 if IS_LONG else 240)


class Greed:
    """The program, and what it said last."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.counts: dict[str, Counter[str]] = {}

    async def read(self) -> None:
        """Read what it says until it ends."""
        while line := await self.process.stdout.readline():
            self.counts = {name: Counter(counts) for name, counts in json.loads(line).items()}

    def times(self, name: str) -> int:
        """How often an attack was answered, or went on."""
        assert self.process.returncode is None, "it ended by itself"
        counts = self.counts.get(name, Counter())
        return counts.total() - counts["ended"]


@asynccontextmanager
async def let_loose(server: Server, token: Token, hook: str, *attacks: str) -> AsyncIterator[Greed]:
    """Let it loose for the length of the block, which begins once each attack has been answered."""
    path = httpx.URL(hook).path
    target = {"port": server.port, "token": token.value, "hook": path, "address": GREEDY, "attacks": attacks}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        TESTS / "faults/greed.py",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": f"{TESTS}:{TESTS / 'support'}"},
    )
    greed = Greed(process)
    reading = asyncio.create_task(greed.read())
    try:
        process.stdin.write(json.dumps(target).encode() + b"\n")
        await eventually(lambda: all(greed.times(name) for name in attacks), PATIENCE_SECONDS)
        yield greed
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await reading


class Profile:
    """A profile with a session that is connected, and a source whose events come to it unless they are another's."""

    def __init__(self, server: Server, token: Token, session: Peer, hook: str) -> None:
        self.server = server
        self.token = token
        self.session = session
        self.hook = hook

    @classmethod
    async def make(cls, server: Server, name: str, http: httpx.AsyncClient, **fields: Any) -> "Profile":
        """Make one, whose source has these fields."""
        token = await asyncio.to_thread(server.token, name)
        made = await http.post(
            f"{server.url}/api/v1/sources",
            headers={"Authorization": f"Bearer {token.value}"},
            json={"slug": "hub", "verifierType": "github", "secret": SECRET.decode(), **fields},
        )
        assert made.is_success, made.text
        session = await Peer.open(server.socket_url)
        await session.say("auth", token=token.value)
        await session.frame("auth_ok")
        return cls(server, token, session, f"{server.url}/webhooks/{token.webhook_id}/hub")

    async def work(self, rounds: int) -> None:
        """Send, be shown and ack some of its own, and check that nothing of it is refused or out of order."""
        async with httpx.AsyncClient(timeout=PATIENCE_SECONDS, trust_env=False) as sender:
            for _ in range(rounds):
                answers = [await sender.post(self.hook, **delivery()) for _ in range(AT_ONCE)]
                assert [answer.status_code for answer in answers] == [202] * AT_ONCE
                for answer in answers:
                    shown = await self.session.frame("event", PATIENCE_SECONDS)
                    assert shown["id"] == answer.json()["eventId"]
                    assert (await self.session.ack(shown["id"], timeout=PATIENCE_SECONDS))["settled"]


@pytest.fixture
async def quiet(server, http) -> AsyncIterator[Profile]:
    """A profile that wants its own."""
    profile = await Profile.make(server, "quiet", http)
    yield profile
    await profile.session.close()


@pytest.fixture
async def greedy(server, http) -> Profile:
    """A profile with 8 MB that wait for nobody."""
    profile = await Profile.make(server, "greedy", http, sessionTag="nobody")
    for _ in range(WAITING_EVENTS):
        body = json.dumps({"zen": os.urandom(WAITING_BYTES // 2).hex(), "hook_id": 1}).encode()
        assert (await http.post(profile.hook, **delivery("ping", body))).status_code == 202
    await profile.session.close()
    return profile


async def test_a_greedy_profile_takes_nothing_from_another(server, quiet, greedy):
    """Each of the other's webhooks is accepted and delivered, and its ack settled, in their order."""
    async with let_loose(server, greedy.token, greedy.hook, *ATTACKS) as greed:
        before = greed.times("webhooks")
        await quiet.work(ROUNDS)
        await eventually(lambda: greed.times("webhooks") > before, PATIENCE_SECONDS)

    assert not quiet.session.closed.is_set()
    assert RECONNECTED not in server.errors


async def test_look_ups_of_what_is_not_there_cost_nobody_else_anything(server, quiet, greedy):
    """Not their place, not the server's memory, and not its connection to NATS."""
    before = resident_bytes(server.process.pid)
    async with let_loose(server, greedy.token, greedy.hook, "unknown") as greed:
        most = 0
        for _ in range(ROUNDS):
            looked_up = greed.times("unknown")
            await quiet.work(1)
            await eventually(lambda looked_up=looked_up: greed.times("unknown") > looked_up, PATIENCE_SECONDS)
            most = max(most, resident_bytes(server.process.pid))

    assert greed.counts["unknown"].keys() == {"404"}
    assert most - before < MAX_GROWTH_BYTES
    assert RECONNECTED not in server.errors
