"""
The words: frozen values that every room speaks of, and the ids they carry.

Only data lives here: no I/O, no clock, no randomness beyond the id makers at the bottom. Field names are Python's; on
the wire and in NATS they are camelCase.
"""

import base64
import hashlib
import secrets
from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec import Struct

UNTAGGED_NAME = "(untagged)"
"""How the untagged address is written where a name is needed; reserved, so no tag can be it."""

PERSON = "person"
"""The author of orders that came by a page, the command line or the API."""

SEVERAL_NAME = "(several)"
"""Sessions that wrote a part each of one order; reserved like the others, so it is no session's own."""

API_NAME = "(api)"
"""Who a message comes from that no session sent; reserved like the other, so no session can pass for it."""

TIMEOUT_SECONDS = 30 * 60
"""How long an event may be active where neither its source nor its profile says otherwise."""

MAX_NESTED = 8
"""Interrupts that a session holds at once; further ones wait. A deeper pile is no conversation."""


class Priority(StrEnum):
    """Where an event enters its lane: at the back, before every waiting normal one, or at once."""

    NORMAL = "normal"
    PRIORITY = "priority"
    INTERRUPT = "interrupt"


class Origin(StrEnum):
    """What made an event; `meta.source` on the wire."""

    WEBHOOK = "webhook"
    CRON = "cron"
    SESSION = "session"


class EventState(StrEnum):
    """Where an event is on its way; the last seven are ends."""

    QUEUED = "queued"
    OFFERED = "offered"
    CLAIMED = "claimed"
    ACKED = "acked"
    TIMED_OUT = "timed_out"
    DEAD = "dead"
    DROPPED = "dropped"
    SKIPPED = "skipped"
    DISCARDED = "discarded"
    FILTERED = "filtered"


class Missed(StrEnum):
    """What a cron does about runs that nobody was up for: the most recent within a day, none, or all (at most 100)."""

    LATEST = "latest"
    NONE = "none"
    ALL = "all"


class Overlap(StrEnum):
    """What a cron does while an earlier run of it still waits or is worked on: queue behind it, or skip."""

    QUEUE = "queue"
    SKIP = "skip"


class Scheme(StrEnum):
    """The types of sources that code speaks of. All of them, presets and mechanisms, are in senders/presets/."""

    GITHUB = "github"
    STRIPE = "stripe"
    GENERIC = "generic"
    STANDARD_WEBHOOKS = "standard-webhooks"
    SLACK = "slack"
    SHOPIFY = "shopify"
    LINEAR = "linear"
    GITLAB = "gitlab"
    NONE = "none"


class Record(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The base of everything stored or sent as JSON."""


class Address(Record, frozen=True):
    """Where events wait and a session listens: a profile and a tag, or no tag."""

    profile_id: str
    tag: str | None = None


class Profile(Record, frozen=True):
    """
    The isolated owner of sources, crons, tokens and sessions.

    `timeout_seconds`: how long an event may be active;
    `timezone`: what its crons are in where they do not say.
    """

    id: str
    name: str
    webhook_id: str
    created_at: datetime
    timeout_seconds: int = TIMEOUT_SECONDS
    timezone: str = "UTC"


class TokenRecord(Record, frozen=True):
    """What is kept of a token: everything but its value, of which only the SHA-256 names the record."""

    id: str
    profile_id: str
    created_at: datetime
    label: str | None = None


class Sealed(Record, frozen=True):
    """
    A secret under AES-256-GCM: the id of the key, the 96-bit nonce and the ciphertext with its tag.

    `expires_at` is from when on it is accepted no more, None for a source's current secret.
    """

    key_id: str
    nonce: bytes
    ciphertext: bytes
    expires_at: datetime | None = None


class EventTypeRule(Record, frozen=True):
    """Where a source's event type is read: a header, else a dotted body path; `action` is a path appended with `.`."""

    header: str | None = None
    body: str | None = None
    action: str | None = None


class DeliveryRule(Record, frozen=True):
    """Where the id of a source's deliveries is: in a header, else at a dotted body path."""

    header: str | None = None
    body: str | None = None


class TimestampRule(Record, frozen=True):
    """Where an `hmac` source's requests say when they were signed: one of three places, and in which unit."""

    header: str | None = None
    field: str | None = None
    body: str | None = None
    unit: str = "s"
    tolerance_seconds: int = 300


class SignatureRule(Record, frozen=True):
    """
    An `hmac` signature: its header, hash, encoding, and a prefix (None: `sha256=` is optional; "": none).

    `separator` stands between several in one header, `signed` is a template of what is signed, `key` how the secret is
    read.
    """

    header: str = "X-Signature"
    algorithm: str = "sha256"
    encoding: str = "hex"
    prefix: str | None = None
    separator: str = ""
    signed: str = "{body}"
    timestamp: TimestampRule | None = None
    key: str = "text"


class Projection(Record, frozen=True):
    """Which part of a payload is shown: made short by the rules for a scheme, or the fields at these dotted paths."""

    compact: str | None = None
    fields: tuple[str, ...] = ()


WHOLE = Projection()
"""All of a payload, where a route says so against its source."""


class Route(Record, frozen=True):
    """
    What becomes of the events of a pattern, where that is more than an order.

    `do` is a skill or prompt, which may name fields of the payload in braces (webhooks/templates.py). `priority` and
    `payload` stand instead of the source's, None for the source's. `condition` and `not_from` hold events back, beside
    the source's.
    """

    do: str
    priority: Priority | None = None
    payload: Projection | None = None
    condition: str | None = None
    not_from: tuple[str, ...] = ()


class Source(Record, frozen=True):
    """
    An endpoint that accepts one service's webhooks.

    `secrets` are sealed; the current one comes first, behind it those before it that are still accepted for a while.

    `timeout_seconds` is how long its events may be active, None for what its profile says when they are delivered.
    `delivery_id` is where its deliveries are named, and `answer` the status of success, both None for what its preset
    says. `payload` is which part of a payload its sessions are shown, None for all of it. `set_by` is whose orders it
    gives (operations/authors.py), None where that was not recorded. `connected_at` is when its sender last said that it
    is there, None where it has not, or does not say so. `condition` (in CEL) and `not_from` (names of senders) hold
    events back, whatever their route.
    """

    id: str
    profile_id: str
    slug: str
    scheme: str
    created_at: datetime
    secrets: tuple[Sealed, ...] = ()
    skill: str | None = None
    routes: dict[str, str | Route] = {}
    event_type: EventTypeRule | None = None
    signature: SignatureRule | None = None
    delivery_id: DeliveryRule | None = None
    answer: int | None = None
    tag: str | None = None
    priority: Priority = Priority.NORMAL
    timeout_seconds: int | None = None
    payload: Projection | None = None
    set_by: str | None = None
    note: str | None = None
    connected_at: datetime | None = None
    condition: str | None = None
    not_from: tuple[str, ...] = ()

    def secrets_at(self, now: datetime) -> tuple[Sealed, ...]:
        """Return the secrets that are accepted at `now`."""
        return tuple(each for each in self.secrets if each.expires_at is None or now < each.expires_at)


class Decision(Record, frozen=True):
    """
    What a cron does about one message that came due, decided once, whoever carries it out.

    The message is that of an `edition` and of the `first` instant. Those in `run` become events, in this order;
    `skipped` were missed, from `first_skipped` to `last_skipped`; those in `held_back` are skipped for a `reason`,
    which `text` has in words.
    """

    edition: int
    first: datetime
    run: tuple[datetime, ...] = ()
    skipped: int = 0
    first_skipped: datetime | None = None
    last_skipped: datetime | None = None
    held_back: tuple[datetime, ...] = ()
    reason: str | None = None
    text: str | None = None


class Cron(Record, frozen=True):
    """
    A prompt that becomes an event at the times of a schedule in a zone, or `once`.

    It is due at what comes after `since` and after `last_due`, the newest instant that is done with, whether it ran or
    was skipped. `edition` counts its changes by people: what is armed for another edition does not count. `set_by` is
    whose order its prompt is (operations/authors.py), None where that was not recorded. `decision` is about what came
    due last.
    """

    id: str
    profile_id: str
    created_at: datetime
    since: datetime
    prompt: str
    timezone: str
    schedule: str | None = None
    once: datetime | None = None
    label: str | None = None
    tag: str | None = None
    priority: Priority = Priority.NORMAL
    missed: Missed = Missed.LATEST
    overlap: Overlap = Overlap.QUEUE
    jitter_seconds: int = 0
    paused: bool = False
    edition: int = 1
    last_due: datetime | None = None
    last_run_at: datetime | None = None
    set_by: str | None = None
    decision: Decision | None = None


class Event(Record, frozen=True):
    """
    One accepted thing to process, without its body.

    Stored as JSON in the `Clawback-Event` header of its JetStream message; the body is the message's data. `path`
    is `/` + slug, `skill` the matched skill or prompt, `encoding` is `base64` where the body is not UTF-8 and
    `compression` `deflate` where the stored body is zlib-compressed. `allowed_seconds` is how long it may be active,
    None for its profile's default; `attempts` how often it was delivered before it was put back into its line. A
    message has its sender's tag in `sender`, and `broadcast` where it went to everybody; a replay names in `replay`
    the event that it repeats. A cron's has `cron_id`, its `label`, and in `scheduled_at` the instant it was due.
    `payload` is which part of the body a session is shown, None for all of it. `fields` are the values that the order
    names in braces, by their names, None for what the payload does not have. `type_signed` is False where the type
    of a webhook stands in a header that nothing signed. `items` is how many happenings a batch has, None where its
    sender sends none. `set_by` is who gave the order of a webhook or cron, and
    `run_by` who had a cron run outside its times. `traceparent` says which trace it belongs to, None where nobody
    traces; it is stored in a header of its own, as is the custom in NATS.
    """

    id: str
    origin: Origin
    priority: Priority
    created_at: datetime
    source_id: str | None = None
    path: str | None = None
    event_type: str | None = None
    skill: str | None = None
    verified: bool | None = None
    delivery_id: str | None = None
    encoding: str | None = None
    compression: str | None = None
    allowed_seconds: float | None = None
    attempts: int = 0
    sender: str | None = None
    broadcast: bool | None = None
    replay: str | None = None
    cron_id: str | None = None
    label: str | None = None
    scheduled_at: datetime | None = None
    payload: Projection | None = None
    fields: dict[str, str | None] | None = None
    type_signed: bool | None = None
    items: int | None = None
    set_by: str | None = None
    run_by: str | None = None
    traceparent: str | None = None


class Held(Record, frozen=True):
    """
    One event that a session holds, as its stack is stored.

    `sequence` is its place in the event stream, `attempt` counts its deliveries from 1, `delivered_at` is when the
    current attempt left (Unix seconds). `spent_seconds` is how long that attempt was the active event,
    `allowed_seconds` how long it may be, `reminders` how often its session was reminded. `losses` counts the unclean
    ends of its session in a row, `failures` the deliveries that the session could not take. `seen_at` is when the
    session proved that its model has the current attempt (Unix seconds; 0: not yet). `returns_at` is set once the
    session has put the event off: then (Unix seconds) it goes back into its line, whatever crashes meanwhile.
    `ends_as` is set once it is being set aside: the reason of its dead letter, which is finished before anything else.
    """

    event_id: str
    sequence: int
    priority: Priority
    attempt: int = 0
    delivered_at: float = 0.0
    spent_seconds: float = 0.0
    allowed_seconds: float = TIMEOUT_SECONDS
    reminders: int = 0
    losses: int = 0
    failures: int = 0
    seen_at: float = 0.0
    returns_at: float | None = None
    ends_as: str | None = None

    @property
    def state(self) -> EventState:
        """`claimed` where the session's model is known to have it, else `offered`."""
        return EventState.CLAIMED if self.seen_at else EventState.OFFERED


class Lease(Record, frozen=True):
    """
    Who serves a session, or stands by for it: a server, and a connection to it.

    `instance_id` is random for each plugin process, None for clients that send none. `messaging` says whether it
    takes messages from other sessions.
    """

    server_id: str
    connection_id: str
    connected_at: datetime
    instance_id: str | None = None
    messaging: bool = True


class HistoryRecord(Record, frozen=True):
    """
    How one event ended, or is: one entry of `event_history`.

    `duration_ms` runs from the last delivery to the end. `seen_at` is when that delivery was known to have reached the
    model, None where it was not. `created_at` is when the event was accepted; older records
    have none. Of an event that was put back, `sequence` was its place in its stream, and `returns_at` is when it is
    back (Unix seconds). Of one that was filtered, `condition` is what held it back, `values` what that looked at, from
    outside and cut, and `note` why it could not tell.
    """

    event_id: str
    source: str
    state: EventState
    completed_at: datetime
    path: str = ""
    skill: str = ""
    event_type: str = ""
    summary: str = ""
    duration_ms: int = 0
    timed_out: bool = False
    attempts: int = 0
    session_tag: str | None = None
    reason: str | None = None
    created_at: datetime | None = None
    seen_at: datetime | None = None
    sequence: int = 0
    returns_at: float | None = None
    condition: str | None = None
    values: dict[str, str | None] | None = None
    note: str | None = None


class Refusal(Record, frozen=True):
    """
    A webhook that was refused, as its source's owner is told: `reason` is what its sender read.

    `sender` is the address that it came from. `delivery_id` is what it called itself, in a header that nobody signed:
    a stranger's text. `passed_over` counts those before it that were not remembered.
    """

    at: datetime
    status: int
    reason: str
    sender: str = ""
    delivery_id: str | None = None
    passed_over: int = 0


def session_author(tag: str | None) -> str:
    """Name a session as the author of an order."""
    return f"session:{tag or UNTAGGED_NAME}"


def is_foreign(author: str | None, tag: str | None) -> bool:
    """Whether an order for the session of a tag was given by another session; where nobody recorded it, it was not."""
    return author not in (None, PERSON, session_author(tag))


def random_id(length: int = 20) -> str:
    """Make `length` characters of `[a-z2-7]`, 5 random bits each: one subject token, safe in any name."""
    # 5 bits a character, so whole bytes give enough; choosing letters one by one takes ten times as long.
    return base64.b32encode(secrets.token_bytes(-(-length * 5 // 8))).decode().lower()[:length]


def new_id(kind: str) -> str:
    """Make an id such as `src_…` with 100 random bits; `kind` is evt, src, tok, crn."""
    return f"{kind}_{random_id()}"


def derive_event_id(key: bytes, *origin: str) -> str:
    """
    Name an event by where it came from and what it is called there: made again, it is the same event.

    Keyed, so that nobody can tell from an id what it was, or make one collide with another profile's.
    """
    # BLAKE2's own keyed mode (RFC 7693) and hex: HMAC and base32 of a few bytes take ten times as long.
    return "evt_" + hashlib.blake2b("\0".join(origin).encode(), key=key, digest_size=16).hexdigest()


encode_json = msgspec.json.Encoder().encode
