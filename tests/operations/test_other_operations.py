"""The account, tokens, sessions and history, and what is not offered."""

from datetime import UTC, datetime, timedelta

import pytest

from clawback import wire
from clawback.errors import NotFound, Rejected, Unauthorized
from clawback.model import Address, EventState, HistoryRecord, Lease, random_id
from clawback.operations import OPERATIONS, Caller, perform
from clawback.store.leases import Leases

NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)


def lease(connection_id, minutes=0):
    """Make the lease of a connection."""
    return Lease("server", connection_id, NOW + timedelta(minutes=minutes))


async def test_the_account_says_where_webhooks_go(services, fabric, alice, charlie):
    """A source's URL is the base, a slash and the slug; only the profile's own connections count."""
    leases = Leases(fabric)
    await leases.create(Address(alice.profile_id, "deploys"), lease(alice.connection_id))
    await leases.stand_by(Address(alice.profile_id, "deploys"), lease(random_id()))
    profile = await services.registry.find_profile(alice.profile_id)
    answer = await perform(services, alice, wire.AccountInfo(request_id="1"))
    others = await perform(services, charlie, wire.AccountInfo(request_id="2"))

    assert answer == {
        "profileId": alice.profile_id,
        "webhookId": profile.webhook_id,
        "webhookBaseUrl": f"https://hooks.example.com/base/webhooks/{profile.webhook_id}",
        "connectedClients": 2,
        "timeoutSeconds": 1800,
        "timezone": "UTC",
        "sessionTag": "deploys",
    }
    assert others["connectedClients"] == 0
    assert "sessionTag" not in others


async def test_sessions_are_listed_with_the_callers_marked(services, fabric, alice, charlie):
    """The longest connected first, untagged as null, standbys as such; Charlie sees none of it."""
    leases = Leases(fabric)
    await leases.create(Address(alice.profile_id), lease(random_id(), 5))
    await leases.create(Address(alice.profile_id, "deploys"), lease(alice.connection_id, 1))
    await leases.stand_by(Address(alice.profile_id, "deploys"), lease(random_id(), 3))

    assert await perform(services, alice, wire.SessionList(request_id="1")) == [
        {"sessionTag": "deploys", "current": True, "connectedAt": NOW + timedelta(minutes=1), "role": "active"},
        {"sessionTag": "deploys", "current": False, "connectedAt": NOW + timedelta(minutes=3), "role": "standby"},
        {"sessionTag": None, "current": False, "connectedAt": NOW + timedelta(minutes=5), "role": "active"},
    ]
    assert await perform(services, charlie, wire.SessionList(request_id="2")) == []


async def test_a_token_is_made_for_the_callers_profile(services, alice, charlie):
    """Its value is answered once; lists have everything but that."""
    made = await perform(services, alice, wire.TokenCreate(request_id="1", label="desk"))
    record = await services.tokens.verify(made["token"])
    first, second = await perform(services, alice, wire.TokenList(request_id="2"))

    assert set(made) == {"token", "id", "label"}
    assert (record.id, record.profile_id, made["label"]) == (made["id"], alice.profile_id, "desk")
    assert (first["id"], first["label"], first["current"], first["lastSeen"]) == (alice.token_id, "first", True, None)
    assert (second["id"], second["label"], second["current"]) == (made["id"], "desk", False)
    assert abs(second["lastSeen"] - datetime.now(UTC)) < timedelta(minutes=1)
    assert set(second) == {"id", "label", "lastSeen", "createdAt", "current"}
    assert [each["id"] for each in await perform(services, charlie, wire.TokenList(request_id="3"))] == [
        charlie.token_id
    ]


async def test_a_replaced_token_makes_no_others(services, alice):
    """A connection that outlived its token, a thief's perhaps, gets no new one; the new token's does."""
    new = await perform(services, alice, wire.TokenRotate(request_id="1"))

    assert set(new) == {"token", "id"}
    for request in (wire.TokenCreate(request_id="2"), wire.TokenRotate(request_id="3")):
        with pytest.raises(Unauthorized, match="was replaced or revoked: connect again with the new one"):
            await perform(services, alice, request)
    assert (await services.tokens.verify(new["token"])).id == new["id"]
    assert [each["current"] for each in await perform(services, alice, wire.TokenList(request_id="4"))] == [False]


@pytest.mark.parametrize("request_type", [wire.TokenCreate, wire.TokenRotate])
async def test_a_wrong_label_changes_nothing(services, alice, request_type):
    """The token that is, stays."""
    with pytest.raises(Rejected, match="label refused"):
        await perform(services, alice, request_type(request_id="1", label="a\nb"))
    assert [each["id"] for each in await perform(services, alice, wire.TokenList(request_id="2"))] == [alice.token_id]


def ended(number, state=EventState.ACKED, **fields):
    """Make the record of an event that ended."""
    return HistoryRecord(f"evt_{number}", "webhook", state, NOW + timedelta(seconds=number), **fields)


async def test_history_is_answered_as_the_protocol_says(services, alice, charlie):
    """Newest first, every field there, the texts never null."""
    address = Address(alice.profile_id, "deploys")
    full = ended(
        1,
        path="/github",
        skill="/review",
        event_type="push",
        summary="done",
        duration_ms=1500,
        attempts=2,
        session_tag="deploys",
        reason="x",
    )
    await services.history.record(address, full)
    await services.history.record(Address(alice.profile_id), ended(2, EventState.TIMED_OUT, timed_out=True))
    await services.history.record_drop(alice.profile_id, ended(3, EventState.DROPPED))

    assert await perform(services, alice, wire.EventHistory(request_id="1")) == [
        {
            "eventId": "evt_2",
            "source": "webhook",
            "path": "",
            "skill": "",
            "eventType": "",
            "summary": "",
            "completedAt": NOW + timedelta(seconds=2),
            "durationMs": 0,
            "timedOut": True,
            "attempts": 0,
            "sessionTag": None,
            "state": "timed_out",
        },
        {
            "eventId": "evt_1",
            "source": "webhook",
            "path": "/github",
            "skill": "/review",
            "eventType": "push",
            "summary": "done",
            "completedAt": NOW + timedelta(seconds=1),
            "durationMs": 1500,
            "timedOut": False,
            "attempts": 2,
            "sessionTag": "deploys",
            "state": "acked",
            "reason": "x",
        },
    ]
    assert await perform(services, charlie, wire.EventHistory(request_id="2")) == []


async def test_history_has_a_limit_and_other_ends_on_request(services, alice):
    """Twenty unless told otherwise, a hundred at most; drops where they are asked for."""
    for number in range(22):
        await services.history.record(Address(alice.profile_id), ended(number))
    await services.history.record_drop(alice.profile_id, ended(99, EventState.DROPPED))

    async def ids(**fields):
        records = await perform(services, alice, wire.EventHistory(request_id="1", **fields))
        return [each["eventId"] for each in records]

    assert await ids() == [f"evt_{number}" for number in range(21, 1, -1)]
    assert await ids(limit=1) == ["evt_21"]
    assert len(await ids(limit=100)) == 22
    assert await ids(states=("dropped",)) == ["evt_99"]
    assert (await ids(states=("dropped", "acked"), limit=2)) == ["evt_99", "evt_21"]
    assert len(await ids(states=())) == 20


@pytest.mark.parametrize("limit", [0, -1, 101, 10**12])
async def test_a_limit_outside_the_range_is_refused(services, alice, limit):
    """The refusal has the range."""
    with pytest.raises(Rejected, match=f"limit refused, read {limit}: accepted is 1 to 100"):
        await perform(services, alice, wire.EventHistory(request_id="1", limit=limit))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("done", "read 'done': accepted are acked, timed_out"),
        ("queued", "state queued refused, the history has events that ended"),
    ],
)
async def test_a_state_that_is_none_is_refused(services, alice, state, message):
    """Unknown ones, and those of events that have not ended."""
    with pytest.raises(Rejected, match=message):
        await perform(services, alice, wire.EventHistory(request_id="1", states=("acked", state)))


async def test_what_is_not_offered_says_so(services, alice, monkeypatch):
    """A sentence with the request's name, for whoever runs an older server."""
    monkeypatch.delitem(OPERATIONS, wire.CronList)
    with pytest.raises(Rejected, match="cron_list is not offered by this server"):
        await perform(services, alice, wire.CronList(request_id="1"))


async def test_the_profiles_time_zone_counts_for_crons_that_name_none(services, alice):
    """It is UTC until it is changed, and what is no zone is refused."""
    ask = {"request_id": "1", "schedule": "0 9 * * *", "prompt": "x"}
    before = await perform(services, alice, wire.CronCreate(**ask))
    changed = await perform(services, alice, wire.AccountUpdate(request_id="2", timezone="Europe/Berlin"))
    after = await perform(services, alice, wire.CronCreate(**ask))

    assert (before["timezone"], after["timezone"]) == ("UTC", "Europe/Berlin")
    assert (changed["timezone"], changed["timeoutSeconds"]) == ("Europe/Berlin", 1800)
    with pytest.raises(Rejected, match="timezone refused"):
        await perform(services, alice, wire.AccountUpdate(request_id="3", timezone="Berlin"))
    with pytest.raises(Rejected, match="nothing to change"):
        await perform(services, alice, wire.AccountUpdate(request_id="4"))


async def test_only_a_connected_session_takes_over(services, alice):
    """A request that came over no connection of this server's is refused with the reason."""
    script = Caller(alice.profile_id, alice.token_id, alice.session_tag)
    with pytest.raises(Rejected, match="session_takeover is for connected sessions"):
        await perform(services, script, wire.SessionTakeover(request_id="1"))
    with pytest.raises(NotFound, match="only a connected session can be made the active one"):
        await perform(services, alice, wire.SessionTakeover(request_id="2"))
