"""
Every subject and consumer name: built and parsed here and nowhere else. Pure.

    evt.<shard>.<profile>.<tag>.<line>.<maker>    an event (line: i, p or n); WorkQueue, so its ack deletes it
    evt.….<maker>.<number>                        one that was put back into a line at its bound, which new ones meet
    wake.<shard>.<profile>.<tag>.<line>.<maker>   that it is stored, and what it is; without its body
    stack.<profile>.<tag>                         what a session holds: its active and suspended events
    hist.<profile>.<tag>                          how events ended, a ring for each address
    hist.<profile>.<tag>.back                     which were put back into their lines, another ring
    drop.<profile>                                what was dropped, a ring for each profile
    drop.<profile>.filtered                       what conditions held back, a ring for each profile
    drop.<profile>.<cron>                         what was skipped, a ring for each cron
    dead.<profile>.<tag>.<reason>.<event>         dead letters
    later.at.<kind>.<profile>.<id>                what NATS will publish at a given time
    later.due.<kind>.<profile>.<id>               what it has published then, until a server takes it
    seen.<profile>.<event>                        the de-duplication ledger
    refused.<profile>.<source>                    webhooks that were refused, a ring for each source
    ctl.<server>                                  questions to a server about its connections; core NATS
    ctl.<server>.held                             what it is to do with events that its sessions hold; core NATS
    msg.<profile>.all                             a message to every connected session, heard by every server; core NATS
    left.<profile>.<tag>[.<connection>]           a session, or one that stood by for it, has left; core NATS
    $KV.cfg.<kind>.<…>                            profiles, sources, tokens, crons; republished as changed.cfg.<…>
    $KV.sess.<profile>.<tag>[.<connection>]       leases: which server holds a session, and who stands by for it
    $KV.once.<kind>.<hash>                        codes and what else may happen once

User text becomes one token, whatever it holds: `nats` clients do publish to a literal `*` when asked to, so nothing
but encoded text may reach a subject. Ids are Clawback's own (`[a-z0-9_]`) and stand as they are.
"""

import re
import unicodedata
import zlib
from functools import lru_cache
from typing import NamedTuple

from clawback.errors import Rejected
from clawback.model import UNTAGGED_NAME, Address, Priority

UNTAGGED = "_"
"""The token of the untagged address. No encoded tag can equal it: there, `_` is followed by two hex digits."""

MAX_TAG_BYTES = 64
"""Of NFC, UTF-8. Encoded it grows to 192 at most, which every name it enters has room for."""

CONFIG_CHANGES = "changed.cfg.>"
"""What NATS republishes of the bucket `cfg`, each once it is stored."""

STACKS = "stack.>"
"""What is held, at every address; each of these is what a stream takes."""

ENDS = ("hist.>", "drop.>")
"""How events ended, and what became none."""

DEAD_LETTERS = "dead.>"
"""Every dead letter."""

LATER = "later.>"
"""What is to be published later, and what came due."""

LEDGER = "seen.>"
"""Every entry of the ledger."""

PACKS = "packs.>"
"""Every pack of its older entries."""

REFUSALS = "refused.>"
"""Everything that was refused."""

_ID = re.compile(r"[a-z0-9_]{1,64}")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_TAG_PUNCTUATION = frozenset("-_.:/@")


_LINE_TOKEN = {Priority.INTERRUPT: "i", Priority.PRIORITY: "p", Priority.NORMAL: "n"}
_PRIORITY_OF = {token: priority for priority, token in _LINE_TOKEN.items()}


@lru_cache(maxsize=4096)
def encode_token(text: str) -> str:
    """Write any text as one subject token: `[a-z0-9-]` as they are, other UTF-8 bytes as `_` and two hex digits."""
    return "".join(
        character if character in _PLAIN else "".join(f"_{byte:02x}" for byte in character.encode())
        for character in text
    )


def decode_token(token: str) -> str:
    """
    Read back what `encode_token` wrote.

    Raises:
        ValueError: the token is not of its making.
    """
    head, *escaped = token.split("_")
    text = head.encode() + b"".join(bytes.fromhex(part[:2]) + part[2:].encode() for part in escaped)
    decoded = text.decode()
    if encode_token(decoded) != token:
        raise ValueError(f"not an encoded token: {token!r}")
    return decoded


def normalise_tag(text: str | None) -> str | None:
    """
    Read a tag as a person typed it: NFC, or None where there is none.

    Letters of any script, digits and `-_.:/@`, at most 64 bytes of UTF-8. `(untagged)` means no tag.

    Raises:
        Rejected: anything else, with the rule.
    """
    if text is None or text in ("", UNTAGGED_NAME):
        return None
    tag = unicodedata.normalize("NFC", text)
    wrong = next((c for c in tag if not (c in _TAG_PUNCTUATION or unicodedata.category(c)[0] in "LMN")), None)
    try:
        size = len(tag.encode())
    except UnicodeEncodeError:
        wrong, size = "half a surrogate pair", 0
    if wrong is not None or size > MAX_TAG_BYTES:
        found = f"{size} bytes" if wrong is None else ascii(wrong)
        raise Rejected(
            f"session tag refused, it has {found}: a tag is letters, digits and - _ . : / @,"
            f" at most {MAX_TAG_BYTES} bytes of UTF-8"
        )
    return tag


def tag_token(tag: str | None) -> str:
    """Write a normalised tag as its subject token."""
    return UNTAGGED if tag is None else encode_token(tag)


def parse_tag_token(token: str) -> str | None:
    """Read a tag's subject token."""
    return None if token == UNTAGGED else decode_token(token)


def shard_of(profile_id: str, shards: int) -> int:
    """Choose a profile's event stream: all of a profile is in one, so one publish can be atomic across its tags."""
    return zlib.crc32(profile_id.encode()) % shards


def event_stream(shard: int) -> str:
    """Name the stream of a shard's events."""
    return f"EVT{shard}"


def shard_filter(shard: int) -> str:
    """Match everything that waits in a shard."""
    return f"evt.{shard}.>"


class EventSubject(NamedTuple):
    """A parsed `evt.` or `wake.` subject."""

    shard: int
    address: Address
    priority: Priority
    maker: str


def event_subject(shard: int, address: Address, priority: Priority, maker: str) -> str:
    """Build an event's subject; `maker` is from the functions below."""
    return f"evt.{shard}.{address.profile_id}.{tag_token(address.tag)}.{_LINE_TOKEN[priority]}.{maker}"


def parse_event_subject(subject: str) -> EventSubject:
    """
    Read an `evt.` or `wake.` subject.

    Raises:
        ValueError: it is none.
    """
    kind, shard, profile_id, tag, line, maker, *beside = subject.split(".")
    if (
        kind not in ("evt", "wake")
        or line not in _PRIORITY_OF
        or len(beside) > 1
        or not all(map(str.isdecimal, beside))
    ):
        raise ValueError(f"not an event subject: {subject!r}")
    return EventSubject(int(shard), Address(profile_id, parse_tag_token(tag)), _PRIORITY_OF[line], maker)


def beside_bound(event_subject: str, message_id: str) -> str:
    """Name a place in an event's line beside its maker's bound, spread by message id: for what was there before."""
    return f"{event_subject}.{zlib.crc32(message_id.encode())}"


def source_maker(source_id: str) -> str:
    """Name the maker of a webhook source's events; bounds, counts and purges for each source go by it."""
    return f"w-{source_id}"


def cron_maker(cron_id: str) -> str:
    """Name the maker of a cron's events."""
    return f"c-{cron_id}"


def message_maker(sender: str | None) -> str:
    """Name the maker of a session's messages, by its tag."""
    return f"m-{tag_token(sender)}"


BROADCASTS = "msg.*.all"
"""Messages to every connected session, of any profile."""


def broadcast_subject(profile_id: str) -> str:
    """Name the subject on which a message to every connected session of a profile is heard."""
    return f"msg.{profile_id}.all"


REPLAY_MAKER = "r"
"""The maker of replayed events that no source or session stands behind any more."""


def lane_filter(shard: int, address: Address) -> str:
    """Match everything that waits at an address."""
    return f"evt.{shard}.{address.profile_id}.{tag_token(address.tag)}.>"


def profile_filter(shard: int, profile_id: str) -> str:
    """Match everything that waits of a profile."""
    return f"evt.{shard}.{profile_id}.>"


def line_filter(shard: int, address: Address, priority: Priority) -> str:
    """Match one line of a lane."""
    return f"evt.{shard}.{address.profile_id}.{tag_token(address.tag)}.{_LINE_TOKEN[priority]}.>"


def maker_filters(shard: int, profile_id: str, maker: str) -> tuple[str, str]:
    """Match all that waits of one maker, at any address and in any line: what stands beside the bound by the second."""
    plain = f"evt.{shard}.{profile_id}.*.*.{maker}"
    return plain, f"{plain}.*"


def maker_at_filters(shard: int, address: Address, maker: str) -> tuple[str, str]:
    """Match all that waits of one maker at an address, in any line: what stands beside the bound by the second."""
    plain = f"evt.{shard}.{address.profile_id}.{tag_token(address.tag)}.*.{maker}"
    return plain, f"{plain}.*"


def consumer_name(address: Address, priority: Priority) -> str:
    """Name a line's consumer: `<profile>=<tag>=<line>`, as `nats consumer report` lists it."""
    return f"{address.profile_id}={tag_token(address.tag)}={_LINE_TOKEN[priority]}"


def wake_subject(event_subject: str) -> str:
    """Name the subject on which the holder of a session hears of what was stored under this one."""
    return f"wake{event_subject.removeprefix('evt')}"


def wake_filter(shard: int, address: Address) -> str:
    """Match the wake-ups of an address."""
    return f"wake.{shard}.{address.profile_id}.{tag_token(address.tag)}.*.*"


def stack_subject(address: Address) -> str:
    """Name the subject that remembers what a session holds."""
    return f"stack.{address.profile_id}.{tag_token(address.tag)}"


def parse_stack_subject(subject: str) -> Address:
    """
    Read whose stack a subject remembers.

    Raises:
        ValueError: it is none.
    """
    kind, profile_id, tag = subject.split(".")
    if kind != "stack":
        raise ValueError(f"not the subject of a stack: {subject!r}")
    return Address(profile_id, parse_tag_token(tag))


def stack_filter(profile_id: str) -> str:
    """Match what the sessions of a profile hold."""
    return f"stack.{profile_id}.*"


def history_subject(address: Address) -> str:
    """Name the ring of how an address's events ended."""
    return f"hist.{address.profile_id}.{tag_token(address.tag)}"


def put_back_subject(address: Address) -> str:
    """Name the ring of an address's events that were put back into their lines; no history has them."""
    return f"{history_subject(address)}.back"


def history_filter(profile_id: str) -> str:
    """Match a profile's history, all tags."""
    return f"hist.{profile_id}.*"


def drop_subject(profile_id: str) -> str:
    """Name the ring of what a profile's sources dropped."""
    return f"drop.{profile_id}"


def skip_subject(profile_id: str, cron_id: str) -> str:
    """Name the ring of what a cron skipped: one of its own, which no source's drops push out."""
    return f"drop.{profile_id}.{cron_id}"


def filter_subject(profile_id: str) -> str:
    """Name the ring of what a profile's conditions held back: no cron is called so."""
    return f"drop.{profile_id}.filtered"


def skip_filter(profile_id: str) -> str:
    """Match what a profile's crons skipped, and what its conditions held back."""
    return f"drop.{profile_id}.*"


def refused_subject(profile_id: str, source_id: str) -> str:
    """Name the ring of what was refused of a source."""
    return f"refused.{profile_id}.{source_id}"


def refused_filter(profile_id: str) -> str:
    """Match what was refused of a profile's sources."""
    return f"refused.{profile_id}.*"


def parse_refused_subject(subject: str) -> str:
    """
    Read the source's id from a `refused.` subject.

    Raises:
        ValueError: it is none.
    """
    kind, _, source_id = subject.split(".")
    if kind != "refused":
        raise ValueError(f"not a subject of what was refused: {subject!r}")
    return source_id


def dead_subject(address: Address, reason: str, event_id: str) -> str:
    """Name a dead letter; `reason` is one of Clawback's own words."""
    return f"dead.{address.profile_id}.{tag_token(address.tag)}.{reason}.{event_id}"


class DeadSubject(NamedTuple):
    """A parsed `dead.` subject."""

    address: Address
    reason: str
    event_id: str


def parse_dead_subject(subject: str) -> DeadSubject:
    """
    Read a `dead.` subject.

    Raises:
        ValueError: it is none.
    """
    kind, profile_id, tag, reason, event_id = subject.split(".")
    if kind != "dead":
        raise ValueError(f"not a dead letter's subject: {subject!r}")
    return DeadSubject(Address(profile_id, parse_tag_token(tag)), reason, event_id)


def dead_filter(profile_id: str, event_id: str) -> str:
    """Match the dead letter of an event, whatever its address and reason."""
    return f"dead.{profile_id}.*.*.{event_id}"


def profile_dead_filter(profile_id: str) -> str:
    """Match every dead letter of a profile."""
    return f"dead.{profile_id}.>"


def address_dead_filter(address: Address) -> str:
    """Match the dead letters of an address."""
    return f"dead.{address.profile_id}.{tag_token(address.tag)}.>"


DUE_FILTER = "later.due.>"
"""What has come due, of every kind and profile."""


def later_subject(kind: str, profile_id: str, name: str) -> str:
    """Name what is to be published later; `kind` says who wants it then, `name` is its own within the profile."""
    return f"later.at.{kind}.{profile_id}.{name}"


def later_filter(kind: str, profile_id: str) -> str:
    """Match what is to be published later of a kind, for a profile."""
    return f"later.at.{kind}.{profile_id}.*"


def due_filter(kind: str, profile_id: str) -> str:
    """Match what of a kind is due and not yet taken, for a profile."""
    return f"later.due.{kind}.{profile_id}.*"


def every_later_filter(kind: str) -> str:
    """Match what of a kind is to be published later, or is due and not yet taken, of every profile."""
    return f"later.*.{kind}.>"


def parse_later_subject(subject: str) -> tuple[str, str, str]:
    """
    Read kind, profile id and name from a `later.` subject.

    Raises:
        ValueError: it is none.
    """
    _, _, kind, profile_id, name = subject.split(".")
    return kind, profile_id, name


def due_subject(kind: str, profile_id: str, name: str) -> str:
    """Name where it is published then."""
    return f"later.due.{kind}.{profile_id}.{name}"


def parse_due_subject(subject: str) -> tuple[str, str, str]:
    """
    Read kind, profile id and name from a `later.due.` subject.

    Raises:
        ValueError: it is none.
    """
    later, due, kind, profile_id, name = subject.split(".")
    if (later, due) != ("later", "due"):
        raise ValueError(f"not the subject of what came due: {subject!r}")
    return kind, profile_id, name


def seen_subject(profile_id: str, event_id: str) -> str:
    """Name the ledger's entry for an event that was accepted once."""
    return f"seen.{profile_id}.{event_id}"


SEEN_FILTER = ">"
"""
Matches every entry of the ledger, in its own stream. Not `seen.>`: for any other filter than this one NATS looks up
for each page in which of its files a subject that matches may be, 80 ms with 400,000 of them.
"""

NO_ENTRY = "seen.none"
"""Matches no entry: theirs are longer."""

PACK = "packs.seen"
"""The subject of each pack of the ledger's older entries."""

PACKS_FILTER = ">"
"""Matches every pack, in their own stream; for the reason above."""


def is_id(text: str) -> bool:
    """Tell whether a text, from wherever, can be one of Clawback's ids; only then may it enter a subject as it is."""
    return _ID.fullmatch(text) is not None


def bucket_filter(bucket: str) -> str:
    """Match every key of a bucket."""
    return f"$KV.{bucket}.>"


def config_subject(key: str) -> str:
    """Name the subject of a key of the bucket `cfg`; keys are from the functions below."""
    return f"$KV.cfg.{key}"


def parse_config_subject(subject: str) -> str:
    """
    Read the key from a subject of the bucket, or of its republished changes.

    Raises:
        ValueError: it is neither.
    """
    return _after(subject, "$KV.cfg.", "changed.cfg.")


def _after(subject: str, *prefixes: str) -> str:
    for prefix in prefixes:
        if subject.startswith(prefix):
            return subject.removeprefix(prefix)
    raise ValueError(f"not a subject of {' or '.join(prefixes)}: {subject!r}")


INSTALL_KEY = "install"
"""What the installation is made with, once and for all."""


def profile_key(profile_id: str) -> str:
    """Name a profile's record."""
    return f"prof.{profile_id}"


def profile_name_key(name: str) -> str:
    """Name the entry that finds a profile by its name."""
    return f"name.{encode_token(name)}"


def webhook_key(webhook_id: str) -> str:
    """Name the entry that finds a profile by its public webhook id; that comes from strangers."""
    return f"hook.{encode_token(webhook_id)}"


def token_key(token_hash: str) -> str:
    """Name a token's record, by the SHA-256 of its value in hex."""
    return f"tok.{token_hash}"


def all_token_keys() -> str:
    """Name what the tokens of all profiles stand under."""
    return "tok"


def token_id_keys(profile_id: str) -> str:
    """Name what the ids of a profile's tokens stand under."""
    return f"tokid.{profile_id}"


def token_id_key(profile_id: str, token_id: str) -> str:
    """Name the entry that finds a token by its id."""
    return f"tokid.{profile_id}.{token_id}"


def last_seen_key(profile_id: str, token_id: str) -> str:
    """Name the entry of when a token was last used; `*` for the id matches all of a profile."""
    return f"last.{profile_id}.{token_id}"


def source_keys(profile_id: str) -> str:
    """Name what the sources of a profile stand under."""
    return f"src.{profile_id}"


def is_source_key(key: str) -> bool:
    """Tell whether a key is of a source's record."""
    return key.startswith("src.")


def source_key(profile_id: str, source_id: str) -> str:
    """Name a source's record."""
    return f"src.{profile_id}.{source_id}"


def cron_keys(profile_id: str) -> str:
    """Name what the crons of a profile stand under."""
    return f"cron.{profile_id}"


def cron_key(profile_id: str, cron_id: str) -> str:
    """Name a cron's record."""
    return f"cron.{profile_id}.{cron_id}"


def github_key(account_id: int) -> str:
    """Name the record of a GitHub account that has a profile."""
    return f"gh.{account_id}"


def github_login_key(login: str) -> str:
    """Name the entry that says whose a GitHub login is here."""
    return f"ghlogin.{encode_token(login)}"


ROOM_PROBE = "$KV.once.room"
"""Where is tried whether NATS stores anything."""


def once_subject(kind: str, digest: str) -> str:
    """Name what may happen once; `kind` is a word of Clawback's own, `digest` the SHA-256 of its name in hex."""
    return f"$KV.once.{kind}.{digest}"


def slug_keys(profile_id: str) -> str:
    """Name what the slugs of a profile stand under."""
    return f"slug.{profile_id}"


def slug_key(profile_id: str, slug: str) -> str:
    """Name the entry that finds a source by its slug, and keeps the slug its own."""
    return f"slug.{profile_id}.{encode_token(slug)}"


def lease_subject(address: Address, standby: str | None = None) -> str:
    """Name who serves a session, or that a connection, `standby`, waits for it."""
    return f"$KV.sess.{address.profile_id}.{tag_token(address.tag)}" + (f".{standby}" if standby else "")


def lease_filter(profile_id: str) -> str:
    """Match who serves the sessions of a profile, and who stands by for them."""
    return f"$KV.sess.{profile_id}.>"


def left_subject(address: Address, standby: str | None = None) -> str:
    """Name where it is told that who served a session, or stood by for it, has left."""
    return lease_subject(address, standby).replace("$KV.sess.", "left.", 1)


class LeaseSubject(NamedTuple):
    """A parsed `$KV.sess.` or `left.` subject; `standby` is the connection that waits, None for the active one's."""

    address: Address
    standby: str | None


def parse_lease_subject(subject: str) -> LeaseSubject:
    """
    Read the subject of a lease, or of one that has left.

    Raises:
        ValueError: it is neither.
    """
    profile_id, tag, *standby = _after(subject, "$KV.sess.", "left.").split(".")
    return LeaseSubject(Address(profile_id, parse_tag_token(tag)), standby[0] if standby else None)


def news_filters(shard: int, profile_id: str) -> tuple[str, ...]:
    """Match everything that tells of a change to what is a profile's; what moves bodies about is not among it."""
    kinds = ("src", "cron", "tokid", "quiet")
    return (
        f"wake.{shard}.{profile_id}.>",
        stack_filter(profile_id),
        history_filter(profile_id),
        drop_subject(profile_id),
        skip_filter(profile_id),
        refused_filter(profile_id),
        lease_filter(profile_id),
        f"left.{profile_id}.>",
        f"changed.cfg.prof.{profile_id}",
        *(f"changed.cfg.{kind}.{profile_id}.*" for kind in kinds),
    )


def is_of_lease(subject: str) -> bool:
    """Tell whether a subject is of a lease, or of one that has left; see `parse_lease_subject`."""
    return subject.startswith(("$KV.sess.", "left."))


def is_of_leaving(subject: str) -> bool:
    """Tell whether a subject is of one that has left."""
    return subject.startswith("left.")


def control_subject(server_id: str) -> str:
    """Name where a server is asked about its connections."""
    return f"ctl.{server_id}"


def errand_subject(server_id: str) -> str:
    """Name where a server is asked to do something with an event that one of its sessions holds."""
    return f"ctl.{server_id}.held"


def master_key_key(key_id: str) -> str:
    """Name the entry of a master key that has sealed something; ids are hex digits."""
    return f"key.{encode_token(key_id)}"


def quiet_key(address: Address) -> str:
    """Name the entry that says, by being there, that a session takes no messages from others."""
    return f"quiet.{address.profile_id}.{tag_token(address.tag)}"


def quiet_keys(profile_id: str) -> str:
    """Match the entries of a profile's sessions that take no messages."""
    return f"quiet.{profile_id}.*"
