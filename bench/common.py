"""What the benches share: the webhook, the servers under test, the load on them, and how figures are printed."""

import asyncio
import hashlib
import hmac
import itertools
import json
import math
import os
import platform
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import websockets

ROOT = Path(__file__).parent.parent
PYTHON = sys.executable
BIN = Path(PYTHON).parent
PAYLOAD = ROOT / "tests/data/github/pull_request_review.submitted.json"
EVENT = "pull_request_review"
SECRET = b"a secret of the benches"

CONNECTIONS = 32
"""Requests under way at a time, for every server the same."""


# --- the webhook --------------------------------------------------------------------------------------------------


class Webhook(NamedTuple):
    """A body and its signature. Delivery ids are added when it is sent."""

    body: bytes
    signature: str


def webhooks(count: int = 256) -> list[Webhook]:
    """Make different bodies of one real GitHub payload, each signed. Beforehand: HMAC is not what the load costs."""
    payload = json.loads(PAYLOAD.read_bytes())
    made = []
    for number in range(count):
        body = json.dumps(payload | {"bench": f"{number:06}"}, separators=(",", ":")).encode()
        made.append(Webhook(body, "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()))
    return made


_delivery = itertools.count()
_run = os.urandom(6).hex()


def delivery_id() -> str:
    """Name a delivery as nobody did before."""
    return f"{_run}-{next(_delivery):08x}"


def request(path: str, webhook: Webhook, name: str | None = None) -> bytes:
    """Write the request that GitHub would send; `name` is its delivery id, by default a new one."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nUser-Agent: GitHub-Hookshot/bench\r\nAccept: */*\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(webhook.body)}\r\nX-GitHub-Hook-ID: 1\r\n"
        f"X-GitHub-Event: {EVENT}\r\nX-GitHub-Delivery: {name or delivery_id()}\r\n"
        f"X-Hub-Signature-256: {webhook.signature}\r\n\r\n"
    ).encode() + webhook.body


# --- servers ------------------------------------------------------------------------------------------------------


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a directory on a real disk: /tmp may be memory, where a sync costs nothing."""
    with tempfile.TemporaryDirectory(prefix="clawback-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")) as directory:  # noqa: S108 -- the name is random
        yield Path(directory)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def process(*command: str | Path, log: Path, port: int, **environment: str) -> Iterator[int]:
    """Run a server until the block ends; entered once it listens. Yields its process id."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            [str(part) for part in command], stdout=output, stderr=output, cwd=ROOT, env=os.environ | environment
        )
    try:
        deadline = time.monotonic() + 20
        while True:
            assert child.poll() is None, f"{command[0]} ended: {log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"{command[0]} does not listen: {log.read_text()[-2000:]}"
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                break
        yield child.pid
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(20)


@contextmanager
def nats_server(home: Path, *, sync: str) -> Iterator[str]:
    """Run a nats-server as `clawback serve` runs its own; `sync` is `always`, or NATS's own default, `2m`."""
    home.mkdir()
    port = free_port()
    config = home / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:{port}"\nmax_payload: {8 * 1024 * 1024}\n'
        f"jetstream {{ store_dir: {json.dumps(str(home))}, sync_interval: {sync},"
        " limits { default_max_consumers: 100000 } }\n"
    )
    with process(BIN / "nats-server", "-c", config, log=home / "nats.log", port=port):
        yield f"nats://127.0.0.1:{port}"


class Target(NamedTuple):
    """A server under load: where it listens, the path that takes webhooks, its process."""

    port: int
    path: str
    pid: int


@contextmanager
def bare_handler(home: Path, *, sync: str) -> Iterator[Target]:
    """Run bench/bare_handler.py over a NATS of its own."""
    port = free_port()
    with (
        nats_server(home, sync=sync) as url,
        process(PYTHON, "-m", "bench.bare_handler", url, str(port), log=home / "bare.log", port=port) as pid,
    ):
        yield Target(port, "/webhook", pid)


class Clawback(NamedTuple):
    """A running `clawback serve` with one GitHub source; `token` opens its WebSocket."""

    target: Target
    token: str


@contextmanager
def clawback(home: Path, *, sync: str) -> Iterator[Clawback]:
    """Run `clawback serve`: with the NATS it starts itself where `sync` is `always`, which is what it does."""
    if sync == "always":
        with _serve(home, "--data-dir", str(home)) as running:
            yield running
    else:
        with (
            nats_server(home, sync=sync) as url,
            _serve(home, "--data-dir", str(home), "--nats-url", url) as running,
        ):
            yield running


@contextmanager
def _serve(home: Path, *where: str) -> Iterator[Clawback]:
    home.mkdir(exist_ok=True)
    port = free_port()
    program = BIN / "clawback"
    # All of the load is one source's, and faster than a source may be.
    unlimited = {"CLAWBACK_MAX_WEBHOOKS_PER_SECOND": "0"}
    command = (program, "serve", *where, "--port", str(port))
    with process(*command, log=home / "clawback.log", port=port, **unlimited) as pid:
        made = json.loads(subprocess.check_output([program, "token", "create", "--json", *where]))
        asyncio.run(_create_source(port, made["token"]))
        yield Clawback(Target(port, f"/webhooks/{made['webhookId']}/github", pid), made["token"])


async def _create_source(port: int, token: str) -> None:
    source = {"slug": "github", "verifierType": "github", "secret": SECRET.decode(), "routes": {"*": "/review"}}
    async with websockets.connect(f"ws://127.0.0.1:{port}/ws") as socket_:
        await socket_.send(json.dumps({"type": "auth", "token": token}))
        await socket_.recv()
        await socket_.send(json.dumps({"type": "source_create", "requestId": "1"} | source))
        answer = json.loads(await socket_.recv())
    assert answer.get("success", True), f"the source was not made: {answer}"


# --- load ---------------------------------------------------------------------------------------------------------


class Load(NamedTuple):
    """
    What one round measured: requests per second and how long each took.

    `server_us` is the CPU time of the server's own process for one request, `own_share` what the load itself took of
    one core. NaN and 0 where the system does not tell.
    """

    rate: float
    took_s: list[float]
    server_us: float
    own_share: float


class Connection(asyncio.Protocol):
    """One keep-alive connection: as little work for each request as Python allows."""

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect to a server on this machine."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to write to."""
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits for an answer."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Take an answer, which may come in pieces."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if end and len(body) >= int(_LENGTH.search(head)[1]):
            self._received = b""
            self._answer.set_result(head)

    async def ask(self, request: bytes) -> None:
        """Send a request and wait for its answer, which must be a 2xx."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        head = await self._answer
        assert head.startswith(b"HTTP/1.1 20"), f"refused: {head.decode()}"

    def close(self) -> None:
        """Hang up."""
        self._transport.close()


_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


async def load_server(target: Target, hooks: Sequence[Webhook], seconds: float) -> Load:
    """Send webhooks to a server for a while over CONNECTIONS keep-alive connections."""
    connections = [await Connection.open(target.port) for _ in range(CONNECTIONS)]
    try:
        return await keep_busy(
            [lambda hook, ask=each.ask: ask(request(target.path, hook)) for each in connections],
            hooks,
            seconds,
            target.pid,
        )
    finally:
        for each in connections:
            each.close()


async def keep_busy(
    lanes: Sequence[Callable[[Webhook], Awaitable[object]]], hooks: Sequence[Webhook], seconds: float, pid: int
) -> Load:
    """Keep one webhook under way in every lane for a while; `pid` is the server whose CPU time is told."""
    source = itertools.cycle(hooks)
    took: list[float] = []
    clock = time.perf_counter
    end = clock() + seconds

    async def keep_sending(send: Callable[[Webhook], Awaitable[object]]) -> None:
        while (started := clock()) < end:
            await send(next(source))
            took.append(clock() - started)

    started, server, own = clock(), cpu_seconds(pid), time.process_time()
    await asyncio.gather(*map(keep_sending, lanes))
    passed = clock() - started
    return Load(
        len(took) / passed,
        took,
        (cpu_seconds(pid) - server) / len(took) * 1e6,
        (time.process_time() - own) / passed,
    )


def cpu_seconds(pid: int) -> float:
    """Read the CPU time that a process has used; NaN on systems without /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return math.nan
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Ask how much memory a process holds, in MB (10^6 bytes)."""
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)])) * 1024 / 1e6


# --- figures ------------------------------------------------------------------------------------------------------


def p50(values: Sequence[float]) -> float:
    return statistics.median(values)


def p99(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


def print_machine(directory: Path) -> None:
    """Name what the figures below were measured on; a sync to its disk costs what every PubAck waits for."""
    cpu = platform.processor() or platform.machine()
    with suppress(OSError):
        cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    print(
        f"{cpu}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {platform.system()} {platform.release()};"
        f" Python {platform.python_version()}; a synced write of 22 kB takes {_sync_ms(directory):.2f} ms"
    )


def _sync_ms(directory: Path) -> float:
    took = []
    with (directory / "sync").open("wb") as file:
        for _ in range(50):
            file.write(bytes(22_000))
            file.flush()
            started = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - started)
    return p50(took) * 1000


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose first column is text and whose others are figures."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    print(f"\n{title}\n")
    for row in (head, ["-" * width for width in widths], *rows):
        print(
            "  ".join(
                [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
            )
        )
