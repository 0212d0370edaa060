"""The ring of master keys: how it is written, read again, and changed by one program at a time."""

import base64
import stat

import pytest

from clawback.accounts.keyring import MAX_KEYS, KeyFile, key_id, parse_ring
from clawback.accounts.vault import Vault, load_vault
from clawback.errors import ConfigError, Rejected, SecretUnreadable

KEYS = [bytes([number]) * 32 for number in range(MAX_KEYS + 1)]
TEXTS = [base64.b64encode(key).decode() for key in KEYS]
IDS = [key_id(key) for key in KEYS]


@pytest.mark.parametrize("between", [",", "\n", " , ", ",\n", "\n\n"])
def test_several_keys_stand_with_commas_or_line_ends_between(between):
    """The first one seals."""
    ring = parse_ring(TEXTS[1] + between + TEXTS[0] + "\n")

    assert list(ring.keys) == [IDS[1], IDS[0]]
    assert ring.current == IDS[1]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "base64 of 0 bytes"),
        (",", "1 characters that are not base64"),
        (f"{TEXTS[0]},hunter2!", "8 characters that are not base64 as key 2 of 2"),
        (f"{TEXTS[0]}\nc2hvcnQ=", "base64 of 5 bytes as key 2 of 2"),
        (f"{TEXTS[0]},{TEXTS[1]},{TEXTS[0]}", "key 3 of 3 a second time"),
        (",".join(TEXTS), f"{MAX_KEYS + 1} keys, and {MAX_KEYS} are the most"),
    ],
)
def test_a_wrong_ring_is_refused_without_being_shown(tmp_path, text, found):
    """Which of the keys it is, what was found, and never the value; alike in a setting and in the file."""
    with pytest.raises(ValueError, match=f"^{found}$"):
        parse_ring(text)
    with pytest.raises(ConfigError) as refused:
        load_vault(text, tmp_path)

    assert str(refused.value) == f"master_key: read {found}; accepted is base64 of 32 bytes"


def test_a_ring_shows_no_key():
    """Its text, which may get into a log, has ids alone."""
    assert repr(parse_ring(f"{TEXTS[0]},{TEXTS[1]}")) == f"KeyRing({IDS[0]}, {IDS[1]})"


def test_a_key_is_put_first_and_another_removed(tmp_path):
    """The file is private, whole, and has one key to a line; nothing is left beside it but the lock."""
    file = KeyFile(tmp_path)
    (first,) = file.read().keys
    with file.locked():
        file.put_first(KEYS[1])
        both = list(file.read().keys)
        file.remove(first)

    assert both == [IDS[1], first]
    assert file.path.read_text() == TEXTS[1] + "\n"
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"master.key", "master.key.lock"}


def test_a_full_ring_takes_no_further_key(tmp_path):
    """The sentence says which ones to remove; the file is as it was."""
    file = KeyFile(tmp_path)
    (tmp_path / "master.key").write_text("\n".join(TEXTS[:MAX_KEYS]))
    (tmp_path / "master.key").chmod(0o600)
    with pytest.raises(Rejected, match="holds 16 keys, which is the most: remove those"):
        file.put_first(KEYS[MAX_KEYS])

    assert list(file.read().keys) == IDS[:MAX_KEYS]


def test_two_programs_do_not_write_at_once(tmp_path):
    """The second is told to wait; of two new keys none is lost."""
    with (
        KeyFile(tmp_path).locked(),
        pytest.raises(ConfigError, match="another `clawback keys` is changing"),
        KeyFile(tmp_path).locked(),
    ):
        raise AssertionError("two hold the lock")
    with KeyFile(tmp_path).locked():
        KeyFile(tmp_path).put_first(KEYS[1])


def test_a_server_opens_what_a_new_key_sealed_as_soon_as_it_is_in_the_file(tmp_path):
    """It reads the file again when it meets an id that it does not know, and before it seals, and not otherwise."""
    server, other = load_vault(None, tmp_path), load_vault(None, tmp_path)
    old = server.seal(b"s", profile_id="p", source_id="a")
    KeyFile(tmp_path).put_first(KEYS[1])
    rotating = load_vault(None, tmp_path)
    new = rotating.seal(b"s", profile_id="p", source_id="a")

    assert new.key_id == IDS[1] != old.key_id
    assert server.current == old.key_id
    assert server.open(new, profile_id="p", source_id="a") == b"s"
    assert server.open(old, profile_id="p", source_id="a") == b"s"
    assert other.seal(b"s", profile_id="p", source_id="a").key_id == IDS[1]
    assert other.derive_key(IDS[1], "purpose") == rotating.derive_key(IDS[1], "purpose")


@pytest.mark.parametrize("damage", ["gone", "open to others", "junk"])
def test_a_server_keeps_its_keys_when_the_file_is_spoilt(tmp_path, caplog, damage):
    """It says so in the log, without a key, and makes no new file in place of one that is gone."""
    server = load_vault(None, tmp_path)
    path = tmp_path / "master.key"
    sealed = Vault({IDS[1]: KEYS[1]}, IDS[1]).seal(b"s", profile_id="p", source_id="a")
    if damage == "gone":
        path.unlink()
    elif damage == "junk":
        path.write_text("hunter2")
    else:
        path.write_text(path.read_text() + TEXTS[1])
        path.chmod(0o644)
    with pytest.raises(SecretUnreadable, match=IDS[1]):
        server.open(sealed, profile_id="p", source_id="a")
    again = server.seal(b"s", profile_id="p", source_id="a")

    assert server.open(again, profile_id="p", source_id="a") == b"s"
    assert "the keys stay as they are: " in caplog.text
    assert "hunter2" not in caplog.text
    assert path.exists() is (damage != "gone")
