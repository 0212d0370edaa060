"""`/sessions`: who is connected."""

from datetime import datetime
from typing import Annotated, Literal

from litestar import Controller, delete, get
from litestar.params import QueryParameter
from msgspec import Meta

from clawback import wire
from clawback.api.answers import Answer, documented
from clawback.api.asking import Ask
from clawback.fabric.subjects import normalise_tag
from clawback.operations.sessions import close_sessions


class Session(Answer, frozen=True):
    """A connection. The active one of a tag is given its events, the others stand by."""

    session_tag: Annotated[str | None, Meta(description="null: without a tag")]
    role: Literal["active", "standby"]
    connected_at: datetime
    current: Annotated[bool, Meta(description="Whether this request came over it; over the API none does")]


class SessionList(Answer, frozen=True):
    """The profile's connections on every server, the longest connected first."""

    items: list[Session]


EXAMPLE = {"sessionTag": "builds", "role": "active", "connectedAt": "2027-01-31T09:00:05Z", "current": False}


class ClosedSessions(Answer, frozen=True):
    """How many connections were closed."""

    closed: int


class SessionController(Controller):
    """Sessions."""

    path = "/sessions"
    tags = ("sessions",)

    @get(
        operation_id="session_list",
        summary="List connected sessions",
        responses=documented(200, SessionList, {"items": [EXAMPLE]}),
    )
    async def list_all(self, ask: Ask) -> object:
        """List the profile's connections on every server, the longest connected first."""
        return await ask.all(wire.SessionList)

    @delete(
        operation_id="session_close",
        summary="Close a session's connections",
        status_code=200,
        responses=documented(200, ClosedSessions, {"closed": 1}),
    )
    async def close(
        self,
        ask: Ask,
        session_tag: Annotated[
            str | None, QueryParameter(name="sessionTag", description="Which session; left out: the one without a tag")
        ] = None,
    ) -> object:
        """
        Close every connection of a session, its standbys included, with 4401; what it held waits for the next.

        Clients may connect again while their token is valid: revoke that first to keep them out.
        """
        return {"closed": await close_sessions(ask.services, ask.caller, normalise_tag(session_tag))}
