"""Reading and making files that hold a secret."""

import os
import re
import stat

import pytest

from clawback.errors import ConfigError
from clawback.system.private_files import create_private_file, read_private_file


@pytest.fixture
def secret_file(tmp_path):
    """Make a file of mode 0600 with a secret in it."""
    path = tmp_path / "secret"
    path.write_text("  planted\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_file_is_read_without_its_white_space(secret_file, mode):
    """What an editor appends is not part of the secret."""
    secret_file.chmod(mode)

    assert read_private_file(secret_file, setting="x") == "planted"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o660, 0o777])
def test_a_file_that_others_reach_is_refused(secret_file, mode):
    """Any right of group or world on one's own file stops the start, with the fix."""
    secret_file.chmod(mode)

    with pytest.raises(ConfigError, match=re.escape(f"x: {secret_file} has mode {mode:04o}")) as caught:
        read_private_file(secret_file, setting="x")
    assert f"chmod 600 {secret_file}" in str(caught.value)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize(("mode", "accepted"), [(0o440, True), (0o640, True), (0o660, False), (0o444, False)])
def test_a_file_of_another_owner_may_be_read_by_its_group(secret_file, monkeypatch, mode, accepted):
    """That is how Kubernetes mounts a secret for a process that is not root; the world stays locked out."""
    secret_file.chmod(mode)
    monkeypatch.setattr(os, "geteuid", lambda: secret_file.stat().st_uid + 1)

    if accepted:
        assert read_private_file(secret_file, setting="x") == "planted"
    else:
        with pytest.raises(ConfigError, match="has mode"):
            read_private_file(secret_file, setting="x")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b" \n", "is empty"), (b"\xff\xfe", "not UTF-8"), (b"x" * 65537, "larger than 65536 bytes")],
)
def test_a_file_without_a_usable_secret_is_refused(secret_file, content, message):
    """Empty, binary and huge files are named as what they are."""
    secret_file.write_bytes(content)

    with pytest.raises(ConfigError, match=message):
        read_private_file(secret_file, setting="x")


def test_what_is_no_file_is_named(tmp_path):
    """The error has the setting, the path and the reason."""
    with pytest.raises(ConfigError, match=r"^x: cannot read .*absent: No such file"):
        read_private_file(tmp_path / "absent", setting="x")
    with pytest.raises(ConfigError, match="Is a directory"):
        read_private_file(tmp_path, setting="x")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="not a regular file"):
        read_private_file(tmp_path / "pipe", setting="x")


def test_a_made_file_is_private_whatever_the_umask(tmp_path):
    """Mode 0600 from its first byte, and nothing else is left behind."""
    before = os.umask(0)
    try:
        made = create_private_file(tmp_path / "key", "text\n")
    finally:
        os.umask(before)

    assert made
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert (tmp_path / "key").read_text() == "text\n"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_an_existing_file_is_left_alone(tmp_path):
    """Another writer's file is never replaced."""
    (tmp_path / "key").write_text("first")

    assert not create_private_file(tmp_path / "key", "second")
    assert (tmp_path / "key").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
