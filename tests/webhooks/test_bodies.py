"""The bodies in memory: who may hold how much, and who gives way."""

import pytest

from clawback.webhooks import bodies as module
from clawback.webhooks.bodies import SMALL_BYTES, Bodies, BodiesFull, Body, TooSlow
from waiting import eventually

MIB = 1024 * 1024
BOUND = 16 * MIB


class Crowd:
    """Bodies of senders, and which of them were stopped."""

    def __init__(self) -> None:
        self.bodies = Bodies(BOUND)
        self.stopped: list[tuple[str, str, Exception]] = []

    def sends(self, source, address, size, *, whole=False) -> Body:
        """Have a body come in pieces of 256 KiB."""
        body = Body(source, address, lambda error: self.stopped.append((source, address, error)))
        left = size
        try:
            while left > 0:
                self.bodies.add(body, min(left, 256 * 1024))
                left -= 256 * 1024
        except BodiesFull:
            self.bodies.leave(body)
            raise
        body.whole = whole
        return body


@pytest.fixture
async def crowd():
    """A crowd under a bound of 16 MiB, with all its timers ended."""
    crowd = Crowd()
    yield crowd
    for body in list(crowd.bodies._large):
        crowd.bodies.leave(body)


async def test_a_source_has_its_share_and_no_more(crowd):
    """A stranger who knows one URL holds half; what is above is refused, whatever address it comes from."""
    for number in range(8):
        crowd.sends("mine", f"192.0.2.{number}", MIB)
    with pytest.raises(BodiesFull, match="this source"):
        crowd.sends("mine", "192.0.2.1", 2 * MIB)
    crowd.sends("theirs", "198.51.100.1", 2 * MIB)

    assert [each[0] for each in crowd.stopped if each[0] != "mine"] == []


@pytest.mark.parametrize("addresses", [["192.0.2.1"] * 9, [f"2001:db8::{number}" for number in range(9)]])
async def test_an_address_has_its_share_and_no_more(crowd, addresses):
    """One address, or one /64, that sends to many sources: what is above is one of its own that gives way."""
    for number, address in enumerate(addresses):
        crowd.sends(f"source-{number}", address, MIB)
    [(_, _, error)] = crowd.stopped

    assert "your address" in str(error)
    assert max(crowd.bodies._by_block.values()) == BOUND // 2


async def test_the_largest_holder_gives_way(crowd):
    """Where strangers filled it together, another's large body comes in and one of theirs is refused."""
    for number in range(14):
        crowd.sends(f"source-{number % 2}", f"192.0.2.{number % 2}", MIB)
    crowd.sends("mine", "198.51.100.1", 3 * MIB)

    assert {each[0] for each in crowd.stopped} <= {"source-0", "source-1"}
    assert len(crowd.stopped) >= 2
    assert all(isinstance(error, BodiesFull) for *_, error in crowd.stopped)


async def test_of_a_full_source_the_address_with_most_gives_way(crowd):
    """Its real sender is not kept out by whoever learned its URL."""
    for number in range(7):
        crowd.sends("mine", f"192.0.2.{number % 2}", MIB)
    crowd.sends("mine", "198.51.100.1", 2 * MIB)

    assert [address for _, address, _ in crowd.stopped] != []
    assert "198.51.100.1" not in {address for _, address, _ in crowd.stopped}


async def test_a_small_body_always_finds_room(crowd):
    """What is no more than small goes into the reserve, whoever holds the rest."""
    for number in range(14):
        crowd.sends(f"source-{number}", f"192.0.2.{number}", MIB, whole=True)
    for _ in range(2 * MIB // SMALL_BYTES):
        body = Body("mine", "198.51.100.1", lambda _: None)
        crowd.bodies.add(body, SMALL_BYTES)
    with pytest.raises(BodiesFull):
        crowd.sends("mine", "198.51.100.1", MIB)

    assert not crowd.stopped


async def test_what_is_whole_is_never_given_up(crowd):
    """It is being stored: the newcomer is refused."""
    for number in range(14):
        crowd.sends(f"source-{number % 2}", f"192.0.2.{number % 2}", MIB, whole=True)
    with pytest.raises(BodiesFull):
        crowd.sends("mine", "198.51.100.1", MIB)

    assert not crowd.stopped


async def test_what_is_over_leaves_nothing(crowd):
    """No bytes and no names."""
    for each in [crowd.sends(f"source-{number}", f"192.0.2.{number}", MIB) for number in range(10)]:
        crowd.bodies.leave(each)
        crowd.bodies.leave(each)

    assert crowd.bodies._bytes == 0
    assert not crowd.bodies._large
    assert not crowd.bodies._by_source
    assert not crowd.bodies._by_block


async def test_a_large_body_that_stalls_is_ended(crowd, monkeypatch):
    """One that goes on is not, nor one that is whole."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    crowd.sends("whole", "192.0.2.1", MIB, whole=True)
    going = crowd.sends("going", "192.0.2.2", MIB)
    crowd.sends("stalled", "192.0.2.3", MIB)

    async def goes_on():
        crowd.bodies.add(going, 40 * 1024)
        return crowd.stopped

    await eventually(goes_on)

    assert [(source, type(error)) for source, _, error in crowd.stopped] == [("stalled", TooSlow)]
