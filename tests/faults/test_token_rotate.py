"""The plugin killed while it replaces its token: whatever the moment, its config file is whole and private."""

import asyncio
import json
import time

import pytest

from channel.claude import Claude
from clawback.accounts.tokens import looks_like_token
from faults.extent import IS_LONG, ROUNDS
from processes import environment

pytestmark = pytest.mark.timeout(120 + 30 * ROUNDS)

SPREAD = 1.5
"""A kill comes at a random moment of so many times what a rotation takes here: some end before it and some do not."""

KILLS = 5 * ROUNDS if IS_LONG else 4


async def test_a_killed_rotation_leaves_a_whole_file(server, dice, tmp_path):
    """JSON, mode 0600, a token, and everything else that stood in it; where that token is refused, login helps."""
    token = await asyncio.to_thread(server.token)
    config = await asyncio.to_thread(server.log_in, token, tmp_path)
    kept = json.loads(config.read_text()) | {"sessionMessaging": False, "ofSomebodyElse": [1, 2]}
    config.write_text(json.dumps(kept))
    async with Claude(config, **environment(tmp_path)) as claude:
        started = time.monotonic()
        text, failed = await claude.call("token_rotate")
        takes = time.monotonic() - started
    assert not failed, text
    try:
        for _ in range(KILLS):
            claude = Claude(config, **environment(tmp_path))
            await claude.__aenter__()
            answer = await claude.call("account_info")
            if answer[1]:
                # Killed between the server's answer and the file: the old token is refused, the new one is lost.
                fresh = await asyncio.to_thread(server.token)
                config.write_text(json.dumps(kept | {"connectionToken": fresh.value}))
                await claude.__aexit__()
                claude = Claude(config, **environment(tmp_path))
                await claude.__aenter__()
            call = {"name": "token_rotate", "arguments": {}}
            await claude.send({"jsonrpc": "2.0", "id": 99, "method": "tools/call", "params": call})
            await asyncio.sleep(dice.uniform(0, SPREAD * takes))
            await claude.__aexit__()
            content = json.loads(config.read_text())
            value = content.pop("connectionToken")

            assert looks_like_token(value)
            assert content == {name: field for name, field in kept.items() if name != "connectionToken"}
            assert config.stat().st_mode & 0o777 == 0o600
            assert [path for path in config.parent.iterdir() if path.stat().st_mode & 0o077] == []
    finally:
        if claude.process.returncode is None:
            await claude.__aexit__()
