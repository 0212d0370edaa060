"""The gate: what is known opens, what is wrong is counted, and NATS is spared the guesses."""

import pytest

from clawback.accounts.gate import Gate
from clawback.accounts.profiles import ensure_profile
from clawback.accounts.throttle import FAILURES, Throttle
from clawback.accounts.tokens import Tokens, new_token
from clawback.errors import RateLimited, Unauthorized, Unavailable
from clawback.model import random_id
from clawback.store.last_seen import LastSeen
from clawback.store.registry import Registry
from conftest import SHARDS
from houses import counting

HERE, THERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture
async def tokens(fabric):
    """The tokens over the run's NATS."""
    return Tokens(await Registry.open(fabric, shards=SHARDS), LastSeen(fabric))


@pytest.fixture
def now():
    """A clock that stands, to be set."""
    return [0.0]


@pytest.fixture
def gate(tokens, now):
    """A gate with that clock."""
    return Gate(tokens, Throttle(), lambda: now[0])


async def exhaust(gate, address):
    """Show wrong tokens until the address has no failure left."""
    for _ in range(FAILURES):
        with pytest.raises(Unauthorized):
            await gate.admit(new_token(), address)


async def test_too_many_wrong_tokens_are_told_to_wait(gate, tokens, now, monkeypatch):
    """NATS is not asked about any more of them, until a moment has passed."""
    asked = []
    monkeypatch.setattr(tokens._registry, "find_token", counting(asked, tokens._registry.find_token))
    await exhaust(gate, HERE)
    with pytest.raises(RateLimited, match="try again in a minute"):
        await gate.admit(new_token(), HERE)
    refused = len(asked)
    with pytest.raises(Unauthorized):
        await gate.admit(new_token(), THERE)
    now[0] = 1.0
    with pytest.raises(Unauthorized):
        await gate.admit(new_token(), HERE)

    assert refused == FAILURES
    assert len(asked) == FAILURES + 2


async def test_a_known_token_opens_whatever_its_address_did(gate, tokens):
    """Behind one address there may be many, and one of them must not lock out the rest."""
    profile = await ensure_profile(tokens._registry, random_id())
    made = await tokens.create(profile.id, None)
    await exhaust(gate, HERE)

    assert await gate.admit(made.value, HERE) == made.record


async def test_what_cannot_be_checked_is_no_failure(gate, tokens, monkeypatch):
    """NATS being away is nobody's guess."""

    async def away(_):
        raise Unavailable("NATS does not answer")

    monkeypatch.setattr(tokens._registry, "find_token", away)
    for _ in range(FAILURES + 1):
        with pytest.raises(Unavailable):
            await gate.admit(new_token(), HERE)
