"""
Conditions: whether an event is wanted, as an expression in CEL (cel.dev). Pure.

An expression sees four names: `body` (the payload's JSON), `headers` (lower case names), `type` (the event type) and
`source` (the slug). Only a condition that is true lets an event pass. What fails, such as a field that is not there, is
false and says so: a mistake never opens a route by accident.

The library bounds the work: expressions nest at most 32 deep, loops make at most 10,000 steps together, and regular
expressions are RE2's, which take linear time (docs/adr/0025). Two things it does not bound, so this file does. It
converts all that it is handed: it is handed only what the expression names, and not more than `MAX_NODES` values of
that. And its `map` and `filter` copy their list at each step, 8 s for 9,000 elements: they are refused.
"""

import math
import re
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from cel_expr_python import cel
from msgspec import Struct

from clawback.errors import Rejected
from clawback.senders.request import PROOF

MAX_CHARACTERS = 2000
"""Of one expression. It bounds how deep and how long anything in it can be."""

MAX_VALUES = 10
"""Values that are kept of what a condition looked at."""

MAX_VALUE_CHARACTERS = 80

MAX_NOTE_CHARACTERS = 300

MAX_NODES = 50_000
"""Values of the body that are handed to one expression: 0.15 s of work. GitHub's largest bodies have some 3,000."""

MAX_DEPTH = 64
"""Levels of the body that are handed to one expression; its own steps go 32 deep."""

_TOO_MUCH = (
    f"it reads more than {MAX_NODES} values of the body, or deeper than {MAX_DEPTH}; name what it needs more exactly"
)

_CACHED = 1024
"""Compiled conditions kept in memory: more than the routes that are in use at one time."""

_CONTAINER = "clawback"
"""`type` is a function of CEL's own. A variable of this container hides it where no bracket follows."""

_ENVIRONMENT = cel.NewEnv(
    container=_CONTAINER,
    variables={
        "body": cel.Type.DYN,
        "headers": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
        f"{_CONTAINER}.type": cel.Type.STRING,
        "source": cel.Type.STRING,
    },
)

_RAW = r"""[bB]?[rR][bB]?(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"]*"|'[^']*')"""
_STRING = r"""[bB]?(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
_COMMENT = r"//[^\n]*"
_STEP = r"""\s*\.\s*[A-Za-z_]\w*(?!\w|\s*\()|\s*\[\s*(?:\d+|"[^"\\]*"|'[^'\\]*')\s*\]"""
_LOOKED_AT = re.compile(
    rf"{_RAW}|{_STRING}|{_COMMENT}|(?<![\w.])((?:body|headers)\b(?:{_STEP})*|(?:type|source)\b(?!\s*\())", re.DOTALL
)
"""
What an expression names, and what only looks like it: strings and comments.

Where in doubt it takes the whole body: a field that was not handed over would look as if it were not there.
"""
_LIST_MAKER = re.compile(rf"{_RAW}|{_STRING}|{_COMMENT}|\.\s*(map|filter)\s*\(", re.DOTALL)
_STEPS = re.compile(r"""\.\s*([A-Za-z_]\w*)|\[\s*(\d+)\s*\]|\[\s*["']([^"'\\]*)["']\s*\]""")
_NOTHING = object()


Wanted = dict[str, "Wanted | None"]
"""A tree of steps into the body; None means everything below."""


class Facts(Struct, frozen=True):
    """What a condition is asked about. `body` is None where the payload is no JSON."""

    body: Any
    headers: dict[str, str]
    type: str
    source: str


class Outcome(Struct, frozen=True):
    """
    What a condition says of an event.

    `note` says why it is false where the expression could not be evaluated. `values` are what a false one looked at, as
    text and cut, by how the expression names them; None where nothing was there. They come from outside.
    """

    passed: bool
    note: str | None
    values: dict[str, str | None]


class Condition:
    """One compiled expression. `text` is what its owner wrote."""

    def __init__(self, text: str, expression: cel.Expression) -> None:
        self.text = text
        self._expression = expression
        names = dict.fromkeys(found[1] for found in _LOOKED_AT.finditer(text) if found[1])
        self._names = tuple(name for name in names if name not in ("body", "headers"))[:MAX_VALUES]
        self.reads_headers = any(name.startswith("headers") for name in names)
        self.wanted = _join(_path(name) for name in names if name.startswith("body"))
        """What it reads of the body: no more of it need be made."""

    def evaluate(self, facts: Facts) -> Outcome:
        """Ask it about one event; never raises, and is false where it cannot tell."""
        result, note = self._ask(facts)
        if result:
            return Outcome(passed=True, note=None, values={})
        return Outcome(passed=False, note=note, values={name: _show(_look(facts, name)) for name in self._names})

    def too_much(self) -> Outcome:
        """Say that what it reads of an event is too large to be read."""
        return Outcome(passed=False, note=_TOO_MUCH, values={})

    def _ask(self, facts: Facts) -> tuple[bool, str | None]:
        try:
            body = _fit(_select(facts.body, self.wanted))
        except _TooMuchError:
            return False, _TOO_MUCH
        data = {"body": body, "headers": facts.headers, f"{_CONTAINER}.type": facts.type, "source": facts.source}
        try:
            value = self._expression.eval(data=data)
            result, kind = value.value(), value.type()
        except RuntimeError as error:
            # The library raises nothing else. A loop that is too long comes here.
            return False, _reason(str(error))
        if kind == cel.Type.ERROR:
            return False, _reason(str(result))
        if not isinstance(result, bool):
            return False, f"it is neither true nor false, but {kind.name()}"
        return result, None


@lru_cache(_CACHED)
def compile_condition(text: str, name: str = "if") -> Condition:
    """
    Compile an expression. The same one is compiled once.

    Raises:
        Rejected: it is no CEL, is too long, or can be neither true nor false; says where. `name` is the setting's.
    """
    if len(text) > MAX_CHARACTERS:
        raise Rejected(f"{name} has {len(text)} characters: accepted are at most {MAX_CHARACTERS}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Rejected(f"{name} holds half a surrogate pair, which is no text: send it as UTF-8") from None
    for found in _LOOKED_AT.finditer(text):
        if (read := found[1]) and read.startswith("headers") and any(PROOF.search(step) for step in _path(read)):
            raise Rejected(
                f"{name} reads {_quoted(read)}: headers that prove who sent a request are verified, and not shown to"
                " conditions, whose values stand in the history"
            )
    if maker := next((found[1] for found in _LIST_MAKER.finditer(text) if found[1]), None):
        raise Rejected(f"{name} uses {maker}, which makes a list: ask with exists, exists_one or all, and size()")
    try:
        expression = _ENVIRONMENT.compile(text)
        kind = expression.return_type()
    except RuntimeError as error:
        raise Rejected(
            f"{name} is no CEL expression: {_reason(str(error))}; it is a condition such as"
            " body.action == 'opened' && !body.pull_request.draft, over body, headers, type and source (cel.dev)"
        ) from None
    if kind not in (cel.Type.BOOL, cel.Type.DYN):
        raise Rejected(f"{name} is a {kind.name()}: a condition is true or false, such as body.action == 'opened'")
    return Condition(text, expression)


class _TooMuchError(Exception):
    """The body holds more than an expression is handed."""


def _path(name: str) -> tuple[str, ...]:
    """Part a name such as `body.a["b"][0]` into its steps below the root."""
    return tuple(field or key or index for field, index, key in _STEPS.findall(name))


def _look(facts: Facts, name: str) -> Any:  # noqa: ANN401 -- JSON
    root = re.match(r"\w+", name)
    assert root is not None, "every name begins with one of the four"
    value = getattr(facts, root[0])
    for step in _path(name):
        if isinstance(value, Mapping):
            value = value.get(step, _NOTHING)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return _NOTHING
    return value


def _join(paths: Iterable[tuple[str, ...]]) -> Wanted | None:
    tree: Wanted = {}
    for path in sorted(paths, key=len):
        if not path:
            return None
        branch = tree
        for step in path[:-1]:
            below = branch.setdefault(step, {})
            if below is None:
                break  # a shorter path takes all of it
            branch = below
        else:
            branch[path[-1]] = None
    return tree


def _select(value: Any, wanted: Wanted | None) -> Any:  # noqa: ANN401 -- JSON
    """Keep the fields of objects that are wanted; an array stays whole, since its indexes count."""
    if wanted is None or not isinstance(value, dict):
        return value
    return {name: _select(value[name], below) for name, below in wanted.items() if name in value}


def _fit(value: Any) -> Any:  # noqa: ANN401 -- JSON
    """
    Copy JSON as CEL can have it: an integer beyond 64 bits becomes a double, half a surrogate pair U+FFFD.

    Raises:
        _TooMuchError: it has too many values, or is too deep.
    """
    nodes = 0

    def fit(each: Any, depth: int) -> Any:  # noqa: ANN401 -- JSON
        nonlocal nodes
        nodes += 1
        if nodes > MAX_NODES or depth > MAX_DEPTH:
            raise _TooMuchError
        if isinstance(each, dict):
            return {_text(name): fit(below, depth + 1) for name, below in each.items()}
        if isinstance(each, list):
            return [fit(below, depth + 1) for below in each]
        if isinstance(each, str):
            return _text(each)
        if isinstance(each, int) and not -(2**63) <= each < 2**63:
            return float(each) if each.bit_length() < sys.float_info.max_exp else math.copysign(math.inf, each)
        return each

    return fit(value, 0)


def _text(text: str) -> str:
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _show(value: Any) -> str | None:  # noqa: ANN401 -- JSON
    if value is _NOTHING:
        return None
    match value:
        case dict():
            shown = f"an object with {len(value)} fields"
        case list():
            shown = f"a list of {len(value)}"
        case None | bool():
            shown = {None: "null", True: "true", False: "false"}[value]
        case _:
            shown = str(value)
    return shown if len(shown) <= MAX_VALUE_CHARACTERS else f"{shown[:MAX_VALUE_CHARACTERS]}…"


def _quoted(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= MAX_VALUE_CHARACTERS else f"{shown[:MAX_VALUE_CHARACTERS]}…"


def _reason(text: str) -> str:
    """Keep the sentence of the library's message, with the place it names: line and column."""
    if missing := re.match(r'NOT_FOUND: Key not found in map : "?(.*?)"?(?: \[|$)', text):
        return f"there is no {missing[1]!a}"[:MAX_NOTE_CHARACTERS]
    first = text.replace("<input>:", "").split("\n")[0]
    return re.sub(r"^(?:[A-Z_]+: )+|\s*\[[A-Z_]+\]$", "", first).strip()[:MAX_NOTE_CHARACTERS]
