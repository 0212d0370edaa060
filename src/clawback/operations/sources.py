"""Webhook sources: made, listed, deleted."""

import logging
import os
from datetime import UTC, datetime
from typing import Any

import msgspec

from clawback import wire
from clawback.model import Scheme, Source, new_id
from clawback.operations import source_rules as rules
from clawback.operations.caller import Caller, Services, find_profile, webhook_base_url

log = logging.getLogger("clawback.operations")


async def create_source(services: Services, caller: Caller, request: wire.SourceCreate) -> dict[str, Any]:
    """
    Make a source; the answer has its secret only if the server made it, this once.

    Raises:
        Rejected: a field is wrong; the text has the rule.
        Conflict: the slug is taken.
        Unavailable: not known to be stored.
    """
    scheme = rules.check_scheme(request.verifier_type)
    generate = bool(request.generate_secret)
    secret = rules.choose_secret(scheme, request.secret, generate=generate, random_bytes=os.urandom)
    source = Source(
        id=new_id("src"),
        profile_id=caller.profile_id,
        slug=rules.check_slug(request.slug),
        scheme=scheme,
        created_at=datetime.now(UTC),
        skill=rules.check_instruction(request.skill, "skill"),
        routes=rules.check_routes(request.routes),
        event_type=rules.check_event_type(request.event_type),
        signature=rules.check_signature(request.signature, scheme),
        tag=rules.choose_tag(request, caller.session_tag),
        priority=rules.check_priority(request.priority, scheme),
        timeout_seconds=None if request.timeout_seconds is None else rules.check_timeout(request.timeout_seconds),
    )
    profile = await find_profile(services, caller)
    await services.registry.create_source(_with_secret(services, source, secret))
    log.info(
        "source created",
        extra={"action": "source_created", "profile": profile.id, "source": source.id, "scheme": scheme.value},
    )
    if scheme is Scheme.NONE:
        log.warning(
            "source %s accepts requests that nobody signed: whoever learns its URL can send events",
            source.id,
            extra={"action": "unsigned_source", "profile": profile.id, "source": source.id},
        )
    answer = _answer(source, webhook_base_url(services, profile))
    return answer | {"secret": secret} if generate else answer


async def list_sources(services: Services, caller: Caller, _request: wire.SourceList) -> list[dict[str, Any]]:
    """List the profile's sources, oldest first."""
    base_url = webhook_base_url(services, await find_profile(services, caller))
    return [_answer(source, base_url) for source in services.registry.list_sources(caller.profile_id)]


async def delete_source(services: Services, caller: Caller, request: wire.SourceDelete) -> dict[str, Any]:
    """
    Delete a source; what waits of it goes to the dead letters.

    The source goes first, so that nothing new comes in behind. Where NATS fails in between, the events stay in their
    lines and are delivered: none is lost.

    Raises:
        Conflict: somebody else changed it at the same moment.
        Unavailable: not known to be deleted.
    """
    removed = await services.registry.delete_source(caller.profile_id, request.source_id)
    if removed:
        await services.withdraw(caller.profile_id, request.source_id)
        log.info(
            "source deleted",
            extra={"action": "source_deleted", "profile": caller.profile_id, "source": request.source_id},
        )
    return {"removed": removed}


def _with_secret(services: Services, source: Source, secret: str | None) -> Source:
    if secret is None:
        return source
    sealed = services.vault.seal(secret.encode(), profile_id=source.profile_id, source_id=source.id)
    return msgspec.structs.replace(source, secrets=(sealed,))


def _answer(source: Source, base_url: str) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "id": source.id,
        "slug": source.slug,
        "type": source.scheme,
        "skill": source.skill,
        "routes": source.routes or None,
        "eventType": source.event_type,
        "sessionTag": source.tag,
        "priority": source.priority,
        "timeoutSeconds": source.timeout_seconds,
        "url": f"{base_url}/{source.slug}",
    }
    return {name: msgspec.to_builtins(value) for name, value in answer.items() if value is not None}
