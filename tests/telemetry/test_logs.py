"""The server's log lines."""

import json
import logging

import pytest

from clawback.telemetry.logs import OneLine


def written(message="accepted", extra=None, exc_info=None, arguments=()):
    """Write one record."""
    logger = logging.getLogger("clawback.test")
    record = logger.makeRecord(logger.name, logging.INFO, __file__, 1, message, arguments, exc_info, extra=extra)
    record.created = 1795446245.678
    return OneLine().format(record)


def test_a_record_is_one_line_with_its_fields():
    """Time in UTC, level, logger, text, then what came with it as name and JSON."""
    line = written("took %d ms", {"action": "webhook", "bytes": 3, "tag": None, "text": 'ü "q"'}, arguments=(7,))

    assert line == (
        '2026-11-23T15:04:05.678Z INFO clawback.test took 7 ms action="webhook" bytes=3 tag=null text="ü \\"q\\""'
    )


@pytest.mark.parametrize("nasty", ["a\nb", "a\r\nb", "\x1b[2J", "\x00", "\x85", "\u2028", "\u202e", "\ud800"])
def test_nothing_can_forge_a_line_or_move_the_cursor(nasty):
    """Neither in the text nor in a field: what senders chose is written as escapes."""
    line = written(f"seen {nasty}", {"title": nasty})

    assert line.isprintable()
    assert len(line.splitlines()) == 1


def test_a_field_can_be_read_back():
    """Even one with escapes in it is JSON."""
    line = written(extra={"title": "a\nb\u202ec"})

    assert json.loads(line.partition("title=")[2]) == "a\nb\u202ec"


def test_a_traceback_follows_indented():
    """No line of it can pass for a record of its own."""
    error = ValueError("line one\n2026-11-23T15:04:05.678Z INFO clawback forged")
    lines = written(exc_info=(ValueError, error, None)).split("\n")

    assert lines[0].endswith("accepted")
    assert "forged" in lines[-1]
    assert all(line.startswith("    ") for line in lines[1:])
