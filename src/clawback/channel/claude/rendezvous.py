"""
Where Claude Code's hooks and monitor find the channel of their session. The standard library only, and little of it.

Hooks and the monitor are children of one Claude Code process, and so is the channel; the id of that process names the
socket between them. A session id would not do: `/clear` hands out another one, and the channel keeps the old. Only the
user can open the directory. A hook has some 50 ms in all, so what is imported here counts.
"""

import os
import socket
import sys

ANSWER_SECONDS = 2.0
"""How long a hook waits for the channel: it holds up Claude's turn, and the channel answers in milliseconds."""


def claude_directory() -> str:
    """Find Claude Code's own directory, by its own rule."""
    return os.path.expanduser(os.environ.get("CLAUDE_CONFIG_DIR") or "~/.claude")  # noqa: PTH111 -- pathlib is slow


def run_directory() -> str:
    """Name the directory of the sockets."""
    return f"{claude_directory()}/channels/clawback/run"


def claude_pid() -> int:
    """Name the Claude Code process that started this one; it tells its hooks and monitors, not its servers."""
    told = os.environ.get("CLAUDE_PID", "")
    return int(told) if told.isdecimal() else os.getppid()


def is_alive(pid: int) -> bool:
    """Tell whether a process runs."""
    if sys.platform == "win32":
        return _is_alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def connect(pid: int) -> socket.socket:
    """
    Connect to the channel of a Claude Code process. Changes the working directory.

    Raises:
        OSError: there is none.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise OSError("this system has no sockets that are files")
    # A socket's name may be 104 bytes long and a home may be longer, so it is named from within its directory.
    os.chdir(run_directory())
    found = socket.socket(socket.AF_UNIX)
    try:
        found.settimeout(ANSWER_SECONDS)
        found.connect(f"{pid}.sock")
    except OSError:
        found.close()
        raise
    return found


def _is_alive_on_windows(pid: int) -> bool:
    """Ask Windows, where `os.kill` would end the process."""
    import ctypes  # noqa: PLC0415 -- slow, and needed there alone

    synchronize, access_denied, timed_out = 0x0010_0000, 5, 0x102
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined] # types are checked for Unix
    handle = kernel.OpenProcess(synchronize, False, pid)  # noqa: FBT003 -- it takes no names
    if not handle:
        return bool(ctypes.get_last_error() == access_denied)  # type: ignore[attr-defined] # as above
    try:
        return bool(kernel.WaitForSingleObject(handle, 0) == timed_out)
    finally:
        kernel.CloseHandle(handle)
