"""What tests of all rooms share: a real nats-server, and a connection to it."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from clawback.fabric.streams import Fabric
from natsd import Natsd

# These need Claude Code itself, which is not ours to install: `make claude` runs them.
collect_ignore = [] if "CLAUDE_PROGRAM" in os.environ else ["claude"]

# What runs in the background of a shell ignores SIGINT, and so would every program that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SLOW_FIRST = ("faults", "e2e", "deploy", "sessions", "channel")
"""The rooms whose files take longest: begun last, one of them would keep a single worker busy at the end."""

SHARDS = 2
"""More than one, so that a confusion of shards shows; fewer than in production, so that tests start fast."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest; the order within a file stays."""
    ranks = {room: rank for rank, room in enumerate(SLOW_FIRST)}
    here = Path(__file__).parent
    items.sort(key=lambda item: ranks.get(item.path.relative_to(here).parts[0], len(ranks)))


@pytest.fixture(scope="session")
def natsd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Natsd]:
    """The nats-server of the whole run. Keep tests apart by fresh profile ids; kill it never: see `fresh_natsd`."""
    server = Natsd(tmp_path_factory.mktemp("natsd"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def fresh_natsd(tmp_path) -> Iterator[Natsd]:
    """A nats-server of the test's own, to kill, freeze and restart."""
    server = Natsd(tmp_path / "natsd")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def fabric(natsd) -> AsyncIterator[Fabric]:
    """A connection to the run's nats-server, with the layout of two shards in place."""
    fabric = await Fabric.open(natsd.auth, name="tests")
    await fabric.keep_layout(SHARDS)
    yield fabric
    await fabric.close()


@pytest.fixture
async def fresh_fabric(fresh_natsd) -> AsyncIterator[Fabric]:
    """A connection to the test's own nats-server, with the layout of two shards in place."""
    fabric = await Fabric.open(fresh_natsd.auth, name="tests")
    await fabric.keep_layout(SHARDS)
    yield fabric
    await fabric.close()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client with the patience of a sender."""
    async with httpx.AsyncClient(timeout=30.0, trust_env=False) as client:
        yield client
