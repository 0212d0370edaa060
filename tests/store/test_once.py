"""What may happen once: of many that try, one does, on whatever server."""

import asyncio

import pytest

from clawback.errors import Conflict
from clawback.fabric import subjects
from clawback.model import random_id
from clawback.store.once import Once, _key
from waiting import eventually

TTL_SECONDS = 60.0


@pytest.fixture
def name():
    """A name that no other test uses."""
    return random_id()


async def test_a_name_is_used_up_by_one(fabric, name):
    """Of ten at the same moment, and of those that come later; another kind has names of its own."""
    once = Once(fabric)
    used = await asyncio.gather(*(once.use("a", name, TTL_SECONDS) for _ in range(10)))

    assert sorted(used) == [False] * 9 + [True]
    assert not await once.use("a", name, TTL_SECONDS)
    assert await once.use("b", name, TTL_SECONDS)
    assert (await once.is_used("a", name), await once.is_used("c", name)) == (True, False)


async def test_a_value_is_taken_by_one(fabric, name):
    """Of ten at the same moment; those that come later find nothing, and cannot put it again."""
    once = Once(fabric)
    await once.put("a", name, b"value", TTL_SECONDS)
    taken = await asyncio.gather(*(once.take("a", name, TTL_SECONDS) for _ in range(10)))

    assert [value for value in taken if value is not None] == [b"value"]
    assert await once.take("a", name, TTL_SECONDS) is None
    with pytest.raises(Conflict):
        await once.put("a", name, b"again", TTL_SECONDS)


async def test_what_was_never_put_is_not_there(fabric, name):
    """And a name that was used up holds nothing to take."""
    once = Once(fabric)
    await once.use("a", name, TTL_SECONDS)

    assert await once.take("a", name, TTL_SECONDS) is None
    assert await once.take("a", random_id(), TTL_SECONDS) is None


async def test_a_value_is_gone_when_its_time_is_over(fabric, name):
    """NATS forgets it by itself."""
    once = Once(fabric)
    await once.put("a", name, b"value", 1.0)

    async def gone():
        return await fabric.get("KV_once", subject=_key("a", name)) is None

    await eventually(gone)
    assert await once.take("a", name, TTL_SECONDS) is None


async def test_the_name_is_not_at_rest(fabric, name):
    """A name is a secret: there is its hash."""
    await Once(fabric).put("a", name, b"value", TTL_SECONDS)
    stored = [each async for page in fabric.pages("KV_once", subjects.once_subject("a", "*")) for each in page]

    assert stored
    assert all(name not in f"{each.subject} {each.headers} {each.data!r}" for each in stored)
