"""What a browser keeps for us: it opens for its purpose and under its key, and nothing else does."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from clawback.accounts.keyring import key_id
from clawback.accounts.vault import Vault
from clawback.web.seal import Sealer

OLD, NEW = bytes(32), bytes(range(32))


class Note(Struct, frozen=True):
    """What the tests seal."""

    text: str


class Number(Struct, frozen=True):
    """What another version would."""

    number: int


def ring(*keys):
    """A vault of keys, of which the last seals."""
    return Vault({key_id(key): key for key in keys}, key_id(keys[-1]))


SEALER = Sealer(ring(NEW), "visit")
SEALED = SEALER.seal(Note("planted secret"))


def test_what_was_sealed_opens():
    """And says nothing on its face; twice the same is sealed twice differently."""
    assert SEALER.open(SEALED, Note) == Note("planted secret")
    assert b"planted" not in base64.urlsafe_b64decode(SEALED.partition(".")[2] + "==")
    assert SEALER.seal(Note("planted secret")) != SEALED


@pytest.mark.parametrize("position", range(len(SEALED)))
def test_a_changed_character_does_not_open(position):
    """Wherever it is: key id, nonce, ciphertext or tag."""
    other = "1" if SEALED[position] != "1" else "2"
    changed = SEALED[:position] + other + SEALED[position + 1 :]

    # The last character holds bits that are no part of any byte: only what decodes to the same may open.
    opened = SEALER.open(changed, Note)
    assert opened is None or (position == len(SEALED) - 1 and opened == Note("planted secret"))


@given(st.text() | st.from_regex(r"[0-9a-f]{8}\.[A-Za-z0-9_-]{0,80}", fullmatch=True))
def test_no_text_of_a_strangers_opens(text):
    """It is none of ours, and no error either."""
    assert SEALER.open(text, Note) is None


def test_one_purpose_does_not_open_anothers():
    """A cookie that a login is under way with is no visit."""
    assert Sealer(ring(NEW), "login").open(SEALED, Note) is None


def test_another_master_key_does_not_open_it():
    """Nor does the same key id."""
    assert Sealer(ring(OLD), "visit").open(SEALED, Note) is None


def test_an_old_key_opens_what_it_sealed_while_it_is_in_the_ring():
    """So a change of keys logs nobody out at once."""
    sealed = Sealer(ring(OLD), "visit").seal(Note("a"))

    assert Sealer(ring(OLD, NEW), "visit").open(sealed, Note) == Note("a")
    assert Sealer(ring(NEW), "visit").open(sealed, Note) is None


def test_what_another_version_sealed_counts_as_nothing():
    """A cookie in an older shape asks for a new login, and is no bug."""
    assert SEALER.open(SEALER.seal(Number(1)), Note) is None
