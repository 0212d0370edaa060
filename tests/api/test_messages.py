"""`/api/v1/sessions` and `/api/v1/messages`."""

import pytest


async def test_sessions_are_listed_as_they_are_connected(house, api):
    """With their roles; the request itself is none of them."""
    await house.connect(sessionTag="builds")
    await house.connect(sessionTag="builds")
    await house.connect()
    listed = (await api.ask("GET", "/sessions")).json()["items"]

    assert [(each["sessionTag"], each["role"], each["current"]) for each in listed] == [
        ("builds", "active", False),
        ("builds", "standby", False),
        (None, "active", False),
    ]


async def test_a_message_reaches_who_is_named(house, api):
    """Connected or not; it says that it came over the API."""
    builds = await house.connect(sessionTag="builds")
    answer = await api.ask("POST", "/messages", json={"targets": ["builds", "later"], "content": "hello"})
    now = await builds.frame("event")
    later = await (await house.connect(sessionTag="later")).frame("event")

    assert (answer.status_code, answer.json()) == (200, {"sent": 1, "queued": 1, "unknown": ["later"]})
    assert [event["content"] for event in (now, later)] == ["hello", "hello"]
    assert now["meta"]["from"] == "(api)"


async def test_everybody_is_every_session(house, api):
    """The untagged one too: it did not ask."""
    peers = [await house.connect(), await house.connect(sessionTag="builds")]
    answer = await api.ask("POST", "/messages", json={"targets": ["*"], "content": "hello", "priority": "interrupt"})

    assert answer.json() == {"sent": 2, "queued": 0}
    assert [(await peer.frame("event"))["meta"]["broadcast"] for peer in peers] == ["true", "true"]


async def test_too_many_messages_are_told_to_wait(api):
    """As of a session."""
    answers = [await api.ask("POST", "/messages", json={"targets": ["a"], "content": "x"}) for _ in range(21)]

    assert [answer.status_code for answer in answers] == [200] * 20 + [429]
    assert answers[-1].headers["retry-after"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"targets": []}, "$.targets"),
        ({"targets": ["*", "a"]}, "cannot stand with other targets"),
        ({"targets": ["(api)"]}, "session tag refused"),
        ({"targets": "*"}, "$.targets"),
        ({"content": ""}, "$.content"),
        ({"content": " "}, "the message is empty"),
        ({"content": "x" * 200_001}, "$.content"),
        ({"from": "builds"}, "unknown field `from`"),
    ],
)
async def test_a_wrong_message_is_refused(api, change, why):
    """Nothing is sent."""
    answer = await api.ask("POST", "/messages", json={"targets": ["a"], "content": "x"} | change)

    assert answer.status_code == 400
    assert why in answer.json()["detail"]
