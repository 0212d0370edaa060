"""
`clawback work`: a session without Claude Code open. Each event becomes one run of a command, one at a time.

It is a client like the plugin, with the same journal, so what is promised of events holds: an ack outlives a kill, and
an event whose worker was killed is delivered again. What differs is who decides: an exit code instead of a model.

One at a time comes before interrupts here. An interrupt cannot suspend a program, and a second one beside the first
would share its files; so it waits for the run that is under way, and goes before everything that waits at the server.
"""

import asyncio
import logging
import os
import secrets
import shutil
import signal
from collections.abc import Callable, Sequence

from clawback import __version__, wire
from clawback.channel.acks import Acks
from clawback.channel.claude import fence
from clawback.channel.remote import Connection, Remote, Timing
from clawback.channel.settings import PluginConfig, config_path, read_config
from clawback.commands.child import run_command
from clawback.commands.run_rules import Done, Failed, build_environment, judge
from clawback.commands.terminal import printable
from clawback.errors import ClawbackError, ConfigError, Unavailable
from clawback.fabric.subjects import normalise_tag
from clawback.model import UNTAGGED_NAME, random_id

MAX_TIMEOUT_SECONDS = 12 * 3600
"""The server adds a day at most to an event's time, and an interrupt waits for one run before its own."""

MAX_EXTENSION_SECONDS = 24 * 3600
"""What the server grants at one time."""

SPARE_SECONDS = 60
"""Beyond what runs may take: for starting them, and for the ack."""

log = logging.getLogger("clawback.work")


class Worker:
    """What is held and run. Implements remote.Listener; `work` runs what comes, in the order in which it came."""

    def __init__(self, tag: str | None, command: Sequence[str], timeout_s: int) -> None:
        self._tag = tag
        self._command = command
        self._timeout_s = timeout_s
        self._instance_id = random_id()
        self._acks = Acks(tag, self._instance_id)
        self._held: dict[str, wire.EventFrame] = {}
        self._arrived = asyncio.Event()
        self._running: tuple[str, asyncio.Task[Done | Failed]] | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self._prolonged: set[str] = set()
        self._connection: Connection | None = None

    async def work(self) -> None:
        """Run a command for each event, until cancelled; then the command that runs is ended first."""
        while True:
            while not self._held:
                self._arrived.clear()
                await self._arrived.wait()
            event = next(iter(self._held.values()))
            task = asyncio.create_task(self._run(event), name=f"run {event.id}")
            self._running = event.id, task
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                task.cancel()
                await asyncio.wait([task])
                raise
            self._running = None
            if task.cancelled():
                continue  # it is another session's now, and no longer held
            await self._end(event.id, task.result())

    def close(self) -> None:
        """Let go of the journal."""
        self._acks.close()

    async def _run(self, event: wire.EventFrame) -> Done | Failed:
        kind, attempt = event.meta.get("eventType") or event.meta.get("source", ""), event.meta.get("attempt", "?")
        log.info("%s (%s, attempt %s): started", event.id, kind, attempt)
        environment = build_environment(os.environ, event, f"work-{random_id(12)}")
        try:
            ended = await run_command(
                self._command, fence.build_run(event, secrets.token_hex(8)), environment, self._timeout_s
            )
        except OSError as error:
            return Failed(f"{self._command[0]} cannot be started: {error.strerror}")
        log.info("%s: exit code %d after %.1f s", event.id, ended.code, ended.seconds)
        return judge(ended)

    async def _end(self, event_id: str, verdict: Done | Failed) -> None:
        was_held = self._held.pop(event_id, None) is not None
        self._prolonged.discard(event_id)
        match verdict:
            case Done(summary):
                # Also of one that timed out meanwhile: its ack is recorded against it.
                self._acks.make(event_id, summary)
            case Failed(reason):
                log.warning("%s failed: %s", event_id, reason)
                if was_held:
                    # Let go of before it is asked: the next delivery may overtake the answer.
                    await self._tell(wire.EventFail(request_id="", event_id=event_id, reason=reason))

    # --- remote.Listener ------------------------------------------------------------------------------------------

    def introduce(self, config: PluginConfig) -> wire.Auth:
        """Say who this is, what it holds, and what it finished without a receipt."""
        if self._acks.open(config):
            self._let_go("it is of another server")
        self._acks.adopt()
        return wire.Auth(
            token="",
            session_tag=self._tag,
            instance_id=self._instance_id,
            inflight=tuple(self._held),
            acked=self._acks.first,
            session_messaging=config.session_messaging,
            client=wire.ClientInfo(name="clawback work", version=__version__),
        )

    def opened(self, connection: Connection, auth: wire.Auth, welcome: wire.AuthOk) -> None:
        """Take a connection into use."""
        self._connection = connection
        self._acks.connected(connection, auth)
        if welcome.role == "standby":
            self._let_go("another session of this tag is active")
        else:
            # The session before this one may have died since `auth` was made.
            self._acks.adopt()

    def received(self, message: wire.ServerMessage) -> None:
        """Take an event, the end of one, or a change of role."""
        match message:
            case wire.EventFrame(event_id) if event_id in self._acks.unconfirmed:
                self._acks.send(event_id)
            case wire.EventFrame(event_id) if event_id not in self._held:
                self._held[event_id] = fence.settle_author(message, self._tag)
                self._arrived.set()
                self._prolong(event_id)
            case wire.Reminder(event_id) if event_id in self._held and event_id not in self._prolonged:
                self._prolong(event_id)
            case wire.TimedOut(event_id):
                log.warning("%s is among the dead letters, or has ended elsewhere", event_id)
                self._held.pop(event_id, None)
            case wire.Role("standby"):
                self._let_go("another session of this tag took over")
            case wire.Role("active"):
                self._acks.adopt()
            case _:
                pass

    def closed(self) -> None:
        """Forget the connection; what runs goes on, and its ack waits in the journal."""
        self._connection = None
        self._acks.disconnected()

    # --- what is asked of the server ------------------------------------------------------------------------------

    def _prolong(self, event_id: str) -> None:
        """Ask for the time that this event's run may take, and that of those before it."""
        seconds = min(self._timeout_s * len(self._held) + SPARE_SECONDS, MAX_EXTENSION_SECONDS)
        request = wire.EventExtend(request_id="", event_id=event_id, seconds=seconds)
        task = asyncio.create_task(self._prolong_once(request), name=f"prolong {event_id}")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _prolong_once(self, request: wire.EventExtend) -> None:
        if await self._tell(request):
            self._prolonged.add(request.event_id)

    async def _tell(self, request: wire.EventExtend | wire.EventFail) -> bool:
        """Tell the server, once; False where it was not told, which a reminder or another delivery makes up for."""
        if self._connection is None:
            log.warning("%s: not connected now", request.event_id)
            return False
        try:
            await self._connection.ask(request)
        except ClawbackError as error:
            log.warning("%s: the server did not take what was said of it: %s", request.event_id, error)
            return False
        return True

    def _let_go(self, why: str) -> None:
        if self._held:
            log.warning("let go of %s: %s", ", ".join(self._held), why)
        self._held.clear()
        if self._running is not None:
            self._running[1].cancel()


async def work(tag: str | None, command: Sequence[str], timeout_s: int, timing: Timing | None = None) -> int:
    """
    Run a command for each event of a tag until a signal comes, and return the exit code.

    Raises:
        ConfigError: there is no usable config, the tag is none, the time is out of bounds, or there is no such command.
        Unavailable: another process took this one's place.
    """
    _check(command, timeout_s)
    read_config()
    worker = Worker(normalise_tag(tag), command, timeout_s)
    remote = Remote(read_config, config_path, worker, timing or Timing())
    ending = asyncio.get_running_loop().create_future()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, _settle(ending, number))
    log.info("waiting for events of %s; Ctrl-C ends it", printable(tag or UNTAGGED_NAME))
    connecting = asyncio.create_task(remote.run(), name="remote")
    working = asyncio.create_task(worker.work(), name="work")
    try:
        await asyncio.wait([ending, connecting, working], return_when=asyncio.FIRST_COMPLETED)
    finally:
        # What runs is ended before the server is told goodbye: it may give the event to somebody else at once.
        working.cancel()
        await asyncio.wait([working])
        await remote.close()
        connecting.cancel()
        await asyncio.wait([connecting])
        worker.close()
    if ending.done():
        return 130 if ending.result() is signal.SIGINT else 0
    for task in (working, connecting):
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
    raise Unavailable(remote.problem or "the connection ended")


def _check(command: Sequence[str], timeout_s: int) -> None:
    if not 1 <= timeout_s <= MAX_TIMEOUT_SECONDS:
        raise ConfigError(f"--timeout: read {timeout_s}; accepted are 1 to {MAX_TIMEOUT_SECONDS} seconds")
    if not command:
        raise ConfigError("work needs a command to run: clawback work --tag ci -- claude -p")
    if shutil.which(command[0]) is None:
        raise ConfigError(f"work: there is no program {command[0]!a} that can be run; give one on the PATH, or a path")


def _settle(ending: "asyncio.Future[signal.Signals]", number: signal.Signals) -> Callable[[], None]:
    def settle() -> None:
        if not ending.done():
            ending.set_result(number)

    return settle
