"""Signing as senders do: held against the vendors' ways written out by hand, and against what verifies."""

from datetime import timedelta

import pytest

import senders
from clawback.errors import BadSignature, Rejected
from clawback.model import Scheme, SignatureRule
from clawback.senders.request import Headers, Request
from clawback.senders.signing import sign
from clawback.senders.verifying import verify

SIGNING_TOKEN = senders.STANDARD_SECRET
"""GitLab's newer kind of secret has the form of the Standard Webhooks'."""

RULES = [
    SignatureRule("X-Mine", "sha1", "base64", ""),
    SignatureRule("X-Mine", "sha512", "hex", "v9:"),
    SignatureRule("X-Mine", "sha384", "hex"),
]


def signed(scheme, secret, rule=None, body=None):
    """Sign the body of a scheme."""
    return sign(scheme, body or senders.body_for(scheme), secret, delivery_id="msg_1", now=senders.NOW, rule=rule)


@pytest.mark.parametrize("scheme", senders.SENDERS)
def test_a_request_is_signed_as_its_sender_signs_it(scheme):
    """What proves it is the same, letter for letter; so is the time, where a header has it."""
    secret = senders.secret_for(scheme)
    by_hand = senders.SENDERS[scheme](senders.body_for(scheme), secret)
    ours = {name.lower(): value for name, value in signed(scheme, secret)}

    assert {name.lower(): value for name, value in by_hand}.items() <= ours.items()


@pytest.mark.parametrize(
    ("scheme", "secret", "rule"),
    [
        *((scheme, senders.secret_for(scheme), None) for scheme in senders.SENDERS),
        (Scheme.GITLAB, SIGNING_TOKEN, None),
        *((Scheme.GENERIC, senders.SECRET, rule) for rule in RULES),
    ],
)
def test_what_is_signed_is_verified(scheme, secret, rule):
    """Now, with that secret; not with another one, and not nine hours later where the scheme has a time."""
    body = senders.body_for(scheme)
    request = Request(Headers(senders.raw(signed(scheme, secret, rule))), body)
    row = verify(request, scheme, [secret], senders.NOW, rule)

    assert row is not None
    with pytest.raises(BadSignature):
        verify(request, scheme, [b"whsec_b3RoZXI=" if secret == SIGNING_TOKEN else b"other"], senders.NOW, rule)
    if row.clock is not None:
        with pytest.raises(BadSignature, match="out of time"):
            verify(request, scheme, [secret], senders.NOW + timedelta(hours=9), rule)


def test_what_nobody_signs_has_no_headers():
    """Type none."""
    assert signed(Scheme.NONE, b"") == []


@pytest.mark.parametrize("secret", [b"", b"not base64 !"])
def test_a_secret_that_is_no_key_is_refused(secret):
    """With a sentence that does not hold it."""
    with pytest.raises(Rejected, match="no key for standard-webhooks") as caught:
        signed(Scheme.STANDARD_WEBHOOKS, secret)

    assert "!" not in str(caught.value)
