"""
Master keys rotated under a stream of signed webhooks, while `clawback keys rotate` and the server are killed.

No webhook may be refused for its signature or for a secret that does not open, at any moment; and whatever was killed,
the next rotation brings everything under one key.
"""

import asyncio
import json

import httpx
import pytest

from faults.extent import IS_LONG, ROUNDS
from github import delivery, make_source
from legacy import LegacyClient
from processes import CLAWBACK, environment

pytestmark = pytest.mark.timeout(120 + 30 * ROUNDS)

SOURCES = 10
SENDERS = 2
FEW = 3
"""Rounds in `make test`: one of them kills the server."""

ROTATION_SECONDS = 1.5
"""A rotation of so few secrets takes about this long, most of it to start; it is killed at a random moment of it."""


class Stream:
    """Senders that send to one source after the other, and what they were answered."""

    def __init__(self, urls):
        self.urls = urls
        self.wrong = []
        self.accepted = 0
        self.stopping = False

    async def send(self, offset):
        """Send until told to stop; a server that is down or starts is no refusal."""
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
            number = offset
            while not self.stopping:
                number += 1
                try:
                    answer = await http.post(self.urls[number % len(self.urls)], **delivery("ping", b"{}"))
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
                    continue
                if answer.status_code == 200:
                    self.accepted += 1
                elif answer.status_code != 503 or answer.headers["retry-after"] != "5":
                    self.wrong.append((answer.status_code, answer.text))


async def rotate(server):
    """Start a rotation."""
    return await asyncio.create_subprocess_exec(
        CLAWBACK,
        "keys",
        "rotate",
        "--data-dir",
        server.data_dir,
        env=environment(server.home),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


def listed(server):
    """List the keys."""
    ran = server.run("keys", "list", "--json", "--data-dir", str(server.data_dir))
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


async def test_no_kill_while_keys_are_rotated_costs_a_webhook(server, dice):
    """Every round ends with all secrets under one key, which is new, and the others removed."""
    token = await asyncio.to_thread(server.token)
    async with LegacyClient(server.socket_url, token.value) as client:
        # Verified and dropped, so that nothing has to be worked off.
        urls = [await make_source(client, f"s{number}", routes={"push": "/x"}) for number in range(SOURCES)]
    stream = Stream(urls)
    senders = [asyncio.create_task(stream.send(number)) for number in range(SENDERS)]
    seen = set()
    try:
        for number in range(ROUNDS if IS_LONG else FEW):
            before = stream.accepted
            rotation = await rotate(server)
            await asyncio.sleep(dice.uniform(0, ROTATION_SECONDS))
            if number % 3 == 1:
                await asyncio.to_thread(server.kill9)
                await asyncio.to_thread(server.start)
            elif rotation.returncode is None:
                rotation.kill()
            await rotation.communicate()
            completing = await rotate(server)
            _, said = await completing.communicate()
            assert completing.returncode == 0, said
            first, *others = await asyncio.to_thread(listed, server)
            assert first["secrets"] == SOURCES, said
            assert {each["secrets"] for each in others} <= {0}
            assert first["id"] not in seen
            seen.add(first["id"])
            for each in others:
                ran = await asyncio.to_thread(
                    server.run, "keys", "remove", each["id"], "--data-dir", str(server.data_dir)
                )
                assert ran.returncode == 0, ran.stderr
            assert stream.accepted > before, "the stream goes on"
    finally:
        stream.stopping = True
        await asyncio.gather(*senders)

    assert stream.wrong == []
