"""
Acks, from the moment they are made until the server has confirmed them.

One way out: an ack is on the disk before it is sent, is sent on each connection until it is confirmed, and only then
leaves the journal. What a dead process of the same server and tag left there is handed in as well.

For each connection: `open` and `adopt`, with `first` in its `auth`; `connected`, once that is accepted, which sends the
others; and `disconnected` at its end.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_data_path

from clawback import wire
from clawback.channel.journal import Journal, journal_directory
from clawback.channel.remote import Connection
from clawback.channel.settings import PluginConfig
from clawback.errors import Rejected, Unavailable

MAX_SENDING = 16
"""Acks on their way at once: a journal that holds thousands must not look like a flood."""

log = logging.getLogger("clawback.channel")


class Acks:
    """The acks of one session. `confirmed` is told each event whose ack the server has settled for good."""

    def __init__(
        self, session_tag: str | None, instance_id: str, confirmed: Callable[[str], object] = lambda _: None
    ) -> None:
        self._session_tag = session_tag
        self._instance_id = instance_id
        self._confirmed = confirmed
        self._journal: Journal | None = None
        self._directory: Path | None = None
        self._connection: Connection | None = None
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(MAX_SENDING)

    @property
    def unconfirmed(self) -> dict[str, wire.SettledAck]:
        """What the server has not confirmed, by event id."""
        return self._journal.unconfirmed if self._journal is not None else {}

    @property
    def first(self) -> tuple[wire.SettledAck, ...]:
        """
        What of it is said in `auth`: as many as one frame has room for, the newest of them.

        Of the newest the server may still hold the event, and would give it to this session again.
        """
        room, chosen = wire.MAX_ACKED_BYTES, []
        for ack in reversed(self.unconfirmed.values()):
            room -= len(wire.encode(ack)) + 1
            if room < 0:
                break
            chosen.append(ack)
        return tuple(reversed(chosen))

    def open(self, config: PluginConfig) -> bool:
        """Open the journal of a config's server; True if that is another server than before, or the first."""
        data_dir = Path(config.data_dir).expanduser() if config.data_dir else user_data_path("clawback") / "channel"
        directory = journal_directory(data_dir, config.remote, self._session_tag)
        is_new = self._journal is None or directory != self._directory
        if is_new:
            self.close()
            self._journal, self._directory = Journal(directory, self._instance_id), directory
        return is_new

    def adopt(self) -> frozenset[str]:
        """
        Take over what dead processes of this server and tag left, and send it if there is a connection.

        Returns the events that it is about.
        """
        assert self._journal is not None, "opened first"
        try:
            adopted = frozenset(ack.event_id for ack in self._journal.adopt())
        except Unavailable as error:
            log.warning("%s; acks are kept in memory only", error)
            return frozenset()
        if adopted:
            log.info("found %d unconfirmed acks of an earlier process", len(adopted))
        for event_id in adopted:
            self.send(event_id)
        return adopted

    def make(self, event_id: str, summary: str) -> None:
        """Make an ack: it is on the disk when this returns, and on its way if there is a connection."""
        assert self._journal is not None, "an event came, so its server's journal is open"
        try:
            self._journal.write(wire.SettledAck(event_id, summary))
        except Unavailable as error:
            log.warning("%s; the ack of %s is kept in memory only", error, event_id)
        self.send(event_id)

    def connected(self, connection: Connection, auth: wire.Auth) -> None:
        """Take the acks of `auth` as confirmed, and send those made since."""
        self._connection = connection
        self._confirm([ack.event_id for ack in auth.acked])
        for event_id in list(self.unconfirmed):
            self.send(event_id)

    def disconnected(self) -> None:
        """Keep what is unconfirmed for the next connection."""
        self._connection = None
        for task in self._sending.values():
            task.cancel()
        self._sending.clear()

    def send(self, event_id: str) -> None:
        """Send a journalled ack, unless it is on its way on this connection or there is none."""
        ack = self.unconfirmed.get(event_id)
        if ack is None or self._connection is None or event_id in self._sending:
            return
        task = asyncio.create_task(self._settle(self._connection, ack), name=f"ack {event_id}")
        self._sending[event_id] = task
        task.add_done_callback(lambda done: self._sent(event_id, done))

    def _sent(self, event_id: str, task: "asyncio.Task[None]") -> None:
        if self._sending.get(event_id) is task:
            del self._sending[event_id]

    def close(self) -> None:
        """Let go of the journal; what is unconfirmed in it is found by the next process."""
        if self._journal is not None:
            self._journal.close()

    async def _settle(self, connection: Connection, ack: wire.SettledAck) -> None:
        try:
            async with self._turn:
                await connection.ask(wire.Ack(ack.event_id, ack.summary))
        except Unavailable:
            return  # the connection ended; the next one begins with this ack
        except Rejected as error:
            # It stays in the journal: the next connection settles it with its `auth`.
            log.warning("the server did not take the ack of %s: %s", ack.event_id, error)
            return
        self._confirm([ack.event_id])

    def _confirm(self, event_ids: list[str]) -> None:
        assert self._journal is not None, "an ack was sent, so its journal was opened"
        try:
            self._journal.confirm(event_ids)
        except Unavailable as error:
            log.warning("%s; a restart sends confirmed acks again, which changes nothing", error)
        for event_id in event_ids:
            self._confirmed(event_id)
