"""`clawback trigger` as a person runs it: against sources of a running server, with and without their secrets."""

import itertools
import json
from collections.abc import Callable
from typing import NamedTuple

import pytest

import senders
from github import PULL_REQUEST, make_source
from legacy import LegacyClient
from processes import Token

SECRET = senders.SECRET.decode()

_profiles = itertools.count(1)


class Operator(NamedTuple):
    """A profile of the test's own, and `clawback trigger` for its sources on the server's machine."""

    token: Token
    trigger: Callable


@pytest.fixture
def operator(server) -> Operator:
    """Make the profile, under a name that the command line knows."""
    name = f"trigger-{next(_profiles)}"
    where = ("--data-dir", str(server.data_dir), "--public-url", server.url, "--profile", name)
    token = server.token(name)
    return Operator(token, lambda *arguments, **extra: server.run("trigger", *arguments, *where, **extra))


async def test_a_sample_becomes_an_event_with_the_servers_own_secret(server, operator):
    """The server made the secret and nobody else knows it; each sending is another event."""
    async with LegacyClient(server.socket_url, operator.token.value) as client:
        made = await client.request("source_create", slug="gh", verifierType="github", generateSecret=True)
        first = operator.trigger("github.pull_request.opened")
        second = operator.trigger("github.pull_request.opened", "--json")
        event = await client.event()

    assert first.stdout == f"queued {event['id']} (pull_request.opened)\n", first.stderr
    assert event["meta"].items() >= {"verified": "true", "eventType": "pull_request.opened"}.items()
    assert event["content"] == PULL_REQUEST.decode()
    assert json.loads(second.stdout)["status"] == "queued"
    assert json.loads(second.stdout)["eventId"] != event["id"]
    assert made["secret"] not in first.stdout + first.stderr + second.stdout + second.stderr


async def test_a_source_is_found_by_its_type_or_name(server, operator):
    """The only one of a type; of several the one that is named; of none the answer has those there are."""
    async with LegacyClient(server.socket_url, operator.token.value) as client:
        await make_source(client, "one", routes={"none": "/x"})
        await make_source(client, "two")
        await client.request("source_create", slug="card", verifierType="stripe", secret="whsec_planted")
        stripe = operator.trigger("stripe.payment_intent.succeeded")
        several = operator.trigger("github.push")
        named = operator.trigger("github.push", "--source", "two")
        dropped = operator.trigger("github.push", "--source", "one")
        missing = operator.trigger("slack")
        mismatched = operator.trigger("slack", "--source", "two")

    assert stripe.stdout.endswith("(payment_intent.succeeded)\n")
    assert (several.returncode, missing.returncode, mismatched.returncode) == (1, 1, 1)
    assert "has 2 sources of type github: choose with --source" in several.stderr
    assert "there are: one (github), two (github), card (stripe)" in missing.stderr
    assert "is of type github, and would not take what slack sends" in mismatched.stderr
    assert named.stdout.startswith("queued evt_")
    assert dropped.stdout == "dropped (push): no route of the source takes it\n"


async def test_a_sources_own_rules_are_followed(server, operator):
    """How its signature is written, and in which header its event type stands."""
    async with LegacyClient(server.socket_url, operator.token.value) as client:
        await client.request(
            "source_create",
            slug="ours",
            verifierType="generic",
            secret=SECRET,
            signature={"header": "X-Ours", "algorithm": "sha512", "encoding": "base64", "prefix": "v1="},
            eventType={"header": "X-Kind"},
        )
        sent = operator.trigger("generic", "--event", "build.failed")

    assert sent.stdout.endswith("(build.failed)\n"), sent.stderr


async def test_elsewhere_the_url_and_the_secret_are_brought(server, operator, tmp_path):
    """By stdin or by a file of one's own; a body is sent as it is, so a second time it is a duplicate."""
    (tmp_path / "secret").write_text("whsec_planted\n")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "body").write_bytes(b'{ "id": "evt_mine", "type": "charge.refunded" }\n')
    async with LegacyClient(server.socket_url, operator.token.value) as client:
        url = await make_source(client)
        card = await client.request("source_create", slug="card", verifierType="stripe", secret="whsec_planted")
        by_stdin = server.run("trigger", "github.push", "--url", url, "--secret-stdin", stdin=SECRET + "\n")
        with_body = ("trigger", "stripe", "--body", str(tmp_path / "body"), "--url", card["url"])
        by_file = server.run(*with_body, "--secret-file", str(tmp_path / "secret"))
        again = server.run(*with_body, "--secret-file", str(tmp_path / "secret"))
        first = await client.event()
        await client.ack(first)
        second = await client.event()

    assert by_stdin.stdout == f"queued {first['id']} (push)\n", by_stdin.stderr
    assert by_file.stdout == f"queued {second['id']} (charge.refunded)\n", by_file.stderr
    assert again.stdout == f"duplicate {second['id']}\n"
    assert second["content"] == '{ "id": "evt_mine", "type": "charge.refunded" }\n'


async def test_a_refusal_is_the_servers_sentence(server, operator):
    """With the wrong secret, which is in no output."""
    async with LegacyClient(server.socket_url, operator.token.value) as client:
        url = await make_source(client)
        ran = server.run("trigger", "github.push", "--url", url, "--secret-stdin", stdin="planted-wrong\n")

    assert ran.returncode == 1
    assert ran.stderr.startswith("clawback: HTTP 401: X-Hub-Signature-256 does not fit")
    assert "planted" not in ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "trigger needs the name of a sample"),
        (("github.push", "--url", "http://127.0.0.1:1/x"), "--secret-stdin, or --secret-file FILE"),
        (("github.push", "--secret-stdin"), "a secret is for --url"),
        (("github.push", "--url", "http://127.0.0.1:1/x", "--source", "a"), "leave one out"),
        (("github.push", "--body", "/no/such/file"), "--body: cannot read /no/such/file"),
        (("github.push", "--url", "http://127.0.0.1:1/x", "--secret-file", "/no/such"), "--secret-file: cannot read"),
    ],
)  # fmt: skip
def test_a_wrong_call_says_what_is_missing(server, arguments, message):
    """Before anything is sent."""
    ran = server.run("trigger", *arguments)

    assert ran.returncode == 2
    assert message in ran.stderr


def test_what_is_not_there_is_named(server):
    """An address where nobody listens, and one where somebody else does."""
    nobody = server.run("trigger", "none", "--url", "http://127.0.0.1:1/x")
    other = server.run("trigger", "none", "--url", f"{server.url}/schema")
    wrong = server.run("trigger", "none", "--url", "planted")

    assert (nobody.returncode, other.returncode, wrong.returncode) == (1, 1, 1)
    assert "http://127.0.0.1:1/x cannot be reached" in nobody.stderr
    assert "HTTP 405" in other.stderr
    assert "planted cannot be reached" in wrong.stderr
