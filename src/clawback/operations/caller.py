"""Who asks, and what the operations work with."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct

from clawback import wire
from clawback.accounts.tokens import Tokens
from clawback.accounts.vault import Vault
from clawback.errors import Rejected, Unauthorized
from clawback.model import Address, Cron, Priority, Profile
from clawback.store.discards import Discarded, Job, Words
from clawback.store.events import EventStore
from clawback.store.history import History
from clawback.store.inventory import Inventory
from clawback.store.leases import Entry
from clawback.store.refusals import Refusals
from clawback.store.registry import Registry


class Caller(Struct, frozen=True):
    """
    Who asks: everything is looked up under `profile_id`, so what is another's does not exist for them.

    `token_id` is the token that opened the connection, `session_tag` the session that speaks (None: untagged) and
    `connection_id` its connection, None where the request came over none. `messaging` is false where that connection
    said that it wants no messages between sessions, and
    `names_events` where it sent no `instanceId`: such a client is shown routes as the texts that it knows.
    """

    profile_id: str
    token_id: str
    session_tag: str | None = None
    connection_id: str | None = None
    messaging: bool = True
    names_events: bool = True


class Outcome(Protocol):
    """What became of a message."""

    @property
    def sent(self) -> int:
        """For how many connected sessions it is stored."""

    @property
    def queued(self) -> int:
        """For how many offline ones."""

    @property
    def unconfirmed(self) -> int:
        """How many connected ones it may or may not have reached."""


class Messenger(Protocol):
    """What the operations need of messages between sessions; sessions/messages.py has it."""

    def count(self, sender: Address) -> None:
        """Count one message against what the sender's profile may send."""

    async def send(self, sender: Address, tags: Collection[str | None], content: str, priority: Priority) -> Outcome:
        """Store a message for sessions by their tags, for each of them or for none."""

    async def send_to_all(self, sender: Address, content: str, priority: Priority) -> Outcome:
        """Store a message for every connected session but the sender's own."""


class Scheduler(Protocol):
    """What the operations need of crons at work; crons/firing.py has it. `now` is the clock that they go by."""

    now: Callable[[], datetime]

    async def create(self, cron: Cron) -> None:
        """Store a new cron and arm it."""

    async def change(self, profile_id: str, cron_id: str, change: Callable[[Cron], Cron]) -> Cron:
        """Change a cron and arm it anew."""

    async def delete(self, profile_id: str, cron_id: str) -> bool:
        """Delete a cron; False where there is none."""

    async def run_now(self, cron: Cron, run_by: str) -> str:
        """Store an event of a cron at once, for whoever asked, and return its id."""

    def upcoming(self, cron: Cron) -> list[datetime]:
        """List the next instants at which a cron is due."""

    def why_aside(self, cron: Cron) -> str | None:
        """Say why a cron cannot be armed and so does not run; None where it can."""


class Errands(Protocol):
    """What the operations need of events that some session holds; sessions/errands.py has it."""

    async def carry_out(self, profile_id: str, request: wire.HeldEventRequest | wire.Ack) -> bool:
        """Do what is asked about an event of a profile; False where no session holds it."""

    async def active(self, address: Address) -> wire.EventFrame | None:
        """Show the active event of a session."""


class Discarder(Protocol):
    """What the operations need to end what waits or is dead for good; sessions/discarding.py has it."""

    async def count(self, profile_id: str, words: Words) -> Discarded:
        """Count what would be discarded."""

    async def discard(self, profile_id: str, job: Job) -> Discarded:
        """Discard it; where that takes long, whichever server is there goes on."""


class Quotas(Struct, frozen=True):
    """How many of each kind a profile may have; 0 is no bound. The settings have the same names."""

    max_crons: int = 1_000
    max_sources: int = 500
    max_tokens: int = 200


class Services(Struct, frozen=True, kw_only=True):
    """
    What the operations work with, handed over by the composition root.

    `public_url` has no slash at its end. `sessions` lists a profile's connections on all servers, `withdraw` begins to
    move what waits of a deleted source to the dead letters (profile id, source id) and names the job where that takes
    longer than a moment, `take_over` makes a connection, by its id,
    the active one of its session, `ask_session` asks a connection by its id about an event that its session holds,
    `errands` has it done for who asks over no connection, `dismiss` closes a connection, `discards` ends what waits or
    is dead for good.
    """

    registry: Registry
    tokens: Tokens
    vault: Vault
    history: History
    public_url: str
    sessions: Callable[[str], Awaitable[Sequence[Entry]]]
    withdraw: Callable[[str, str], Awaitable[str | None]]
    messages: Messenger
    take_over: Callable[[str], Awaitable[None]]
    events: EventStore
    inventory: Inventory
    crons: Scheduler
    ask_session: Callable[[str | None, wire.HeldRequest], Awaitable[wire.EventFrame | None]]
    refusals: Refusals
    errands: Errands
    dismiss: Callable[[Entry], Awaitable[None]]
    discards: Discarder
    quotas: Quotas = Quotas()


MAX_PAGE = 1_000
"""Of a list that is asked for in pages."""

UNREADABLE = "its stored record cannot be read: it was damaged, or a newer server wrote it"


def disabled(identifier: str, reason: str, **known: object) -> dict[str, Any]:
    """Build the entry, in a list, of what is there and does not work; it can be deleted by its id."""
    return {"id": identifier, **known, "disabled": True, "reason": reason}


def check_quota(most: int, number: int, what: str, setting: str) -> None:
    """
    Check that a profile may have one more of a kind, of which it has a `number`.

    Raises:
        Rejected: it may not; the text has the setting.
    """
    if most and number >= most:
        raise Rejected(
            f"this profile has {number} {what}, and {most} are the most that it may have: delete one first, or have"
            f" the operator of the server raise {setting}"
        )


def page_of(identifiers: list[str], limit: int | None, after: str | None) -> list[str]:
    """
    Choose a page of a list by its ids: `limit` at most, those behind the one named in `after`; all where none is given.

    Raises:
        Rejected: the limit is none, or nothing in the list is called so.
    """
    if limit is not None and not 1 <= limit <= MAX_PAGE:
        raise Rejected(f"limit refused, read {limit}: accepted is 1 to {MAX_PAGE}")
    start = 0
    if after is not None:
        if after not in identifiers:
            raise Rejected(
                f"after refused, read {after[:80]!a}: accepted is the id of the last one of a page; it may have been"
                " deleted since, then begin again without after"
            )
        start = identifiers.index(after) + 1
    return identifiers[start : None if limit is None else start + limit]


async def find_profile(services: Services, caller: Caller) -> Profile:
    """
    Find the caller's profile.

    Raises:
        Unauthorized: it is gone, and its tokens with it.
    """
    profile = await services.registry.find_profile(caller.profile_id)
    if profile is None:
        raise Unauthorized("the profile of this token does not exist any more: make a new token")
    return profile


def check_messaging(caller: Caller) -> None:
    """
    Check that the caller takes part in messages between sessions, for requests that are about them.

    Raises:
        Rejected: it said that it does not.
    """
    if not caller.messaging:
        raise Rejected(
            "messages between sessions are switched off for this session: set sessionMessaging to true in its config"
            " file and start it again"
        )


def webhook_base_url(services: Services, profile: Profile) -> str:
    """Build what a slash and a slug complete to a source's URL."""
    return f"{services.public_url}/webhooks/{profile.webhook_id}"
