"""Whose program serves a port."""

import os
import socket

import pytest

from clawback.system.port_owners import serves_as


def test_a_port_of_ours_is_ours():
    """Also when somebody is connected; nobody serves a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        port = listener.getsockname()[1]
        accepted, _ = listener.accept()
        ours = serves_as(port, os.geteuid())
        accepted.close()
        client.close()
    after = serves_as(port, os.geteuid())

    assert (ours, after) == (True, False)


@pytest.mark.parametrize(("owners", "ours"), [({1000}, True), ({1000, 0}, True), ({1000, 1001}, False), (set(), False)])
def test_everything_on_a_port_must_be_ours(monkeypatch, owners, ours):
    """One program of another user is enough: which of them took a connection is not known. Root is no other user."""
    monkeypatch.setattr("clawback.system.port_owners._owners_on_linux", lambda _: owners)
    monkeypatch.setattr("clawback.system.port_owners._owners_elsewhere", lambda _: owners)

    assert serves_as(1, 1000) is ours
