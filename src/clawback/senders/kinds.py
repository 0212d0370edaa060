"""
Whether the signed body bears out an event type that stands in a header. Pure.

A signature covers the body and not the headers. So whoever captured one signed request could send it again under
another type, and it would take another route. Where the body tells what it is, the header must agree: GitHub by the
keys of the body, Linear by `type`, GitLab by `object_kind`. Where it does not (Shopify's topic stands in its header
alone), the type is passed on as one that nobody signed.

What GitHub sends is told by one key that its body has, and sometimes by others beside it. A body can have the keys of
several kinds, since events carry what they are about: the first row that fits decides. A kind that is not here is no
reason to refuse an event: GitHub adds some each year, and sends none again.
"""

from collections.abc import Callable, Mapping

from clawback.errors import BadPayload, BadSignature
from clawback.model import EventTypeRule, Scheme
from clawback.senders.event_type import type_places
from clawback.senders.request import MAX_TEXT_CHARACTERS, Request

_GITHUB_ROWS: tuple[tuple[str, str], ...] = (
    ("ping", "zen hook_id"),
    ("meta", "hook hook_id"),
    ("repository_dispatch", "client_payload branch"),
    ("sub_issues", "sub_issue parent_issue"),
    ("issue_comment", "comment issue"),
    ("issues", "issue"),
    ("pull_request_review_thread", "thread pull_request"),
    ("pull_request_review_comment", "comment pull_request"),
    ("pull_request_review", "review pull_request"),
    ("pull_request", "pull_request"),
    ("discussion_comment", "comment discussion"),
    ("discussion", "discussion"),
    ("workflow_job", "workflow_job"),
    ("deployment_protection_rule", "deployment_callback_url"),
    ("deployment_status", "deployment_status"),
    ("deployment", "deployment"),
    ("deployment_review", "since workflow_run"),
    ("workflow_run", "workflow_run"),
    ("check_run", "check_run"),
    ("check_suite", "check_suite"),
    ("workflow_dispatch", "inputs workflow"),
    ("push", "before after ref"),
    ("create", "master_branch ref ref_type"),
    ("delete", "ref_type ref"),
    ("status", "context sha state"),
    ("star", "starred_at"),
    ("fork", "forkee"),
    ("gollum", "pages"),
    ("page_build", "build"),
    ("merge_group", "merge_group"),
    ("release", "release"),
    ("registry_package", "registry_package"),
    ("package", "package"),
    ("code_scanning_alert", "alert commit_oid"),
    ("secret_scanning_alert_location", "alert location"),
    # These say no further by their keys, and one alert is not to pass for another: the type is not signed.
    ("dependabot_alert repository_vulnerability_alert secret_scanning_alert", "alert"),
    ("security_advisory", "security_advisory"),
    ("repository_advisory", "repository_advisory"),
    ("branch_protection_rule", "rule"),
    ("repository_ruleset", "repository_ruleset"),
    ("deploy_key", "key"),
    ("membership", "member team"),
    ("member", "member"),
    ("team team_add", "team"),
    ("org_block", "blocked_user"),
    ("sponsorship", "sponsorship"),
    ("marketplace_purchase", "marketplace_purchase"),
    ("installation_repositories", "repositories_added"),
    ("personal_access_token_request", "personal_access_token_request"),
    ("projects_v2_item", "projects_v2_item"),
    ("projects_v2_status_update", "projects_v2_status_update"),
    ("projects_v2", "projects_v2"),
    ("project_card", "project_card"),
    ("project_column", "project_column"),
    ("project", "project"),
    ("commit_comment", "comment"),
    ("milestone", "milestone"),
    ("label", "label"),
)

KNOWN_TYPES: Mapping[str, frozenset[str]] = {
    Scheme.GITHUB: frozenset(name for names, _ in _GITHUB_ROWS for name in names.split()),
}
"""Event types, without actions, of senders whose types are known; GitHub adds some each year."""
"""The names of a kind, and the keys that tell it. docs.github.com, "Webhook events and payloads"."""

_GITHUB_WITHOUT_KEY = frozenset(
    {
        "branch_protection_configuration",
        "github_app_authorization",
        "installation",
        "installation_target",
        "organization",
        "public",
        "repository",
        "repository_import",
        "security_and_analysis",
        "watch",
    }
)
"""Kinds whose bodies have nothing that others have not: none of the rows fits them."""

_GITHUB_KINDS = tuple((frozenset(names.split()), tuple(keys.split())) for names, keys in _GITHUB_ROWS)
_GITHUB_KEYS = frozenset(keys[0] for _, keys in _GITHUB_KINDS)
_GITHUB_NAMES = _GITHUB_WITHOUT_KEY.union(*(names for names, _ in _GITHUB_KINDS))

_GITLAB_KINDS: dict[str, tuple[str, ...]] = {
    "Push Hook": ("push",),
    "Tag Push Hook": ("tag_push",),
    "Issue Hook": ("issue", "work_item"),
    "Confidential Issue Hook": ("issue", "work_item"),
    "Work Item Hook": ("issue", "work_item"),
    "Note Hook": ("note",),
    "Confidential Note Hook": ("note",),
    "Merge Request Hook": ("merge_request",),
    "Wiki Page Hook": ("wiki_page",),
    "Pipeline Hook": ("pipeline",),
    "Job Hook": ("build",),
    "Deployment Hook": ("deployment",),
    "Feature Flag Hook": ("feature_flag",),
    "Release Hook": ("release",),
    "Milestone Hook": ("milestone",),
    "Emoji Hook": ("emoji",),
    "Resource Access Token Hook": ("access_token",),
    "Vulnerability Hook": ("vulnerability",),
}
"""What GitLab calls an event in its header, and what in `object_kind`. docs.gitlab.com, "Webhook events"."""


def is_type_signed(request: Request, scheme: str, rule: EventTypeRule | None) -> bool:
    """
    Say whether the body of a signed request bears out its event type; False where only a header tells it.

    Call it once the signature has passed. `rule` is the source's own, as for `read_event_type`.

    Raises:
        BadSignature: the body tells that it is something else than the header says.
    """
    header, bears_out = type_places(scheme).header, _BY_SCHEME.get(scheme)
    if rule is not None:
        if rule.header is None or request.headers.get(rule.header) is None:
            return True
        if header is None or rule.header.lower() != header.lower():
            return False
    if header is None:
        return True
    claimed = request.headers.get(header)
    if claimed is None or len(claimed) > MAX_TEXT_CHARACTERS:
        return True
    try:
        return bears_out is not None and bears_out(request, claimed)
    except BadPayload:
        return False


def _check(header: str, *, agrees: bool, told: str) -> None:
    if not agrees:
        raise BadSignature(
            f"{header} does not fit the signed body, which is that of {told}: the header was changed on its way, since"
            " nothing signs it; let the sender send its own request again, as it is"
        )


def _github(request: Request, claimed: str) -> bool:
    fields = request.fields()
    if claimed not in _GITHUB_NAMES:
        return False
    told = _github_kind(fields)
    if told is None:
        return False
    _check("X-GitHub-Event", agrees=claimed in told, told=" or ".join(sorted(told)))
    return len(told) == 1


def _github_kind(fields: Mapping[str, object]) -> frozenset[str] | None:
    # Most bodies have none of these keys but their own, so one pass over them says which rows are worth a look.
    present = _GITHUB_KEYS & fields.keys()
    if not present:
        return None
    for names, keys in _GITHUB_KINDS:
        if keys[0] in present and all(key in fields for key in keys):
            return names
    return None


def _linear(request: Request, claimed: str) -> bool:
    told = request.text_at("type")
    if told is None:
        return False
    _check("Linear-Event", agrees=told == claimed, told=ascii(told))
    return True


def _gitlab(request: Request, claimed: str) -> bool:
    told, known = request.text_at("object_kind"), _GITLAB_KINDS.get(claimed)
    if told is None or known is None:
        return False
    _check("X-Gitlab-Event", agrees=told in known, told=ascii(told))
    return True


_BY_SCHEME: dict[str, Callable[[Request, str], bool]] = {
    Scheme.GITHUB: _github,
    Scheme.LINEAR: _linear,
    Scheme.GITLAB: _gitlab,
}
"""How the bodies of senders bear out a type in a header. Of all others nothing is known, so theirs is not signed."""
