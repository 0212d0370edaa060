r"""
One accepted webhook as a file of the spool: written whole, and recognised only when whole. Pure.

    "CLAWBK1\n"    8 bytes
    CRC-32         4 bytes, big-endian, of the rest
    length         8 bytes, big-endian, of the content
    content        MessagePack of `Spooled`

A file that was cut off, grew or had a bit changed is none: a length alone would not find the last, a checksum alone
takes a longer one to notice the first. Which one it was nobody needs to know.
"""

import struct
import zlib

import msgspec
from msgspec import Struct

from clawback.errors import BadPayload
from clawback.model import Address, Event

MAGIC = b"CLAWBK1\n"
_CHECK = struct.Struct(">I")
_LENGTH = struct.Struct(">Q")
_START = len(MAGIC) + _CHECK.size + _LENGTH.size


class Spooled(Struct, frozen=True, array_like=True):
    """An event that was answered with a 202 and waits for NATS: where it goes, and its body as it came."""

    profile_id: str
    tag: str | None
    source_id: str
    event: Event
    body: bytes

    @property
    def address(self) -> Address:
        """Where it goes."""
        return Address(self.profile_id, self.tag)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Spooled)


def build_file(spooled: Spooled) -> bytes:
    """Write an event as a file."""
    content = _encoder.encode(spooled)
    checked = _LENGTH.pack(len(content)) + content
    return MAGIC + _CHECK.pack(zlib.crc32(checked)) + checked


def parse_file(data: bytes) -> Spooled:
    """
    Read an event from its file.

    Raises:
        BadPayload: it is not as it was written.
    """
    if len(data) < _START or not data.startswith(MAGIC):
        raise BadPayload("it does not begin as a file of the spool")
    (check,) = _CHECK.unpack_from(data, len(MAGIC))
    (length,) = _LENGTH.unpack_from(data, len(MAGIC) + _CHECK.size)
    if length != len(data) - _START:
        raise BadPayload(f"it holds {len(data) - _START} bytes and says that they are {length}")
    if zlib.crc32(memoryview(data)[len(MAGIC) + _CHECK.size :]) != check:
        raise BadPayload("its checksum is another")
    try:
        return _decoder.decode(memoryview(data)[_START:])
    except msgspec.MsgspecError as error:
        raise BadPayload(f"it was written by another version: {error}") from error
