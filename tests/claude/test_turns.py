"""
Many turns of the real Claude Code that go wrong as turns do: an ack is forgotten, an interrupt comes in between.

CLAUDE_TURNS says how many of each; a few unless it asks for more. What must hold of all of them: no work is done twice,
and no event is put before the model more often than it has to be.
"""

import json
import os
import re
import shutil
from collections import Counter

import pytest

import github as sender
from claude.conftest import GitHub
from claude.model import ANNOUNCED, Obedient, ToolCall, Turn
from clawback.channel.claude import fence
from legacy import LegacyClient
from waiting import eventually

TURNS = int(os.environ.get("CLAUDE_TURNS", "3"))
PATIENCE_SECONDS = 90

SHOWN = re.compile(r'event_ack with event_id="(evt_\w+)"')
HELD = "is not acknowledged yet"
URGENT = "/put-out-the-fire"
TOLD_BEFORE = ("Go on with it where you stopped", "This is a reminder", "an earlier one may have done", HELD)
"""What tells a model that an event is none that it has to begin."""

pytestmark = pytest.mark.timeout(180 + 60 * TURNS)


class Worker:
    """
    A model that works on each event that reads like a new one, and counts that.

    It acknowledges a `forgotten` event only when it is held, and works on an `interrupted` one until the interrupt is
    there; `shown` counts how often an event with its data was put before it, `held` how often it was held.
    """

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.shown: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self.forgets = False
        self.urgent: set[str] = set()
        self._at_work = False
        self._obedient = Obedient()

    def __call__(self, turn: Turn) -> ToolCall | str:
        """Begin, go on, or do as an event says."""
        named, before = set(SHOWN.findall(turn.text)), self.begun.copy()
        for event_id in named:
            self._take_note(event_id, turn.text)
        if self.forgets:
            return self._obedient(turn) if HELD in turn.text or ANNOUNCED in turn.text else "How interesting."
        is_new = any(self.begun[each] > before[each] for each in named - self.urgent)
        self._at_work = is_new or (self._at_work and not named and ANNOUNCED not in turn.text)
        return ("Bash", {"command": "sleep 1"}) if self._at_work else self._obedient(turn)

    def _take_note(self, event_id: str, text: str) -> None:
        self.held[event_id] += HELD in text
        if "-----BEGIN DATA" in text:
            self.shown[event_id] += 1
            known = self.begun[event_id] and fence.AGAIN in text
            self.begun[event_id] += not known and not any(words in text for words in TOLD_BEFORE)
            if URGENT in text:
                self.urgent.add(event_id)


@pytest.fixture(params=["monitor", "inbox"])
def way(request, marketplace):
    """By which way events come to an idle session: the inbox where the plugin has no monitor."""
    if request.param == "inbox":
        shutil.rmtree(marketplace / "plugin/monitors")
    return request.param


@pytest.fixture
async def urgent(server, token, http):
    """GitHub, as a source whose events interrupt."""
    async with LegacyClient(server.socket_url, token.value, "urgency") as client:
        fields = {"routes": {"*": URGENT}, "sessionTag": "(untagged)", "priority": "interrupt"}
        yield GitHub(client, http, await sender.make_source(client, "urgent", **fields))


@pytest.fixture
def worker(model):
    """The model."""
    model.script = Worker()
    return model.script


async def ready(session, model, way):
    """Wait until the session is connected, by the monitor where there is one."""
    await session.connected()
    # The monitor starts beside the server, and may be the later one.
    while way == "monitor" and "The next event goes by the monitor" not in await session.ask(model, "account_info"):
        pass


async def test_forgetful_turns_are_held_once_and_do_nothing_twice(way, installed, model, worker, github):
    """Each event is begun once, held once, and acknowledged then."""
    ended = []
    async with installed as session:
        await ready(session, model, way)
        worker.forgets = True
        for _ in range(TURNS):
            event_id = await github.post()
            ended.append(await eventually(lambda: github.ended(event_id), PATIENCE_SECONDS))  # noqa: B023 -- awaited here
    ids = [each["eventId"] for each in ended]

    assert {(each["state"], each["attempts"]) for each in ended} == {("acked", 1)}
    assert [worker.begun[each] for each in ids] == [1] * TURNS
    assert [worker.shown[each] for each in ids] == [1] * TURNS
    assert [worker.held[each] for each in ids] == [1] * TURNS


async def test_interrupted_turns_are_resumed_and_do_nothing_twice(way, installed, model, worker, github, urgent):
    """The interrupt is done first, and what was interrupted is gone on with, and not begun again."""
    settings = installed.config / "settings.json"
    allowed = json.loads(settings.read_text())
    allowed["permissions"]["allow"].append("Bash(sleep:*)")
    settings.write_text(json.dumps(allowed))
    pairs = []
    async with installed as session:
        await ready(session, model, way)
        for _ in range(TURNS):
            event_id = await github.post()
            await eventually(lambda: worker.begun[event_id], PATIENCE_SECONDS)  # noqa: B023 -- awaited here
            urgent_id = await urgent.post()
            ends = [
                await eventually(lambda: github.ended(each), PATIENCE_SECONDS)  # noqa: B023 -- awaited here
                for each in (urgent_id, event_id)
            ]
            pairs.append(ends)

    assert {each["state"] for pair in pairs for each in pair} == {"acked"}
    assert all(first["completedAt"] <= then["completedAt"] for first, then in pairs)
    assert {each["eventId"]: worker.begun[each["eventId"]] for pair in pairs for each in pair} == {
        each["eventId"]: 1 for pair in pairs for each in pair
    }
