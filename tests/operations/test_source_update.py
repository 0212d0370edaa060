"""Sources changed in place, and their secrets rotated with an overlap."""

import logging
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from clawback import wire
from clawback.accounts.seals import forget_expired
from clawback.errors import NotFound, Rejected
from clawback.model import EventTypeRule, Priority, Sealed, SignatureRule, random_id
from clawback.operations import perform


async def make(services, caller, **fields):
    """Make a source that has every field set, GitHub's unless said otherwise; return it as lists have it."""
    given = {
        "slug": "hub",
        "verifier_type": "github",
        "secret": "first",
        "skill": "/triage",
        "routes": {"push": "/look"},
        "event_type": EventTypeRule(header="X-Kind"),
        "priority": Priority.PRIORITY,
        "timeout_seconds": 90,
    }
    made = await perform(services, caller, wire.SourceCreate(request_id="1", **(given | fields)))
    made.pop("setup", None)
    return made


async def update(services, caller, source, **fields):
    """Change a source."""
    return await perform(services, caller, wire.SourceUpdate(request_id="2", source_id=source["id"], **fields))


async def listed(services, caller):
    """List the sources."""
    return await perform(services, caller, wire.SourceList(request_id="3"))


async def accepted(services, caller, source, after=timedelta()):
    """Open the secrets that are accepted some time from now, the current one first."""
    stored = await services.registry.find_source_by_id(caller.profile_id, source["id"])
    return [
        services.vault.open(sealed, profile_id=stored.profile_id, source_id=stored.id).decode()
        for sealed in stored.secrets_at(datetime.now(UTC) + after)
    ]


@pytest.mark.parametrize(
    ("fields", "answered"),
    [
        ({"skill": "/other"}, {"skill": "/other"}),
        ({"routes": {"*": "/all"}}, {"routes": {"*": "/all"}}),
        ({"event_type": EventTypeRule(body="a.b")}, {"eventType": {"body": "a.b"}}),
        ({"session_tag": "other"}, {"sessionTag": "other"}),
        ({"priority": Priority.INTERRUPT}, {"priority": "interrupt"}),
        ({"timeout_seconds": 60}, {"timeoutSeconds": 60}),
    ],
)
async def test_what_is_given_is_changed_and_the_rest_stays(services, alice, fields, answered):
    """In the answer, in the list, and with the same id, URL and secret."""
    made = await make(services, alice)
    answer = await update(services, alice, made, **fields)

    assert answer == made | answered
    assert await listed(services, alice) == [answer]
    assert await accepted(services, alice, made) == ["first"]


@pytest.mark.parametrize(
    ("fields", "gone"),
    [
        ({"skill": ""}, "skill"),
        ({"routes": {}}, "routes"),
        ({"event_type": EventTypeRule()}, "eventType"),
        ({"session_tag": ""}, "sessionTag"),
        ({"session_tag": "(untagged)"}, "sessionTag"),
        ({"timeout_seconds": 0}, "timeoutSeconds"),
    ],
)
async def test_an_empty_value_takes_a_field_back(services, alice, fields, gone):
    """To what the source is without it."""
    made = await make(services, alice)
    answer = await update(services, alice, made, **fields)

    assert answer == {name: value for name, value in made.items() if name != gone}


async def test_a_signature_is_changed_and_taken_back(services, alice):
    """All of it at once; an empty one is the default."""
    made = await make(
        services, alice, verifier_type="generic", signature=SignatureRule(header="X-A", encoding="base64")
    )
    await update(services, alice, made, signature=SignatureRule(header="X-B"))
    changed = await services.registry.find_source_by_id(alice.profile_id, made["id"])
    await update(services, alice, made, signature=SignatureRule())
    taken_back = await services.registry.find_source_by_id(alice.profile_id, made["id"])

    assert changed.signature == SignatureRule(header="X-B")
    assert taken_back.signature == SignatureRule()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "nothing to change: give at least one field besides sourceId"),
        ({"skill": "x" * 16385}, "skill has"),
        ({"routes": {"push": ""}}, "the route of 'push' is empty"),
        ({"event_type": EventTypeRule(action="a")}, "action alone"),
        ({"signature": SignatureRule()}, "signature is for type hmac"),
        ({"session_tag": "a b"}, "a tag is"),
        ({"timeout_seconds": 59, "skill": "/fine"}, "timeoutSeconds refused, read 59"),
        ({"secret": "", "skill": "/fine"}, "the secret is empty"),
        ({"secret": "a", "generate_secret": True}, "both a secret and generateSecret"),
        ({"overlap_seconds": 0}, "overlapSeconds without a new secret"),
        ({"overlap_seconds": 60, "skill": "/fine"}, "overlapSeconds without a new secret"),
        ({"overlap_seconds": -1, "secret": "a"}, "overlapSeconds refused, read -1: accepted is 0"),
        ({"overlap_seconds": 604_801, "secret": "a"}, "to 604800, which is 7 days"),
    ],
)
async def test_a_wrong_field_changes_nothing(services, alice, fields, message):
    """Not even the others, which were right."""
    made = await make(services, alice)
    with pytest.raises(Rejected, match=message):
        await update(services, alice, made, **fields)

    assert await listed(services, alice) == [made]
    assert await accepted(services, alice, made) == ["first"]


async def test_an_unsigned_source_that_interrupts_is_warned_of(services, alice):
    """Alert managers do not sign, and emergencies are what interrupts are for; every answer says what it means."""
    at_once = await make(services, alice, slug="b", verifier_type="none", secret=None, priority=Priority.INTERRUPT)
    made = await make(services, alice, verifier_type="none", secret=None)
    changed = await update(services, alice, made, priority=Priority.INTERRUPT)
    back = await update(services, alice, made, priority=Priority.PRIORITY)

    assert (at_once["priority"], changed["priority"]) == ("interrupt", "interrupt")
    assert "anyone who knows the URL" in at_once["warning"]
    assert changed["warning"] == at_once["warning"]
    assert not {"warning"} & (made.keys() | back.keys())
    assert [each.get("warning") for each in await listed(services, alice)] == [at_once["warning"], None]


async def test_a_signed_source_that_interrupts_needs_no_warning(services, alice):
    """Only who has the secret can."""
    assert "warning" not in await make(services, alice, priority=Priority.INTERRUPT)


async def test_an_unsigned_source_gets_no_secret(services, alice):
    """The rules of its type hold for changes too."""
    made = await make(services, alice, verifier_type="none", secret=None)
    for fields in ({"secret": "a"}, {"generate_secret": True}):
        with pytest.raises(Rejected, match="type none"):
            await update(services, alice, made, **fields)

    assert await listed(services, alice) == [made]


@pytest.mark.parametrize(
    ("overlap", "until_end"), [({}, timedelta(days=1)), ({"overlap_seconds": 60}, timedelta(seconds=60))]
)
async def test_old_and_new_secret_are_accepted_until_the_overlap_is_over(services, alice, overlap, until_end):
    """A day, or what was asked for; the answer and the list say until when, and neither says the secret."""
    made = await make(services, alice)
    answer = await update(services, alice, made, secret="second", **overlap)
    ends_at = datetime.fromisoformat(answer.pop("oldSecretUntil"))

    assert answer == made
    assert abs(ends_at - datetime.now(UTC) - until_end) < timedelta(seconds=30)
    assert (await listed(services, alice))[0]["oldSecretUntil"]
    assert await accepted(services, alice, made) == ["second", "first"]
    assert await accepted(services, alice, made, until_end + timedelta(seconds=1)) == ["second"]


async def test_without_overlap_the_old_secret_is_refused_at_once(services, alice):
    """For one that has leaked."""
    made = await make(services, alice)
    answer = await update(services, alice, made, secret="second", overlap_seconds=0)

    assert answer == made
    assert await accepted(services, alice, made) == ["second"]


async def test_a_made_secret_is_in_the_answer_this_once(services, alice):
    """And is the one that is accepted."""
    made = await make(services, alice)
    answer = await update(services, alice, made, generate_secret=True)
    secret = answer.pop("secret")

    assert len(bytes.fromhex(secret)) == 32
    assert await listed(services, alice) == [answer]
    assert await accepted(services, alice, made) == [secret, "first"]


async def test_the_secret_in_use_given_again_ends_the_overlap(services, alice):
    """It is one secret, however often it was given, as after an answer that got lost."""
    made = await make(services, alice)
    await update(services, alice, made, secret="second")
    await update(services, alice, made, secret="second")
    twice = await accepted(services, alice, made)
    await update(services, alice, made, secret="second", overlap_seconds=0)

    assert twice == ["second", "first"]
    assert await accepted(services, alice, made) == ["second"]


async def test_the_former_secret_given_again_is_the_current_one(services, alice):
    """A rotation that is taken back; the other one is then the old one."""
    made = await make(services, alice)
    await update(services, alice, made, secret="second", overlap_seconds=60)
    await update(services, alice, made, secret="first")

    assert await accepted(services, alice, made) == ["first", "second"]
    assert await accepted(services, alice, made, timedelta(days=2)) == ["first"]


async def test_an_overlap_is_never_made_longer(services, alice):
    """What was to end in a minute does, whatever is rotated meanwhile."""
    made = await make(services, alice)
    await update(services, alice, made, secret="second", overlap_seconds=60)
    await update(services, alice, made, secret="third")

    assert await accepted(services, alice, made) == ["third", "second", "first"]
    assert await accepted(services, alice, made, timedelta(minutes=2)) == ["third", "second"]


async def test_a_source_accepts_four_secrets_at_most(services, alice):
    """The next is refused with the way out."""
    made = await make(services, alice)
    for secret in ("second", "third", "fourth"):
        await update(services, alice, made, secret=secret)
    with pytest.raises(Rejected, match=r"accepts 4 secrets already.*with overlapSeconds 0"):
        await update(services, alice, made, secret="fifth")
    await update(services, alice, made, secret="fifth", overlap_seconds=0)

    assert await accepted(services, alice, made) == ["fifth"]


async def test_a_new_secret_mends_a_source_whose_old_one_does_not_open(services, alice):
    """What does not open verifies nothing, so it is let go of."""
    made = await make(services, alice)
    broken = Sealed(services.vault.current, b"n" * 12, b"c" * 32)
    await services.registry.update_source(
        alice.profile_id, made["id"], lambda source: msgspec.structs.replace(source, secrets=(broken,))
    )
    await update(services, alice, made, secret="second")

    assert await accepted(services, alice, made) == ["second"]


async def test_expired_secrets_are_deleted_from_nats(services, alice):
    """Once their overlap is over, and what is still accepted stays."""
    made = await make(services, alice)
    await update(services, alice, made, secret="second", overlap_seconds=60)
    await update(services, alice, made, secret="third", overlap_seconds=600)
    stored = []
    for after in (0, 61, 61, 601):
        await forget_expired(services.registry, datetime.now(UTC) + timedelta(seconds=after))
        source = await services.registry.find_source_by_id(alice.profile_id, made["id"])
        stored.append(len(source.secrets))

    assert stored == [3, 2, 2, 1]
    assert await accepted(services, alice, made) == ["third"]


@pytest.mark.parametrize("source_id", ["", "src_unknown", "*", ">", "a.b", "src_\0", "ü"])
async def test_an_unknown_id_is_said_to_be_unknown(services, alice, source_id):
    """Whatever was sent as an id."""
    with pytest.raises(NotFound, match=r"there is no source .*; source_list shows those there are"):
        await update(services, alice, {"id": source_id}, skill="/x")


async def test_another_profiles_source_is_as_unknown(services, alice, charlie):
    """Charlie's attempt changes nothing and reads like any other miss."""
    made = await make(services, alice)
    with pytest.raises(NotFound, match=f"there is no source '{made['id']}'"):
        await update(services, charlie, made, secret="charlies")

    assert await listed(services, alice) == [made]
    assert await accepted(services, alice, made) == ["first"]


async def test_no_secret_is_in_nats_or_the_log(services, fabric, alice, caplog):
    """Neither the old one nor the new ones."""
    secrets = [random_id(), random_id()]
    with caplog.at_level(logging.DEBUG):
        made = await make(services, alice, secret=secrets[0])
        await update(services, alice, made, secret=secrets[1])
        secrets.append((await update(services, alice, made, generate_secret=True))["secret"])
    stored = await fabric.get_many("KV_cfg", "$KV.cfg.>")

    assert not any(secret.encode() in each.data for each in stored for secret in secrets)
    assert not any(secret in caplog.text for secret in secrets)
