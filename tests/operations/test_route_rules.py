"""What the routes of a source may be: orders, and objects that say more."""

import msgspec
import pytest

from clawback.errors import Rejected
from clawback.fields import RouteFields
from clawback.model import WHOLE, Priority, Projection, Route, Source
from clawback.operations.route_rules import check_routes, write_orders, write_routes


def test_routes_are_kept_as_they_are():
    """Order, `*`, prompts of many lines; no routes are an empty map."""
    routes = {"pull_request.opened": "/review", "*": "Look at this.\nThen stop.", "Push Hook": "/push"}

    assert check_routes(routes) == routes
    assert check_routes(None) == {}
    assert check_routes({}) == {}
    assert len(check_routes({f"t{n}": "/x" for n in range(200)})) == 200
    assert check_routes({"x": "y" * 16 * 1024})


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        ({f"t{n}": "/x" for n in range(201)}, "201 routes: accepted are at most 200"),
        ({"": "/x"}, "its event type reads ''"),
        ({" ": "/x"}, "its event type reads ' '"),
        ({"x" * 514: "/x"}, "of at most 513 characters"),
        ({"x\0": "/x"}, "NUL"),
        ({"x": ""}, "the route of 'x' is empty"),
        ({"x": " \n"}, "the route of 'x' is empty"),
        ({"x": "y" * (16 * 1024 + 1)}, "has 16385 bytes: accepted are at most 16384"),
        ({"x": "ü" * 8193}, "has 16386 bytes"),
        ({"x": "a\0b"}, "the route of 'x' holds a NUL"),
        ({f"t{n}": "y" * 16_000 for n in range(33)}, "bytes in all"),
    ],
)
def test_routes_that_lead_nowhere_are_refused(routes, message):
    """Each refusal names the route."""
    with pytest.raises(Rejected, match=message):
        check_routes(routes)


def test_a_route_object_is_kept_and_answered_as_it_was_given():
    """Beside texts, which stay texts."""
    given = {
        "push": "/look",
        "pull_request": {"do": "Review {pull_request.title}", "priority": "priority", "payload": "compact"},
        "issues": {"do": "/triage", "payload": ["issue.title"]},
        "star": {"do": "/thank", "payload": "full"},
    }
    checked = check_routes(msgspec.convert(given, dict[str, str | RouteFields]), "github")

    assert checked == {
        "push": "/look",
        "pull_request": Route("Review {pull_request.title}", Priority.PRIORITY, Projection(compact="github")),
        "issues": Route("/triage", payload=Projection(fields=("issue.title",))),
        "star": Route("/thank", payload=WHOLE),
    }
    assert msgspec.json.decode(msgspec.json.encode(write_routes(checked))) == given
    assert write_orders(checked) == {
        "push": "/look",
        "pull_request": "Review {pull_request.title}",
        "issues": "/triage",
        "star": "/thank",
    }
    stored = msgspec.json.encode(checked)
    assert msgspec.json.decode(stored, type=dict[str, str | Route]) == checked


@pytest.mark.parametrize(
    ("route", "message"),
    [
        ({"do": ""}, "the route of 'push' is empty"),
        ({"do": "Review {title"}, r"do of the route of 'push' refused, read 'Review \{title': a \{ stands alone"),
        ({"do": "Review {}"}, "a field is a path such as"),
        ({"do": "x" * 16_385}, "the route of 'push' has 16385 bytes"),
        ({"do": "/go", "payload": "short"}, "payload refused, read 'short'"),
        ({"do": "".join(f"{{a{n}}}" for n in range(21))}, "names 21 fields: accepted are at most 20"),
    ],
)
def test_a_route_object_that_would_not_do_is_refused(route, message):
    """The refusal names the route, and the field of it."""
    with pytest.raises(Rejected, match=message):
        check_routes({"push": msgspec.convert(route, RouteFields)})


@pytest.mark.parametrize("field", ["iff", "Do", "merge", "sesion"])
def test_a_field_that_no_route_has_is_refused(field):
    """By the word that is wrong: left out, it would have changed what reaches a session."""
    with pytest.raises(msgspec.ValidationError, match=f"unknown field `{field}`"):
        msgspec.convert({"do": "/go", field: {}}, RouteFields)


def test_a_source_of_an_earlier_version_has_texts():
    """Its stored routes are read as they were written."""
    stored = (
        b'{"id":"s","profileId":"p","slug":"h","scheme":"none","createdAt":"2026-01-01T00:00:00Z","routes":{"a":"/b"}}'
    )

    assert msgspec.json.decode(stored, type=Source).routes == {"a": "/b"}
