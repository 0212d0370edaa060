"""
`clawback trigger`: send a signed webhook to a source, as its sender would.

The secret of a source never leaves its server, so it is signed there, by whoever may read the server's files: the
source is found through NATS, as `clawback token` does, and its secret opened with the master key. Elsewhere the person
brings URL and secret. Either way the request goes to the public URL, through whatever stands in front.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct

from clawback.commands import samples
from clawback.commands.admin import open_source
from clawback.commands.facts import http_client
from clawback.commands.terminal import printable
from clawback.errors import ConfigError, ProtocolViolation, Rejected, Unavailable
from clawback.model import EventTypeRule, Scheme, SignatureRule, random_id
from clawback.senders.presets import PRESETS
from clawback.senders.signing import address, seal, sign
from clawback.settings import ServerSettings
from clawback.system.private_files import read_private_file

_SERVER_FAULT = 500


class Target(Struct, frozen=True):
    """
    Where a webhook goes, and what it is signed with.

    `scheme` is the source's, None where only its URL is known; then it is that of the sample.
    """

    url: str
    secret: bytes
    scheme: str | None = None
    rule: SignatureRule | None = None
    event_type: EventTypeRule | None = None

    def __repr__(self) -> str:
        """Leave the secret out: a target may end up in a traceback."""
        return f"Target(url={self.url!r})"


class Shot(Struct, frozen=True):
    """What is sent: a sample, or a body of the person's own, with the event type for its header."""

    scheme: str
    kind: str
    body: bytes
    is_sample: bool


def choose_shot(name: str, body: Path | None, kind: str | None) -> Shot:
    """
    Choose what to send: the sample of that name, or the file's bytes under that name's scheme.

    `kind` replaces the event type that the scheme's header says.

    Raises:
        Rejected: there is no such sample.
        ConfigError: the file cannot be read.
    """
    if body is None:
        sample = samples.find_sample(name)
        return Shot(sample.scheme, kind or sample.kind, sample.body, is_sample=True)
    scheme, named = samples.parse_name(name)
    try:
        return Shot(scheme, kind or named, body.read_bytes(), is_sample=False)
    except OSError as error:
        raise ConfigError(f"--body: cannot read {body}: {error.strerror}") from error


async def own_target(settings: ServerSettings, profile: str, slug: str | None, scheme: str) -> Target:
    """
    Find a source of this machine's server, and open its secret.

    Raises:
        NotFound: there is no such source, or several.
        ClawbackError: what `open_source` raises.
    """
    url, source, secret = await open_source(settings, profile, slug, scheme)
    return Target(url, secret, source.scheme, source.signature, source.event_type)


def given_target(url: str, slug: str | None, secret: str | None, secret_file: Path | None, scheme: str) -> Target:
    """
    Take a source as the person gives it.

    Raises:
        ConfigError: its secret is missing or cannot be read, or it is given in two ways.
    """
    if slug is not None:
        raise ConfigError(
            "--source and --url: the first is a source of this machine's server, the second any; leave one out"
        )
    if secret_file is not None:
        secret = read_private_file(secret_file, setting="--secret-file")
    if secret is None and scheme != Scheme.NONE:
        raise ConfigError("--url needs the source's secret: give --secret-stdin, or --secret-file FILE")
    return Target(url, (secret or "").encode())


async def shoot(target: Target, shot: Shot) -> dict[str, Any]:
    """
    Send it, and return the server's answer to a request that it took.

    Raises:
        Rejected: the source is of another type, the secret is no key, or the server refused the request.
        Unavailable: the URL cannot be reached, or the server cannot store it now.
        ProtocolViolation: what answers there is no Clawback server.
    """
    if target.scheme not in (None, shot.scheme):
        raise Rejected(f"the source is of type {target.scheme}, and would not take what {shot.scheme} sends")
    delivery_id, now = random_id(), datetime.now(UTC)
    body = samples.freshen(shot.scheme, shot.body, delivery_id, now) if shot.is_sample else shot.body
    body = seal(shot.scheme, body, target.secret, now=now, rule=target.rule)
    url = address(shot.scheme, target.url, target.secret, target.rule)
    named = target.event_type.header if target.event_type is not None else None
    signed = sign(shot.scheme, body, target.secret, delivery_id=delivery_id, now=now, rule=target.rule, url=target.url)
    headers = dict(signed)
    content_type = PRESETS[shot.scheme].example_content_type if shot.is_sample else "application/json"
    headers |= {"Content-Type": content_type} | samples.type_header(shot.scheme, shot.kind, named)
    try:
        async with http_client(target.url) as client:
            answer = await client.post(url, content=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        hint = "; --public-url says where the server is" if target.scheme is not None else ""
        raise Unavailable(f"{target.url} cannot be reached ({error or type(error).__name__}){hint}") from error
    return _read(answer)


def describe(answer: dict[str, Any]) -> str:
    """Say what the server did with it, in a line."""
    kind = f" ({answer['eventType']})" if answer.get("eventType") else ""
    if answer.get("status") == "dropped":
        return printable(f"dropped{kind}: no route of the source takes it")
    if answer.get("status") == "filtered":
        return printable(f"filtered{kind}: a condition of the source holds it back, and the history says which")
    return printable(f"{answer.get('status')} {answer.get('eventId', '')}{kind}")


def _read(answer: httpx.Response) -> dict[str, Any]:
    if answer.is_success and not answer.content:
        # What such a sender reads in an answer would have a meaning to it.
        return {"status": "accepted"}
    try:
        content = answer.json()
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ProtocolViolation(f"HTTP {answer.status_code}, and no answer of Clawback's: is the URL right?")
    if answer.is_success:
        return content
    text = printable(f"HTTP {answer.status_code}: {content.get('detail', content.get('title', ''))}")
    raise Unavailable(text) if answer.status_code >= _SERVER_FAULT else Rejected(text)
