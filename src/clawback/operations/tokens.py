"""Tokens: made, listed, replaced."""

import logging
from typing import Any

from clawback import wire
from clawback.errors import Unauthorized
from clawback.operations.caller import UNREADABLE, Caller, Services, check_quota, disabled, page_of

log = logging.getLogger("clawback.operations")


async def create_token(services: Services, caller: Caller, request: wire.TokenCreate) -> dict[str, Any]:
    """
    Make a token for the caller's profile.

    Raises:
        Unauthorized: the caller's own token was replaced or revoked.
        Rejected: the label is none.
        Unavailable: not known to be stored.
    """
    _require_live_token(services, caller)
    there = len(services.registry.list_tokens(caller.profile_id))
    check_quota(services.quotas.max_tokens, there, "tokens", "max_tokens")
    made = await services.tokens.create(caller.profile_id, request.label)
    return {"token": made.value, "id": made.record.id, "label": made.record.label}


async def list_tokens(services: Services, caller: Caller, request: wire.TokenList) -> list[dict[str, Any]]:
    """
    List the profile's tokens, oldest first, without their values; at the end those that cannot be read.

    Raises:
        Rejected: there is no such page.
    """
    listed = {
        record.id: {
            "id": record.id,
            "label": record.label,
            "lastSeen": last_seen,
            "createdAt": record.created_at,
            "current": record.id == caller.token_id,
        }
        for record, last_seen in await services.tokens.of_profile(caller.profile_id)
    }
    for token_id in services.registry.unreadable_tokens(caller.profile_id):
        listed[token_id] = disabled(token_id, UNREADABLE, current=False)
    return [listed[token_id] for token_id in page_of([*listed], request.limit, request.after)]


async def rotate_token(services: Services, caller: Caller, request: wire.TokenRotate) -> dict[str, Any]:
    """
    Replace the caller's token. The old one opens nothing from then on; of its connections the caller's alone stays.

    Raises:
        Unauthorized: the caller's own token was replaced or revoked before.
        Rejected: the label is none.
        Conflict: somebody else replaced it at the same moment.
        Unavailable: not known to be done.
    """
    _require_live_token(services, caller)
    made = await services.tokens.rotate(caller.profile_id, caller.token_id, request.label, keeps=caller.connection_id)
    return {"token": made.value, "id": made.record.id}


async def revoke_token(services: Services, caller: Caller, token_id: str) -> bool:
    """
    Revoke a token of the caller's profile, its own among them, which closes what it opened; False where there is none.

    One that was replaced can be revoked as well: that closes the connection that asked for it.

    Raises:
        Unauthorized: the caller's own token was replaced or revoked before.
        Conflict: somebody else replaced it at the same moment.
        Unavailable: not known to be done.
    """
    _require_live_token(services, caller)
    revoked = await services.tokens.revoke(caller.profile_id, token_id)
    if revoked:
        log.info("token revoked", extra={"action": "token_revoked", "profile": caller.profile_id, "token": token_id})
    return revoked


def _require_live_token(services: Services, caller: Caller) -> None:
    """
    Refuse to make tokens over a connection that outlived its own.

    A token is replaced when it may have leaked; then whoever else holds a connection opened with it must not be able to
    make themselves another, or take over the new one.
    """
    if services.tokens.find(caller.profile_id, caller.token_id) is None:
        raise Unauthorized(
            "the token that opened this connection was replaced or revoked: connect again with the new one (restart"
            " the Claude Code session), then ask again"
        )
