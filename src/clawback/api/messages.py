"""`/messages`: to sessions, from every holder of a token."""

from typing import Annotated

from litestar import Controller, post
from litestar.params import JSONBody
from msgspec import UNSET, Meta, UnsetType

from clawback import wire
from clawback.api.answers import Answer, documented
from clawback.api.asking import Ask
from clawback.api.requests import Body
from clawback.model import Priority
from clawback.operations.messages import MAX_TARGETS


class Sent(Answer, frozen=True):
    """What became of a message."""

    sent: Annotated[int, Meta(description="Sessions that were connected when it was stored")]
    queued: Annotated[int, Meta(description="Sessions that were offline, and get it when they connect")]
    unknown: (
        Annotated[
            list[str],
            Meta(description="Tags that no session ever had and no source or cron addresses; it waits there"),
        ]
        | UnsetType
    ) = UNSET
    nearest: (
        Annotated[dict[str, str], Meta(description="For such tags: the one that exists and looks most like it")]
        | UnsetType
    ) = UNSET
    unconfirmed: Annotated[int, Meta(description="Sessions that may get it or not")] | UnsetType = UNSET


class Message(Body, frozen=True):
    """A message to be sent."""

    targets: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1, max_length=MAX_TARGETS, description="Tags, (untagged), or * alone for every connected session"
        ),
    ]
    content: Annotated[str, Meta(min_length=1, max_length=wire.MAX_CONTENT_CHARACTERS)]
    priority: Priority | None = None


class MessageController(Controller):
    """Messages."""

    path = "/messages"
    tags = ("messages",)

    @post(
        operation_id="session_send",
        summary="Send a message to sessions",
        status_code=200,
        responses=documented(200, Sent, {"sent": 1, "queued": 1}, body=True),
    )
    async def send(self, ask: Ask, data: JSONBody[Message]) -> object:
        """
        Send a message to sessions by their tags, or to every connected one.

        It is stored for all of them or for none, and comes from `(api)`, which is no session.
        """
        return await ask.body(wire.SessionSend, data)
