"""
Patterns: which of a source's routes takes an event type. Pure.

A pattern is one of four things:

  * an exact type: `pull_request.opened`;
  * a type without its action: `pull_request` takes `pull_request` and everything that begins with `pull_request.`;
  * a prefix: `issues.*` takes everything that begins with `issues.`;
  * `*` takes every type.

Of those that fit, the one with the most literal characters counts; of equals the exact type, then the type without its
action, then the prefix. Types compare as they are, case and all.
"""

import difflib
from collections.abc import Collection, Iterable

from clawback.errors import Rejected

ANY = "*"
"""The pattern of every type that no other pattern takes."""

MAX_QUOTED = 80
"""Characters of a refused pattern that its refusal repeats."""


_LIKE = 0.75
"""How much of a name must be the same for it to be taken for a slip of another: `pull_requests`, `isues`."""


def fits(pattern: str, event_type: str) -> bool:
    """Tell whether a pattern takes an event type."""
    if pattern.endswith(ANY):
        return event_type.startswith(pattern[:-1])
    return event_type == pattern or event_type.startswith(f"{pattern}.")


def choose(patterns: Collection[str], event_type: str) -> str | None:
    """Choose the pattern that counts for an event type; None where none fits."""
    if event_type in patterns:
        return event_type
    fitting = [pattern for pattern in patterns if fits(pattern, event_type)]
    return max(fitting, key=_rank, default=None)


def check_pattern(pattern: str, types: Collection[str] = ()) -> None:
    """
    Check a pattern when it is set.

    `types` are the event types that the sender is known to have, without their actions. One that is not among them is
    taken, since senders add types, unless it looks like one of them.

    Raises:
        Rejected: it can never match; names the nearest pattern that can.
    """
    if not pattern.strip():
        raise Rejected(f"route refused, its event type reads {_quoted(pattern)}: give a type such as pull_request")
    if pattern != pattern.strip():
        raise Rejected(
            f"route refused, its event type reads {_quoted(pattern)}: blanks at its ends belong to no event type;"
            f" write {_quoted(pattern.strip())}"
        )
    if not pattern.isprintable():
        raise Rejected(
            f"route refused, its event type reads {_quoted(pattern)}: it holds a character that cannot be printed;"
            " give a type such as pull_request"
        )
    if ANY in pattern[:-1]:
        raise Rejected(
            f"route refused, its event type reads {_quoted(pattern)}: a * stands at the end, such as issues.*, or alone"
        )
    if not any(can_match(pattern, each) for each in types) and (near := nearest(pattern, types)):
        raise Rejected(
            f"route refused, its event type reads {_quoted(pattern)}: this sender has no such type, so the route could"
            f" never match; the nearest is {near}"
        )


def can_match(pattern: str, known: str) -> bool:
    """
    Tell whether a pattern can take some event of a known type.

    A known type without an action stands for all of its actions: nobody lists every action of every sender.
    """
    return fits(pattern, known) or pattern.removesuffix(ANY).startswith(f"{known}.")


def nearest(pattern: str, types: Iterable[str]) -> str | None:
    """Name the known type that looks most like a pattern, whatever its case; None where nothing does."""
    by_folded = {each.casefold(): each for each in types}
    wanted = pattern.removesuffix(ANY).rstrip(".").casefold()
    if wanted in by_folded:
        return by_folded[wanted]
    head, dot, action = wanted.partition(".")
    if head in by_folded:
        return by_folded[head] + dot + action
    found = difflib.get_close_matches(wanted, by_folded, n=1, cutoff=_LIKE) or difflib.get_close_matches(
        head, by_folded, n=1, cutoff=_LIKE
    )
    return by_folded[found[0]] if found else None


def _rank(pattern: str) -> tuple[int, bool]:
    return len(pattern.removesuffix(ANY)), not pattern.endswith(ANY)


def _quoted(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= MAX_QUOTED else f"{shown[:MAX_QUOTED]}…"
