"""Event types in headers that nothing signs, held against the signed body."""

import itertools
import json
from pathlib import Path

import pytest

import senders
from clawback.errors import BadSignature
from clawback.model import EventTypeRule, Scheme, Source
from clawback.senders.kinds import _GITHUB_ROWS, is_type_signed
from clawback.senders.request import Headers, Request
from clawback.webhooks.intake import EventIds, take
from senders import NOW, SENDERS

SAMPLES = sorted((Path(__file__).parent.parent / "data" / "github").glob("*.json"))


def signed(scheme, body, header, claimed, rule=None):
    """Look at a request with a type in a header."""
    fields = [] if header is None else [(header, claimed)]
    return is_type_signed(Request(Headers(senders.raw(fields)), body), scheme, rule)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_sample_is_what_its_header_says(path):
    """GitHub's own bodies, each under its own name."""
    assert signed(Scheme.GITHUB, path.read_bytes(), "X-GitHub-Event", path.stem.split(".")[0])


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_captured_request_takes_no_other_type(path):
    """Each real body, signed and sent again under every other name, passes under none."""
    body, own = path.read_bytes(), path.stem.split(".")[0]
    source = Source("src_a", "profile", "hub", Scheme.GITHUB, NOW, routes={"*": "/any"})
    names = {name for names, _ in _GITHUB_ROWS for name in names.split()} | {"watch", "public", "organization"}
    for other in names - {own}:
        headers = Headers(senders.raw([*SENDERS[Scheme.GITHUB](body), ("X-GitHub-Event", other)]))
        with pytest.raises(BadSignature, match="X-GitHub-Event does not fit the signed body, which is that of"):
            take(
                Request(headers, body),
                source,
                [senders.secret_for(Scheme.GITHUB)],
                ids=EventIds(b"k" * 32, lambda: "evt_fresh"),
                now=NOW,
            )


@pytest.mark.parametrize(("names", "keys"), _GITHUB_ROWS)
def test_every_kind_of_github_passes_by_its_keys(names, keys):
    """With what any event may have beside them; a kind that shares its keys is no signed type."""
    common = ("action", "sender", "repository", "organization", "installation", "enterprise", "changes")
    body = json.dumps(dict.fromkeys((*common, *keys.split()))).encode()
    for name in names.split():
        assert signed(Scheme.GITHUB, body, "X-GitHub-Event", name) is (" " not in names)


def test_what_an_event_is_about_is_not_what_it_is():
    """Labels, milestones, checks and deployments stand in events of others."""
    for keys, name in (
        (("issue", "label", "milestone", "assignee"), "issues"),
        (("pull_request", "before", "after", "label", "number"), "pull_request"),
        (("deployment_status", "deployment", "check_run", "workflow_run", "workflow"), "deployment_status"),
        (("workflow_job", "deployment"), "workflow_job"),
        (("workflow_run", "since", "comment", "approver"), "deployment_review"),
        (("alert", "commit_oid", "ref"), "code_scanning_alert"),
    ):
        for order in itertools.islice(itertools.permutations(keys), 6):
            assert signed(Scheme.GITHUB, json.dumps(dict.fromkeys(order)).encode(), "X-GitHub-Event", name)


@pytest.mark.parametrize(
    ("scheme", "header", "claimed", "body", "verdict"),
    [
        (Scheme.LINEAR, "Linear-Event", "Issue", {"type": "Issue"}, True),
        (Scheme.LINEAR, "Linear-Event", "Comment", {"type": "Issue"}, None),
        (Scheme.LINEAR, "Linear-Event", "Issue", {}, False),
        (Scheme.GITLAB, "X-Gitlab-Event", "Push Hook", {"object_kind": "push"}, True),
        (Scheme.GITLAB, "X-Gitlab-Event", "Confidential Note Hook", {"object_kind": "note"}, True),
        (Scheme.GITLAB, "X-Gitlab-Event", "Merge Request Hook", {"object_kind": "push"}, None),
        (Scheme.GITLAB, "X-Gitlab-Event", "System Hook", {"object_kind": "push"}, False),
        (Scheme.GITLAB, "X-Gitlab-Event", "Member Hook", {"event_name": "user_add_to_group"}, False),
        (Scheme.GITLAB, None, None, {"object_kind": "push"}, True),
        (Scheme.SHOPIFY, "X-Shopify-Topic", "orders/create", {"id": 1}, False),
        (Scheme.GITHUB, "X-GitHub-Event", "a_kind_of_next_year", {"issue": {}}, False),
        (Scheme.GITHUB, "X-GitHub-Event", "watch", {"action": "started", "repository": {}}, False),
        (Scheme.GITHUB, "X-GitHub-Event", "push", [1], False),
        (Scheme.STRIPE, "X-Type", "charge", {"type": "x"}, True),
    ],
)
def test_a_type_that_nothing_signs_says_so(scheme, header, claimed, body, verdict):
    """True: the body bears it out; False: it tells nothing; None: it says otherwise."""
    encoded = json.dumps(body).encode()
    if verdict is None:
        with pytest.raises(BadSignature, match="does not fit the signed body"):
            signed(scheme, encoded, header, claimed)
    else:
        assert signed(scheme, encoded, header, claimed) is verdict


@pytest.mark.parametrize(
    ("scheme", "rule", "verdict"),
    [
        (Scheme.GENERIC, EventTypeRule(header="X-Kind"), False),
        (Scheme.GENERIC, EventTypeRule(body="kind"), True),
        (Scheme.GITHUB, EventTypeRule(header="x-github-event"), True),
        (Scheme.GITHUB, EventTypeRule(header="X-Kind"), False),
        (Scheme.SHOPIFY, EventTypeRule(body="kind"), True),
        (Scheme.STRIPE, EventTypeRule(header="X-Other", body="type"), True),
    ],
)
def test_a_rule_of_the_source_counts_by_where_it_reads(scheme, rule, verdict):
    """A header is signed by nobody, unless it is the scheme's own and the body agrees."""
    headers = [("X-GitHub-Event", "issues"), ("X-Kind", "issues")]
    request = Request(Headers(senders.raw(headers)), b'{"issue":{},"kind":"a","type":"t"}')
    assert is_type_signed(request, scheme, rule) is verdict
