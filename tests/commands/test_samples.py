"""The samples: each is what its scheme's source takes, under the event type in its name."""

from datetime import UTC, datetime

import msgspec
import pytest

import senders
from clawback.commands import samples
from clawback.errors import Rejected
from clawback.model import Scheme
from clawback.senders.event_type import read_event_type
from clawback.senders.presets import PRESETS
from clawback.senders.request import Headers, Request
from clawback.senders.signing import address, seal, sign
from clawback.senders.verifying import verify
from signers import PRIVATE_KEYS, SECRETS, URL

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
GITLAB_TYPES = {"push": "Push Hook", "merge_request": "Merge Request Hook"}


SIGNABLE = [
    name
    for name in samples.list_samples()
    if all(row.published is None for row in PRESETS[name.partition(".")[0]].rows)
]
"""Of the others only the sender can sign."""


def sent(name, delivery_id="abc"):
    """Build the request that a sample becomes."""
    sample = samples.find_sample(name)
    secrets = {Scheme.NONE: b"", **SECRETS, **PRIVATE_KEYS}
    secret = secrets.get(sample.scheme, senders.SECRET)
    body = samples.freshen(sample.scheme, sample.body, delivery_id, NOW)
    body = seal(sample.scheme, body, secret, now=NOW)
    url = address(sample.scheme, URL, secret)
    headers = sign(sample.scheme, body, secret, delivery_id=delivery_id, now=NOW, url=url)
    headers += samples.type_header(sample.scheme, sample.kind).items()
    headers.append(("Content-Type", PRESETS[sample.scheme].example_content_type))
    return sample, secret, Request(Headers(senders.raw(headers)), body, base=url)


@pytest.mark.parametrize("name", SIGNABLE)
def test_a_sample_is_verified_and_has_its_event_type(name):
    """As its own server would see it."""
    sample, secret, request = sent(name)
    known = SECRETS.get(sample.scheme, secret)
    expected = {Scheme.GITLAB: GITLAB_TYPES.get(sample.kind), Scheme.GENERIC: "", Scheme.NONE: ""}

    verify(request, sample.scheme, [known], NOW)
    assert read_event_type(request, sample.scheme, None) == expected.get(sample.scheme, sample.kind)


@pytest.mark.parametrize("scheme", [Scheme.STRIPE, Scheme.SLACK])
def test_each_sending_is_another_delivery(scheme):
    """Where the id is in the body, it is made anew; the rest stays."""
    first, second = (msgspec.json.decode(sent(str(scheme), each)[2].body) for each in ("abc", "def"))
    differing = {name for name in first if first[name] != second[name]}

    assert differing == ({"id"} if scheme == Scheme.STRIPE else {"event_id"})


@pytest.mark.parametrize("scheme", Scheme)
def test_every_scheme_has_a_sample(scheme):
    """Its name alone is one."""
    assert samples.find_sample(scheme).scheme == scheme


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("github.pull_request.openend", "near it are: github.pull_request.opened"),
        ("stripe.nothing", "near it are: stripe."),
        ("githup.push", "'githup' is no type of source; there are: github, gitlab"),
        ("", "is no type of source"),
        ("github.../../../README", "there is no sample"),
    ],
)
def test_an_unknown_name_is_answered_with_near_ones(name, message):
    """Also one that would lead out of the folder."""
    with pytest.raises(Rejected, match=message):
        samples.find_sample(name)
