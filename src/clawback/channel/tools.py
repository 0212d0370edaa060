"""
The MCP tools: what each takes, what it asks of the server, and what it answers.

A tool is a Struct: its docstring is the description, its fields are the parameters, so that the JSON schema Claude sees
and the check of what Claude sends cannot differ. Most tools are one request to the server; toolbox.py carries them out.
"""

import json
import re
import secrets
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, TypeVar, cast

import msgspec
from msgspec import Meta, Struct

from clawback import wire
from clawback.channel.claude import fence
from clawback.fields import SourceFields, fields_of, says
from clawback.model import UNTAGGED_NAME, Missed, Overlap, Priority

Session = Annotated[
    str | None, says(f"Tag of the session that gets the events, or {UNTAGGED_NAME}; default: this session's own.")
]
OtherSession = Annotated[str | None, says(f"Tag of the session that gets the events, or {UNTAGGED_NAME}.")]
Label = Annotated[str | None, says("A name for people.")]
PAGE = 50
"""Entries of a list that a session is shown at a time."""

After = Annotated[str | None, says("Last id of 50 shown: the next 50.")]
EventPriority = Annotated[Priority | None, says("priority: before normal ones. interrupt: at once, work is suspended.")]


class Tool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The base of every tool; subclasses are named like the tool.

    `asks` is the request it makes, `wire_names` the parameters that are called otherwise there. One that `changes`
    something leaves what is not named, a session too, as it is. Parameters that are `brief` are described in full by
    another tool. `messaging` tools are
    offered only where messages between sessions are allowed; `always_load` keeps Claude Code from deferring a tool.
    What a tool answers that `lists` something, or shows what another may have written, stands in a fence.
    """

    asks: ClassVar[type[wire.Request]]
    wire_names: ClassVar[dict[str, str]] = {}
    changes: ClassVar[bool] = False
    brief: ClassVar[frozenset[str]] = frozenset()
    read_only: ClassVar[bool] = False
    destructive: ClassVar[bool] = False
    messaging: ClassVar[bool] = False
    always_load: ClassVar[bool] = False
    lists: ClassVar[str] = ""

    def request(self, own_tag: str | None) -> wire.Request:
        """Build the request to the server; `own_tag` is this session's. Its `requestId` is set when it is sent."""
        fields = {self.wire_names.get(name, name): getattr(self, name) for name in self.__struct_fields__}
        if "session_tag" in fields and fields["session_tag"] is None and not self.changes:
            fields["session_tag"] = own_tag
        return self.asks(request_id="", **fields)

    def requests(self, own_tag: str | None) -> list[wire.Request]:
        """Build all that is asked, in order; the answer is the last one's."""
        return [self.request(own_tag)]

    def tell(self, data: Any) -> str:  # noqa: ANN401 -- data is whatever the server answers
        """Say in text what the server answered."""
        text = json.dumps(data, indent=2, ensure_ascii=False)
        return fence.build_list(self.lists, text, secrets.token_hex(8)) if self.lists else text


T = TypeVar("T", bound=Tool)


def taking(declared: type[Struct], *, briefly: bool = False, **names: str) -> Callable[[type[T]], type[T]]:
    """
    Give a tool the declared fields as parameters too.

    `names` are those whose public name is another. A tool that takes them `briefly` says in its description where
    their words are: a model reads both.
    """

    def complete(tool: type[T]) -> type[T]:
        parameters = [
            (
                names.get(field.name, field.name),
                Annotated[field.optional, says("As there." if briefly else field.words)],
                None,
            )
            for field in fields_of(declared)
            if field.name not in tool.__struct_fields__
        ]
        wire_names = tool.wire_names | {public: name for name, public in names.items()}
        brief = frozenset(name for name, _, _ in parameters) if briefly else frozenset()
        namespace = {"__doc__": tool.__doc__, "wire_names": wire_names, "brief": brief}
        completed = msgspec.defstruct(
            tool.__name__,
            parameters,
            bases=(tool,),
            frozen=True,
            kw_only=True,
            forbid_unknown_fields=True,
            module=__name__,
            namespace=namespace,
        )
        return cast("type[T]", completed)

    return complete


class EventAck(Tool, frozen=True):
    """Say that an event is done, or that nothing is to be done about it. Once for each; the next comes only then."""

    always_load: ClassVar[bool] = True

    summary: Annotated[str, says("What was done, in a sentence or two.")]
    event_id: Annotated[str | None, says("evt_…, as it stands in the event; default: the one shown last.")] = None


HeldEvent = Annotated[str | None, says("evt_…; default: the active one.")]


class EventNext(Tool, frozen=True):
    """Show the event to work on now, in full: for where it was only announced. The same until it is acknowledged."""

    asks = wire.EventNext
    read_only: ClassVar[bool] = True
    always_load: ClassVar[bool] = True


class EventExtend(Tool, frozen=True):
    """Ask for more time for an event before it times out (30 minutes by default)."""

    asks = wire.EventExtend

    seconds: Annotated[Annotated[int, Meta(ge=1, le=86_400)], says("How many more.")]
    event_id: HeldEvent = None

    def tell(self, data: Any) -> str:  # noqa: ANN401 -- data is whatever the server answers
        """Say how much."""
        return f"Event {data['eventId']} has {data['seconds']} more seconds."


class EventDefer(Tool, frozen=True):
    """Put an event back to the end of its line, to come again. Do no more for it, and do not call event_ack."""

    asks = wire.EventDefer

    delay_seconds: Annotated[
        Annotated[int, Meta(ge=0, le=2_592_000)] | None, says("How long it waits before that; default: not.")
    ] = None
    event_id: HeldEvent = None

    def tell(self, data: Any) -> str:  # noqa: ANN401 -- data is whatever the server answers
        """Say when it comes back."""
        after = f" after {data['delaySeconds']} seconds" if data["delaySeconds"] else ""
        return f"Event {data['eventId']} is put off; it goes to the end of its line{after}."


class EventFail(Tool, frozen=True):
    """
    Say that this session cannot take an event, because something here is broken. It comes again, three times at most.

    Work with a bad outcome is no failure: acknowledge it.
    """

    asks = wire.EventFail

    reason: Annotated[Annotated[str, Meta(max_length=1000)] | None, says("Why, in a sentence.")] = None
    event_id: HeldEvent = None

    def tell(self, data: Any) -> str:  # noqa: ANN401 -- data is whatever the server answers
        """Say what becomes of it."""
        return f"Event {data['eventId']} is given back; it comes again, or is a dead letter if this was the third time."


class EventList(Tool, frozen=True):
    """List the events that wait, are being worked on, or are dead letters, oldest first, without their content."""

    asks = wire.EventList
    read_only: ClassVar[bool] = True
    lists: ClassVar[str] = "events"

    states: Annotated[tuple[str, ...] | None, says("Of queued, offered, claimed, timed_out, dead; default: all.")] = (
        None
    )
    session: Annotated[str | None, says(f"A tag, or {UNTAGGED_NAME}; default: all sessions.")] = None
    limit: Annotated[Annotated[int, Meta(ge=1, le=100)] | None, says("Default 20.")] = None

    def request(self, own_tag: str | None) -> wire.Request:  # noqa: ARG002 -- not about this session
        """Build the request, about all sessions unless one is named."""
        return wire.EventList(request_id="", states=self.states, session_tag=self.session, limit=self.limit)


class EventPayload(Tool, frozen=True):
    """Read the payload of an event that has not ended, or of a dead letter, as it was received, or a part of it."""

    asks = wire.EventPayload
    read_only: ClassVar[bool] = True

    path: Annotated[str | None, says("Dotted, such as pull_request.head or commits.0; default: all.")] = None
    event_id: HeldEvent = None
    offset: Annotated[Annotated[int, Meta(ge=0)] | None, says("First character; default 0.")] = None
    limit: Annotated[Annotated[int, Meta(ge=1, le=100_000)] | None, says("Characters; default 20000.")] = None

    def tell(self, data: Any) -> str:  # noqa: ANN401 -- data is whatever the server answers
        """Fence the part off like an event: it is from outside."""
        place = f"characters {data['offset']} to {data['offset'] + len(data['text'])} of {data['totalCharacters']}"
        part = fence.build_part(data["eventId"], data["path"], data["text"], secrets.token_hex(8), place=place)
        return f"{part}\n\nThere is more: offset={data['nextOffset']}." if "nextOffset" in data else part


class EventReplay(Tool, frozen=True):
    """Have a dead letter processed again, as a new event. Only because the user asked: it may have been worked on."""

    asks = wire.EventReplay
    destructive: ClassVar[bool] = True

    event_id: Annotated[str, says("From event_list.")]

    def tell(self, data: Any) -> str:  # noqa: ANN401 -- data is whatever the server answers
        """Say what it is called now."""
        return f"{fence.clean_value(data['replay'])} waits again, as the new event {data['eventId']}."


class EventHistory(Tool, frozen=True):
    """List the events that ended, newest first: what came, what was done about it, how long it took."""

    asks = wire.EventHistory
    read_only: ClassVar[bool] = True
    lists: ClassVar[str] = "events that ended"

    limit: Annotated[Annotated[int, Meta(ge=1, le=100)] | None, says("Default 20.")] = None
    states: Annotated[
        tuple[str, ...] | None,
        says("Of acked, timed_out, dead, discarded, dropped, skipped, filtered; default: first four."),
    ] = None


class AccountInfo(Tool, frozen=True):
    """Show the profile, where its webhooks go, how many sessions are connected, and what this session holds."""

    asks = wire.AccountInfo
    read_only: ClassVar[bool] = True


class AccountUpdate(Tool, frozen=True):
    """Change the profile's time-out of events, or its time zone for crons that name none."""

    asks = wire.AccountUpdate

    timeout_seconds: Annotated[Annotated[int, Meta(ge=60, le=86_400)] | None, says("1800 is the default.")] = None
    timezone: Annotated[str | None, says("IANA name such as Europe/Berlin.")] = None


@taking(
    SourceFields,
    session_tag="session",
    event_type="eventType",
    delivery_id="deliveryId",
    condition="if",
    not_from="notFrom",
)
class SourceCreate(Tool, frozen=True):
    """
    Make a webhook source: a URL to which a service sends its events for this or another session.

    Only because the user asked for it. The answer has the URL to enter at the service.
    """

    asks = wire.SourceCreate
    wire_names: ClassVar[dict[str, str]] = {"type": "verifier_type"}

    slug: Annotated[str, says("Last part of the URL, such as github.")]
    type: Annotated[
        str | None,
        says(
            "How it signs: github, stripe, standard-webhooks, slack, shopify, linear, gitlab, generic (HMAC in a "
            "header), none."
        ),
    ] = None
    generate_secret: Annotated[bool | None, says("Have a secret made and shown once: better than giving one.")] = None
    secret: Annotated[str | None, says("The service's; it then stands in this conversation.")] = None


class SourceList(Tool, frozen=True):
    """List the webhook sources with their URLs, without secrets."""

    asks = wire.SourceList
    read_only: ClassVar[bool] = True
    lists: ClassVar[str] = "sources"

    after: After = None

    def request(self, own_tag: str | None) -> wire.Request:
        """Ask for one page."""
        del own_tag  # of no account in a list
        return wire.SourceList(request_id="", limit=PAGE, after=self.after)


@taking(
    SourceFields,
    briefly=True,
    session_tag="session",
    event_type="eventType",
    delivery_id="deliveryId",
    condition="if",
    not_from="notFrom",
)
class SourceUpdate(Tool, frozen=True):
    """Change what is given of a source, from now on. "", {} or 0 removes. Parameters as of source_create."""

    asks = wire.SourceUpdate
    wire_names: ClassVar[dict[str, str]] = {"id": "source_id"}
    destructive: ClassVar[bool] = True
    changes: ClassVar[bool] = True
    lists: ClassVar[str] = "source"

    id: Annotated[str, says("src_…, from source_list.")]
    generate_secret: Annotated[bool | None, says("Have a new one made and shown once.")] = None
    secret: Annotated[str | None, says("A new one.")] = None
    overlap_seconds: Annotated[
        Annotated[int, Meta(ge=0, le=604_800)] | None,
        says("How long the old secret counts; default 86400; 0 if it leaked."),
    ] = None


class SourceDelete(Tool, frozen=True):
    """Delete a source: its URL stops working, and its events that wait become dead letters."""

    asks = wire.SourceDelete
    wire_names: ClassVar[dict[str, str]] = {"id": "source_id"}
    destructive: ClassVar[bool] = True

    id: Annotated[str, says("src_…, from source_list.")]

    def tell(self, data: Any) -> str:  # noqa: ANN401 -- data is whatever the server answers
        """Say whether there was one."""
        return f"The source {self.id} is deleted." if data["removed"] else f"This profile has no source {self.id}."


CronId = Annotated[str, says("crn_…, from cron_list.")]
Schedule = Annotated[
    str | None, says("Minute, hour, day, month, weekday, such as 30 8 * * MON-FRI; or @daily. Or `once`.")
]
Once = Annotated[str | None, says("The one time it runs: 2027-01-31T09:00, with or without an offset.")]
Timezone = Annotated[str | None, says("IANA name such as Europe/Berlin; default: the profile's.")]
MissedRuns = Annotated[Missed | None, says("Runs missed while no server was up; default: the latest within 24 h.")]
OverlapRule = Annotated[Overlap | None, says("While an earlier run is not done: queue (default) or skip.")]
Jitter = Annotated[
    Annotated[int, Meta(ge=0, le=3600)] | None, says("Up to so many seconds late, so that crons spread.")
]


class CronCreate(Tool, frozen=True):
    """
    Make a cron: a prompt sent to a session on a schedule, or once, also when this session is closed by then.

    Check the zone and the next runs in the answer.
    """

    asks = wire.CronCreate
    wire_names: ClassVar[dict[str, str]] = {"session": "session_tag"}

    prompt: Annotated[str, says("What to do each time: a prompt, or a skill such as /review.")]
    schedule: Schedule = None
    once: Once = None
    label: Label = None
    session: Session = None
    priority: EventPriority = None
    timezone: Timezone = None
    missed: MissedRuns = None
    overlap: OverlapRule = None
    jitter_seconds: Jitter = None


class CronUpdate(Tool, frozen=True):
    """Change what is given of a cron, pause it, resume it, or run it now. Parameters as of cron_create."""

    asks = wire.CronUpdate
    lists: ClassVar[str] = "cron"

    id: CronId
    paused: Annotated[bool | None, says("true: no runs until false, which makes up for none.")] = None
    run_now: Annotated[bool | None, says("Run it once more, now.")] = None
    schedule: Annotated[str | None, says("Instead of its time until now.")] = None
    once: Annotated[str | None, says("Likewise.")] = None
    prompt: Annotated[str | None, says("What to do each time.")] = None
    label: Label = None
    session: OtherSession = None
    priority: Annotated[Priority | None, says("Of its events.")] = None
    timezone: Annotated[str | None, says("IANA name.")] = None
    missed: Annotated[Missed | None, says("Missed runs.")] = None
    overlap: Annotated[Overlap | None, says("While a run is not done.")] = None
    jitter_seconds: Annotated[Annotated[int, Meta(ge=0, le=3600)] | None, says("Seconds late at most.")] = None

    def request(self, own_tag: str | None) -> wire.Request:  # noqa: ARG002 -- what is not named stays
        """Build the request that changes it, about the session that is named and no other."""
        return wire.CronUpdate(request_id="", cron_id=self.id, session_tag=self.session, **self._changed())

    def requests(self, own_tag: str | None) -> list[wire.Request]:
        """Change it first, so that nothing is paused or run where a change is refused."""
        asked: list[wire.Request] = []
        if self.paused is not None:
            asked.append((wire.CronPause if self.paused else wire.CronResume)(request_id="", cron_id=self.id))
        if self.run_now:
            asked.append(wire.CronRunNow(request_id="", cron_id=self.id))
        if not asked or self.session is not None or any(value is not None for value in self._changed().values()):
            asked.insert(0, self.request(own_tag))
        return asked

    def _changed(self) -> dict[str, Any]:
        others = {"id", "session", "paused", "run_now"}
        return {name: getattr(self, name) for name in self.__struct_fields__ if name not in others}


class CronPause(Tool, frozen=True):
    """Pause a cron: it does not run until it is resumed."""

    asks = wire.CronPause
    wire_names: ClassVar[dict[str, str]] = {"id": "cron_id"}
    lists: ClassVar[str] = "cron"

    id: CronId


class CronResume(Tool, frozen=True):
    """Resume a paused cron, from now on; what it would have run meanwhile is not made up for."""

    asks = wire.CronResume
    wire_names: ClassVar[dict[str, str]] = {"id": "cron_id"}
    lists: ClassVar[str] = "cron"

    id: CronId


class CronRunNow(Tool, frozen=True):
    """Run a cron once more, now; its schedule stays as it is."""

    asks = wire.CronRunNow
    wire_names: ClassVar[dict[str, str]] = {"id": "cron_id"}
    lists: ClassVar[str] = "cron"

    id: CronId


class CronList(Tool, frozen=True):
    """List the crons and when each runs next."""

    asks = wire.CronList
    read_only: ClassVar[bool] = True
    lists: ClassVar[str] = "crons"

    after: After = None

    def request(self, own_tag: str | None) -> wire.Request:
        """Ask for one page."""
        del own_tag  # of no account in a list
        return wire.CronList(request_id="", limit=PAGE, after=self.after)


class CronDelete(Tool, frozen=True):
    """Delete a cron."""

    asks = wire.CronDelete
    wire_names: ClassVar[dict[str, str]] = {"id": "cron_id"}
    destructive: ClassVar[bool] = True

    id: CronId

    def tell(self, data: Any) -> str:  # noqa: ANN401 -- data is whatever the server answers
        """Say whether there was one."""
        return f"The cron {self.id} is deleted." if data["removed"] else f"This profile has no cron {self.id}."


class TokenCreate(Tool, frozen=True):
    """Make a further token. It is shown this once, and stays in this conversation."""

    asks = wire.TokenCreate

    label: Label = None

    def tell(self, data: Any) -> str:  # noqa: ANN401 -- data is whatever the server answers
        """Show the token, the only time."""
        return f"{super().tell(data)}\nThis is the only time the token is shown."


class TokenList(Tool, frozen=True):
    """List the tokens, without their values."""

    asks = wire.TokenList
    lists: ClassVar[str] = "tokens"
    read_only: ClassVar[bool] = True


class TokenRotate(Tool, frozen=True):
    """Replace this session's token, also in the config file. Other machines that use it need `clawback login`."""

    asks = wire.TokenRotate
    destructive: ClassVar[bool] = True

    label: Label = None


class SessionList(Tool, frozen=True):
    """List the sessions that are connected now."""

    asks = wire.SessionList
    lists: ClassVar[str] = "sessions"
    read_only: ClassVar[bool] = True
    messaging: ClassVar[bool] = True


class SessionSend(Tool, frozen=True):
    """
    Send a message to other sessions, on any machine, connected or not; it becomes an event of theirs.

    Only what the user wants told; no event is a reason.
    """

    messaging: ClassVar[bool] = True

    target: Annotated[
        str,
        Meta(min_length=1, description=f"Tags with commas between, {UNTAGGED_NAME}, or * for all that are connected."),
    ]
    message: Annotated[str, Meta(min_length=1, max_length=wire.MAX_CONTENT_CHARACTERS, description="The text.")]
    priority: EventPriority = None

    def request(self, own_tag: str | None) -> wire.Request:  # noqa: ARG002 -- the server knows who sends
        """Build the request, a list of tags made of the text."""
        targets = tuple(target.strip() for target in self.target.split(",") if target.strip())
        return wire.SessionSend(request_id="", targets=targets, content=self.message, priority=self.priority)

    def tell(self, data: Any) -> str:  # noqa: ANN401 -- data is whatever the server answers
        """Say what the server answered, and in words which tags nothing ever used."""
        match data:
            case {"unknown": [_, *_] as unknown, **rest}:
                near = rest.pop("nearest", None)
                lines = [_say_unknown(tag, near.get(tag) if isinstance(near, dict) else None) for tag in unknown]
                return "\n".join([super().tell({**rest, "unknown": unknown}), *lines])
        return super().tell(data)


def _say_unknown(tag: object, near: object) -> str:
    named = fence.find_name(str(tag)) or "A tag in `unknown`"
    text = (
        f"{named}: no session ever had this tag, and no source or cron names it. The message waits until one connects"
        " with it."
    )
    found = fence.find_name(near) if isinstance(near, str) else ""
    return f"{text} The nearest tag that exists is {found}; send it there if that was meant." if found else text


class SessionTakeover(Tool, frozen=True):
    """
    Make this session the active one of its tag: it gets the events, with the one in work, and others stand by.

    Only because the user asked for it.
    """

    asks = wire.SessionTakeover

    def tell(self, data: Any) -> str:  # noqa: ANN401 -- data is whatever the server answers
        """Say which role this session has now."""
        return f"This session is {data['role']}: the events of its tag come here now."


def tool_name(tool: type[Tool]) -> str:
    """Turn `SourceCreate` into `source_create`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", tool.__name__).lower()


TOOLS: dict[str, type[Tool]] = {
    tool_name(tool): tool
    for tool in (
        EventAck,
        EventNext,
        EventExtend,
        EventDefer,
        EventFail,
        EventList,
        EventPayload,
        EventReplay,
        EventHistory,
        AccountInfo,
        AccountUpdate,
        SourceCreate,
        SourceList,
        SourceUpdate,
        SourceDelete,
        CronCreate,
        CronUpdate,
        CronList,
        CronDelete,
        TokenCreate,
        TokenList,
        TokenRotate,
        SessionList,
        SessionSend,
        SessionTakeover,
    )
}


FORMER: dict[str, type[Tool]] = {tool_name(tool): tool for tool in (CronPause, CronResume, CronRunNow)}
"""Names that `cron_update` has replaced: they can still be called in version 0.2, and are not offered any more."""


def input_schema(tool: type[Tool]) -> dict[str, Any]:
    """
    Build the JSON schema of a tool's parameters: as small as it can be, since each session's model reads it.

    No references to resolve, and no nulls: a parameter that is not wanted is left out.
    """
    _, components = msgspec.json.schema_components([tool], ref_template="{name}")
    schema: dict[str, Any] = _inline(components[tool.__name__], components)
    for name in tool.brief:
        for inner in ("properties", "additionalProperties"):
            schema["properties"][name].pop(inner, None)
    return {key: value for key, value in schema.items() if key not in {"description", "additionalProperties"}}


def description(tool: type[Tool]) -> str:
    """Return what Claude reads about a tool: its docstring, unwrapped."""
    paragraphs = (tool.__doc__ or "").strip().split("\n\n")
    return "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _inline(schema: Any, components: dict[str, Any]) -> Any:  # noqa: ANN401 -- JSON
    """Replace each `$ref` by what it names, and leave out titles, defaults and nulls."""
    match schema:
        case {"$ref": str(name), **beside}:
            return _inline(components[name] | beside, components)
        case {"anyOf": list(choices), **beside}:
            wanted = [choice for choice in choices if choice != {"type": "null"}]
            if len(wanted) == 1:
                return _inline(_named(wanted[0], components) | beside, components)
            named = [_inline(_named(choice, components), components) for choice in wanted]
            return {"anyOf": named} | _inline(beside, components)
        case {"properties": dict(properties), **beside}:
            inlined = {name: _inline(each, components) for name, each in properties.items()}
            return _inline(beside, components) | {"properties": inlined}
        case dict():
            kept = {key: value for key, value in schema.items() if key not in _LEFT_OUT and value not in ([], False)}
            return {key: _inline(value, components) for key, value in kept.items()}
    return schema


def _named(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """Look a reference up, without the words of the class: the parameter has its own."""
    if "$ref" not in schema:
        return schema
    return {key: value for key, value in components[schema["$ref"]].items() if key != "description"}


_LEFT_OUT = frozenset({"title", "default"})
"""Titles repeat the names of classes; what the default is, the words say where it matters."""
