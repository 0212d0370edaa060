"""What was damaged in NATS, or is of a newer version, disables itself alone, is listed so, and can be deleted."""

import msgspec
import pytest

from clawback import wire
from clawback.accounts.tokens import token_hash
from clawback.crons.firing import KIND
from clawback.errors import RecordUnreadable, SecretUnreadable, Unauthorized
from clawback.fabric import subjects
from clawback.model import Cron, Source, TokenRecord
from clawback.operations import perform
from clawback.operations.caller import UNREADABLE
from clawback.store import later
from clawback.store.registry import Registry
from conftest import SHARDS
from waiting import eventually


def cut(data):
    """Cut a record in its middle."""
    return data[: len(data) // 2]


def newer(data):
    """Write a record as a version would that knows other values, and more."""
    fields = msgspec.json.decode(data)
    changed = {"scheme": "quantum", "missed": "sometimes", "createdAt": {"era": 2}}
    return msgspec.json.encode(fields | {name: changed[name] for name in changed if name in fields} | {"more": 1})


DAMAGES = {"junk": lambda _: b"\xff\x00hunter2", "truncated": cut, "newer": newer, "empty": lambda _: b""}


@pytest.fixture(params=DAMAGES)
def damage(request):
    """Each way in which a record can be none."""
    return DAMAGES[request.param]


async def spoil(fabric, key, damage):
    """Damage the record of a key."""
    stored = await fabric.get("KV_cfg", subject=subjects.config_subject(key))
    await fabric.publish(subjects.config_subject(key), damage(stored.data))


async def make_source(services, caller, slug):
    """Make a source, and say what the list shows of it: all but how the sender is set up."""
    request = wire.SourceCreate(request_id="1", slug=slug, verifier_type="github", secret="x" * 20)
    made = await perform(services, caller, request)
    return {name: value for name, value in made.items() if name != "setup"}


async def list_sources(services, caller):
    """List the sources."""
    return await perform(services, caller, wire.SourceList(request_id="2"))


async def test_a_damaged_source_is_listed_and_deleted(services, fabric, alice, damage):
    """With its id, slug and URL; another one is as before, the spoilt one cannot be changed, and its slug gets free."""
    whole, spoilt = [await make_source(services, alice, slug) for slug in ("whole", "spoilt")]
    await spoil(fabric, subjects.source_key(alice.profile_id, spoilt["id"]), damage)
    await eventually(lambda: services.registry.unreadable_sources(alice.profile_id))
    listed = await list_sources(services, alice)
    with pytest.raises(RecordUnreadable, match=spoilt["id"]):
        await perform(services, alice, wire.SourceUpdate(request_id="3", source_id=spoilt["id"], generate_secret=True))
    removed = await perform(services, alice, wire.SourceDelete(request_id="4", source_id=spoilt["id"]))

    assert listed == [
        whole,
        {"id": spoilt["id"], "slug": "spoilt", "url": spoilt["url"], "disabled": True, "reason": UNREADABLE},
    ]
    assert removed == {"removed": True}
    assert await list_sources(services, alice) == [whole]
    assert (await make_source(services, alice, "spoilt"))["url"] == spoilt["url"]


async def test_swapped_secrets_disable_their_sources(services, alice):
    """Each is bound to its own; a new secret mends one of them, and the third never noticed."""
    first, second, third = [await make_source(services, alice, slug) for slug in ("a", "b", "c")]
    stored = {each.id: each for each in services.registry.list_sources(alice.profile_id)}
    for here, there in ((first, second), (second, first)):
        secrets = stored[there["id"]].secrets
        await services.registry.update_source(
            alice.profile_id,
            here["id"],
            lambda source, secrets=secrets: msgspec.structs.replace(source, secrets=secrets),
        )
    listed = await list_sources(services, alice)
    await perform(services, alice, wire.SourceUpdate(request_id="3", source_id=first["id"], secret="again"))
    mended = await list_sources(services, alice)

    for entry, made in zip(listed[:2], (first, second), strict=True):
        assert entry.pop("disabled") is True
        assert "does not open with its key" in entry.pop("reason")
        assert entry == made
    assert listed[2] == third
    assert [each.get("disabled") for each in mended] == [None, True, None]


@pytest.mark.parametrize("bit", [0, 100, 200])
async def test_a_flipped_bit_disables_its_source(services, alice, bit):
    """Wherever in the ciphertext; the other one works."""
    whole, spoilt = [await make_source(services, alice, slug) for slug in ("whole", "spoilt")]

    def flip(source: Source) -> Source:
        (sealed,) = source.secrets
        ciphertext = bytearray(sealed.ciphertext)
        ciphertext[bit // 8] ^= 1 << bit % 8
        return msgspec.structs.replace(source, secrets=(msgspec.structs.replace(sealed, ciphertext=bytes(ciphertext)),))

    await services.registry.update_source(alice.profile_id, spoilt["id"], flip)
    source = await services.registry.find_source_by_id(alice.profile_id, spoilt["id"])
    with pytest.raises(SecretUnreadable, match="changed or moved; give the source a secret again with source_update"):
        services.vault.open(source.secrets[0], profile_id=alice.profile_id, source_id=source.id)
    listed = await list_sources(services, alice)

    assert [each.get("disabled") for each in listed] == [None, True]
    assert listed[0] == whole


async def test_a_damaged_cron_is_listed_and_deleted(services, fabric, alice, damage):
    """The other one runs on; the spoilt one is neither run nor changed, and a server starts beside it."""
    requests = [wire.CronCreate(request_id="1", prompt=prompt, schedule="@daily") for prompt in ("whole", "spoilt")]
    whole, spoilt = [await perform(services, alice, request) for request in requests]
    await spoil(fabric, subjects.cron_key(alice.profile_id, spoilt["id"]), damage)
    await eventually(lambda: services.registry.unreadable_crons(alice.profile_id))
    listed = await perform(services, alice, wire.CronList(request_id="2"))
    for request in (wire.CronPause, wire.CronResume, wire.CronRunNow):
        with pytest.raises(RecordUnreadable, match=spoilt["id"]):
            await perform(services, alice, request(request_id="3", cron_id=spoilt["id"]))
    await services.crons.reconcile()
    removed = await perform(services, alice, wire.CronDelete(request_id="4", cron_id=spoilt["id"]))
    left = await perform(services, alice, wire.CronList(request_id="5"))

    assert [listed[0]["id"], listed[1]] == [whole["id"], {"id": spoilt["id"], "disabled": True, "reason": UNREADABLE}]
    assert removed == {"removed": True}
    assert [each["id"] for each in left] == [whole["id"]]


async def test_a_schedule_that_nobody_can_read_is_one_cron_that_does_not_run(services, fabric, alice):
    """A newer version's schedule, not armed yet, stops neither the list nor a start; it can be deleted."""
    requests = [wire.CronCreate(request_id="1", prompt=prompt, schedule="@daily") for prompt in ("whole", "spoilt")]
    whole, spoilt = [await perform(services, alice, request) for request in requests]

    def rewrite(cron: Cron) -> Cron:
        return msgspec.structs.replace(cron, schedule="every blue moon")

    await services.registry.update_cron(alice.profile_id, spoilt["id"], rewrite)
    for cron_id in (whole["id"], spoilt["id"]):
        await later.disarm(fabric, KIND, alice.profile_id, cron_id)
    await services.crons.reconcile()
    armed = await later.pending(fabric, KIND)
    listed = await perform(services, alice, wire.CronList(request_id="3"))
    removed = await perform(services, alice, wire.CronDelete(request_id="4", cron_id=spoilt["id"]))

    assert listed[0]["id"] == whole["id"]
    assert (listed[1]["id"], listed[1]["disabled"]) == (spoilt["id"], True)
    assert listed[1]["reason"].startswith("schedule refused, it has 3 fields")
    assert {name for profile_id, name in armed if profile_id == alice.profile_id} == {whole["id"]}
    assert removed == {"removed": True}


async def test_a_damaged_token_opens_nothing_and_can_be_revoked(services, fabric, alice, damage):
    """It is listed; the profile's other one works, and a server starts beside it."""
    made = await services.tokens.create(alice.profile_id, "spoilt")
    await spoil(fabric, subjects.token_key(token_hash(made.value)), damage)
    await eventually(lambda: services.registry.unreadable_tokens(alice.profile_id))
    with pytest.raises(Unauthorized):
        await services.tokens.verify(made.value)
    listed = await perform(services, alice, wire.TokenList(request_id="1"))
    restarted = (await Registry.open(fabric, shards=SHARDS)).unreadable_tokens(alice.profile_id)
    revoked = await services.tokens.revoke(alice.profile_id, made.record.id)
    left = await perform(services, alice, wire.TokenList(request_id="2"))

    assert listed[0]["id"] == alice.token_id
    assert listed[1:] == [{"id": made.record.id, "current": False, "disabled": True, "reason": UNREADABLE}]
    assert restarted == [made.record.id]
    assert revoked is True
    assert left == listed[:1]


async def test_a_token_whose_index_is_damaged_works_seen_and_can_be_revoked(services, fabric, alice, damage):
    """No token works that is not listed, or that nobody could revoke."""
    made = await services.tokens.create(alice.profile_id, "seen")
    await spoil(fabric, subjects.token_id_key(alice.profile_id, made.record.id), lambda _: damage(b'{"a":1}'))
    record: TokenRecord = await services.tokens.verify(made.value)
    listed = await perform(services, alice, wire.TokenList(request_id="1"))
    revoked = await services.tokens.revoke(alice.profile_id, made.record.id)

    assert record == made.record
    assert [each["id"] for each in listed] == [alice.token_id, made.record.id]
    assert revoked is True
    with pytest.raises(Unauthorized):
        await services.tokens.verify(made.value)


async def test_a_time_that_cannot_be_read_is_no_list_that_cannot_be_had(services, fabric, alice):
    """A token whose `lastSeen` is junk was never seen."""
    await fabric.publish(subjects.config_subject(subjects.last_seen_key(alice.profile_id, alice.token_id)), b"junk")
    listed = await perform(services, alice, wire.TokenList(request_id="1"))

    assert [each["lastSeen"] for each in listed] == [None]
