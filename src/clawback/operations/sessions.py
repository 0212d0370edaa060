"""Sessions: who is connected, and which connection of a tag is the active one."""

import logging
from typing import Any

from clawback import wire
from clawback.errors import Rejected
from clawback.operations.caller import Caller, Services, check_messaging

log = logging.getLogger("clawback.operations")


async def list_sessions(services: Services, caller: Caller, _request: wire.SessionList) -> list[dict[str, Any]]:
    """
    List the profile's connections on all servers, the longest connected first.

    Raises:
        Rejected: the caller has switched messages between sessions off.
        Unavailable: NATS does not answer.
    """
    check_messaging(caller)
    entries = await services.sessions(caller.profile_id)
    return [
        {
            "sessionTag": entry.address.tag,
            "current": entry.lease.connection_id == caller.connection_id,
            "connectedAt": entry.lease.connected_at,
            "role": "active" if entry.active else "standby",
        }
        for entry in sorted(entries, key=lambda entry: entry.lease.connected_at)
    ]


async def close_sessions(services: Services, caller: Caller, tag: str | None) -> int:
    """
    Close every connection of a tag, the active one and its standbys, on whatever server; says how many there were.

    For the profile's owner: no session ends another. Whoever has a valid token may connect again; revoke it first.

    Raises:
        Unavailable: NATS does not answer.
    """
    entries = [entry for entry in await services.sessions(caller.profile_id) if entry.address.tag == tag]
    # Standbys first, or each would take the place of the one before.
    for entry in sorted(entries, key=lambda entry: entry.active):
        await services.dismiss(entry)
    log.info(
        "sessions closed",
        extra={"action": "session_close", "profile": caller.profile_id, "tag": tag, "closed": len(entries)},
    )
    return len(entries)


async def take_over_session(services: Services, caller: Caller, _request: wire.SessionTakeover) -> dict[str, Any]:
    """
    Make the caller's connection the active one of its session; the one that was stands by.

    What was in flight there is delivered here again.

    Raises:
        Rejected: the request came over no connection.
        Conflict: another connection was first.
        Unavailable: NATS or the active connection does not answer.
    """
    if caller.connection_id is None:
        raise Rejected("session_takeover is for connected sessions: ask over the session's own WebSocket")
    await services.take_over(caller.connection_id)
    return {"role": "active"}
