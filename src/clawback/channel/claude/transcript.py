"""
The transcript: what Claude Code writes down of a session, read for proof that an event reached the model.

Hooks name the file: a line of JSON for each message, in the order in which they became part of the conversation. Its
form is not documented (2.1.330 was looked at), so as little as possible is asked of it: a line of type `user` or
`attachment` that holds an event's closing sentence (fence.py). Lines of other types are about messages that wait, were
asked for, or are Claude's own, and prove nothing.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from clawback.channel.claude.fence import proof_of
from clawback.channel.claude.ways import Way

MAX_READ_BYTES = 16 * 1024 * 1024
"""Of one look at the file. More than that at once is no conversation, and is passed over."""

_STARTS = {"<channel ": Way.CHANNEL, "<task-notification>": Way.MONITOR}
"""How Claude Code begins a message that came by this way; by the inbox it is our text as it is."""


class Transcript:
    """Follows a transcript from where it ends when it is first heard of: what stood there before proves nothing."""

    def __init__(self) -> None:
        self._path: str | None = None
        self._position = 0
        self._looked_at = 0

    def follow(self, path: str) -> None:
        """Follow this file; nothing where it is followed already."""
        if path != self._path:
            self._path, self._position = path, _size(path)
            self._looked_at = self._position

    def has_grown(self) -> bool:
        """Say whether anything was written since this was last asked; also where there is nothing to look at."""
        if self._path is None:
            return True
        before, self._looked_at = self._looked_at, _size(self._path)
        return self._looked_at > before

    def read_proofs(self, event_ids: Iterable[str]) -> dict[str, Way | None]:
        """Read on, and name the events that are proven to have arrived since, by which way where that can be told."""
        wanted = list(event_ids)
        return {event_id: way for line in self._read_on() for event_id, way in find_proofs(line, wanted)}

    def _read_on(self) -> list[bytes]:
        if self._path is None:
            return []
        try:
            with open(self._path, "rb") as file:  # noqa: PTH123 -- looked at twice a second
                size = os.fstat(file.fileno()).st_size
                if not self._position < size <= self._position + MAX_READ_BYTES:
                    self._position = size
                    return []
                file.seek(self._position)
                content = file.read(MAX_READ_BYTES)
        except OSError:
            return []  # not written yet, or gone with its session
        whole = content[: content.rfind(b"\n") + 1]
        self._position += len(whole)
        return whole.splitlines()


def find_proofs(line: bytes, event_ids: Iterable[str]) -> Iterator[tuple[str, Way | None]]:
    """Name the events that a line of a transcript proves to have arrived; pure."""
    named = [event_id for event_id in event_ids if event_id.encode() in line]
    if not named:
        return
    try:
        entry = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if entry.get("type") not in {"user", "attachment"}:
        return
    for text in _texts(entry.get("message") or entry.get("attachment")):
        for event_id in named:
            if proof_of(event_id) in text:
                yield event_id, way_of(text)


def way_of(text: str) -> Way | None:
    """Tell by which way a message came from how it begins; None where that is our own text, by whatever way."""
    return next((way for start, way in _STARTS.items() if text.startswith(start)), None)


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for each in value.values():
                yield from _texts(each)
        case list():
            for each in value:
                yield from _texts(each)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 -- as above
    except OSError:
        return 0
