"""What the channel's tests share: a scripted server, and a config that leads to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from channel.claude import config_file
from channel.peer import Peer


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """A server that listens."""
    async with Peer() as peer:
        yield peer


@pytest.fixture
def config(peer: Peer, tmp_path: Path) -> Path:
    """A config file for that server, its data directory beside it."""
    return config_file(tmp_path, peer.url)
