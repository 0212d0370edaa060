"""What the fault tests share: a server of the test's own, a flow through it, and the number of rounds."""

import os
import random
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from faults.extent import IS_LONG
from faults.flow import Flow
from processes import Server

# One waits for a lease to run out, which nothing but time does; one for nodes that agree, again and again; one mounts a
# disk, which not every machine allows.
collect_ignore = [] if IS_LONG else ["test_vanished.py", "test_two_servers.py", "test_small_disk.py"]


@pytest.fixture
def seed() -> str:
    """What a run's choices follow from: FAULT_SEED repeats one. It is printed, and shown when the test fails."""
    seed = os.environ.get("FAULT_SEED") or secrets.token_hex(4)
    print(f"FAULT_SEED={seed}")  # noqa: T201 -- pytest shows it with the failure
    return seed


@pytest.fixture
def dice(seed: str) -> random.Random:
    """Random moments."""
    return random.Random(seed)  # noqa: S311 -- to be repeated, not to be secret


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that runs."""
    server = Server(tmp_path / "server")
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
async def flow(server: Server, dice: random.Random, tmp_path: Path) -> AsyncIterator[Flow]:
    """Senders that send and a Claude that acks, through the server; the first event is through."""
    async with Flow(server, dice, tmp_path / "claude") as flow:
        await flow.progress()
        yield flow
