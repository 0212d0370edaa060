"""A profile whose record was damaged in NATS: the server starts, and everybody else is served."""

import asyncio

from clawback.fabric import subjects
from clawback.fabric.embedded import read_auth
from clawback.fabric.streams import Fabric
from github import delivery, make_source
from legacy import LegacyClient


async def test_a_damaged_profile_costs_no_other_anything(own_server, http):
    """Its webhooks are kept by their senders and its sessions read why; another start changes nothing of that."""
    await asyncio.to_thread(own_server.start)
    spoilt, whole = [await asyncio.to_thread(own_server.token, name) for name in ("default", "other")]
    urls = []
    for token in (spoilt, whole):
        async with LegacyClient(own_server.socket_url, token.value) as client:
            urls.append(await make_source(client))
    fabric = await Fabric.open(read_auth(own_server.data_dir), name="tests")
    await fabric.publish(subjects.config_subject(subjects.profile_key(spoilt.profile_id)), b"{junk")
    await fabric.close()
    await asyncio.to_thread(own_server.stop)
    await asyncio.to_thread(own_server.start)
    answers = [await http.post(url, **delivery()) for url in urls]
    async with LegacyClient(own_server.socket_url, spoilt.value) as client:
        told = await client.refused("source_list")
    made = own_server.run("token", "create", "--data-dir", str(own_server.data_dir))

    assert [answer.status_code for answer in answers] == [503, 202]
    assert answers[0].headers["retry-after"] == "60"
    assert f"the stored record of profile {spoilt.profile_id} cannot be read" in told
    assert spoilt.profile_id in own_server.errors
    assert made.returncode == 1
    assert "restore the data directory from a backup" in made.stderr
