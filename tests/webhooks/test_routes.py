"""Routes: the exact type, `*`, the source's own skill, and what is dropped."""

import pytest

from clawback.model import Scheme, Source
from clawback.webhooks.routes import find_route
from senders import NOW


@pytest.mark.parametrize(
    ("routes", "skill", "event_type", "instruction"),
    [
        ({"push": "/review"}, None, "push", "/review"),
        ({"push": "/review", "*": "Look at it"}, None, "push", "/review"),
        ({"push": "/review", "*": "Look at it"}, None, "star.created", "Look at it"),
        ({"push": "/review", "*": "Look at it"}, None, "", "Look at it"),
        ({"push": "/review"}, None, "Push", None),
        ({"push": "/review"}, None, "push.x", "/review"),
        ({"pull_request": "/look", "pull_request.opened": "/review"}, None, "pull_request.opened", "/review"),
        ({"pull_request": "/look", "pull_request.opened": "/review"}, None, "pull_request.closed", "/look"),
        ({"issues.*": "/triage", "*": "/any"}, None, "issues.opened", "/triage"),
        ({"push": "/review"}, None, "pushed", None),
        ({"push": "/review"}, "/other", "star", None),
        ({"push": ""}, "/other", "push", ""),
        ({}, "/other", "push", "/other"),
        ({}, None, "push", ""),
        ({}, None, "", ""),
    ],
)
def test_route_is_found_or_the_event_is_not_wanted(routes, skill, event_type, instruction):
    """Routes are a list of what is wanted: with any of them, the source's skill is no fall-back."""
    source = Source("src_a", "p", "hub", Scheme.GITHUB, NOW, routes=routes, skill=skill)

    assert find_route(source, event_type) == instruction
