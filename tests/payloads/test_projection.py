"""Parts of payloads: GitHub's real ones made short, fields picked, and what is shown in full all the same."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.model import Projection, Scheme
from clawback.payloads import projection as projections
from clawback.payloads.projection import project
from github import BODIES

ROOT = Path(__file__).parents[2]
GITHUB = Projection(compact=Scheme.GITHUB)

MUST_KEEP = {
    "check_run.completed": ["failure", "ec26c3e57ca3a959ca5aad62de7213c562f8c821", "Octocoders-linter", "128620228"],
    "deployment_status.created": ["success", "production", "master"],
    "issue_comment.created": ["492700400", "You are totally right", "Spelling error", "bug", "v1.0", "OWNER"],
    "issues.opened": ["Spelling error", "It looks like you accidently spelled", "bug"],
    "ping": ["Anything added dilutes everything else.", "109948940"],
    "pull_request.closed": ['"merged":false', "closed", "ec26c3e57ca3a959ca5aad62de7213c562f8c821"],
    "pull_request.opened": [
        '"number":2',
        "Update the README with new information.",
        "This is a pretty simple change",
        '"ref":"changes"',
        '"ref":"master"',
        "f95f852bd8fca8fcc58a9a2d6c842781e32a215e",
        "Codertocat/Hello-World",
        '"draft":false',
        '"changed_files":1',
        "https://github.com/Codertocat/Hello-World/pull/2",
    ],
    "pull_request_review.submitted": ["commented", "237895671", "Update the README"],
    "push": ["refs/tags/simple-tag", "Adding a .gitignore file", "6113728f27ae82c7b1a177c8d03f9e96e0adf246"],
    "release.published": ["0.0.1", '"prerelease":false'],
    "star.created": ["created", "Codertocat"],
    "workflow_run.completed": ["1589141559", "workflow_dispatch", "Update milestone-created.yml", '"run_number":36'],
}
"""What somebody who works on each event needs: values out of the payload as it was received."""

NOISE = re.compile(r"api\.github\.com|avatars|node_id|gravatar|\{/|permissions|null|\"\"|\[\]|\{\}")


NAMES = st.sampled_from(
    [
        *("login", "avatar_url", "full_name", "owner", "name", "color", "default", "title", "open_issues", "slug"),
        *("permissions", "number", "id", "url", "author", "committer", "commits", "head_commit", "repository"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda below: st.lists(below) | st.dictionaries(NAMES | st.text(), below),
    max_leaves=40,
)


def count_tokens(text: str) -> int:
    """
    Count tokens about as a byte-pair tokenizer does, which no test can download.

    A run of letters is a token for each six begun, three digits are one, every other sign is one, a single space none.
    """
    pieces = re.findall(r"[^\W\d_]+|\d{1,3}|[^\w\s]|_|\s+", text)
    return sum(-(-len(piece) // 6) if piece[0].isalpha() else piece != " " for piece in pieces)


@pytest.mark.parametrize("path", BODIES, ids=lambda path: path.stem)
def test_a_github_event_in_short_has_what_its_reader_needs_and_no_noise(path):
    """Values that are needed, none of the links and ids; every value is one that was received."""
    body = path.read_bytes()
    short = project(body, GITHUB)

    assert [value for value in MUST_KEEP[path.stem] if value not in short] == []
    assert NOISE.findall(short) == []
    assert scalars(json.loads(short)) <= scalars(json.loads(body))


def scalars(value: object) -> set[object]:
    """Collect every single value in a JSON value."""
    if isinstance(value, dict):
        return set().union(*(scalars(below) for below in value.values()))
    return set().union(*(scalars(below) for below in value)) if isinstance(value, list) else {value}


def test_an_opened_pull_request_in_short_is_a_sixth_at_most():
    """In characters and tokens; so is every other sample, and the table in docs/performance.md is what is measured."""
    section = (ROOT / "docs/performance.md").read_text().partition("## What an event costs to read")[2]
    documented = dict(re.findall(r"^\| `([\w.]+)` \| (.+) \|$", section.partition("\n## ")[0], re.MULTILINE))
    measured = {}
    for path in BODIES:
        full, short = path.read_text(), project(path.read_bytes(), GITHUB)
        ratios = (len(full) / len(short), count_tokens(full) / count_tokens(short))
        assert min(ratios) >= 6, path
        measured[path.stem] = f"{len(full):,} | {len(short):,} | {ratios[0]:.1f} | {ratios[1]:.1f}"

    assert documented == measured


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        (("action",), {"action": "opened"}),
        (("pr.head.sha", "action"), {"action": "opened", "pr": {"head": {"sha": "abc"}}}),
        (("pr", "pr.head.sha"), {"pr": {"head": {"sha": "abc", "ref": "x"}, "title": None}}),
        (("pr.head.sha", "pr.head"), {"pr": {"head": {"sha": "abc", "ref": "x"}}}),
        (("pr.title",), {"pr": {"title": None}}),
        (("commits.*.id",), {"commits": [{"id": 1}, {"id": 2}]}),
        (("commits.1.id",), {"commits": [{"id": 2}]}),
        (("commits.*.id", "commits.*.by.name"), {"commits": [{"id": 1, "by": {"name": "a"}}, {"id": 2}]}),
        (("commits.7.id", "nothing", "action.deeper"), {"commits": []}),
        (("nothing",), {}),
    ],
)
def test_chosen_fields_stay_in_their_place(fields, part):
    """With nothing else around them; of two paths the shorter counts, and one that leads nowhere is left out."""
    payload = {
        "action": "opened",
        "pr": {"head": {"sha": "abc", "ref": "x"}, "title": None},
        "commits": [{"id": 1, "by": {"name": "a", "at": 3}}, {"id": 2}],
    }

    assert json.loads(project(json.dumps(payload).encode(), Projection(fields=fields))) == part


@pytest.mark.parametrize(
    "body",
    [b"", b"payload=%7B%7D", b"\xff", b"{", b"[" * 100_000, b'{"a":1}' + b" " * projections.MAX_BYTES],
    ids=lambda body: f"{body[:12]!r} {len(body)}",
)
def test_what_cannot_be_read_has_no_part(body):
    """A form, what is not UTF-8 or not JSON, what is nested too deeply, and what is very large."""
    assert project(body, GITHUB) is None


@pytest.mark.parametrize("depth", range(100, 1_100, 50))
@pytest.mark.parametrize("projection", [GITHUB, Projection(fields=("a.a",))], ids=["compact", "fields"])
def test_no_nesting_stops_a_session(depth, projection):
    """Reading, choosing and writing reach their ends at different depths: there is a part, or there is none."""
    body = b'{"a":' * depth + b"1" + b"}" * depth

    assert project(body, projection) in {None, body.decode()}


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b'{"a": null, "b": "", "c": [], "d": {"e": null}, "f": false, "g": 0}', '{"f":false,"g":0}'),
        (b'{"list": [null, {"a": ""}, "x"]}', '{"list":[null,{},"x"]}'),
        (b"[1, null]", "[1,null]"),
        (b'"text"', '"text"'),
        (b'{"n": 123456789012345678901234567890}', '{"n":123456789012345678901234567890}'),
        ('{"é": "ü"}'.encode(), '{"é":"ü"}'),
        (rb'{"half": "\ud83d"}', '{"half":"?"}'),
    ],
)
def test_other_services_lose_what_is_empty(body, part):
    """Places in arrays stay what they are, and so do long numbers; half a character is a question mark."""
    assert project(body, Projection(compact=Scheme.STRIPE)) == part


@given(JSON)
def test_any_payload_has_a_part_that_is_json(value):
    """Whatever its shape, also one that only looks like GitHub's; and the rules add nothing."""
    for projection in (GITHUB, Projection(compact=Scheme.NONE), Projection(fields=("a.b", "login.*.x"))):
        json.loads(project(json.dumps(value).encode(), projection))
