"""
What was set aside: single items that a loop could not take, while it went on with the others.

One item that nobody can use must not end what everybody shares. So whoever goes over items keeps here which it passed
over and why, and takes it out when it works again. `/readyz` counts them, `/metrics` has them by kind, lists show the
reason.
"""

from collections import OrderedDict

from clawback.telemetry import metrics

MAX_KEPT = 10_000
"""Items of a kind whose reasons are kept; of more, the newest."""


class Aside:
    """What this server has set aside, by kind and name; a kind is a word for people, such as `cron`."""

    def __init__(self) -> None:
        self._kinds: dict[str, OrderedDict[str, str]] = {}

    def put(self, kind: str, name: str, reason: str) -> bool:
        """Keep why an item was passed over; False where that was known already."""
        known = self._kinds.setdefault(kind, OrderedDict())
        new = known.get(name) != reason
        known[name] = reason
        if len(known) > MAX_KEPT:
            known.popitem(last=False)
        metrics.SET_ASIDE.labels(kind).set(len(known))
        return new

    def clear(self, kind: str, name: str) -> None:
        """Forget an item: it works, or is gone."""
        known = self._kinds.get(kind)
        if known and known.pop(name, None) is not None:
            metrics.SET_ASIDE.labels(kind).set(len(known))

    def reason(self, kind: str, name: str) -> str | None:
        """Say why an item was set aside; None where it was not."""
        known = self._kinds.get(kind)
        return None if known is None else known.get(name)

    def describe(self) -> str | None:
        """Count what is set aside, as a sentence for anybody; None where that is nothing."""
        counts = [f"{len(known)} of kind {kind}" for kind, known in sorted(self._kinds.items()) if known]
        if not counts:
            return None
        return f"set aside, while all else goes on: {', '.join(counts)}; the log and the lists say which and why"
