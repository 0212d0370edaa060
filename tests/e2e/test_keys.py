"""`clawback keys`, beside a server that runs and without one, and starts with the wrong keys."""

import base64
import json
import os

from github import delivery, make_source
from legacy import LegacyClient
from processes import START_SECONDS, Server

KEYS = [base64.b64encode(os.urandom(32)).decode() for _ in range(3)]


def keys(server, *arguments, **extra):
    """Run a `clawback keys` command on the server's data."""
    return server.run("keys", *arguments, "--data-dir", str(server.data_dir), **extra)


def listed(server, **extra):
    """List the keys as JSON."""
    ran = keys(server, "list", "--json", **extra)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


async def test_a_rotation_beside_a_running_server(own_server, http):
    """Webhooks are accepted before and after, without a restart; the old key seals nothing, goes, and is not missed."""
    own_server.start()
    token = own_server.token()
    async with LegacyClient(own_server.socket_url, token.value) as client:
        urls = [await make_source(client, slug) for slug in ("a", "b")]
        (old,) = listed(own_server)
        rotated = keys(own_server, "rotate")
        after = listed(own_server)
        early = keys(own_server, "remove", after[0]["id"])
        removed = keys(own_server, "remove", old["id"])
        urls.append(await make_source(client, "c"))
        disabled = [each for each in await client.request("source_list") if "disabled" in each]
    statuses = [(await http.post(url, **delivery())).status_code for url in urls]
    own_server.stop()
    own_server.start()
    statuses += [(await http.post(url, **delivery())).status_code for url in urls]
    (new,) = listed(own_server)
    table = keys(own_server, "list").stdout

    assert (old["secrets"], old["seals"], old["here"]) == (2, True, True)
    assert rotated.returncode == 0, rotated.stderr
    assert f"The new key {new['id']} seals now; 2 secrets were sealed anew with it." in rotated.stderr
    assert f"clawback keys remove {old['id']}" in rotated.stderr
    assert [(each["id"], each["secrets"]) for each in after] == [(new["id"], 2), (old["id"], 0)]
    assert early.returncode == 1
    assert f"key {new['id']} is the one that seals" in early.stderr
    assert removed.returncode == 0, removed.stderr
    assert disabled == []
    assert statuses == [202] * 6
    assert new["secrets"] == 3
    assert table.splitlines()[1].split() == [new["id"], "3", "seals", "and", "opens"]


async def test_a_lost_key_stops_the_start_until_it_is_given_up(own_server, http):
    """Then the server starts, the source is disabled, and a new secret mends it."""
    own_server.start()
    token = own_server.token()
    async with LegacyClient(own_server.socket_url, token.value) as client:
        url = await make_source(client)
    (old,) = listed(own_server)
    own_server.stop()
    (own_server.data_dir / "master.key").unlink()
    own_server.launch()
    code = own_server.process.wait(START_SECONDS)
    said = own_server.errors.splitlines()[-1]
    kept = keys(own_server, "remove", old["id"])
    missing = listed(own_server)
    unfit = keys(own_server, "rotate")
    given_up = keys(own_server, "remove", old["id"], "--lost")
    own_server.start()
    refused = await http.post(url, **delivery())
    async with LegacyClient(own_server.socket_url, token.value) as client:
        (source,) = await client.request("source_list")
        await client.request("source_update", sourceId=source["id"], secret="planted-secret")
    mended = await http.post(url, **delivery())

    assert code == 2
    assert f"1 webhook secrets were sealed with key {old['id']}" in said
    assert kept.returncode == 1
    assert f"key {old['id']} still opens 1 secrets" in kept.stderr
    assert [(each["secrets"], each["here"]) for each in missing] == [(0, True), (1, False)]
    assert unfit.returncode == 2
    assert f"1 webhook secrets were sealed with key {old['id']}" in unfit.stderr
    assert given_up.returncode == 0, given_up.stderr
    assert refused.status_code == 503
    assert source["disabled"] is True
    assert old["id"] in source["reason"]
    assert mended.status_code == 202


async def test_keys_from_a_setting_are_rotated_on_two_servers_by_three_steps(tmp_path, fresh_natsd, http):
    """Each of the two opens what the other sealed, at every step; the command says the steps, and does the last."""
    shared = {"CLAWBACK_NATS_URL": fresh_natsd.auth.url}
    servers = [Server(tmp_path / name) for name in ("one", "two")]
    old, new, _ = KEYS
    slugs, urls, statuses = iter("abcdefgh"), [], []
    try:
        for each in servers:
            each.start(**shared, CLAWBACK_MASTER_KEY=old)
        made = servers[0].run("token", "create", "--json", **shared)
        token = json.loads(made.stdout)["token"]
        alone = keys(servers[0], "rotate", **shared, CLAWBACK_MASTER_KEY=old)
        # Behind the old one on each server, then in front on each: at every moment some have it and some do not.
        for ring in (f"{old},{new}", f"{new},{old}"):
            for restarted in servers:
                restarted.stop()
                restarted.start(**shared, CLAWBACK_MASTER_KEY=ring)
                for server in servers:
                    async with LegacyClient(server.socket_url, token) as client:
                        path = (await make_source(client, next(slugs))).removeprefix(server.url)
                    urls += [each.url + path for each in servers]
                statuses += [(await http.post(url, **delivery())).status_code for url in urls]
        rotated = keys(servers[0], "rotate", **shared, CLAWBACK_MASTER_KEY=f"{new},{old}")
        after = listed(servers[0], **shared, CLAWBACK_MASTER_KEY=f"{new},{old}")
        removed = keys(servers[0], "remove", after[1]["id"], **shared, CLAWBACK_MASTER_KEY=f"{new},{old}")
        servers[1].stop()
        servers[1].start(**shared, CLAWBACK_MASTER_KEY=new)
        statuses += [(await http.post(url, **delivery())).status_code for url in urls]
    finally:
        for each in servers:
            each.close()

    assert alone.returncode == 1
    assert "put it behind the old one in the setting master_key of every server" in alone.stderr
    assert set(statuses) == {202}
    assert rotated.returncode == 0, rotated.stderr
    assert [each["secrets"] for each in after] == [8, 0]
    assert "take it out of the setting master_key of every server" in removed.stderr
