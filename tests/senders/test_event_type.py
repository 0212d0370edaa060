"""Event types: each scheme's own place, a source's rule in its stead, and when the body matters."""

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest

import senders
from clawback.errors import BadPayload
from clawback.model import EventTypeRule, Scheme
from clawback.senders.event_type import read_event_type
from clawback.senders.request import Headers, Request

GITHUB = sorted((Path(__file__).parents[1] / "data" / "github").glob("*.json"))


def read(scheme, body, fields=(), rule=None):
    """Read the event type of a request; a body that is no bytes is sent as JSON."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_event_type(Request(Headers(senders.raw(fields)), payload), scheme, rule)


@pytest.mark.parametrize("path", GITHUB, ids=lambda path: path.stem)
def test_github_type_is_the_header_and_the_action(path):
    """For GitHub's own bodies, sent as JSON and as a form."""
    header = ("X-GitHub-Event", path.stem.partition(".")[0])
    form = urlencode({"payload": path.read_text()}).encode()
    form_header = ("content-type", "application/x-www-form-urlencoded")

    assert read(Scheme.GITHUB, path.read_bytes(), [header]) == path.stem
    assert read(Scheme.GITHUB, form, [header, form_header]) == path.stem


@pytest.mark.parametrize(
    ("scheme", "fields", "body", "found"),
    [
        (Scheme.GITHUB, [], {"action": "opened"}, ""),
        (Scheme.GITHUB, [("X-GitHub-Event", "push")], {"action": None}, "push"),
        (Scheme.GITHUB, [("X-GitHub-Event", "push")], [], "push"),
        (Scheme.STRIPE, [], {"type": "payment_intent.succeeded"}, "payment_intent.succeeded"),
        (Scheme.STRIPE, [], {}, ""),
        (Scheme.STANDARD_WEBHOOKS, [], {"type": "user.created", "data": {}}, "user.created"),
        (Scheme.SLACK, [], {"type": "event_callback", "event": {"type": "app_mention"}}, "app_mention"),
        (Scheme.SLACK, [], {"type": "block_actions"}, "block_actions"),
        (Scheme.SLACK, [], {"type": "app_rate_limited", "event": None}, "app_rate_limited"),
        (Scheme.SHOPIFY, [("X-Shopify-Topic", "orders/create")], {}, "orders/create"),
        (Scheme.LINEAR, [("Linear-Event", "Issue")], {"action": "create"}, "Issue.create"),
        (Scheme.GITLAB, [("X-Gitlab-Event", "Push Hook")], {"object_kind": "push"}, "Push Hook"),
        (Scheme.GITLAB, [], {"object_kind": "push"}, "push"),
        (Scheme.GENERIC, [("X-Event", "x")], {"type": "x"}, ""),
        (Scheme.NONE, [("X-GitHub-Event", "push")], {"type": "x"}, ""),
    ],
)
def test_each_scheme_has_its_place(scheme, fields, body, found):
    """Without a rule of the source, the vendor's way; nothing there is the empty type."""
    assert read(scheme, body, fields) == found


def test_slack_slash_command_has_its_name_as_type():
    """It comes as a form without any JSON."""
    form = urlencode({"token": "x", "command": "/deploy", "text": "now"}).encode()

    assert read(Scheme.SLACK, form, [("content-type", "application/x-www-form-urlencoded")]) == "/deploy"


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        (EventTypeRule(header="X-Kind"), "kind"),
        (EventTypeRule(header="X-Kind", body="deep.0.type"), "kind"),
        (EventTypeRule(header="X-Absent", body="deep.0.type"), "inner"),
        (EventTypeRule(header="X-Absent"), ""),
        (EventTypeRule(body="deep.0.type", action="verb"), "inner.made"),
        (EventTypeRule(body="deep.0.type", action="nowhere"), "inner"),
        (EventTypeRule(body="nowhere", action="verb"), ""),
        (EventTypeRule(header="X-Long"), ""),
        (EventTypeRule(action="verb"), ""),
        (EventTypeRule(), ""),
    ],
)
def test_rule_of_the_source_replaces_the_default(rule, found):
    """The header comes first, then the path, then the action behind a dot; an action alone is no type."""
    fields = [("X-Kind", "kind"), ("X-Long", "x" * 257), ("X-GitHub-Event", "push")]

    assert read(Scheme.GITHUB, {"deep": [{"type": "inner"}], "verb": "made"}, fields, rule) == found


@pytest.mark.parametrize("body", [b"", b"plain text", b"\xff\xfe"])
def test_body_matters_only_where_the_type_is_in_it(body):
    """A type from a header needs no JSON; one from the body does, and nothing else may stand in for it."""
    assert read(Scheme.SHOPIFY, body, [("X-Shopify-Topic", "orders/create")]) == "orders/create"
    assert read(Scheme.GITHUB, body, [("X-GitHub-Event", "push")], EventTypeRule(header="X-GitHub-Event")) == "push"
    with pytest.raises(BadPayload):
        read(Scheme.GITHUB, body, [("X-GitHub-Event", "push")])
    with pytest.raises(BadPayload):
        read(Scheme.STRIPE, body)
