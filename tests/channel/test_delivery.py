"""Delivery: what happens between a connection and a journal that another process leaves behind."""

import asyncio

import anyio
from msgspec import structs

from clawback import wire
from clawback.channel.acks import MAX_SENDING
from clawback.channel.claude.reach import Reach
from clawback.channel.delivery import Delivery
from clawback.channel.settings import PluginConfig
from waiting import eventually

EVENT = wire.EventFrame(id="evt_1", content="/review", meta={"priority": "normal", "attempt": "1"})


class Connection:
    """One that confirms every ack."""

    def __init__(self) -> None:
        self.acked: list[str] = []
        self.most_at_once = 0
        self._asked = 0

    async def ask(self, ack: wire.Ack) -> None:
        """Take an ack."""
        self._asked += 1
        self.most_at_once = max(self.most_at_once, self._asked)
        await asyncio.sleep(0)
        self.acked.append(ack.event_id)
        self._asked -= 1


def make_delivery(name: str, shown: list | None = None) -> Delivery:
    """Make the delivery of one process of the session `builds`."""

    async def emit(emission) -> None:
        if shown is not None:
            shown.append(emission.meta)

    return Delivery("builds", name, Reach(emit, {}, 0), lambda _text, _about: None, lambda _config: False)


async def test_an_ack_of_a_process_that_died_while_this_one_connected_is_handed_in(tmp_path):
    """It was not in `auth`, since its process still lived then; its event is not shown again all the same."""
    config = PluginConfig("ws://127.0.0.1:1/ws", "cbt_planted", data_dir=str(tmp_path))
    former, latter, connection = make_delivery("former"), make_delivery("latter"), Connection()
    former.introduce(config)
    former.received(EVENT)
    former.acknowledge(EVENT.id, "done")
    auth = latter.introduce(config)
    former.close()
    latter.opened(connection, auth, wire.AuthOk(role="active"))
    latter.received(EVENT)
    await eventually(lambda: connection.acked)
    latter.close()

    assert auth.acked == ()
    assert latter.held == []
    assert set(connection.acked) == {EVENT.id}


async def test_what_moved_before_it_was_shown_is_not_shown(tmp_path):
    """Nor is Claude told to leave it; what comes after it is shown as ever."""
    config = PluginConfig("ws://127.0.0.1:1/ws", "cbt_planted", data_dir=str(tmp_path))
    shown = []
    delivery = make_delivery("one", shown)
    delivery.introduce(config)
    delivery.received(EVENT)
    delivery.received(wire.Role("standby"))
    delivery.received(wire.Role("active"))
    delivery.received(wire.EventFrame(id="evt_2", content="/review", meta={"priority": "normal", "attempt": "1"}))
    showing = asyncio.create_task(delivery.run())
    await eventually(lambda: shown)
    showing.cancel()
    delivery.close()

    assert [meta["event_id"] for meta in shown] == ["evt_2"]


async def test_what_moved_while_this_session_was_away_is_left(tmp_path):
    """A connection that begins as standby says so of what is held, as a change of role does; an ack still counts."""
    config = PluginConfig("ws://127.0.0.1:1/ws", "cbt_planted", data_dir=str(tmp_path))
    shown, connection = [], Connection()
    delivery = make_delivery("one", shown)
    showing = asyncio.create_task(delivery.run())
    delivery.opened(Connection(), delivery.introduce(config), wire.AuthOk(role="active"))
    delivery.received(EVENT)
    await eventually(lambda: shown)
    delivery.closed()
    delivery.opened(connection, delivery.introduce(config), wire.AuthOk(role="standby"))
    await eventually(lambda: len(shown) == 2)
    held = delivery.held
    answer = delivery.acknowledge(EVENT.id, "finished all the same")
    await eventually(lambda: connection.acked)
    showing.cancel()
    delivery.close()

    assert "moved" not in shown[0]
    assert shown[1]["moved"] == "true"
    assert held == []
    assert "your ack ends it there" in answer.text
    assert connection.acked == [EVENT.id]


async def test_what_was_never_shown_is_not_retracted(tmp_path):
    """It could not be written to Claude Code, so there is nothing to leave."""
    config = PluginConfig("ws://127.0.0.1:1/ws", "cbt_planted", data_dir=str(tmp_path))
    tried, shown = [], []

    async def emit(emission) -> None:
        tried.append(emission.meta)
        if len(tried) == 1:
            raise anyio.BrokenResourceError
        shown.append(emission.meta)

    delivery = Delivery("builds", "one", Reach(emit, {}, 0), lambda _text, _about: None, lambda _config: False)
    showing = asyncio.create_task(delivery.run())
    delivery.introduce(config)
    delivery.received(EVENT)
    await eventually(lambda: tried)
    delivery.received(wire.Role("standby"))
    delivery.received(wire.EventFrame(id="evt_2", content="/review", meta={"priority": "normal", "attempt": "1"}))
    await eventually(lambda: shown)
    showing.cancel()
    delivery.close()

    assert [meta["event_id"] for meta in shown] == ["evt_2"]


async def test_more_acks_than_one_frame_has_room_for_are_all_handed_in(tmp_path):
    """The newest with `auth`, the others behind it, a few at a time."""
    config = PluginConfig("ws://127.0.0.1:1/ws", "cbt_planted", data_dir=str(tmp_path))
    kept = [f"evt_{number}" for number in range(1, 401)]
    former, latter, connection = make_delivery("former"), make_delivery("latter"), Connection()
    former.introduce(config)
    for event_id in kept:
        former.received(structs.replace(EVENT, id=event_id))
        former.acknowledge(event_id, "\u00e9" * wire.MAX_SUMMARY_CHARACTERS)
    former.close()
    auth = latter.introduce(config)
    with_auth = [ack.event_id for ack in auth.acked]
    latter.opened(connection, auth, wire.AuthOk(role="active"))
    await eventually(lambda: len(with_auth) + len(connection.acked) == len(kept))
    await eventually(lambda: latter.introduce(config).acked == ())
    latter.close()

    assert len(wire.encode(auth)) < wire.MAX_AUTH_BYTES
    assert 10 < len(with_auth) < len(kept)
    assert [*connection.acked, *with_auth] == kept
    assert connection.most_at_once <= MAX_SENDING
