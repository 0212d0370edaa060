"""`/account`: who the caller is, where its webhooks go, and what counts for the whole profile."""

from typing import Annotated

from litestar import Controller, get, patch
from litestar.params import JSONBody
from msgspec import Meta

from clawback import wire
from clawback.api.answers import Answer, documented
from clawback.api.asking import Ask
from clawback.api.requests import Body
from clawback.fields import MAX_TIMEOUT_SECONDS, MIN_TIMEOUT_SECONDS


class Account(Answer, frozen=True):
    """The caller's profile."""

    profile_id: str
    webhook_id: str
    webhook_base_url: Annotated[str, Meta(description="A slash and a source's slug complete it to the source's URL")]
    connected_clients: Annotated[int, Meta(description="Sessions connected now, on every server")]
    timeout_seconds: Annotated[int, Meta(description="How long an event may be active where its source does not say")]
    timezone: Annotated[str, Meta(description="What crons are in where they do not say; an IANA name")]


class AccountChange(Body, frozen=True):
    """What is to be changed; what is left out stays as it is."""

    timeout_seconds: Annotated[int, Meta(ge=MIN_TIMEOUT_SECONDS, le=MAX_TIMEOUT_SECONDS)] | None = None
    timezone: Annotated[str, Meta(description="An IANA name, such as Europe/Berlin")] | None = None


EXAMPLE = {
    "profileId": "q3jv6r2k7nsa5xwe",
    "webhookId": "m5o2w7c4h6x3k9p8a2d4f6g8j2",
    "webhookBaseUrl": "https://hooks.example.com/webhooks/m5o2w7c4h6x3k9p8a2d4f6g8j2",
    "connectedClients": 2,
    "timeoutSeconds": 1800,
    "timezone": "Europe/Berlin",
}


class AccountController(Controller):
    """The account."""

    path = "/account"
    tags = ("account",)

    @get(operation_id="account_info", summary="Who the caller is", responses=documented(200, Account, EXAMPLE))
    async def info(self, ask: Ask) -> object:
        """Say who the caller is, where its webhooks go, and how many of its sessions are connected."""
        return await ask(wire.AccountInfo)

    @patch(
        operation_id="account_update",
        summary="Change the time-out or the time zone",
        responses=documented(200, Account, EXAMPLE, body=True),
    )
    async def update(self, ask: Ask, data: JSONBody[AccountChange]) -> object:
        """Change what is given. What is delivered already keeps its time, and a cron that is made already its zone."""
        return await ask.body(wire.AccountUpdate, data)
