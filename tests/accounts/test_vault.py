"""Sealing and opening secrets, and where the key comes from."""

import base64
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.accounts.keyring import key_id, parse_key
from clawback.accounts.vault import Vault, load_vault
from clawback.errors import ConfigError, SecretUnreadable
from clawback.model import Sealed

KEY = bytes(range(32))
OTHER_KEY = bytes(32)
VAULT = Vault({key_id(KEY): KEY}, key_id(KEY))


@given(secret=st.binary(), profile_id=st.text("abc234"), source_id=st.text("abc234_"))
def test_what_was_sealed_opens_again(secret, profile_id, source_id):
    """Any secret comes back byte for byte for the profile and source it was sealed for."""
    sealed = VAULT.seal(secret, profile_id=profile_id, source_id=source_id)

    assert VAULT.open(sealed, profile_id=profile_id, source_id=source_id) == secret


@pytest.mark.parametrize(("profile_id", "source_id"), [("p", "src_b"), ("q", "src_a"), ("ps", "rc_a"), ("", "psrc_a")])
def test_a_row_moved_to_another_source_does_not_open(profile_id, source_id):
    """The ciphertext is bound to its profile and source."""
    sealed = VAULT.seal(b"planted-secret", profile_id="p", source_id="src_a")

    with pytest.raises(SecretUnreadable, match=f"source {source_id} does not open with its key {key_id(KEY)}"):
        VAULT.open(sealed, profile_id=profile_id, source_id=source_id)


@given(position=st.integers(0, 12 + len(b"planted-secret") + 16 - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_does_not_open(position, bit):
    """Nonce, ciphertext and tag are all authenticated."""
    sealed = VAULT.seal(b"planted-secret", profile_id="p", source_id="src_a")
    row = bytearray(sealed.nonce + sealed.ciphertext)
    row[position] ^= 1 << bit

    with pytest.raises(SecretUnreadable):
        VAULT.open(Sealed(sealed.key_id, bytes(row[:12]), bytes(row[12:])), profile_id="p", source_id="src_a")


@pytest.mark.parametrize(
    ("nonce", "ciphertext"), [(b"", b""), (b"short", b"x" * 32), (b"n" * 12, b""), (b"n" * 200, b"x")]
)
def test_a_row_of_junk_is_unreadable_and_nothing_worse(nonce, ciphertext):
    """Lengths that AES-GCM cannot take end in the same error."""
    with pytest.raises(SecretUnreadable):
        VAULT.open(Sealed(key_id(KEY), nonce, ciphertext), profile_id="p", source_id="src_a")


def test_the_key_ring_opens_old_seals_and_makes_new_ones():
    """A ring of two opens what either sealed; without the old key the error names it."""
    old = Vault({key_id(OTHER_KEY): OTHER_KEY}, key_id(OTHER_KEY))
    ring = Vault({key_id(KEY): KEY, key_id(OTHER_KEY): OTHER_KEY}, key_id(KEY))
    sealed = old.seal(b"s", profile_id="p", source_id="src_a")

    assert ring.open(sealed, profile_id="p", source_id="src_a") == b"s"
    assert ring.seal(b"s", profile_id="p", source_id="src_a").key_id == key_id(KEY)
    with pytest.raises(SecretUnreadable, match=f"source src_a was sealed with key {key_id(OTHER_KEY)}"):
        VAULT.open(sealed, profile_id="p", source_id="src_a")


def test_a_row_relabelled_with_another_key_of_the_ring_does_not_open():
    """The key id is authenticated too, even where both names lead to the same key."""
    ring = Vault({"aaaaaaaa": KEY, "bbbbbbbb": KEY}, "aaaaaaaa")
    sealed = ring.seal(b"s", profile_id="p", source_id="src_a")

    with pytest.raises(SecretUnreadable):
        ring.open(Sealed("bbbbbbbb", sealed.nonce, sealed.ciphertext), profile_id="p", source_id="src_a")


def test_two_seals_of_one_secret_differ():
    """Every seal takes a fresh nonce."""
    seals = {VAULT.seal(b"s", profile_id="p", source_id="src_a").nonce for _ in range(100)}

    assert len(seals) == 100


def test_the_first_start_makes_a_key_that_the_second_finds(tmp_path):
    """Without a setting the key is made once, for its owner's eyes only."""
    first = load_vault(None, tmp_path / "new")
    second = load_vault(None, tmp_path / "new")
    path = tmp_path / "new" / "master.key"

    assert first.current == second.current
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(base64.b64decode(path.read_text())) == 32
    assert list(path.parent.iterdir()) == [path]


def test_a_key_file_that_others_may_read_stops_the_start(tmp_path):
    """The error names the file, its mode and the command that mends it."""
    load_vault(None, tmp_path)
    (tmp_path / "master.key").chmod(0o640)

    with pytest.raises(ConfigError, match=r"master_key: .*master\.key has mode 0640.* chmod 600 "):
        load_vault(None, tmp_path)


def test_the_given_key_goes_before_the_file(tmp_path):
    """A key in the settings is used and no file is made."""
    vault = load_vault(base64.b64encode(KEY).decode(), tmp_path)

    assert vault.current == key_id(KEY)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("not base64 !", "12 characters that are not base64"),
        (base64.b64encode(b"x" * 31).decode(), "base64 of 31 bytes"),
        (base64.b64encode(b"x" * 33).decode(), "base64 of 33 bytes"),
        ("ключ", "4 characters that are not base64"),
    ],
)
def test_a_wrong_key_is_refused_without_being_shown(tmp_path, text, found):
    """The message says what shape was read and what is accepted, never the value."""
    with pytest.raises(ConfigError) as caught:
        load_vault(text, tmp_path)

    assert str(caught.value) == f"master_key: read {found}; accepted is base64 of 32 bytes"
    assert text not in str(caught.value)


def test_a_key_may_be_url_safe_base64():
    """Both alphabets of RFC 4648 are read, since generators differ."""
    key = b"\xfb\xff" * 16

    assert parse_key(base64.urlsafe_b64encode(key).decode()) == key
    assert parse_key(base64.b64encode(key).decode()) == key


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path):
    """The error says which file could not be made and why."""
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match=r"cannot make .*master\.key: "):
        load_vault(None, tmp_path / "file" / "data")


def test_a_damaged_key_file_is_named(tmp_path):
    """A truncated key file is an error about that file; it is never replaced."""
    path = tmp_path / "master.key"
    path.write_text("c2hvcnQ=\n")
    path.chmod(0o600)

    with pytest.raises(ConfigError, match=r"master\.key: read base64 of 5 bytes; accepted is base64 of 32 bytes"):
        load_vault(None, tmp_path)
    assert path.read_text() == "c2hvcnQ=\n"


def test_a_key_that_another_process_just_made_is_taken(tmp_path, monkeypatch):
    """Two first starts at once agree on one key: the loser reads the winner's."""
    ours = base64.b64encode(KEY).decode()
    monkeypatch.setattr(os, "urandom", lambda count: _win_the_race(tmp_path / "master.key", ours, count))
    vault = load_vault(None, tmp_path)

    assert vault.current == key_id(KEY)
    assert list(tmp_path.iterdir()) == [tmp_path / "master.key"]


def _win_the_race(path, text, count):
    path.write_text(text)
    path.chmod(0o600)
    return bytes(count)


def test_a_key_is_derived_for_each_purpose_and_from_each_key_of_the_ring():
    """None says anything about another; the same purpose has the same key on every server."""
    ring = Vault({key_id(KEY): KEY, key_id(OTHER_KEY): OTHER_KEY}, key_id(KEY))
    derived = [ring.derive_key(key_id(key), purpose) for key in (KEY, OTHER_KEY) for purpose in ("a", "b")]

    assert len({*derived, KEY, OTHER_KEY}) == 6
    assert all(len(key) == 32 for key in derived)
    assert Vault({key_id(KEY): KEY}, key_id(KEY)).derive_key(key_id(KEY), "a") == derived[0]
    assert ring.derive_key("00000000", "a") is None
