"""
What JetStream is sent and what it answers: header names, statuses, error codes, and the reading of answers. Pure.

Of nats-server 2.15: its errors.json, ADR-31 (direct get), ADR-50 (atomic batches).
"""

from datetime import datetime

import msgspec
from msgspec import Struct

from clawback.errors import Conflict, QueueFull, StoreFull, TooLarge, Unavailable

STATUS = "Status"
NO_RESPONDERS = "503"
NOT_FOUND = "404"
TOO_MANY_RESULTS = "413"

# The headers of a direct get's answer (ADR-31). What a message brought itself stands beside them.
SEQUENCE_HEADER = "Nats-Sequence"
SUBJECT_HEADER = "Nats-Subject"
TIME_HEADER = "Nats-Time-Stamp"
PENDING_HEADER = "Nats-Num-Pending"

MESSAGE_ID_HEADER = "Nats-Msg-Id"
EXPECTED_HEADER = "Nats-Expected-Last-Subject-Sequence"
TTL_HEADER = "Nats-TTL"
BATCH_ID_HEADER = "Nats-Batch-Id"
BATCH_SEQUENCE_HEADER = "Nats-Batch-Sequence"
BATCH_COMMIT_HEADER = "Nats-Batch-Commit"

# JetStream's error codes, from nats-server 2.15's errors.json.
_NO_ROOM_IN_STREAM = 10077
_NO_ROOM = (10002, 10023, 10047, _NO_ROOM_IN_STREAM)
"""Of an account, of a server, of what is reserved, of a stream."""
_WRONG_LAST_SEQUENCE = (10071, 10164)
_MESSAGE_TOO_LARGE = (10054, 10097)
_DUPLICATE_IN_BATCH = 10201
_NO_MESSAGE = 10037


class PubAck(Struct, frozen=True):
    """JetStream's proof of storage. `duplicate`: the message id was stored before, at `sequence` (0 for a batch)."""

    stream: str
    sequence: int
    duplicate: bool = False


class BatchMessage(Struct, frozen=True):
    """One message of an atomic batch; `expected_subject_sequence` 0 means the subject must be new."""

    subject: str
    body: bytes = b""
    headers: dict[str, str] = {}
    expected_subject_sequence: int | None = None


class Stored(Struct, frozen=True):
    """A message read from a stream, with the headers it was published with."""

    subject: str
    sequence: int
    time: datetime
    headers: dict[str, str]
    data: bytes


class CoreMessage(Struct, frozen=True):
    """A message as a subscription hears it; `reply` is empty where no answer is asked for."""

    subject: str
    reply: str
    headers: dict[str, str]
    data: bytes


class _ApiError(Struct, frozen=True):
    """The `error` of a JetStream answer."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class _PublishAnswer(Struct, frozen=True):
    """The answer to a publish."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: _ApiError | None = None


class _Message(Struct, frozen=True):
    """A message as the leader of its stream shows it; msgspec reads the base64 of what is `bytes`."""

    subject: str
    seq: int
    time: datetime
    hdrs: bytes = b""
    data: bytes = b""


class _GetAnswer(Struct, frozen=True):
    """The answer to STREAM.MSG.GET."""

    message: _Message | None = None
    error: _ApiError | None = None


_decode_get_answer = msgspec.json.Decoder(_GetAnswer).decode
_decode_publish_answer = msgspec.json.Decoder(_PublishAnswer).decode
_decode_time = msgspec.json.Decoder(datetime).decode


def header_bytes(headers: dict[str, str]) -> int:
    """Count what nats-py writes: `NATS/1.0`, each `name: value`, an empty line, all ended by CR LF."""
    size = 12
    for name, value in headers.items():
        size += len(name) + (len(value) if value.isascii() else len(value.encode())) + 4
    return size


def read_publish_answer(answer: CoreMessage) -> PubAck:
    """
    Read the answer to a publish, or to the last message of an atomic batch.

    Raises:
        Conflict: the subject has another revision than was expected.
        QueueFull: the subject holds as many messages as it may.
        StoreFull: NATS has no room.
        TooLarge: the message is more than NATS takes.
        Unavailable: no stream takes it now, or NATS refused it.
    """
    if answer.headers.get(STATUS) == NO_RESPONDERS:
        raise Unavailable("no stream of NATS takes this subject now")
    read = _decode_publish_answer(answer.data)
    if read.error is None:
        return PubAck(read.stream, read.seq, read.duplicate)
    description = read.error.description
    if read.error.err_code == _DUPLICATE_IN_BATCH:
        return PubAck(read.stream, 0, duplicate=True)
    if read.error.err_code in _WRONG_LAST_SEQUENCE:
        raise Conflict(f"somebody else wrote first: {description}")
    # The same code means that the stream is full: no sender is at fault then.
    if read.error.err_code == _NO_ROOM_IN_STREAM and "per subject" in description:
        raise QueueFull(f"no room for another message on this subject: {description}")
    if read.error.err_code in _NO_ROOM:
        raise StoreFull(f"NATS has no room ({description})")
    if read.error.err_code in _MESSAGE_TOO_LARGE:
        raise TooLarge(f"NATS refused a message: {description}")
    raise Unavailable(f"NATS refused a message: {description}")


def read_get_answer(stream: str, answer: CoreMessage) -> Stored | None:
    """
    Read the answer of a stream's leader to STREAM.MSG.GET; None where there is no such message.

    Raises:
        Unavailable: nobody leads the stream, or it cannot be read.
    """
    if answer.headers.get(STATUS) == NO_RESPONDERS:
        raise Unavailable(f"NATS cannot read from stream {stream}: nobody leads it now")
    read = _decode_get_answer(answer.data)
    if read.message is not None:
        found = read.message
        return Stored(found.subject, found.seq, found.time, _read_headers(found.hdrs), found.data)
    if read.error is not None and read.error.err_code == _NO_MESSAGE:
        return None
    description = "no message" if read.error is None else read.error.description
    raise Unavailable(f"NATS cannot read from stream {stream}: {description}")


def read_stored(message: CoreMessage) -> Stored:
    """Read a message of the answer to a direct get: what NATS says of it stands in headers beside its own."""
    headers = dict(message.headers)
    time = headers.pop(TIME_HEADER)
    sequence = headers.pop(SEQUENCE_HEADER)
    subject = headers.pop(SUBJECT_HEADER)
    for name in ("Nats-Stream", PENDING_HEADER, "Nats-Last-Sequence"):
        headers.pop(name, None)
    return Stored(subject, int(sequence), _decode_time(f'"{time}"'), headers, message.data)


def _read_headers(block: bytes) -> dict[str, str]:
    """Read a header block as NATS stores it: `NATS/1.0`, then each `name: value`, all ended by CR LF."""
    lines = block.decode(errors="replace").split("\r\n")[1:]
    return {name: value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}


def direct_get_error(stream: str, answer: CoreMessage) -> Unavailable:
    """Make the error of a direct get that was answered by a status."""
    status = f"{answer.headers[STATUS]} {answer.headers.get('Description', '')}".strip()
    return Unavailable(f"NATS cannot read from stream {stream}: {status}")
