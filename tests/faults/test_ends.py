"""
Every way for an event to end at once: acks, deferrals, failures, replays, discards and deleted sources, of one line.

Sessions end what they are given over WebSocket, while somebody else ends the same events over REST. Two servers share
one NATS; each is cut off from it, held up, stopped and killed meanwhile. In the end each event that was accepted has
exactly one end in the history, and what was confirmed to somebody is that end.

FAULT_SEED repeats what is drawn; what becomes of it hangs on the machine's timing too. CHAOS_MINUTES is how long it is.
"""

import asyncio
import itertools
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from cable import WAYS, Cable
from clawback.fabric.streams import Fabric
from cluster import make_token
from conftest import SHARDS
from faults.extent import CHAOS_SECONDS
from github import delivery
from houses import KEY
from natsd import Natsd
from processes import Server, frozen
from senders import SECRET
from waiting import eventually

TAGS = 6
BACKLOG = 6
"""Deliveries of a tag that may wait."""

PAUSE_SECONDS = 0.05
AWAY_SECONDS = (0.2, 6.0)
PATIENCE_SECONDS = 90.0
THINK_SECONDS = 0.08

ENDS = {"acked": "acked", "timed_out": "dead", "dead": "dead", "discarded": "discarded"}
"""What a state of the history says of an event's end."""

pytestmark = pytest.mark.timeout(300 + 2 * CHAOS_SECONDS)

DOWN = (OSError, TimeoutError, WebSocketException, httpx.TransportError)
"""How a server that is away shows itself; whoever asked asks again."""


class Run:
    """What happened: which events there are, and which ends were confirmed to somebody."""

    def __init__(self, servers: list[Server], front: Cable, token: str, seed: str) -> None:
        self.servers = servers
        self.front = front
        self.token = token
        self.seed = seed
        self.accepted: set[str] = set()
        self.replayed: dict[str, str] = {}
        self.settled: set[str] = set()
        self.waiting: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.stopping = False

    def dice(self, actor: str) -> random.Random:
        """Make the dice of one actor."""
        return random.Random(f"{self.seed} {actor}")  # noqa: S311 -- to be repeated, not to be secret

    def api(self) -> httpx.AsyncClient:
        """Open a client of the API, through whichever server is there."""
        headers = {"Authorization": f"Bearer {self.token}"}
        url = f"{self.front.url}/api/v1"
        return httpx.AsyncClient(base_url=url, headers=headers, timeout=20.0, trust_env=False)

    async def insist(self, api: httpx.AsyncClient, method: str, path: str, **request) -> httpx.Response:
        """Ask until a server answers."""
        while True:
            with suppress(*DOWN):
                answer = await api.request(method, path, **request)
                if answer.status_code not in (429, 503):
                    assert answer.status_code < 500, answer.text
                    return answer
            await asyncio.sleep(PAUSE_SECONDS)

    # --- who sends -------------------------------------------------------------------------------------------------

    async def make_source(self, api: httpx.AsyncClient, tag: str) -> tuple[str, str]:
        """Make the source of a tag, or find it made by a request whose answer was lost; its id and its path."""
        fields = {"slug": tag, "verifierType": "github", "secret": SECRET.decode(), "skill": "/go", "sessionTag": tag}
        made = await self.insist(api, "POST", "/sources", json=fields)
        if made.status_code != 201:
            listed = (await self.insist(api, "GET", "/sources")).json()["items"]
            found = next(each for each in listed if each["slug"] == tag)
        else:
            found = made.json()
        return found["id"], httpx.URL(found["url"]).path

    async def send(self, tag: str) -> None:
        """Send deliveries; now and then delete the source under them, and make it anew."""
        dice = self.dice(f"sender of {tag}")
        async with self.api() as api, httpx.AsyncClient(timeout=20.0, trust_env=False) as web:
            source_id, path = await self.make_source(api, tag)
            for number in itertools.count(1):
                await eventually(lambda: self.stopping or self.waiting[tag] < BACKLOG, PATIENCE_SECONDS + CHAOS_SECONDS)
                if self.stopping:
                    return
                request = delivery(body=b"{}", delivery_id=f"{tag}/{number}")
                answer = await self.insist(web, "POST", self.front.url + path, **request)
                assert answer.is_success, answer.text
                self.accepted.add(answer.json()["eventId"])
                self.waiting[tag] += 1
                if dice.random() < 0.02:
                    await self.insist(api, "DELETE", f"/sources/{source_id}")
                    self.done["source deleted"] += 1
                    source_id, path = await self.make_source(api, tag)
                await asyncio.sleep(dice.expovariate(1 / PAUSE_SECONDS))

    # --- who ends --------------------------------------------------------------------------------------------------

    async def work(self, tag: str) -> None:
        """Be a session: do something with each event that comes, on one connection after another."""
        dice = self.dice(f"session {tag}")
        while True:
            with suppress(*DOWN):
                async with connect(f"ws://127.0.0.1:{self.front.port}/ws", proxy=None) as socket:
                    auth = {"type": "auth", "token": self.token, "sessionTag": tag, "instanceId": f"i-{tag}"}
                    await socket.send(json.dumps(auth))
                    await self._serve(socket, dice)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _serve(self, socket, dice: random.Random) -> None:
        asked: dict[str, str] = {}
        async for text in socket:
            frame = json.loads(text)
            if frame["type"] == "ping":
                await socket.send(json.dumps({"type": "pong"}))
            elif frame["type"] == "event":
                await asyncio.sleep(dice.uniform(0, THINK_SECONDS))
                for request in self._requests(frame["id"], dice):
                    asked[request["requestId"]] = frame["id"]
                    await socket.send(json.dumps(request))
            elif frame["type"] == "response" and (frame.get("data") or {}).get("settled"):
                self.settled.add(asked[frame["requestId"]])

    def _requests(self, event_id: str, dice: random.Random) -> Iterator[dict]:
        """Say what a session does with an event: mostly one thing, at times two that contradict each other."""
        ways = ["event_ack"] if self.stopping else ["ack"] * 5 + ["event_defer", "event_defer", "event_fail"]
        for number in range(1 if dice.random() < 0.8 else 2):
            way = dice.choice(ways)
            self.done[way] += 1
            request = {"type": "ack" if way == "event_ack" else way, "eventId": event_id}
            if way == "event_defer":
                request["delaySeconds"] = dice.choice((0, 0, 1))
            yield request | {"requestId": f"{event_id} {time.monotonic_ns()} {number}"}

    async def meddle(self) -> None:
        """End over REST what waits, is held or is dead, whoever has it."""
        dice = self.dice("meddler")
        async with self.api() as api:
            while not self.stopping:
                await asyncio.sleep(dice.uniform(0, 4 * PAUSE_SECONDS))
                found = (await self.insist(api, "GET", "/events?limit=100")).json()["items"]
                self.waiting = Counter(event["sessionTag"] for event in found)
                for event in dice.sample(found, min(3, len(found))):
                    await self._meddle(api, event, dice)

    async def _meddle(self, api: httpx.AsyncClient, event: dict, dice: random.Random) -> None:
        event_id, state = event["eventId"], event["state"]
        ways = (
            ["replay", "replay", "discard"] if state in ("dead", "timed_out") else ["ack", "defer", "fail", "discard"]
        )
        way = dice.choice(ways)
        # Twice at once, now and then, and so by both servers.
        tries = 2 if dice.random() < 0.2 else 1
        body = {"delaySeconds": 1} if way == "defer" else {}
        answers = await asyncio.gather(*(self._once(api, way, event_id, body) for _ in range(tries)))
        for answer in answers:
            if answer is not None and answer.is_success:
                self.done[f"REST {way}"] += 1
                self._note(event_id, way, answer)

    async def _once(self, api: httpx.AsyncClient, way: str, event_id: str, body: dict) -> httpx.Response | None:
        """Ask once: what became of it is not known where no answer comes."""
        path = f"/events/{event_id}"
        with suppress(*DOWN):
            answer = await (api.delete(path) if way == "discard" else api.post(f"{path}/{way}", json=body))
            assert answer.status_code < 500 or answer.status_code == 503, answer.text
            return answer
        return None

    def _note(self, event_id: str, way: str, answer: httpx.Response) -> None:
        if way == "ack" and answer.json()["settled"]:
            self.settled.add(event_id)
        elif way == "replay":
            self.replayed[event_id] = answer.json()["eventId"]

    # --- what must hold --------------------------------------------------------------------------------------------

    async def history(self) -> list[dict]:
        """Read all of the history."""
        records, after = [], None
        async with self.api() as api:
            while True:
                query = {"limit": "100"} | ({} if after is None else {"cursor": after})
                page = (await self.insist(api, "GET", "/history", params=query)).json()
                records += page["items"]
                after = page.get("nextCursor")
                if after is None:
                    return records


def violations(run: Run, records: list[dict]) -> Iterator[str]:
    """Say which events have no end, or two, or another than was confirmed."""
    ends: dict[str, set[str]] = defaultdict(set)
    for record in records:
        ends[record["eventId"]].add(ENDS[record["state"]])
    for event_id in sorted(run.accepted | set(run.replayed.values())):
        if not ends[event_id]:
            yield f"{event_id} has no end"
    for event_id, found in sorted(ends.items()):
        if "acked" in found and len(found) > 1:
            yield f"{event_id} ended as {sorted(found)}"
        if event_id in run.replayed and "discarded" in found:
            yield f"{event_id} was replayed as {run.replayed[event_id]} and discarded"
    for event_id in sorted(run.settled):
        if ends[event_id] != {"acked"}:
            yield f"{event_id} was confirmed as acked and ended as {sorted(ends[event_id])}"


async def trouble(run: Run, cables: list[Cable]) -> Counter[str]:
    """Cut servers off from NATS, hold them up, stop them and kill them, one or both at a time."""
    dice, done, deadline = run.dice("faults"), Counter[str](), time.monotonic() + CHAOS_SECONDS
    while time.monotonic() < deadline:
        async with asyncio.TaskGroup() as group:
            for number in dice.sample((0, 1), dice.choice((1, 1, 2))):
                what = dice.choice(("cut", "cut", "hold", "freeze", "kill"))
                done[what] += 1
                seconds = dice.uniform(AWAY_SECONDS[0], 1.5 if dice.random() < 0.6 else AWAY_SECONDS[1])
                group.create_task(_hurt(run.servers[number], cables[number], what, seconds, dice))
        before = len(run.settled)
        await eventually(lambda: len(run.settled) > before + TAGS, PATIENCE_SECONDS)  # noqa: B023 -- awaited here
    return done


async def _hurt(server: Server, cable: Cable, what: str, seconds: float, dice: random.Random) -> None:
    if what == "kill":
        await asyncio.to_thread(server.kill9)
        await asyncio.to_thread(server.start, CLAWBACK_MASTER_KEY=KEY)
    elif what == "freeze":
        with frozen(server.process.pid):
            await asyncio.sleep(seconds)
    else:
        if what == "cut":
            cable.cut()
        else:
            cable.hold(*dice.sample(WAYS, dice.randint(1, 2)))
        await asyncio.sleep(seconds)
        cable.mend()


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Natsd]:
    """A nats-server that syncs what it confirms, as a server's own does."""
    natsd = Natsd(tmp_path / "natsd", fsync=True)
    natsd.start()
    yield natsd
    natsd.stop()


async def is_empty(fabric: Fabric) -> bool:
    """Tell whether nothing waits, in line or out of it."""
    names = (await fabric.api("STREAM.NAMES", {}))["streams"]
    streams = [name for name in names if name.startswith("EVT") or name == "LATER"]
    assert len(streams) > 1, names
    return not any([await fabric.counts(name, ">") for name in streams])


async def test_every_event_ends_once_whoever_ends_it(far, seed, tmp_path):
    """Nothing is without an end, nothing has two, and no end is another than the one that was confirmed."""
    fabric = await Fabric.open(far.auth, name="tests")
    await fabric.keep_layout(SHARDS)
    token = await make_token(fabric)
    async with Cable(far.port) as one, Cable(far.port) as two:
        servers = [Server(tmp_path / f"server{number}", nats=far) for number in range(2)]
        try:
            for server, cable in zip(servers, (one, two), strict=True):
                server.settings["CLAWBACK_NATS_URL"] = f"nats://127.0.0.1:{cable.port}"
                await asyncio.to_thread(server.start, CLAWBACK_MASTER_KEY=KEY)
            async with Cable(*(server.port for server in servers)) as front:
                run = Run(servers, front, token, seed)
                tags = [f"t{number}" for number in range(TAGS)]
                working = [asyncio.create_task(run.work(tag), name=f"session {tag}") for tag in tags]
                sending = [asyncio.create_task(run.send(tag), name=f"sender of {tag}") for tag in tags]
                meddling = asyncio.create_task(run.meddle(), name="meddler")
                done = await trouble(run, [one, two])
                run.stopping = True
                await asyncio.gather(*sending, meddling)
                await eventually(lambda: is_empty(fabric), PATIENCE_SECONDS)
                records = await run.history()
                for task in working:
                    task.cancel()
                await asyncio.gather(*working, return_exceptions=True)
        finally:
            for server in servers:
                server.close()
    await fabric.close()
    found = list(violations(run, records))
    ended = Counter(ENDS[record["state"]] for record in records)
    print(f"{dict(done)}; {dict(run.done)}; {len(run.accepted)} accepted; {dict(ended)}")  # noqa: T201 -- asked for

    assert found == []
