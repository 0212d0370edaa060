"""Whose program serves a port of this machine: a port by itself is anybody's who was there first."""

import shutil
import subprocess
import sys
from pathlib import Path

_ESTABLISHED = "01"
_LISTENS = "0A"


def serves_as(port: int, user_id: int) -> bool:
    """
    Tell whether everything that listens and talks on a loopback port belongs to one user, and something does.

    A connection that was accepted there before the call is then one to a program of this user. Programs of root count
    too: nothing is hidden from those.
    """
    owners = _owners_on_linux(port) if sys.platform == "linux" else _owners_elsewhere(port)
    return bool(owners) and owners <= {user_id, 0}


def _owners_on_linux(port: int) -> set[int]:
    owners = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        except FileNotFoundError:
            continue  # a kernel without IPv6
        for line in lines:
            fields = line.split()
            # proc_net_tcp.rst: local address, remote address, state, queues, timer, retransmits, uid, timeout, inode.
            local_port, state, user, inode = int(fields[1].rpartition(":")[2], 16), fields[3], fields[7], fields[9]
            # Without an inode it is nobody's yet, or no more.
            if local_port == port and state in (_ESTABLISHED, _LISTENS) and inode != "0":
                owners.add(int(user))
    return owners


def _owners_elsewhere(port: int) -> set[int]:
    lsof = shutil.which("lsof") or "/usr/sbin/lsof"
    # As one of its users it lists what is theirs; and there is one listener to a port.
    listed = subprocess.run(  # noqa: S603 -- a number is all that is not literal
        [lsof, "-nP", "-w", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fu"], capture_output=True, text=True, check=False
    )
    return {int(line[1:]) for line in listed.stdout.splitlines() if line[:1] == "u" and line[1:].isdecimal()}
