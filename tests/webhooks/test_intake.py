"""Intake: the verdict on one request, and the event that comes of it."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import senders
import signers
from clawback.errors import BadPayload, BadSignature
from clawback.model import (
    WHOLE,
    Event,
    EventState,
    EventTypeRule,
    HistoryRecord,
    Origin,
    Priority,
    Projection,
    Route,
    Scheme,
    Source,
    derive_event_id,
    encode_json,
)
from clawback.senders.presets import PRESETS
from clawback.senders.request import MAX_TEXT_CHARACTERS, Headers, Request
from clawback.webhooks.intake import Accepted, Dropped, EventIds, Greeted, claimed_delivery_id, take
from senders import NOW, SECRET, SENDERS, STANDARD_SECRET

IDS = EventIds(b"k" * 32, lambda: "evt_fresh")


def source_of(scheme, **fields):
    """Make a source of a scheme."""
    return Source("src_a", "profile", "hub", scheme, NOW, **fields)


def post(source, body, fields=(), secret=None, signed=None):
    """Sign a body as the source's sender does, and take it."""
    if signed is None:
        signed = SENDERS[source.scheme](body) if source.scheme in SENDERS else []
    headers = Headers(senders.raw([*signed, *fields]))
    secrets = [secret or senders.secret_for(source.scheme)]
    return take(Request(headers, body), source, secrets, ids=IDS, now=NOW)


def test_accepted_event_says_where_it_is_from_and_what_to_do():
    """Every field of the event has its place."""
    source = source_of(Scheme.GITHUB, routes={"issues.opened": "/triage"}, tag="web", priority=Priority.PRIORITY)
    fields = [("X-GitHub-Event", "issues"), ("X-GitHub-Delivery", "guid")]

    verdict = post(source, b'{"action":"opened","issue":{}}', fields)

    assert verdict == Accepted(
        Event(
            id=derive_event_id(IDS.key, source.profile_id, source.id, "guid"),
            origin=Origin.WEBHOOK,
            priority=Priority.PRIORITY,
            created_at=NOW,
            source_id="src_a",
            path="/hub",
            event_type="issues.opened",
            skill="/triage",
            verified=True,
            delivery_id="guid",
        )
    )


@pytest.mark.parametrize("seconds", [None, 90])
def test_event_has_its_sources_time(seconds):
    """None where the source says nothing: then its profile's counts when it is delivered."""
    verdict = post(source_of(Scheme.GITHUB, timeout_seconds=seconds), b"{}", [("X-GitHub-Event", "push")])

    assert verdict.event.allowed_seconds == seconds


def test_event_without_a_route_is_dropped_and_says_so():
    """The record holds what a person needs to add the route."""
    source = source_of(Scheme.GITHUB, routes={"issues.opened": "/triage"}, tag="web")

    verdict = post(source, b"{}", [("X-GitHub-Event", "push")])

    assert verdict == Dropped(
        HistoryRecord(
            event_id="evt_fresh",
            source="webhook",
            state=EventState.DROPPED,
            completed_at=NOW,
            path="/hub",
            event_type="push",
            session_tag="web",
            reason="no_route",
        )
    )


def test_a_route_object_says_what_its_source_does_not():
    """Its order names fields, whose values are beside it; its priority and payload stand instead of the source's."""
    route = Route("Review {pull_request.title|issue.title} {{now}} {x}", Priority.PRIORITY, WHOLE)
    source = source_of(Scheme.GITHUB, routes={"issues": route, "*": "Do {x}"}, payload=Projection(compact="github"))
    body = json.dumps({"action": "opened", "issue": {"title": "a\n\nb" + "c" * 400}}).encode()

    event = post(source, body, [("X-GitHub-Event", "issues")]).event
    other = post(source, b"{}", [("X-GitHub-Event", "push")]).event

    assert (event.skill, event.priority, event.payload) == (
        "Review {pull_request.title|issue.title} {now} {x}",
        Priority.PRIORITY,
        None,
    )
    assert event.fields == {"pull_request.title|issue.title": "a\n\nb" + "c" * 396 + "…", "x": None}
    assert (other.skill, other.priority, other.payload) == ("Do {x}", Priority.NORMAL, source.payload)
    assert other.fields is None, "a text is an order as it stands"


def test_an_order_with_fields_takes_a_body_that_is_no_json():
    """Nothing is there then, and the event is not lost for it."""
    event = post(source_of(Scheme.GENERIC, routes={"*": Route("Do {x}")}), b"\xff").event

    assert event.fields == {"x": None}


@pytest.mark.parametrize("scheme", [scheme for scheme in SENDERS if scheme is not Scheme.GITLAB])
def test_signature_comes_before_everything_else(scheme):
    """A forged request is refused as such, were its body, type and challenge ever so wrong or right."""
    for forged in (b"\xff", b"no json", b'{"type":"url_verification","challenge":"x"}'):
        with pytest.raises(BadSignature):
            post(source_of(scheme, routes={"x": "y"}), forged, signed=SENDERS[scheme](b"{}"))


@pytest.mark.parametrize(
    ("scheme", "signed", "fields", "body", "delivery_id"),
    [
        (Scheme.GITHUB, None, [("X-GitHub-Delivery", "guid")], b"{}", "guid"),
        (Scheme.STRIPE, None, [], b'{"id":"evt_1"}', "evt_1"),
        (Scheme.STANDARD_WEBHOOKS, None, [], b"{}", "msg_1"),
        (Scheme.STANDARD_WEBHOOKS, senders.standard(b"{}", family="svix"), [], b"{}", "msg_1"),
        # Only the id that was signed is one.
        (Scheme.STANDARD_WEBHOOKS, senders.standard(b"{}", family="svix"), [("webhook-id", "forged")], b"{}", "msg_1"),
        (Scheme.SHOPIFY, None, [("X-Shopify-Webhook-Id", "guid")], b"{}", "guid"),
        (Scheme.SLACK, None, [], b'{"event_id":"Ev1"}', "Ev1"),
        (Scheme.LINEAR, None, [("Linear-Delivery", "guid")], senders.linear_body(), "guid"),
        (Scheme.GITLAB, None, [("Idempotency-Key", "guid")], b"{}", "guid"),
        # Shared by webhooks that set each other off: they are not one.
        (Scheme.GITLAB, None, [("X-Gitlab-Event-UUID", "guid")], b"{}", None),
        (Scheme.GENERIC, None, [("X-GitHub-Delivery", "guid"), ("Idempotency-Key", "guid")], b"{}", None),
        (Scheme.NONE, None, [("X-GitHub-Delivery", "guid")], b"{}", None),
        (Scheme.GITHUB, None, [("X-GitHub-Delivery", "")], b"{}", None),
        (Scheme.GITHUB, None, [("X-GitHub-Delivery", "x" * 257)], b"{}", None),
    ],
)
def test_delivery_id_is_the_schemes_own(scheme, signed, fields, body, delivery_id):
    """Where the sender names its delivery the event is named after it; elsewhere each request is an event."""
    source = source_of(scheme)
    event = post(source, body, fields, signed=signed).event

    assert event.delivery_id == delivery_id
    # Linear's id stands in a header that nobody signs, and its time counts for hours: its bytes name the event.
    named = f"signed-{hashlib.sha256(body).hexdigest()[:40]}" if scheme == Scheme.LINEAR else delivery_id or ""
    derived = derive_event_id(IDS.key, source.profile_id, source.id, named)
    assert event.id == ("evt_fresh" if delivery_id is None else derived)


def test_gitlab_delivery_that_is_signed_is_named_by_its_webhook_id():
    """GitLab's signing token brings the id of Standard Webhooks."""
    event = post(source_of(Scheme.GITLAB), b"{}", signed=senders.standard(b"{}"), secret=STANDARD_SECRET).event

    assert event.delivery_id == "msg_1"


def test_event_id_is_the_keyed_hash_of_profile_source_and_delivery():
    """Fixed, because ids of past deliveries must be found again after an update."""
    source = source_of(Scheme.GITHUB)
    keyed = hashlib.blake2b(b"profile\0src_a\0guid", key=IDS.key, digest_size=16)

    assert derive_event_id(IDS.key, source.profile_id, source.id, "guid") == "evt_" + keyed.hexdigest()
    assert derive_event_id(b"other", source.profile_id, source.id, "guid") != "evt_" + keyed.hexdigest()


@pytest.mark.parametrize("scheme", Scheme)
def test_only_a_none_source_is_unverified(scheme):
    """Whoever delivers the event tells the session so."""
    event = post(source_of(scheme), senders.body_for(scheme)).event

    assert event.verified is (scheme is not Scheme.NONE)


def test_without_routes_the_skill_is_the_sources_own_or_none():
    """None stands for the payload alone."""
    assert post(source_of(Scheme.GENERIC, skill="/look"), b"{}").event.skill == "/look"
    assert post(source_of(Scheme.GENERIC), b"{}").event.skill is None


@pytest.mark.parametrize(
    ("body", "encoding"), [(b"\xff\xfe", "base64"), (b"a\0b", None), (b"", None), ("å".encode(), None)]
)
def test_body_that_is_no_text_is_marked(body, encoding):
    """It is stored as received; who reads it out needs to know."""
    assert post(source_of(Scheme.GENERIC), body).event.encoding == encoding


@pytest.mark.parametrize("body", [b"\xff", b"no json", b""])
def test_unreadable_body_is_refused_only_for_its_type(body):
    """A Stripe event whose type is elsewhere needs no id from its body either: its signed bytes are the id."""
    rule = EventTypeRule(header="X-Kind")
    event = post(source_of(Scheme.STRIPE, event_type=rule), body, [("X-Kind", "x")]).event

    assert event.delivery_id.startswith("signed-")
    with pytest.raises(BadPayload):
        post(source_of(Scheme.STRIPE), body)


def test_slack_challenge_is_echoed():
    """With any routes: it is no event."""
    body = json.dumps({"type": "url_verification", "challenge": "3eZbrw"}).encode()

    verdict = post(source_of(Scheme.SLACK, routes={"x": "y"}), body)

    assert isinstance(verdict, Greeted)
    assert json.loads(verdict.reply.body) == {"challenge": "3eZbrw"}


@pytest.mark.parametrize("scheme", [Scheme.GENERIC, Scheme.STRIPE, Scheme.NONE])
def test_nobody_else_has_anything_echoed(scheme):
    """Another sender's body that looks like it is an event."""
    body = json.dumps({"type": "url_verification", "challenge": "3eZbrw"}).encode()

    assert isinstance(post(source_of(scheme), body), Accepted)


@pytest.mark.parametrize(
    "body",
    [
        {"type": "event_callback", "event_id": "Ev1", "challenge": "3eZbrw"},
        {"type": "event_callback", "event_id": "Ev1", "challenge": "x", "event": {"type": "url_verification"}},
        {"event_id": "Ev1", "challenge": "3eZbrw"},
        {"type": "url_verification", "event_id": "Ev1"},
        {"type": ["url_verification"], "event_id": "Ev1", "challenge": "3eZbrw"},
    ],
)
def test_a_slack_event_with_a_challenge_is_stored(body):
    """Only what says that it is the question is answered as one; an event is not lost for a field of its own."""
    verdict = post(source_of(Scheme.SLACK), json.dumps(body).encode())

    assert isinstance(verdict, Accepted)
    assert verdict.event.delivery_id == "Ev1"


@pytest.mark.parametrize(
    ("claimed", "read"),
    [
        ("x" * MAX_TEXT_CHARACTERS, "x" * MAX_TEXT_CHARACTERS),
        ("x" * (MAX_TEXT_CHARACTERS + 1), None),
        ("x\x00y", None),
        ("x\x1b[2Jy", None),
        ("x\ty", None),
        ("x\x7fy", None),
        ("x\xa0y", None),
        ("x\xady", None),
        ("", None),
    ],
    ids=ascii,
)
def test_what_a_request_calls_itself_is_one_short_line(claimed, read):
    """It is a stranger's text and is written into the log: what is overlong or cannot be printed is no name."""
    headers = Headers(senders.raw([("X-GitHub-Delivery", claimed)]))

    assert claimed_delivery_id(headers, Scheme.GITHUB) == read


def test_what_comes_twice_or_has_no_header_is_no_name():
    """Of two names nobody knows which one counts, and a type without such a header claims nothing."""
    twice = Headers(senders.raw([("X-GitHub-Delivery", "a"), ("X-GitHub-Delivery", "b")]))
    once = Headers(senders.raw([("X-GitHub-Delivery", "a")]))

    assert claimed_delivery_id(twice, Scheme.GITHUB) is None
    assert claimed_delivery_id(once, Scheme.GENERIC) is None
    assert claimed_delivery_id(once, Scheme.SLACK) is None


def test_an_overlong_delivery_id_is_none():
    """Verified or not: a name has a bound, and the event has one of ours."""
    longest, longer = "x" * MAX_TEXT_CHARACTERS, "x" * (MAX_TEXT_CHARACTERS + 1)
    events = [post(source_of(Scheme.GITHUB), b"{}", [("X-GitHub-Delivery", name)]).event for name in (longest, longer)]

    assert [event.delivery_id for event in events] == [longest, None]
    assert events[1].id == "evt_fresh"


@given(
    scheme=st.sampled_from(sorted(Scheme)),
    body=st.binary(max_size=80) | st.text('{}[]",:a\\', max_size=40).map(str.encode),
    fields=st.lists(
        st.tuples(
            st.sampled_from(["X-GitHub-Event", "Content-Type", "X-Shopify-Topic", "X-GitHub-Delivery"]),
            st.text(st.characters(max_codepoint=255), max_size=20) | st.just("application/x-www-form-urlencoded"),
        ),
        max_size=4,
    ),
)
def test_any_signed_request_ends_in_a_verdict_that_can_be_stored(scheme, body, fields):
    """Whatever a sender with the right secret sends: an event that becomes JSON, or a refusal."""
    try:
        verdict = post(source_of(scheme, routes={"*": "/x"}), body, fields)
    except (BadSignature, BadPayload):
        return

    assert json.loads(encode_json(verdict))


def test_secret_in_use_is_any_of_the_live_ones():
    """While one is rolled, both sign."""
    source = source_of(Scheme.GITHUB)
    for secret in (SECRET, b"older"):
        request = Request(Headers(senders.raw(senders.github(b"{}", secret))), b"{}")

        assert isinstance(take(request, source, [SECRET, b"older"], ids=IDS, now=NOW), Accepted)


SLACK_FORM = [("Content-Type", "application/x-www-form-urlencoded")]


def test_signed_bytes_are_the_id_of_what_has_none():
    """A Slack command that a stranger caught and sends again is the same event; the next command is another."""
    source = source_of(Scheme.SLACK, routes={"*": "/do"})
    first = post(source, b"command=%2Fdeploy&text=now", SLACK_FORM).event
    again = post(source, b"command=%2Fdeploy&text=now", SLACK_FORM).event
    other = post(source, b"command=%2Fdeploy&text=later", SLACK_FORM).event
    event = post(source, b'{"type":"event_callback","event_id":"Ev1"}').event

    assert first.id == again.id != other.id
    assert first.delivery_id.startswith("signed-")
    assert event.delivery_id == "Ev1"


def test_without_a_signed_time_equal_bytes_are_two_events():
    """A sender may well say the same thing twice."""
    source = source_of(Scheme.GENERIC, routes={"*": "/do"})
    event = post(source, b"{}").event

    assert (event.id, event.delivery_id) == ("evt_fresh", None)


@pytest.mark.parametrize(
    ("scheme", "rule", "name"),
    [
        (Scheme.GITHUB, None, "X-GitHub-Event"),
        (Scheme.GITHUB, None, "X-GitHub-Delivery"),
        (Scheme.GITHUB, EventTypeRule(header="X-Kind"), "X-Kind"),
        (Scheme.SHOPIFY, None, "X-Shopify-Topic"),
        (Scheme.SHOPIFY, None, "X-Shopify-Webhook-Id"),
        (Scheme.LINEAR, None, "Linear-Event"),
        (Scheme.LINEAR, None, "Linear-Delivery"),
        (Scheme.GITLAB, None, "X-Gitlab-Event"),
        (Scheme.NONE, EventTypeRule(header="X-Kind"), "X-Kind"),
    ],
)
def test_two_copies_of_a_header_that_is_read_are_refused(scheme, rule, name):
    """A proxy may have read the other one than we."""
    with pytest.raises((BadPayload, BadSignature), match=f"[23] {name} headers"):
        post(source_of(scheme, event_type=rule, routes={"*": "/do"}), senders.linear_body(), [(name, "a"), (name, "b")])


BATCHES = [
    ("sendgrid", b'[{"event":"bounce"},{"event":"open"}]', 2),
    ("hubspot", b'[{"subscriptionType":"contact.creation"}]', 1),
    ("hubspot", b'{"subscriptionType":"contact.creation"}', None),
    ("meta", b'{"object":"page","entry":[{"id":"1"},{"id":"2"},{"id":"3"}]}', 3),
    ("meta", b'{"object":"page","entry":{}}', None),
    ("meta", b'{"object":"page","entry":[' + b"0," * 60_000 + b"0]}", None),
    ("adyen", PRESETS["adyen"].example.encode(), 1),
    ("github", b"[1,2]", None),
]


@pytest.mark.parametrize(("name", "body", "items"), BATCHES)
def test_a_batch_says_how_many_it_has(name, body, items):
    """As one event; None of what is no batch, or holds more than is counted."""
    secret = signers.SECRETS.get(name, b"planted-secret")
    body = signers.SEALERS[name](secret, body, NOW) if name in signers.SEALERS else body
    fields = {} if name in signers.SEALERS else signers.SIGNERS[name](secret, body, NOW, "msg_1")
    headers = Headers(senders.raw([*fields.items(), ("Content-Type", "application/json")]))
    request = Request(headers, body, base="https://hooks.example.com", target="/webhooks/abc/hub")

    assert take(request, source_of(name), [secret], ids=IDS, now=NOW).event.items == items


def test_the_secret_in_each_item_of_a_batch_is_not_stored():
    """Microsoft Graph repeats it in all of them."""
    item = b'{"changeType":"created","resource":"me","clientState":"planted-secret"}'
    request = Request(Headers(senders.raw([("Content-Type", "application/json")])), b'{"value":[%b,%b]}' % (item, item))
    verdict = take(request, source_of("microsoft-graph"), [b"planted-secret"], ids=IDS, now=NOW)

    assert verdict.event.items == 2
    assert b"planted-secret" not in verdict.body
    assert verdict.body.count(b"clientState") == 2
