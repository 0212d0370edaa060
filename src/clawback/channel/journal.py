"""
The journal: acks on disk from the moment Claude makes them until the server has confirmed them.

One append-only file per process, of JSON lines, each synced before the ack may be sent: `{"acked": {eventId, summary}}`
and, once the server has it, `{"confirmed": eventId}`. The process holds a lock on its file for as long as it
lives, however it ends; so a file that can be locked belongs to a dead process, and is adopted: its unconfirmed acks are
taken over, then it is removed. Files lie in a directory of the server and the session's tag, because an ack is worth
something only there. A torn last line is what a crash in mid-write leaves, and an ack that was never sent.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from clawback.errors import Unavailable
from clawback.system.file_lock import lock, remove
from clawback.wire import SettledAck


class _Line(Struct, frozen=True, omit_defaults=True):
    """One line: exactly one of the two is set."""

    acked: SettledAck | None = None
    confirmed: str | None = None


_decode = msgspec.json.Decoder(_Line).decode
_encode = msgspec.json.Encoder().encode


class Journal:
    """
    The unconfirmed acks of one process, and of dead ones of the same server and tag.

    `unconfirmed` is kept in memory too, so that an ack outlives a full disk as long as the process does.
    """

    def __init__(self, directory: Path, instance_id: str) -> None:
        self.unconfirmed: dict[str, SettledAck] = {}
        self._directory = directory
        self._path = directory / f"{instance_id}.jsonl"
        self._file: int | None = None

    def adopt(self) -> list[SettledAck]:
        """
        Take over what dead processes left, and return it. Costs a directory listing.

        Raises:
            Unavailable: the directory cannot be read or written.
        """
        try:
            self._open()
            adopted = [ack for path in sorted(self._directory.glob("*.jsonl")) for ack in self._adopt_file(path)]
        except OSError as error:
            raise self._unavailable(error) from error
        return adopted

    def write(self, ack: SettledAck) -> None:
        """
        Keep an ack; it is on the disk when this returns.

        Raises:
            Unavailable: it is kept in memory only, because the file cannot be written.
        """
        self.unconfirmed[ack.event_id] = ack
        try:
            self._append([_Line(acked=ack)])
        except OSError as error:
            raise self._unavailable(error) from error

    def confirm(self, event_ids: Iterable[str]) -> None:
        """
        Let go of acks that the server has.

        Raises:
            Unavailable: the file cannot be written; a restart would send these acks again, which changes nothing.
        """
        known = [event_id for event_id in event_ids if self.unconfirmed.pop(event_id, None)]
        try:
            if known and not self.unconfirmed:
                os.ftruncate(self._open(), 0)
            elif known:
                self._append([_Line(confirmed=event_id) for event_id in known])
        except OSError as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        """Let go of the file, and remove it when it holds nothing."""
        if self._file is not None:
            file, self._file = self._file, None
            if self.unconfirmed:
                os.close(file)
            else:
                remove(self._path, file)

    def _open(self) -> int:
        while self._file is None:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            lock(file, wait=True)
            if os.fstat(file).st_nlink:
                self._file = file
            else:
                os.close(file)  # another process took the new file for a dead one's, between the two lines above
        return self._file

    def _append(self, lines: list[_Line]) -> None:
        file = self._open()
        # One write: lines of one process are never mixed. What an earlier full disk left torn ends at the newline.
        content = b"".join(b"\n" + _encode(line) for line in lines) + b"\n"
        while content:
            content = content[os.write(file, content) :]
        os.fsync(file)

    def _adopt_file(self, path: Path) -> list[SettledAck]:
        if path == self._path:
            return []
        try:
            file = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return []  # another process adopted it since the listing
        try:
            lock(file)
            if os.fstat(file).st_nlink == 0:
                os.close(file)
                return []  # adopted between our open and our lock
            left = [ack for ack in read_lines(path.read_bytes()) if ack.event_id not in self.unconfirmed]
            if left:
                self._append([_Line(acked=ack) for ack in left])
                self.unconfirmed |= {ack.event_id: ack for ack in left}
        except BlockingIOError:
            os.close(file)
            return []  # its process lives
        except BaseException:
            os.close(file)
            raise
        remove(path, file)
        return left

    def _unavailable(self, error: OSError) -> Unavailable:
        return Unavailable(f"the journal of acks in {self._directory} cannot be written ({error.strerror})")


def read_lines(content: bytes) -> list[SettledAck]:
    """Read a journal's content: its unconfirmed acks, oldest first. A line that is none (torn, foreign) is passed."""
    unconfirmed: dict[str, SettledAck] = {}
    for line in content.splitlines():
        try:
            entry = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if entry.acked is not None:
            unconfirmed[entry.acked.event_id] = entry.acked
        if entry.confirmed is not None:
            unconfirmed.pop(entry.confirmed, None)
    return list(unconfirmed.values())


def journal_directory(data_dir: Path, remote: str, session_tag: str | None) -> Path:
    """Name the directory of one server's and one tag's journals; a hash, since a tag may hold what a path may not."""
    scope = f"{remote}\0{session_tag or ''}"
    return data_dir / "acks" / hashlib.sha256(scope.encode()).hexdigest()[:16]
