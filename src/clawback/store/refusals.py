"""
Refused webhooks, remembered for the owner of their source: the newest of each source, in NATS's memory.

Strangers cause them, so they may cost nothing that strangers could use up. The intake hands one over and goes on; what
comes faster than a person could look at, or than NATS takes, is only counted. They are no record: a restart of NATS
forgets them.
"""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec
from msgspec import Struct

from clawback.errors import TooLarge, Unavailable
from clawback.fabric import subjects
from clawback.fabric.streams import Fabric
from clawback.model import Refusal, encode_json

STREAM = "REFUSED"

BURST = 5
"""Of one source at once: enough to see how a sender that was set up wrongly tries again."""

SECONDS_EACH = 5.0
"""Then one for each so many seconds, so a flood takes minutes to push out what was there before it."""

QUEUE_REFUSALS = 200
"""What may wait to be written, of everybody together."""

MAX_SOURCES = 10_000
"""How many sources are counted at one time; beyond, those that were quiet for longest begin anew."""

_decode = msgspec.json.Decoder(Refusal).decode

log = logging.getLogger("clawback.fabric")


class _Allowance(Struct):
    """What of a source is still kept: `left` at the time `since`, and how many were not since the last that was."""

    left: float
    since: float
    passed_over: int = 0


class Refusals:
    """The refusals of every source. Keep `write` running. `clock` is in seconds and does not go back."""

    def __init__(self, fabric: Fabric, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fabric = fabric
        self._clock = clock
        self._allowances: OrderedDict[str, _Allowance] = OrderedDict()
        self._waiting: asyncio.Queue[tuple[str, Refusal]] = asyncio.Queue(QUEUE_REFUSALS)

    def note(self, profile_id: str, source_id: str, refusal: Refusal) -> None:
        """Remember a refusal, soon, or only count it. Waits for nothing and never fails."""
        allowance = self._allowance(source_id)
        if allowance.left < 1 or self._waiting.full():
            allowance.passed_over += 1
            return
        allowance.left -= 1
        kept = msgspec.structs.replace(refusal, passed_over=allowance.passed_over)
        allowance.passed_over = 0
        self._waiting.put_nowait((subjects.refused_subject(profile_id, source_id), kept))

    async def write(self) -> None:
        """Write what was noted, for ever. What NATS does not take just now is forgotten."""
        while True:
            subject, refusal = await self._waiting.get()
            with contextlib.suppress(Unavailable, TooLarge):
                await self._fabric.send(subject, encode_json(refusal))

    async def of_profile(self, profile_id: str) -> dict[str, list[Refusal]]:
        """
        Read what was refused of a profile's sources, by source id, the newest first. Deleted sources may be among them.

        Raises:
            Unavailable: NATS does not answer.
        """
        found: dict[str, list[Refusal]] = {}
        for stored in reversed(await self._fabric.get_many(STREAM, subjects.refused_filter(profile_id))):
            try:
                refusal = _decode(stored.data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                log.error("refusal %d cannot be read and is left out", stored.sequence)  # noqa: TRY400 -- its text may be a stranger's
                continue
            found.setdefault(subjects.parse_refused_subject(stored.subject), []).append(refusal)
        return found

    def _allowance(self, source_id: str) -> _Allowance:
        now = self._clock()
        allowance = self._allowances.setdefault(source_id, _Allowance(BURST, now))
        allowance.left = min(BURST, allowance.left + (now - allowance.since) / SECONDS_EACH)
        allowance.since = now
        self._allowances.move_to_end(source_id)
        if len(self._allowances) > MAX_SOURCES:
            self._allowances.popitem(last=False)
        return allowance
