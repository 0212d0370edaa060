"""
What somebody who works on an event of a known sender needs of its payload: dotted paths, a row for each sender. Pure.

Kept is what stands at the paths: titles, numbers, people, states, times and a link. `*` is every element of an array.
`~` at the end is every single value of an object, and of each object in it that no path names; so it is at the top,
too, and an event that nobody thought of here still says what it is about. Long texts and lists are cut.

Sources: each sender's own pages of webhook payloads, which `senders/presets` names.
"""

from typing import Any

from clawback.payloads.paths import EVERY, Wanted, parse_selection

MAX_TEXT = 2_000
"""Characters of one text; a description or comment that is longer has its rest in `event_payload`."""

MAX_ITEMS = 20
"""Of one list: the first half and the last, where a stack's newest frames and a push's newest commits stand."""

SINGLES = "~"

_HIDDEN = frozenset({"bodyData", "client_secret", "descriptionData", "labelIds", "matchedWebhookIds", "subscriberIds"})
"""Left out where no path names it: a secret of Stripe's, and what Linear and Jira say a second time."""


def _at(place: str, names: str) -> tuple[str, ...]:
    """Write the paths of several things at one place."""
    return tuple(f"{place}.{name}" for name in names.split())


_GITLAB = (
    *_at("user", "username name"),
    *_at("project", "path_with_namespace web_url default_branch"),
    "repository.name",
    *_at("object_attributes", "id iid title description state status detailed_status action url ref tag sha"),
    "object_attributes.source.path_with_namespace",  # of a pipeline `source` is a text, which stays too
    *_at("object_attributes", "source_branch target_branch draft detailed_merge_status merge_commit_sha oldrev note"),
    *_at(
        "object_attributes", "noteable_type name type severity confidential due_date slug message duration created_at"
    ),
    *_at("object_attributes.last_commit", "id message"),
    *_at("labels.*", "title"),
    *_at("assignees.*", "username"),
    *_at("reviewers.*", "username"),
    *_at("changes", "title draft target_branch state_id"),
    *_at("merge_request", "iid title state url source_branch target_branch"),
    *_at("issue", "iid title state url"),
    *_at("snippet", "id title"),
    *_at("commit", "id sha title message url status author_name author.name"),
    *_at("commits.*", "id title message url author.name added modified removed"),
    *_at("builds.*", "id stage name status failure_reason allow_failure"),
    *_at("environment", "name tier"),
)

_GITEA = (
    *_at("repository", "full_name html_url default_branch"),
    *_at("sender", "login username"),
    *_at("pusher", "login username"),
    *_at("commits.*", "id message url author.name author.username added removed modified"),
    *_at("pull_request", "number title body state draft merged mergeable html_url user.login user.username head.ref"),
    *_at("pull_request", "head.sha base.ref labels.*.name assignees.*.login requested_reviewers.*.login"),
    *_at("pull_request", "merge_commit_sha merged_by.login changed_files additions deletions head_branch base_branch"),
    *_at("issue", "number title body state html_url user.login user.username labels.*.name assignees.*.login"),
    *_at("issue", "milestone.title"),
    *_at("comment", "id body html_url user.login user.username"),
    *_at("review", "type content"),
    *_at("release", "tag_name name body html_url draft prerelease author.login author.username"),
    *_at("changes", "title.from ref.from"),
    *_at("workflow_run", "id name display_title status conclusion html_url run_number head_branch head_sha event"),
    *_at("workflow_job", "id name status conclusion html_url run_id head_branch head_sha"),
    *_at("forkee", "full_name html_url"),
    *_at("package", "name version type html_url creator.login"),
)

_ALERTS = (
    *_at("commonLabels", "alertname severity"),
    *_at("commonAnnotations", "summary"),
    *_at("groupLabels", "alertname"),
    *_at("alerts.*", "status labels startsAt endsAt generatorURL values dashboardURL panelURL"),
    *_at("alerts.*.annotations", "summary description message runbook_url"),
)

_SENTRY_EVENT = (
    "event_id issue_id title message level platform culprit location environment release web_url datetime"
    " metadata.type metadata.value metadata.filename metadata.function exception.values.*.type exception.values.*.value"
    " request.url request.method"
)
_SENTRY_FRAMES = "exception.values.*.stacktrace.frames.*."
_SENTRY = " ".join(f"{_SENTRY_FRAMES}{name}" for name in ("filename", "function", "lineno", "context_line", "in_app"))

_COMMIT_AT_VERCEL = "CommitRef CommitSha CommitMessage CommitAuthorName CommitAuthorLogin Repo Org"

PATHS: dict[str, tuple[str, ...]] = {
    "gitlab": _GITLAB,
    "gitlab-signing": _GITLAB,
    "bitbucket": (
        *_at("actor", "display_name nickname"),
        *_at("repository", "full_name links.html.href"),
        *_at("push.changes.*", "created closed forced truncated links.html.href"),
        *_at("push.changes.*.old", "name target.hash"),
        *_at("push.changes.*.new", "type name target.hash target.message target.author.raw"),
        *_at("push.changes.*.commits.*", "hash message author.raw"),
        *_at("pullrequest", "id title description state draft reason author.display_name source.branch.name"),
        *_at("pullrequest", "source.commit.hash destination.branch.name destination.commit.hash merge_commit.hash"),
        *_at("pullrequest", "links.html.href reviewers.*.display_name comment_count task_count"),
        *_at("comment", "id content.raw inline user.display_name links.html.href"),
        *_at("approval", "date user.display_name"),
        *_at("changes_request", "date user.display_name"),
        *_at("issue", "id title state kind priority content.raw reporter.display_name assignee.display_name"),
        *_at("issue", "links.html.href"),
        *_at("changes", "status priority kind title"),
        *_at("commit_status", "key name state description url refname commit.hash"),
        *_at("fork", "full_name links.html.href"),
    ),
    "gitea": _GITEA,
    "forgejo": _GITEA,
    "gogs": _GITEA,
    "linear": (
        *_at("actor", "name type"),
        *_at("data", f"{SINGLES} state.name state.type team.key team.name assignee.name creator.name user.name"),
        *_at("data", "labels.*.name project.name cycle.number issue.identifier issue.title issue.url"),
        f"updatedFrom.{SINGLES}",
        *_at("notification", f"{SINGLES} actor.name issue.identifier issue.title issue.url comment.body"),
        *_at("agentSession", f"{SINGLES} issue.identifier issue.title issue.url comment.body creator.name"),
        *_at("agentActivity", f"{SINGLES} content"),
    ),
    "jira": (
        "user.displayName",
        *_at("issue", "id key self"),
        *_at("issue.fields", "summary description status.name issuetype.name priority.name project.key project.name"),
        *_at("issue.fields", "assignee.displayName reporter.displayName labels components.*.name fixVersions.*.name"),
        *_at("issue.fields", "parent.key resolution.name duedate created"),
        *_at("comment", "id self body author.displayName updateAuthor.displayName"),
        *_at("changelog.items.*", "field fromString toString"),
        *_at("worklog", "issueId timeSpent comment author.displayName"),
        *_at("sprint", "id name state goal startDate endDate self"),
        *_at("version", "id name description released releaseDate self"),
        *_at("project", "key name self projectLead.displayName"),
        *_at("issueLink", "id sourceIssueId destinationIssueId issueLinkType.name"),
    ),
    "sentry": (
        *_at("actor", "name type"),
        *_at("data", SINGLES),
        *_at("data.issue", "id shortId title culprit level status substatus priority permalink web_url platform"),
        *_at("data.issue", "project.slug count userCount firstSeen lastSeen assignedTo.name assignedTo.email"),
        *_at("data.issue.metadata", "type value filename function"),
        *_at("data.event", f"{_SENTRY_EVENT} {_SENTRY}"),
        *_at("data.error", f"{_SENTRY_EVENT} {_SENTRY}"),
        "data.issue_alert.title",
        *_at("data.metric_alert", "id title status date_started date_closed alert_rule.name alert_rule.aggregate"),
        *_at("data.metric_alert", "alert_rule.query"),
    ),
    "pagerduty": (
        *_at("event", "id event_type occurred_at agent.summary client.name"),
        *_at("event.data", f"{SINGLES} service.summary escalation_policy.summary priority.summary assignees.*.summary"),
        *_at("event.data", "teams.*.summary resolve_reason incident.id incident.summary incident.html_url"),
    ),
    "grafana": (*_ALERTS, *_at("evalMatches.*", "metric value tags")),
    "alertmanager": _ALERTS,
    "datadog": (),  # its body is a template of the user's, who wrote each field of it on purpose
    "vercel": (
        *_at("payload", f"{SINGLES} links.deployment links.project project.id project.name user.id team.id"),
        *_at("payload.deployment", "id name url inspectorUrl errorCode errorMessage"),
        *(
            path
            for forge in ("github", "gitlab", "bitbucket")
            for path in _at("payload.deployment.meta", " ".join(f"{forge}{name}" for name in _COMMIT_AT_VERCEL.split()))
        ),
    ),
    "circleci": (
        *_at("workflow", "id name status url created_at stopped_at"),
        *_at("job", "id name number status started_at stopped_at"),
        *_at("project", "name slug"),
        "organization.name",
        *_at("pipeline", "number trigger.type vcs.branch vcs.tag vcs.revision vcs.commit.subject vcs.commit.body"),
        *_at("pipeline", "vcs.commit.author.name vcs.origin_repository_url vcs.target_repository_url"),
        *_at("pipeline.trigger_parameters.git", "branch tag checkout_sha commit_message commit_author_name repo_url"),
        *_at("pipeline.trigger_parameters.github_app", "branch checkout_sha commit_sha commit_message commit_title"),
        *_at("pipeline.trigger_parameters.github_app", "commit_author_name full_ref user_username repo_url"),
    ),
    "buildkite": (
        *_at("build", "id number state web_url branch commit message tag source blocked author.name creator.name"),
        *_at("build", "started_at finished_at cancel_reason pull_request.id pull_request.base"),
        *_at("pipeline", "slug name repository"),
        *_at("job", "id type name state exit_status web_url soft_failed command step_key started_at finished_at"),
        *_at("job", "agent.name signal_reason"),
        *_at("agent", "id name hostname connection_state web_url"),
        "sender.name",
    ),
    "stripe": (
        "data.previous_attributes",
        f"data.object.{SINGLES}",
        *_at("data.object", "metadata status_transitions last_payment_error.message last_payment_error.code"),
        *_at("data.object", "last_payment_error.decline_code last_setup_error.message cancellation_details"),
        *_at("data.object", "outcome.seller_message outcome.reason outcome.risk_level evidence_details.due_by"),
        *_at("data.object", "customer_details.name customer_details.email billing_details.name billing_details.email"),
        *_at("data.object.lines.data.*", "description amount quantity price.id pricing.price_details.price"),
        *_at("data.object.items.data.*", "price.id price.nickname quantity"),
        *_at("data.object.plan", "id nickname amount interval"),
        "request.id",
    ),
}
"""By the `type` of a source; GitHub's are made short by rules of their own, in `github.py`."""

_WANTED: dict[str, Wanted] = {name: parse_selection(paths) for name, paths in PATHS.items()}


def shorten(payload: dict[str, Any], sender: str) -> dict[str, Any]:
    """Make the short form of a payload of a sender in the table."""
    wanted = _WANTED[sender]
    short: dict[str, Any] = _cut(_pick(payload, wanted | {SINGLES: {}} if wanted else wanted))
    return short


def _pick(value: Any, wanted: Wanted) -> Any:  # noqa: ANN401 -- JSON
    if not wanted:
        return value
    if isinstance(value, list):
        return [_pick(item, wanted[EVERY]) for item in value] if EVERY in wanted else []
    if not isinstance(value, dict):
        return value
    named = {name: _pick(value[name], below) for name, below in wanted.items() if name in value}
    if SINGLES not in wanted:
        return named
    others = {name: _singles(below) for name, below in value.items() if name not in named and name not in _HIDDEN}
    return others | named


def _singles(value: Any) -> Any:  # noqa: ANN401 -- JSON
    """Keep a single value, the single values of an object, and those of a list and of each object in it."""
    if isinstance(value, list):
        return [_singles(item) for item in value if not isinstance(item, list)]
    if isinstance(value, dict):
        return {name: each for name, each in value.items() if not isinstance(each, dict | list)}
    return value


def _cut(value: Any) -> Any:  # noqa: ANN401 -- JSON
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return f"{value[:MAX_TEXT]}… [{len(value) - MAX_TEXT:,} characters more]"
    if isinstance(value, dict):
        return {name: _cut(below) for name, below in value.items()}
    if isinstance(value, list):
        half = MAX_ITEMS // 2
        left_out = len(value) - MAX_ITEMS
        items = value if left_out <= 0 else [*value[:half], f"… [{left_out:,} more]", *value[-half:]]
        return [_cut(item) for item in items]
    return value
