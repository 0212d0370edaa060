"""
Which reminders are shown: of the server's, which come every two minutes, those that are worth a turn. Pure.

Rules

1.  A session that is at work is reminded each time: the reminder rides with what it does anyway.
2.  An idle one is woken, and each time is a whole turn with all that it has in mind. So it is woken once, then when
    half of the time that was left at that moment is over, and so on, as long as that half is MIN_HALF_SECONDS or more:
    twice in the usual 30 minutes.
3.  A turn that ended by asking the user is not woken: it waits for an answer. Of a turn that was held once for its
    event and ended all the same, that is taken to be so, unless its last words are known and ask nothing.

Time is passed in, in seconds of any clock that does not go back.
"""

from msgspec import Struct

from clawback.model import TIMEOUT_SECONDS

MIN_HALF_SECONDS = 600.0
"""From the third time on: so no 30 minutes have three."""

LAST_WORDS = 300
"""How much of the end of a message is looked at for a question: what follows it is short."""

QUESTION_MARKS = "?\N{FULLWIDTH QUESTION MARK}\N{ARABIC QUESTION MARK}\N{ARMENIAN QUESTION MARK}"


class _Open(Struct):
    """An event that is not acknowledged: since when, until when, when it may wake again, and whether its turn asks."""

    began: float
    allowed: float = TIMEOUT_SECONDS
    woken: int = 0
    due: float = float("-inf")
    asks: bool = False


class Reminders:
    """The events of a session that may be reminded of."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}

    def shown(self, event_id: str, now: float) -> None:
        """Take note that an event was put in front of Claude; its time counts from the first."""
        self._open.setdefault(event_id, _Open(now))

    def extended(self, event_id: str, seconds: float) -> None:
        """Take note that an event has more time."""
        if event_id in self._open:
            self._open[event_id].allowed += seconds

    def turn_ended(self, event_id: str, *, asks: bool) -> None:
        """Take note of how the turn ended that had this event."""
        if event_id in self._open:
            self._open[event_id].asks = asks

    def keep(self, event_ids: frozenset[str]) -> None:
        """Forget all events but these."""
        self._open = {event_id: each for event_id, each in self._open.items() if event_id in event_ids}

    def wants(self, event_id: str, *, is_busy: bool, now: float) -> bool:
        """Say whether a reminder of an event is to be shown now; one that wakes an idle session is counted."""
        about = self._open.setdefault(event_id, _Open(now))
        if is_busy:
            return True
        if about.asks or now < about.due:
            return False
        about.woken += 1
        half = (about.began + about.allowed - now) / 2
        about.due = now + half if about.woken == 1 or half >= MIN_HALF_SECONDS else float("inf")
        return True


def is_question(text: str) -> bool:
    """Say whether what was said last asks something."""
    return any(mark in text[-LAST_WORDS:] for mark in QUESTION_MARKS)
