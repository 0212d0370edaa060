"""`/api/v1/crons`."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

MORNING = {"schedule": "0 9 * * MON-FRI", "prompt": "look", "timezone": "Europe/Berlin"}


async def test_every_answer_shows_the_zone_and_the_next_three_runs(api):
    """So that whoever asked can check what was understood."""
    made = await api.ask("POST", "/crons", json=MORNING | {"label": "morning", "sessionTag": "builds"})
    path = f"/crons/{made.json()['id']}"
    shown = await api.ask("GET", path)
    changed = await api.ask("PATCH", path, json={"timezone": "Asia/Kolkata"})
    (listed,) = (await api.ask("GET", "/crons")).json()["items"]

    assert made.status_code == 201
    assert made.headers["location"] == f"/api/v1{path}"
    assert shown.json() == made.json()
    assert listed == changed.json()
    for cron, zone in ((made.json(), "Europe/Berlin"), (changed.json(), "Asia/Kolkata")):
        runs = [datetime.fromisoformat(run) for run in cron["nextRuns"]]
        assert cron["timezone"] == zone
        assert len(runs) == 3
        for run in runs:
            assert run.hour == 9
            assert run.utcoffset() == run.astimezone(ZoneInfo(zone)).utcoffset()
        assert datetime.fromisoformat(cron["nextRunAt"]) == runs[0]


async def test_a_cron_is_paused_resumed_run_and_deleted(house, api):
    """Its event comes to the session like any other."""
    peer = await house.connect()
    path = f"/crons/{(await api.ask('POST', '/crons', json=MORNING)).json()['id']}"
    paused = await api.ask("POST", f"{path}/pause")
    resumed = await api.ask("POST", f"{path}/resume")
    run = await api.ask("POST", f"{path}/run")
    event = await peer.frame("event")
    gone = [(await api.ask("DELETE", path)).status_code for _ in range(2)]

    assert (paused.json()["paused"], "nextRunAt" in paused.json()) == (True, False)
    assert ("paused" in resumed.json(), len(resumed.json()["nextRuns"])) == (False, 3)
    assert (event["id"], event["content"]) == (run.json()["eventId"], "look")
    assert gone == [204, 404]
    for method, action in (("GET", ""), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/run")):
        assert (await api.ask(method, path + action)).status_code == 404
    assert (await api.ask("PATCH", path, json={"prompt": "x"})).status_code == 404


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schedule": "0 9 * * * *"}, "five fields"),
        ({"schedule": "30 2 31 2 *"}, "never"),
        ({"schedule": None}, "schedule"),
        ({"once": "2035-01-01T00:00"}, "not both"),
        ({"timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"prompt": "  "}, "prompt is empty"),
        ({"jitterSeconds": -1}, "$.jitterSeconds"),
        ({"missed": "some"}, "'some'"),
        ({"label": "x" * 201}, "$.label"),
        ({"priorty": "normal"}, "unknown field `priorty`"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_made(api, change, why):
    """With what is accepted."""
    answer = await api.ask("POST", "/crons", json=MORNING | change)

    assert answer.status_code == 400
    assert why in answer.json()["detail"]
    assert (await api.ask("GET", "/crons")).json() == {"items": []}
