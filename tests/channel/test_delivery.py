"""Delivery: what happens between a connection and a journal that another process leaves behind."""

import asyncio

from clawback import wire
from clawback.channel.claude.reach import Reach
from clawback.channel.delivery import Delivery
from clawback.channel.settings import PluginConfig
from waiting import eventually

EVENT = wire.EventFrame(id="evt_1", content="/review", meta={"priority": "normal", "attempt": "1"})


class Connection:
    """One that confirms every ack."""

    def __init__(self) -> None:
        self.acked: list[str] = []

    async def ask(self, ack: wire.Ack) -> None:
        """Take an ack."""
        self.acked.append(ack.event_id)


def make_delivery(name: str, shown: list | None = None) -> Delivery:
    """Make the delivery of one process of the session `builds`."""

    async def emit(emission) -> None:
        if shown is not None:
            shown.append(emission.meta)

    return Delivery("builds", name, Reach(emit, {}, 0), lambda _text, _about: None)


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
