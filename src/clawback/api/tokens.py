"""`/tokens`: what opens the API and connects sessions. A value is shown once, when its token is made."""

from datetime import datetime
from typing import Annotated, Any

from litestar import Controller, Response, delete, get, post
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, UnsetType

from clawback import wire
from clawback.accounts.tokens import MAX_LABEL_CHARACTERS
from clawback.api.answers import Answer, created, documented
from clawback.api.asking import Ask, unknown
from clawback.api.requests import After, Body, PageLimit
from clawback.operations.tokens import revoke_token


class Token(Answer, frozen=True):
    """What is known of a token; its value is not. A disabled one cannot be read, and has a reason instead."""

    id: str
    current: Annotated[bool, Meta(description="Whether it is the one of this request")]
    label: str | UnsetType | None = UNSET
    last_seen: Annotated[datetime, Meta(description="To the hour; null for never")] | UnsetType | None = UNSET
    created_at: datetime | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class TokenList(Answer, frozen=True):
    """The profile's tokens, oldest first."""

    items: list[Token]


class NewToken(Answer, frozen=True):
    """A token that was made: the only time that its value is shown."""

    token: str
    id: str
    label: str | UnsetType | None = UNSET


class TokenLabel(Body, frozen=True):
    """What the token is called in lists."""

    label: Annotated[str, Meta(max_length=MAX_LABEL_CHARACTERS, description="Printable characters")] | None = None


EXAMPLE = {
    "id": "tok_x3jv6r2k7nsa5xweq4bd",
    "current": True,
    "label": "laptop",
    "lastSeen": "2027-01-31T09:00:00Z",
    "createdAt": "2027-01-01T12:30:05.123456Z",
}
NEW = {"token": "cbt_… (53 characters, shown this once)", "id": EXAMPLE["id"], "label": "laptop"}
ROTATED = {"token": NEW["token"], "id": EXAMPLE["id"]}


class TokenController(Controller):
    """Tokens."""

    path = "/tokens"
    tags = ("tokens",)

    @get(
        operation_id="token_list",
        summary="List tokens",
        responses=documented(200, TokenList, {"items": [EXAMPLE]}, 400),
    )
    async def list_all(self, ask: Ask, limit: PageLimit = None, after: After = None) -> object:
        """List the profile's tokens, oldest first, without their values."""
        return await ask.all(wire.TokenList, limit=limit, after=after)

    @get(
        "/{token_id:str}",
        operation_id="token_get",
        summary="Show a token",
        responses=documented(200, Token, EXAMPLE, 404),
    )
    async def one(self, ask: Ask, token_id: FromPath[str]) -> object:
        """Show one of the profile's tokens, without its value."""
        return await ask.one(wire.TokenList, "token", token_id)

    @post(operation_id="token_create", summary="Make a token", responses=documented(201, NewToken, NEW, body=True))
    async def create(self, ask: Ask, data: JSONBody[TokenLabel]) -> Response[dict[str, Any]]:
        """Make a token for the caller's profile. The answer is the only time its value is shown."""
        answer = await ask.body(wire.TokenCreate, data)
        return created(answer, f"/tokens/{answer['id']}")

    @post(
        "/rotate",
        operation_id="token_rotate",
        summary="Replace the caller's token",
        responses=documented(201, NewToken, ROTATED, 409, body=True),
    )
    async def rotate(self, ask: Ask, data: JSONBody[TokenLabel]) -> Response[dict[str, Any]]:
        """
        Replace the token of this request by a new one, which keeps its label unless another is given.

        The old one opens nothing more at once, and connections that it opened are closed.
        """
        answer = await ask.body(wire.TokenRotate, data)
        return created(answer, f"/tokens/{answer['id']}")

    @delete(
        "/{token_id:str}",
        operation_id="token_delete",
        summary="Revoke a token",
        responses=documented(204, None, None, 404, 409),
    )
    async def revoke(self, ask: Ask, token_id: FromPath[str]) -> None:
        """Revoke a token, the caller's own among them: it opens nothing more, and what it opened is closed."""
        if not await revoke_token(ask.services, ask.caller, token_id):
            raise unknown("token", token_id)
