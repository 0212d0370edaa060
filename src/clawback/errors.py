"""
Every error Clawback raises on purpose.

    ClawbackError
    ├── ConfigError          a setting, file or environment is wrong; stops the start
    ├── Rejected             a request was refused for what it is
    │   ├── BadSignature     missing, malformed, wrong or stale signature
    │   ├── BadPayload       the body cannot be read where it must be
    │   └── TooLarge         over a size limit
    ├── Unauthorized         no valid token
    ├── NotFound             no such thing for this caller (or not the caller's)
    ├── Conflict             the name is taken, or somebody else was first
    ├── QueueFull            the line's bound is reached; worth retrying later
    ├── RateLimited          more in a time than one caller may; worth retrying later
    ├── ProtocolViolation    the peer broke the WebSocket protocol
    ├── SecretUnreadable     a stored secret does not open with the keys at hand
    ├── RecordUnreadable     a stored record is damaged, or of a newer version
    └── Unavailable          NATS or a peer does not answer; worth retrying
        └── StoreFull        NATS has no room for what is new; worth retrying later

A message says what was read, what is accepted and what to do next. It never holds a secret, a token or an expected
signature. Bugs are asserts, not errors.
"""


class ClawbackError(Exception):
    """The base of every deliberate error; raise a subclass."""


class ConfigError(ClawbackError):
    """A setting is wrong: names it, what was read and what is accepted."""


class Rejected(ClawbackError):
    """A request was refused for what it is; sending it again changes nothing."""


class BadSignature(Rejected):
    """The signature is missing, malformed, wrong, or its timestamp is outside the tolerance."""


class BadPayload(Rejected):
    """The body or a field of it cannot be read where it must be."""


class TooLarge(Rejected):
    """The body is over the limit, or does not fit NATS even when compressed."""


class Unauthorized(ClawbackError):
    """No valid token came with the request."""


class NotFound(ClawbackError):
    """No such thing, or it is somebody else's: the two are indistinguishable."""


class Conflict(ClawbackError):
    """The name is taken, or another writer was first."""


class QueueFull(ClawbackError):
    """A source's line to a session holds as many events as it may."""


class RateLimited(ClawbackError):
    """One caller asked for more in a time than it may; `wait_s` says when it may again, None after a minute or so."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class ProtocolViolation(ClawbackError):
    """A WebSocket peer sent what the protocol does not allow; the text becomes the close reason."""


class SecretUnreadable(ClawbackError):
    """A sealed secret does not open: its key is not at hand, or it was changed or moved. For the operator to mend."""


class RecordUnreadable(ClawbackError):
    """What is stored of one thing cannot be read: it was damaged, or a newer version wrote it. All else goes on."""


class Unavailable(ClawbackError):
    """NATS or a peer does not answer now; the outcome of the last attempt is unknown and a retry is right."""


class StoreFull(Unavailable):
    """NATS or its disk has no room for what is new. There will be once sessions worked off what waits."""
