"""
Dotted paths into a JSON value: `pull_request.head.sha`, `commits.0.message`. Pure.

A step names a field of an object or, in digits, an element of an array; in a selection `*` is every element of one,
`commits.*.message`. A field with a dot in its name cannot be reached by itself, only with the object around it.
"""

import re
from collections.abc import Iterable
from typing import Any

from clawback.errors import NotFound, Rejected

MAX_DEPTH = 12
"""Steps of one path; GitHub's payloads are eight deep."""

MAX_CHARACTERS = 200
EVERY = "*"

MAX_NAMES = 60
"""Told of an object where a path ends; GitHub's largest has some 80."""

_INDEX = re.compile("[0-9]{1,9}")
_NAME = re.compile("[A-Za-z0-9_-]{1,40}")
_NOTHING = object()

Wanted = dict[str, Any]
"""A tree of steps; an empty one means everything below."""


def parse_path(path: str) -> list[str]:
    """
    Part a path into its steps; an empty one has none, and means the whole.

    Raises:
        Rejected: it is too long or too deep, or a step is empty.
    """
    steps = path.split(".") if path else []
    if len(path) > MAX_CHARACTERS or len(steps) > MAX_DEPTH or not all(steps) or not path.isprintable():
        raise Rejected(
            f"path refused, read {path[:MAX_CHARACTERS]!a}: accepted are at most {MAX_DEPTH} names or numbers with dots"
            f" between them, at most {MAX_CHARACTERS} characters, such as pull_request.head.sha"
        )
    return steps


def value_at(value: Any, path: str) -> Any:  # noqa: ANN401 -- JSON
    """
    Follow a path.

    Raises:
        Rejected: it is no path.
        NotFound: it leads nowhere; names how far it goes, and what is there.
    """
    went: list[str] = []
    for step in parse_path(path):
        below = _child(value, step)
        if below is _NOTHING:
            raise NotFound(f"there is no {step!a} at {'.'.join(went) or 'the top'}: {_describe(value)}")
        went.append(step)
        value = below
    return value


def parse_selection(paths: Iterable[str]) -> Wanted:
    """
    Join paths into the tree of what they select; of a path and a longer one that goes on from it, the shorter counts.

    Raises:
        Rejected: one of them is no path.
    """
    tree: Wanted = {}
    for steps in sorted((parse_path(path) for path in paths), key=len):
        branch = tree
        for step in steps:
            if branch.get(step) == {}:
                break  # all of it is wanted already, as shorter paths come first
            branch = branch.setdefault(step, {})
    return tree


def select(value: Any, wanted: Wanted) -> Any:  # noqa: ANN401 -- JSON
    """Keep what is wanted, in its place: objects and arrays around it stay, with nothing else in them."""
    found = _select(value, wanted)
    return {} if found is _NOTHING else found


def _select(value: Any, wanted: Wanted) -> Any:  # noqa: ANN401 -- JSON
    if not wanted:
        return value
    if isinstance(value, dict):
        steps = {name: below for name, below in wanted.items() if name in value}
        kept = {name: _select(value[name], below) for name, below in steps.items()}
        return {name: each for name, each in kept.items() if each is not _NOTHING}
    if isinstance(value, list):
        if EVERY in wanted:
            items = [_select(item, wanted[EVERY]) for item in value]
        else:
            items = [
                _select(item, below) for step, below in wanted.items() if (item := _child(value, step)) is not _NOTHING
            ]
        return [item for item in items if item is not _NOTHING]
    return _NOTHING


def _child(value: Any, step: str) -> Any:  # noqa: ANN401 -- JSON
    if isinstance(value, dict):
        return value.get(step, _NOTHING)
    if isinstance(value, list) and _INDEX.fullmatch(step) and int(step) < len(value):
        return value[int(step)]
    return _NOTHING


def _describe(value: Any) -> str:  # noqa: ANN401 -- JSON
    if isinstance(value, dict):
        # Names are the sender's text too: only those that cannot be a sentence are told.
        names = ", ".join([name for name in value if _NAME.fullmatch(name)][:MAX_NAMES])
        return f"an object with {names}" if names else "an object without plain names"
    return f"an array of {len(value)}" if isinstance(value, list) else "a single value"
