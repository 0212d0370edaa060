"""
The WebSocket messages of `/ws`, as tagged unions, and nothing that sends them.

Shapes are public (docs/protocol.md). Fields beyond the first protocol are optional, and unknown ones are ignored, so
that either end may be older. Python names are snake_case, the wire is camelCase.
"""

import re
from typing import Any, get_args

import msgspec
from msgspec import UNSET, Struct, UnsetType

from clawback.errors import ProtocolViolation
from clawback.fields import SourceFields
from clawback.model import Missed, Overlap, Priority

PROTOCOL_VERSION = 1

HEARTBEAT_SECONDS = 30.0
"""How often the server pings."""

SILENCE_SECONDS = 90.0
"""A peer that was silent for this long is gone: three pings, as clients of the protocol have it."""

MAX_FRAME_BYTES = 1024 * 1024
"""The largest frame the server reads. What it sends is bounded by MAX_CONTENT_CHARACTERS."""

MAX_CONTENT_CHARACTERS = 200_000
"""What of an event's content is sent inline: about 50,000 tokens, a quarter of a common context window."""

MAX_SUMMARY_CHARACTERS = 2_000
"""Of what is said of an event when it is done; the rest is cut off. A page of text, and a thousandth of a frame."""

MAX_AUTH_BYTES = 256 * 1024
"""The largest `auth`: a token, and the journal of an hour offline."""

MAX_ACKED_BYTES = MAX_AUTH_BYTES // 2
"""How much of its kept acks a client says in `auth`; it sends the others as `ack` frames afterwards."""

CLOSE_VIOLATION = 4400
CLOSE_UNAUTHORIZED = 4401
CLOSE_REPLACED = 4409
CLOSE_SILENT = 4408
"""The client answered nothing, or read nothing, for too long. It may come back: it was asleep, not wrong."""
CLOSE_FLOOD = 4008
CLOSE_ERROR = 1011
CLOSE_RESTART = 1012


class _Message(Struct, frozen=True, rename="camel", tag_field="type", omit_defaults=True):
    """The base of every frame: a JSON object told apart by `type`."""


def cut_summary(text: str) -> str:
    """Keep what a summary may have of a text, and mark a cut; half a surrogate pair becomes a question mark."""
    if len(text) > MAX_SUMMARY_CHARACTERS:
        text = f"{text[: MAX_SUMMARY_CHARACTERS - 1]}…"
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


# --- client to server ---------------------------------------------------------------------------------------------


class ClientInfo(Struct, frozen=True, rename="camel"):
    """Who is on the other end; for logs and support."""

    name: str = ""
    version: str = ""


class SettledAck(Struct, frozen=True, rename="camel"):
    """
    An ack from a client's journal, made while it was offline or not confirmed.

    Its summary is cut wherever one is made or read, so that none, however old, is too long for a frame.
    """

    event_id: str
    summary: str = ""

    def __post_init__(self) -> None:
        """Cut the summary."""
        msgspec.structs.force_setattr(self, "summary", cut_summary(self.summary))


class Auth(_Message, frozen=True, tag="auth"):
    """
    The first message. `inflight` is what the client still holds, `acked` what it finished but has no receipt for.

    One that `observes` asks and is answered, and is no session: it takes no events, and nobody stands by behind it.
    """

    token: str
    session_tag: str | None = None
    instance_id: str | None = None
    inflight: tuple[str, ...] = ()
    acked: tuple[SettledAck, ...] = ()
    session_messaging: bool = True
    observes: bool = False
    client: ClientInfo | None = None


class Ack(_Message, frozen=True, tag="ack"):
    """
    The session is done with an event. With `request_id` the server answers once JetStream confirmed the ack.

    Its summary is cut like a SettledAck's.
    """

    event_id: str
    summary: str = ""
    request_id: str | None = None

    def __post_init__(self) -> None:
        """Cut the summary."""
        msgspec.structs.force_setattr(self, "summary", cut_summary(self.summary))


class Pong(_Message, frozen=True, tag="pong"):
    """The answer to a ping."""


class _Request(_Message, frozen=True, kw_only=True):
    """A message that is answered by a `response` with the same `requestId`."""

    request_id: str


class SourceCreate(_Message, SourceFields, frozen=True, tag="source_create", kw_only=True):
    """Make a webhook source."""

    request_id: str
    slug: str
    verifier_type: str | None = None
    secret: str | None = None
    generate_secret: bool | None = None


class SourceList(_Request, frozen=True, tag="source_list", kw_only=True):
    """List the profile's sources, or a page of them: `limit` of those behind the id `after`."""

    limit: int | None = None
    after: str | None = None


class SourceUpdate(_Message, SourceFields, frozen=True, tag="source_update", kw_only=True):
    """Change what is given of a source, and leave the rest; empty values remove."""

    request_id: str
    source_id: str
    verifier_type: str | None = None
    secret: str | None = None
    generate_secret: bool | None = None
    overlap_seconds: int | None = None


class SourceDelete(_Request, frozen=True, tag="source_delete", kw_only=True):
    """Delete a source; what waits of it becomes dead letters."""

    source_id: str


class EventHistory(_Request, frozen=True, tag="event_history", kw_only=True):
    """List what ended, newest first."""

    limit: int | None = None
    states: tuple[str, ...] | None = None


class EventExtend(_Request, frozen=True, tag="event_extend", kw_only=True):
    """Give an event that the session holds more time."""

    event_id: str
    seconds: int


class EventDefer(_Request, frozen=True, tag="event_defer", kw_only=True):
    """Put an event that the session holds back at the end of its line, now or after a delay."""

    event_id: str
    delay_seconds: int | None = None


class EventFail(_Request, frozen=True, tag="event_fail", kw_only=True):
    """Say that the session could not take an event it was sent."""

    event_id: str
    reason: str | None = None


class EventSeen(_Request, frozen=True, tag="event_seen", kw_only=True):
    """Say that the session's model has an event: it was not only written, but is known to have arrived."""

    event_id: str


class EventNext(_Request, frozen=True, tag="event_next", kw_only=True):
    """Ask for the session's active event once more."""


class EventList(_Request, frozen=True, tag="event_list", kw_only=True):
    """List what waits and what is dead, oldest first, where the words that are given say what the list says of it."""

    states: tuple[str, ...] | None = None
    session_tag: str | None = None
    source: str | None = None
    path: str | None = None
    event_type: str | None = None
    limit: int | None = None


class EventPayload(_Request, frozen=True, tag="event_payload", kw_only=True):
    """Read a part of the payload of an event that waits, is held or is dead."""

    event_id: str
    path: str | None = None
    offset: int | None = None
    limit: int | None = None


class EventReplay(_Request, frozen=True, tag="event_replay", kw_only=True):
    """Store a dead letter again as a new event."""

    event_id: str


class EventDiscard(_Request, frozen=True, tag="event_discard", kw_only=True):
    """End what waits or is dead for good: one event by its id, or all for which `event_list` takes the same words."""

    event_id: str | None = None
    states: tuple[str, ...] | None = None
    session_tag: str | None = None
    source: str | None = None
    path: str | None = None
    event_type: str | None = None
    dry_run: bool = False


class AccountInfo(_Request, frozen=True, tag="account_info", kw_only=True):
    """Say who the caller is and where its webhooks go."""


class AccountUpdate(_Request, frozen=True, tag="account_update", kw_only=True):
    """Change what is given of what counts for the whole profile."""

    timeout_seconds: int | None = None
    timezone: str | None = None


class TokenCreate(_Request, frozen=True, tag="token_create", kw_only=True):
    """Make a token for the caller's profile; the answer is the only time its value is shown."""

    label: str | None = None


class TokenList(_Request, frozen=True, tag="token_list", kw_only=True):
    """List the profile's tokens, without their values, or a page of them: `limit` of those behind the id `after`."""

    limit: int | None = None
    after: str | None = None


class TokenRotate(_Request, frozen=True, tag="token_rotate", kw_only=True):
    """Replace the caller's token."""

    label: str | None = None


class SessionList(_Request, frozen=True, tag="session_list", kw_only=True):
    """List the profile's connected sessions."""


class SessionSend(_Request, frozen=True, tag="session_send", kw_only=True):
    """Send a message to sessions by tag, or to every connected one with `["*"]`."""

    targets: tuple[str, ...]
    content: str
    priority: Priority | None = None


class SessionTakeover(_Request, frozen=True, tag="session_takeover", kw_only=True):
    """Make the caller's connection the active one of its session."""


class CronCreate(_Request, frozen=True, tag="cron_create", kw_only=True):
    """Make a cron, with a schedule or for once."""

    prompt: str
    schedule: str | None = None
    once: str | None = None
    label: str | None = None
    session_tag: str | None = None
    priority: Priority | None = None
    timezone: str | None = None
    missed: Missed | None = None
    overlap: Overlap | None = None
    jitter_seconds: int | None = None


class CronUpdate(_Request, frozen=True, tag="cron_update", kw_only=True):
    """Change what is given of a cron, and leave the rest."""

    cron_id: str
    schedule: str | None = None
    once: str | None = None
    prompt: str | None = None
    label: str | None = None
    session_tag: str | None = None
    priority: Priority | None = None
    timezone: str | None = None
    missed: Missed | None = None
    overlap: Overlap | None = None
    jitter_seconds: int | None = None


class CronPause(_Request, frozen=True, tag="cron_pause", kw_only=True):
    """Have a cron not run until it is resumed."""

    cron_id: str


class CronResume(_Request, frozen=True, tag="cron_resume", kw_only=True):
    """Have a paused cron run again, from now on."""

    cron_id: str


class CronRunNow(_Request, frozen=True, tag="cron_run_now", kw_only=True):
    """Run a cron once more, now."""

    cron_id: str


class CronList(_Request, frozen=True, tag="cron_list", kw_only=True):
    """List the profile's crons, or a page of them: `limit` of those behind the id `after`."""

    limit: int | None = None
    after: str | None = None


class CronDelete(_Request, frozen=True, tag="cron_delete", kw_only=True):
    """Delete a cron."""

    cron_id: str


Request = (
    SourceCreate
    | SourceList
    | SourceUpdate
    | SourceDelete
    | EventHistory
    | EventExtend
    | EventDefer
    | EventFail
    | EventSeen
    | EventNext
    | EventList
    | EventPayload
    | EventReplay
    | EventDiscard
    | AccountInfo
    | AccountUpdate
    | TokenCreate
    | TokenList
    | TokenRotate
    | SessionList
    | SessionSend
    | SessionTakeover
    | CronCreate
    | CronUpdate
    | CronPause
    | CronResume
    | CronRunNow
    | CronList
    | CronDelete
)
HeldEventRequest = EventExtend | EventDefer | EventFail | EventSeen
"""What is asked about one event that a session holds."""

HeldRequest = HeldEventRequest | EventNext
"""What is asked about events that the caller's own session holds."""

ClientMessage = Auth | Ack | Pong | Request
_REQUEST_TYPES = frozenset(request.__struct_config__.tag for request in get_args(Request))

# --- server to client ---------------------------------------------------------------------------------------------


class ServerInfo(Struct, frozen=True, rename="camel"):
    """The server's version."""

    version: str


FEATURES = ("event_seen",)
"""What a server takes beyond the first protocol and a client may only send to one that says so: see AuthOk."""


class AuthOk(_Message, frozen=True, tag="auth_ok"):
    """
    The token is valid. Nothing in it is required of a client to read.

    `features` names requests that older servers, which close on an unknown `type`, do not take.
    """

    protocol: int = 0
    profile_id: str = ""
    session_tag: str | None = None
    role: str = ""
    heartbeat_seconds: float = 0
    server: ServerInfo | None = None
    features: tuple[str, ...] = ()


class EventFrame(_Message, frozen=True, tag="event"):
    """One event. `meta` is string to string, its keys letters, digits and underscore."""

    id: str
    content: str
    meta: dict[str, str]


class Response(_Message, frozen=True, tag="response"):
    """
    The answer to a request.

    `data` is always present, null on error. `error` is a sentence for the user and absent on success: existing
    clients reject a null there.
    """

    request_id: str
    data: Any
    error: str | UnsetType = UNSET


class Role(_Message, frozen=True, tag="role"):
    """The session became `active` or `standby`; only to clients that sent an `instanceId`."""

    role: str


class Reminder(_Message, frozen=True, tag="reminder"):
    """An event has been in flight for another reminder interval."""

    event_id: str


class TimedOut(_Message, frozen=True, tag="timed_out"):
    """An event was set aside because its ack never came."""

    event_id: str


class Ping(_Message, frozen=True, tag="ping"):
    """Are you there? The client answers `pong`."""


ServerMessage = AuthOk | EventFrame | Response | Role | Reminder | TimedOut | Ping

encode = msgspec.json.Encoder().encode
_client_decoder: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)
_server_decoder: msgspec.json.Decoder[ServerMessage] = msgspec.json.Decoder(ServerMessage)


def decode_client(frame: str | bytes) -> ClientMessage:
    """
    Read a client's frame.

    Raises:
        ProtocolViolation: the frame is no JSON object of a known `type`, or a field has the wrong shape. The text
            names the field and quotes no value that could be a token.
    """
    try:
        return _client_decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_understood(error) from error


_QUOTED = re.compile(r"""(?<=value) (?!'[a-z_]{1,24}'[^'"]*$)(['"]).*\1""", re.DOTALL)
"""
Where msgspec repeats what it read, which it does of a `type` and of enums.

A short word of small letters is repeated: it helps who writes a client, and is no token of ours.
"""


def _not_understood(error: Exception) -> ProtocolViolation:
    return ProtocolViolation(f"frame not understood: {_QUOTED.sub('', str(error))}")


class _RequestHead(Struct, rename="camel"):
    type: str
    request_id: str


_head_decoder: msgspec.json.Decoder[_RequestHead] = msgspec.json.Decoder(_RequestHead)


def request_id_of(frame: str | bytes) -> str | None:
    """Read the `requestId` of a frame that is a request but for a wrong field; None for anything else."""
    try:
        head = _head_decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return head.request_id if head.type in _REQUEST_TYPES else None


def decode_server(frame: str | bytes) -> ServerMessage:
    """
    Read a server's frame.

    Raises:
        ProtocolViolation: the frame is no JSON object of a known `type`, or a field has the wrong shape.
    """
    try:
        return _server_decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_understood(error) from error
