"""Refused webhooks: the newest are remembered, and a flood of them costs nothing."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from clawback.fabric import subjects
from clawback.model import Refusal, random_id
from clawback.store import refusals as module
from clawback.store.refusals import BURST, QUEUE_REFUSALS, SECONDS_EACH, Refusals
from waiting import eventually

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        """Tell the time."""
        return self.now


@pytest.fixture
def clock():
    """A clock of the test's own."""
    return Clock()


@pytest.fixture
def refusals(fabric, clock):
    """Refusals on the run's NATS."""
    return Refusals(fabric, clock=clock)


@pytest.fixture
def profile_id():
    """A profile that no other test has."""
    return random_id(16)


def a_refusal(number=1):
    """Make a refusal that can be told from others."""
    return Refusal(NOW, 401, f"reason {number}", "192.0.2.7", f"d{number}")


@asynccontextmanager
async def writing(refusals):
    """Write what is noted, as long as the context lasts."""
    task = asyncio.create_task(refusals.write())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(refusals, profile_id, expected, source_id="src_a"):
    """Wait until a source's refusals have these reasons, newest first; return them all, by source."""

    async def there():
        found = await refusals.of_profile(profile_id)
        return found if [each.reason for each in found.get(source_id, [])] == expected else None

    return await eventually(there)


async def test_a_refusal_comes_back_as_it_was(refusals, profile_id):
    """Every field, under its source, and not for another profile."""
    refusals.note(profile_id, "src_a", a_refusal())
    async with writing(refusals):
        found = await until(refusals, profile_id, ["reason 1"])

    assert found == {"src_a": [a_refusal()]}
    assert await refusals.of_profile(random_id(16)) == {}


async def test_the_newest_twenty_of_each_source_are_kept(refusals, clock, profile_id):
    """The newest first; another source has its own ring."""
    refusals.note(profile_id, "src_b", a_refusal(0))
    for number in range(1, 31):
        clock.now += SECONDS_EACH
        refusals.note(profile_id, "src_a", a_refusal(number))
    async with writing(refusals):
        found = await until(refusals, profile_id, [f"reason {number}" for number in range(30, 10, -1)])

    assert [each.reason for each in found["src_b"]] == ["reason 0"]


async def test_a_flood_is_counted_and_another_source_is_heard(refusals, clock, profile_id):
    """A few at once, then one now and then, which says how many were passed over."""
    for number in range(1000):
        refusals.note(profile_id, "src_a", a_refusal(number))
    refusals.note(profile_id, "src_b", a_refusal())
    clock.now += SECONDS_EACH
    refusals.note(profile_id, "src_a", a_refusal(2000))
    async with writing(refusals):
        found = await until(
            refusals, profile_id, ["reason 2000", *(f"reason {number}" for number in reversed(range(BURST)))]
        )

    assert found["src_a"][0].passed_over == 1000 - BURST
    assert len(found["src_b"]) == 1


async def test_what_waits_is_bounded_whoever_sends(refusals, profile_id):
    """A stranger with many sources of their own fills nothing either."""
    for number in range(QUEUE_REFUSALS * 3):
        refusals.note(profile_id, f"src_{number}", a_refusal())

    assert refusals._waiting.qsize() == QUEUE_REFUSALS


async def test_the_sources_that_are_counted_are_bounded(refusals, monkeypatch, profile_id):
    """The one that was quiet for longest begins anew."""
    monkeypatch.setattr(module, "MAX_SOURCES", 3)
    for name in ("a", "b", "c", "a", "d"):
        refusals.note(profile_id, f"src_{name}", a_refusal())

    assert list(refusals._allowances) == ["src_c", "src_a", "src_d"]


async def test_without_nats_they_are_forgotten_and_the_next_are_written(fresh_natsd, fresh_fabric, profile_id):
    """They are no record, and nobody waits for them."""
    refusals = Refusals(fresh_fabric)
    async with writing(refusals):
        fresh_natsd.kill9()
        await eventually(fresh_fabric.problem)
        refusals.note(profile_id, "src_a", a_refusal(1))
        await eventually(refusals._waiting.empty)
        fresh_natsd.start()
        await eventually(lambda: fresh_fabric.problem() is None, timeout=10)
        refusals.note(profile_id, "src_a", a_refusal(2))

        await until(refusals, profile_id, ["reason 2"])


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff"])
async def test_a_spoilt_one_hides_no_other(fabric, refusals, profile_id, data, caplog):
    """It is left out and logged by number."""
    refusals.note(profile_id, "src_a", a_refusal())
    await fabric.publish(subjects.refused_subject(profile_id, "src_a"), data)
    async with writing(refusals):
        await until(refusals, profile_id, ["reason 1"])

    assert "cannot be read and is left out" in caplog.text
