"""How many things a profile may have, lists of them in pages, and what stays behind of what is deleted."""

import asyncio

import msgspec
import prometheus_client
import pytest

from clawback import wire
from clawback.errors import Rejected
from clawback.fabric import subjects
from clawback.model import Cron, new_id
from clawback.operations import Quotas, perform
from clawback.store.registry import Registry
from clawback.telemetry import metrics
from conftest import SHARDS
from waiting import eventually

CONFIG = "KV_cfg"


def cron(number):
    """Make a request for a cron."""
    return wire.CronCreate(request_id="1", prompt=f"secret plan {number}", schedule=f"{number % 60} 9 * * 1-5")


def source(number):
    """Make a request for a source."""
    return wire.SourceCreate(request_id="1", slug=f"s{number}", verifier_type="none")


def token(number):
    """Make a request for a token."""
    return wire.TokenCreate(request_id="1", label=f"t{number}")


@pytest.mark.parametrize("make", [cron, source, token])
async def test_a_profile_has_no_more_than_its_quota(services, alice, charlie, make):
    """The refusal names the setting; another profile does not notice, and what is there can be deleted."""
    services = msgspec.structs.replace(services, quotas=Quotas(3, 3, 3))
    first = 1 if make is token else 0  # its own
    for number in range(first, 3):
        await perform(services, alice, make(number))
    with pytest.raises(Rejected, match=f"has 3 {make.__name__}s, and 3 are the most .* raise max_{make.__name__}s"):
        await perform(services, alice, make(9))

    assert await perform(services, charlie, make(1))


async def test_no_quota_is_no_bound(services, alice):
    """With 0."""
    services = msgspec.structs.replace(services, quotas=Quotas(0, 0, 0))
    for number in range(5):
        await perform(services, alice, cron(number))


@pytest.mark.parametrize(
    ("make", "listing"), [(cron, wire.CronList), (source, wire.SourceList), (token, wire.TokenList)]
)
async def test_a_list_has_pages(services, alice, make, listing):
    """Each after the last one of the page before, and without a limit all as ever."""
    for number in range(5):
        await perform(services, alice, make(number))
    every = [each["id"] for each in await perform(services, alice, listing(request_id="1"))]
    found, after = [], None
    while page := await perform(services, alice, listing(request_id="1", limit=2, after=after)):
        assert len(page) <= 2
        found += [each["id"] for each in page]
        after = found[-1]

    assert found == every
    for limit in (0, -1, 1001):
        with pytest.raises(Rejected, match="limit refused"):
            await perform(services, alice, listing(request_id="1", limit=limit))
    with pytest.raises(Rejected, match="after refused, read 'x'"):
        await perform(services, alice, listing(request_id="1", after="x"))


async def test_a_long_list_of_crons_lets_others_have_their_turn(services, alice):
    """2,000 of them, which an earlier version allowed."""
    now = services.crons.now()
    crons = [
        Cron(
            new_id("crn"), alice.profile_id, now, now, "x" * 1000, "Europe/Berlin", schedule=f"{number % 60} 9 * * 1-5"
        )
        for number in range(2000)
    ]
    await asyncio.gather(*map(services.registry.create_cron, crons))
    turns, ended = 0, asyncio.Event()

    async def take_turns():
        nonlocal turns
        while not ended.is_set():
            turns += 1
            await asyncio.sleep(0)

    looking = asyncio.create_task(take_turns())
    listed = await perform(services, alice, wire.CronList(request_id="1"))
    ended.set()
    await looking

    assert len(listed) == 2000
    assert turns >= 2000 / 20
    assert len(await perform(services, alice, wire.CronList(request_id="1", limit=100))) == 100


async def left(fabric, key):
    """List what is stored under a key, deleted or not."""
    return await fabric.get_many(CONFIG, subjects.config_subject(key))


async def test_what_is_deleted_leaves_nothing_behind(fabric, services, alice):
    """No revision with a prompt, no mark of the deletion; and a slug can be taken again."""
    made = await perform(services, alice, cron(1))
    await perform(services, alice, wire.CronUpdate(request_id="1", cron_id=made["id"], prompt="another plan"))
    hook = await perform(services, alice, source(1))
    assert (await perform(services, alice, wire.CronDelete(request_id="1", cron_id=made["id"])))["removed"]
    assert (await perform(services, alice, wire.SourceDelete(request_id="1", source_id=hook["id"])))["removed"]

    async def is_gone():
        keys = (
            subjects.cron_key(alice.profile_id, made["id"]),
            subjects.source_key(alice.profile_id, hook["id"]),
            subjects.slug_key(alice.profile_id, "s1"),
        )
        return not any([await left(fabric, key) for key in keys])

    await eventually(is_gone)
    assert await perform(services, alice, source(1))
    assert not (await perform(services, alice, wire.CronDelete(request_id="1", cron_id=made["id"])))["removed"]


async def test_a_start_removes_what_an_earlier_version_left_of_the_deleted(fabric, services, alice):
    """It kept the mark of each deletion, and the revisions before."""
    made = await perform(services, alice, cron(1))
    key = subjects.cron_key(alice.profile_id, made["id"])
    await fabric.publish(subjects.config_subject(key), b"", headers={"KV-Operation": "DEL"})
    assert len(await left(fabric, key)) == 2
    await Registry.open(fabric, shards=SHARDS)

    async def is_gone():
        return not await left(fabric, key)

    await eventually(is_gone)


async def test_metrics_forget_a_source_that_is_deleted(services, alice):
    """Its series would stay for as long as the server runs."""
    hook = await perform(services, alice, source(1))
    kept = await perform(services, alice, source(2))
    for each in (hook, kept):
        metrics.webhooks(alice.profile_id, each["id"], "queued").inc()
        metrics.webhooks(alice.profile_id, each["id"], "dropped").inc()
    await perform(services, alice, wire.SourceDelete(request_id="1", source_id=hook["id"]))
    text = prometheus_client.generate_latest().decode()

    assert hook["id"] not in text
    assert text.count(f'source="{kept["id"]}"') >= 2
