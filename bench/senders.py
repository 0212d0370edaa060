"""
What a stranger can cost with one body of 25 MiB, against every row of every preset.

Each preset is sent bodies that are as large as may be and as awkward as JSON and forms can be, with a value in every
header that its rows look into. The slowest time and the largest memory of each preset count, in a process of their own:
memory is what the process had at its worst beyond what it had before. Making the body takes two copies of it, so it is
what a check needs beyond those.
"""

import json
import multiprocessing
import resource
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from bench.common import print_machine, print_table, scratch

from clawback.errors import BadPayload, BadSignature
from clawback.senders.event_type import read_event_type
from clawback.senders.presets import PRESETS
from clawback.senders.request import Headers, Request
from clawback.senders.signatures import InBody, InHeader, InNumbered
from clawback.senders.verifying import list_wanted_keys, verify

MAX_BYTES = 25 * 1024 * 1024
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECRETS = (b"a secret of the benches", b"user:password", b"00" * 32, b"whsec_c2VjcmV0", b"push@example.com")
NAMED = ("one long text", "ever the same name", "a form of one field")
"""Bodies that are named too, as those of a sender that could sign would be; the others are what strangers send."""

JSON, FORM = b"application/json", b"application/x-www-form-urlencoded"


def main() -> None:
    with scratch() as directory:
        print_machine(directory)
    context = multiprocessing.get_context("spawn")
    rows = []
    with context.Pool(1, maxtasksperchild=1) as pool:
        for name, (seconds, megabytes, worst) in zip(PRESETS, pool.imap(measure, PRESETS), strict=True):
            rows.append([name, f"{seconds:.2f}", f"{megabytes:.0f}", worst])
    rows.sort(key=lambda row: float(row[1]), reverse=True)
    print_table(
        f"The slowest of {len(rows)} presets, one body of 25 MiB", ["", "s", "MB beside it", "slowest with"], rows[:20]
    )
    slowest, most = (max(float(row[column]) for row in rows) for column in (1, 2))
    print(f"\nall of them: at most {slowest:.2f} s and {most:.0f} MB")


def measure(name: str) -> tuple[float, float, str]:
    """Check and name every body as a source of this preset would, and return the worst time, memory and body."""
    worst, slowest, most = "", 0.0, 0.0
    for kind, content_type, body in bodies(name):
        before = _peak_mb()
        started = time.perf_counter()
        request = Request(
            Headers(headers(name, content_type)), body, base="https://hooks.example.com", target="/webhooks/a/b"
        )
        _wanted(request, name)
        _verify(request, name)
        if kind in NAMED:
            _name(request, name)
        took = time.perf_counter() - started
        most = max(most, _peak_mb() - before)
        if took > slowest:
            worst, slowest = kind, took
    return slowest, most, worst


def _wanted(request: Request, name: str) -> None:
    list_wanted_keys(request, name, SECRETS)


def _verify(request: Request, name: str) -> None:
    try:
        verify(request, name, SECRETS, NOW)
    except BadSignature:
        return


def _name(request: Request, name: str) -> None:
    try:
        read_event_type(request, name, None)
    except BadPayload:
        return


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def headers(name: str, content_type: bytes) -> list[tuple[bytes, bytes]]:
    """Fill every header that the preset's rows look into."""
    names = ["Authorization"]
    for row in PRESETS[name].rows:
        for place in (row.place, row.delivery, row.clock and row.clock.place, *(place for place, _ in row.only)):
            if isinstance(place, InHeader):
                names.append(place.name)
            elif isinstance(place, InNumbered):
                names += [f"{place.name}{number}" for number in range(1, 101)]
    clock = next((row.clock for row in PRESETS[name].rows if row.clock is not None), None)
    time_header = clock.place.name.lower() if clock is not None and isinstance(clock.place, InHeader) else ""
    fields = [
        (each.lower().encode(), b"1795435200" if each.lower() == time_header else b"a") for each in dict.fromkeys(names)
    ]
    return [*fields, (b"content-type", content_type)]


def bodies(name: str) -> Iterator[tuple[str, bytes, bytes]]:
    """Make the bodies one after another, each with the paths that the rows look for where that can be."""
    paths = [row.place.path for row in PRESETS[name].rows if isinstance(row.place, InBody) and not row.each]
    each = next((row.each for row in PRESETS[name].rows if row.each), "items")
    known = json.dumps(_nested(paths))[1:-1].encode()
    known = known + b"," if known else b""
    for kind, start, piece, end in (
        ("one long text", b"{" + known + b'"a":"', b"x", b'"}'),
        ("one text full of escapes", b"{" + known + b'"a":"', b"\\ud83d", b'"}'),
        ("ever the same name", b"{" + known, b'"a":0,', b'"a":0}'),
        ("a wide list", b"[", b"0,", b"0]"),
        ("a wide list of items", b"{" + f'"{each}":['.encode(), b"{},", b"{}]}"),
        ("lists in lists", b"", b"[", b""),
        ("spaces", b"{" + known + b'"a":', b" ", b"0}"),
    ):
        yield kind, JSON, start + piece * ((MAX_BYTES - len(start) - len(end)) // len(piece)) + end
    yield "a form of one field", FORM, b"payload=" + b"%7B" * ((MAX_BYTES - 8) // 3)
    yield "a form of ampersands", FORM, b"&" * MAX_BYTES
    yield "no text", JSON, b"\xff" * MAX_BYTES


def _nested(paths: list[str]) -> dict[str, object]:
    whole: dict[str, object] = {}
    for path in paths:
        here = whole
        *steps, last = path.split(".")
        for step in steps:
            inner = here.setdefault(step, {})
            if not isinstance(inner, dict):
                break
            here = inner
        else:
            here.setdefault(last, "a")
    return whole


if __name__ == "__main__":
    main()
