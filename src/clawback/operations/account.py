"""The account: who the caller is, where its webhooks go, and what counts for the whole profile."""

import logging
from typing import Any

import msgspec

from clawback import wire
from clawback.errors import Rejected
from clawback.operations.caller import Caller, Services, find_profile, webhook_base_url
from clawback.operations.source_rules import check_timeout
from clawback.schedules import parse_zone

log = logging.getLogger("clawback.operations")


async def account_info(services: Services, caller: Caller, _request: wire.AccountInfo) -> dict[str, Any]:
    """
    Say who the caller is, where its webhooks go and how many of its sessions are connected.

    Raises:
        Unavailable: NATS does not answer.
    """
    profile = await find_profile(services, caller)
    answer = {
        "profileId": profile.id,
        "webhookId": profile.webhook_id,
        "webhookBaseUrl": webhook_base_url(services, profile),
        "connectedClients": len(await services.sessions(profile.id)),
        "timeoutSeconds": profile.timeout_seconds,
        "timezone": profile.timezone,
    }
    return answer if caller.session_tag is None else answer | {"sessionTag": caller.session_tag}


async def update_account(services: Services, caller: Caller, request: wire.AccountUpdate) -> dict[str, Any]:
    """
    Change what counts where sources and crons do not say: how long an event may be active, and the time zone.

    What is delivered already keeps its time, and a cron that is made already its zone.

    Raises:
        Rejected: nothing is given, the time-out is too short or too long, or the zone is none.
        NotFound: the profile is gone.
        Unavailable: not known to be stored.
    """
    if request.timeout_seconds is None and request.timezone is None:
        raise Rejected("nothing to change: give timeoutSeconds, timezone, or both")
    changes: dict[str, Any] = {}
    if request.timeout_seconds is not None:
        changes["timeout_seconds"] = check_timeout(request.timeout_seconds)
    if request.timezone is not None:
        changes["timezone"] = parse_zone(request.timezone).key
    await services.registry.update_profile(
        caller.profile_id, lambda profile: msgspec.structs.replace(profile, **changes)
    )
    log.info("account changed", extra={"action": "account_updated", "profile": caller.profile_id})
    return await account_info(services, caller, wire.AccountInfo(request_id=request.request_id))
