"""Crons: made, changed, paused, run at once, listed, deleted."""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

import msgspec

from clawback import wire
from clawback.errors import NotFound, Rejected
from clawback.fabric.subjects import normalise_tag
from clawback.model import Cron, Missed, Overlap, Priority, new_id
from clawback.operations import source_rules as rules
from clawback.operations.authors import check_order, choose_author, cron_is_whole, name_caller
from clawback.operations.caller import UNREADABLE, Caller, Services, check_quota, disabled, find_profile, page_of
from clawback.schedules import find_zone, parse_expression, parse_zone

MAX_LABEL_CHARACTERS = 200
MAX_JITTER_SECONDS = 3600

BREATH = 20
"""Crons that are shown before others have their turn: each takes up to a millisecond."""

log = logging.getLogger("clawback.operations")


async def create_cron(services: Services, caller: Caller, request: wire.CronCreate) -> dict[str, Any]:
    """
    Make a cron.

    Raises:
        Rejected: a field is wrong; the text has the rule.
        Unavailable: not known to be stored.
    """
    profile = await find_profile(services, caller)
    there = len(services.registry.list_crons(caller.profile_id))
    check_quota(services.quotas.max_crons, there, "crons", "max_crons")
    now = services.crons.now()
    zone = request.timezone or profile.timezone
    cron = Cron(
        id=new_id("crn"),
        profile_id=caller.profile_id,
        created_at=now,
        since=now,
        prompt=check_prompt(request.prompt),
        timezone=zone,
        label=check_label(request.label),
        tag=rules.choose_tag(request, caller.session_tag),
        priority=request.priority or Priority.NORMAL,
        missed=request.missed or Missed.LATEST,
        overlap=request.overlap or Overlap.QUEUE,
        jitter_seconds=check_jitter(request.jitter_seconds or 0),
        set_by=name_caller(caller),
    )
    cron = msgspec.structs.replace(cron, **check_times(request.schedule, request.once, zone, now))
    await check_order(services, caller, cron.tag)
    await services.crons.create(cron)
    log.info("cron created", extra={"action": "cron_created", "profile": caller.profile_id, "cron": cron.id})
    return _answer(services, cron)


async def update_cron(services: Services, caller: Caller, request: wire.CronUpdate) -> dict[str, Any]:
    """
    Change what is given of a cron. With other times it begins anew: nothing that was due before is made up for.

    Raises:
        Rejected: a field is wrong, or nothing is given.
        NotFound: the profile has no such cron.
        Unavailable: not known to be stored.
    """
    now = services.crons.now()
    changes: dict[str, Any] = {
        "prompt": None if request.prompt is None else check_prompt(request.prompt),
        "priority": request.priority,
        "missed": request.missed,
        "overlap": request.overlap,
        "jitter_seconds": None if request.jitter_seconds is None else check_jitter(request.jitter_seconds),
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if request.label is not None:
        changes["label"] = check_label(request.label)
    if request.session_tag is not None:
        changes["tag"] = normalise_tag(request.session_tag)
    if request.timezone is not None:
        changes |= {"timezone": parse_zone(request.timezone).key, "since": now}
    retimed = request.schedule is not None or request.once is not None
    if not changes and not retimed:
        raise Rejected("nothing to change: give at least one field besides cronId")

    known = await _find(services, caller, request.cron_id)
    await check_order(services, caller, known.tag, changes.get("tag", known.tag))

    def change(cron: Cron) -> Cron:
        author = choose_author(cron.set_by, name_caller(caller), whole=cron_is_whole(changes, cron))
        cron = msgspec.structs.replace(cron, set_by=author)
        times = {}
        if retimed:
            zone = request.timezone or cron.timezone
            times = check_times(request.schedule, request.once, zone, now) | {"since": now}
        return msgspec.structs.replace(cron, **changes, **{name: times[name] for name in times if name not in changes})

    cron = await services.crons.change(caller.profile_id, request.cron_id, change)
    log.info("cron changed", extra={"action": "cron_updated", "profile": caller.profile_id, "cron": cron.id})
    return _answer(services, cron)


async def pause_cron(services: Services, caller: Caller, request: wire.CronPause) -> dict[str, Any]:
    """
    Have a cron not run until it is resumed.

    Raises:
        NotFound: the profile has no such cron.
        Unavailable: not known to be stored.
    """
    cron = await services.crons.change(
        caller.profile_id, request.cron_id, lambda cron: msgspec.structs.replace(cron, paused=True)
    )
    return _answer(services, cron)


async def resume_cron(services: Services, caller: Caller, request: wire.CronResume) -> dict[str, Any]:
    """
    Have a cron run again, from now on.

    Raises:
        Rejected: it was to run once, and that time has passed.
        NotFound: the profile has no such cron.
        Unavailable: not known to be stored.
    """
    now = services.crons.now()

    def resume(cron: Cron) -> Cron:
        if not cron.paused:
            return cron
        if cron.once is not None and cron.once <= now:
            raise Rejected("its one time has passed while it was paused: give it another with cron_update first")
        return msgspec.structs.replace(cron, paused=False, since=now)

    return _answer(services, await services.crons.change(caller.profile_id, request.cron_id, resume))


async def run_cron_now(services: Services, caller: Caller, request: wire.CronRunNow) -> dict[str, Any]:
    """
    Store an event of a cron at once; its schedule stays as it is.

    Raises:
        NotFound: the profile has no such cron.
        QueueFull: its line is full.
        Unavailable: not known to be stored.
    """
    cron = await _find(services, caller, request.cron_id)
    await check_order(services, caller, cron.tag)
    return _answer(services, cron) | {"eventId": await services.crons.run_now(cron, name_caller(caller))}


async def _find(services: Services, caller: Caller, cron_id: str) -> Cron:
    cron = await services.registry.find_cron(caller.profile_id, cron_id)
    if cron is None:
        raise NotFound(f"there is no cron {cron_id[:80]!a}; cron_list shows those there are")
    return cron


async def list_crons(services: Services, caller: Caller, request: wire.CronList) -> list[dict[str, Any]]:
    """
    List the profile's crons, oldest first; at the end those that cannot be read, which are disabled.

    Raises:
        Rejected: there is no such page.
    """
    crons = {cron.id: cron for cron in services.registry.list_crons(caller.profile_id)}
    unreadable = services.registry.unreadable_crons(caller.profile_id)
    listed = []
    for number, cron_id in enumerate(page_of([*crons, *unreadable], request.limit, request.after), start=1):
        cron = crons.get(cron_id)
        listed.append(disabled(cron_id, UNREADABLE) if cron is None else _show(services, cron))
        if number % BREATH == 0:
            await asyncio.sleep(0)  # others are waiting
    return listed


def _show(services: Services, cron: Cron) -> dict[str, Any]:
    try:
        reason = None if cron.paused else services.crons.why_aside(cron)
        return _answer(services, cron) if reason is None else disabled(cron.id, reason)
    except Rejected as error:
        return disabled(cron.id, str(error))
    except Exception:
        # One record that meets a bug does not hide the others.
        log.exception("cron %s cannot be shown", cron.id)
        return disabled(cron.id, UNREADABLE)


async def delete_cron(services: Services, caller: Caller, request: wire.CronDelete) -> dict[str, Any]:
    """
    Delete a cron; events of it that wait are delivered.

    Raises:
        Unavailable: not known to be deleted.
    """
    removed = await services.crons.delete(caller.profile_id, request.cron_id)
    if removed:
        log.info(
            "cron deleted", extra={"action": "cron_deleted", "profile": caller.profile_id, "cron": request.cron_id}
        )
    return {"removed": removed}


def check_times(schedule: str | None, once: str | None, zone: str, now: datetime) -> dict[str, Any]:
    """
    Check when a cron is to run: by a schedule, or once, which is read in the zone where it names no offset.

    Raises:
        Rejected: both or neither are given, one of them is none, or once has passed.
    """
    found = parse_zone(zone)
    if (schedule is None) == (once is None):
        raise Rejected("give either schedule (five cron fields) or once (a time), and not both")
    if schedule is not None:
        parse_expression(schedule)
        return {"schedule": " ".join(schedule.split()), "once": None}
    assert once is not None, "one of the two is given"
    try:
        moment = datetime.fromisoformat(once.strip())
        moment = (moment if moment.tzinfo is not None else moment.replace(tzinfo=found)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Rejected(
            f"once refused, read {once[:80]!a}: accepted is a time such as 2027-01-31T09:00, in the timezone, or with"
            " an offset, such as 2027-01-31T09:00:00+01:00"
        ) from None
    if moment <= now:
        raise Rejected(f"once refused, it has passed: it is {now:%Y-%m-%dT%H:%M:%SZ} now; cron_run_now runs at once")
    return {"schedule": None, "once": moment.replace(microsecond=0)}


def check_prompt(prompt: str) -> str:
    """
    Check what a session is to do.

    Raises:
        Rejected: it is empty or too long.
    """
    checked = rules.check_instruction(prompt, "prompt")
    if checked is None or not checked.strip():
        raise Rejected("the prompt is empty: say what the session is to do, or name a skill such as /review")
    return checked


def check_label(label: str | None) -> str | None:
    """
    Check a label; an empty one is none.

    Raises:
        Rejected: it is too long.
    """
    if label and len(label) > MAX_LABEL_CHARACTERS:
        raise Rejected(f"label has {len(label)} characters: accepted are at most {MAX_LABEL_CHARACTERS}")
    return rules.check_instruction(label, "label")


def check_jitter(seconds: int) -> int:
    """
    Check how late a cron may run.

    Raises:
        Rejected: too much, or less than nothing.
    """
    if not 0 <= seconds <= MAX_JITTER_SECONDS:
        raise Rejected(f"jitterSeconds refused, read {seconds}: accepted is 0 to {MAX_JITTER_SECONDS}")
    return seconds


def _answer(services: Services, cron: Cron) -> dict[str, Any]:
    upcoming = services.crons.upcoming(cron)
    zone = find_zone(cron.timezone)
    answer: dict[str, Any] = {
        "id": cron.id,
        "schedule": cron.schedule,
        "once": cron.once,
        "prompt": cron.prompt,
        "label": cron.label,
        "sessionTag": cron.tag,
        "priority": cron.priority.value,
        "timezone": cron.timezone,
        "missed": cron.missed.value,
        "overlap": cron.overlap.value,
        "jitterSeconds": cron.jitter_seconds or None,
        "paused": cron.paused or None,
        "nextRunAt": upcoming[0] if upcoming else None,
        "lastRunAt": cron.last_run_at,
        "setBy": cron.set_by,
    }
    # By the clock of the zone, so that a wrong zone shows.
    runs = [due.astimezone(zone).isoformat() for due in upcoming]
    return {name: value for name, value in answer.items() if value is not None} | {"nextRuns": runs}
