"""
The page of senders, docs/senders.md, made from the table. Pure.

`python -m clawback.senders.page > docs/senders.md` writes it; a test holds the two together.
"""

from collections.abc import Iterator

from clawback.payloads.compact import PATHS
from clawback.senders.handshakes import describe_handshake
from clawback.senders.preset import Places, Preset
from clawback.senders.presets import families
from clawback.senders.signatures import InBody, InHeader, Row, describe

COMPACT = frozenset({"github", *PATHS})

_HEAD = """# Senders

What a source's `type` (`verifierType` on the WebSocket) can be. Each is a row of the table in
[`senders/presets`](../src/clawback/senders/presets), from which this page is made. A sender that is not here is made of
`hmac`, `token`, `basic` or `query`: see [`source_create`](protocol.md#source_create).

`{url}` and `{secret}` are those of the source, `{verify}` is the verify token that is
shown when it is made. Where the sender makes the secret, create the source with it.
"""


def write_senders() -> str:
    """Write the page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _HEAD
    for title, presets in families():
        yield f"## {title}\n"
        for preset in presets:
            yield from _preset(preset)


def _preset(preset: Preset) -> Iterator[str]:
    yield f"### `{preset.name}`: {preset.title}\n"
    for number, step in enumerate(preset.steps, start=1):
        yield f"{number}. {step}"
    yield ""
    if preset.command:
        yield f"Or run: `{preset.command}`\n"
    for row in preset.rows:
        yield f"- Accepted: `{describe(row)}`{_about(row)}"
    if where := _where_type(preset.type):
        action = f", and `{preset.type.action}` behind a dot" if preset.type.action else ""
        example = f"; such as `{preset.example_type}`" if preset.example_type else ""
        yield f"- Event type: {where}{action}{example}"
    for handshake in preset.handshakes:
        yield f"- No event: {describe_handshake(handshake)}"
    if preset.name in COMPACT:
        yield "- `payload: compact` has what a reader needs: [parts of a payload](protocol.md#parts-of-a-payload)"
    if preset.source:
        yield f"- From: {preset.source}"
    if preset.rows or preset.source:
        yield ""


def _where_type(places: Places) -> str:
    said = [f"`{each}`" for each in (*([places.header] if places.header else []), *places.paths)]
    if places.keys:
        said.append(f"by the key that the body has: {', '.join(f'`{told}`' for told in places.keys.values())}")
    if places.always:
        said.append(f"always `{places.always}`" if not said else f"`{places.always}`")
    return ", else ".join(said)


def _about(row: Row) -> str:
    said = "" if row.signed == "{body}" or not row.signs else f" of `{row.signed}`"
    if row.clock is not None:
        said += f", within {row.clock.tolerance_s} s"
        if row.clock.late_s:
            said += f", and for {row.clock.late_s // 3600} h where the same bytes come again"
    match row.delivery:
        case InHeader(name):
            return f"{said}; delivery id in `{name}`"
        case InBody(path):
            return f"{said}; delivery id in `{path}` of the body"
    return said


if __name__ == "__main__":
    print(write_senders(), end="")  # noqa: T201 -- a page for a file
