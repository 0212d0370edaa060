"""
A preset: everything that is known of one sender, as a row of data. Pure.

The rows are in senders/presets/, a file for each family. Adding a sender is one row there and one line in the changes:
`docs/senders.md`, `clawback trigger`, the API and every test take it from the table.
"""

from collections.abc import Mapping

from msgspec import Struct

from clawback.senders.handshakes import Handshake
from clawback.senders.signatures import Row


class Places(Struct, frozen=True):
    """
    Where an event type stands: the header first, then each path; `action` is appended to what was found.

    `keys`: where neither has one, the first of these keys that the body's object has, and the type that it tells.
    `always`: what it is else.
    """

    header: str | None = None
    paths: tuple[str, ...] = ()
    action: str | None = None
    keys: Mapping[str, str] = {}
    always: str = ""


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
        steps: what a person does at the sender, line by line; `{url}`, `{secret}` and `{verify}`, the verify
            token that is made from it, stand for the source's.
        example_type: an event type that it sends.
        example: a body of that type, as it would send it: JSON, or a form.
        command: a command that does the same as the steps, with `{url}`, `{secret}` and words in capitals to replace.
        answers_within_s: how long the sender waits for its answer.
        answer: the status of success where the sender takes 202 for a failure.
        empty: whether the sender acts on what an answer says, so that it is to say nothing.
        handshakes: what it asks before it sends events, and how it says that it is there.
        dated: whether each body has its time or an id of its own, though none that names the delivery: so the same
            bytes are one delivery that comes again.
        redact: paths of the body where secrets are, which are taken out before it is stored.
        items: the path of the list, where one body has several happenings; "" where the body is the list.
        signs_form_field: whether a form may be signed by the JSON that it carries, instead of as a whole.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    type: Places = Places()
    source: str = ""
    shows_secret: bool = False
    key_secret: bool = False
    steps: tuple[str, ...] = ()
    command: str = ""
    example_type: str = ""
    example: str = ""
    answers_within_s: float = 5.0
    answer: int = 202
    empty: bool = False
    handshakes: tuple[Handshake, ...] = ()
    dated: bool = False
    redact: tuple[str, ...] = ()
    items: str | None = None
    signs_form_field: bool = False

    @property
    def example_content_type(self) -> str:
        """What the example is sent as: a form where it is no JSON."""
        return "application/json" if self.example[:1] in ("{", "[", "") else "application/x-www-form-urlencoded"

    @property
    def patience_s(self) -> float:
        """How long NATS is tried before a 503, which the sender is to hear before it gives up."""
        return min(0.8 * self.answers_within_s, self.answers_within_s - 0.4)
