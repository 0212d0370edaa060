import pytest

from clawback.errors import Unavailable
from clawback.fabric import layout
from clawback.fabric.streams import Fabric

KEPT_FOR_EVER = {"DEAD", "LATER", "STACK"}
"""Beside the streams of events."""


async def config_of(fabric: Fabric, stream: str) -> dict:
    """Read a stream's configuration from NATS."""
    return (await fabric.api(f"STREAM.INFO.{stream}", {}))["config"]


async def all_configs(fabric: Fabric) -> dict[str, dict]:
    """Read every stream's configuration from NATS."""
    listed = await fabric.api("STREAM.LIST", {})
    return {each["config"]["name"]: each["config"] for each in listed["streams"]}


async def test_nats_takes_every_stream_as_it_is_written(fresh_fabric):
    """Whatever we ask for is what NATS has, name by name and field by field."""
    configs = await all_configs(fresh_fabric)
    wanted = layout.streams(2, 1)

    assert {each["name"] for each in wanted} == set(configs)
    for each in wanted:
        differing = {
            field: configs[each["name"]].get(field)
            for field, value in each.items()
            if configs[each["name"]].get(field) != value
        }
        assert not differing


async def test_what_waits_has_no_age(fresh_fabric):
    """However long nobody comes: events, what sessions hold, what is deferred and dead letters are never forgotten."""
    configs = await all_configs(fresh_fabric)
    waiting = {name: config for name, config in configs.items() if name.startswith("EVT") or name in KEPT_FOR_EVER}

    assert len(waiting) > len(KEPT_FOR_EVER)
    assert {name: config["max_age"] for name, config in waiting.items() if config["max_age"]} == {}
    assert {config["discard"] for name, config in waiting.items() if name.startswith(("EVT", "DEAD"))} == {"new"}


async def test_nothing_that_waits_makes_room_for_something_new(fresh_fabric):
    """A stream that discards the oldest when it is full is never full: a bound that somebody set is taken off."""
    for name in ("EVT0", "LATER"):
        right = await config_of(fresh_fabric, name)
        changed = await fresh_fabric.api(f"STREAM.UPDATE.{name}", right | {"max_bytes": 99})
        assert changed["config"]["max_bytes"] == 99
    await layout.ensure(fresh_fabric, 2, 1)
    configs = await all_configs(fresh_fabric)
    waiting = [config for name, config in configs.items() if name.startswith("EVT") or name in KEPT_FOR_EVER]

    assert {config["max_bytes"] for config in waiting} == {config["max_msgs"] for config in waiting} == {-1}
    assert {config["name"] for config in waiting if config["discard"] == "old"} == {"LATER", "STACK"}
    assert configs["LATER"]["max_msgs_per_subject"] == -1


async def test_ensuring_again_changes_nothing(fresh_fabric):
    """A second start finds streams, configuration and messages as they were."""
    before = await all_configs(fresh_fabric)
    await fresh_fabric.publish("seen.p.e", b"")
    await layout.ensure(fresh_fabric, 2, 1)

    assert await all_configs(fresh_fabric) == before
    assert await fresh_fabric.counts("SEEN", "seen.>") == {"seen.p.e": 1}


async def test_a_stream_that_differs_is_brought_in_line(fresh_fabric):
    """A bound that somebody changed, or an older version set, is ours again, and no message is lost by it."""
    right = await config_of(fresh_fabric, "HIST")
    await fresh_fabric.publish("hist.p._", b"{}")
    changed = await fresh_fabric.api("STREAM.UPDATE.HIST", right | {"max_msgs_per_subject": 7})
    assert changed["config"]["max_msgs_per_subject"] == 7
    await layout.ensure(fresh_fabric, 2, 1)

    assert await config_of(fresh_fabric, "HIST") == right
    assert await fresh_fabric.counts("HIST", "hist.>") == {"hist.p._": 1}


async def test_events_are_not_republished_any_more(fresh_fabric):
    """An older version had NATS wake the sessions, which made it keep each body in memory for ten seconds."""
    right = await config_of(fresh_fabric, "EVT0")
    old = {"republish": {"src": "evt.0.>", "dest": "wake.0.>", "headers_only": True}}
    changed = await fresh_fabric.api("STREAM.UPDATE.EVT0", right | old)
    assert "republish" in changed["config"]
    await layout.ensure(fresh_fabric, 2, 1)

    assert await config_of(fresh_fabric, "EVT0") == right
    assert "republish" not in right


async def test_a_stream_that_cannot_be_is_named(fresh_fabric):
    """A drift that NATS does not let us mend (here: memory to file) names the stream and NATS's reason."""
    wrong = next(each for each in layout.streams(0, 1) if each["name"] == "STACK") | {"storage": "memory"}
    await fresh_fabric.api("STREAM.DELETE.STACK", {})
    await fresh_fabric.api("STREAM.CREATE.STACK", wrong)
    with pytest.raises(Unavailable, match=r"NATS refused stream STACK: .*storage"):
        await layout.ensure(fresh_fabric, 2, 1)


async def test_more_than_a_thousand_consumers_fit_a_stream(fresh_fabric):
    """NATS's own bound of 1,000, which stops three lines a session at 333 sessions, does not hold here."""
    config = await config_of(fresh_fabric, "EVT0")

    assert config["max_consumers"] == layout.MAX_CONSUMERS
