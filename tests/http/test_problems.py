"""Errors as HTTP answers."""

import json

import pytest

from clawback import errors
from clawback.http import problems
from clawback.http.problems import build_problem


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (errors.Rejected("no"), 400, None),
        (errors.BadPayload("no"), 400, None),
        (errors.BadSignature("no"), 401, None),
        (errors.Unauthorized("no"), 401, None),
        (errors.NotFound("no"), 404, None),
        (errors.Conflict("no"), 409, None),
        (errors.TooLarge("no"), 413, None),
        (errors.QueueFull("no"), 429, "60"),
        (errors.RateLimited("no"), 429, "60"),
        (errors.RateLimited("no", 0.01), 429, "1"),
        (errors.RateLimited("no", 2.5), 429, "3"),
        (errors.ProtocolViolation("no"), 400, None),
        (errors.Unavailable("no"), 503, "5"),
    ],
)
def test_every_error_of_a_request_has_its_status_and_its_own_words(error, status, retry_after):
    """The answer carries the status of the error's class, its message, and when to come again."""
    problem = build_problem(error)

    assert problem.status == status
    assert json.loads(problem.body)["detail"] == "no"
    assert json.loads(problem.body)["status"] == status
    assert dict(problem.headers)["content-type"] == "application/problem+json"
    assert dict(problem.headers).get("retry-after") == retry_after


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.SecretUnreadable("key 0badc0de of source src_x"), 503),
        (errors.RecordUnreadable("the record of src_x"), 503),
        (errors.ConfigError("/etc/clawback"), 500),
        (errors.ClawbackError("bare"), 500),
        (RuntimeError("a bug, with a path in it"), 500),
    ],
)
def test_what_only_the_operator_may_read_is_not_shown(error, status):
    """Messages about keys, settings and bugs stay in the log: the answer goes to strangers."""
    problem = build_problem(error)

    assert problem.status == status
    assert str(error) not in problem.body.decode()
    assert json.loads(problem.body)["detail"] == problems.OPERATOR_DETAIL


def test_every_class_of_the_tree_is_answered():
    """No subclass of ClawbackError falls through to the answer for bugs, but for those that stop the start."""
    tree = [thing for thing in vars(errors).values() if isinstance(thing, type)]
    unanswered = {kind.__name__ for kind in tree if build_problem(kind("x")).status == 500}

    assert unanswered == {"ClawbackError", "ConfigError"}
