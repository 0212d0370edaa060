"""
Run `clawback` with what Windows has not hidden from it: `python as_on_windows.py serve`, or `… import MODULE …`.

The standard library has loaded what it needs of that before; locks are asked of a `msvcrt` that has flock behind it.
"""

import asyncio
import fcntl
import importlib
import os
import socket
import subprocess
import sys
import tempfile
import types

HIDDEN = {"fcntl", "grp", "pty", "pwd", "resource", "sh", "termios", "tty", "uvloop"}
LOADED = (asyncio, subprocess, tempfile)
"""These need `fcntl` or `pwd` here, and what Windows has instead there."""


class Refusal:
    """Finds none of the hidden modules, and says so at once."""

    def find_spec(self, name, *_):
        """Refuse a hidden module, and leave every other to those who find modules."""
        if name in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def build_msvcrt(flock=fcntl.flock):
    """Build what Windows locks with: it refuses with PermissionError."""

    def locking(file, mode, size):
        assert (mode, size) == (2, 1), "the lock is one byte, tried for once"
        try:
            flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PermissionError(error.errno, error.strerror) from error

    module = types.ModuleType("msvcrt")
    module.LK_NBLCK, module.locking = 2, locking
    return module


def hide():
    """Hide what Windows has not."""
    for name in HIDDEN:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Refusal())
    sys.modules["msvcrt"] = build_msvcrt()
    for name in ("killpg", "setsid"):
        delattr(os, name)
    poor = types.SimpleNamespace(**{name: value for name, value in vars(socket).items() if name != "AF_UNIX"})
    for name in ("rendezvous", "link"):
        # Of our modules alone: the event loop here is made of such a socket.
        importlib.import_module(f"clawback.channel.claude.{name}").socket = poor


if __name__ == "__main__":
    hide()
    if sys.argv[1:2] == ["import"]:
        for name in sys.argv[2:]:
            importlib.import_module(name)
        sys.exit()
    from clawback.__main__ import main

    sys.exit(main())
