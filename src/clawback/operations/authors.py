"""
Whose orders a cron or a source gives, and what one session may have another do.

`set_by` is `person` for whoever came by a page, the command line or the API, and `session:` and the tag for a session.
It names the author of the order, and not the last to touch it: a change that leaves some of another's order in place
makes nobody its author. So no session can have another's words, or its own, pass for somebody else's.

An order for another session is a message in all but its form: it counts against the same allowance, and a session that
takes no messages is given none.
"""

from clawback.errors import Rejected
from clawback.model import PERSON, SEVERAL_NAME, UNTAGGED_NAME, Address, Cron, is_foreign, session_author
from clawback.operations.caller import Caller, Services


def name_caller(caller: Caller) -> str:
    """Say who asks. Sessions come over a connection of their own; all else is done by people."""
    return PERSON if caller.connection_id is None else session_author(caller.session_tag)


def choose_author(known: str | None, changed_by: str, *, whole: bool) -> str | None:
    """
    Say whose an order is after a change; `known` is whose it was, None where nobody recorded that.

    `whole` says that the change brought all of the order. A person's change of the rest leaves the author; a session's
    makes the session answer for what it has moved, quickened or joined with its own.
    """
    if whole or known == changed_by:
        return changed_by
    if changed_by == PERSON:
        return known
    return changed_by if known in (None, PERSON) else session_author(SEVERAL_NAME)


async def check_order(services: Services, caller: Caller, *tags: str | None) -> None:
    """
    Check that the caller may give the sessions of these tags an order, and count it like a message.

    Raises:
        Rejected: the caller is another session, and one of them takes no messages.
        RateLimited: the sessions of the profile have sent too many messages and orders.
        Unavailable: NATS does not answer.
    """
    others = [tag for tag in dict.fromkeys(tags) if is_foreign(name_caller(caller), tag)]
    if not others:
        return
    quiet = await services.registry.quiet_among(caller.profile_id, others)
    if quiet:
        raise Rejected(
            f"refused: {quiet[0] or UNTAGGED_NAME} takes no orders from other sessions, because sessionMessaging is"
            " false there. Use a tag of your own, have it switched on there, or have a person do it"
        )
    services.messages.count(Address(caller.profile_id, caller.session_tag))


def cron_is_whole(changes: dict[str, object], cron: Cron) -> bool:
    """Whether these changes of a cron bring all of its order."""
    return "prompt" in changes and ("label" in changes or cron.label is None)
