"""
Reach: puts events in front of Claude by the way that ways.py chooses, and looks for proof that they arrived.

The proof is in the transcript, or in the prompt that a hook is told; hooks also tell when a turn ends and when the
session begins anew. One funnel: `_write` is the only place from which anything goes to Claude, tool answers and the
hooks' own apart.
"""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import anyio

from clawback.channel import queue
from clawback.channel.claude import fence, transcript
from clawback.channel.claude.link import Link
from clawback.channel.claude.reminders import Reminders, is_question
from clawback.channel.claude.ways import (
    PATIENCE_SECONDS,
    Acked,
    Closed,
    Failed,
    Input,
    Kept,
    Opened,
    Report,
    Restarted,
    Seen,
    Send,
    Shown,
    Ticked,
    TurnBegan,
    TurnEnded,
    Way,
    Ways,
    Witnessed,
    find_gate,
)
from clawback.wire import EventFrame

Emit = Callable[[fence.Emission], Awaitable[None]]

INBOX_VARIABLE = "CLAUDE_CODE_MESSAGING_SOCKET"
INBOX_TOKEN_VARIABLE = "CLAUDE_CODE_MESSAGING_TOKEN"  # noqa: S105 -- the variable's name
PLUGIN_VARIABLE = "CLAUDE_PLUGIN_ROOT"
INBOX_SECONDS = 2.0
LOOK_SECONDS = 0.5
"""Between two looks into the transcript, while something is out that was not seen."""

log = logging.getLogger("clawback.channel")


class Holder(Protocol):
    """What is told of events, and asked for them: delivery.py."""

    @property
    def active(self) -> EventFrame | None:
        """The event that Claude is to work on."""

    def seen(self, event_id: str) -> None:
        """Take note that an event arrived."""

    def show_again(self) -> None:
        """Put the active event in front of Claude again: it has forgotten it."""


class Reach:
    """
    The way of events to Claude, for one Claude Code process.

    `emit` writes a channel notification. `environment` is what Claude Code, the process `pid`, started this program
    with. What brought no proof within `patience` seconds goes by another way.
    """

    def __init__(
        self, emit: Emit, environment: Mapping[str, str], pid: int, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._emit = emit
        self._inbox = environment.get(INBOX_VARIABLE, "")
        self._inbox_token = environment.get(INBOX_TOKEN_VARIABLE, "")
        by_inbox = [Way.INBOX] if self._inbox else []
        # A plugin's server is told where the plugin is, and the plugin has hooks.
        self._ways = Ways(
            [Way.CHANNEL, *by_inbox],
            gate=find_gate(environment),
            witnessed=bool(environment.get(PLUGIN_VARIABLE)),
            patience=patience,
        )
        self._link = Link(
            pid,
            self._hooked,
            monitor_came=lambda: self._tell(Opened(Way.MONITOR)),
            monitor_went=lambda: self._tell(Closed(Way.MONITOR)),
            standing=lambda: self._ways.standing(time.monotonic()),
        )
        self._transcript = transcript.Transcript()
        self._holder: Holder
        self._reminders = Reminders()
        # How the events in front of Claude are shown, for when they go by another way.
        self._shown: dict[str, queue.Emit | queue.Remind] = {}
        self._held_up: set[str] = set()
        self._sends: asyncio.Queue[Send] = asyncio.Queue()
        self._changed = asyncio.Event()

    def attach(self, holder: Holder) -> None:
        """Say who holds the events; once, before anything else."""
        self._holder = holder

    async def run(self) -> None:
        """Serve hooks and the monitor, look for proof, and send by another way what brought none."""
        if (start := self._link.take_start()) is not None:
            self._follow(start)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._link.run(), name="link")
                tasks.create_task(self._watch(), name="watch")
                tasks.create_task(self._send_again(), name="ways")
        except* Exception:
            # Claude Code does not restart a server that exits: a bug here costs the other ways, and nothing else.
            log.exception("events go by their first way only, because of an internal error")

    def close(self) -> None:
        """Let nobody connect any more."""
        self._link.close()

    def describe(self) -> str:
        """Say by which way events reach Claude."""
        return str(self._ways.standing(time.monotonic()))

    # --- from delivery --------------------------------------------------------------------------------------------

    async def show(self, command: queue.Emit | queue.Remind | queue.Retract) -> None:
        """
        Put something in front of Claude.

        Raises:
            anyio.BrokenResourceError, anyio.ClosedResourceError: Claude Code reads nothing any more.
        """
        event_id = command.event.id
        if isinstance(command, queue.Retract) or (isinstance(command, queue.Remind) and self._ways.has_seen(event_id)):
            await self._write(command, self._ways.first, again=False)
            return
        self._shown[event_id] = command
        self._reminders.shown(event_id, time.monotonic())
        for send in self._handle(Shown(event_id)):
            await self._send(send)

    def keep(self, event_ids: frozenset[str]) -> None:
        """Forget all events but these: the others are not held any more."""
        self._shown = {event_id: shown for event_id, shown in self._shown.items() if event_id in event_ids}
        self._held_up &= event_ids
        self._reminders.keep(event_ids)
        self._tell(Kept(event_ids))

    def wants_reminder(self, event_id: str) -> bool:
        """Say whether Claude is to be reminded of an event now; what is shown is counted."""
        is_busy = self._transcript.has_grown() and self._ways.in_turn
        return self._reminders.wants(event_id, is_busy=is_busy, now=time.monotonic())

    def extended(self, event_id: str, seconds: float) -> None:
        """Take note that an event has more time."""
        self._reminders.extended(event_id, seconds)

    def acknowledged(self, event_id: str) -> None:
        """Take an ack for a proof: it says by which way the next event goes."""
        self._tell(Acked(event_id))

    def has_seen(self, event_id: str) -> bool:
        """Say whether an event is known to have arrived."""
        return self._ways.has_seen(event_id)

    def read_by_tool(self, event_id: str) -> None:
        """Take note that a tool's answer showed an event."""
        self._tell(Seen(event_id, Way.TOOL))

    # --- from hooks -----------------------------------------------------------------------------------------------

    def _hooked(self, name: str, told: dict[str, Any]) -> str:
        self._tell(Witnessed())
        self._follow(told)
        match name:
            case "SessionStart" if told.get("source") == "clear":
                self._tell(Restarted())
                self._held_up.clear()
                self._holder.show_again()
            case "UserPromptSubmit":
                return self._prompted(str(told.get("prompt", "")))
            case "Stop":
                return self._stopping(
                    was_held_up=bool(told.get("stop_hook_active")), last=told.get("last_assistant_message")
                )
        return ""

    def _prompted(self, prompt: str) -> str:
        for event_id in self._ways.unseen:
            if fence.proof_of(event_id) in prompt:
                self._tell(Seen(event_id, transcript.way_of(prompt)))
        waiting = self._say_what_waits()
        self._tell(TurnBegan())
        return waiting

    def _stopping(self, *, was_held_up: bool, last: object) -> str:
        """
        Hold a turn that would end with an event forgotten; each event once, and each turn once.

        The reason is context for the model, and no error that the user is shown. What was said `last` tells whether a
        turn that was held ended with a question to the user; where it is not told, it is taken for one.
        """
        self._look()
        active = self._holder.active
        if not was_held_up and active is not None and active.id not in self._held_up:
            if self._ways.has_seen(active.id):
                reason = fence.build_forgotten(active)
            elif self._ways.is_announced(active.id):
                reason = self._announce(self._shown.get(active.id) or queue.Emit(active), again=False)
            else:
                reason = self._say_what_waits()
            if reason:
                self._held_up.add(active.id)
                return json.dumps({"hookSpecificOutput": {"hookEventName": "Stop", "additionalContext": reason}})
        if active is not None:
            asks = is_question(last) if isinstance(last, str) else True
            self._reminders.turn_ended(active.id, asks=active.id in self._held_up and asks)
        self._tell(TurnEnded())
        return ""

    def _say_what_waits(self) -> str:
        """Announce the active event where it should have been seen by now, or was announced and not read."""
        active = self._holder.active
        if active is None:
            return ""
        if active.id in self._ways.overdue(time.monotonic()):
            self._tell(Seen(active.id, Way.HOOK))
            return self._announce(self._shown.get(active.id) or queue.Emit(active), again=True)
        return ""

    def _announce(self, command: queue.Emit | queue.Remind, *, again: bool) -> str:
        reminder = command.times if isinstance(command, queue.Remind) else 0
        resumed = isinstance(command, queue.Emit) and command.resumed
        return fence.build_line(command.event, again=again or bool(reminder), resumed=resumed, reminder=reminder)

    def _follow(self, told: dict[str, Any]) -> None:
        if isinstance(path := told.get("transcript_path"), str):
            self._transcript.follow(path)

    # --- looking --------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            self._changed.clear()
            if not self._ways.unseen:
                await self._changed.wait()
                continue
            wait = self._ways.wait_seconds(time.monotonic())
            await asyncio.sleep(LOOK_SECONDS if wait is None else min(wait, LOOK_SECONDS))
            self._look()
            self._tell(Ticked())

    def _look(self) -> None:
        for event_id, way in self._transcript.read_proofs(self._ways.unseen).items():
            self._tell(Seen(event_id, way))

    # --- carrying out ---------------------------------------------------------------------------------------------

    def _handle(self, happened: Input) -> list[Send]:
        """Tell the ways, and return what is to be sent; what is to be reported is."""
        sends = []
        for command in self._ways.handle(happened, time.monotonic()):
            match command:
                case Send():
                    sends.append(command)
                case Report(event_id):
                    self._holder.seen(event_id)
        self._changed.set()
        return sends

    def _tell(self, happened: Input) -> None:
        for send in self._handle(happened):
            self._sends.put_nowait(send)

    async def _send_again(self) -> None:
        while True:
            send = await self._sends.get()
            try:
                await self._send(send)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                log.warning("event %s could not be written to Claude Code", send.event_id)

    async def _send(self, send: Send) -> None:
        shown = self._shown.get(send.event_id)
        if shown is None:
            return  # it ended since
        if send.again:
            log.info("event %s was not seen to arrive; it goes by the %s", send.event_id, send.way)
        try:
            await self._write(shown, send.way, again=send.again)
        except OSError as error:
            log.warning("the %s takes no event (%s)", send.way, error)
            self._tell(Failed(send.event_id, send.way))

    async def _write(self, command: queue.Emit | queue.Remind | queue.Retract, way: Way, *, again: bool) -> None:
        """
        Write something to a way.

        Raises:
            OSError: the monitor or the inbox takes nothing.
        """
        marker = secrets.token_hex(8)
        event = command.event
        match command:
            case queue.Emit(resumed=resumed):
                by_inbox = way is Way.INBOX
                emission = fence.build_event(event, marker, resumed=resumed, again=again, by_inbox=by_inbox)
            case queue.Remind(times=times):
                emission = fence.build_reminder(event, marker, times=times, by_inbox=way is Way.INBOX)
            case queue.Retract():
                emission = fence.build_retraction(event)
        match way:
            case Way.MONITOR if isinstance(command, queue.Retract):
                self._link.announce(emission.content)
            case Way.MONITOR if not isinstance(command, queue.Retract):
                self._link.announce(self._announce(command, again=again))
            case Way.INBOX:
                await _write_to_inbox(self._inbox, self._inbox_token, emission.content)
            case _:
                await self._emit(emission)


async def _write_to_inbox(path: str, token: str, text: str) -> None:
    """
    Send the session a message through its own inbox, as Claude Code documents it for scripts. It answers nothing.

    The token of its environment goes first. Without one Claude Code asks the kernel who is writing, and where it cannot
    tell (as the first process of a container) it keeps the message back for a person to release, or drops it with `-p`.

    Raises:
        OSError: nobody listens there, or takes it within two seconds.
    """
    frames: list[dict[str, Any]] = [{"type": "auth", "token": token}] if token else []
    frames.append({"type": "user", "message": {"role": "user", "content": text}})
    async with asyncio.timeout(INBOX_SECONDS):
        _, inbox = await asyncio.open_unix_connection(path)
        try:
            inbox.write("".join(f"{json.dumps(frame)}\n" for frame in frames).encode())
            await inbox.drain()
        finally:
            inbox.close()
