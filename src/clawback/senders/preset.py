"""
A preset: everything that is known of one sender, as a row of data. Pure.

The rows are in senders/presets/, a file for each family. Adding a sender is one row there and one line in the changes:
`docs/senders.md`, `clawback trigger`, the API and every test take it from the table.
"""

from msgspec import Struct

from clawback.senders.signatures import Row


class Places(Struct, frozen=True):
    """Where an event type stands: the header first, then each path; `action` is appended to what was found."""

    header: str | None = None
    paths: tuple[str, ...] = ()
    action: str | None = None


class Preset(Struct, frozen=True, kw_only=True):
    """
    One sender.

    Fields:
        name: what a source's `type` is.
        title: what people call the sender.
        rows: the ways in which its requests prove who they are from; none: they prove nothing.
        type: where its event types stand.
        source: where these facts are from: a page of the sender's, or its own code.
        shows_secret: whether the sender makes the secret and shows it. Such a one takes none of ours.
        key_secret: whether the secret has to be base64 with `whsec_` in front, as Standard Webhooks has it.
        steps: what a person does at the sender, line by line; `{url}` and `{secret}` stand for the source's.
        example_type: an event type that it sends.
        example: a body of that type, as it would send it; JSON.
        patience_s: how long NATS is tried before a 503, which follows from how long the sender waits.
        answer: the status of success where the sender takes 202 for a failure.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    type: Places = Places()
    source: str = ""
    shows_secret: bool = False
    key_secret: bool = False
    steps: tuple[str, ...] = ()
    example_type: str = ""
    example: str = ""
    patience_s: float = 4.0
    answer: int = 202
