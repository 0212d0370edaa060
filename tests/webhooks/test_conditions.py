"""Conditions in CEL: what lets an event pass, what is false and why, and that no expression costs much."""

import json
import resource
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawback.errors import Rejected
from clawback.model import Route, Source
from clawback.senders.request import Headers, Request
from clawback.webhooks.conditions import MAX_CHARACTERS, MAX_NODES, Facts, compile_condition
from clawback.webhooks.wanted import find_objection
from senders import NOW

PULL_REQUEST = json.loads((Path(__file__).parents[1] / "data/github/pull_request.opened.json").read_text())
HEADERS = {"x-github-event": "pull_request"}
ODD = {
    "big": 10**30,
    "gone": None,
    "half": "\ud83d",
    "long": "a" * 100_000 + "!",
    "list": list(range(9000)),
    "items": [{"i": number, "s": "x" * 60, "t": ["a", "b"]} for number in range(9000)],
    "a-b": {"c d": 1},
    "n": 0,
    "yes": True,
    "object": {"x": 1},
}


def ask(text, body=None, **facts):
    """Ask a condition about a pull request, or about another body."""
    facts = {"headers": HEADERS, "type": "pull_request.opened", "source": "shop"} | facts
    return compile_condition(text).evaluate(Facts(PULL_REQUEST if body is None else body, **facts))


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("body.action == 'opened'", True),
        ("body.action == 'closed'", False),
        ("body.sender.type != 'Bot' && !body.pull_request.draft", True),
        ("body.pull_request.number > 0", True),
        ("body.pull_request.labels.exists(label, label.name == 'agent')", False),
        ("type == 'pull_request.opened'", True),
        ("type.startsWith('push')", False),
        ("type(body) == map", True),
        ("source == 'shop' && headers['x-github-event'] == 'pull_request'", True),
        ("has(body.nothing)", False),
        ("!has(body.nothing)", True),
        ("body.nothing == 1 || body.action == 'opened'", True),
        ("(body).action == 'opened'", True),
        ("body[\"action\"] == 'opened'", True),
        ("body['\\x61ction'] == 'opened'", True),
        ("body . action == 'opened'", True),
        ("// it's a comment with body.draft\nbody.action == 'opened'", True),
        ("'body.draft' != body.action", True),
        ("'''it's''' != body.action && !has(body.pull_request.nope)", True),
        ("true", True),
    ],
)
def test_a_condition_tells_what_is_wanted(text, passed):
    """Over the body, the headers, the type and the source."""
    assert ask(text).passed is passed


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("body.nothing == 'x'", "there is no 'nothing'"),
        ("body.nothing != 'x'", "there is no 'nothing'"),
        ("!(body.nothing.deeper == 'x')", "there is no 'nothing'"),
        ("headers['x-nothing'] != 'y'", "there is no 'x-nothing'"),
        ("body.items[99999999].i == 0", ""),
        ("body.gone.x != 1", ""),
        ("body.object", "neither true nor false"),
        ("body.n / body.n == 1", "divide by zero"),
        ("int(body.long) != 1", "cannot convert"),
        ("body.list.all(x, body.list.all(y, x + y >= 0))", "budget"),
        ("body.items.all(x, true)", f"more than {MAX_NODES} values"),
    ],
)
def test_what_cannot_be_told_is_false_and_says_so(text, note):
    """A mistake, or a body that is not as expected, never lets an event pass."""
    outcome = ask(text, ODD)

    assert outcome.passed is False
    assert note in outcome.note


def test_only_what_an_expression_names_is_read():
    """So a condition on one field of a large body costs as little as on a small one."""
    body = {"small": {"x": 1, "y": list(range(MAX_NODES))}, "items": list(range(MAX_NODES + 1))}

    assert ask("body.small.x == 1 && type != ''", body).passed
    assert ask("body.small.x == 1 && body.small.y.size() > 1", body).passed is False, "all of y is too much with x"
    assert ask("source == 'shop'", body).passed
    assert ask("body.small.x == 1 && body.small != {}", body).passed is False, "the shorter path takes the longer one"


def test_a_body_that_is_no_json_has_no_fields():
    """So a condition on one is false, and one on the type alone still works."""
    facts = Facts(None, {}, "message", "shop")

    assert compile_condition("body.x != 1").evaluate(facts).passed is False
    assert compile_condition("type == 'message'").evaluate(facts).passed is True


@pytest.mark.parametrize(
    ("text", "passed"),
    [("body.big > 1", True), ("body.half == '\ufffd'", True), ("body.yes", True), ("body.n == 0", True)],
)
def test_values_that_cel_does_not_know_are_read_as_near_as_can_be(text, passed):
    """An integer beyond 64 bits is a double, half a surrogate pair is U+FFFD; neither spoils the rest of the body."""
    assert ask(text, ODD).passed is passed


def test_it_says_what_it_looked_at():
    """Whoever reads why an event was held back sees the values, cut, as the expression names them."""
    outcome = ask(
        "body.n == 1 && body['a-b'] != 1 && body.long == '' && body.list[2] == 2 && type == 'x'"
        " && body.none == body.gone",
        ODD,
    )

    assert outcome.values == {
        "body.n": "0",
        "body['a-b']": "an object with 1 fields",
        "body.long": "a" * 80 + "…",
        "body.list[2]": "2",
        "type": "pull_request.opened",
        "body.none": None,
        "body.gone": "null",
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("body.action ==", "1:"),
        ("body.action = 'x'", "1:"),
        ("nothing == 1", "undeclared reference to 'nothing'"),
        ("1 + 1", "INT"),
        ("'yes'", "STRING"),
        ("type", "STRING"),
        ("", "no CEL expression"),
        ("true" + " " * MAX_CHARACTERS, f"at most {MAX_CHARACTERS}"),
        ("(" * 100 + "true" + ")" * 100, "recursion"),
        ("'\ud800' == ''", "surrogate"),
        ("body.list.filter(x, x > 1).size() > 1", "uses filter"),
        ("body.list . map (x, x) == []", "uses map"),
        ("fetch('http://example.com')", "undeclared reference to 'fetch'"),
    ],
)
def test_what_is_no_condition_is_refused_when_it_is_saved(text, told):
    """With the place, and what would do."""
    with pytest.raises(Rejected) as refused:
        compile_condition(text)

    assert told in str(refused.value)


PIECES = st.sampled_from(
    [
        *(
            "body",
            "headers",
            "type",
            "source",
            ".items",
            ".long",
            ".list",
            ".big",
            ".half",
            ".n",
            "[0]",
            "[-1]",
            "['x']",
        ),
        *(
            ".exists(x,",
            ".all(x,",
            ".map(x,",
            ".exists_one(y,",
            "x",
            "y",
            ".matches('(a+)+$')",
            ".size()",
            "has(",
            "size(",
        ),
        *(".contains('a')", "string(", "int(", "double(", "timestamp(", "duration(", "dyn(", "bytes(", "type(", "in"),
        *(
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            "==",
            "!=",
            "<",
            ">",
            "&&",
            "||",
            "!",
            "+",
            "-",
            "*",
            "/",
            "%",
            "?",
            ":",
            ",",
            ".",
        ),
        *("true", "false", "null", "1", "-1", "1.5", "'a'", '"b"', "//", "\n", "r'\\'", "'''"),
    ]
)


@settings(deadline=None)  # an odd expression on all of the odd body takes 0.1 s, more on a busy machine
@given(st.lists(PIECES, max_size=25).map(" ".join))
def test_any_text_is_refused_or_answered(text):
    """Odd expressions on an odd body: a refusal, or true or false, and never anything else."""
    try:
        condition = compile_condition(text)
    except Rejected:
        return

    assert condition.evaluate(Facts(ODD, HEADERS, "push", "shop")).passed in (True, False)


def test_costly_expressions_leave_no_memory_behind():
    """Again and again, on a body of a megabyte."""
    texts = (
        "body.items.exists(x, x.s == '')",
        "body.list.exists_one(x, [x, x, x] == [1, 2, 3])",
        "body.long.matches('(a|aa)+$')",
        "body.list.all(x, body.list.exists(y, x == y))",
        "body == body",
        "size(body.long + body.long + body.long) > 1",
    )
    for text in texts:
        ask(text, ODD)
    before = peak_bytes()
    for _ in range(10):
        for text in texts:
            ask(text, ODD)

    assert peak_bytes() - before < 20 * 1024 * 1024


def peak_bytes():
    """Tell the most that this process ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.timeout(180)
def test_300_odd_expressions_on_a_megabyte_are_answered():
    """Through the request, as webhooks are: each is refused or answered, in bounded work, and memory stays flat."""
    body = json.dumps({**ODD, "half": "x", "fill": "y" * 100}).encode()
    request = Request(Headers([(b"x-kind", b"a")]), body)
    reads = ("body", "body.items", "body.long", "body.list", "body['a-b']", "headers", "body.items[0].s", "type")
    shapes = (
        "{0} == {0}",
        "{0}.exists(x, x == 1)",
        "{0}.all(x, {0}.all(y, x == y))",
        "{0}.matches('(a+)+$')",
        "{0}.matches('(a|a?)+$') || {0}.matches('" + "a?" * 200 + "a')",
        "string({0}).size() > 1",
        "({0} + {0} + {0}).size() > 1",
        "!" * 30 + "({0} == 1)",
        "(" * 30 + "{0} == 1" + ")" * 30,
        "[" * 20 + "{0}" + "]" * 20 + " == []",
        "int({0}) / 0 == 1",
        "{0}[99999999999] == 1",
        "{0}.exists_one(x, x.t.exists(y, y == 'a'))",
        "{0}.contains('a') && {0}.startsWith('a')",
        "has({0}.a.b.c.d.e)",
        " || ".join(["{0} == 1"] * 60),
        "timestamp({0}) > timestamp('2026-01-01T00:00:00Z')",
        "{0} in {0}",
        "{0}.map(x, x) == []",
        "type({0}) == string",
        "bytes({0}) == b'x'",
        "{0} < 1 || {0} > 1.5 || {0} == null",
        "duration({0}) == duration('1s')",
        "{{'a': {0}}}.a == {0}",
        "{0} ? true : false",
        "{0}.size() > 10 && {0}.size() < 100000",
        "dyn({0}) == dyn({0})",
        "'\\u0000' == {0}",
        "double({0}) == 1e308",
        "{0} == {0} && !({0} != {0})",
        "{0}.all(x, x.matches('^(([a-z])+.)+[A-Z]([a-z])+$'))",
        "uint({0}) == 18446744073709551615u",
        "{0}[-1] == 1",
        "{0}['x']['y']['z'] == 1",
        "{0}.endsWith('!') == true",
        "[{0}, {0}, {0}].exists(x, x == {0})",
        "r'\\d' == {0}",
        "{0} == '" + "z" * 1500 + "'",
    )
    asked = 0
    before = None
    for text in (shape.format(read) for shape in shapes for read in reads):
        source = Source("s", "p", "hub", "none", NOW, condition=text)
        objection = find_objection(request, source, Route("/x"), "push")
        asked += 1

        assert objection is None or objection.condition == text
        before = before or (peak_bytes() if asked == len(reads) * 3 else None)

    assert asked > 300
    assert peak_bytes() - before < 200 * 1024 * 1024
