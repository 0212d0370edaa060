"""`/sources`: the endpoints that accept webhooks."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Controller, Response, delete, get, patch, post
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, UnsetType

from clawback import wire
from clawback.api.answers import Answer, created, documented, showing
from clawback.api.asking import Ask
from clawback.api.requests import After, Body, PageLimit
from clawback.fields import SourceFields
from clawback.model import DeliveryRule, EventTypeRule, SignatureRule
from clawback.operations.source_rules import MAX_OVERLAP_SECONDS, MAX_SECRET_BYTES, choose_type, list_types

Tag = Annotated[str, Meta(description="The session whose events these are; empty or (untagged): without a tag")]
Secret = Annotated[str, Meta(max_length=MAX_SECRET_BYTES, description="What the sender signs with")]
SetBy = Annotated[str, Meta(description="Whose order it gives: person, or session: and the tag of a session")]
Type = Annotated[str, Meta(max_length=64, description="A preset, such as github, or hmac, token, basic, query, none")]
Slug = Annotated[
    str, Meta(pattern="^[A-Za-z0-9._-]{1,64}$", description="The last part of the URL, and neither . nor ..")
]


class EventTypePlace(EventTypeRule, frozen=True, forbid_unknown_fields=True):
    """Where the event type stands: a header, else a dotted path in the body; `action` is a path that is appended."""


class SignaturePlace(SignatureRule, frozen=True, forbid_unknown_fields=True):
    """Of type `generic`: where the signature stands, how it is made and written; a given prefix is mandatory."""


class DeliveryPlace(DeliveryRule, frozen=True, forbid_unknown_fields=True):
    """Where the id stands by which a delivery that comes again is known: a header, else a dotted path in the body."""


@showing(SourceFields)
class Source(Answer, frozen=True):
    """A source. Its secret is never shown. A disabled one verifies nothing, for the reason that it has then."""

    id: str
    slug: str | UnsetType = UNSET
    url: Annotated[str, Meta(description="Where its webhooks go")] | UnsetType = UNSET
    type: str | UnsetType = UNSET
    old_secret_until: datetime | UnsetType = UNSET
    connected_at: (
        Annotated[datetime, Meta(description="When its sender last said that it is there, by a ping or a question")]
        | UnsetType
    ) = UNSET
    secret: Annotated[str, Meta(description="One that the server made, this once")] | UnsetType = UNSET
    setup: (
        Annotated[list[str], Meta(description="Of a new source: what a person does at the sender, line by line")]
        | UnsetType
    ) = UNSET
    awaits_secret: (
        Annotated[bool, Meta(description="Whether its sender is still to bring the secret, in its first request")]
        | UnsetType
    ) = UNSET
    verification_token: (
        Annotated[str, Meta(description="What its sender brought and a person enters there, until the first event")]
        | UnsetType
    ) = UNSET
    set_by: SetBy | UnsetType = UNSET
    warning: Annotated[str, Meta(description="What its owner takes upon themselves")] | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class SourceList(Answer, frozen=True):
    """The profile's sources, oldest first."""

    items: list[Source]


class _SourceBody(Body, SourceFields, frozen=True, kw_only=True):
    """The declared fields. Their own fields are strict here: one that nobody knows is a mistake."""

    event_type: EventTypePlace | None = None
    signature: SignaturePlace | None = None
    delivery_id: DeliveryPlace | None = None


class NewSource(_SourceBody, frozen=True, kw_only=True):
    """A source to be made; each field as of source_create in docs/protocol.md."""

    slug: Slug
    verifier_type: Type | None = None
    type: Annotated[Type, Meta(description="Another name of verifierType: one of them is needed")] | None = None
    secret: Secret | None = None
    generate_secret: Annotated[bool, Meta(description="Have the server make the secret")] | None = None


class SourceChange(_SourceBody, frozen=True):
    """What is to be changed; what is left out stays as it is, what is empty goes back to its default."""

    verifier_type: Annotated[Type, Meta(description="It stays what it is: another one is refused")] | None = None
    type: Annotated[Type, Meta(description="Another name of verifierType")] | None = None
    secret: Secret | None = None
    generate_secret: Annotated[bool, Meta(description="Have the server make the secret")] | None = None
    overlap_seconds: (
        Annotated[int, Meta(ge=0, le=MAX_OVERLAP_SECONDS, description="How long the old secret is accepted too")] | None
    ) = None


def _with_one_type(body: NewSource | SourceChange) -> dict[str, Any]:
    """Return the fields of a body, its type under the one name that it has inside."""
    fields = msgspec.structs.asdict(body)
    return fields | {"verifier_type": choose_type(fields.pop("verifier_type"), fields.pop("type"))}


EXAMPLE = {
    "id": "src_x3jv6r2k7nsa5xweq4bd",
    "slug": "github",
    "url": "https://hooks.example.com/webhooks/m5o2w7c4h6x3k9p8a2d4f6g8j2/github",
    "type": "github",
    "routes": {"pull_request.opened": "/review"},
    "sessionTag": "builds",
    "priority": "normal",
}
WITH_SECRET = EXAMPLE | {"secret": "the secret that the server made, shown this once"}


class SourceType(Answer, frozen=True):
    """What a source can be: a preset for one sender, or a mechanism."""

    type: str
    title: str
    steps: Annotated[
        list[str], Meta(description="What a person does there; {url}, {secret} and {verify} are the source's")
    ]
    shows_secret: Annotated[bool, Meta(description="Whether the sender makes the secret, and takes none of ours")]
    example_type: Annotated[str, Meta(description="An event type that it sends; empty where it has none")]


class SourceTypeList(Answer, frozen=True):
    """Every type, senders first."""

    items: list[SourceType]


EXAMPLE_TYPE = {
    "type": "pagerduty",
    "title": "PagerDuty",
    "steps": ["Open Integrations, Generic Webhooks (v3), New Webhook.", "Enter the URL {url}."],
    "showsSecret": True,
    "exampleType": "incident.triggered",
}


class SourceTypeController(Controller):
    """Types of sources."""

    path = "/source-types"
    tags = ("sources",)

    @get(
        operation_id="source_types",
        summary="List the types that a source can have",
        responses=documented(200, SourceTypeList, {"items": [EXAMPLE_TYPE]}),
    )
    async def list_all(self) -> object:
        """List the presets and mechanisms that this server knows, and how each is set up."""
        return {"items": list_types()}


class SourceController(Controller):
    """Sources."""

    path = "/sources"
    tags = ("sources",)

    @get(
        operation_id="source_list",
        summary="List sources",
        responses=documented(200, SourceList, {"items": [EXAMPLE]}, 400),
    )
    async def list_all(self, ask: Ask, limit: PageLimit = None, after: After = None) -> object:
        """List the profile's sources, oldest first, without their secrets."""
        return await ask.all(wire.SourceList, limit=limit, after=after)

    @get(
        "/{source_id:str}",
        operation_id="source_get",
        summary="Show a source",
        responses=documented(200, Source, EXAMPLE, 404),
    )
    async def one(self, ask: Ask, source_id: FromPath[str]) -> object:
        """Show one of the profile's sources, without its secret."""
        return await ask.one(wire.SourceList, "source", source_id)

    @post(
        operation_id="source_create",
        summary="Make a source",
        responses=documented(201, Source, WITH_SECRET, 409, body=True),
    )
    async def create(self, ask: Ask, data: JSONBody[NewSource]) -> Response[dict[str, Any]]:
        """Make a source. The answer has its secret only if the server made it, this once."""
        answer = await ask(wire.SourceCreate, **_with_one_type(data))
        return created(answer, f"/sources/{answer['id']}")

    @patch(
        "/{source_id:str}",
        operation_id="source_update",
        summary="Change a source",
        responses=documented(200, Source, EXAMPLE, 404, 409, body=True),
    )
    async def update(self, ask: Ask, source_id: FromPath[str], data: JSONBody[SourceChange]) -> object:
        """
        Change what is given of a source, for requests that come from now on.

        With a new secret the one before is accepted too, for a day unless `overlapSeconds` says otherwise.
        """
        return await ask(wire.SourceUpdate, **_with_one_type(data), source_id=source_id)

    @delete(
        "/{source_id:str}",
        operation_id="source_delete",
        summary="Delete a source",
        responses=documented(204, None, None, 404, 409),
    )
    async def delete(self, ask: Ask, source_id: FromPath[str]) -> None:
        """Delete a source. What waits of it becomes dead letters; what a session holds is left to it."""
        await ask.remove(wire.SourceDelete, "source", source_id=source_id)
