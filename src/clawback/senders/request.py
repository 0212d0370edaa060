r"""
A webhook request as the pure files read it: headers, the body's bytes, and single values out of its JSON. Pure.

The signature is verified over `body` as received. What is read out of it afterwards, by any part, goes through one
parser, so no two parts can disagree on what a body says:

  * msgspec, not the standard library's json: it refuses NaN, UTF-16 and trailing text, and it can step over what
    nobody asked for. A path is followed through `Raw` slices, so reading one field of 25 MiB takes 60 ms and never
    builds the tree, which takes 250 ms and many times the memory; of what is large not even the slices beside the path
    are made (`payloads/narrow.py`), as there may be millions. Numbers are never converted, so the length
    of one cannot hurt; nesting beyond Python's recursion limit is refused.
  * Of equal keys in an object the last one counts, as in JavaScript and Python (RFC 8259 section 4 leaves it open).
  * Half a surrogate pair (`"\ud83d"`, which a JavaScript sender makes by cutting a text) reads as U+FFFD: RFC 8259
    section 8.2 allows it, msgspec does not, and no event shall be refused for an emoji in its title.
  * A byte order mark is skipped, as RFC 8259 section 8.1 allows.

A form (`application/x-www-form-urlencoded`) is read as the JSON in its `payload` field, which is how GitHub and Slack
send one, or else as an object of its fields, and so is `multipart/form-data` (contents.py). The body that is verified
is never rewritten.
"""

import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from clawback.errors import BadPayload, TooLarge
from clawback.payloads import narrow
from clawback.senders import contents

MAX_TEXT_CHARACTERS = 256
"""Of a header or body value that names something. A longer one is no event type or id; it would swell every record."""

MAX_PATH_DEPTH = 8

MAX_FORM_FIELDS = 1000
"""Slack's largest has about twenty. Guards against a body of 25 million ampersands."""

MAX_ITEMS = 1000
"""Of a list that is checked item by item. Adyen sends one, Microsoft up to a hundred."""

SPLIT_BYTES = 64 * 1024
"""Up to here an object is split into all of its fields in one pass, which is what nearly every body is read by."""

_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF8 = "utf-8"

_decode_raw = msgspec.json.Decoder(Raw).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_array = msgspec.json.Decoder(list[Raw]).decode
_decode_string = msgspec.json.Decoder(str).decode

_INDEX = re.compile("[0-9]{1,9}")


PROOF = re.compile(r"auth|cookie|token|secret|signature|passw|passcode|api-?key|hmac|credential", re.IGNORECASE)
"""Names of headers that may prove who sent a request: shown to nobody."""


class Headers:
    """
    Header fields by name, whatever the case; values as received, and Latin-1 where text is asked for.

    `fields` has its names in lower case, as ASGI gives them.
    """

    def __init__(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[bytes, list[bytes]] = {}
        for name, value in fields:
            if (values := self._values.get(name)) is None:
                self._values[name] = [value]
            else:
                values.append(value)

    def told(self) -> dict[str, str]:
        """Return every header that proves nothing, by its name in lower case."""
        names = (name.decode("latin-1") for name in self._values)
        return {name: self.get(name) or "" for name in names if not PROOF.search(name)}

    def all(self, name: str) -> list[bytes]:
        """Return every value of a header, in order; for what must not come twice."""
        return self._values.get(name.lower().encode("latin-1"), [])

    def get(self, name: str) -> str | None:
        """Return a header's value, several joined by `, ` (RFC 9110 section 5.3); None where it is absent or empty."""
        return b", ".join(self.all(name)).decode("latin-1") or None

    def one(self, name: str) -> str | None:
        """
        Return the value of a header that decides something; None where it is absent or empty.

        Raises:
            BadPayload: there are several: a proxy may have read another one than we.
        """
        if (number := len(self.all(name))) > 1:
            raise BadPayload(f"{number} {name} headers: at most one is accepted")
        return self.get(name)


class Request:
    """
    One request's headers and body. Values are read from the body on demand, its JSON is checked once.

    `base` is the public URL of this server; `target` the path and query, as they were asked for. `published` is what
    was fetched of its sender's keys, by their names (`published.Wanted`). `packed` is the request as it came,
    where its body was unpacked.
    """

    def __init__(
        self, headers: Headers, body: bytes, *, method: str = "POST", base: str = "", target: str = ""
    ) -> None:
        self.headers = headers
        self.body = body
        self.method = method
        self.target = target
        self.published: Mapping[str, bytes] = {}
        self.packed: Request | None = None
        self._base = base
        # Not cached_property: until Python 3.12 each takes a lock, which costs as much as the check.
        self._is_utf8: bool | None = None
        self._parsed: Raw | dict[str, Raw] | None = None
        self._unreadable: Exception | None = None
        self._form_sorted: bytes | None = None

    @property
    def url(self) -> str:
        """The URL that was registered at the sender, with its query."""
        return self._base + self.target

    def query_values(self, name: str) -> list[bytes]:
        """Return every value of a name in the URL's query, decoded."""
        _, _, query = self.url.partition("?")
        if query.count("&") >= MAX_FORM_FIELDS:
            return []
        pairs = (field.encode("latin-1", "replace").partition(b"=") for field in query.split("&"))
        return [decode_form_text(value) for found, _, value in pairs if decode_form_text(found) == name.encode()]

    @property
    def is_utf8(self) -> bool:
        """Whether the body is text; NUL and other control characters are."""
        if self._is_utf8 is None:
            try:
                self.body.decode(_UTF8)
            except UnicodeDecodeError:
                self._is_utf8 = False
            else:
                self._is_utf8 = True
        return self._is_utf8

    def text_at(self, path: str, *, cut_beyond: int | None = None) -> str | None:
        """
        Read one value by a dotted path such as `data.0.kind`; digits index an array.

        Returns a string as it is and a number or boolean as it is written; None where the path leads nowhere, to
        null, to an object or array, to more than `MAX_TEXT_CHARACTERS`, or is deeper than `MAX_PATH_DEPTH`. With
        `cut_beyond` a longer one is cut, one character beyond that, so that its reader sees the cut.

        Raises:
            BadPayload: the body is not UTF-8, or not JSON. The path plays no part in that.
        """
        if not self.is_utf8 and not self.is_form:
            raise BadPayload("body refused: the event type is read from it and it is not UTF-8; send JSON in UTF-8")
        try:
            return _follow(self._json(), path, cut_beyond)
        except (msgspec.DecodeError, RecursionError) as error:
            # The reason names a place in the body and never its content.
            raise BadPayload(
                f"body refused: the event type is read from it and it is not JSON ({error}); send JSON, or let the"
                " source read the type from a header"
            ) from error

    def has(self, name: str) -> bool:
        """
        Say whether the body's object has a field of that name, other than null.

        Raises:
            BadPayload: the body is not UTF-8, or not JSON.
        """
        return self.raw_at(name) is not None

    def string_at(self, path: str) -> str | None:
        """
        Read a string of any length by a dotted path; None where there is none, or another value.

        Raises:
            BadPayload: the body is not UTF-8, or not JSON.
        """
        found = self.raw_at(path)
        return _decode_string(found) if found is not None and _first_byte(found) == b'"' else None

    def raw_at(self, path: str) -> Raw | None:
        """
        Find what stands at a dotted path, unread; null is nothing.

        Raises:
            BadPayload: the body is not UTF-8, or not JSON.
        """
        self.text_at("")
        found = _seek(self._json(), path)
        return None if found is None or _first_byte(found) == b"n" else found

    def items_at(self, path: str, inside: str = "") -> "list[Request]":
        """
        Part a batch: for each item of the list at a path, the request as if its body were what the item has `inside`.

        Raises:
            BadPayload: the body is not JSON, or has more than `MAX_ITEMS` items; or one of them has nothing there.
        """
        whole = self.raw_at(path)
        if whole is None or _first_byte(whole) != b"[":
            return []
        if narrow.is_wide(bytes(whole)):
            raise BadPayload(f"body refused: its list {path} holds more values than are checked one by one")
        found = _decode_array(whole)
        items = [_child(item, inside) if inside else item for item in found[: MAX_ITEMS + 1]]
        if len(items) > MAX_ITEMS or any(item is None for item in items):
            raise BadPayload(
                f"body refused: accepted are at most {MAX_ITEMS} items in {path}, each with {inside or path}"
            )
        return [self._with_body(bytes(item)) for item in items if item is not None]

    def count_items(self, path: str) -> int | None:
        """
        Count what a batch has, at a path or, where that is empty, as the whole body; None where that is no list.

        None also where it holds more values than are made into objects at once.

        Raises:
            BadPayload: the body is not UTF-8, or not JSON.
        """
        self.text_at("")
        whole = self.raw_at(path) if path else self._json()
        if not isinstance(whole, Raw) or _first_byte(whole) != b"[" or narrow.is_wide(bytes(whole)):
            return None
        return len(_decode_array(whole))

    def carried(self) -> "Request":
        """
        Return the same request with the JSON that its form carries for its body.

        Raises:
            BadPayload: there is none in it.
        """
        return self._with_body(self.content)

    def unpacked(self, most: int) -> "Request":
        """
        Return the request with its Content-Encoding undone, and itself as what it came `packed` in.

        Raises:
            TooLarge: it holds more than `most` bytes.
            BadPayload: it is not packed as it says.
        """
        body = contents.unpack(self.body, self.headers.get("Content-Encoding") or "", most)
        whole = Request(self.headers, body, method=self.method, base=self._base, target=self.target)
        whole.published, whole.packed = self.published, self
        return whole

    def _with_body(self, body: bytes) -> "Request":
        headers = Headers([])
        headers._values = {**self.headers._values, b"content-type": [b"application/json"]}  # noqa: SLF001 -- its own
        return Request(headers, body, method=self.method, base=self._base, target=self.target)

    def pick(self, wanted: Mapping[str, Any] | None, most_bytes: int) -> Any:  # noqa: ANN401 -- JSON
        """
        Build what a tree of steps names of the body's JSON, in its place; None means everything below.

        Raises:
            BadPayload: the body is not UTF-8, or not JSON that can be read.
            TooLarge: that is more than so many bytes.
        """
        self.text_at("")
        left = most_bytes

        def build(value: Raw | dict[str, Raw], below: Mapping[str, Any] | None) -> Any:  # noqa: ANN401 -- JSON
            nonlocal left
            if below is not None and (isinstance(value, dict) or _first_byte(value) == b"{"):
                parts = {step: value.get(step) if isinstance(value, dict) else _child(value, step) for step in below}
                return {step: build(part, below[step]) for step, part in parts.items() if part is not None}
            if isinstance(value, dict):
                return {name: build(part, None) for name, part in value.items()}
            left -= len(memoryview(value))
            if left < 0:
                raise TooLarge(f"more than {most_bytes} bytes of the body would have to be read")
            return msgspec.json.decode(value)

        try:
            return build(self._json(), wanted)
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise BadPayload(f"the body cannot be read ({type(error).__name__})") from error

    def form_fields(self) -> list[tuple[bytes, bytes]]:
        """
        Read the body as a form, whatever it is called, in its order.

        Raises:
            BadPayload: it has too many fields.
        """
        if self.body.count(b"&") >= MAX_FORM_FIELDS:
            raise BadPayload(f"form refused: it has more than {MAX_FORM_FIELDS} fields; send JSON")
        parts = (field.partition(b"=") for field in self.body.split(b"&") if field)
        return [(decode_form_text(name), decode_form_text(value)) for name, _, value in parts]

    def form_sorted(self) -> bytes:
        """
        Write the body's form by its names, each name and value once, with nothing between them.

        Raises:
            BadPayload: it has too many fields.
        """
        if self._form_sorted is None:
            self._form_sorted = b"".join(name + value for name, value in sorted(set(self.form_fields())))
        return self._form_sorted

    def fields(self) -> Mapping[str, Raw]:
        """
        Return the fields of the body's JSON object, values unread; none where it is another value.

        Raises:
            BadPayload: the body is not UTF-8, or not JSON.
        """
        self.text_at("")
        whole = self._json()
        return whole if isinstance(whole, dict) else {}

    def _json(self) -> Raw | dict[str, Raw]:
        if self._unreadable is not None:
            # Once is enough: several places of a body may be asked for, and a large one takes its time to be refused.
            raise self._unreadable
        if self._parsed is None:
            try:
                self._parsed = _parse(self.content.removeprefix(_BYTE_ORDER_MARK))
            except (msgspec.DecodeError, RecursionError, BadPayload) as error:
                self._unreadable = error
                raise
        return self._parsed

    @property
    def content(self) -> bytes:
        """
        The body as the JSON that its sender meant: of a form what it carries, of anything else the body itself.

        Raises:
            BadPayload: it is called a form and is none.
        """
        match self._form():
            case "":
                return self.body
            case kind:
                return self._form_json(kind)

    @property
    def is_form(self) -> bool:
        """Whether the body is a form; JSON under a form's name is none."""
        return bool(self._form())

    def _form(self) -> str:
        told = self.headers.get("Content-Type") or ""
        if "form" not in told and "FORM" not in told.upper():
            return ""
        kind = told.partition(";")[0].strip().lower()
        return kind if kind in (_FORM, _MULTIPART) and not contents.looks_like_json(self.body) else ""

    def _form_json(self, kind: str) -> bytes:
        if kind == _MULTIPART:
            return contents.read_multipart(self.body, self.headers.get("Content-Type") or "")
        return contents.join_fields(self.form_fields())


def decode_form_text(text: bytes) -> bytes:
    """
    Undo the percent-encoding of a form's name or value; an escape without two hex digits stays, with `=` for its `%`.

    Quoted-printable differs from it by the escape character alone and has a decoder in C: urllib's takes 2 s and 600
    MB for 13 MB of encoded JSON, this takes 70 ms.
    """
    return binascii.a2b_qp(text.replace(b"=", b"=3D").replace(b"%", b"=").replace(b"+", b" "))


def _parse(text: bytes) -> Raw | dict[str, Raw]:
    """Check the whole, in one pass: an object, which is what nearly every body is, is split into its fields by it."""
    decode = _decode_object if text.startswith(b"{") and len(text) <= SPLIT_BYTES else _decode_raw
    try:
        return decode(text)
    except msgspec.DecodeError:
        whole = narrow.mend(text)
        if whole == text:
            raise
        return decode(whole)


def _follow(whole: Raw | dict[str, Raw], path: str, cut_beyond: int | None = None) -> str | None:
    value = _seek(whole, path)
    return None if value is None else _text(value, cut_beyond)


def _seek(whole: Raw | dict[str, Raw], path: str) -> Raw | None:
    first, *steps = path.split(".")
    if len(steps) >= MAX_PATH_DEPTH:
        return None
    value = whole.get(first) if isinstance(whole, dict) else _child(whole, first)
    for step in steps:
        if value is None:
            return None
        value = _child(value, step)
    return value


def _child(value: Raw, step: str) -> Raw | None:
    if len(memoryview(value)) > SPLIT_BYTES:
        return narrow.child(value, step)
    match _first_byte(value):
        case b"{":
            return _decode_object(value).get(step)
        case b"[" if _INDEX.fullmatch(step):
            items = _decode_array(value)
            return items[int(step)] if int(step) < len(items) else None
        case _:
            return None


def _text(value: Raw, cut_beyond: int | None) -> str | None:
    match _first_byte(value):
        case b"{" | b"[" | b"n":
            return None
        case b'"':
            text = _decode_string(value)
        case _:
            text = bytes(value).decode("ascii")
    if cut_beyond is not None:
        return text[: cut_beyond + 1]
    return text if len(text) <= MAX_TEXT_CHARACTERS else None


def _first_byte(value: Raw) -> bytes:
    return bytes(memoryview(value)[:1])
