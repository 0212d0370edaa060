"""Tokens at work: revoked on every server in the middle of an event, and replaced under a session that goes on."""

import asyncio
import base64
import json
import os

from websockets.exceptions import ConnectionClosed

from channel.claude import Claude, read_list
from clawback import wire
from github import make_source, post
from legacy import LegacyClient
from processes import Server, environment
from waiting import eventually

SECONDS = 20.0
"""What a busy machine is given; that it takes less than one is measured in tests/sessions/test_socket.py."""


async def closed_with(client: LegacyClient) -> int:
    """Wait for the end of a connection, and return its close code."""
    async with asyncio.timeout(SECONDS):
        try:
            while True:
                await client.socket.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code


async def refusal(server: Server, token: str) -> int | None:
    """Try a token, and return the code that the connection is closed with; None where it is taken."""
    client = LegacyClient(server.socket_url, token)
    try:
        await client.__aenter__()
    except ConnectionClosed as closed:
        return closed.rcvd.code
    await client.__aexit__()
    return None


async def test_a_revoked_token_ends_its_sessions_on_every_server_in_the_middle_of_an_event(tmp_path, fresh_natsd, http):
    """
    The plugin says why and leaves the server alone; the old token is refused everywhere, other tokens are not touched.

    Once its process is gone, its event is redelivered to a session with another token.
    """
    shared = {
        "CLAWBACK_NATS_URL": fresh_natsd.auth.url,
        "CLAWBACK_MASTER_KEY": base64.b64encode(os.urandom(32)).decode(),
    }
    one, two = servers = [Server(tmp_path / name) for name in ("one", "two")]
    try:
        for each in servers:
            each.start(**shared)
        stolen, kept = [json.loads(one.run("token", "create", "--json", **shared).stdout) for _ in range(2)]
        config = two.home / "thief.json"
        config.write_text(json.dumps({"remote": two.socket_url, "connectionToken": stolen["token"]}))
        config.chmod(0o600)
        async with (
            LegacyClient(one.socket_url, stolen["token"], "elsewhere") as elsewhere,
            LegacyClient(two.socket_url, kept["token"], "spared") as spared,
        ):
            url = await make_source(spared, sessionTag="builds")
            async with Claude(config, CLAWBACK_SESSION="builds") as claude:
                event_id = await post(http, url)
                shown = await claude.shown(1)
                revoked = one.run("token", "revoke", stolen["id"], **shared)
                code = await closed_with(elsewhere)
                await eventually(lambda: "refused the token" in claude.stderr, SECONDS)
                text, failed = await claude.call("event_history")
            refusals = two.errors.count("this token is unknown or was revoked")
            listed = await spared.request("token_list")
            async with LegacyClient(one.socket_url, kept["token"], "builds") as successor:
                again = await successor.event()
        codes = [await refusal(each, stolen["token"]) for each in servers]
    finally:
        for each in servers:
            each.close()

    assert revoked.returncode == 0, revoked.stderr
    assert shown == event_id
    assert code == wire.CLOSE_UNAUTHORIZED
    assert failed
    assert "clawback login" in text
    assert refusals <= 1, "it looks once whether the file has a new token, and does not knock again"
    assert [(each["id"], each["current"]) for each in listed] == [(kept["id"], True)]
    assert (again["id"], again["meta"]["attempt"]) == (event_id, "2")
    assert codes == [wire.CLOSE_UNAUTHORIZED] * 2


async def test_a_session_goes_on_when_its_token_is_replaced_and_comes_back_with_the_new_one(own_server, tmp_path, http):
    """The event in flight stays, the file is private, the server may restart; the old token opens nothing."""
    own_server.start()
    token = own_server.token()
    config = own_server.log_in(token, tmp_path)
    async with LegacyClient(own_server.socket_url, token.value, "other") as client:
        url = await make_source(client, sessionTag="")
    async with Claude(config, **environment(tmp_path)) as claude:
        first = await post(http, url)
        await claude.shown(1)
        text, failed = await claude.call("token_rotate")
        written = json.loads(config.read_text())
        mode = config.stat().st_mode & 0o777
        acked = await claude.call("event_ack", event_id=first, summary="done")
        await asyncio.to_thread(own_server.stop)
        await asyncio.to_thread(own_server.start)
        second = await post(http, url)
        shown = await asyncio.wait_for(claude.shown(2), SECONDS)
        _, ack_failed = await claude.call("event_ack", event_id=second, summary="done")
        listed = read_list((await claude.call("token_list"))[0])
    code = await refusal(own_server, token.value)

    assert not failed, text
    assert written["connectionToken"] not in text
    assert written["connectionToken"] != token.value
    assert mode == 0o600
    assert not acked[1], acked
    assert shown == second
    assert not ack_failed
    assert [each["current"] for each in listed] == [True]
    assert listed[0]["lastSeen"]
    assert code == wire.CLOSE_UNAUTHORIZED
