"""Operations over a real NATS, and two profiles that must not see each other."""

import pytest

from clawback.accounts.keyring import key_id
from clawback.accounts.profiles import ensure_profile
from clawback.accounts.tokens import Tokens
from clawback.accounts.vault import Vault
from clawback.crons.firing import Crons
from clawback.model import random_id
from clawback.operations import Caller, Services
from clawback.sessions.messages import Messages
from clawback.sessions.presence import Presence
from clawback.store.events import EventStore
from clawback.store.history import History
from clawback.store.inventory import Inventory
from clawback.store.last_seen import LastSeen
from clawback.store.leases import Leases
from clawback.store.ledger import Ledger
from clawback.store.refusals import Refusals
from clawback.store.registry import Registry
from clawback.store.stacks import Stacks
from conftest import SHARDS

KEY = bytes(range(32))


@pytest.fixture
def withdrawn():
    """Collect the sources whose waiting events were asked to be withdrawn."""
    return []


@pytest.fixture
def asked():
    """Collect what was asked of the callers' sessions."""
    return []


@pytest.fixture
async def services(fabric, withdrawn, asked):
    """Make the services over the run's NATS."""
    registry = await Registry.open(fabric, shards=SHARDS)

    async def withdraw(profile_id, source_id):
        withdrawn.append((profile_id, source_id))

    async def ask_session(connection_id, request):
        asked.append((connection_id, request))

    events = EventStore(fabric, Ledger(fabric), SHARDS)
    presence = Presence(fabric, Leases(fabric), Stacks(fabric, SHARDS))
    return Services(
        registry=registry,
        tokens=Tokens(registry, LastSeen(fabric)),
        vault=Vault({key_id(KEY): KEY}, key_id(KEY)),
        history=History(fabric),
        public_url="https://hooks.example.com/base",
        sessions=Leases(fabric).of_profile,
        withdraw=withdraw,
        messages=Messages(fabric, events, presence),
        take_over=presence.take_over,
        events=events,
        inventory=Inventory(fabric, events, Stacks(fabric, SHARDS), SHARDS),
        crons=Crons(fabric, registry, events, History(fabric)),
        ask_session=ask_session,
        refusals=Refusals(fabric),
        errands=None,
        dismiss=presence.dismiss,
        discards=None,
    )


async def make_caller(services, tag):
    """Make a profile with a token, and a caller that holds it."""
    profile = await ensure_profile(services.registry, random_id())
    made = await services.tokens.create(profile.id, "first")
    return Caller(profile.id, made.record.id, tag, random_id())


@pytest.fixture
async def alice(services):
    """Call from a tagged session."""
    return await make_caller(services, "deploys")


@pytest.fixture
async def charlie(services):
    """Call from an untagged session of another profile, who must see nothing of Alice's."""
    return await make_caller(services, None)
