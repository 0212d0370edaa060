"""Signed tokens: what each has to say, and what none may choose."""

import base64
import hashlib
import json
from datetime import timedelta

import pytest

import senders
import signers
from clawback.errors import BadSignature
from clawback.senders.request import Headers, Request
from clawback.senders.tokens import MAX_TOKEN_BYTES, query_hash
from clawback.senders.verifying import list_wanted_keys, verify
from senders import NOW, SECRET
from signers import PUBLISHED, SECRETS, URL, jwt, times

BODY = b'{"state":"error"}'
HASH = hashlib.sha256(BODY).hexdigest()
QSH = query_hash("POST", "/webhooks/abc/hub", "")
NETLIFY = {"iss": "netlify", "sha256": HASH}


def check(kind, token, *, now=NOW, secret=None, url=URL, prefix=""):
    """Verify a request that has one token, where its sender has it, and what that publishes."""
    header = {"netlify": "X-Webhook-Signature", "plaid": "Plaid-Verification"}.get(kind, "Authorization")
    secret = secret or SECRETS.get(kind, SECRET)
    request = Request(Headers(senders.raw([(header, prefix + token)])), BODY, base=url)
    for wanted in list_wanted_keys(request, kind, [secret]):
        request.published = {wanted.name: PUBLISHED[wanted.url]}
    return verify(request, kind, [secret], now)


def part(value):
    """Write a part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("kind", "claims", "prefix"),
    [
        ("netlify", NETLIFY, ""),
        ("monday", {"aud": URL, **times(NOW)}, ""),
        ("monday", {"aud": URL, **times(NOW)}, "Bearer "),
        ("atlassian-connect", {"qsh": QSH, **times(NOW)}, "JWT "),
    ],
)
def test_a_token_that_says_what_it_has_to_passes(kind, claims, prefix):
    """And without any one of its claims, or with another value, it does not."""
    assert check(kind, jwt(SECRET, claims), prefix=prefix)
    for name in claims:
        without = {each: value for each, value in claims.items() if each != name}
        others = [] if name == "exp" else ["another", None, True, [claims[name]], {}]
        for changed in (without, *(claims | {name: other} for other in others)):
            with pytest.raises(BadSignature):
                check(kind, jwt(SECRET, changed), prefix=prefix)


@pytest.mark.parametrize(
    ("kind", "leeway"), [("monday", 300), ("atlassian-connect", 180), ("google-pubsub", 60), ("plaid", None)]
)
def test_a_token_is_taken_for_a_while(kind, leeway):
    """The ends are its own, with what clocks may be off; Plaid's is five minutes old at most."""
    claims = {"aud": URL, "qsh": QSH, **times(NOW)}
    if kind in ("google-pubsub", "plaid"):
        fields = signers.SIGNERS[kind](SECRETS[kind], BODY, NOW, "1")
        token, prefix = next(iter(fields.values())), ""
    else:
        token, prefix = jwt(SECRET, claims), "JWT " if kind == "atlassian-connect" else ""
    last = 300 if leeway is None else 180 + leeway
    first = -300 if leeway is None else -leeway
    for seconds, passes in ((last - 1, True), (last + 1, False), (first + 1, True), (first - 1, False)):
        now = NOW + timedelta(seconds=seconds)
        if passes:
            assert check(kind, token, now=now, prefix=prefix)
        else:
            with pytest.raises(BadSignature, match="out of time"):
                check(kind, token, now=now, prefix=prefix)


@pytest.mark.parametrize("algorithm", ["none", "None", "HS384", "RS256", "ES256", "", 7, None])
def test_a_token_does_not_choose_how_it_is_checked(algorithm):
    """Neither that it is not, nor by another algorithm than its sender's."""
    claims = f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(NETLIFY)}"
    for signature in ("", base64.urlsafe_b64encode(signers.digest(SECRET, claims.encode())).rstrip(b"=").decode()):
        with pytest.raises(BadSignature):
            check("netlify", f"{claims}.{signature}")


def test_a_public_key_is_no_shared_secret():
    """A token signed by HMAC with what the sender publishes passes for none of its own."""
    document = json.loads(PUBLISHED["https://www.googleapis.com/oauth2/v3/certs"])
    told = {
        "iss": "accounts.google.com",
        "aud": URL,
        "email": SECRETS["google-pubsub"].decode(),
        "email_verified": True,
    }
    text = f"{part({'alg': 'HS256', 'kid': 'g1'})}.{part(told | times(NOW))}"
    for key in (json.dumps(document["keys"][1]).encode(), document["keys"][1]["n"].encode(), SECRETS["google-pubsub"]):
        signature = base64.urlsafe_b64encode(signers.digest(key, text.encode())).rstrip(b"=").decode()
        with pytest.raises(BadSignature):
            check("google-pubsub", f"Bearer {text}.{signature}")


def test_a_token_of_another_account_is_refused():
    """Google signs for everybody: address, its proof and audience count."""

    def ask(secret=None, **claims):
        token = signers.google(SECRETS["google-pubsub"], BODY, NOW, "1", **claims)["Authorization"]
        return check("google-pubsub", token, secret=secret)

    account = SECRETS["google-pubsub"]
    assert ask()
    assert ask(iss="accounts.google.com")
    assert ask(account + b" my-audience", aud="my-audience")
    for claims in (
        {"email": "other@example.com"},
        {"email_verified": False},
        {"email_verified": "true"},
        {"aud": "https://elsewhere.example/"},
        {"aud": [URL]},
        {"iss": "https://evil.example"},
    ):
        with pytest.raises(BadSignature):
            ask(**claims)
    with pytest.raises(BadSignature):
        ask(account + b" my-audience")
    with pytest.raises(BadSignature):
        ask(b"push@other.iam.gserviceaccount.com")


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "x" * (MAX_TOKEN_BYTES + 1), "e30.e30.", "\x7f" * 40])
def test_what_is_no_token_is_refused(token):
    """Whatever it is."""
    with pytest.raises(BadSignature):
        check("netlify", token)


def test_the_hash_of_a_query_is_atlassians():
    """The one of their documentation; and sorted, repeated, escaped and left out as it says."""
    known = "be16910858a41fd19ea5c1b4e9decca9a784d1024cb00b2158defe2f29dc86dd"
    assert query_hash("GET", "/test", "param=value") == known
    assert query_hash("get", "/test/", "jwt=abc&param=value") == known

    def canonical(text):
        return hashlib.sha256(text.encode()).hexdigest()

    assert query_hash("GET", "/a", "b=2&a=x+y&a=1%2F") == canonical("GET&/a&a=1%2F,x%20y&b=2")
    assert query_hash("GET", "", "~=*") == canonical("GET&/&~=%2A")
    assert query_hash("POST", "/a&b", "") == canonical("POST&/a%26b&")
