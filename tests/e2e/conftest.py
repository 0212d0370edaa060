"""What the end-to-end tests share: a running server, with a profile of its own for each test."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes import Server, Token

_profiles = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that runs for all tests of a module. Keep them apart by `token`; stop it never: see `own_server`."""
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, not started yet."""
    server = Server(tmp_path / "server")
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def shared_token(server: Server) -> Token:
    """A token of one profile for all tests of a module that need none of their own."""
    return server.token("shared")


@pytest.fixture
def token(server: Server) -> Token:
    """A token of a profile that no other test has."""
    return server.token(f"profile-{next(_profiles)}")
