"""`/api/v1/account`."""

import pytest


async def test_the_account_is_the_tokens(house, api):
    """What account_info tells a session, but for the session."""
    peer = await house.connect(sessionTag="builds")
    told = (await peer.ask("account_info"))["data"]
    answer = await api.ask("GET", "/account")

    assert told.pop("sessionTag") == "builds"
    assert answer.json() == told
    assert answer.json()["profileId"] == house.profile.id
    assert answer.headers["cache-control"] == "no-store"


async def test_a_change_of_the_account_counts_from_then_on(house, api):
    """Only what is given changes."""
    first = await api.ask("PATCH", "/account", json={"timezone": "Europe/Berlin"})
    second = await api.ask("PATCH", "/account", json={"timeoutSeconds": 90})
    again = await api.ask("GET", "/account")

    assert first.json()["timezone"] == "Europe/Berlin"
    assert first.json()["timeoutSeconds"] == 1800
    assert second.json() == again.json()
    assert (again.json()["timezone"], again.json()["timeoutSeconds"]) == ("Europe/Berlin", 90)
    assert house.servers[0].registry.timeout_seconds(house.profile.id) == 90


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, "nothing to change"),
        ({"timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"timezone": "../../etc/passwd"}, "passwd"),
        ({"timezone": "UTC\0"}, "timezone"),
        ({"timeoutSeconds": 59}, "$.timeoutSeconds"),
        ({"timeoutSeconds": 10**400}, "$.timeoutSeconds"),
        ({"timeoutSeconds": 60.5}, "$.timeoutSeconds"),
        ({"timeoutSeconds": "60"}, "$.timeoutSeconds"),
        ({"timeoutSeconds": True}, "$.timeoutSeconds"),
        ({"profileId": "x"}, "`profileId`"),
    ],
)
async def test_a_wrong_change_is_refused_and_changes_nothing(api, change, why):
    """The problem names the field and what was read."""
    before = (await api.ask("GET", "/account")).json()
    answer = await api.ask("PATCH", "/account", json=change)

    assert answer.status_code == 400
    assert why in answer.json()["detail"]
    assert (await api.ask("GET", "/account")).json() == before
