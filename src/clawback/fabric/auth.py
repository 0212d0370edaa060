"""Where NATS is, and who we are there. Pure."""

from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from clawback.errors import ConfigError


class NatsAuth(Struct, frozen=True):
    """
    Where NATS is and who we are there. `url` may be several, comma-separated, and may hold `user:password@`.

    `seed` is the key, in hex, by which our own programs come in where NATS is our own: then `user` and `password` are
    for people, and never sent. `kept_in` is where all of it is read anew before a connection is made: port and key of
    our own NATS change when it is started.
    """

    url: str
    user: str | None = None
    password: str | None = None
    seed: str | None = None
    kept_in: Path | None = None

    def __repr__(self) -> str:
        """Leave the password out."""
        return f"NatsAuth({self.where!r}, user={self.user!r})"

    @property
    def servers(self) -> list[str]:
        """The URLs, one by one."""
        return [url.strip() for url in self.url.split(",") if url.strip()]

    @property
    def where(self) -> str:
        """The URLs without user and password, for messages."""
        return ", ".join(_without_login(url) for url in self.servers)

    def check(self) -> None:
        """
        Check that each URL is one of NATS.

        Raises:
            ConfigError: names the one that is not.
        """
        for url in self.servers or [self.url]:
            _check_url(url)

    def describe_user(self) -> str:
        """Say who connects, for messages."""
        return f"user {self.user!r}" if self.user else "a connection without a user"


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("nats", "tls") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise ConfigError(f"{_without_login(url)!r} is no NATS URL; one looks like nats://127.0.0.1:4222")


def _without_login(url: str) -> str:
    login, at, rest = url.rpartition("@")
    return f"{login.partition('//')[0]}//{rest}" if at else url
