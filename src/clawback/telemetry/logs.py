"""
The server's log: one line for each record, on stderr, readable and parseable.

    2026-11-23T15:04:05.678Z INFO clawback.webhooks accepted action="webhook" source="src_…" duration_ms=3

What came with a record (`extra`) follows its text as `name=value`, values as JSON. Senders and sessions choose some of
those, and some texts: whatever could move the cursor or forge a line is written as an escape.
"""

import json
import logging
import sys
import unicodedata
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from json.encoder import encode_basestring

# Made once: json.dumps with options makes an encoder for every value, which was a tenth of a webhook's CPU time.
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode

_PLAIN_NUMBERS = (int, float)
"""Of which Python writes what JSON does, in a tenth of the time. Not bool, so by the exact type."""

_OWN_FIELDS = len(vars(logging.makeLogRecord({})))
"""How many fields a record begins with, before those that came with it."""

_ADDED = frozenset({"message", "asctime", "taskName", "color_message"})
"""Fields that formatters, newer Pythons or uvicorn put on a record afterwards."""


class OneLine(logging.Formatter):
    """Writes a record as one line; a traceback follows, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        seconds, thousandths = divmod(round(record.created * 1000), 1000)
        when = f"{_second(seconds)}.{thousandths:03}Z"
        extra = islice(vars(record).items(), _OWN_FIELDS, None)
        fields = [f"{name}={_json(value)}" for name, value in extra if name not in _ADDED]
        line = _plain(" ".join([when, record.levelname, record.name, record.getMessage(), *fields]))
        if record.exc_info:
            trace = self.formatException(record.exc_info).split("\n")
            line = "\n".join([line, *(f"    {_plain(each)}" for each in trace)])
        return line


def configure() -> None:
    """Log to stderr from INFO up; libraries from WARNING up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    # What no line shows is not collected. The names are those of "Optimization" in Python's logging HOWTO.
    logging._srcfile = None  # noqa: SLF001 -- documented there
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("clawback").setLevel(logging.INFO)


@lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    """Write a second; most lines come within the same one as the line before."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")


def _json(value: object) -> str:
    if type(value) is str:
        return encode_basestring(value)
    return repr(value) if type(value) in _PLAIN_NUMBERS else _encode(value)


def _plain(text: str) -> str:
    """Escape control and format characters (Cc, Cf, Zl, Zp, Cs): a line feed forges a line, U+202E hides one."""
    if text.isprintable():
        return text
    return "".join(
        character if unicodedata.category(character) not in ("Cc", "Cf", "Zl", "Zp", "Cs") else ascii(character)[1:-1]
        for character in text
    )
