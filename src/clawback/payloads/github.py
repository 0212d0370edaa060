"""
GitHub's payloads made short: what somebody who reviews or triages needs of them. Pure.

A payload is two hundred fields that name one pull request and nine tenths links to the API. Kept are texts, names,
numbers, branches, commits, times and states; one link for people for each thing that the event is about. People become
their login, repositories below the first their full name, labels and milestones their title. Rules go by the shape of
an object, so they hold for event types that nobody thought of here.

Source: docs.github.com, "Webhook events and payloads".
"""

from typing import Any

_NOISE = frozenset(
    {
        "_links",
        "gravatar_id",
        "installation",
        "node_id",
        "permissions",
        "reactions",
        "tree_id",
        "updated_at",
        "url",
    }
)
"""What is left out wherever it stands: ids of other APIs, and what can be followed from the rest."""

_LINKS = frozenset({"details_url", "environment_url", "html_url", "target_url"})
"""Links for people; kept of the things that the event is about, one below the top."""

_REPOSITORY = ("full_name", "description", "private", "archived", "default_branch", "language")
"""What is kept of the repository that the event is from."""


def shorten(payload: dict[str, Any]) -> dict[str, Any]:
    """Make the short form of a payload."""
    short = {name: _shorten(value, 1) for name, value in payload.items() if not _is_noise(name, 0)}
    repository = payload.get("repository")
    if isinstance(repository, dict) and "full_name" in repository:
        short["repository"] = {name: repository[name] for name in _REPOSITORY if name in repository}
    commits = payload.get("commits")
    head = payload.get("head_commit")
    if isinstance(commits, list) and head in commits:
        short.pop("head_commit", None)  # a push says its last commit twice
    return short


def _shorten(value: Any, depth: int) -> Any:  # noqa: ANN401 -- JSON
    if isinstance(value, list):
        return [_shorten(item, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    if (name := _name_of(value)) is not None:
        return name
    short = {name: _shorten(below, depth + 1) for name, below in value.items() if not _is_noise(name, depth)}
    if "number" in short:
        short.pop("id", None)  # the API takes the number
    if short.get("committer") == short.get("author"):
        short.pop("committer", None)
    return short


def _is_noise(name: str, depth: int) -> bool:
    if name in _LINKS:
        return depth != 1
    return name in _NOISE or name.endswith(("_url", "_node_id"))


def _name_of(value: dict[str, Any]) -> Any:  # noqa: ANN401 -- JSON
    """Name a thing by the one field that says which it is: a person, repository, label, milestone, app or team."""
    if "login" in value and "avatar_url" in value:
        return value["login"]
    if "full_name" in value and "owner" in value:
        return value["full_name"]
    if "name" in value and "color" in value and "default" in value:
        return value["name"]
    if "title" in value and "open_issues" in value:
        return value["title"]
    if "slug" in value and ("permissions" in value or "privacy" in value):
        return value["slug"]
    return None
