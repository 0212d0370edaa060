"""Messages to other sessions of the profile."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from clawback import wire
from clawback.errors import Rejected
from clawback.fabric.subjects import normalise_tag
from clawback.model import API_NAME, UNTAGGED_NAME, Address, Priority
from clawback.operations.caller import Caller, Services, check_messaging
from clawback.wire import MAX_CONTENT_CHARACTERS

EVERYBODY = "*"

MAX_TARGETS = 100
"""Of one message: they are stored in one atomic batch."""


async def send_message(services: Services, caller: Caller, request: wire.SessionSend) -> dict[str, Any]:
    """
    Send a message to sessions by their tags, or to every connected one but the caller's.

    Tags that nothing ever used are `unknown` in the answer, with what they look most like in `nearest`: the message
    waits there for a session that may never come.

    Raises:
        Rejected: the content or a target is none, a target takes no messages, or the caller has switched them off.
        RateLimited: the caller has sent too many.
        QueueFull: too many messages of the caller wait for one of the targets.
        Unavailable: NATS does not answer.
    """
    check_messaging(caller)
    content, targets = check_content(request.content), check_targets(request.targets)
    # Who asks over no connection is no session: `*` leaves none out for it, and nobody is to answer to one.
    sender = Address(caller.profile_id, API_NAME if caller.connection_id is None else caller.session_tag)
    priority = request.priority or Priority.NORMAL
    unknown: dict[str, Any] = {}
    if targets is None:
        outcome = await services.messages.send_to_all(sender, content, priority)
    else:
        await _check_listening(services, caller.profile_id, targets)
        # Before it is sent: whoever is told that this failed may send it again.
        unknown = await _find_unknown(services, caller.profile_id, targets)
        outcome = await services.messages.send(sender, targets, content, priority)
    answer = {"sent": outcome.sent, "queued": outcome.queued, **unknown}
    return answer | {"unconfirmed": outcome.unconfirmed} if outcome.unconfirmed else answer


def check_content(content: str) -> str:
    """
    Check the text of a message.

    Raises:
        Rejected: there is none, or more than a session is given at once.
    """
    if not content.strip():
        raise Rejected("the message is empty: give the text to send")
    if len(content) > MAX_CONTENT_CHARACTERS:
        raise Rejected(
            f"the message has {len(content):,} characters: accepted are at most {MAX_CONTENT_CHARACTERS:,}; put a long"
            " text into a file or a repository and send where it is"
        )
    return content


def check_targets(targets: Sequence[str]) -> tuple[str | None, ...] | None:
    """
    Read whom a message is for: tags, each once (None: untagged), or None for everybody.

    Raises:
        Rejected: nobody is named, too many are, a target is no tag, or `*` is not alone.
    """
    named = dict.fromkeys(targets)
    if EVERYBODY in named:
        if len(named) > 1:
            raise Rejected("* means every connected session, and cannot stand with other targets: send twice")
        return None
    if not named or "" in named:
        raise Rejected(
            f"{'a target is empty' if named else 'no target is given'}: accepted are tags, {UNTAGGED_NAME} for sessions"
            " without one, or * for every connected session"
        )
    tags = tuple(dict.fromkeys(normalise_tag(target) for target in named))
    if len(tags) > MAX_TARGETS:
        raise Rejected(f"{len(tags)} targets: accepted are at most {MAX_TARGETS} for one message")
    return tags


async def _check_listening(services: Services, profile_id: str, tags: Sequence[str | None]) -> None:
    quiet = [tag or UNTAGGED_NAME for tag in await services.registry.quiet_among(profile_id, tags)]
    if quiet:
        raise Rejected(
            f"nothing was sent: {', '.join(quiet)} {'takes' if len(quiet) == 1 else 'take'} no messages, because"
            " sessionMessaging is false there. Leave it out, or have it switched on there"
        )


async def _find_unknown(services: Services, profile_id: str, tags: Sequence[str | None]) -> dict[str, Any]:
    """Find the tags that no session ever had and no source or cron addresses, as the fields of an answer."""
    sources, crons = services.registry.list_sources(profile_id), services.registry.list_crons(profile_id)
    known = {each.tag for each in sources} | {each.tag for each in crons}
    known |= {entry.address.tag for entry in await services.sessions(profile_id)}
    if known.issuperset(named := [tag for tag in tags if tag is not None]):
        return {}
    known |= await services.inventory.used_tags(profile_id)
    unknown = [tag for tag in named if tag not in known]
    close = {tag: near for tag in unknown if (near := nearest_tag(tag, known)) is not None}
    return {name: found for name, found in (("unknown", unknown), ("nearest", close)) if found}


def nearest_tag(tag: str, known: Iterable[str | None]) -> str | None:
    """Name the tag that looks most like another, whatever its case; None where nothing does."""
    by_folded = {each.casefold(): each for each in sorted(each for each in known if each is not None)}
    found = difflib.get_close_matches(tag.casefold(), by_folded, n=1)
    return by_folded[found[0]] if found else None
