import asyncio
import base64
import logging
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from cable import Cable
from clawback.accounts.keyring import key_id
from clawback.errors import Conflict, NotFound, RecordUnreadable, Unavailable
from clawback.fabric import subjects
from clawback.fabric.auth import NatsAuth
from clawback.fabric.streams import Fabric
from clawback.model import (
    Address,
    EventTypeRule,
    Priority,
    Profile,
    Scheme,
    Sealed,
    Source,
    TokenRecord,
    new_id,
    random_id,
)
from clawback.store.records import Copy, Entry, Install
from clawback.store.registry import Registry
from houses import KEY
from waiting import eventually

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def a_profile(name: str | None = None) -> Profile:
    """Make a profile that no other test has."""
    return Profile(random_id(16), name or f"Profile {random_id()}", random_id(26), NOW)


def a_source(profile: Profile, slug: str = "github", **fields) -> Source:
    """Make a source of a profile."""
    return Source(new_id("src"), profile.id, slug, Scheme.GITHUB, NOW, **fields)


def a_token(profile: Profile, label: str | None = None, *, age: int = 0) -> tuple[str, TokenRecord]:
    """Make a token's hash and record."""
    return random_id(52), TokenRecord(new_id("tok"), profile.id, NOW - timedelta(days=age), label)


@pytest.fixture
async def registry(fabric) -> Registry:
    """The registry of one server."""
    return await Registry.open(fabric, shards=2)


@pytest.fixture
async def other(natsd):
    """The registry of another server on the same NATS."""
    fabric = await Fabric.open(natsd.auth, name="other")
    yield await Registry.open(fabric, shards=2)
    await fabric.close()


@pytest.fixture
async def profile(registry) -> Profile:
    """A stored profile."""
    profile = a_profile()
    await registry.create_profile(profile)
    return profile


# --- the installation ---------------------------------------------------------------------------------------------


async def test_an_installation_is_made_once(fresh_natsd):
    """Two servers that start at once on an empty NATS agree; a later one with other settings takes what is there."""
    fabrics = [await Fabric.open(fresh_natsd.auth, name=str(n)) for n in range(3)]
    first, second = await asyncio.gather(*(Registry.open(fabric, shards=3) for fabric in fabrics[:2]))
    later = await Registry.open(fabrics[2], shards=5)
    streams = await fabrics[2].api("STREAM.NAMES", {})
    for fabric in fabrics:
        await fabric.close()

    assert first.install == second.install == later.install
    assert (later.install.shards, len(later.install.id_key)) == (3, 32)
    assert {name for name in streams["streams"] if name.startswith("EVT")} == {"EVT0", "EVT1", "EVT2"}


def test_the_installations_key_is_not_shown():
    """A log of the record holds no key."""
    assert "secret" not in repr(Install(8, b"secret"))


# --- profiles -----------------------------------------------------------------------------------------------------


async def test_a_profile_is_found_by_id_and_name(registry, other, profile):
    """Both servers know it, the other at once too, by looking it up."""
    for each in (registry, other):
        assert await each.find_profile(profile.id) == profile
        assert await each.find_profile_named(profile.name) == profile
        assert profile in each.list_profiles()


async def test_a_profiles_name_is_taken_once(registry, other, profile):
    """A second profile of the name is refused with the name, and nothing of it is stored."""
    second = a_profile(profile.name)
    with pytest.raises(Conflict, match=profile.name):
        await other.create_profile(second)

    assert await other.find_profile(second.id) is None
    assert await registry.find_profile_named(profile.name) == profile


@pytest.mark.parametrize("name", ["*", ">", "a.b c", "é" * 40])
async def test_any_name_is_a_name(registry, name):
    """Whatever a person types names one profile and no other."""
    profile = a_profile(f"{name} {random_id()}")
    await registry.create_profile(profile)

    assert await registry.find_profile_named(profile.name) == profile
    assert await registry.find_profile_named(name) is None


async def test_changes_of_a_profile_at_the_same_moment_all_count(registry, other, profile):
    """Nobody's change is lost, and every server hears of the last one."""
    await asyncio.gather(
        *(
            server.update_profile(
                profile.id, lambda old: msgspec.structs.replace(old, timeout_seconds=old.timeout_seconds + 1)
            )
            for server in (registry, other) * 5
        )
    )
    await eventually(lambda: registry.timeout_seconds(profile.id) == other.timeout_seconds(profile.id) == 1810)

    assert await other.find_profile_named(profile.name) == msgspec.structs.replace(profile, timeout_seconds=1810)
    assert registry.timeout_seconds("unknown") == 1800
    with pytest.raises(NotFound, match="no profile unknown"):
        await registry.update_profile("unknown", lambda old: old)


async def test_unknown_profiles_are_none(registry):
    """What is not there is not found, and is no error."""
    assert await registry.find_profile(random_id(16)) is None
    assert await registry.find_profile_named(random_id()) is None


# --- sources ------------------------------------------------------------------------------------------------------


async def test_a_source_comes_back_as_it_was(registry, other, profile):
    """Every field survives, sealed secrets byte for byte, on the server that stored it and on any other."""
    source = a_source(
        profile,
        # Sealed, so it says, with the key of the tests' servers: one with another would not let them start.
        secrets=(Sealed(key_id(base64.b64decode(KEY)), b"\0" * 12, bytes(range(256))),),
        skill="/review",
        routes={"*": "/any", "push": "Look at this.\n"},
        event_type=EventTypeRule("X-Event", "a.b", "action"),
        tag="Déploys",
        priority=Priority.INTERRUPT,
    )
    await registry.create_source(source)

    for each in (registry, other):
        assert await each.find_source(profile.webhook_id, "github") == (profile, source)
        assert await each.find_source_by_id(profile.id, source.id) == source
    assert registry.list_sources(profile.id) == [source]
    await eventually(lambda: other.list_sources(profile.id) == [source])


async def test_sources_are_listed_by_age_and_profile(registry, profile):
    """Oldest first, and nobody else's."""
    stranger = a_profile()
    await registry.create_profile(stranger)
    await registry.create_source(a_source(stranger))
    created = [
        msgspec.structs.replace(a_source(profile, f"s{days}"), created_at=NOW - timedelta(days=days))
        for days in (1, 3, 2)
    ]
    for source in created:
        await registry.create_source(source)

    assert [source.slug for source in registry.list_sources(profile.id)] == ["s3", "s2", "s1"]


async def test_a_slug_is_taken_once(registry, other, profile):
    """Of two servers that create a slug at once one wins; the loser is told the slug, and left nothing behind."""
    sources = [a_source(profile), a_source(profile)]
    outcomes = await asyncio.gather(
        registry.create_source(sources[0]), other.create_source(sources[1]), return_exceptions=True
    )
    (winner,) = (source for source, outcome in zip(sources, outcomes, strict=True) if outcome is None)
    (refusal,) = (outcome for outcome in outcomes if outcome is not None)

    assert isinstance(refusal, Conflict)
    assert "'github'" in str(refusal)
    assert await registry.find_source(profile.webhook_id, "github") == (profile, winner)
    assert registry.list_sources(profile.id) == [winner]
    await eventually(lambda: other.list_sources(profile.id) == [winner])


async def test_two_profiles_may_have_one_slug(registry, profile):
    """A slug belongs to its profile only."""
    stranger = a_profile()
    await registry.create_profile(stranger)
    mine, theirs = a_source(profile), a_source(stranger)
    await registry.create_source(mine)
    await registry.create_source(theirs)

    assert await registry.find_source(profile.webhook_id, "github") == (profile, mine)
    assert await registry.find_source(stranger.webhook_id, "github") == (stranger, theirs)


@pytest.mark.parametrize("slug", ["", "*", ">", "git.hub", "github ", "GitHub", "x" * 20_000, "é"])
async def test_a_strangers_slug_finds_nothing(registry, profile, slug):
    """What is not exactly a slug is unknown, whatever it would mean to NATS, and costs no connection."""
    await registry.create_source(a_source(profile))

    assert await registry.find_source(profile.webhook_id, slug) is None
    assert await registry.find_source(slug, "github") is None


async def test_a_deleted_source_is_gone_everywhere_and_its_slug_free(registry, other, profile):
    """Deleting says whether there was something to delete, and the slug can be used again."""
    source = a_source(profile)
    await registry.create_source(source)
    await eventually(lambda: other.list_sources(profile.id))
    removed = [await registry.delete_source(profile.id, source.id) for _ in range(2)]
    await eventually(lambda: not other.list_sources(profile.id))

    assert removed == [True, False]
    for each in (registry, other):
        assert await each.find_source(profile.webhook_id, "github") is None
        assert await each.find_source_by_id(profile.id, source.id) is None
    again = a_source(profile)
    await other.create_source(again)
    assert await registry.find_source(profile.webhook_id, "github") == (profile, again)


@pytest.mark.parametrize("source_id", ["*", ">", "", "src_x", "a.b", "x" * 10_000])
async def test_deleting_what_is_not_there_removes_nothing(registry, profile, source_id):
    """An id that is none, wildcards included, removes nothing."""
    await registry.create_source(a_source(profile))

    assert await registry.delete_source(profile.id, source_id) is False
    assert await registry.find_source_by_id(profile.id, source_id) is None
    assert len(registry.list_sources(profile.id)) == 1


async def test_somebody_elses_source_is_as_unknown(registry, profile):
    """The owner's id is part of every look-up."""
    stranger = a_profile()
    await registry.create_profile(stranger)
    source = a_source(stranger)
    await registry.create_source(source)

    assert await registry.delete_source(profile.id, source.id) is False
    assert await registry.find_source_by_id(profile.id, source.id) is None
    assert registry.list_sources(stranger.id) == [source]


async def test_an_update_reaches_every_server(registry, other, profile):
    """A changed source is the new one, here at once and elsewhere soon."""
    source = a_source(profile)
    await registry.create_source(source)
    await eventually(lambda: other.list_sources(profile.id))
    changed = msgspec.structs.replace(source, skill="/other")
    await registry.update_source(profile.id, source.id, lambda _: changed)

    assert registry.list_sources(profile.id) == [changed]
    await eventually(lambda: other.list_sources(profile.id) == [changed])


async def test_two_updates_at_once_both_count(registry, other, profile):
    """The second is made of what the first made."""
    source = a_source(profile)
    await registry.create_source(source)
    await eventually(lambda: other.list_sources(profile.id))
    await asyncio.gather(
        registry.update_source(profile.id, source.id, lambda each: msgspec.structs.replace(each, skill="/other")),
        other.update_source(profile.id, source.id, lambda each: msgspec.structs.replace(each, timeout_seconds=60)),
    )
    both = msgspec.structs.replace(source, skill="/other", timeout_seconds=60)

    await eventually(lambda: registry.list_sources(profile.id) == [both])
    await eventually(lambda: other.list_sources(profile.id) == [both])


async def test_updating_a_deleted_source_is_not_found(registry, profile):
    """An update does not bring back what was deleted."""
    source = a_source(profile)
    await registry.create_source(source)
    await registry.delete_source(profile.id, source.id)
    with pytest.raises(NotFound, match=source.id):
        await registry.update_source(profile.id, source.id, lambda source: source)

    assert registry.list_sources(profile.id) == []


# --- sessions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", [None, "builds"])
async def test_whether_a_session_takes_messages_is_kept_for_every_server(registry, other, profile, tag):
    """It does until it says no, and again when it says yes; of another tag or profile that says nothing."""
    session = Address(profile.id, tag)
    told = []
    for allowed in (True, False, False, True, True, False):
        await registry.keep_messaging(session, allowed=allowed)
        told.append((allowed, await eventually(lambda: takes_messages_here(registry, other, session))))

    assert told == [(allowed, str(allowed)) for allowed, _ in told]
    assert await other.quiet_among(profile.id, ["elsewhere", tag]) == [tag]
    assert await other.quiet_among(random_id(16), [tag]) == []


async def takes_messages_here(*registries_and_session):
    """Say whether a session takes messages once all servers agree; empty before."""
    *registries, session = registries_and_session
    said = {not await each.quiet_among(session.profile_id, [session.tag]) for each in registries}
    return str(said.pop()) if len(said) == 1 else ""


async def test_a_setting_that_stays_is_not_stored_again(registry, fabric, profile):
    """Sessions reconnect often, and their setting changes never."""
    session = Address(profile.id, "builds")
    subject = subjects.config_subject(subjects.quiet_key(session))
    for _ in range(2):
        await registry.keep_messaging(session, allowed=True)
    never = await fabric.get("KV_cfg", subject=subject)
    for _ in range(2):
        await registry.keep_messaging(session, allowed=False)

    assert never is None
    assert len(await fabric.get_many("KV_cfg", subject)) == 1


async def test_a_setting_written_by_two_servers_at_once_is_kept(registry, other, profile):
    """Neither fails, and both servers know the same in the end."""
    session = Address(profile.id, "builds")
    for _ in range(10):
        await asyncio.gather(
            registry.keep_messaging(session, allowed=False), other.keep_messaging(session, allowed=True)
        )
        await eventually(lambda: takes_messages_here(registry, other, session))


# --- tokens -------------------------------------------------------------------------------------------------------


async def test_a_token_is_found_by_its_hash(registry, other, profile):
    """Both servers know it, the other at once too."""
    token_hash, token = a_token(profile, "laptop")
    await registry.store_token(token_hash, token)

    for each in (registry, other):
        assert await each.find_token(token_hash) == token
        assert await each.find_token(random_id(52)) is None


async def test_tokens_are_listed_by_age_and_profile(registry, profile):
    """Oldest first, and nobody else's."""
    stranger = a_profile()
    await registry.store_token(*a_token(stranger))
    for label, age in (("new", 1), ("old", 3), ("middle", 2)):
        await registry.store_token(*a_token(profile, label, age=age))

    assert [token.label for token in registry.list_tokens(profile.id)] == ["old", "middle", "new"]


async def test_a_revoked_token_is_told_to_every_server_once(registry, other, profile):
    """Each server hears of it, so that it can close sockets, and knows the token no more."""
    heard: dict[Registry, list[tuple[str, str | None]]] = {registry: [], other: []}
    for each, hashes in heard.items():
        each.on_token_revoked(lambda *told, hashes=hashes: hashes.append(told))
    token_hash, token = a_token(profile)
    await registry.store_token(token_hash, token)
    await eventually(lambda: other.list_tokens(profile.id))
    removed = [await other.delete_token(profile.id, token.id) for _ in range(2)]
    await eventually(lambda: all(heard.values()))

    assert removed == [True, False]
    assert heard == {registry: [(token_hash, None)], other: [(token_hash, None)]}
    for each in (registry, other):
        assert await each.find_token(token_hash) is None
        assert each.list_tokens(profile.id) == []


async def test_a_replaced_token_is_refused_and_told_with_what_it_leaves(registry, other, profile):
    """Rotation refuses the old token at once; each server hears which connection goes on."""
    heard: list[tuple[str, str | None]] = []
    registry.on_token_revoked(lambda *told: heard.append(told))
    other.on_token_revoked(lambda *told: heard.append(told))
    old_hash, old = a_token(profile)
    new_hash, new = a_token(profile)
    await registry.store_token(old_hash, old)
    await eventually(lambda: other.list_tokens(profile.id))
    await registry.replace_token(profile.id, old.id, new_hash, new, keeps="con_kept")
    await eventually(lambda: other.list_tokens(profile.id) == [new])

    for each in (registry, other):
        assert await each.find_token(old_hash) is None
        assert await each.find_token(new_hash) == new
    assert heard == [(old_hash, "con_kept")] * 2


async def test_replacing_an_unknown_token_stores_nothing(registry, profile):
    """Of two rotations at once the second finds no token to replace, and its new one does not exist."""
    new_hash, new = a_token(profile)
    with pytest.raises(NotFound):
        await registry.replace_token(profile.id, "tok_unknown", new_hash, new, keeps=None)

    assert await registry.find_token(new_hash) is None


async def test_a_token_id_that_is_none_removes_nothing(registry, profile):
    """A wildcard is no id, and somebody else's token is as unknown."""
    stranger = a_profile()
    token_hash, token = a_token(stranger)
    await registry.store_token(token_hash, token)

    for token_id in ("*", ">", "", token.id):
        assert await registry.delete_token(profile.id, token_id) is False
    assert await registry.find_token(token_hash) == token


# --- trouble ------------------------------------------------------------------------------------------------------


async def test_changes_made_while_a_server_was_away_are_found_after_its_reconnect(natsd, registry, profile):
    """New, changed, deleted and revoked: the copy is as NATS has it, and the missed revocation is told."""
    kept, gone = a_source(profile, "kept"), a_source(profile, "gone")
    (lost_hash, lost), (rotated_hash, rotated) = a_token(profile, "lost"), a_token(profile, "rotated")
    for source in (kept, gone):
        await registry.create_source(source)
    await registry.store_token(lost_hash, lost)
    await registry.store_token(rotated_hash, rotated)
    async with Cable(natsd.port) as cable:
        fabric = await Fabric.open(NatsAuth(f"nats://127.0.0.1:{cable.port}"), name="away")
        away = await Registry.open(fabric)
        heard: list[tuple[str, str | None]] = []
        away.on_token_revoked(lambda *told: heard.append(told))
        cable.cut()
        await eventually(fabric.problem)
        changed = msgspec.structs.replace(kept, skill="/changed")
        new = a_source(profile, "new")
        new_hash, new_token = a_token(profile, "new")
        await registry.update_source(profile.id, kept.id, lambda _: changed)
        await registry.delete_source(profile.id, gone.id)
        await registry.create_source(new)
        await registry.delete_token(profile.id, lost.id)
        await registry.replace_token(profile.id, rotated.id, new_hash, new_token, keeps=None)
        meanwhile = away.list_sources(profile.id)
        cable.mend()
        await eventually(lambda: away.list_tokens(profile.id) == [new_token], 10.0)
        afterwards = away.list_sources(profile.id)
        still_valid = [await away.find_token(each) for each in (lost_hash, rotated_hash)]
        await fabric.close()

    assert {source.slug for source in meanwhile} == {"kept", "gone"}
    assert sorted(afterwards, key=lambda source: source.slug) == [changed, new]
    assert still_valid == [None, None]
    assert sorted(heard) == sorted([(lost_hash, None), (rotated_hash, None)])


async def test_the_copy_answers_while_nats_is_away(fresh_natsd):
    """What is known stays known; what is not cannot be told from what does not exist, and is unavailable."""
    fabric = await Fabric.open(fresh_natsd.auth, name="tests")
    registry = await Registry.open(fabric)
    profile = a_profile()
    source = a_source(profile)
    await registry.create_profile(profile)
    await registry.create_source(source)
    fresh_natsd.kill9()
    await eventually(fabric.problem)

    assert await registry.find_source(profile.webhook_id, "github") == (profile, source)
    with pytest.raises(Unavailable):
        await registry.find_source(profile.webhook_id, "unknown")
    with pytest.raises(Unavailable):
        await registry.find_token(random_id(52))
    await fabric.close()


async def test_a_store_that_was_replaced_is_read_anew(fresh_natsd, tmp_path):
    """A NATS that lost its data, or was restored from a backup, counts from the start; the copy follows it there."""
    fabric = await Fabric.open(fresh_natsd.auth, name="tests")
    registry = await Registry.open(fabric)
    profile = a_profile()
    token_hash, token = a_token(profile)
    heard: list[tuple[str, str | None]] = []
    registry.on_token_revoked(lambda *told: heard.append(told))
    for _ in range(20):
        await registry.create_profile(a_profile())
    await registry.store_token(token_hash, token)
    fresh_natsd.kill9()
    (fresh_natsd.home / "jetstream").rename(tmp_path / "lost")
    fresh_natsd.start()
    await eventually(lambda: heard, 10.0)
    await registry.create_profile(profile)

    assert heard == [(token_hash, None)]
    assert registry.list_profiles() == [profile]
    assert await registry.find_token(token_hash) is None
    await fabric.close()


@pytest.mark.parametrize("data", [b"", b"hunter2", b"{}", b'{"id":1}', b"\xff\xfe", b"[" * 100_000, b"null"])
async def test_a_spoilt_record_is_unreadable_and_nothing_else_is(fabric, registry, profile, data, caplog):
    """What cannot be read costs itself only, at a start, in a change and in a look-up; its value is not logged."""
    good, spoilt = a_source(profile, "good"), a_source(profile, "spoilt")
    await registry.create_source(good)
    await registry.create_source(spoilt)
    key = subjects.source_key(profile.id, spoilt.id)
    caplog.clear()
    await fabric.publish(subjects.config_subject(key), data)
    await eventually(lambda: registry.list_sources(profile.id) == [good])
    caplog.set_level(logging.ERROR)
    for _ in range(3):
        with pytest.raises(RecordUnreadable, match=f"the stored record of {spoilt.id} cannot be read"):
            await registry.find_source(profile.webhook_id, "spoilt")
    logged = caplog.text
    restarted = await Registry.open(fabric)

    assert logged.count(key) == 1
    assert "hunter2" not in caplog.text
    assert await restarted.find_source(profile.webhook_id, "good") == (profile, good)
    assert restarted.unreadable_sources(profile.id) == {spoilt.id: "spoilt"}
    assert await restarted.delete_source(profile.id, spoilt.id) is True
    assert restarted.unreadable_sources(profile.id) == {}
    assert await restarted.find_source(profile.webhook_id, "spoilt") is None


async def test_a_key_of_a_newer_version_is_left_alone(fabric, registry):
    """A kind that this version does not know is no error, at a start or as a change."""
    await fabric.publish(subjects.config_subject(f"newkind.{random_id()}"), b"whatever")
    restarted = await Registry.open(fabric)

    assert restarted.install == registry.install


def test_the_copy_keeps_the_newest_revision():
    """While it is filled, what was read may be older than a change that came meanwhile, a deletion included."""
    copy = Copy()
    copy.put("slug.p.a", Entry(7, None))
    copy.put("slug.p.a", Entry(3, "src_old"))
    copy.put("slug.p.b", Entry(8, "src_new"))
    copy.put("slug.p.b", Entry(8, "src_again"))

    assert copy.under("slug.p", str) == ["src_new"]
    assert copy.find("slug.p.a", str) is None


async def test_reading_and_writing_at_once_stays_consistent(registry, other, profile):
    """While one server creates and deletes, both end with the same copy, and it is what NATS has."""

    async def churn(one: Registry, name: str) -> None:
        for n in range(30):
            source = a_source(profile, f"{name}{n}")
            await one.create_source(source)
            if n % 2:
                assert await one.delete_source(profile.id, source.id)

    await asyncio.gather(churn(registry, "a"), churn(other, "b"), registry._load(), other._load())
    expected = {f"{name}{n}" for name in "ab" for n in range(0, 30, 2)}

    for each in (registry, other):
        await eventually(lambda each=each: {source.slug for source in each.list_sources(profile.id)} == expected)
