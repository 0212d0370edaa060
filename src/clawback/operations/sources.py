"""Webhook sources: made, listed, changed, deleted."""

import hmac
import logging
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from clawback import wire
from clawback.accounts.vault import Vault
from clawback.errors import NotFound, Rejected, SecretUnreadable
from clawback.model import Refusal, Scheme, Sealed, Source, new_id
from clawback.operations import source_rules as rules
from clawback.operations.authors import check_order, choose_author, name_caller
from clawback.operations.caller import (
    UNREADABLE,
    Caller,
    Services,
    check_quota,
    disabled,
    find_profile,
    page_of,
    webhook_base_url,
)
from clawback.operations.route_rules import route_priorities, write_orders
from clawback.operations.source_fields import check_fields, gives_order, write_fields
from clawback.senders.handshakes import verify_token
from clawback.senders.presets import PRESETS

log = logging.getLogger("clawback.operations")


async def create_source(services: Services, caller: Caller, request: wire.SourceCreate) -> dict[str, Any]:
    """
    Make a source; the answer has its secret only if the server made it, this once.

    Raises:
        Rejected: a field is wrong; the text has the rule. Or another session takes no orders from this one.
        RateLimited: too many orders for other sessions.
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
        set_by=name_caller(caller),
        **{"tag": caller.session_tag, **check_fields(request, scheme)},
    )
    profile = await find_profile(services, caller)
    there = len(services.registry.list_sources(caller.profile_id))
    check_quota(services.quotas.max_sources, there, "sources", "max_sources")
    await check_order(services, caller, source.tag)
    if secret is not None:
        source = msgspec.structs.replace(source, secrets=(_seal(services.vault, source, secret),))
    await services.registry.create_source(source)
    log.info(
        "source created",
        extra={"action": "source_created", "profile": profile.id, "source": source.id, "scheme": scheme},
    )
    if scheme == Scheme.NONE:
        log.warning(
            "source %s accepts requests that nobody signed: anyone who knows its URL can send events",
            source.id,
            extra={"action": "unsigned_source", "profile": profile.id, "source": source.id},
        )
    answer = _answer(caller, source, webhook_base_url(services, profile), source.created_at)
    verify = verify_token(secret.encode()) if secret else None
    setup = rules.write_setup(scheme, answer["url"], secret=secret if generate else None, verify=verify)
    if setup and caller.names_events:
        answer["setup"] = setup
    return answer | {"secret": secret} if generate else answer


async def list_sources(services: Services, caller: Caller, request: wire.SourceList) -> list[dict[str, Any]]:
    """
    List the profile's sources, oldest first; at the end those that cannot be read.

    Raises:
        Rejected: there is no such page.
    """
    base_url = webhook_base_url(services, await find_profile(services, caller))
    now = datetime.now(UTC)
    sources = {source.id: source for source in services.registry.list_sources(caller.profile_id)}
    unreadable = services.registry.unreadable_sources(caller.profile_id)
    listed = []
    for source_id in page_of([*sources, *unreadable], request.limit, request.after):
        if (source := sources.get(source_id)) is not None:
            reason = _why_disabled(services.vault, source, now)
            answer = _answer(caller, source, base_url, now) | _verification_token(services.vault, source)
            listed.append(answer if reason is None else answer | {"disabled": True, "reason": reason})
        else:
            slug = unreadable[source_id]
            known = {} if slug is None else {"slug": slug, "url": f"{base_url}/{slug}"}
            listed.append(disabled(source_id, UNREADABLE, **known))
    return listed


async def list_refusals(services: Services, caller: Caller) -> dict[str, list[dict[str, Any]]]:
    """
    List what was refused of the profile's sources lately, by source id, the newest first.

    Raises:
        Unavailable: NATS does not answer.
    """
    refused = await services.refusals.of_profile(caller.profile_id)
    return {
        source.id: [_answer_refusal(refusal) for refusal in refused[source.id]]
        for source in services.registry.list_sources(caller.profile_id)
        if source.id in refused
    }


def _answer_refusal(refusal: Refusal) -> dict[str, Any]:
    return {
        "at": refusal.at,
        "status": refusal.status,
        "reason": refusal.reason,
        "sender": refusal.sender,
        "deliveryId": refusal.delivery_id,
        "passedOver": refusal.passed_over,
    }


async def update_source(services: Services, caller: Caller, request: wire.SourceUpdate) -> dict[str, Any]:
    """
    Change what is given of a source, for requests that come from now on; what waits already stays as it is.

    With a new secret the one before is accepted too, until the overlap is over. The answer has the new secret only if
    the server made it, this once.

    Raises:
        Rejected: a field is wrong, or nothing is given. Or another session takes no orders from this one.
        RateLimited: too many orders for other sessions.
        NotFound: the profile has no such source.
        RecordUnreadable: there is nothing to change that could be read.
        Unavailable: not known to be stored.
    """
    known = await services.registry.find_source_by_id(caller.profile_id, request.source_id)
    if known is None:
        raise NotFound(f"there is no source {request.source_id[:80]!a}; source_list shows those there are")
    if request.verifier_type not in (None, known.scheme):
        raise Rejected(f"the type of a source stays what it is, {known.scheme}: create another source for another type")
    changes = check_fields(request, known.scheme, known)
    generate = bool(request.generate_secret)
    rotated = generate or request.secret is not None
    overlap_s = rules.check_overlap(request.overlap_seconds, rotated=rotated)
    if not changes and not rotated:
        raise Rejected("nothing to change: give at least one field besides sourceId")
    secret = None
    if rotated:
        secret = rules.choose_secret(known.scheme, request.secret, generate=generate, random_bytes=os.urandom)
    now = datetime.now(UTC)
    if gives_order(changes):
        await check_order(services, caller, known.tag, changes.get("tag", known.tag))

    def change(source: Source) -> Source:
        # An empty secret is none that was checked: the source waits for the next one that its sender brings.
        secrets = () if rotated and secret is None else source.secrets
        if gives_order(changes):
            author = choose_author(source.set_by, name_caller(caller), whole=_is_whole(changes, source))
            source = msgspec.structs.replace(source, set_by=author)
        if secret is not None:
            former = _former_secrets(services.vault, source, secret, now, now + timedelta(seconds=overlap_s))
            secrets = (_seal(services.vault, source, secret), *former)
        return msgspec.structs.replace(source, secrets=secrets, **changes)

    profile = await find_profile(services, caller)
    source = await services.registry.update_source(caller.profile_id, known.id, change)
    log.info(
        "source changed",
        extra={"action": "source_updated", "profile": profile.id, "source": source.id, "new_secret": rotated},
    )
    answer = _answer(caller, source, webhook_base_url(services, profile), now)
    return answer | {"secret": secret} if generate else answer


def _is_whole(changes: dict[str, Any], source: Source) -> bool:
    """Whether these changes bring every order that the source has then."""
    return ("skill" in changes or not source.skill) and ("routes" in changes or not source.routes)


def _former_secrets(vault: Vault, source: Source, secret: str, now: datetime, until: datetime) -> tuple[Sealed, ...]:
    """
    Say which secrets a source still accepts beside a new one, and until when: no longer than before, in any case.

    One that does not open verifies nothing, so it goes: a new secret mends such a source. So does the new one itself,
    which was only given again.
    """
    kept = []
    for sealed in source.secrets_at(now):
        ends_at = until if sealed.expires_at is None else min(until, sealed.expires_at)
        try:
            former = vault.open(sealed, profile_id=source.profile_id, source_id=source.id)
        except SecretUnreadable:
            continue
        if ends_at > now and not hmac.compare_digest(former, secret.encode()):
            kept.append(msgspec.structs.replace(sealed, expires_at=ends_at))
    if len(kept) >= rules.MAX_SECRETS:
        raise Rejected(
            f"the source accepts {len(kept)} secrets already, those in overlaps included, and {rules.MAX_SECRETS} are"
            " the most: with overlapSeconds 0 the former ones end at once"
        )
    return tuple(kept)


async def delete_source(services: Services, caller: Caller, request: wire.SourceDelete) -> dict[str, Any]:
    """
    Delete a source; what waits of it goes to the dead letters, as a job that outlives this server.

    `job` names it where it takes longer than a moment. Asked again meanwhile, the answer has how many are `left`.

    Raises:
        Conflict: somebody else changed it at the same moment.
        Unavailable: not known to be deleted.
    """
    if not await services.registry.delete_source(caller.profile_id, request.source_id):
        left = await services.events.withdrawing(caller.profile_id, request.source_id)
        return {"removed": True, "job": request.source_id, "left": left} if left else {"removed": False}
    log.info(
        "source deleted",
        extra={"action": "source_deleted", "profile": caller.profile_id, "source": request.source_id},
    )
    job = await services.withdraw(caller.profile_id, request.source_id)
    return {"removed": True} if job is None else {"removed": True, "job": job}


def _verification_token(vault: Vault, source: Source) -> dict[str, str]:
    """
    Show the secret that a sender brought, if a person has to enter it there again: until the first event proves it.

    A sender that takes an answer for that (Asana) has no use of a person.
    """
    preset = PRESETS.get(source.scheme)
    shown = preset is not None and any(each.keeps and not each.header for each in preset.handshakes)
    if not shown or source.connected_at is not None or not source.secrets:
        return {}
    try:
        secret = vault.open(source.secrets[0], profile_id=source.profile_id, source_id=source.id)
    except SecretUnreadable:
        return {}
    return {"verificationToken": secret.decode("utf-8", "replace")}


def _why_disabled(vault: Vault, source: Source, now: datetime) -> str | None:
    """Say why a source cannot verify anything: one of its secrets does not open. None where all do."""
    try:
        for sealed in source.secrets_at(now):
            vault.open(sealed, profile_id=source.profile_id, source_id=source.id)
    except SecretUnreadable as error:
        return str(error)
    return None


def _seal(vault: Vault, source: Source, secret: str) -> Sealed:
    return vault.seal(secret.encode(), profile_id=source.profile_id, source_id=source.id)


def _answer(caller: Caller, source: Source, base_url: str, now: datetime) -> dict[str, Any]:
    ends = [sealed.expires_at for sealed in source.secrets_at(now) if sealed.expires_at is not None]
    answer: dict[str, Any] = {
        "id": source.id,
        "slug": source.slug,
        "type": source.scheme,
        **write_fields(source),
        "setBy": source.set_by,
        "oldSecretUntil": max(ends, default=None),
        "connectedAt": source.connected_at,
        "url": f"{base_url}/{source.slug}",
        "awaitsSecret": True if not source.secrets and rules.awaits_secret(source.scheme) else None,
        "warning": rules.warn_of(source.scheme, [source.priority, *route_priorities(source.routes)]),
    }
    if not caller.names_events and source.routes:
        answer["routes"] = write_orders(source.routes)
    return {name: msgspec.to_builtins(value) for name, value in answer.items() if value is not None}
