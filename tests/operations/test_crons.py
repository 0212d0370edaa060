"""Crons: made, changed, listed, deleted, and whose they are."""

from datetime import UTC, datetime, timedelta

import pytest

from clawback import wire
from clawback.errors import NotFound, Rejected
from clawback.model import Missed, Overlap, Priority
from clawback.operations import perform


def nightly(**fields):
    """Ask for a cron."""
    return wire.CronCreate(request_id="1", **({"schedule": "30 2 * * MON-FRI", "prompt": "/tidy"} | fields))


async def listed(services, caller):
    """List a caller's crons."""
    return await perform(services, caller, wire.CronList(request_id="1"))


async def test_a_cron_is_answered_as_the_protocol_says(services, alice):
    """With its zone and the next three runs, by the clock of that zone."""
    answer = await perform(
        services,
        alice,
        nightly(
            label="tidy",
            session_tag="reviews",
            priority=Priority.PRIORITY,
            timezone="Europe/Berlin",
            missed=Missed.ALL,
            overlap=Overlap.SKIP,
            jitter_seconds=30,
        ),
    )
    runs = [datetime.fromisoformat(run) for run in answer["nextRuns"]]

    assert answer == {
        "id": answer["id"],
        "schedule": "30 2 * * MON-FRI",
        "prompt": "/tidy",
        "label": "tidy",
        "sessionTag": "reviews",
        "priority": "priority",
        "timezone": "Europe/Berlin",
        "missed": "all",
        "overlap": "skip",
        "jitterSeconds": 30,
        "nextRunAt": runs[0].astimezone(UTC),
        "nextRuns": answer["nextRuns"],
        "setBy": "session:deploys",
    }
    assert len(runs) == 3
    assert {run.utcoffset() for run in runs} <= {timedelta(hours=1), timedelta(hours=2)}
    assert await listed(services, alice) == [answer]


async def test_what_was_not_given_is_the_default(services, alice, charlie):
    """The caller's session, UTC, and no nulls."""
    tagged, untagged = await perform(services, alice, nightly()), await perform(services, charlie, nightly())

    assert (tagged["sessionTag"], tagged["timezone"]) == ("deploys", "UTC")
    assert set(untagged) == {
        "id", "schedule", "prompt", "priority", "timezone", "missed", "overlap", "nextRunAt", "nextRuns", "setBy"
    }  # fmt: skip


async def test_once_is_read_in_the_zone(services, alice):
    """Nine o'clock there; with an offset it means that."""
    there = await perform(services, alice, nightly(schedule=None, once="2035-07-01T09:00", timezone="Europe/Berlin"))
    here = await perform(services, alice, nightly(schedule=None, once="2035-07-01T09:00:00Z", timezone="Asia/Tokyo"))

    assert there["once"] == there["nextRunAt"] == datetime(2035, 7, 1, 7, tzinfo=UTC)
    assert there["nextRuns"] == ["2035-07-01T09:00:00+02:00"]
    assert here["nextRuns"] == ["2035-07-01T18:00:00+09:00"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"schedule": "30 2 31 2 *"}, "can never be due: its day of month reads '31'"),
        ({"schedule": "0 0 * * * *"}, "it has 6 fields"),
        ({"schedule": "@reboot"}, "accepted are @hourly"),
        ({"timezone": "Mars/Olympus"}, "timezone refused"),
        ({"schedule": None}, "give either schedule .* or once"),
        ({"once": "2035-01-01T00:00"}, "give either schedule .* or once"),
        ({"schedule": None, "once": "tomorrow"}, "once refused, read 'tomorrow': accepted is a time such as"),
        ({"schedule": None, "once": "2001-01-01T00:00"}, "once refused, it has passed"),
        ({"prompt": " "}, "the prompt is empty"),
        ({"prompt": "x" * 20_000}, "prompt has 20000 bytes"),
        ({"label": "x" * 201}, "label has 201 characters"),
        ({"jitter_seconds": 3601}, "jitterSeconds refused, read 3601: accepted is 0 to 3600"),
        ({"jitter_seconds": -1}, "jitterSeconds refused"),
        ({"session_tag": "a b"}, "a tag is letters"),
    ],
)
async def test_a_wrong_field_is_refused_and_nothing_is_made(services, alice, fields, said):
    """With what was read and what is accepted; in a change as well, where a cron has them all."""
    with pytest.raises(Rejected, match=said):
        await perform(services, alice, nightly(**fields))

    assert await listed(services, alice) == []


async def test_a_change_keeps_the_rest(services, alice):
    """Each given field is new, the others stay; a schedule takes the place of a time."""
    made = await perform(services, alice, nightly(schedule=None, once="2035-01-01T00:00", label="tidy"))
    changed = await perform(
        services,
        alice,
        wire.CronUpdate(request_id="2", cron_id=made["id"], schedule="0 5 * * *", timezone="Asia/Tokyo", label=""),
    )

    assert set(made) - set(changed) == {"once", "label"}
    assert (changed["schedule"], changed["timezone"], changed["prompt"]) == ("0 5 * * *", "Asia/Tokyo", "/tidy")
    assert changed["nextRuns"][0].endswith("T05:00:00+09:00")
    with pytest.raises(Rejected, match="nothing to change"):
        await perform(services, alice, wire.CronUpdate(request_id="3", cron_id=made["id"]))
    with pytest.raises(Rejected, match="its hour reads '25'"):
        await perform(services, alice, wire.CronUpdate(request_id="4", cron_id=made["id"], schedule="0 25 * * *"))
    assert await listed(services, alice) == [changed]


async def test_a_paused_cron_shows_no_runs_until_it_is_resumed(services, alice):
    """Paused twice it is paused."""
    made = await perform(services, alice, nightly())
    for _ in range(2):
        paused = await perform(services, alice, wire.CronPause(request_id="2", cron_id=made["id"]))
        assert (paused["paused"], paused["nextRuns"], "nextRunAt" in paused) == (True, [], False)
    resumed = await perform(services, alice, wire.CronResume(request_id="3", cron_id=made["id"]))

    assert resumed == made


async def test_run_now_stores_an_event_each_time(services, alice):
    """Its schedule stays."""
    made = await perform(services, alice, nightly())
    first, second = [await perform(services, alice, wire.CronRunNow(request_id="2", cron_id=made["id"])) for _ in "ab"]
    waiting = await perform(services, alice, wire.EventList(request_id="3"))

    assert [each["eventId"] for each in waiting] == [first["eventId"], second["eventId"]]
    assert {each["source"] for each in waiting} == {"cron"}
    assert {name: value for name, value in first.items() if name != "eventId"} == made


async def test_a_deleted_cron_is_gone(services, alice):
    """For good, and once."""
    made = await perform(services, alice, nightly())
    delete = wire.CronDelete(request_id="2", cron_id=made["id"])

    assert await perform(services, alice, delete) == {"removed": True}
    assert await perform(services, alice, delete) == {"removed": False}
    assert await listed(services, alice) == []


async def test_anothers_cron_does_not_exist(services, alice, charlie):
    """Nor does one whose id is anybody's text."""
    made = await perform(services, alice, nightly())
    for cron_id in (made["id"], "*", "a.b", ""):
        for request in (
            wire.CronUpdate(request_id="1", cron_id=cron_id, prompt="mine"),
            wire.CronPause(request_id="1", cron_id=cron_id),
            wire.CronResume(request_id="1", cron_id=cron_id),
            wire.CronRunNow(request_id="1", cron_id=cron_id),
        ):
            with pytest.raises(NotFound, match="there is no cron"):
                await perform(services, charlie, request)
        assert await perform(services, charlie, wire.CronDelete(request_id="1", cron_id=cron_id)) == {"removed": False}

    assert await listed(services, charlie) == []
    assert await listed(services, alice) == [made]
