"""
Master keys: a ring of them, of which the first seals and all open.

They stand in the `master_key` setting, or one to a line in `<data_dir>/master.key`. The file is written in one step and
read again when it has changed: before something is sealed, and when a key is met that is not known. So a running server
opens what a new key sealed as soon as that key stands in its file, and seals with what stands first.

A key's id is no secret. It stands beside each ciphertext, in the log and in `clawback keys list`.
"""

import base64
import binascii
import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from clawback.errors import ConfigError, Rejected
from clawback.system import file_lock
from clawback.system.private_files import create_private_file, read_private_file, replace_private_file

KEY_BYTES = 32
KEY_FILE = "master.key"
KEY_SETTING = "master_key"
LOCK_FILE = "master.key.lock"

MAX_KEYS = 16
"""More have no use: a key that seals nothing any more is to be removed."""


def key_id(key: bytes) -> str:
    """Name a key by the first 8 hex digits of its SHA-256: enough to tell keys apart, useless to guess one."""
    return hashlib.sha256(key).hexdigest()[:8]


def parse_key(text: str) -> bytes:
    """
    Read a master key: 32 bytes in base64, standard or URL-safe.

    Raises:
        ValueError: it is something else; says what was found, never the value.
    """
    try:
        key = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{len(text)} characters that are not base64") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"base64 of {len(key)} bytes")
    return key


class KeyRing(Struct, frozen=True):
    """The keys, by their ids, in their order: the first one seals."""

    keys: dict[str, bytes]

    @property
    def current(self) -> str:
        """The id of the key that seals."""
        return next(iter(self.keys))

    def __repr__(self) -> str:
        """Leave the keys out."""
        return f"KeyRing({', '.join(self.keys)})"


def parse_ring(text: str) -> KeyRing:
    """
    Read the keys as they stand in a setting or a file: one, or several with commas or line ends between.

    Raises:
        ValueError: one of them is no key, or there are two alike or too many; says which, never the value.
    """
    texts = [each for each in re.split(r"[,\n]", text) if each.strip()] or [text]
    keys: dict[str, bytes] = {}
    for number, each in enumerate(texts, start=1):
        try:
            key = parse_key(each.strip() if len(texts) > 1 else each)
        except ValueError as error:
            raise ValueError(str(error) if len(texts) == 1 else f"{error} as key {number} of {len(texts)}") from None
        if key_id(key) in keys:
            raise ValueError(f"key {number} of {len(texts)} a second time")
        keys[key_id(key)] = key
    if len(keys) > MAX_KEYS:
        raise ValueError(f"{len(keys)} keys, and {MAX_KEYS} are the most")
    return KeyRing(keys)


def read_setting(master_key: str) -> KeyRing:
    """
    Read the ring from the `master_key` setting.

    Raises:
        ConfigError: it is none.
    """
    return _parsed(master_key, KEY_SETTING)


class KeyFile:
    """`<data_dir>/master.key`: read by servers, which make it at their first start, and written by `clawback keys`."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / KEY_FILE
        self._read_as: tuple[int, int, int] | None = None

    def read(self) -> KeyRing:
        """
        Read the ring; where there is no file, it is made with a new key.

        Raises:
            ConfigError: the file cannot be read or made, is open to others, or holds something else.
        """
        self._make()
        try:
            self._read_as = self._identity()
        except OSError as error:
            raise ConfigError(f"{KEY_SETTING}: cannot read {self.path}: {error.strerror}") from error
        return _parsed(read_private_file(self.path, setting=KEY_SETTING), str(self.path))

    def reread(self) -> KeyRing | None:
        """
        Read the ring if it was written since it was read last; None where nothing is new.

        Raises:
            ConfigError: there is something new, and it cannot be read.
        """
        try:
            if self._identity() == self._read_as:
                return None
        except OSError as error:
            # Not made anew: a server that runs has its keys, and a new one would open nothing.
            raise ConfigError(f"{KEY_SETTING}: cannot read {self.path}: {error.strerror}") from error
        return self.read()

    def put_first(self, key: bytes) -> KeyRing:
        """
        Write the ring with a new key in front; `locked` is held.

        Raises:
            ConfigError: the file cannot be read or written.
            Rejected: it holds as many keys as it may.
        """
        ring = self.read()
        if len(ring.keys) >= MAX_KEYS:
            raise Rejected(
                f"{self.path} holds {MAX_KEYS} keys, which is the most: remove those that `clawback keys list` shows to"
                " seal nothing"
            )
        return self._write(KeyRing({key_id(key): key, **ring.keys}))

    def remove(self, identifier: str) -> KeyRing:
        """
        Write the ring without one of its keys, which is not the first; `locked` is held.

        Raises:
            ConfigError: the file cannot be read or written.
        """
        ring = self.read()
        assert identifier != ring.current, "what seals stays"
        return self._write(KeyRing({name: key for name, key in ring.keys.items() if name != identifier}))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """
        Keep others from writing the file: of two that read and then write, one would undo the other's new key.

        Raises:
            ConfigError: another `clawback keys` is at it.
        """
        self._make()
        with self.path.with_name(LOCK_FILE).open("a") as lock:
            try:
                file_lock.lock(lock.fileno())
            except BlockingIOError as error:
                raise ConfigError(
                    f"{KEY_SETTING}: another `clawback keys` is changing {self.path}: wait until it is done"
                ) from error
            yield

    def _make(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.path.exists():
                # Two first starts at once: one makes it, both read the same.
                create_private_file(self.path, _written(os.urandom(KEY_BYTES)))
        except OSError as error:
            raise ConfigError(
                f"{KEY_SETTING}: cannot make {self.path}: {error.strerror}; make its folder writable, or choose another"
                " data_dir"
            ) from error

    def _write(self, ring: KeyRing) -> KeyRing:
        try:
            replace_private_file(self.path, "".join(map(_written, ring.keys.values())))
        except OSError as error:
            raise ConfigError(f"{KEY_SETTING}: cannot write {self.path}: {error.strerror}; it is as it was") from error
        return self.read()

    def _identity(self) -> tuple[int, int, int]:
        status = self.path.stat()
        return status.st_ino, status.st_mtime_ns, status.st_size


def _written(key: bytes) -> str:
    return base64.b64encode(key).decode() + "\n"


def _parsed(text: str, where: str) -> KeyRing:
    try:
        return parse_ring(text)
    except ValueError as error:
        raise ConfigError(f"{where}: read {error}; accepted is base64 of {KEY_BYTES} bytes") from error
