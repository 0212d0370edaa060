"""What a source may be, and the sentence for what it may not be."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback import wire
from clawback.errors import Rejected
from clawback.model import EventTypeRule, Priority, Scheme, SignatureRule
from clawback.operations import source_rules as rules
from clawback.senders.handshakes import keeps_secret
from clawback.senders.presets import PRESETS

WHSEC = "whsec_" + base64.b64encode(bytes(24)).decode()
MADE = bytes(range(32))


def refused(check, *arguments):
    """Return the refusal's text, None where there is none."""
    try:
        check(*arguments)
    except Rejected as refusal:
        return str(refusal)
    return None


@pytest.mark.parametrize("slug", ["github", "a", "A.b_c-9", "x" * 64, "...", "-", "a.."])
def test_a_slug_is_one_part_of_a_path(slug):
    """Letters, digits, dot, underscore and hyphen, up to 64."""
    assert rules.check_slug(slug) == slug


@pytest.mark.parametrize(
    "slug", ["", ".", "..", "x" * 65, "a/b", "a b", "a\n", "ü", "a%2f", "a?b", "*", ">", "a\0", "\ud800"]
)
def test_a_slug_that_could_be_misread_is_refused(slug):
    """Whatever a URL, a proxy or a subject could take for something else."""
    with pytest.raises(Rejected, match="a slug is 1 to 64 letters, digits and"):
        rules.check_slug(slug)


@given(text=st.text())
def test_any_slug_is_checked_without_surprise(text):
    """Arbitrary text is a slug or a refusal of bounded length."""
    refusal = refused(rules.check_slug, text)

    assert refusal is None or len(refusal) < 250


@pytest.mark.parametrize("name", [None, ""])
def test_the_type_must_be_chosen(name):
    """There is no default; the refusal lists what there is and what none means."""
    with pytest.raises(Rejected, match=r"github, gitlab, .*, none \(none accepts requests that nobody signed"):
        rules.check_scheme(name)


@pytest.mark.parametrize("scheme", [*Scheme, *PRESETS])
def test_every_scheme_can_be_chosen_by_its_name(scheme):
    """The names are those of the public contract."""
    assert rules.check_scheme(str(scheme)) == scheme


def test_an_unknown_type_lists_the_known_ones():
    """Names are compared as they are."""
    with pytest.raises(Rejected, match=r"read 'GitHub': accepted is one of github, .*did you mean github"):
        rules.check_scheme("GitHub")


def choose(scheme, secret=None, *, generate=False):
    """Choose a secret with known randomness."""
    return rules.choose_secret(scheme, secret, generate=generate, random_bytes=lambda count: MADE[:count])


@pytest.mark.parametrize(
    ("scheme", "secret"),
    [
        (Scheme.GITHUB, "It's a Secret to Everybody"),
        (Scheme.GITHUB, "ü"),
        (Scheme.GITHUB, "x" * 4096),
        (Scheme.GENERIC, "x"),
        (Scheme.STRIPE, "whsec_test_secret"),
        (Scheme.STANDARD_WEBHOOKS, WHSEC),
        (Scheme.STANDARD_WEBHOOKS, WHSEC.removeprefix("whsec_")),
        (Scheme.SLACK, "8f742231b10e8888abcd99yyyzzz85a5"),
        (Scheme.SHOPIFY, "hush"),
        (Scheme.LINEAR, "lin_wh_x"),
        (Scheme.GITLAB, WHSEC),
        (Scheme.GITLAB, "plain"),
    ],
)
def test_a_secret_of_its_schemes_form_is_kept_as_it_is(scheme, secret):
    """Both of GitLab's kinds, and Standard Webhooks with and without its prefix."""
    assert choose(scheme, secret) == secret


@pytest.mark.parametrize(
    ("scheme", "secret", "message"),
    [
        (Scheme.GITHUB, None, "or ask for a new one with generateSecret"),
        (Scheme.STRIPE, None, "Stripe shows its own once the webhook's URL is entered there"),
        (Scheme.GITHUB, "", "anybody could sign with that"),
        (Scheme.GENERIC, "", "anybody could sign with that"),
        (Scheme.GITHUB, "planted ", "begins or ends with white space"),
        (Scheme.GITHUB, "\nplanted", "begins or ends with white space"),
        (Scheme.GITHUB, " ", "begins or ends with white space"),
        (Scheme.GITHUB, "planted\0", "NUL"),
        (Scheme.GITHUB, "planted\ud800", "half a surrogate pair"),
        (Scheme.GITHUB, "planted" * 1000, "has 7000 bytes: accepted are at most 4096"),
        (Scheme.STRIPE, "sk_live_planted", "whsec_ and what Stripe shows after it"),
        (Scheme.STANDARD_WEBHOOKS, "whsec_planted!", "whsec_ followed by base64"),
        (Scheme.STANDARD_WEBHOOKS, "whsec_", "whsec_ followed by base64"),
        (Scheme.GITLAB, "whsec_planted!", "a signing token, whsec_ followed by base64, or a secret token"),
        (Scheme.NONE, "planted", "type none checks no signature"),
    ],
)
def test_a_secret_that_could_verify_nothing_is_refused_and_not_repeated(scheme, secret, message):
    """The refusal says what the scheme takes; what was given stays out of it."""
    with pytest.raises(Rejected) as caught:
        choose(scheme, secret)

    assert message in str(caught.value)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("scheme", PRESETS)
@given(secret=st.text())
def test_no_secret_is_accepted_that_the_engine_has_no_key_for(scheme, secret):
    """What passes here is a key for at least one way in which the scheme signs."""
    refusal = refused(choose, scheme, secret)
    rows = PRESETS[scheme].rows

    if refusal is not None:
        assert len(refusal) < 400
    else:
        brings = not secret and keeps_secret(PRESETS[scheme].handshakes)
        assert not rows or brings or any(row.key(secret.encode()) for row in rows)


@pytest.mark.parametrize(
    ("scheme", "made"),
    [
        (Scheme.GITHUB, MADE.hex()),
        (Scheme.GENERIC, MADE.hex()),
        (Scheme.STANDARD_WEBHOOKS, "whsec_" + base64.b64encode(MADE).decode()),
        (Scheme.GITLAB, "whsec_" + base64.b64encode(MADE).decode()),
    ],
)
def test_a_made_secret_has_the_form_its_sender_takes(scheme, made):
    """32 random bytes: in hex, or where the scheme has a form in that; and it would be accepted as given."""
    assert choose(scheme, generate=True) == made
    assert choose(scheme, made) == made


@pytest.mark.parametrize("scheme", [Scheme.STRIPE, Scheme.SLACK, Scheme.SHOPIFY, Scheme.LINEAR])
def test_no_secret_is_made_for_a_sender_that_makes_its_own(scheme):
    """The refusal says where to find it."""
    with pytest.raises(Rejected, match=r"takes no secret of ours: .* shows its own once .* account_info tells"):
        choose(scheme, generate=True)


def test_a_secret_is_given_or_made_not_both():
    """Nobody could know which one the sender has."""
    with pytest.raises(Rejected, match="leave one of them out"):
        choose(Scheme.GITHUB, "s", generate=True)
    with pytest.raises(Rejected, match="type none checks no signature"):
        choose(Scheme.NONE, generate=True)
    assert choose(Scheme.NONE) is None


def test_the_skill_is_bounded_and_an_empty_one_is_none():
    """The same bounds as a route's."""
    assert rules.check_instruction("/review", "skill") == "/review"
    assert rules.check_instruction("", "skill") is None
    assert rules.check_instruction(None, "skill") is None
    with pytest.raises(Rejected, match="skill has 16385 bytes"):
        rules.check_instruction("y" * 16385, "skill")
    with pytest.raises(Rejected, match="skill holds a NUL"):
        rules.check_instruction("\0", "skill")


@pytest.mark.parametrize(
    "rule",
    [
        EventTypeRule(header="X-Event"),
        EventTypeRule(body="a.b.c.d.e.f.g.h"),
        EventTypeRule(header="X-Event", action="action"),
        EventTypeRule(body="data.0.kind", action="x"),
    ],
)
def test_an_event_type_has_a_place(rule):
    """A header, a path of up to eight steps, and an action beside either."""
    assert rules.check_event_type(rule) == rule


@pytest.mark.parametrize("rule", [None, EventTypeRule()])
def test_no_place_leaves_it_to_the_scheme(rule):
    """An empty rule is no rule: it would replace the scheme's own."""
    assert rules.check_event_type(rule) is None


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (EventTypeRule(action="a"), "action alone"),
        (EventTypeRule(header="", body="", action="a"), "action alone"),
        (EventTypeRule(header="X Event"), "eventType.header refused, read 'X Event'"),
        (EventTypeRule(header="X\r\nY"), "eventType.header refused"),
        (EventTypeRule(header="", body="a"), "eventType.header refused, read ''"),
        (EventTypeRule(body="a.b.c.d.e.f.g.h.i"), "at most 8 deep"),
        (EventTypeRule(body="a..b"), "eventType.body refused, read 'a..b'"),
        (EventTypeRule(body="."), "eventType.body refused"),
        (EventTypeRule(body="x" * 257), "256 characters"),
        (EventTypeRule(header="X", action=""), "eventType.action refused, read ''"),
        (EventTypeRule(header="X", action="\ud800"), "half a surrogate pair"),
    ],
)
def test_an_event_type_that_cannot_be_read_is_refused(rule, message):
    """Each refusal names the field."""
    with pytest.raises(Rejected, match=message):
        rules.check_event_type(rule)


@pytest.mark.parametrize(
    "rule",
    [
        SignatureRule(),
        SignatureRule(header="X-Sig", algorithm="sha512", encoding="base64", prefix=""),
        SignatureRule(prefix="v1="),
    ],
)
def test_a_generic_signature_is_configurable(rule):
    """Header, hash, encoding and prefix."""
    assert rules.check_signature(rule, Scheme.GENERIC) == rule


@pytest.mark.parametrize(
    ("rule", "scheme", "message"),
    [
        (SignatureRule(), Scheme.GITHUB, "signature is for type hmac, .* github has its own rules"),
        (SignatureRule(header="X:Sig"), Scheme.GENERIC, "signature.header refused, read 'X:Sig'"),
        (SignatureRule(algorithm="md5"), Scheme.GENERIC, "signature.algorithm refused, read 'md5': accepted is one of"),
        (SignatureRule(encoding="base32"), Scheme.GENERIC, "signature.encoding refused, read 'base32'"),
        (SignatureRule(prefix="a\tb"), Scheme.GENERIC, "signature.prefix refused"),
        (SignatureRule(prefix="x" * 65), Scheme.GENERIC, "signature.prefix refused"),
    ],
)
def test_a_signature_that_cannot_be_checked_is_refused(rule, scheme, message):
    """Other schemes have rules of their own, and md5 is no option."""
    with pytest.raises(Rejected, match=message):
        rules.check_signature(rule, scheme)


def test_only_strangers_that_interrupt_are_warned_of():
    """With a signature only the sender can, and other priorities wait for their turn."""
    warned = [
        (scheme, priority)
        for scheme in Scheme
        for priority in Priority
        if rules.warn_of(scheme, [Priority.NORMAL, priority])
    ]

    assert warned == [(Scheme.NONE, Priority.INTERRUPT)]


@pytest.mark.parametrize(
    ("named", "expected"),
    [(None, "mine"), ("other", "other"), ("(untagged)", None), ("", None), ("e\u0301", "\u00e9")],
)
def test_events_go_to_the_named_session_or_the_callers(named, expected):
    """No name means here; the untagged session has a name of its own."""
    request = wire.SourceCreate(request_id="1", slug="s", session_tag=named)

    assert rules.choose_tag(request, "mine") == expected


def test_a_tag_that_is_none_is_refused():
    """The rule of tags is the fabric's."""
    with pytest.raises(Rejected, match="a tag is letters, digits and"):
        rules.choose_tag(wire.SourceCreate(request_id="1", slug="s", session_tag="a b"), None)
