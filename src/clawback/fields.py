"""
The fields that people set of a source: each one once, with its type, its bounds and its words. Pure.

Every door is made from this: the requests of the WebSocket (wire.py), the bodies and answers of the API (api/), the
tools of a session (channel/tools.py), and the table in docs/protocol.md. operations/source_fields.py loops over it.
A field that is only kept and shown needs two lines: one here, and one in the record that is stored (model.py).
"""

from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta, Struct

from clawback.model import UNTAGGED_NAME, DeliveryRule, EventTypeRule, Priority, SignatureRule

MAX_ROUTES = 200

MIN_TIMEOUT_SECONDS = 60
MAX_TIMEOUT_SECONDS = 24 * 3600
"""Of one event, in seconds: the next one waits that long for a session that never acks."""

MAX_NOTE_CHARACTERS = 500
"""A line or two on a screen. A longer text belongs where its readers write it."""


def says(words: str) -> Meta:
    """Describe a field, in words short enough for the model that reads them as a tool's parameter."""
    return Meta(description=words)


MAX_NOT_FROM = 50
"""Names of senders whose events are held back; more is a condition on the organisation."""


class RouteFields(Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """
    A route that is more than an order. A field that nobody knows is refused at every door.

    A slip in a name would else leave out what was to hold events back.
    """

    do: Annotated[str, says("Skill or prompt; a {dotted.path} names a field.")]
    condition: Annotated[str | None, says("CEL, beside the source's.")] = msgspec.field(default=None, name="if")
    not_from: Annotated[
        Annotated[tuple[str, ...], Meta(max_length=MAX_NOT_FROM)] | None, says("Beside the source's.")
    ] = None
    priority: Annotated[Priority | None, says("Its own.")] = None
    payload: Annotated[str | tuple[str, ...] | None, says("Its own.")] = None


class SourceFields(Struct, frozen=True, rename="camel", kw_only=True):
    """What a request may say of a source. None says nothing; an empty value asks for the default."""

    skill: Annotated[str | None, says("For events that no route names: a skill such as /review, or a prompt.")] = None
    routes: Annotated[
        Annotated[dict[str, str | RouteFields], Meta(max_length=MAX_ROUTES)] | None,
        says('Event type (type, type.action, prefix.*, *) to skill or prompt, or {"do": …}: {"push": "/review"}.'),
    ] = None
    event_type: Annotated[
        EventTypeRule | None, says("Where the type is: a header or dotted path; action: path of what is appended.")
    ] = None
    signature: Annotated[SignatureRule | None, says("For type hmac, also named generic.")] = None
    delivery_id: Annotated[
        DeliveryRule | None, says("Where the id is by which a delivery that comes again is known: a header or path.")
    ] = None
    answer: Annotated[
        Annotated[int, Meta(ge=0, le=299)] | None,
        says("HTTP status of success: 200, 201, 202 or 204; default: the sender's."),
    ] = None
    session_tag: Annotated[
        str | None, says(f"Tag of the session that gets the events, or {UNTAGGED_NAME}; default: your own.")
    ] = None
    priority: Annotated[
        Priority | None, says("priority: before normal ones. interrupt: at once, work is suspended.")
    ] = None
    timeout_seconds: Annotated[
        Annotated[int, Meta(ge=0, le=MAX_TIMEOUT_SECONDS)] | None,
        says(f"Seconds to work, from {MIN_TIMEOUT_SECONDS}; default: the profile's."),
    ] = None
    payload: Annotated[
        str | tuple[str, ...] | None,
        says("What is shown of payloads: full (default), compact, or dotted paths such as pull_request.title."),
    ] = None
    condition: Annotated[
        str | None, says("CEL over body, headers, type, source: events for which it is not true are held back.")
    ] = msgspec.field(default=None, name="if")
    not_from: Annotated[
        Annotated[tuple[str, ...], Meta(max_length=MAX_NOT_FROM)] | None,
        says('Senders whose events are held back: ["my-bot[bot]"].'),
    ] = None
    note: Annotated[Annotated[str, Meta(max_length=MAX_NOTE_CHARACTERS)] | None, says("A line of text for people.")] = (
        None
    )


class Field:
    """One declared field, taken apart: its names, what it may be but None, and its words."""

    def __init__(self, declared: msgspec.structs.FieldInfo) -> None:
        union, meta = get_args(declared.type)
        self.name = declared.name
        self.wire_name = declared.encode_name
        self.optional: Any = union
        self.words = meta.description or ""

    @property
    def plain(self) -> Any:  # noqa: ANN401 -- a type, as msgspec reads it
        """The type without None: of a value that is there."""
        kept = [each for each in get_args(self.optional) if each is not type(None)]
        union = kept[0]
        for each in kept[1:]:
            union |= each
        return union


def fields_of(declared: type[Struct]) -> list[Field]:
    """List the fields that a class declares, in its order."""
    return [Field(each) for each in msgspec.structs.fields(declared)]
