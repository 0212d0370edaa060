"""Sources: made, listed, deleted, and whose they are."""

import logging
from datetime import UTC, datetime

import msgspec
import pytest

from clawback import wire
from clawback.errors import Conflict, Rejected, Unauthorized
from clawback.model import EventTypeRule, Priority, Refusal, Scheme, SignatureRule, encode_json, random_id
from clawback.operations import Caller, perform
from clawback.operations.sources import list_refusals
from clawback.senders.handshakes import verify_token


def github(slug="github", **fields):
    """Ask for a GitHub source."""
    return wire.SourceCreate(request_id="1", slug=slug, **({"verifier_type": "github", "secret": "planted"} | fields))


async def test_a_source_is_answered_as_the_protocol_says(services, alice):
    """Every field that was given, the URL, and never the secret."""
    answer = await perform(
        services,
        alice,
        github(
            skill="/triage",
            routes={"pull_request.opened": "/review"},
            event_type=EventTypeRule(header="X-GitHub-Event", action="action"),
            session_tag="reviews",
            priority=Priority.PRIORITY,
        ),
    )
    profile = await services.registry.find_profile(alice.profile_id)

    assert answer == {
        "id": answer["id"],
        "slug": "github",
        "type": "github",
        "skill": "/triage",
        "routes": {"pull_request.opened": "/review"},
        "eventType": {"header": "X-GitHub-Event", "action": "action"},
        "sessionTag": "reviews",
        "priority": "priority",
        "setBy": "session:deploys",
        "url": f"https://hooks.example.com/base/webhooks/{profile.webhook_id}/github",
        "setup": answer["setup"],
    }
    assert answer["url"] in " ".join(answer["setup"])
    assert answer["id"].startswith("src_")


async def test_refused_webhooks_are_listed_by_source_for_their_owner(services, alice, charlie, fabric):
    """Of sources that are there; nobody else sees them."""
    source = await perform(services, alice, github())
    for source_id, reason in ((source["id"], "old"), (source["id"], "new"), ("src_deleted", "x")):
        refusal = Refusal(datetime.now(UTC), 401, reason, "192.0.2.7")
        await fabric.publish(f"refused.{alice.profile_id}.{source_id}", encode_json(refusal))
    listed = await list_refusals(services, alice)

    assert listed.keys() == {source["id"]}
    assert [(each["reason"], each["status"], each["sender"]) for each in listed[source["id"]]] == [
        ("new", 401, "192.0.2.7"),
        ("old", 401, "192.0.2.7"),
    ]
    assert await list_refusals(services, charlie) == {}


async def test_a_source_has_a_time_out_of_its_own(services, alice):
    """It is answered where it was given, and refused outside its bounds."""
    answer = await perform(services, alice, github(timeout_seconds=90))

    assert answer["timeoutSeconds"] == 90
    for wrong in (59, 86_401, 0, -1):
        with pytest.raises(Rejected, match=f"timeoutSeconds refused, read {wrong}: accepted is 60 to 86400"):
            await perform(services, alice, github("other", timeout_seconds=wrong))


@pytest.mark.parametrize("payload", ["compact", ("pull_request.title", "commits.*.message")])
async def test_a_source_says_which_part_of_a_payload_is_shown(services, alice, payload):
    """It is listed as it was asked for, and `full` takes it back."""
    made = await perform(
        services, alice, wire.SourceCreate(request_id="1", slug="hub", verifier_type="none", payload=payload)
    )
    (listed,) = await perform(services, alice, wire.SourceList(request_id="2"))
    whole = await perform(services, alice, wire.SourceUpdate(request_id="3", source_id=made["id"], payload="full"))

    assert (made["payload"], listed["payload"]) == (msgspec.to_builtins(payload),) * 2
    assert "payload" not in whole


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ("short", "read 'short': accepted are full, compact, or a list"),
        (("a", ""), "none of them empty"),
        (("a..b",), "accepted are at most 12 names"),
        (("a",) * 51, "1 to 50 dotted paths"),
    ],
)
async def test_what_is_no_part_of_a_payload_is_refused(services, alice, payload, message):
    """With what is accepted."""
    with pytest.raises(Rejected, match=message):
        await perform(
            services, alice, wire.SourceCreate(request_id="1", slug="hub", verifier_type="none", payload=payload)
        )


async def test_what_was_not_given_is_left_out(services, charlie):
    """No nulls where the protocol has optional fields; an untagged caller's source has no tag."""
    answer = await perform(services, charlie, github())

    assert set(answer) == {"id", "slug", "type", "priority", "setBy", "url", "setup"}
    assert answer["priority"] == "normal"


async def test_events_go_to_the_callers_session_by_default(services, alice):
    """No tag given: here."""
    assert (await perform(services, alice, github()))["sessionTag"] == "deploys"


async def test_a_source_can_be_found_by_its_url(services, alice):
    """What was stored is what intake finds, its secret sealed for this source alone."""
    answer = await perform(services, alice, github(signature=None))
    webhook_id, slug = answer["url"].split("/")[-2:]
    _, source = await services.registry.find_source(webhook_id, slug)
    (sealed,) = source.secrets

    assert (source.id, source.scheme, source.tag) == (answer["id"], Scheme.GITHUB, "deploys")
    assert services.vault.open(sealed, profile_id=alice.profile_id, source_id=source.id) == b"planted"


async def test_the_secret_is_nowhere_in_nats_or_the_log(services, fabric, alice, caplog):
    """Sealed before it is stored."""
    secret = random_id()
    with caplog.at_level(logging.DEBUG):
        await perform(services, alice, github(secret=secret))
    stored = await fabric.get_many("KV_cfg", "$KV.cfg.>")

    assert not any(secret.encode() in each.data for each in stored)
    assert secret not in caplog.text


async def test_a_made_secret_is_shown_once(services, alice):
    """In the answer to the request that asked for it, and never again."""
    answer = await perform(services, alice, github(secret=None, generate_secret=True))
    listed = await perform(services, alice, wire.SourceList(request_id="2"))
    webhook_id, slug = answer["url"].split("/")[-2:]
    _, source = await services.registry.find_source(webhook_id, slug)

    secret = answer.pop("secret")
    assert secret in " ".join(answer.pop("setup"))
    assert len(bytes.fromhex(secret)) == 32
    assert listed == [answer]
    assert services.vault.open(source.secrets[0], profile_id=alice.profile_id, source_id=source.id) == secret.encode()


async def test_metas_verify_token_is_in_what_is_to_be_done(services, alice):
    """It is made from the app secret, and does not show it."""
    answer = await perform(services, alice, github("wa", verifier_type="meta"))

    assert f"the verify token {verify_token(b'planted')}" in " ".join(answer["setup"])
    assert "planted" not in str(answer)


async def test_a_client_without_an_instance_sees_sources_as_ever(services, alice):
    """It may refuse a field that it does not know."""
    answer = await perform(services, msgspec.structs.replace(alice, names_events=False), github())

    assert "setup" not in answer


async def test_a_generic_source_keeps_its_signature_rule(services, alice):
    """Header, hash, encoding and prefix reach the intake."""
    rule = SignatureRule(header="X-Sig", algorithm="sha512", encoding="base64", prefix="v1=")
    answer = await perform(services, alice, github(verifier_type="generic", signature=rule))
    source = await services.registry.find_source_by_id(alice.profile_id, answer["id"])

    assert source.signature == rule


async def test_an_unsigned_source_is_a_warning_in_the_log(services, alice, caplog):
    """Whoever learns the URL can send."""
    with caplog.at_level(logging.WARNING):
        answer = await perform(services, alice, github(verifier_type="none", secret=None))

    assert f"source {answer['id']} accepts requests that nobody signed" in caplog.text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"slug": "a/b"}, "a slug is"),
        ({"verifier_type": None}, "the verifier type is missing"),
        ({"secret": None}, "the secret is missing"),
        ({"skill": "x" * 16385}, "skill has"),
        ({"routes": {"": "/x"}}, "route refused"),
        ({"event_type": EventTypeRule(action="a")}, "action alone"),
        ({"signature": SignatureRule()}, "signature is for type hmac"),
        ({"session_tag": "a b"}, "a tag is"),
        ({"note": "one line\nand another"}, "note refused"),
        ({"note": "a\0"}, "note holds a NUL"),
    ],
)
async def test_a_wrong_field_makes_nothing(services, alice, fields, message):
    """Every rule is asked before anything is stored."""
    with pytest.raises(Rejected, match=message):
        await perform(services, alice, github(**fields))
    assert await perform(services, alice, wire.SourceList(request_id="2")) == []


async def test_a_slug_is_taken_once_in_a_profile(services, alice, charlie):
    """The second is refused with what to do; another profile has slugs of its own."""
    first = await perform(services, alice, github())

    with pytest.raises(Conflict, match="a source with the slug 'github' already: choose another"):
        await perform(services, alice, github(secret="other"))
    assert (await perform(services, charlie, github()))["url"] != first["url"]
    assert [each["id"] for each in await perform(services, alice, wire.SourceList(request_id="2"))] == [first["id"]]


async def test_a_list_is_of_the_callers_profile(services, alice, charlie):
    """Oldest first; Charlie sees nothing."""
    made = [await perform(services, alice, github(slug)) for slug in ("b", "a", "c")]

    listed = await perform(services, alice, wire.SourceList(request_id="2"))
    assert [each | {"setup": new["setup"]} for each, new in zip(listed, made, strict=True)] == made
    assert await perform(services, charlie, wire.SourceList(request_id="3")) == []


async def test_a_deleted_source_is_gone_and_its_events_are_withdrawn(services, alice, withdrawn):
    """Its URL leads nowhere, its slug is free, and what waits of it is somebody's decision."""
    made = await perform(services, alice, github())
    webhook_id, slug = made["url"].split("/")[-2:]
    answer = await perform(services, alice, wire.SourceDelete(request_id="2", source_id=made["id"]))

    assert answer == {"removed": True}
    assert withdrawn == [(alice.profile_id, made["id"])]
    assert await services.registry.find_source(webhook_id, slug) is None
    assert await perform(services, alice, wire.SourceDelete(request_id="3", source_id=made["id"])) == {"removed": False}
    assert (await perform(services, alice, github()))["id"] != made["id"]


@pytest.mark.parametrize("source_id", ["", "src_unknown", "*", ">", "a.b", "src_\0", "ü"])
async def test_an_unknown_id_deletes_nothing(services, alice, withdrawn, source_id):
    """Whatever was sent as an id."""
    await perform(services, alice, github())
    answer = await perform(services, alice, wire.SourceDelete(request_id="2", source_id=source_id))

    assert answer == {"removed": False}
    assert withdrawn == []
    assert len(await perform(services, alice, wire.SourceList(request_id="3"))) == 1


async def test_another_profiles_id_is_as_unknown(services, alice, charlie, withdrawn):
    """Charlie's attempt changes nothing and looks like any other miss."""
    made = await perform(services, alice, github())
    answer = await perform(services, charlie, wire.SourceDelete(request_id="2", source_id=made["id"]))

    assert answer == {"removed": False}
    assert withdrawn == []
    assert [each["id"] for each in await perform(services, alice, wire.SourceList(request_id="3"))] == [made["id"]]


async def test_a_caller_without_a_profile_is_told_so(services):
    """A profile that is gone took its tokens along."""
    nobody = Caller(random_id(16), "tok_x")

    with pytest.raises(Unauthorized, match="does not exist any more"):
        await perform(services, nobody, github())


async def test_answers_are_plain_json(services, alice):
    """What is answered can be written as it is."""
    answer = await perform(services, alice, github(event_type=EventTypeRule(body="type")))

    assert msgspec.json.decode(msgspec.json.encode(answer)) == answer
