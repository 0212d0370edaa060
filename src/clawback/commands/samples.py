"""
The sample webhooks of `clawback trigger`: found by name, and made fresh for each sending.

A name is a scheme and, after a dot, an event type: `github.pull_request.opened`. The scheme alone is its first sample.
"""

import difflib
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any

import msgspec
from msgspec import Struct

from clawback.errors import Rejected
from clawback.model import Scheme, encode_json
from clawback.senders.event_type import type_places
from clawback.senders.presets import PRESETS
from clawback.senders.request import Headers, Request
from clawback.senders.signatures import InBody
from clawback.senders.signing import put

_FOLDER = files("clawback") / "samples"


class Sample(Struct, frozen=True):
    """One sample: its scheme, the event type in its file's name, and its body."""

    scheme: str
    kind: str
    body: bytes


def list_samples() -> list[str]:
    """Name all samples, scheme by scheme."""
    return [f"{scheme}.{kind}" for scheme in PRESETS for kind in _kinds(scheme)]


def find_sample(name: str) -> Sample:
    """
    Find a sample by its name.

    Raises:
        Rejected: there is none; names those that are near.
    """
    scheme, kind = parse_name(name)
    kinds = _kinds(scheme)
    if not kinds:
        raise Rejected(f"there is no sample of type {scheme}, which is no sender: give a body with --body")
    preset = PRESETS[scheme]
    kind = kind or (preset.example_type if preset.example_type in kinds else kinds[0])
    if kind not in kinds:
        near = difflib.get_close_matches(kind, kinds, n=3, cutoff=0.3) or kinds
        names = ", ".join(f"{scheme}.{each}" for each in near)
        raise Rejected(f"there is no sample {name!a}; near it are: {names}. `clawback trigger --list` names them all")
    if preset.example:
        return Sample(scheme, kind, preset.example.encode())
    return Sample(scheme, kind, (_FOLDER / scheme / f"{_file_name(kind)}.json").read_bytes())


def parse_name(name: str) -> tuple[str, str]:
    """
    Part a name into its scheme and event type, which may be empty.

    Raises:
        Rejected: there is no such scheme.
    """
    word, _, kind = name.partition(".")
    if word not in PRESETS:
        raise Rejected(f"{word[:80]!a} is no type of source; there are: {', '.join(PRESETS)}")
    return word, kind


def freshen(scheme: str, body: bytes, delivery_id: str, now: datetime) -> bytes:
    """
    Make anew what must differ each time and stands in the body: the id by which a repeat is told, and signed times.

    Where nothing else would differ, a field of the sample's own does. A form is left as it is.
    """
    seconds = int(now.timestamp())
    match scheme:
        case Scheme.STRIPE:
            return _with(body, id=f"evt_{delivery_id}", created=seconds)
        case Scheme.SLACK:
            return _with(body, event_id=f"Ev{delivery_id}", event_time=seconds)
        case Scheme.LINEAR:
            return _with(body, webhookTimestamp=int(now.timestamp() * 1000))
    rows = PRESETS[scheme].rows
    if not rows or PRESETS[scheme].example_content_type != "application/json":
        return body
    whole = msgspec.json.decode(body)
    match rows[0].delivery:
        case InBody(path):
            # A number stays one: Telegram counts its updates.
            known = Request(Headers([]), body).text_at(path) or ""
            put(whole, path, int(now.timestamp() * 1000) if known.isdigit() else delivery_id)
        case None if rows[0].clock is None and isinstance(whole, dict):
            # Nothing else tells one from the next.
            whole["sample"] = delivery_id
    return encode_json(whole)


def type_header(scheme: str, kind: str, name: str | None = None) -> dict[str, str]:
    """
    Build the header that carries an event type, where the scheme has one, or the source asks for the header `name`.

    What stands in the body is the body's: a GitHub `action`, or the whole type of Stripe's.
    """
    if name is not None:
        return {name: kind}
    match scheme:
        case Scheme.GITHUB:
            return {"X-GitHub-Event": kind.partition(".")[0]}
        case Scheme.LINEAR:
            return {"Linear-Event": kind.partition(".")[0]}
        case Scheme.GITLAB:
            return {"X-Gitlab-Event": f"{kind.replace('_', ' ').title()} Hook"}
    places = type_places(scheme)
    if places.header is None:
        return {}
    return {places.header: kind.partition(".")[0] if places.action else kind}


def _kinds(scheme: str) -> Sequence[str]:
    if PRESETS[scheme].example:
        return [PRESETS[scheme].example_type or "sample"]
    if not (_FOLDER / scheme).is_dir():
        return []
    names = sorted(entry.name.removesuffix(".json") for entry in (_FOLDER / scheme).iterdir())
    return [name.replace("-", "/") for name in names]


def _file_name(kind: str) -> str:
    return kind.replace("/", "-")


def _with(body: bytes, **fields: Any) -> bytes:  # noqa: ANN401 -- JSON
    return encode_json(msgspec.json.decode(body, type=dict[str, Any]) | fields)
