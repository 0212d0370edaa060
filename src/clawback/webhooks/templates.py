"""
Templates: text with fields of an event in it, `Review {pull_request.title|issue.title}`. Pure.

A field is a dotted path into the body. Alternatives stand between `|`; the first that leads to a text, a number or a
boolean counts. `{{` and `}}` are braces.
"""

import re
from collections.abc import Callable
from functools import lru_cache

from msgspec import Struct

from clawback.errors import Rejected
from clawback.payloads.paths import parse_path
from clawback.senders.request import MAX_PATH_DEPTH

MAX_PATHS = 20
"""Of one template, in all of its fields. Each is a walk into the body."""

MAX_VALUE_CHARACTERS = 400
"""Of a value that an order names; twenty of them stand in the header of an event. The payload has all of it."""

MAX_QUOTED = 80

_CACHED = 1024
"""Parsed orders kept in memory: more than the routes that are in use at one time."""

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")

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


def _quoted(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= MAX_QUOTED else f"{shown[:MAX_QUOTED]}…"
