"""
`clawback doctor --probe`: one event through the whole way, there and back, with the time that each stage takes.

The event belongs to a source and a tag that are made for it, so no session is given anything and nothing of theirs is
touched: a `generic` source with a secret that the server makes, whose events go to the probe's own tag. The webhook is
signed and sent to the public URL, waits in its line, is delivered, acknowledged and looked up; then the source is
deleted. What stays is one line in the history.
"""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from clawback import wire
from clawback.channel.settings import PluginConfig
from clawback.commands.checks import Finding, Level
from clawback.commands.facts import http_client
from clawback.commands.inquiry import Inquiry, inquire
from clawback.commands.terminal import printable
from clawback.errors import ClawbackError, ProtocolViolation, Unavailable
from clawback.model import Scheme, encode_json, random_id
from clawback.senders.signing import sign

BODY = encode_json({"probe": "clawback doctor", "note": "made by clawback doctor --probe; nothing is to be done"})
SUMMARY = "a probe by clawback doctor"

_ACCEPTED = 202


class Stages:
    """The stages so far; the first that fails ends the probe."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    @contextmanager
    def stage(self, name: str, todo: str) -> Iterator[list[str]]:
        """
        Time one stage; the block appends what it found.

        Raises:
            StageFailed: the stage did not work out, which is among the findings already.
        """
        found: list[str] = []
        started = time.monotonic()
        try:
            yield found
        except (ClawbackError, httpx.HTTPError) as error:
            text = printable(str(error) or type(error).__name__)
            self._add(name, Level.FAIL, text, started, todo)
            raise StageFailed from error
        self._add(name, Level.OK, ", ".join(found), started, "")

    def _add(self, name: str, level: Level, found: str, started: float, todo: str) -> None:
        took_ms = round((time.monotonic() - started) * 1000, 1)
        self.findings.append(Finding(f"probe: {name}", level, found, todo, took_ms))


class StageFailed(Exception):
    """A stage of the probe failed and was noted."""


async def probe(config: PluginConfig) -> list[Finding]:
    """Send one event all the way, and return a finding for each stage that was reached."""
    stages = Stages()
    with suppress(StageFailed):  # its finding says so
        await _walk(config, stages)
    return stages.findings


async def _walk(config: PluginConfig, stages: Stages) -> None:
    async with AsyncExitStack() as stack:
        with stages.stage("connected", "see the lines above") as found:
            inquiry = await stack.enter_async_context(inquire(config.remote, config.connection_token, "doctor"))
            found.append(f"as {inquiry.tag}, {printable(inquiry.welcome.role)}")
        source = await stack.enter_async_context(_source(inquiry, stages))
        with stages.stage(
            "webhook", "is the public URL (--public-url) right, and does a proxy leave bodies alone?"
        ) as found:
            event_id = await _send(source)
            found.append(f"{urlsplit(source['url']).netloc} answered 202 for {printable(event_id)}")
        with stages.stage("delivered", "look for the event's id in the server's log") as found:
            event = await inquiry.next_event(event_id)
            attempt = event.meta.get("attempt", "?")
            found.append(f"it came to {inquiry.tag}, attempt {printable(attempt)}")
        with stages.stage("acked", "look for the event's id in the server's log") as found:
            settled = await inquiry.ask(wire.Ack(event_id, SUMMARY))
            if not settled["settled"]:
                raise Unavailable("the server does not hold the event any more")
            found.append("JetStream confirmed the ack")
        with stages.stage("history", "the history is written after an ack; ask event_history again") as found:
            found.append(await _ended(inquiry, event_id))


@asynccontextmanager
async def _source(inquiry: Inquiry, stages: Stages) -> AsyncIterator[dict[str, Any]]:
    """Make the probe's source, and delete it however the probe ends."""
    with stages.stage("source", "the server says what is wrong") as found:
        source = await inquiry.ask(
            wire.SourceCreate(
                request_id="",
                slug=inquiry.tag,
                verifier_type=Scheme.GENERIC,
                generate_secret=True,
                session_tag=inquiry.tag,
            )
        )
        found.append(f"made {inquiry.tag}")
    try:
        yield source
    finally:
        with stages.stage("cleaned up", f"ask Claude to delete the source {inquiry.tag}") as found:
            await inquiry.ask(wire.SourceDelete(request_id="", source_id=source["id"]))
            found.append(f"deleted {inquiry.tag}")


async def _send(source: dict[str, Any]) -> str:
    """Send the webhook as a sender would, and return the event's id."""
    headers = sign(Scheme.GENERIC, BODY, source["secret"].encode(), delivery_id=random_id(), now=datetime.now(UTC))
    async with http_client(source["url"]) as client:
        answer = await client.post(
            source["url"], content=BODY, headers=dict(headers) | {"Content-Type": "application/json"}
        )
    try:
        content = answer.json()
    except ValueError as error:
        raise ProtocolViolation(f"HTTP {answer.status_code}, and no JSON: this is not Clawback's answer") from error
    if answer.status_code != _ACCEPTED:
        raise Unavailable(f"HTTP {answer.status_code}: {content.get('detail') or content.get('status')}")
    return str(content["eventId"])


async def _ended(inquiry: Inquiry, event_id: str) -> str:
    for record in await inquiry.ask(wire.EventHistory(request_id="")):
        if record["eventId"] == event_id:
            return f"it is {printable(record['state'])} in the history"
    raise Unavailable("it is not among the newest 20 of the history")
