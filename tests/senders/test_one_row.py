"""Adding a sender is one row, with its sample in it, and one line in the changes: nothing else knows a sender."""

import re
from pathlib import Path

import pytest

import clawback
import senders
from clawback.commands import samples
from clawback.errors import BadSignature
from clawback.operations import source_rules
from clawback.senders.event_type import read_event_type
from clawback.senders.page import write_senders
from clawback.senders.preset import Places, Preset
from clawback.senders.presets import PRESETS, content
from clawback.senders.request import Headers, Request
from clawback.senders.signatures import Clock, InBody, InHeader, header
from clawback.senders.signing import seal, sign
from clawback.senders.verifying import verify
from senders import NOW
from signers import COMMON, SECRETS, SIGNERS, URL, by_table

SRC = Path(clawback.__file__).parent
SHOWN = "typeform"

NEW = Preset(
    name="acme-bell",
    title="Acme Bell",
    rows=(
        header(
            "X-Bell-Signature",
            prefix=b"v2=",
            encoding="base64",
            signed="{timestamp}/{body}",
            clock=Clock(InHeader("X-Bell-Time"), unit="ms", tolerance_s=120),
            delivery=InBody("ring.id"),
        ),
    ),
    type=Places(paths=("ring.kind",), action="ring.phase"),
    source="bell.example/docs",
    steps=("Open Settings, Bells.", "Enter the URL {url} and the secret {secret}."),
    example_type="door.opened",
    example='{"ring":{"id":"r1","kind":"door","phase":"opened"}}',
)


@pytest.fixture
def new(monkeypatch):
    """A sender that nobody has written about but in its row."""
    monkeypatch.setattr(content, "ROWS", (*content.ROWS, NEW))
    monkeypatch.setitem(PRESETS, NEW.name, NEW)
    return NEW.name


def test_a_row_is_all_that_a_sender_needs(new):
    """A source of it can be made, its requests are verified and named, and it is listed, described and tried out."""
    assert source_rules.check_scheme(new) == new
    secret = source_rules.choose_secret(new, None, generate=True, random_bytes=lambda count: b"k" * count).encode()
    assert next(each for each in source_rules.list_types() if each["type"] == new)["title"] == "Acme Bell"
    assert "### `acme-bell`: Acme Bell" in write_senders()
    assert "within 120 s; delivery id in `ring.id` of the body" in write_senders()

    sample = samples.find_sample(new)
    body = seal(new, samples.freshen(new, sample.body, "abc", NOW), secret, now=NOW)
    fields = sign(new, body, secret, delivery_id="abc", now=NOW, url=URL)
    for headers in (dict(fields), by_table(NEW)(secret, body, NOW, "abc")):
        request = Request(Headers(senders.raw(list(headers.items()))), body)
        row = verify(request, new, [secret], NOW)
        assert read_event_type(request, new, None) == "door.opened"
        assert request.text_at(row.delivery.path) == "abc"
        with pytest.raises(BadSignature):
            verify(Request(request.headers, body + b" "), new, [secret], NOW)


def test_the_row_that_contributors_are_shown_is_a_real_one():
    """CONTRIBUTING.md has it letter for letter, and no other file of the program knows its sender."""
    shown = re.search(r"```python\n(Preset\(.*?)```", (SRC.parents[1] / "CONTRIBUTING.md").read_text(), re.DOTALL)[1]
    row = "\n".join(f"    {line}" for line in shown.splitlines()) + ",\n"

    assert row in (SRC / "senders/presets/content.py").read_text()
    assert f'name="{SHOWN}"' in row
    knowing = [path.relative_to(SRC).as_posix() for path in SRC.rglob("*.py") if SHOWN in path.read_text().lower()]
    assert knowing == ["senders/presets/content.py"]
    assert SHOWN not in SIGNERS


@pytest.mark.parametrize("name", [name for name in COMMON if name in SIGNERS and name != "gitlab"])
def test_the_second_reader_of_the_table_signs_as_the_first_hand_does(name):
    """So a sender without a hand of its own is tried as hard as one with it."""
    secret = SECRETS.get(name, senders.SECRET)
    body = senders.linear_body(NOW) if name == "linear" else (PRESETS[name].example or "{}").encode()
    fields = by_table(PRESETS[name])(secret, body, NOW, "i1")
    request = Request(Headers(senders.raw(list(fields.items()))), body)

    assert verify(request, name, [secret], NOW) is not None
