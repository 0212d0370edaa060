"""Every preset, held against a second hand that signs, and against the senders' published vectors."""

import base64
import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import senders
from clawback.errors import BadSignature, Rejected
from clawback.model import SignatureRule, TimestampRule
from clawback.operations.source_rules import check_signature
from clawback.senders.event_type import read_event_type
from clawback.senders.presets import PRESETS
from clawback.senders.request import Headers, Request
from clawback.senders.signatures import InBody, InHeader, InNumbered, InQuery, InSignature
from clawback.senders.signing import seal, sign
from clawback.senders.verifying import list_wanted_keys, verify
from senders import NOW
from signers import (
    COMMON,
    PRIVATE_KEYS,
    PUBLISHED,
    SEALERS,
    SECRETS,
    SIGNERS,
    TAMPERED,
    UNSIGNED,
    URL,
    b64,
    digest,
    rfc3339,
    signer_of,
)

ROWED = [name for name in PRESETS if name not in ("none", "query")]
VECTORS = json.loads((Path(__file__).parents[1] / "data" / "preset-vectors.json").read_text())["vectors"]


def secret_of(name):
    """Choose a secret for a preset."""
    return SECRETS.get(name, b"planted-secret")


def body_of(name, now=NOW):
    """Make a body that the preset's sender could send."""
    if name == "linear":
        return senders.linear_body(now, type="Issue", action="create")
    body = (PRESETS[name].example or '{"type":"a","id":"b","event_id":"c"}').encode()
    return SEALERS[name](secret_of(name), body, now) if name in SEALERS else body


def request_of(name, *, fields=None, body=None, now=NOW, target="/webhooks/abc/hub"):
    """Make a request that the preset's sender signed."""
    body = body_of(name, now) if body is None else body
    fields = signer_of(name)(secret_of(name), body, now, "msg_1") if fields is None else fields
    kind = PRESETS[name].example_content_type
    headers = Headers(senders.raw([*fields.items(), ("Content-Type", kind)]))
    request = Request(headers, body, base="https://hooks.example.com", target=target)
    return publish(request, name)


def publish(request, name):
    """Hand a request what its sender publishes, as the server does that has fetched it."""
    for wanted in list_wanted_keys(request, name, [secret_of(name)]):
        request.published = {wanted.name: PUBLISHED[wanted.url]}
    return request


@pytest.mark.parametrize("name", ROWED)
def test_what_the_sender_signs_passes(name):
    """Also while another secret is live; and the row has the delivery id where the sender puts it."""
    request = request_of(name)
    row = verify(request, name, [secret_of(name)], NOW)

    assert verify(request, name, [b"newer", secret_of(name)], NOW) == row
    match row.delivery:
        case InHeader(header):
            assert request.headers.get(header) in ("msg_1", None)
        case InBody(path):
            assert request.text_at(path)


@pytest.mark.parametrize("name", [name for name in ROWED if name not in UNSIGNED])
def test_a_changed_body_is_refused(name):
    """One character more."""
    request = request_of(name)
    headers, body = request.headers, TAMPERED.get(name, lambda body: body + b" ")(request.body)
    changed = Request(headers, body, base="https://hooks.example.com", target="/webhooks/abc/hub")
    with pytest.raises(BadSignature):
        verify(publish(changed, name), name, [secret_of(name)], NOW)


@pytest.mark.parametrize("name", ROWED)
def test_a_wrong_secret_and_none_are_refused(name):
    """Whatever they are."""
    request = request_of(name)
    wrong = (b"wrong:secret", b"whsec_d3Jvbmctc2VjcmV0LW9mLXRoaXJ0eQ==", b"00" * 32, b"")
    for secrets in (*([each] for each in wrong), [*wrong], []):
        with pytest.raises(BadSignature):
            verify(request, name, secrets, NOW)


@pytest.mark.parametrize("name", ROWED)
def test_each_header_counts_and_must_not_come_twice(name):
    """Without any that is signed, or with two of it, it is refused."""
    fields = signer_of(name)(secret_of(name), body_of(name), NOW, "msg_1")
    row = verify(request_of(name), name, [secret_of(name)], NOW)
    id_only = {row.delivery.name.lower()} if isinstance(row.delivery, InHeader) and "{id}" not in row.signed else set()
    for header in fields:
        if header.lower() in id_only or header in ("BOX-SIGNATURE-PRIMARY", "X-DocuSign-Signature-1"):
            continue
        without = {key: value for key, value in fields.items() if key != header}
        twice = senders.raw([*fields.items(), (header, fields[header])])
        for headers in (Headers(senders.raw(list(without.items()))), Headers(twice)):
            request = Request(headers, body_of(name), base="https://hooks.example.com", target="/webhooks/abc/hub")
            with pytest.raises(BadSignature):
                verify(publish(request, name), name, [secret_of(name)], NOW)


@pytest.mark.parametrize(
    "name", [name for name in ROWED if any(row.clock is not None for row in PRESETS[name].rows) and name != "gitlab"]
)
def test_a_stale_time_is_refused(name):
    """Both ways; at the edge it still counts."""
    clock = PRESETS[name].rows[0].clock
    for sign_of, tolerance in ((1, max(clock.tolerance_s, clock.late_s)), (-1, clock.tolerance_s)):
        verify(request_of(name), name, [secret_of(name)], NOW + timedelta(seconds=sign_of * (tolerance - 2)))
        with pytest.raises(BadSignature, match="out of time"):
            verify(request_of(name), name, [secret_of(name)], NOW + timedelta(seconds=sign_of * (tolerance + 2)))


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.example_type and preset.example])
def test_the_example_has_the_type_that_it_is_said_to_have(name):
    """In the body, or in the header that the sender sets."""
    preset = PRESETS[name]
    fields = {}
    if preset.type.header:
        kind, _, _ = preset.example_type.partition(".")
        fields = {preset.type.header: kind if preset.type.action else preset.example_type}
    fields["Content-Type"] = preset.example_content_type
    found = read_event_type(Request(Headers(senders.raw(list(fields.items()))), preset.example.encode()), name, None)

    assert found == preset.example_type


@pytest.mark.parametrize("name", ROWED)
def test_our_own_signing_is_what_the_sender_does(name):
    """`clawback trigger` signs rightly, or says that only the sender can."""
    body, secret = body_of(name), secret_of(name)
    if any(row.is_public for row in PRESETS[name].rows):
        with pytest.raises(Rejected, match="nobody but the sender"):
            sign(name, body, secret, delivery_id="1", now=NOW, url=URL)
        if name not in PRIVATE_KEYS:
            return
    private = PRIVATE_KEYS.get(name, secret)
    body = seal(name, (PRESETS[name].example.encode() if name in SEALERS else body), private, now=NOW)
    headers = sign(name, body, private, delivery_id="msg_1", now=NOW, url=URL)
    verify(request_of(name, fields=dict(headers), body=body), name, [secret], NOW)
    with pytest.raises(BadSignature):
        verify(request_of(name, fields=dict(headers), body=body), name, [private + b"0"], NOW)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['provider']}: {vector['name']}")
def test_published_vectors(vector):
    """What the senders themselves call valid and invalid."""
    name = {"slack-commands": "slack"}.get(vector["provider"], vector["provider"])
    now = NOW if vector["now"] is None else datetime.fromtimestamp(vector["now"], UTC)
    if (time := vector["headers"].get("BOX-DELIVERY-TIMESTAMP")) is not None:
        now = datetime.fromisoformat(time)
    fields = senders.raw(list(vector["headers"].items()))
    body, method = base64.b64decode(vector["body_b64"]), vector["method"]
    request = Request(Headers(fields), body, base=vector["url"] or "", method=method)
    if vector["verdict"] == "valid":
        assert verify(request, name, [vector["secret"].encode()], now)
    else:
        with pytest.raises(BadSignature):
            verify(request, name, [vector["secret"].encode()], now)


def places_of(name):
    """List where a preset's rows look: headers, names in the URL, paths of the body."""
    headers, queries, paths = [], ["token"], []
    for row in PRESETS[name].rows:
        clock = row.clock
        published = row.published
        for each in (row.place, row.delivery, clock and clock.place, *(place for place, _ in row.only)):
            match each:
                case InHeader(header):
                    headers.append(header)
                case InNumbered(header):
                    headers += [f"{header}1", f"{header}2"]
                case InQuery(query):
                    queries.append(query)
                case InBody(path):
                    paths.append(f"{row.each}.0.{row.item}.{path}".replace("..", ".") if row.each else path)
        headers += [each for each in (published and published.header, PRESETS[name].type.header) if each]
        paths += [published.path] if published and published.path else []
    return list(dict.fromkeys(headers)), queries, paths


def nested(paths, texts):
    """Write JSON that has texts at paths."""
    whole = {}
    for path, text in zip(paths, itertools.cycle(texts), strict=False):
        steps, here = path.split("."), whole
        for step, after in itertools.pairwise(steps):
            new = [{}] if after == "0" else {}
            here = here[0] if step == "0" else here.setdefault(step, new)
            if not isinstance(here, dict | list):
                break
        else:
            if isinstance(here, dict):
                here[steps[-1]] = text
    return json.dumps(whole).encode()


PREFIXES = ("", "Bearer ", "Basic ", "JWT ", "HMAC ", "sha256=", "v1=", "v0=", "v1,", "t=1795435200,v1=", "d=")


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(sorted(PRESETS)),
    values=st.lists(st.binary(max_size=40) | st.text("0123456789abcdef.=,-:TZ", max_size=40), min_size=6, max_size=6),
    prefix=st.sampled_from(PREFIXES),
    body=st.binary(max_size=60) | st.none(),
    texts=st.lists(st.text(max_size=20) | st.integers() | st.none() | st.lists(st.none()), min_size=3, max_size=3),
    kind=st.sampled_from(["application/json", "application/x-www-form-urlencoded", "text/plain", ""]),
    twice=st.booleans(),
)
def test_garbage_never_verifies_and_never_raises_anything_else(name, values, prefix, body, texts, kind, twice):
    """Arbitrary values in the very places that each row reads: headers, the URL, the body; alone or doubled."""
    headers, queries, paths = places_of(name)
    raw = [value if isinstance(value, bytes) else value.encode() for value in values]
    raw[0] = prefix.encode() + raw[0]
    fields = [(each.lower().encode(), value) for each, value in zip(headers, itertools.cycle(raw), strict=False)]
    fields += fields if twice else []
    fields.append((b"content-type", kind.encode()))
    body = nested(paths, texts) if body is None else body
    target = "/webhooks/abc/hub?" + "&".join(f"{each}={texts[0]}" for each in queries)
    request = Request(Headers(fields), body, base="https://hooks.example.com", target=target)
    if name == "none":
        return
    publish(request, name)
    with pytest.raises(BadSignature):
        verify(request, name, [secret_of(name)], NOW)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(ROWED), spot=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_bit_in_what_proves_a_request_is_a_refusal(name, spot, bit):
    """In any header that the sender sets, but for ids and keys of others that nothing signs."""
    fields = list(signer_of(name)(secret_of(name), body_of(name), NOW, "msg_1").items())
    row = verify(request_of(name), name, [secret_of(name)], NOW)
    counted = [
        index
        for index, (header, _) in enumerate(fields)
        if isinstance(row.place, InHeader | InNumbered) and header.lower().startswith(row.place.name.lower())
    ]
    if not counted:
        return
    index = counted[-1]
    header, value = fields[index]
    raw = bytearray(value.encode("latin-1"))
    raw[spot % len(raw)] ^= 1 << bit
    changed = bytes(raw)
    if changed.strip().lower() == value.encode("latin-1").lower():
        return
    headers = senders.raw([*fields[:index], *fields[index + 1 :]])
    headers += [(header.lower().encode(), changed), (b"content-type", PRESETS[name].example_content_type.encode())]
    request = Request(Headers(headers), body_of(name), base="https://hooks.example.com", target="/webhooks/abc/hub")
    publish(request, name)
    with pytest.raises(BadSignature):
        verify(request, name, [secret_of(name)], NOW)


def test_a_token_in_the_url():
    """Once, whole, decoded; and nothing else of the query counts."""

    def ask(target):
        return verify(request_of("query", fields={}, body=b"{}", target=target), "query", [b"s3cret/="], NOW)

    assert ask("/webhooks/abc/hub?token=s3cret%2F%3D")
    assert ask("/webhooks/abc/hub?a=b&token=s3cret%2f=")
    for target in (
        "/webhooks/abc/hub",
        "/h?token=",
        "/h?token=s3cret",
        "/h?token=s3cret/=&token=s3cret/=",
        "/h?Token=x",
    ):
        with pytest.raises(BadSignature):
            ask(target)


def test_an_unknown_type_verifies_nothing():
    """A newer server may have stored it."""
    with pytest.raises(BadSignature, match="newer server"):
        verify(request_of("github"), "of-next-year", [b"planted-secret"], NOW)


RULES = {
    "time in a header": (
        SignatureRule(signed="{timestamp}.{body}", prefix="", timestamp=TimestampRule(header="X-Time")),
        lambda body, time: {"X-Signature": digest(b"planted-secret", f"{time}.".encode() + body).hex(), "X-Time": time},
    ),
    "time in the signature": (
        SignatureRule(
            signed="{timestamp}:{body}",
            prefix="v1=",
            separator=";",
            timestamp=TimestampRule(field="t"),
            encoding="base64",
        ),
        lambda body, time: {
            "X-Signature": f"t={time};v1=b2xk;v1={b64(digest(b'planted-secret', f'{time}:'.encode() + body))}"
        },
    ),
    "capitals, and a prefix with a blank": (
        SignatureRule(prefix="HMAC ", algorithm="sha1"),
        lambda body, _: {"X-Signature": "HMAC " + digest(b"planted-secret", body, "sha1").hex().upper()},
    ),
    "the method, the path, a header and a field": (
        SignatureRule(signed="{method} {path}\u00b7{header:X-A}\u00b7{json:a.b}\u00b7{body}", prefix=""),
        lambda body, _: {
            "X-Signature": digest(
                b"planted-secret", "POST /webhooks/abc/hub\u00b7one\u00b72\u00b7".encode() + body
            ).hex(),
            "X-A": "one",
        },
    ),
    "a key in hex": (
        SignatureRule(prefix="", key="hex", encoding="base64url"),
        lambda body, _: {"X-Signature": base64.urlsafe_b64encode(digest(b"\x01\x02", body)).decode().rstrip("=")},
    ),
}


@pytest.mark.parametrize("case", RULES)
@pytest.mark.parametrize("kind", ["hmac", "generic"])
def test_a_source_describes_its_own_signature(case, kind):
    """So a sender without a preset needs no code; a changed body is refused, and so is an old time."""
    rule, signer = RULES[case]
    secret = b"0102" if rule.key == "hex" else b"planted-secret"
    body = b'{"a":{"b":2}}'
    fields = signer(body, str(int(NOW.timestamp())))
    assert check_signature(rule, kind) == rule

    assert verify(request_of("hmac", fields=fields, body=body), kind, [secret], NOW, rule)
    with pytest.raises(BadSignature):
        verify(request_of("hmac", fields=fields, body=body + b" "), kind, [secret], NOW, rule)
    if rule.timestamp is not None:
        with pytest.raises(BadSignature, match="out of time"):
            verify(request_of("hmac", fields=fields, body=body), kind, [secret], NOW + timedelta(seconds=301), rule)


@pytest.mark.parametrize(
    "rule",
    [
        SignatureRule(signed="{timestamp}"),
        SignatureRule(signed="{timestamp}.{body}"),
        SignatureRule(timestamp=TimestampRule(header="X-Time")),
        SignatureRule(signed="{id}.{body}"),
        SignatureRule(key="rot13"),
        SignatureRule(separator=", "),
        SignatureRule(signed="{timestamp}{body}", timestamp=TimestampRule()),
        SignatureRule(signed="{timestamp}{body}", timestamp=TimestampRule(field="t")),
        SignatureRule(signed="{timestamp}{body}", timestamp=TimestampRule(header="X-T", unit="h")),
        SignatureRule(signed="{timestamp}{body}", timestamp=TimestampRule(header="X-T", tolerance_seconds=10**6)),
    ],
)
def test_a_signature_that_could_never_be_checked_is_refused(rule):
    """Where its maker reads the reason."""
    with pytest.raises(Rejected, match="signature"):
        check_signature(rule, "hmac")


def test_a_time_in_words_is_read_once_and_signed_as_it_stands():
    """RFC 3339 with nanoseconds, an offset, or no such day."""
    rule = SignatureRule(
        signed="{timestamp}{body}", prefix="", timestamp=TimestampRule(header="X-Time", unit="rfc3339")
    )
    for time, passes in (
        (rfc3339(NOW), True),
        (NOW.isoformat(), True),
        ("2026-11-23T14:00:00+02:00", True),
        ("2026-11-23T12:00:00", False),
        ("2026-13-45T12:00:00Z", False),
    ):
        fields = {"X-Signature": digest(b"planted-secret", time.encode() + b"{}").hex(), "X-Time": time}
        request = request_of("hmac", fields=fields, body=b"{}")
        if passes:
            assert verify(request, "hmac", [b"planted-secret"], NOW, rule)
        else:
            with pytest.raises(BadSignature):
                verify(request, "hmac", [b"planted-secret"], NOW, rule)


def test_the_table_is_whole():
    """Each row has what people are shown, a signer beside it, and places that a header can have."""
    assert set(SIGNERS) <= set(ROWED)
    assert set(ROWED) <= set(SIGNERS) | set(COMMON)
    for name, preset in PRESETS.items():
        assert preset.steps, name
        assert "{url}" in " ".join(preset.steps), name
        assert preset.answer in (200, 202), name
        assert 0.5 <= preset.patience_s < preset.answers_within_s, name
        if preset.rows and name not in ("standard-webhooks", "token", "basic", "query"):
            assert preset.source, name
        for row in preset.rows:
            clock = row.clock
            times = "{timestamp}" in row.signed or "{signed_headers}" in row.signed
            assert times or clock is None or isinstance(clock.place, InBody), name
            assert not (clock and isinstance(clock.place, InSignature) and not row.separator), name
