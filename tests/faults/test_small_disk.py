"""
A disk that really is full, under a server with its own NATS: a tmpfs of some megabytes in a mount namespace.

Where a machine allows neither user namespaces nor root to mount, this fails and says so: it is in `make faults` alone.
"""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from clawback.store.room import RESERVE_BYTES
from github import delivery
from houses import Peer
from processes import Server
from waiting import eventually

MIB = 1024 * 1024
DISK_BYTES = RESERVE_BYTES + 64 * MIB
BODY_BYTES = 200_000
"""Not compressed, so that a few hundred webhooks are enough."""

LEFT_BYTES = 16 * MIB
"""What somebody else leaves of the disk: a quarter of what NATS is told to leave."""

MOUNT = f'mount -t tmpfs -o size={DISK_BYTES} clawback "$0" && exec "$@"'
PATIENCE_SECONDS = 30.0


def find_runner(directory: Path) -> list[str]:
    """Find what runs a program with a small disk at a directory: in a user namespace, or as root without one."""
    said = []
    for options in ("-Urm", "-m"):
        runner = ["unshare", options, "sh", "-c", MOUNT, str(directory)]
        tried = subprocess.run([*runner, "true"], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            return runner
        said.append(tried.stderr.strip())
    raise AssertionError(
        f"this machine lets nobody mount a small disk ({'; '.join(said)}): allow user namespaces (sysctl"
        " kernel.unprivileged_userns_clone=1, in a container a seccomp profile that lets unshare and mount through),"
        " or run the test as root"
    )


class Disk:
    """A server on a small disk, a sender that fills it, and a session that works off what waits."""

    def __init__(self, server: Server, path: Path, peer: Peer, web: httpx.AsyncClient, url: str) -> None:
        self.server, self.path, self.peer, self._web, self._url = server, path, peer, web, url
        self.accepted: list[str] = []
        self.acked: list[tuple[str, str]] = []

    @property
    def free(self) -> int:
        """Bytes that anybody can still write."""
        return shutil.disk_usage(self.path).free

    async def post(self) -> httpx.Response:
        """Send a webhook."""
        body = json.dumps({"noise": os.urandom(BODY_BYTES // 2).hex()}).encode()
        answer = await self._web.post(self._url, **delivery("push", body))
        if answer.status_code == 202:
            self.accepted.append(answer.json()["eventId"])
        return answer

    async def fill(self) -> httpx.Response:
        """Send until one is refused; that answer."""
        for _ in range(DISK_BYTES // BODY_BYTES):
            answer = await self.post()
            if answer.status_code != 202:
                return answer
        raise AssertionError("more went onto the disk than it has")

    async def work_off(self) -> None:
        """Ack everything that was accepted."""
        while len(self.acked) < len(self.accepted):
            event = await self.peer.frame("event", timeout=PATIENCE_SECONDS)
            assert (await self.peer.ack(event["id"], timeout=PATIENCE_SECONDS))["settled"]
            self.acked.append((event["id"], event["meta"]["attempt"]))

    async def ready(self) -> httpx.Response:
        """Ask whether events are taken."""
        return await self._web.get(f"{self.server.url}/readyz")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server whose data directory is a disk of 320 MiB."""
    home = tmp_path / "server"
    (home / "data").mkdir(parents=True)
    server = Server(home, runner=find_runner(home / "data"))
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
async def disk(server: Server) -> AsyncIterator[Disk]:
    """The server with a source, its sender and a session."""
    # Only the server sees its disk, and whoever goes by way of it.
    path = server.data_dir = Path(f"/proc/{server.process.pid}/root{server.data_dir}")
    token = await asyncio.to_thread(server.token)
    peer = await Peer.open(server.socket_url)
    await peer.say("auth", token=token.value, instanceId="i")
    await peer.frame("auth_ok")
    made = await peer.ask("source_create", slug="hub", verifierType="github", secret="planted-secret", skill="/go")
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS, trust_env=False) as web:
        yield Disk(server, path, peer, web, made["data"]["url"])
    await peer.close()


@pytest.mark.timeout(300)
async def test_a_full_disk_refuses_new_events_and_loses_none(disk):
    """Everything that was accepted is worked off, however little is left; with room again events are taken again."""
    nats_pid = disk.server.nats_pid
    refused, red = await disk.fill(), await disk.ready()
    await disk.work_off()
    await eventually(lambda: _is_green(disk), PATIENCE_SECONDS)
    await disk.fill()
    somebodys = disk.path / "somebodys"
    with somebodys.open("wb") as file:
        while (more := disk.free - LEFT_BYTES) > 0:
            file.write(bytes(min(more, MIB)))
            file.flush()
    left = disk.free
    still_refused, still_red = await disk.post(), await disk.ready()
    await disk.work_off()
    somebodys.unlink()
    await eventually(lambda: _is_green(disk), PATIENCE_SECONDS)
    again = await disk.post()
    await disk.work_off()

    assert (refused.status_code, still_refused.status_code, again.status_code) == (503, 503, 202)
    assert int(refused.headers["retry-after"]) > 0
    assert (red.status_code, still_red.status_code) == (503, 503)
    assert f"the disk of {disk.server.home / 'data'} has" in red.json()["reason"]
    assert "let sessions work off what waits" in red.json()["reason"]
    assert left <= LEFT_BYTES
    assert disk.acked == [(event_id, "1") for event_id in disk.accepted]
    assert len(disk.accepted) > 2 * 100
    assert disk.server.nats_pid == nats_pid, "NATS was started again"


async def _is_green(disk: Disk) -> bool:
    return (await disk.ready()).status_code == 200
