"""
What a body holds: unpacked, and as the JSON that its sender meant. Pure.

The signature is over the body as it came; what is stored and shown is what this makes of it, once that has passed:

  * `Content-Encoding: gzip` and `deflate` are undone, up to the size that a body may have, however small it came.
  * A form is the JSON in its `payload` field, or else an object of its fields; of a file there are its name and size.
  * A secret that came in the body, to prove who sent it, is taken out.
"""

import zlib
from collections.abc import Sequence

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from clawback.errors import BadPayload, TooLarge
from clawback.model import encode_json

MAX_PARTS = 1000
"""Of a multipart body, as of a form's fields."""

NESTED = ("rawRequest",)
"""Fields of a form whose text is JSON itself, beside others that belong to it: Jotform's."""

REMOVED = '"[removed]"'
"""What is stored instead of a secret."""

_WINDOWS = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


def is_packed(encoding: str | None) -> bool:
    """Whether a Content-Encoding is one that is undone here."""
    return encoding is not None and encoding.strip().lower() in _WINDOWS


def unpack(body: bytes, encoding: str, most: int) -> bytes:
    """
    Undo a Content-Encoding; never makes more than `most` bytes and a buffer.

    Raises:
        TooLarge: there is more in it.
        BadPayload: it is not packed like that, is cut short, or something stands behind it.
    """
    wanted = _WINDOWS[encoding.strip().lower()]
    # RFC 9110, section 8.4.1.2: some senders' deflate has no zlib header, as its name suggests.
    raw = wanted == zlib.MAX_WBITS and not (len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0)  # noqa: PLR2004 -- the header of RFC 1950
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS if raw else wanted)
    try:
        whole = unpacker.decompress(body, most + 1)
    except zlib.error as error:
        raise BadPayload(f"body refused: it is not {encoding[:20]!a}, which its Content-Encoding says") from error
    if len(whole) > most:
        raise TooLarge(f"the body is larger than {most} bytes once it is unpacked, which is the limit; send less")
    if not unpacker.eof or unpacker.unused_data:
        raise BadPayload("body refused: what is packed in it is cut short, or something stands behind it")
    return whole


def read_multipart(body: bytes, content_type: str) -> bytes:
    """
    Read a multipart form as JSON.

    Raises:
        BadPayload: it is none, has too many parts, or a field is not UTF-8.
    """
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    fields: list[tuple[bytes, bytes]] = []
    files: dict[str, dict[str, object]] = {}
    segment: MultipartSegment | None = None
    chunks: list[bytes] = []
    try:
        with PushMultipartParser(boundary, max_segment_count=MAX_PARTS, strict=True) as parser:
            for part in (*parser.parse(body), *parser.parse(b"")):
                if isinstance(part, MultipartSegment):
                    segment, chunks = part, []
                elif part:
                    chunks.append(bytes(part))
                elif segment is not None:
                    value = b"".join(chunks)
                    if segment.filename is None:
                        fields.append((segment.name.encode(), value))
                    else:
                        files[segment.name] = {
                            "filename": segment.filename,
                            "contentType": segment.content_type or "",
                            "bytes": len(value),
                        }
                    segment = None
    except (MultipartError, ValueError) as error:
        raise BadPayload("form refused: it is no multipart/form-data with a boundary; send JSON") from error
    return join_fields(fields, files)


def join_fields(fields: Sequence[tuple[bytes, bytes]], files: dict[str, dict[str, object]] | None = None) -> bytes:
    """
    Write a form's fields as the JSON that it carries; of equal names the last counts.

    Raises:
        BadPayload: a field is not UTF-8.
    """
    last = dict(fields)
    if b"payload" in last:
        return last[b"payload"]
    try:
        texts = {name.decode(): value.decode() for name, value in last.items()}
    except UnicodeDecodeError as error:
        raise BadPayload("form refused: a field of it is not UTF-8; send JSON") from error
    if list(texts) == ["data"] and looks_like_json(last[b"data"]):
        return last[b"data"]
    return encode_json({**{name: _nested(name, text) for name, text in texts.items()}, **(files or {})})


def looks_like_json(body: bytes) -> bool:
    """Whether a body begins as an object or a list does, which no form does: its braces are escaped."""
    return body.lstrip()[:1] in (b"{", b"[")


def without_secrets(body: bytes, secrets: Sequence[bytes]) -> bytes:
    """Take secrets out of a JSON body, wherever they stand in it as a whole text."""
    for secret in secrets:
        text = secret.decode("utf-8", "replace")
        for written in {encode_json(text), encode_json(text).replace(b"/", b"\\/")}:
            body = body.replace(written, REMOVED.encode())
    return body


def _nested(name: str, text: str) -> object:
    if name not in NESTED:
        return text
    try:
        return msgspec.Raw(encode_json(msgspec.json.decode(text, type=msgspec.Raw)))
    except msgspec.DecodeError:
        return text
