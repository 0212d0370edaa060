"""
Delivery: carries out what the queue decides, between the server's connection, the acks and Claude Code.

One funnel for each way out: `_show_next` shows every event, and acks.py sends every ack.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable

import anyio

from clawback import __version__, wire
from clawback.channel import queue
from clawback.channel.acks import Acks
from clawback.channel.claude import fence
from clawback.channel.claude.reach import Reach
from clawback.channel.remote import Connection
from clawback.channel.settings import PluginConfig
from clawback.errors import Rejected, Unavailable

log = logging.getLogger("clawback.channel")


class Delivery:
    """
    What this session holds, and the way of each event to Claude and of its ack back.

    Implements remote.Listener and reach.Holder.

    `notify` shows a text, and what it is about, on the desktop; it is called for each event that is done, where the
    config says so. `observes` says of a config whether this session takes no events.
    """

    def __init__(
        self,
        session_tag: str | None,
        instance_id: str,
        reach: Reach,
        notify: Callable[[str, str], None],
        observes: Callable[[PluginConfig], bool],
    ) -> None:
        self._notify = notify
        self._observes = observes
        self._notifies = False
        self._session_tag = session_tag
        self._own_tag = session_tag
        self._instance_id = instance_id
        self._reach = reach
        reach.attach(self)
        self._queue = queue.Queue()
        self._acks = Acks(session_tag, instance_id, self._ack_confirmed)
        self._connection: Connection | None = None
        self._reports = False
        self._reporting: set[asyncio.Task[None]] = set()
        self._emissions: asyncio.Queue[queue.Emit | queue.Remind | queue.Retract] = asyncio.Queue()
        self._shown_last: str | None = None

    @property
    def held(self) -> list[str]:
        """The ids of the events held, the active one first."""
        return [event.id for event in self._queue.held]

    def acknowledge(self, event_id: str | None, summary: str) -> queue.Answer:
        """End an event that Claude is done with; the ack is on the disk and on its way when this returns."""
        answer = queue.Answer("")
        about = {event.id: event.meta for event in self._queue.held}
        for command in self._queue.handle(queue.AckCalled(event_id, summary)):
            if isinstance(command, queue.Answer):
                answer = command
            else:
                self._carry_out(command)
            if isinstance(command, queue.Ack):
                self._reach.acknowledged(command.event_id)
                self._notify_done(command.event_id, about.get(command.event_id, {}), summary)
        self._reach.keep(frozenset(self.held))
        if self._connection is None and not answer.refused:
            return queue.Answer(f"{answer.text} The server is not connected now; it is told as soon as it is.")
        return answer

    def _notify_done(self, event_id: str, meta: dict[str, str], summary: str) -> None:
        if self._notifies:
            what = " ".join(part for part in (meta.get("path"), meta.get("eventType")) if part)
            self._notify(summary or "done", what or event_id)

    def active_text(self) -> str | None:
        """Show the active event as its notification did, or None where there is none."""
        active = self._queue.active
        if active is None:
            return None
        self._reach.read_by_tool(active.id)
        return fence.build_event(active, secrets.token_hex(8), resumed=self._queue.is_resumed).content

    def find(self, event_id: str | None) -> str:
        """
        Name an event that is held: this one, or the active one.

        Raises:
            Rejected: it is not held, or none is; says which are.
        """
        if event_id is None and self.held:
            return self.held[0]
        if event_id is None:
            raise Rejected("No event is in flight.")
        if event_id not in self.held:
            raise Rejected(self._queue.describe_unknown(event_id))
        return event_id

    def extend(self, event_id: str, seconds: float) -> None:
        """Take note that an event that is held has more time."""
        self._reach.extended(event_id, seconds)

    def give_back(self, event_id: str) -> None:
        """Let go of an event that is held; the server is to be told next."""
        self._handle(queue.GivenBack(event_id))

    async def run(self) -> None:
        """Write the notifications, one after the other, for as long as the program lives."""
        while True:
            try:
                await self._show_next()
            except Exception:
                # Claude Code does not restart a server that exits, so an event that cannot be shown ends nothing else.
                log.exception("an event could not be shown")

    def close(self) -> None:
        """Let go of the journal; what is unconfirmed in it is found by the next process."""
        self._acks.close()

    # --- reach.Holder ---------------------------------------------------------------------------------------------

    @property
    def active(self) -> wire.EventFrame | None:
        """The event that Claude is to work on."""
        return self._queue.active

    def seen(self, event_id: str) -> None:
        """Tell the server that an event arrived, if it is one that wants to know."""
        if self._connection is not None and self._reports:
            task = asyncio.create_task(self._report(self._connection, event_id), name=f"seen {event_id}")
            self._reporting.add(task)
            task.add_done_callback(self._reporting.discard)

    def show_again(self) -> None:
        """Put the active event in front of Claude again."""
        self._handle(queue.Cleared())

    # --- remote.Listener ------------------------------------------------------------------------------------------

    def introduce(self, config: PluginConfig) -> wire.Auth:
        """Say who this is, what it holds, and what it finished without a receipt."""
        self._notifies = config.notifications
        if self._acks.open(config):
            # Another server knows nothing of what this one sent; this one sends it again to whoever comes.
            self._queue = queue.Queue()
        self._adopt()
        return wire.Auth(
            token="",
            session_tag=self._session_tag,
            instance_id=self._instance_id,
            inflight=tuple(self.held),
            acked=self._acks.first,
            session_messaging=config.session_messaging,
            observes=self._observes(config),
            client=wire.ClientInfo(name="clawback", version=__version__),
        )

    def opened(self, connection: Connection, auth: wire.Auth, welcome: wire.AuthOk) -> None:
        """Take the acks of `auth` as settled, send the others, and show what could not be shown, or leave it."""
        self._connection = connection
        self._reports = "event_seen" in welcome.features
        # As the server writes it, which is how it says who set a cron or a source.
        self._own_tag = welcome.session_tag or self._session_tag
        for event_id in filter(self._reach.has_seen, self.held):
            self.seen(event_id)
        self._acks.connected(connection, auth)
        if welcome.role == "standby":
            # Another connection was given what is held here while this one was away.
            self._handle(queue.Moved())
            return
        # The session before this one may have died since `auth` was made.
        self._adopt()
        self._handle(queue.Reconnected())

    def received(self, message: wire.ServerMessage) -> None:
        """Take an event, a reminder, a time-out, or a change of role."""
        match message:
            case wire.EventFrame():
                self._handle(queue.Arrived(fence.settle_author(message, self._own_tag)))
            case wire.Reminder(event_id):
                self._handle(queue.Reminded(event_id))
            case wire.TimedOut(event_id):
                log.warning(
                    "event %s timed out: it was not acknowledged in time and is among the dead letters", event_id
                )
                self._handle(queue.TimedOut(event_id))
            case wire.Role("standby"):
                self._handle(queue.Moved())
            case wire.Role("active"):
                # The session before this one may have died with acks that the server was never told.
                self._adopt()
            case _:
                pass

    def closed(self) -> None:
        """Forget the connection; acks wait in the journal."""
        self._connection = None
        self._acks.disconnected()

    # --- carrying out ---------------------------------------------------------------------------------------------

    def _handle(self, happened: queue.Input) -> None:
        for command in self._queue.handle(happened):
            self._carry_out(command)
        self._reach.keep(frozenset(self.held))

    def _carry_out(self, command: queue.Command) -> None:
        match command:
            case queue.Remind(event) if not self._reach.wants_reminder(event.id):
                pass  # it would wake an idle session, once more
            case queue.Emit() | queue.Remind() | queue.Retract():
                self._emissions.put_nowait(command)
            case queue.Ack(event_id, summary):
                self._acks.make(event_id, summary)
            case queue.AckAgain(event_id):
                self._acks.send(event_id)
            case queue.Answer():
                raise AssertionError("only a call of event_ack is answered, and acknowledge() does it")

    async def _show_next(self) -> None:
        command = await self._emissions.get()
        event = command.event
        # It may have moved, or ended, since this was said; then there is nothing to show, and nothing to take back.
        is_retraction = isinstance(command, queue.Retract)
        if event.id not in ([self._shown_last] if is_retraction else self.held):
            return
        if isinstance(command, queue.Emit):
            self._shown_last = event.id
        try:
            await self._reach.show(command)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            log.warning("event %s could not be written to Claude Code; trying again at the next chance", event.id)
            self._handle(queue.EmitFailed(event.id))

    async def _report(self, connection: Connection, event_id: str) -> None:
        try:
            await connection.ask(wire.EventSeen(request_id="", event_id=event_id))
        except (Unavailable, Rejected) as error:
            # It ended meanwhile, or the connection did; the next one begins with what is still held.
            log.info("the server did not note that %s was seen: %s", event_id, error)

    def _ack_confirmed(self, event_id: str) -> None:
        self._handle(queue.AckConfirmed(event_id))

    def _adopt(self) -> None:
        if adopted := self._acks.adopt():
            self._handle(queue.AcksRecovered(adopted))
