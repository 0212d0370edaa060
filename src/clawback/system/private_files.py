"""
Files that hold a secret: read only when nobody else could, made so that nobody else can.

Every `…_FILE` setting and the server's own key go through here, so they follow one rule.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clawback.errors import ConfigError

MAX_BYTES = 64 * 1024
"""No secret is this long; a bound keeps a mistaken path (a device, a log) from being read whole."""


def read_private_file(path: Path, *, setting: str) -> str:
    """
    Read a secret from its file, without the white space around it.

    The rule for modes is PostgreSQL's for `ssl_key_file`: nobody else may read it, except that a file of another
    owner may be readable by its group, which is how Kubernetes hands a secret to a process that is not root.

    Raises:
        ConfigError: the file cannot be read, is open to others, is empty or no text; names `setting` and the fix.
    """
    try:
        # Not blocking: opening a pipe that nobody writes to would wait for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(MAX_BYTES + 1) if stat.S_ISREG(status.st_mode) else None
    except OSError as error:
        raise ConfigError(f"{setting}: cannot read {path}: {error.strerror}") from error
    if content is None:
        raise ConfigError(f"{setting}: {path} is not a regular file; name the file that holds the secret")
    if _is_open_to_others(status):
        raise ConfigError(
            f"{setting}: {path} has mode {stat.S_IMODE(status.st_mode):04o}, so others can reach the secret in it;"
            f" run: chmod 600 {path}"
        )
    try:
        text = content.decode().strip()
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{setting}: {path} is not UTF-8 text; it holds the secret as text, base64 for a key"
        ) from error
    if not text or len(content) > MAX_BYTES:
        found = "is empty" if not text else f"is larger than {MAX_BYTES} bytes"
        raise ConfigError(f"{setting}: {path} {found}; it holds the secret and nothing else")
    return text


def _is_open_to_others(status: os.stat_result) -> bool:
    """Read it off the mode; on Windows that says nothing, and a home is its user's by its own rules."""
    if os.name == "nt":
        return False
    forbidden = stat.S_IRWXO | (stat.S_IRWXG if status.st_uid == os.geteuid() else stat.S_IWGRP)
    return bool(status.st_mode & forbidden)


def create_private_file(path: Path, text: str) -> bool:
    """
    Write a new file of mode 0600 so that it is whole and on the disk, or absent; False where it exists already.

    A crash may leave a stray `.new` file behind, never a half-written secret under the real name: `link` names the
    finished file and refuses to replace another writer's.

    Raises:
        OSError: the folder cannot be written.
    """
    with _draft(path, text) as draft:
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            return False
    _sync(path.parent)
    return True


def replace_private_file(path: Path, text: str) -> None:
    """
    Write a file of mode 0600 in place of another: whoever reads it, or crashes meanwhile, has the one or the other.

    Raises:
        OSError: the folder cannot be written; the file is as it was.
    """
    with _draft(path, text) as draft:
        draft.replace(path)
    _sync(path.parent)


@contextmanager
def _draft(path: Path, text: str) -> Iterator[Path]:
    """Write a file beside another one, whole and on the disk, for as long as the block needs to name it."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    """Have a name that was made or changed in a folder on the disk. Windows opens no folder, and does so by itself."""
    if os.name == "nt":
        return
    folder = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
