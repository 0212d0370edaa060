"""What the benches share: the webhook, the servers under test, the load on them, and how figures are printed."""

import asyncio
import hashlib
import hmac
import itertools
import json
import math
import os
import platform
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import websockets

from clawback.accounts.profiles import ensure_profile
from clawback.commands import admin
from clawback.fabric import subjects
from clawback.settings import ServerSettings

ROOT = Path(__file__).parent.parent
PYTHON = sys.executable
BIN = Path(PYTHON).parent
SAMPLES = ROOT / "src/clawback/samples/github"
SECRET = b"a secret of the benches"

CONNECTIONS = 32
"""Requests under way at a time, for every server the same."""


# --- the webhook --------------------------------------------------------------------------------------------------


class Webhook(NamedTuple):
    """A body, its signature and GitHub's name for what happened. Delivery ids are added when it is sent."""

    body: bytes
    signature: str
    event: str = "pull_request_review"


def webhooks(count: int = 256) -> list[Webhook]:
    """Make different bodies of one real GitHub payload of 22 kB, each signed; HMAC is no cost of a load."""
    return _signed(_sample("pull_request_review.submitted"), "pull_request_review", count)


def small_webhooks(count: int = 256) -> list[Webhook]:
    """Make bodies of 6 kB, the least that GitHub sends."""
    return _signed(_sample("star.created"), "star", count)


def large_webhooks(count: int = 32) -> list[Webhook]:
    """Make bodies of 256 kB: a push of some hundred commits."""
    push = _sample("push")
    commit = push["head_commit"]
    push["commits"] = [commit] * (249_000 // len(json.dumps(commit, separators=(",", ":"))))
    return _signed(push, "push", count)


def _sample(name: str) -> dict[str, Any]:
    return json.loads((SAMPLES / f"{name}.json").read_bytes())


def _signed(payload: dict[str, Any], event: str, count: int) -> list[Webhook]:
    made = []
    for number in range(count):
        body = json.dumps(payload | {"bench": f"{number:06}"}, separators=(",", ":")).encode()
        made.append(Webhook(body, "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest(), event))
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
        f"X-GitHub-Event: {webhook.event}\r\nX-GitHub-Delivery: {name or delivery_id()}\r\n"
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
def process(*command: str | Path | int, log: Path, port: int, **environment: str) -> Iterator[int]:
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
        f'listen: "127.0.0.1:{port}"\nmax_payload: {8 * 1024 * 1024}\npid_file: {json.dumps(str(home / "nats.pid"))}\n'
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
    with nats_server(home, sync=sync) as url, bare_handler_on(url, home) as target:
        yield target


@contextmanager
def bare_handler_on(url: str, home: Path) -> Iterator[Target]:
    """Run bench/bare_handler.py over a NATS that runs."""
    port = free_port()
    with process(PYTHON, "-m", "bench.bare_handler", url, str(port), log=home / "bare.log", port=port) as pid:
        yield Target(port, "/webhook", pid)


class Clawback(NamedTuple):
    """A running `clawback serve` with one GitHub source; `token` opens its WebSocket."""

    target: Target
    token: str


@contextmanager
def clawback(home: Path, *, sync: str, **environment: str) -> Iterator[Clawback]:
    """Run `clawback serve`: with the NATS it starts itself where `sync` is `always`, which is what it does."""
    if sync == "always":
        with serve(home, **environment) as target:
            yield add_profiles(target, home)[0]
    else:
        with nats_server(home, sync=sync) as url, serve(home, url, **environment) as target:
            yield add_profiles(target, home, url)[0]


@contextmanager
def serve(home: Path, nats_url: str | None = None, **environment: str) -> Iterator[Target]:
    """Run `clawback serve` over a NATS that runs, or over its own; it has no source yet, so no path."""
    home.mkdir(exist_ok=True)
    port = free_port()
    where = ["--data-dir", str(home), *(["--nats-url", nats_url] if nats_url else [])]
    command = (BIN / "clawback", "serve", *where, "--port", str(port))
    # All of the load is one source's, and faster than a source may be.
    unlimited = {"CLAWBACK_MAX_WEBHOOKS_PER_SECOND": "0"}
    with process(*command, log=home / "clawback.log", port=port, **unlimited, **environment) as pid:
        while not is_ready(port):
            time.sleep(0.01)
        yield Target(port, "", pid)


def is_ready(port: int) -> bool:
    """Ask a server whether it takes what it is there for: it listens earlier."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30):
            return True
    except urllib.error.URLError:
        return False


def add_profiles(target: Target, home: Path, nats_url: str | None = None, *, count: int = 1) -> list[Clawback]:
    """Make profiles, each with a token and a source; where there are several, each has a shard of its own."""
    settings = ServerSettings(data_dir=home, nats_url=nats_url)
    return asyncio.run(_add_profiles(target, settings, count))


async def _add_profiles(target: Target, settings: ServerSettings, count: int) -> list[Clawback]:
    assert count <= settings.shards, f"there are {settings.shards} shards"
    made: dict[int, Clawback] = {}
    async with admin.open_registry(settings) as (registry, tokens):
        while len(made) < count:
            profile = await ensure_profile(registry, f"bench-{os.urandom(4).hex()}")
            shard = subjects.shard_of(profile.id, registry.install.shards)
            if shard not in made:
                token = (await tokens.create(profile.id, None)).value
                await _create_source(target.port, token)
                made[shard] = Clawback(target._replace(path=f"/webhooks/{profile.webhook_id}/github"), token)
    return list(made.values())


async def _create_source(port: int, token: str) -> None:
    source = {"slug": "github", "verifierType": "github", "secret": SECRET.decode(), "routes": {"*": "/review"}}
    async with websockets.connect(f"ws://127.0.0.1:{port}/ws") as socket_:
        await socket_.send(json.dumps({"type": "auth", "token": token}))
        await socket_.recv()
        await socket_.send(json.dumps({"type": "source_create", "requestId": "1"} | source))
        answer = json.loads(await socket_.recv())
    assert answer.get("success", True), f"the source was not made: {answer}"


def nats_of(pid: int) -> int:
    """Find the nats-server that a `clawback serve` has started."""
    return int(subprocess.check_output(["pgrep", "-P", str(pid), "nats-server"]))


# --- load ---------------------------------------------------------------------------------------------------------


class Load(NamedTuple):
    """
    What one round measured: requests per second and how long each took.

    `server_us` is the CPU time of the servers' own processes for one request, `own_share` what the load itself took of
    one core. NaN and 0 where the system does not tell. `refused` is how many were answered 503.
    """

    rate: float
    took_s: list[float]
    server_us: float
    own_share: float
    refused: int = 0


class Busy(Exception):
    """A server answered 503 and closed the connection."""


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
        """
        Send a request and wait for its answer, which must be a 2xx.

        Raises:
            Busy: it is a 503.
        """
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        head = await self._answer
        if head.startswith(b"HTTP/1.1 503"):
            raise Busy
        assert head.startswith(b"HTTP/1.1 20"), f"refused: {head.decode()}"

    def close(self) -> None:
        """Hang up."""
        self._transport.close()


_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


async def load_server(target: Target, hooks: Sequence[Webhook], seconds: float) -> Load:
    """Send webhooks to a server for a while over CONNECTIONS keep-alive connections."""
    return await load_servers([target], hooks, seconds)


async def load_servers(targets: Sequence[Target], hooks: Sequence[Webhook], seconds: float) -> Load:
    """Send webhooks to several targets, maybe of one server, for a while over CONNECTIONS connections in all."""
    lanes = [(each.path, await Connection.open(each.port)) for each in islice(cycle(targets), CONNECTIONS)]
    try:
        return await keep_busy(
            [lambda hook, path=path, ask=each.ask: ask(request(path, hook)) for path, each in lanes],
            hooks,
            seconds,
            {target.pid for target in targets},
        )
    finally:
        for _, each in lanes:
            each.close()


async def keep_busy(
    lanes: Sequence[Callable[[Webhook], Awaitable[object]]],
    hooks: Sequence[Webhook],
    seconds: float,
    pids: Collection[int],
) -> Load:
    """Keep one webhook under way in every lane for a while; `pids` are the servers whose CPU time is told."""
    source = cycle(hooks)
    took: list[float] = []
    clock = time.perf_counter
    end = clock() + seconds

    async def keep_sending(send: Callable[[Webhook], Awaitable[object]]) -> None:
        while (started := clock()) < end:
            await send(next(source))
            took.append(clock() - started)

    meter = Meter(pids)
    await asyncio.gather(*map(keep_sending, lanes))
    return meter.read(took)


async def load_steadily(target: Target, hooks: Sequence[Webhook], seconds: float, rate: float) -> Load:
    """
    Send webhooks at random moments (exponential gaps), `rate` a second, whether or not earlier ones were answered.

    Each is timed from when it is sent, not from when it was to be: that the load is late is no server's fault. One that
    is answered 503 is counted, and not sent again.
    """
    source = cycle(hooks)
    refused = 0
    took: list[float] = []
    clock = time.perf_counter
    idle: list[Connection] = []
    meter = Meter({target.pid})

    async def send(hook: Webhook) -> None:
        connection = idle.pop() if idle else await Connection.open(target.port)
        started = clock()
        try:
            await connection.ask(request(target.path, hook))
        except Busy:
            nonlocal refused
            refused += 1
            connection.close()
        else:
            took.append(clock() - started)
            idle.append(connection)

    try:
        async with asyncio.TaskGroup() as group:
            due = clock()
            end = due + seconds
            while (due := due + random.expovariate(rate)) < end:
                await asyncio.sleep(max(0.0, due - clock()))
                group.create_task(send(next(source)))
        return meter.read(took)._replace(refused=refused)
    finally:
        for each in idle:
            each.close()


async def take_turns(
    loads: Mapping[str, Callable[[float], Awaitable[Load]]], rounds: int, seconds: float
) -> dict[str, list[Load]]:
    """Load each server for some seconds, one after another, in several rounds, after half a round to warm up."""
    measured: dict[str, list[Load]] = {name: [] for name in loads}
    for load in loads.values():
        await load(seconds / 2)
    for _ in range(rounds):
        for name, load in loads.items():
            measured[name].append(await load(seconds))
    return measured


class Meter:
    """What a load and the servers under it have used since this was made."""

    def __init__(self, pids: Collection[int]) -> None:
        self._pids = pids
        self._started, self._servers, self._own = self._now()

    def read(self, took: list[float]) -> Load:
        """Tell what it was for each of the requests that took so long."""
        stopped, servers, own = self._now()
        passed = stopped - self._started
        return Load(len(took) / passed, took, (servers - self._servers) / len(took) * 1e6, (own - self._own) / passed)

    def _now(self) -> tuple[float, float, float]:
        return time.perf_counter(), sum(map(cpu_seconds, self._pids)), time.process_time()


def cpu_seconds(pid: int) -> float:
    """Read the CPU time that a process has used; NaN on systems without /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return math.nan
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle_shares(pids: Mapping[str, int], seconds: float) -> dict[str, float]:
    """Let named processes be for a while, and say which share of a core each took all the same."""
    began, before = time.perf_counter(), {name: cpu_seconds(pid) for name, pid in pids.items()}
    time.sleep(seconds)
    passed = time.perf_counter() - began
    return {name: (cpu_seconds(pid) - before[name]) / passed for name, pid in pids.items()}


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


def print_loads(title: str, measured: Mapping[str, Sequence[Load]], yardstick: str) -> None:
    """Print what `take_turns` measured: medians of the rounds, and each one's ratio to the yardstick in its round."""
    rows = []
    for name, loads in measured.items():
        took_ms = [1000 * each for load in loads for each in load.took_s]
        rows.append(
            [
                name,
                f"{p50([load.rate for load in loads]):.0f}",
                f"{p50([load.rate / other.rate for load, other in zip(loads, measured[yardstick], strict=True)]):.2f}",
                f"{p50(took_ms):.1f}",
                f"{p99(took_ms):.1f}",
                f"{p50([load.server_us for load in loads]):.0f}",
                f"{100 * p50([load.own_share for load in loads]):.0f} %",
            ]
        )
    head = ["", "per second", f"of {yardstick}", "p50 ms", "p99 ms", "its CPU, us each", "the load's core"]
    print_table(title, head, rows)
