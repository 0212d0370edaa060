"""
Locks on open files, which end with the process that holds them, however it ends.

Unix has flock. Windows has locks on bytes of a file, which keep others from reading those: so it is one byte far behind
the end of any file of ours. It has no lock that several may share; there, whoever asks for one has it alone.
"""

import os
import time
from pathlib import Path

try:
    import fcntl
except ImportError:
    HAS_FLOCK = False
else:
    HAS_FLOCK = True

FAR_BYTE = 0x7FFF_0000
"""Behind the end of every file that is locked, and below 2 GiB, where old file systems end."""

AGAIN_SECONDS = 0.05
"""Between two tries on Windows, whose own waiting gives up after ten seconds."""


def lock(file: int, *, shared: bool = False, wait: bool = False) -> None:
    """
    Lock an open file, given by its descriptor, until it is closed. Blocks the thread with `wait`.

    Raises:
        BlockingIOError: another holds it; not with `wait`.
        OSError: this file system has no locks.
    """
    if HAS_FLOCK:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        return
    while not _lock_byte(file):
        if not wait:
            raise BlockingIOError("another process holds the lock")
        time.sleep(AGAIN_SECONDS)


def remove(path: Path, file: int) -> None:
    """
    Remove a locked file and close it; where it is gone already, close it.

    On Unix it goes while it is locked, so that nobody can lock what is about to go. Windows removes no open file: there
    it is closed first, and it stays where another opened it in between, who has it then.
    """
    try:
        if HAS_FLOCK:
            path.unlink(missing_ok=True)
    finally:
        os.close(file)
    if not HAS_FLOCK:
        try:
            path.unlink(missing_ok=True)
        except PermissionError:
            return  # another has it open


def _lock_byte(file: int) -> bool:
    import msvcrt  # noqa: PLC0415 -- only Windows has it

    os.lseek(file, FAR_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined] # types are checked for Unix
    except PermissionError:
        return False
    finally:
        os.lseek(file, 0, os.SEEK_SET)
    return True
