"""
What the config bucket holds: its records, how one revision of a key is read, and the copy of all in memory. Pure.

registry.py fills the copy and writes; what the records of profiles, sources, crons and tokens are stands in model.py.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, TypeVar

import msgspec

from clawback.errors import RecordUnreadable
from clawback.fabric import subjects
from clawback.model import Cron, Profile, Record, Source, TokenRecord

OPERATION_HEADER = "KV-Operation"
_REASON_HEADER = "Clawback-Reason"

DELETED = {OPERATION_HEADER: "DEL"}
"""What a key's last revision says once it is deleted, as the KV buckets of all NATS clients have it."""

_KEEPS_HEADER = "Clawback-Keeps"
_HASH_HEADER = "Clawback-Hash"


def rotated(token_hash: str, keeps: str | None) -> dict[str, str]:
    """
    Build what a deletion says of a token that another took the place of.

    `keeps` is the one connection that goes on, that of whoever asked. The hash lets that be closed as well, later.
    """
    return DELETED | {_REASON_HEADER: "rotated", _HASH_HEADER: token_hash, _KEEPS_HEADER: keeps or ""}


T = TypeVar("T")


class Install(Record, frozen=True):
    """What is decided once for an installation: its number of event streams, and the key of its event ids."""

    shards: int
    id_key: bytes

    def __repr__(self) -> str:
        """Leave the key out."""
        return f"Install(shards={self.shards})"


class KeyRecord(Record, frozen=True):
    """A master key that has sealed here, by its id: a server that has it not must not start where it is needed."""

    id: str
    created_at: datetime


_DECODERS: dict[str, "msgspec.json.Decoder[object]"] = {
    kind: msgspec.json.Decoder(type_)
    for kind, type_ in {
        "install": Install,
        "prof": Profile,
        "name": str,
        "hook": str,
        "tok": TokenRecord,
        "tokid": str,
        "src": Source,
        "slug": str,
        "cron": Cron,
        "quiet": str,
        "key": KeyRecord,
    }.items()
}


class Entry(NamedTuple):
    """
    The newest known revision of a key; no record means deleted or `unreadable`.

    `rotated` is the hash of a token that was replaced, and `keeps` the connection that it left open.

    What cannot be read is kept for a version that can, and shown, so that somebody deletes it who knows better.
    """

    sequence: int
    record: object | None
    rotated: str | None = None
    keeps: str | None = None
    unreadable: bool = False

    @property
    def is_there(self) -> bool:
        """Whether something is stored, readable or not."""
        return self.record is not None or self.unreadable

    @property
    def is_forgettable(self) -> bool:
        """Whether it says that its key is deleted, and nothing that somebody may still have to hear."""
        return not self.is_there and not self.rotated


def is_forgettable(headers: Mapping[str, str]) -> bool:
    """Tell whether a revision says that its key is deleted, and nothing that somebody may still have to hear."""
    return OPERATION_HEADER in headers and _REASON_HEADER not in headers


class Copy:
    """The bucket's newest entries, in memory."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._under: dict[str, set[str]] = {}

    def put(self, key: str, entry: Entry) -> Entry | None:
        """Take an entry unless a newer one is known; returns what it replaced, or itself where it was too old."""
        known = self.entries.get(key)
        if known is not None and known.sequence >= entry.sequence:
            return entry
        self.entries[key] = entry
        self._under.setdefault(key.rpartition(".")[0], set()).add(key)
        return known

    def find(self, key: str, kind: type[T]) -> T | None:
        """Return the record of a key, if there is one."""
        entry = self.entries.get(key)
        return entry.record if entry is not None and isinstance(entry.record, kind) else None

    def find_source(self, webhook_id: str, slug: str) -> tuple[Profile, Source] | None:
        """Return the source of a webhook's URL, with its profile, where every record that leads there is known."""
        profile_id = self.find(subjects.webhook_key(webhook_id), str)
        source_id = profile_id and self.find(subjects.slug_key(profile_id, slug), str)
        if not profile_id or not source_id:
            return None
        source = self.find(subjects.source_key(profile_id, source_id), Source)
        profile = self.find(subjects.profile_key(profile_id), Profile)
        return None if source is None or profile is None else (profile, source)

    def under(self, parent: str, kind: type[T]) -> list[T]:
        """Return the records one token below `parent`."""
        found = (self.find(key, kind) for key in self._under.get(parent, ()))
        return [record for record in found if record is not None]

    def tokens_under(self, parent: str) -> list[str]:
        """Return the last tokens of the keys below `parent`, deleted ones among them."""
        return sorted(key.rpartition(".")[2] for key in self._under.get(parent, ()))

    def unreadable_under(self, parent: str) -> list[str]:
        """Return the last tokens of the keys below `parent` whose records cannot be read."""
        return [token for token in self.tokens_under(parent) if self.entries[f"{parent}.{token}"].unreadable]

    def all_of(self, kind: type[T]) -> list[T]:
        """Return every record of a kind."""
        return [entry.record for entry in self.entries.values() if isinstance(entry.record, kind)]


def decode(key: str, sequence: int, headers: dict[str, str], data: bytes) -> Entry | None:
    """Read one revision; None for a kind that we do not know, which a newer server may have stored."""
    decoder = _DECODERS.get(key.partition(".")[0])
    if decoder is None:
        return None
    if OPERATION_HEADER in headers:
        # Older servers wrote no hash: theirs can be revoked no more, and closed nothing.
        return Entry(sequence, None, headers.get(_HASH_HEADER), headers.get(_KEEPS_HEADER) or None)
    try:
        return Entry(sequence, decoder.decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # One spoilt record is one thing that is missing, not a server that does not start.
        return Entry(sequence, None, unreadable=True)


_REMAKE = "delete it and make it again, or update this server"
RESTORE = "update this server, or restore the data directory from a backup"


def check_readable(name: str, entry: Entry | None, remedy: str = _REMAKE) -> None:
    """
    Check that what is stored, if anything is, could be read.

    Raises:
        RecordUnreadable: it could not.
    """
    if entry is not None and entry.unreadable:
        raise RecordUnreadable(
            f"the stored record of {name} cannot be read: it was damaged, or a newer server wrote it; {remedy}"
        )
