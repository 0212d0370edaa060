"""The journal: acks on disk until they are confirmed, whoever dies."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.channel.journal import Journal, journal_directory, read_lines
from clawback.errors import Unavailable
from clawback.wire import MAX_SUMMARY_CHARACTERS, SettledAck


def ack(name: str) -> SettledAck:
    """Make an ack."""
    return SettledAck(name, f"summary of {name}")


def abandon(journal: Journal) -> None:
    """Let go of the journal as a kill does: the lock is gone, the file stays."""
    os.close(journal._file)
    journal._file = None


@pytest.fixture
def directory(tmp_path):
    """Where the journals of one server and tag lie; not made yet."""
    return tmp_path / "acks"


def test_the_next_process_finds_what_was_not_confirmed(directory):
    """Acks of a dead process are adopted once, without the confirmed ones, and its file is removed."""
    dead = Journal(directory, "dead")
    for name in ("a", "b", "c"):
        dead.write(ack(name))
    dead.confirm(["b"])
    abandon(dead)
    heir = Journal(directory, "heir")

    assert heir.adopt() == [ack("a"), ack("c")]
    assert heir.adopt() == []
    assert list(heir.unconfirmed) == ["a", "c"]
    assert [path.name for path in directory.iterdir()] == ["heir.jsonl"]


def test_an_adopted_ack_outlives_its_heir_too(directory):
    """What was adopted is on the heir's own disk file before the other is removed."""
    dead = Journal(directory, "1")
    dead.write(ack("a"))
    abandon(dead)
    heir = Journal(directory, "2")
    heir.adopt()
    abandon(heir)

    assert Journal(directory, "3").adopt() == [ack("a")]


def test_a_living_process_keeps_its_file(directory):
    """Two processes of one tag write side by side; neither takes the other's acks while it lives."""
    first, second = Journal(directory, "1"), Journal(directory, "2")
    first.write(ack("a"))
    second.write(ack("b"))

    assert first.adopt() == second.adopt() == []
    assert list(first.unconfirmed) == ["a"]
    abandon(second)
    assert first.adopt() == [ack("b")]


def test_written_means_on_the_disk(directory):
    """A process that is killed right after `write` returned has left its ack."""
    program = (
        "import os, pathlib, signal, sys\n"
        "from clawback.channel.journal import Journal\n"
        "from clawback.wire import SettledAck\n"
        "Journal(pathlib.Path(sys.argv[1]), 'killed').write(SettledAck('a', 'summary of a'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(directory)], check=False)

    assert Journal(directory, "heir").adopt() == [ack("a")]


@given(st.integers(0, 200))
def test_a_torn_last_line_is_passed(length):
    """Cut anywhere, a file gives the acks whose lines are whole, and never fails."""
    lines = b"".join(b'\n{"acked":{"eventId":"e%d","summary":"s"}}\n' % number for number in range(4))
    found = [kept.event_id for kept in read_lines(lines[:length])]

    assert found == [f"e{number}" for number in range(4)][: len(found)]
    assert len(found) >= length // 43 - 1


@given(st.binary(max_size=200))
def test_any_file_can_be_read(content):
    """Arbitrary bytes are no error."""
    read_lines(content)


def test_writing_goes_on_after_a_torn_line(directory):
    """What a full disk left in mid-line does not spoil the next line."""
    journal = Journal(directory, "1")
    journal.write(ack("a"))
    os.write(journal._file, b'{"acked":{"eventI')
    journal.write(ack("b"))
    abandon(journal)

    assert Journal(directory, "2").adopt() == [ack("a"), ack("b")]


def test_an_unwritable_directory_keeps_acks_in_memory(tmp_path):
    """The ack is kept and the caller told, so that it is sent all the same."""
    (tmp_path / "file").touch()
    journal = Journal(tmp_path / "file" / "acks", "1")

    with pytest.raises(Unavailable, match="cannot be written"):
        journal.write(ack("a"))
    assert journal.unconfirmed == {"a": ack("a")}
    with pytest.raises(Unavailable):
        journal.adopt()


def test_files_are_private_and_do_not_pile_up(directory):
    """Mode 0600 in a 0700 directory; nothing is left of a process that left nothing unconfirmed."""
    journal = Journal(directory, "1")
    journal.write(ack("a"))

    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "1.jsonl").stat().st_mode & 0o777 == 0o600
    journal.confirm(["a"])
    assert (directory / "1.jsonl").stat().st_size == 0
    journal.close()
    assert list(directory.iterdir()) == []


def test_each_server_and_tag_has_a_directory(tmp_path):
    """An ack is offered only where its event came from; any tag makes a safe name."""
    places = {
        journal_directory(tmp_path, remote, tag)
        for remote in ("wss://a/ws", "wss://b/ws")
        for tag in (None, "x", "../../etc", "a\0b")
    }

    assert len(places) == 8
    assert {place.parent for place in places} == {tmp_path / "acks"}


def test_a_long_summary_of_an_older_version_is_cut_when_it_is_read(directory):
    """It would make a frame that no server reads, and the session would never connect again."""
    directory.mkdir()
    line = json.dumps({"acked": {"eventId": "a", "summary": "x" * 300_000}})
    (directory / "dead.jsonl").write_text(f"\n{line}\n")
    (adopted,) = Journal(directory, "heir").adopt()

    assert len(adopted.summary) == MAX_SUMMARY_CHARACTERS
    assert adopted.summary.endswith("x…")
