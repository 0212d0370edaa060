"""The installed programs as subprocesses, in a home of the test's own: `clawback serve`, and single commands."""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from clawback.commands.admin import create_token
from clawback.fabric.auth import NatsAuth
from clawback.fabric.embedded import read_auth
from clawback.settings import load_settings
from natsd import Natsd, claim

CLAWBACK = Path(sys.executable).with_name("clawback")
READY = "Clawback is ready"

START_SECONDS = 40.0
"""It takes one; a machine that builds something beside takes longer."""

STOP_SECONDS = 30.0
COMMAND_SECONDS = 40.0

# Below the ports that the kernel gives to outgoing connections (Linux, 32768 and up): one of those could take the port
# of a server that is down, even by connecting to itself, and the server could not come back.
_PORTS = range(20_000, 32_000)


class Token(NamedTuple):
    """What `clawback token create --json` printed."""

    value: str
    id: str
    profile_id: str
    webhook_id: str


class Server:
    """
    `clawback serve` under `home`, on a port and a data directory that stay the same over restarts.

    Its NATS is its own, unless `nats` is another; `runner` is what runs the program, in its own place. `close` ends
    whatever is left of it; a fixture calls it, so that a test that fails leaves nothing behind.
    """

    def __init__(
        self,
        home: Path,
        *,
        nats: Natsd | None = None,
        replicas: int = 1,
        runner: Sequence[str] = (),
        program: Path = CLAWBACK,
    ) -> None:
        self.home = home
        self._program = program
        self._runner = runner
        self._nats = nats
        self.settings = (
            {}
            if nats is None
            else {
                "CLAWBACK_NATS_URL": nats.server_auth.url,
                "CLAWBACK_NATS_USER": nats.server_auth.user,
                "CLAWBACK_NATS_PASSWORD": nats.server_auth.password,
                "CLAWBACK_REPLICAS": str(replicas),
            }
        )
        self.data_dir = home / "data"
        self.port = stable_port()
        self.process: subprocess.Popen | None = None
        self._starts = 0
        home.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        """Where sessions connect."""
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def nats_auth(self) -> NatsAuth:
        """A test's way to its NATS."""
        return read_auth(self.data_dir) if self._nats is None else self._nats.auth

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    @property
    def nats_pid(self) -> int | None:
        """The process id of its nats-server, None while there is none."""
        found = [pid for pid in processes_of(self.home) if b"nats-server\0" in command_line(pid)]
        return found[0] if found else None

    @property
    def output(self) -> str:
        """What the last start wrote to stdout."""
        return self._log("out").read_text()

    @property
    def errors(self) -> str:
        """What the last start wrote to stderr."""
        return self._log("err").read_text()

    def launch(self, *arguments: str, **extra: str) -> None:
        """Start it, and return at once."""
        self._starts += 1
        serve = [self._program, "serve", "--data-dir", self.data_dir, "--port", str(self.port)]
        command = [*self._runner, *serve, *arguments]
        with self._log("out").open("wb") as out, self._log("err").open("wb") as err:
            self.process = subprocess.Popen(
                command,
                env=environment(self.home) | self.settings | extra,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def start(self, *arguments: str, **extra: str) -> None:
        """Start it, and return when it is ready."""
        self.launch(*arguments, **extra)
        deadline = time.monotonic() + START_SECONDS
        while READY not in self.output:
            assert self.running, f"serve ended with {self.process.returncode}: {self.errors[-3000:]}"
            assert time.monotonic() < deadline, f"serve is not ready: {self.errors[-3000:]}"
            time.sleep(0.01)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it with a signal, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    def kill9(self) -> None:
        """Kill it without a warning. Its nats-server dies with it, as the kernel was told."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def kill9_nats(self) -> int | None:
        """Kill its nats-server without a warning and return its process id; None when none was there to kill."""
        pid = self.nats_pid
        if pid is not None:
            kill(pid)
        return pid

    def close(self) -> None:
        """End everything that runs under its home, whatever state the test left it in."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_SECONDS)
        for pid in processes_of(self.home):
            kill(pid)

    def run(self, *arguments: str, stdin: str = "", **extra: str) -> subprocess.CompletedProcess:
        """Run a `clawback` command in this home to its end."""
        return subprocess.run(
            [CLAWBACK, *arguments],
            env=environment(self.home) | self.settings | extra,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def token(self, profile: str = "default") -> Token:
        """Make a token as the command line does, without a process of its own: that takes a second of every test."""
        settings = load_settings({"data_dir": str(self.data_dir)}, environment(self.home) | self.settings)
        # The test's own loop runs in this thread.
        with ThreadPoolExecutor(1) as thread:
            making = thread.submit(asyncio.run, create_token(settings, profile, None))
            owner, made = making.result(COMMAND_SECONDS)
        return Token(made.value, made.record.id, owner.id, owner.webhook_id)

    def log_in(self, token: Token, home: Path, server: str | None = None) -> Path:
        """Save a token with `clawback login` for the Claude Code of `home`, and return the path of its config."""
        arguments = ("login", "--token-stdin", "--server", server or self.url)
        saved = self.run(*arguments, stdin=token.value + "\n", **environment(home))
        assert saved.returncode == 0, saved.stderr
        return Path(environment(home)["CLAUDE_CONFIG_DIR"]) / "channels/clawback/config.json"

    def _log(self, name: str) -> Path:
        return self.home / f"serve-{self._starts}.{name}"


def environment(home: Path) -> dict[str, str]:
    """Build an environment in which programs leave everything under `home`."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CLAUDE_CONFIG_DIR": str(home / "claude"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "share"),
    }


def processes_of(directory: Path) -> list[int]:
    """List the processes, dead ones aside, whose command line names something under a directory."""
    needle = os.fsencode(directory) + b"/"
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and needle in _words(entry)]


def command_line(pid: int) -> bytes:
    """Read a process's command line, its words ended by NUL; empty when it is gone."""
    return _words(Path(f"/proc/{pid}"))


def resident_bytes(pid: int) -> int:
    """How much memory a process holds."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


def _words(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def kill(pid: int) -> None:
    """Kill a process without a warning; nothing when it is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Let a process answer nothing, with every connection open, until the end of the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def stable_port() -> int:
    """Find a loopback port that stays free while its server is down."""
    while True:
        port = secrets.choice(_PORTS)
        if claim(port) and is_free(port):
            return port


def is_free(port: int) -> bool:
    """Tell whether a server could listen on a loopback port."""
    with socket.socket() as probe:
        # As servers do: connections of a former one that are not forgotten yet do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
