"""
Templates: text with fields of an event in it, `pr-{repository.name}-{pull_request.number|issue.number}`. Pure.

A field is a dotted path into the body. Alternatives stand between `|`; the first that leads to a text, a number or a
boolean counts. `{{` and `}}` are braces.

A template that makes a session's tag begins with literal text. So the owner wrote the prefix of every tag it makes, and
no sender's text names a session by itself.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from msgspec import Struct

from clawback.errors import Rejected
from clawback.fabric.subjects import MAX_TAG_BYTES
from clawback.payloads.paths import parse_path
from clawback.senders.request import MAX_PATH_DEPTH

MAX_TEMPLATE_CHARACTERS = 500
MAX_PATHS = 20
"""Of one template, in all of its fields. Each is a walk into the body."""

HASH_CHARACTERS = 10
"""Of the hash that stands at the end of a tag that had to be cut: 40 bits, so that two long ones stay apart."""

MAX_VALUE_CHARACTERS = 400
"""Of a value that an order names; twenty of them stand in the header of an event. The payload has all of it."""

MAX_QUOTED = 80

_CACHED = 1024
"""Parsed orders kept in memory: more than the routes that are in use at one time."""

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")
_OTHER = re.compile(r"[^a-z0-9._:/@-]+")
"""What cannot stand in a rendered tag: everything but lower case letters, digits and the marks that a tag may have."""

Read = Callable[[str], str | None]
"""Reads one value of the event by its path: a text as it is, a number or boolean as it is written, else None."""


class Field(Struct, frozen=True):
    """One field: the paths that are tried, in their order."""

    paths: tuple[str, ...]

    @property
    def name(self) -> str:
        """The field as it is written between braces."""
        return "|".join(self.paths)

    def read(self, read: Read) -> str | None:
        """Return the first value that is there and not empty."""
        return next((value for path in self.paths if (value := read(path))), None)


class Template(Struct, frozen=True):
    """A text and fields in turn, as they were written."""

    text: str
    parts: tuple[str | Field, ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields, in their order."""
        return tuple(part for part in self.parts if isinstance(part, Field))


class Order(Struct, frozen=True):
    """An order with fields named in it: its text, and each field by its name."""

    text: str
    fields: dict[str, Field]

    def read(self, read: Read) -> dict[str, str | None]:
        """Read what the fields stand for, each cut: for the fence, never for the order. None is not there."""
        return {name: _cut(field.read(read)) for name, field in self.fields.items()}


class Rendered(Struct, frozen=True):
    """A tag, or why there is none."""

    tag: str | None
    reason: str | None = None


def parse_template(text: str, name: str) -> Template:
    """
    Read a template.

    Raises:
        Rejected: a brace is open, a field is no path, or there is too much of it. `name` says which setting it was.
    """
    parts: list[str | Field] = []
    for piece in _PIECE.finditer(text):
        found = piece[0]
        if piece[1] is not None:
            parts.append(_parse_field(piece[1], name))
        elif found in ("{", "}"):
            raise Rejected(
                f"{name} refused, read {_quoted(text)}: a {found} stands alone; a field is {{path.to.value}}, and"
                f" {found * 2} is the character itself"
            )
        else:
            literal = found[0] if found in ("{{", "}}") else found
            if parts and isinstance(parts[-1], str):
                parts[-1] += literal
            else:
                parts.append(literal)
    template = Template(text, tuple(parts))
    if (number := sum(len(field.paths) for field in template.fields)) > MAX_PATHS:
        raise Rejected(f"{name} names {number} fields: accepted are at most {MAX_PATHS}, with all alternatives")
    return template


def parse_tag_template(text: str, name: str = "session") -> Template:
    """
    Read a template that makes a tag.

    Raises:
        Rejected: it is no template, has no field, or does not begin with literal text that a tag may have.
    """
    if len(text) > MAX_TEMPLATE_CHARACTERS or not text.isprintable():
        raise Rejected(
            f"{name} refused, read {_quoted(text)}: accepted are at most {MAX_TEMPLATE_CHARACTERS} printable characters"
        )
    template = parse_template(text, name)
    first = template.parts[0] if template.parts else ""
    if not isinstance(first, str) or not _literal(first):
        raise Rejected(
            f"{name} refused, read {_quoted(text)}: it begins with text of your own, such as pr-{{number}}, so that no"
            " sender's text names a session by itself"
        )
    literals = "".join(part for part in template.parts if isinstance(part, str))
    if _OTHER.search(literals):
        raise Rejected(
            f"{name} refused, read {_quoted(text)}: its own text becomes part of a tag, which is made of lower case"
            " letters, digits and - _ . : / @"
        )
    if len(literals) > MAX_TAG_BYTES // 2:
        raise Rejected(f"{name} has {len(literals)} characters of its own: accepted are at most {MAX_TAG_BYTES // 2}")
    return template


def render_tag(template: Template, read: Read) -> Rendered:
    """
    Make the tag of one event, at most 64 bytes; a longer one is cut and ends with a hash of all of it.

    Letters become lower case and every other sign `-`. A field that leads nowhere makes no tag: the reason names it.
    """
    made, whole = "", ""
    for part in template.parts:
        if isinstance(part, str):
            made += part
            whole += part
            continue
        value = part.read(read)
        if value is None:
            return Rendered(None, f"the event has no {' or '.join(part.paths)}")
        cleaned = _clean(value)
        if not cleaned:
            return Rendered(None, f"{' or '.join(part.paths)} has no letter or digit that a tag may have")
        made += cleaned
        # What was cleaned away still tells two keys apart, so the hash is over the values as they came.
        whole += f"\0{value}\0"
    if len(made) > MAX_TAG_BYTES:
        digest = hashlib.blake2b(whole.encode(errors="replace"), digest_size=20).hexdigest()[:HASH_CHARACTERS]
        made = f"{made[: MAX_TAG_BYTES - HASH_CHARACTERS - 1].rstrip('-')}-{digest}"
    return Rendered(made)


@lru_cache(_CACHED)
def parse_order(text: str, name: str = "do") -> Order:
    """
    Read an order in which fields are named, `Review {pull_request.title}`; `{{` and `}}` are braces.

    The order keeps the names, and no value ever stands in it: values are a sender's text.

    Raises:
        Rejected: see `parse_template`.
    """
    template = parse_template(text, name)
    shown = "".join(part if isinstance(part, str) else f"{{{part.name}}}" for part in template.parts)
    return Order(shown, {field.name: field for field in template.fields})


def _cut(value: str | None) -> str | None:
    return value if value is None or len(value) <= MAX_VALUE_CHARACTERS else f"{value[:MAX_VALUE_CHARACTERS]}…"


def _parse_field(text: str, name: str) -> Field:
    paths = tuple(path.strip() for path in text.split("|"))
    if not all(paths) or any(path.count(".") >= MAX_PATH_DEPTH for path in paths):
        raise Rejected(
            f"{name} refused, read {_quoted('{' + text + '}')}: a field is a path such as {{pull_request.number}},"
            f" at most {MAX_PATH_DEPTH} deep, or several with | between"
        )
    for path in paths:
        parse_path(path)
    return Field(paths)


def _literal(text: str) -> str:
    return _clean(text).strip("-._:/@")


def _clean(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).casefold()
    kept = "".join(c for c in plain if not unicodedata.combining(c))
    return _OTHER.sub("-", kept).strip("-")


def _quoted(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= MAX_QUOTED else f"{shown[:MAX_QUOTED]}…"
