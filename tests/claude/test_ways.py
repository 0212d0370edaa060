"""Events that reach the real Claude Code while channels are switched off, as they are for these tests."""

import json
import shutil

import pytest

from claude.model import PREFIX, Obedient, ToolCall, Turn
from processes import CLAWBACK
from waiting import eventually

pytestmark = pytest.mark.timeout(180)

PATIENCE_SECONDS = 60


class Forgetful:
    """A model that takes note of events and acknowledges none, until it is told `reminder`."""

    def __init__(self, reminder: str) -> None:
        self._reminder = reminder
        self._reminded = False
        self._obedient = Obedient()

    def __call__(self, turn: Turn) -> ToolCall | str:
        """Say that it is fine, or do as it should."""
        self._reminded = self._reminded or self._reminder in turn.text
        return self._obedient(turn) if self._reminded else "How interesting."


@pytest.fixture
def unmonitored(marketplace):
    """A plugin without its monitor: what goes to an idle session goes by the inbox."""
    shutil.rmtree(marketplace / "plugin/monitors")


async def test_an_event_comes_by_the_monitor_is_seen_and_is_acknowledged(installed, model, github):
    """The monitor announces it to an idle session, the model reads it with event_next: nobody types anything."""
    async with installed as session:
        await session.connected()
        # The monitor starts beside the server, and may be the later one.
        while "The next event goes by the monitor" not in await session.ask(model, "account_info"):
            pass
        model.calls.clear()
        model.results.clear()
        event_id = await github.post()
        await eventually(lambda: github.is_in(event_id, "claimed"), PATIENCE_SECONDS)
        ended = await eventually(lambda: github.ended(event_id), PATIENCE_SECONDS)
        told = await session.ask(model, "account_info")
        examined = json.loads(await installed.run("doctor", "--json", program=CLAWBACK))

    way = "Events reach Claude by the monitor, as was seen (CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"
    assert ended["state"] == "acked"
    assert "<task-notification>" in model.told(event_id).text
    assert [name for name, _ in model.calls][:2] == [PREFIX + "event_next", PREFIX + "event_ack"]
    assert "/review\n\nBetween the markers" in model.told("-----BEGIN DATA").text
    assert way in told
    assert [way in each["found"] for each in examined if each["check"] == "way"] == [True]


@pytest.mark.usefixtures("unmonitored")
async def test_an_event_comes_by_the_inbox_is_seen_and_is_acknowledged(installed, model, github):
    """Whole, the order first, and once."""
    async with installed as session:
        await session.connected()
        event_id = await github.post()
        ended = await eventually(lambda: github.ended(event_id), PATIENCE_SECONDS)
        told = await session.ask(model, "account_info")

    assert ended["state"] == "acked"
    assert "Another Claude session sent a message:\n/review\n\n" in model.told(event_id).text
    assert sum("-----BEGIN DATA" in turn.text for turn in model.turns) == 1
    assert "Events reach Claude by the inbox, as was seen" in told


@pytest.mark.usefixtures("unmonitored")
async def test_a_turn_that_forgot_its_ack_is_held_once(installed, model, github):
    """The Stop hook names the event; the model acknowledges it then."""
    model.script = Forgetful("is not acknowledged yet")
    async with installed as session:
        await session.connected()
        event_id = await github.post()
        ended = await eventually(lambda: github.ended(event_id), PATIENCE_SECONDS)

    held = [turn for turn in model.turns if "is not acknowledged yet" in turn.text]
    assert ended["state"] == "acked"
    assert "From Clawback, a webhook to /github, pull_request.opened" in held[0].text
    assert f'event_ack with event_id="{event_id}"' in held[0].text
    assert len(held) == 1


@pytest.mark.usefixtures("unmonitored")
async def test_after_clear_the_event_is_shown_again(installed, model, github):
    """A model that was held, and did not acknowledge all the same, is shown the event in the new session."""
    model.script = Forgetful("<command-name>/clear</command-name>")
    async with installed as session:
        await session.connected()
        event_id = await github.post()
        await eventually(lambda: model.told("is not acknowledged yet"), PATIENCE_SECONDS)
        await eventually(session.is_idle, PATIENCE_SECONDS)
        await session.type("/clear")
        ended = await eventually(lambda: github.ended(event_id), PATIENCE_SECONDS)

    assert ended["state"] == "acked"
    assert ended["attempts"] == 1
    assert sum("-----BEGIN DATA" in turn.text for turn in model.turns) == 2


@pytest.mark.usefixtures("unmonitored")
async def test_an_event_that_comes_during_a_turn_is_seen_in_it(installed, model, github):
    """It rides with the result of a tool, and the transcript proves it while the turn goes on."""
    at_work = Obedient()

    def script(turn: Turn) -> ToolCall | str:
        return ("Bash", {"command": "sleep 3"}) if turn.text.endswith("work a little") else at_work(turn)

    model.script = script
    settings = installed.config / "settings.json"
    allowed = json.loads(settings.read_text())
    allowed["permissions"]["allow"].append("Bash(sleep:*)")
    settings.write_text(json.dumps(allowed))
    async with installed as session:
        await session.connected()
        await session.type("work a little")
        await eventually(lambda: model.calls, PATIENCE_SECONDS)
        event_id = await github.post()
        ended = await eventually(lambda: github.ended(event_id), PATIENCE_SECONDS)
        told = await session.ask(model, "account_info")

    assert ended["state"] == "acked"
    assert "Events reach Claude by the inbox, as was seen" in told
