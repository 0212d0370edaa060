"""
The configuration as one value: what sources and crons there are to be, compared with what there is.

Sources are known by their slugs, crons by their labels (or, where they have none of their own, by their ids). What is
absent from an entry has its default, and what is the same already is not touched: applying twice changes nothing, and
what was cut short is applied again. Each step is an operation of its own, as if a person had asked for it.
"""

import hmac
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, structs

from clawback import wire
from clawback.errors import ClawbackError, Rejected, SecretUnreadable
from clawback.fabric.subjects import normalise_tag
from clawback.fields import Field, SourceFields
from clawback.model import Cron, Missed, Overlap, Priority, Scheme, Source
from clawback.operations import source_rules as rules
from clawback.operations.caller import Caller, Services, find_profile
from clawback.operations.crons import (
    check_jitter,
    check_label,
    check_prompt,
    check_times,
    create_cron,
    delete_cron,
    pause_cron,
    resume_cron,
    update_cron,
)
from clawback.operations.source_fields import FIELDS, Kind, Rule, write_fields
from clawback.operations.sources import create_source, delete_source, update_source
from clawback.schedules import parse_zone
from clawback.senders.presets import PRESETS

MAX_ENTRIES = 1000
"""Of each kind, in one request."""

NO_ID = ""


class ConfigSource(SourceFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source, by its slug. An absent field has its default; an absent secret stays, or is made with the source."""

    type: Annotated[str, Meta(description="A preset, such as github, or hmac, token, basic, query, none")]
    secret: Annotated[str, Meta(description="What the sender signs with; in files env:NAME or file:PATH")] | None = None


class ConfigCron(Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """A cron, by its label, with either a schedule or one time. An absent field has its default."""

    prompt: Annotated[str, Meta(description="What the session is to do, or a skill")]
    schedule: Annotated[str, Meta(description="Five fields, such as 0 9 * * MON-FRI, or @daily")] | None = None
    once: Annotated[str, Meta(description="Instead of a schedule: one time")] | None = None
    session_tag: Annotated[str, Meta(description="The session whose events these are")] | None = None
    priority: Priority | None = None
    timezone: Annotated[str, Meta(description="An IANA name; without one the profile's")] | None = None
    missed: Missed | None = None
    overlap: Overlap | None = None
    jitter_seconds: Annotated[int, Meta(ge=0)] | None = None
    paused: bool | None = None


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """All of it. A kind that is absent is left as it is, also where the rest is pruned."""

    sources: Annotated[dict[str, ConfigSource], Meta(max_length=MAX_ENTRIES)] | None = None
    crons: Annotated[dict[str, ConfigCron], Meta(max_length=MAX_ENTRIES)] | None = None


class Step(Struct, frozen=True):
    """One difference: what is to be done about an entry, the fields that change, and the request that does it."""

    kind: str
    name: str
    action: str
    fields: dict[str, tuple[Any, Any]] = {}
    request: Any = None
    paused: bool | None = None

    def show(self) -> dict[str, Any]:
        """Write it for people and programs; a secret is a word."""
        shown = {name: {"from": before, "to": after} for name, (before, after) in self.fields.items()}
        return {"kind": self.kind, "name": self.name, "action": self.action, "fields": shown}


async def show_config(services: Services, caller: Caller) -> dict[str, Any]:
    """
    Write what there is, so that applying it changes nothing. Secrets are not in it.

    Raises:
        Unavailable: NATS does not answer.
    """
    profile = await find_profile(services, caller)
    sources = {
        source.slug: _written({"type": source.scheme, **write_fields(source)})
        for source in services.registry.list_sources(caller.profile_id)
    }
    crons = {
        name: _write_cron(cron, profile.timezone)
        for name, cron in _by_name(services.registry.list_crons(caller.profile_id)).items()
    }
    return {"sources": sources, "crons": crons}


async def apply_config(
    services: Services, caller: Caller, config: Config, *, dry_run: bool, prune: bool
) -> dict[str, Any]:
    """
    Make what there is what the configuration says, or only say what would be done.

    Every entry is read and checked before anything is done. `prune` deletes what the configuration does not name, of
    the kinds that it has. An answer has the secrets that were made, this once.

    Raises:
        Rejected: an entry is wrong; nothing was done. The text begins with its place, such as `sources.demo: `.
        ClawbackError: what an operation raises; what stands before it is done, and applying again goes on.
    """
    steps = await plan_config(services, caller, config, prune=prune)
    changes = [step for step in steps if step.action != "none"]
    secrets: dict[str, str] = {}
    if not dry_run:
        for step in changes:
            try:
                secret = await _carry_out(services, caller, step)
            except ClawbackError as error:
                raise type(error)(f"{step.kind}s.{step.name}: {error}") from error
            if secret is not None:
                secrets[step.name] = secret
    return {
        "dryRun": dry_run,
        "changes": [step.show() for step in changes],
        "unchanged": len(steps) - len(changes),
        "secrets": secrets,
    }


async def plan_config(services: Services, caller: Caller, config: Config, *, prune: bool) -> list[Step]:
    """
    Compare what is to be with what there is.

    Raises:
        Rejected: an entry is wrong.
        Unavailable: NATS does not answer.
    """
    profile = await find_profile(services, caller)
    now = services.crons.now()
    steps: list[Step] = []
    removals: list[Step] = []
    if config.sources is not None:
        known = {source.slug: source for source in services.registry.list_sources(caller.profile_id)}
        for slug, wanted in config.sources.items():
            try:
                steps.append(_plan_source(services, slug, wanted, known.pop(slug, None)))
            except Rejected as error:
                raise type(error)(f"sources.{slug[:80]}: {error}") from None
        removals += [
            Step("source", slug, "delete", request=wire.SourceDelete(request_id=NO_ID, source_id=source.id))
            for slug, source in known.items()
        ]
    if config.crons is not None:
        named = _by_name(services.registry.list_crons(caller.profile_id))
        for name, entry in config.crons.items():
            try:
                steps.append(_plan_cron(name, entry, named.pop(name, None), profile.timezone, now))
            except Rejected as error:
                raise type(error)(f"crons.{name[:80]}: {error}") from None
        removals += [
            Step("cron", name, "delete", request=wire.CronDelete(request_id=NO_ID, cron_id=cron.id))
            for name, cron in named.items()
        ]
    return steps + (removals if prune else [])


async def _carry_out(services: Services, caller: Caller, step: Step) -> str | None:
    """Do one step, and return the secret that was made in it."""
    match step.request:
        case wire.SourceCreate():
            return (await create_source(services, caller, step.request)).get("secret")
        case wire.SourceUpdate():
            await update_source(services, caller, step.request)
        case wire.SourceDelete():
            await delete_source(services, caller, step.request)
        case wire.CronDelete():
            await delete_cron(services, caller, step.request)
        case wire.CronCreate():
            made = await create_cron(services, caller, step.request)
            await _pause(services, caller, made["id"], step.paused)
        case wire.CronUpdate(cron_id=cron_id):
            if set(step.fields) - {"paused"}:
                await update_cron(services, caller, step.request)
            await _pause(services, caller, cron_id, step.paused)
    return None


async def _pause(services: Services, caller: Caller, cron_id: str, paused: bool | None) -> None:  # noqa: FBT001 -- three ways
    """Pause a cron or have it run again; None leaves it as it is."""
    if paused is True:
        await pause_cron(services, caller, wire.CronPause(request_id=NO_ID, cron_id=cron_id))
    elif paused is False:
        await resume_cron(services, caller, wire.CronResume(request_id=NO_ID, cron_id=cron_id))


# --- sources ------------------------------------------------------------------------------------------------------


def _plan_source(services: Services, slug: str, wanted: ConfigSource, known: Source | None) -> Step:
    scheme = rules.check_scheme(wanted.type)
    given = {each.name: getattr(wanted, each.name) for each, _ in FIELDS}
    if known is None:
        makes = wanted.secret is None and scheme != Scheme.NONE and not PRESETS[scheme].shows_secret
        rules.choose_secret(scheme, wanted.secret, generate=makes, random_bytes=bytes)
        request = wire.SourceCreate(
            request_id=NO_ID,
            slug=rules.check_slug(slug),
            verifier_type=wanted.type,
            secret=wanted.secret,
            generate_secret=makes or None,
            **given,
        )
        for each, rule in FIELDS:
            if given[each.name] is not None:
                rule.check(given[each.name], Kind(scheme, wanted.event_type is not None))
        return Step("source", slug, "create", {"type": (None, scheme)}, request)
    if known.scheme != scheme:
        raise Rejected(f"type refused, it is {known.scheme} and stays so: delete the source, or give it another slug")
    kind = Kind(scheme, wanted.event_type is not None)
    changed: dict[str, Any] = {}
    fields: dict[str, tuple[Any, Any]] = {}
    for each, rule in FIELDS:
        before = getattr(known, rule.stored or each.name)
        after = _wanted(each, rule, given[each.name], kind)
        if _bare(before) != _bare(after):
            changed[each.name] = given[each.name] if given[each.name] is not None else _empty(each, rule)
            fields[each.wire_name] = (_plain(rule.write(before)), _plain(rule.write(after)))
    secret = wanted.secret if wanted.secret is not None and not _has_secret(services, known, wanted.secret) else None
    if secret is not None:
        rules.choose_secret(scheme, secret, generate=False, random_bytes=bytes)
        fields["secret"] = ("another", "the one that is given")
    if not fields:
        return Step("source", slug, "none")
    change = wire.SourceUpdate(request_id=NO_ID, source_id=known.id, secret=secret, **changed)
    return Step("source", slug, "update", fields, change)


def _bare(value: Any) -> Any:  # noqa: ANN401 -- of any field
    """Take a rule that says nothing but its defaults for none: that is how one is taken back."""
    return None if isinstance(value, Struct) and value == type(value)() else value


def _wanted(field: Field, rule: Rule, value: Any, kind: Kind) -> Any:  # noqa: ANN401 -- of any field
    """Say what would be stored: the default where nothing is given."""
    stored = None if value is None or (value == 0 and not isinstance(value, bool)) else rule.check(value, kind)
    return _default(field, rule) if stored is None else stored


def _default(field: Field, rule: Rule) -> Any:  # noqa: ANN401 -- of any field
    name = rule.stored or field.name
    declared = next(each for each in structs.fields(Source) if each.name == name)
    return declared.default_factory() if callable(declared.default_factory) else declared.default


def _empty(field: Field, rule: Rule) -> Any:  # noqa: ANN401 -- of any field
    """Write a value that takes a field back to its default."""
    default = _default(field, rule)
    if default is not None and not isinstance(default, dict):
        return default
    empties: tuple[Any, ...] = ("", {}, 0)
    for empty in empties:
        try:
            return msgspec.convert(empty, field.plain)
        except msgspec.ValidationError:
            continue
    raise AssertionError(f"{field.name} has no empty value")


def _has_secret(services: Services, source: Source, secret: str) -> bool:
    """Tell whether a source's secret is this one already; one that does not open is another."""
    if not source.secrets:
        return False
    try:
        current = services.vault.open(source.secrets[0], profile_id=source.profile_id, source_id=source.id)
    except SecretUnreadable:
        return False
    return hmac.compare_digest(current, secret.encode())


# --- crons --------------------------------------------------------------------------------------------------------


def _by_name(crons: list[Cron]) -> dict[str, Cron]:
    """Name each cron by its label, or by its id where it has none or shares it."""
    labels = [cron.label for cron in crons]
    return {cron.label if cron.label and labels.count(cron.label) == 1 else cron.id: cron for cron in crons}


def _plan_cron(name: str, wanted: ConfigCron, known: Cron | None, zone: str, now: datetime) -> Step:
    timezone = parse_zone(wanted.timezone).key if wanted.timezone is not None else zone
    label = known.label if known is not None and known.id == name else check_label(name)
    after: dict[str, Any] = {
        "prompt": check_prompt(wanted.prompt),
        "session_tag": normalise_tag(wanted.session_tag),
        "priority": wanted.priority or Priority.NORMAL,
        "timezone": timezone,
        "missed": wanted.missed or Missed.LATEST,
        "overlap": wanted.overlap or Overlap.QUEUE,
        "jitter_seconds": check_jitter(wanted.jitter_seconds or 0),
        "paused": bool(wanted.paused),
    }
    passed = _has_passed(wanted, timezone, now)
    times = check_times(wanted.schedule, wanted.once, timezone, now) if not passed else {"schedule": None, "once": None}
    if passed:
        # Its one time is over: it ran, and is there no more, or is as it was.
        return Step("cron", name, "none")
    given = {each: after[each] for each in after if each != "paused"} | {"session_tag": wanted.session_tag or ""}
    given |= {"schedule": wanted.schedule, "once": wanted.once}
    if known is None:
        request = wire.CronCreate(request_id=NO_ID, label=label, **given)
        return Step("cron", name, "create", {"prompt": (None, after["prompt"])}, request, after["paused"] or None)
    before = {each: getattr(known, "tag" if each == "session_tag" else each) for each in after}
    before |= {"schedule": known.schedule, "once": known.once}
    after |= times
    different = [each for each in after if before[each] != after[each]]
    if not different:
        return Step("cron", name, "none")
    changed = {each: given[each] for each in different if each not in ("paused", "schedule", "once")}
    if {"schedule", "once", "timezone"} & set(different):
        changed |= {"schedule": wanted.schedule, "once": wanted.once, "timezone": timezone}
    fields = {_camel(each): (_plain(before[each]), _plain(after[each])) for each in different}
    request_update = wire.CronUpdate(request_id=NO_ID, cron_id=known.id, **changed)
    paused = after["paused"] if "paused" in different else None
    return Step("cron", name, "update", fields, request_update, paused)


def _has_passed(wanted: ConfigCron, zone: str, now: datetime) -> bool:
    if wanted.once is None or wanted.schedule is not None:
        return False
    try:
        moment = datetime.fromisoformat(wanted.once.strip())
    except ValueError:
        return False  # whoever reads it next says why
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=parse_zone(zone))) <= now


def _write_cron(cron: Cron, zone: str) -> dict[str, Any]:
    return _written({
        "schedule": cron.schedule,
        "once": cron.once,
        "prompt": cron.prompt,
        "sessionTag": cron.tag,
        "priority": None if cron.priority is Priority.NORMAL else cron.priority,
        "timezone": None if cron.timezone == zone else cron.timezone,
        "missed": None if cron.missed is Missed.LATEST else cron.missed,
        "overlap": None if cron.overlap is Overlap.QUEUE else cron.overlap,
        "jitterSeconds": cron.jitter_seconds or None,
        "paused": cron.paused or None,
    })  # fmt: skip


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(each.capitalize() for each in others)


def _plain(value: object) -> Any:  # noqa: ANN401 -- as JSON has it
    if isinstance(value, Enum):
        return value.value
    return None if value in (None, UNSET, {}, ()) else msgspec.to_builtins(value)


def _written(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what has its default: whoever reads it sees what somebody chose."""
    plain = {name: _plain(value) for name, value in fields.items()}
    return {
        name: value for name, value in plain.items()
        if value not in (None, "", {}, []) and (name, value) != ("priority", Priority.NORMAL.value)
    }  # fmt: skip
