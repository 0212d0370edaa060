"""
The registry: the installation, profiles, webhook sources, crons and tokens, in the KV bucket `cfg`.

Every server reads from a copy in its memory. NATS republishes each change of the bucket once it is stored; the copy
listens first, is then filled with all that is there, and the higher sequence wins. After a reconnect it is filled anew.
What the copy does not have is looked up in NATS: another server may have stored it a moment ago.

What belongs together (a source and its slug, a token and its id) is stored in one atomic batch, each key against the
revision it must have, so a name is never half taken.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

from clawback.errors import Conflict, NotFound, Unavailable
from clawback.fabric import layout, subjects
from clawback.fabric.jetstream import SEQUENCE_HEADER, BatchMessage, CoreMessage
from clawback.fabric.streams import Fabric
from clawback.model import TIMEOUT_SECONDS, Address, Cron, Profile, Record, Source, TokenRecord, encode_json
from clawback.store.later import WITHDRAWAL, arm, disarm
from clawback.store.records import (
    DELETED,
    RESTORE,
    Copy,
    Entry,
    Install,
    KeyRecord,
    check_readable,
    decode,
    is_forgettable,
    rotated,
)
from clawback.telemetry import metrics

DEFAULT_SHARDS = 8
"""Event streams of a new installation: they sync to disk in parallel. Fixed once it is made."""

_TOKENS = subjects.token_key("")

_STREAM = f"KV_{layout.CONFIG_BUCKET}"
_ALONE = {"Nats-Rollup": "sub"}
"""Deletes the revisions before: of a source nothing is kept that was replaced, since it may be a secret."""

FORGOTTEN_AT_ONCE = 16
"""Deleted keys whose last trace is removed at a time."""

WITHDRAWAL_DELAY = timedelta(seconds=10)
"""What was accepted before every server knew that its source is gone is in its line by then, and is withdrawn too."""

T = TypeVar("T")

log = logging.getLogger("clawback.fabric")


class Registry:
    """The registry of one server. `open` before use."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._copy = Copy()
        self._loading: Copy | None = None
        self._load_lock = asyncio.Lock()
        self._on_revoked: list[Callable[[str, str | None], None]] = []
        self._install: Install | None = None
        self._forgetting: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, fabric: Fabric, *, shards: int = DEFAULT_SHARDS) -> "Registry":
        """
        Ensure the layout, make the installation where there is none, and fill the copy.

        `shards` counts for a new installation only.

        Raises:
            Unavailable: NATS does not answer, or refused a stream.
        """
        registry = cls(fabric)
        await fabric.outlast_election(lambda: registry._settle(shards))
        await fabric.subscribe(subjects.CONFIG_CHANGES, registry._changed)
        fabric.on_reconnect(registry._load)
        await fabric.outlast_election(registry._load)
        task = asyncio.create_task(registry._forget_deleted(), name="forget deleted keys")
        registry._forgetting.add(task)
        task.add_done_callback(registry._forgetting.discard)
        return registry

    @property
    def install(self) -> Install:
        """What the installation was made with."""
        assert self._install is not None, "open reads it"
        return self._install

    # --- profiles -------------------------------------------------------------------------------------------------

    async def create_profile(self, profile: Profile, *along: BatchMessage) -> None:
        """
        Store a new profile with its name and webhook id, and `along` with it what stands or falls with them.

        Raises:
            Conflict: the name is taken, or `along` does not fit.
            Unavailable: not known to be stored.
        """
        name_key = subjects.profile_name_key(profile.name)
        await self._store(
            f"there is a profile named {profile.name!r} already",
            _put(name_key, profile.id, await self._vacant(name_key)),
            _put(subjects.profile_key(profile.id), profile, 0),
            _put(subjects.webhook_key(profile.webhook_id), profile.id, 0),
            *along,
        )

    async def find_profile(self, profile_id: str) -> Profile | None:
        """
        Find a profile by its id.

        Raises:
            RecordUnreadable: there is one, and its record cannot be read.
            Unavailable: NATS does not answer.
        """
        key = subjects.profile_key(profile_id)
        found = await self._find(key, Profile)
        if found is None:
            check_readable(f"profile {profile_id}", self._copy.entries.get(key), RESTORE)
        return found

    def timeout_seconds(self, profile_id: str) -> int:
        """Return how long a profile's events may be active where their source does not say."""
        profile = self._copy.find(subjects.profile_key(profile_id), Profile)
        return TIMEOUT_SECONDS if profile is None else profile.timeout_seconds

    async def update_profile(self, profile_id: str, change: Callable[[Profile], Profile]) -> Profile:
        """
        Store a profile anew with a change to it, whoever else changes it meanwhile, and return it.

        Its name and webhook id stay what they are.

        Raises:
            NotFound: it is gone.
            RecordUnreadable: its record cannot be read, so nothing can be kept of it.
            Unavailable: not known to be stored.
        """
        key = subjects.profile_key(profile_id)
        while True:
            current = await self._read(key)
            check_readable(f"profile {profile_id}", current, RESTORE)
            if current is None or not isinstance(current.record, Profile):
                raise NotFound(f"there is no profile {profile_id} any more")
            changed = change(current.record)
            with contextlib.suppress(Conflict):  # somebody else was first: change what they made of it
                await self._store("the profile was changed at the same moment", _put(key, changed, current.sequence))
                return changed

    async def find_profile_named(self, name: str) -> Profile | None:
        """
        Find a profile by its name.

        Raises:
            RecordUnreadable: there is one, and its record cannot be read.
            Unavailable: NATS does not answer.
        """
        profile_id = await self._find(subjects.profile_name_key(name), str)
        return None if profile_id is None else await self.find_profile(profile_id)

    def list_profiles(self) -> list[Profile]:
        """List every profile, oldest first."""
        return sorted(self._copy.under("prof", Profile), key=lambda profile: profile.created_at)

    # --- sources --------------------------------------------------------------------------------------------------

    async def find_source(self, webhook_id: str, slug: str) -> tuple[Profile, Source] | None:
        """
        Find the source of a webhook's URL, with its profile; both parts are what a stranger sent.

        Raises:
            RecordUnreadable: there is such a source, and its record cannot be read.
            Unavailable: NATS does not answer.
        """
        known = self._copy.find_source(webhook_id, slug)
        if known is not None:
            return known
        profile_id = await self._find(subjects.webhook_key(webhook_id), str)
        if profile_id is None:
            return None
        source_id = await self._find(subjects.slug_key(profile_id, slug), str)
        if source_id is None:
            return None
        source = await self.find_source_by_id(profile_id, source_id)
        profile = await self.find_profile(profile_id)
        return None if source is None or profile is None else (profile, source)

    async def find_source_by_id(self, profile_id: str, source_id: str) -> Source | None:
        """
        Find a source of a profile.

        Raises:
            RecordUnreadable: there is one, and its record cannot be read.
            Unavailable: NATS does not answer.
        """
        if not subjects.is_id(source_id):
            return None
        key = subjects.source_key(profile_id, source_id)
        found = await self._find(key, Source)
        if found is None:
            check_readable(source_id, self._copy.entries.get(key))
        return found

    def unreadable_sources(self, profile_id: str) -> dict[str, str | None]:
        """List the ids of a profile's sources whose records cannot be read, with their slugs where those are known."""
        slugs = {}
        parent = subjects.slug_keys(profile_id)
        for token in self._copy.tokens_under(parent):
            source_id = self._copy.find(f"{parent}.{token}", str)
            if source_id is not None:
                slugs[source_id] = subjects.decode_token(token)
        unreadable = self._copy.unreadable_under(subjects.source_keys(profile_id))
        return {source_id: slugs.get(source_id) for source_id in unreadable}

    def list_sources(self, profile_id: str) -> list[Source]:
        """List a profile's sources, oldest first."""
        return sorted(self._copy.under(subjects.source_keys(profile_id), Source), key=lambda source: source.created_at)

    def every_source(self) -> list[Source]:
        """List the sources of all profiles."""
        return self._copy.all_of(Source)

    async def create_source(self, source: Source) -> None:
        """
        Store a new source and its slug.

        Raises:
            Conflict: the profile has a source with this slug.
            Unavailable: not known to be stored.
        """
        slug_key = subjects.slug_key(source.profile_id, source.slug)
        conflict = (
            f"there is a source with the slug {source.slug!r} already: choose another, or delete that source first"
        )
        vacant = await self._vacant(slug_key)
        while True:
            try:
                await self._store(
                    conflict,
                    _put(slug_key, source.id, vacant),
                    _put(subjects.source_key(source.profile_id, source.id), source, 0),
                )
            except Conflict:
                # The mark of a deletion is purged in the background: then the slug is free by another revision.
                seen, vacant = vacant, await self._vacant(slug_key)
                if vacant == seen:
                    raise
            else:
                return

    async def update_source(self, profile_id: str, source_id: str, change: Callable[[Source], Source]) -> Source:
        """
        Store a source anew with a change to it, whoever else changes it meanwhile, and return it.

        Its slug stays what it is. `change` may be called more than once.

        Raises:
            NotFound: the profile has no such source.
            RecordUnreadable: its record cannot be read, so nothing can be kept of it.
            Unavailable: not known to be stored.
        """
        key = subjects.source_key(profile_id, source_id) if subjects.is_id(source_id) else ""
        while True:
            current = await self._read(key) if key else None
            check_readable(source_id, current)
            if current is None or not isinstance(current.record, Source):
                raise NotFound(f"there is no source {source_id[:80]!a}; source_list shows those there are")
            changed = change(current.record)
            assert changed.slug == current.record.slug, "a slug is part of a public URL and stays"
            if changed == current.record:
                return changed
            with contextlib.suppress(Conflict):  # somebody else was first: change what they made of it
                await self._store(
                    "the source was changed at the same moment", _put(key, changed, current.sequence, _ALONE)
                )
                return changed

    async def delete_source(self, profile_id: str, source_id: str) -> bool:
        """
        Delete a source and free its slug; False where the profile has no such source.

        That what waits of it is to be withdrawn is promised before, so that whichever server is there does it.

        Raises:
            Conflict: somebody else changed it at the same moment.
            Unavailable: not known to be deleted.
        """
        if not subjects.is_id(source_id):
            return False
        key = subjects.source_key(profile_id, source_id)
        current = await self._read(key)
        if current is None or not current.is_there:
            return False
        known_slug = (
            current.record.slug
            if isinstance(current.record, Source)
            else self.unreadable_sources(profile_id).get(source_id)
        )
        slug_key = subjects.slug_key(profile_id, known_slug or "")
        slug = await self._read(slug_key) if known_slug else None
        at = datetime.now(UTC) + WITHDRAWAL_DELAY
        await arm(self._fabric, WITHDRAWAL, profile_id, source_id, at, b"", {})
        try:
            await self._store(
                f"source {source_id} was changed by somebody else at the same moment: look at it again",
                _delete(key, current.sequence, DELETED | _ALONE),
                *(
                    [_delete(slug_key, slug.sequence, DELETED | _ALONE)]
                    if slug is not None and slug.record == source_id
                    else []
                ),
            )
        except Conflict:
            await disarm(self._fabric, WITHDRAWAL, profile_id, source_id)
            raise
        return True

    def has_unreadable_sources(self) -> bool:
        """Tell whether any profile has a source whose record cannot be read."""
        return any(entry.unreadable and subjects.is_source_key(key) for key, entry in self._copy.entries.items())

    # --- master keys ----------------------------------------------------------------------------------------------

    def known_keys(self) -> dict[str, datetime]:
        """List the ids of the master keys that have sealed here and were not given up, with when they came."""
        return {key.id: key.created_at for key in self._copy.under("key", KeyRecord)}

    async def note_key(self, key_id: str, now: datetime) -> None:
        """
        Remember a master key by its id; nothing where it is known.

        Raises:
            Unavailable: not known to be stored.
        """
        key = subjects.master_key_key(key_id)
        if await self._find(key, KeyRecord) is None:
            with contextlib.suppress(Conflict):  # another server starts too
                await self._store("it is known", _put(key, KeyRecord(key_id, now), await self._vacant(key)))

    async def forget_key(self, key_id: str) -> None:
        """
        Forget a master key; nothing where it is not known.

        Raises:
            Unavailable: not known to be forgotten.
        """
        key = subjects.master_key_key(key_id)
        entry = await self._read(key)
        if entry is not None and entry.is_there:
            with contextlib.suppress(Conflict):  # somebody else was first
                await self._store("it was changed at the same moment", _delete(key, entry.sequence))

    # --- crons ----------------------------------------------------------------------------------------------------

    async def find_cron(self, profile_id: str, cron_id: str) -> Cron | None:
        """
        Find a cron as it is in NATS now; what is in memory may be a moment older.

        Raises:
            RecordUnreadable: there is one, and its record cannot be read.
            Unavailable: NATS does not answer.
        """
        if not subjects.is_id(cron_id):
            return None
        entry = await self._read(subjects.cron_key(profile_id, cron_id))
        check_readable(cron_id, entry)
        return entry.record if entry is not None and isinstance(entry.record, Cron) else None

    def list_crons(self, profile_id: str) -> list[Cron]:
        """List a profile's crons, oldest first."""
        return sorted(self._copy.under(subjects.cron_keys(profile_id), Cron), key=lambda cron: cron.created_at)

    def unreadable_crons(self, profile_id: str) -> list[str]:
        """List the ids of a profile's crons whose records cannot be read."""
        return self._copy.unreadable_under(subjects.cron_keys(profile_id))

    def every_cron(self) -> list[Cron]:
        """List the crons of all profiles."""
        return self._copy.all_of(Cron)

    async def create_cron(self, cron: Cron) -> None:
        """
        Store a new cron.

        Raises:
            Unavailable: not known to be stored.
        """
        await self._store("there is a cron with this id", _put(subjects.cron_key(cron.profile_id, cron.id), cron, 0))

    async def update_cron(self, profile_id: str, cron_id: str, change: Callable[[Cron], Cron]) -> Cron:
        """
        Store a cron anew with a change to it, whoever else changes it meanwhile, and return it.

        Raises:
            NotFound: the profile has no such cron.
            RecordUnreadable: its record cannot be read, so nothing can be kept of it.
            Unavailable: not known to be stored.
        """
        key = subjects.cron_key(profile_id, cron_id)
        while True:
            current = await self._read(key) if subjects.is_id(cron_id) else None
            check_readable(cron_id, current)
            if current is None or not isinstance(current.record, Cron):
                raise NotFound(f"there is no cron {cron_id[:80]!a}; cron_list shows those there are")
            changed = change(current.record)
            if changed == current.record:
                return changed
            with contextlib.suppress(Conflict):  # somebody else was first: change what they made of it
                await self._store("the cron was changed at the same moment", _put(key, changed, current.sequence))
                return changed

    async def delete_cron(self, profile_id: str, cron_id: str, *, edition: int | None = None) -> bool:
        """
        Delete a cron, whoever else changes it meanwhile; False where the profile has no such cron.

        With an `edition`, only while it is that one: what somebody has made of it since stays.

        Raises:
            Unavailable: not known to be deleted.
        """
        key = subjects.cron_key(profile_id, cron_id)
        while True:
            current = await self._read(key) if subjects.is_id(cron_id) else None
            if current is None or not current.is_there:
                return False
            if edition is not None and isinstance(current.record, Cron) and current.record.edition != edition:
                return False
            with contextlib.suppress(Conflict):  # it has just run
                await self._store(
                    "the cron was changed at the same moment", _delete(key, current.sequence, DELETED | _ALONE)
                )
                return True

    # --- sessions -------------------------------------------------------------------------------------------------

    async def quiet_among(self, profile_id: str, tags: Iterable[str | None]) -> list[str | None]:
        """
        Name those of these sessions, connected or not, that take no messages from others; one that never said so does.

        NATS is asked once for all of them.

        Raises:
            Unavailable: NATS does not answer.
        """
        every = subjects.config_subject(subjects.quiet_keys(profile_id))
        async for page in self._fabric.last_pages(_STREAM, every):
            for stored in page:
                self._put(subjects.parse_config_subject(stored.subject), stored.sequence, stored.headers, stored.data)
        return [tag for tag in tags if self._copy.find(subjects.quiet_key(Address(profile_id, tag)), str) is not None]

    async def keep_messaging(self, address: Address, *, allowed: bool) -> None:
        """
        Remember whether a session takes messages; stores nothing where that is known already.

        Raises:
            Unavailable: not known to be stored.
        """
        key = subjects.quiet_key(address)
        while True:
            entry = await self._read(key)
            if (entry is None or entry.record is None) is allowed:
                return
            revision = 0 if entry is None else entry.sequence
            with contextlib.suppress(Conflict):  # another connection of the session was first: look again
                await self._store(
                    "the session's setting was changed at the same moment",
                    _delete(key, revision) if allowed else _put(key, "messages are off", revision),
                )

    # --- tokens ---------------------------------------------------------------------------------------------------

    async def store_token(self, token_hash: str, token: TokenRecord) -> None:
        """
        Store a new token by the SHA-256 of its value in hex.

        Raises:
            Unavailable: not known to be stored.
        """
        await self._store(
            "this token exists already",
            _put(subjects.token_key(token_hash), token, 0),
            _put(subjects.token_id_key(token.profile_id, token.id), token_hash, 0),
        )

    async def find_token(self, token_hash: str) -> TokenRecord | None:
        """Find a token by the SHA-256 of its value in hex; None where it is unknown or revoked."""
        return await self._find(subjects.token_key(token_hash), TokenRecord)

    def knows_token(self, token_hash: str) -> bool:
        """Tell whether a token is among what this server has in memory."""
        return self._copy.find(subjects.token_key(token_hash), TokenRecord) is not None

    def token_hash(self, profile_id: str, token_id: str) -> str | None:
        """Find the hash of a token by its id."""
        return self._copy.find(subjects.token_id_key(profile_id, token_id), str)

    def list_tokens(self, profile_id: str) -> list[TokenRecord]:
        """List a profile's tokens, oldest first."""
        # By the records that open connections, and not by the entries that find them by id: none shall work unseen.
        tokens = (
            token
            for token in self._copy.under(subjects.all_token_keys(), TokenRecord)
            if token.profile_id == profile_id
        )
        return sorted(tokens, key=lambda token: token.created_at)

    def unreadable_tokens(self, profile_id: str) -> list[str]:
        """List the ids of a profile's tokens whose records cannot be read: they open nothing, and can be revoked."""
        entries = self._copy.entries
        hashes = {
            each: self.token_hash(profile_id, each)
            for each in self._copy.tokens_under(subjects.token_id_keys(profile_id))
        }
        return [
            token_id
            for token_id, each in hashes.items()
            if each is not None and (entry := entries.get(subjects.token_key(each))) is not None and entry.unreadable
        ]

    async def delete_token(self, profile_id: str, token_id: str) -> bool:
        """
        Revoke a token; False where the profile has no such token.

        One that was replaced can be revoked too, which closes the connection that was left then.

        Raises:
            Conflict: somebody else replaced it at the same moment.
            Unavailable: not known to be revoked.
        """
        removal = await self._removal_of(profile_id, token_id, DELETED | _ALONE)
        if removal is None:
            return await self._revoke_rotated(profile_id, token_id)
        await self._store(f"token {token_id} was changed by somebody else at the same moment: look again", *removal)
        return True

    async def _revoke_rotated(self, profile_id: str, token_id: str) -> bool:
        id_key = subjects.token_id_key(profile_id, token_id)
        entry = await self._read(id_key) if subjects.is_id(token_id) else None
        if entry is None or entry.rotated is None:
            return False
        token_key = subjects.token_key(entry.rotated)
        token = await self._read(token_key)
        removal = [_delete(id_key, entry.sequence)]
        if token is not None and not token.is_there:
            removal.append(_delete(token_key, token.sequence))
        await self._store(f"token {token_id} was changed by somebody else at the same moment: look again", *removal)
        return True

    async def replace_token(
        self, profile_id: str, token_id: str, new_hash: str, new: TokenRecord, *, keeps: str | None
    ) -> None:
        """
        Store a new token and remove another in one step. Of its connections only `keeps` goes on, by its id.

        Raises:
            NotFound: the profile has no such token to replace.
            Conflict: somebody else changed it at the same moment.
            Unavailable: not known to be done; all of it is, or nothing.
        """
        known = self.token_hash(profile_id, token_id) or self._hash_of(profile_id, token_id)
        removal = await self._removal_of(profile_id, token_id, rotated(known or "", keeps))
        if removal is None or known is None:
            raise NotFound(f"there is no token {token_id}; it may have been revoked just now")
        await self._store(
            f"token {token_id} was changed by somebody else at the same moment: look again",
            *removal,
            _put(subjects.token_key(new_hash), new, 0),
            _put(subjects.token_id_key(new.profile_id, new.id), new_hash, 0),
        )

    def on_token_revoked(self, callback: Callable[[str, str | None], None]) -> None:
        """
        Call `callback` with a token's hash when it was revoked or replaced, here or by another server.

        Of one that was replaced also with the id of the connection that it leaves open, if there is one.
        """
        self._on_revoked.append(callback)

    async def _removal_of(self, profile_id: str, token_id: str, marker: dict[str, str]) -> list[BatchMessage] | None:
        if not subjects.is_id(token_id):
            return None
        id_key = subjects.token_id_key(profile_id, token_id)
        entry = await self._read(id_key)
        if entry is None or not entry.is_there:
            return None
        token_hash = entry.record if isinstance(entry.record, str) else self._hash_of(profile_id, token_id)
        if token_hash is None:
            return [_delete(id_key, entry.sequence, marker)]
        token_key = subjects.token_key(token_hash)
        token = await self._read(token_key)
        removal = [_delete(id_key, entry.sequence, marker)]
        return removal if token is None else [*removal, _delete(token_key, token.sequence, marker)]

    def _hash_of(self, profile_id: str, token_id: str) -> str | None:
        """Find a token by its id the long way, where the entry that says it cannot be read."""
        for key, entry in self._copy.entries.items():
            token = entry.record
            if isinstance(token, TokenRecord) and (token.profile_id, token.id) == (profile_id, token_id):
                return key.partition(".")[2]
        return None

    # --- the bucket -----------------------------------------------------------------------------------------------

    async def _settle(self, shards: int) -> None:
        # Without event streams yet: how many there are stands in the bucket.
        await self._fabric.keep_layout(0)
        self._install = await self._ensure_install(shards)
        await self._fabric.keep_layout(self._install.shards)

    async def _ensure_install(self, shards: int) -> Install:
        subject = subjects.config_subject(subjects.INSTALL_KEY)
        stored = await self._fabric.get(_STREAM, subject=subject)
        if stored is None:
            made = Install(shards, secrets.token_bytes(32))
            try:
                await self._fabric.publish(subject, encode_json(made), expected_subject_sequence=0)
            except Conflict:
                # Another server of a new installation was first: its word counts.
                return await self._ensure_install(shards)
            return made
        return msgspec.json.decode(stored.data, type=Install)

    async def _find(self, key: str, kind: type[T]) -> T | None:
        found = self._copy.find(key, kind)
        if found is None:
            await self._read(key)
            found = self._copy.find(key, kind)
        return found

    async def _read(self, key: str) -> Entry | None:
        """Read a key's newest revision from NATS, into the copy as well."""
        stored = await self._fabric.get(_STREAM, subject=subjects.config_subject(key))
        if stored is None:
            return None
        self._put(key, stored.sequence, stored.headers, stored.data)
        return self._copy.entries.get(key)

    async def _vacant(self, key: str) -> int:
        """Return the revision that a key must have to be free: none, or its deletion's. A taken one's write fails."""
        entry = await self._read(key)
        return entry.sequence if entry is not None and entry.record is None else 0

    async def _store(self, conflict: str, *messages: BatchMessage) -> None:
        try:
            ack = await self._fabric.batch(messages)
        except Conflict as error:
            raise Conflict(conflict) from error
        # What we wrote is what we read, even before the change comes back to us.
        first = ack.sequence - len(messages) + 1
        for sequence, message in enumerate(messages, start=first):
            self._put(subjects.parse_config_subject(message.subject), sequence, message.headers, message.body)
            if is_forgettable(message.headers):
                self._forget_soon(message.subject, sequence)

    def _forget_soon(self, subject: str, sequence: int) -> None:
        """Remove what says that a key is deleted: every server has heard it, or reads all anew when it is back."""
        task = asyncio.create_task(self._forget(subject, sequence), name="forget a deleted key")
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)

    async def _forget(self, subject: str, sequence: int) -> None:
        try:
            answer = await self._fabric.api(f"STREAM.PURGE.{_STREAM}", {"filter": subject, "seq": sequence + 1})
        except Unavailable as silence:
            answer = {"error": {"description": str(silence)}}
        if error := answer.get("error"):
            # The next start does it. Nothing is in it but that the key was deleted.
            log.debug("what is deleted is not forgotten yet: %s", error.get("description"))

    async def _forget_deleted(self) -> None:
        """Remove what earlier versions and killed servers left of deleted keys."""
        left = [(key, entry.sequence) for key, entry in self._copy.entries.items() if entry.is_forgettable]
        for start in range(0, len(left), FORGOTTEN_AT_ONCE):
            await asyncio.gather(
                *(
                    self._forget(subjects.config_subject(key), sequence)
                    for key, sequence in left[start : start + FORGOTTEN_AT_ONCE]
                )
            )

    async def _load(self) -> None:
        """Fill a new copy and put it in place of the old one, which may be of a store that is no more."""
        async with self._load_lock:
            self._loading = Copy()
            try:
                async for page in self._fabric.last_pages(_STREAM, subjects.config_subject(">")):
                    for stored in page:
                        key = subjects.parse_config_subject(stored.subject)
                        entry = _decode(key, stored.sequence, stored.headers, stored.data)
                        if entry is not None:
                            self._loading.put(key, entry)
                before, self._copy = self._copy, self._loading
            finally:
                self._loading = None
        for key, entry in before.entries.items():
            self._tell_if_revoked(key, entry, self._copy.entries.get(key))

    def _changed(self, message: CoreMessage) -> None:
        key = subjects.parse_config_subject(message.subject)
        self._put(key, int(message.headers[SEQUENCE_HEADER]), message.headers, message.data)

    def _put(self, key: str, sequence: int, headers: dict[str, str], data: bytes) -> None:
        known = self._copy.entries.get(key)
        if self._loading is None and known is not None and known.sequence >= sequence:
            return
        entry = _decode(key, sequence, headers, data)
        if entry is None:
            return
        if self._loading is not None:
            self._loading.put(key, entry)
        before = self._copy.put(key, entry)
        if before is not None:
            self._tell_if_revoked(key, before, entry)

    def _tell_if_revoked(self, key: str, before: Entry, after: Entry | None) -> None:
        if isinstance(before.record, Source) and (after is None or not after.is_there):
            metrics.forget_source(before.record.profile_id, before.record.id)
        was_open = isinstance(before.record, TokenRecord)
        if not key.startswith(_TOKENS) or not (was_open or before.rotated):
            return
        if after is None or (after.record is None and (was_open or not after.rotated)):
            for callback in self._on_revoked:
                callback(key.removeprefix(_TOKENS), None if after is None else after.keeps)


def _decode(key: str, sequence: int, headers: dict[str, str], data: bytes) -> Entry | None:
    """Read one revision, and complain of one that cannot be read, without its value, which may be a secret."""
    entry = decode(key, sequence, headers, data)
    if entry is not None and entry.unreadable:
        log.error("registry entry %s (revision %d) cannot be read and counts as missing", key, sequence)
    return entry


def _put(key: str, record: Record | str, revision: int, headers: dict[str, str] | None = None) -> BatchMessage:
    return BatchMessage(subjects.config_subject(key), encode_json(record), headers or {}, revision)


def _delete(key: str, revision: int, marker: dict[str, str] = DELETED) -> BatchMessage:
    return BatchMessage(subjects.config_subject(key), b"", marker, revision)
