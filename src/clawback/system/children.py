"""Children that do not outlive us, whatever kills us. Linux only; elsewhere they have to notice by themselves."""

import ctypes
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    assert _libc is not None, "used on Linux only"
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


dies_with_parent: Callable[[], None] | None = _die_with_parent if _libc is not None else None
"""
For `preexec_fn`: run in the child before it becomes its program, it has the kernel kill it when we die.

Of the child alone; what that starts in turn is its own to end.
"""
