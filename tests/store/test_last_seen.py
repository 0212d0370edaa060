"""When tokens were last seen, to the hour."""

from datetime import UTC, datetime, timedelta

from clawback.model import TokenRecord, new_id, random_id
from clawback.store.last_seen import LastSeen
from waiting import eventually

NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)


def token(profile_id):
    """Make a token's record."""
    return TokenRecord(new_id("tok"), profile_id, NOW)


async def test_the_last_time_is_kept_to_the_hour(fabric):
    """Within an hour nothing is written; after it, the new time."""
    last_seen, seen = LastSeen(fabric), token(random_id(16))
    await last_seen.note(seen, NOW)
    await last_seen.note(seen, NOW + timedelta(minutes=59))
    within = await last_seen.of_profile(seen.profile_id)
    await last_seen.note(seen, NOW + timedelta(minutes=60))
    after = await last_seen.of_profile(seen.profile_id)

    assert within == {seen.id: NOW}
    assert after == {seen.id: NOW + timedelta(minutes=60)}


async def test_every_server_sees_what_any_wrote(fabric):
    """The times are in NATS, those of a profile together and apart from all others."""
    mine, other = token(random_id(16)), token(random_id(16))
    also_mine = token(mine.profile_id)
    for each in (mine, also_mine, other):
        await LastSeen(fabric).note(each, NOW)

    assert await LastSeen(fabric).of_profile(mine.profile_id) == {mine.id: NOW, also_mine.id: NOW}
    assert await LastSeen(fabric).of_profile(random_id(16)) == {}


async def test_a_time_that_cannot_be_written_keeps_nobody_out(fresh_natsd, fresh_fabric):
    """With NATS gone it is written at the next occasion instead."""
    last_seen, seen = LastSeen(fresh_fabric), token(random_id(16))
    generation = fresh_fabric.generation
    fresh_natsd.kill9()
    await last_seen.note(seen, NOW)
    fresh_natsd.start()
    await eventually(lambda: fresh_fabric.generation > generation and fresh_fabric.problem() is None)
    await last_seen.note(seen, NOW + timedelta(seconds=1))

    assert await last_seen.of_profile(seen.profile_id) == {seen.id: NOW + timedelta(seconds=1)}
