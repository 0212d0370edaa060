"""A client that observes: it asks, and is no session."""

from clawback.model import Priority


async def test_an_observer_is_given_nothing_and_keeps_nobody_waiting(house):
    """It came first, and its tag is the session's: that one is active at once, and gets what comes."""
    observer = await house.connect(observes=True, instanceId="one-shot")
    session = await house.connect(instanceId="interactive")
    event_id = await house.publish("for the session", priority=Priority.INTERRUPT)
    content, _ = await session.event()
    listed = await observer.ask("session_list")
    own = await observer.ask("account_info")

    assert observer.welcome["role"] == "observer"
    assert session.welcome["role"] == "active"
    assert content == "for the session"
    assert await house.stored() == 1, event_id
    assert [(each.get("sessionTag"), each["role"]) for each in listed["data"]] == [(None, "active")]
    assert own["data"]["profileId"] == house.profile.id


async def test_what_an_observer_acknowledged_before_is_settled(house):
    """A journal that it found is nobody else's to send."""
    session = await house.connect(instanceId="interactive")
    event_id = await house.publish("done")
    await session.event()
    await house.connect(observes=True, acked=[{"eventId": event_id, "summary": "done"}])

    assert await house.stored() == 0
