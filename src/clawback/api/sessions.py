"""`/sessions`: who is connected."""

from datetime import datetime
from typing import Annotated, Literal

from litestar import Controller, get
from msgspec import Meta

from clawback import wire
from clawback.api.answers import Answer, documented
from clawback.api.asking import Ask


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
