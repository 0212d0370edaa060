"""
What can be asked of a server: one function for each request, whatever carried it.

Each takes the services, the caller and the request as it stands on the wire, and returns the answer's `data` as plain
values (instants as aware UTC datetimes), in the shapes of docs/protocol.md. Errors are those of the error tree, with
texts for the user. What belongs to another profile is as unknown as what does not exist.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from clawback import wire
from clawback.errors import Rejected
from clawback.operations.account import account_info, update_account
from clawback.operations.caller import Caller, Quotas, Services
from clawback.operations.crons import (
    create_cron,
    delete_cron,
    list_crons,
    pause_cron,
    resume_cron,
    run_cron_now,
    update_cron,
)
from clawback.operations.event_payload import read_payload
from clawback.operations.events import (
    ack_event,
    defer_event,
    discard_events,
    extend_event,
    fail_event,
    list_events,
    next_event,
    note_seen,
    replay_event,
)
from clawback.operations.history import event_history
from clawback.operations.messages import send_message
from clawback.operations.sessions import list_sessions, take_over_session
from clawback.operations.sources import create_source, delete_source, list_sources, update_source
from clawback.operations.tokens import create_token, list_tokens, rotate_token

__all__ = ["OPERATIONS", "Caller", "Quotas", "Services", "perform"]

Operation = Callable[[Services, Caller, Any], Awaitable[Any]]

OPERATIONS: dict[type[wire.Request | wire.Ack], Operation] = {
    wire.Ack: ack_event,
    wire.SourceCreate: create_source,
    wire.SourceList: list_sources,
    wire.SourceUpdate: update_source,
    wire.SourceDelete: delete_source,
    wire.EventHistory: event_history,
    wire.EventExtend: extend_event,
    wire.EventDefer: defer_event,
    wire.EventFail: fail_event,
    wire.EventSeen: note_seen,
    wire.EventNext: next_event,
    wire.EventList: list_events,
    wire.EventPayload: read_payload,
    wire.EventReplay: replay_event,
    wire.EventDiscard: discard_events,
    wire.AccountInfo: account_info,
    wire.AccountUpdate: update_account,
    wire.TokenCreate: create_token,
    wire.TokenList: list_tokens,
    wire.TokenRotate: rotate_token,
    wire.SessionList: list_sessions,
    wire.SessionSend: send_message,
    wire.SessionTakeover: take_over_session,
    wire.CronCreate: create_cron,
    wire.CronUpdate: update_cron,
    wire.CronPause: pause_cron,
    wire.CronResume: resume_cron,
    wire.CronRunNow: run_cron_now,
    wire.CronList: list_crons,
    wire.CronDelete: delete_cron,
}


async def perform(services: Services, caller: Caller, request: wire.Request | wire.Ack) -> Any:  # noqa: ANN401 - shaped by the request
    """
    Carry out a request and return the answer's `data`.

    Raises:
        Rejected: this server does not offer the request.
        ClawbackError: what its operation raises.
    """
    operation = OPERATIONS.get(type(request))
    if operation is None:
        raise Rejected(f"{request.__struct_config__.tag} is not offered by this server; a newer one may have it")
    return await operation(services, caller, request)
