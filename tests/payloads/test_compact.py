"""Payloads of the senders that agents meet most, made short: bodies of our own making in the shapes that they send."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.model import Projection
from clawback.payloads.compact import MAX_ITEMS, MAX_TEXT, PATHS
from clawback.payloads.projection import project
from clawback.senders.presets import PRESETS

UUID = "5d5b1a9e-3f0c-4f0e-9d0f-0c8f4c2a7b11"
TEXT = "The cart forgets what is in it."


def links(what, *names):
    """Write the links to an API that stand all over such bodies."""
    return {name: {"href": f"https://api.example.com/2.0/{what}/{UUID}/{name}"} for name in names}


def atlassian(name):
    """Describe a person as Bitbucket does."""
    return {
        "display_name": name,
        "links": links("users", "self", "avatar") | {"html": {"href": "https://bitbucket.org/%7B1%7D/"}},
        "type": "user",
        "uuid": "{" + UUID + "}",
        "account_id": "557058:" + UUID,
        "nickname": name.lower(),
    }


def jira_person(name):
    """Describe a person as Jira does."""
    avatars = {f"{size}x{size}": f"https://avatar.example.com/{UUID}/{size}.png" for size in (16, 24, 32, 48)}
    return {
        "self": f"https://acme.atlassian.net/rest/api/2/user?accountId={UUID}",
        "accountId": UUID,
        "avatarUrls": avatars,
        "displayName": name,
        "active": True,
        "timeZone": "Europe/Berlin",
    }


def gitea_person(name):
    """Describe a person as Gitea does."""
    empty = {"full_name": "", "location": "", "website": "", "language": "", "last_login": "0001-01-01T00:00:00Z"}
    return empty | {
        "id": 3,
        "login": name,
        "email": f"{name}@noreply.git.example.com",
        "avatar_url": f"https://git.example.com/avatars/{UUID}",
        "html_url": f"https://git.example.com/{name}",
        "followers_count": 0,
        "following_count": 0,
        "starred_repos_count": 0,
    }


GITEA_REPOSITORY = {
    "id": 12,
    "owner": gitea_person("acme"),
    "full_name": "acme/shop",
    "html_url": "https://git.example.com/acme/shop",
    "clone_url": "https://git.example.com/acme/shop.git",
    "permissions": {"admin": True, "push": True, "pull": True},
    "internal_tracker": {"enable_time_tracker": True, "allow_only_contributors_to_track_time": True},
    "default_branch": "main",
    "has_issues": True,
    "allow_merge_commits": True,
    "allow_rebase": True,
    "default_merge_style": "merge",
}

GITEA = {
    "action": "opened",
    "number": 7,
    "pull_request": {
        "id": 91,
        "url": "https://git.example.com/acme/shop/pulls/7",
        "number": 7,
        "user": gitea_person("ada"),
        "title": "Keep the cart",
        "body": TEXT,
        "state": "open",
        "html_url": "https://git.example.com/acme/shop/pulls/7",
        "base": {"label": "main", "ref": "main", "sha": "a" * 40, "repo": GITEA_REPOSITORY},
        "head": {"label": "cart", "ref": "cart", "sha": "b" * 40, "repo": GITEA_REPOSITORY},
        "labels": [{"id": 1, "name": "bug", "color": "ff0000", "url": "https://git.example.com/api/v1/labels/1"}],
    },
    "repository": GITEA_REPOSITORY,
    "sender": gitea_person("ada"),
    "commit_id": "",
}

PERSON_AT_GITLAB = {"id": 1, "name": "Ada", "username": "ada", "avatar_url": "https://gitlab.com/a.png", "email": "[x]"}

GITLAB_PROJECT = {
    "id": 1,
    "name": "shop",
    "description": "",
    "web_url": "https://gitlab.com/acme/shop",
    "avatar_url": None,
    "git_ssh_url": "git@gitlab.com:acme/shop.git",
    "git_http_url": "https://gitlab.com/acme/shop.git",
    "namespace": "acme",
    "visibility_level": 20,
    "path_with_namespace": "acme/shop",
    "default_branch": "main",
    "ci_config_path": None,
    "homepage": "https://gitlab.com/acme/shop",
    "url": "git@gitlab.com:acme/shop.git",
    "ssh_url": "git@gitlab.com:acme/shop.git",
    "http_url": "https://gitlab.com/acme/shop.git",
}

GITLAB = {
    "object_kind": "merge_request",
    "event_type": "merge_request",
    "user": PERSON_AT_GITLAB,
    "project": GITLAB_PROJECT,
    "repository": {"name": "shop", "url": "git@gitlab.com:acme/shop.git", "homepage": "https://gitlab.com/acme/shop"},
    "object_attributes": {
        **{f"{name}_id": 51 for name in ("author", "assignee", "source_project", "target_project", "milestone")},
        **dict.fromkeys(("merge_error", "merge_user_id", "updated_by_id", "locked_at", "last_edited_at"), None),
        "id": 99,
        "iid": 7,
        "title": "Keep the cart",
        "description": TEXT,
        "state": "opened",
        "action": "open",
        "url": "https://gitlab.com/acme/shop/-/merge_requests/7",
        "source_branch": "cart",
        "target_branch": "main",
        "source": GITLAB_PROJECT,
        "target": GITLAB_PROJECT,
        "merge_params": {"force_remove_source_branch": "1"},
        "last_commit": {"id": "b" * 40, "message": "Keep it", "author": {"name": "Ada", "email": "a@example.com"}},
        "human_time_estimate": None,
        "total_time_spent": 0,
        "assignee_ids": [6],
        "work_in_progress": False,
    },
    "labels": [
        {"id": 206, "title": "bug", "color": "#ffffff", "project_id": 14, "description": "bugs", "group_id": 41}
    ],
    "changes": {"updated_by_id": {"previous": None, "current": 1}},
    "reviewers": [PERSON_AT_GITLAB],
}

BITBUCKET_REPOSITORY = {
    "type": "repository",
    "full_name": "acme/shop",
    "links": links("repositories", "self", "avatar") | {"html": {"href": "https://bitbucket.org/acme/shop"}},
    "owner": atlassian("Acme"),
    "workspace": {"type": "workspace", "uuid": UUID, "slug": "acme", "links": links("workspaces", "self", "html")},
    "uuid": UUID,
}

BITBUCKET = {
    "repository": BITBUCKET_REPOSITORY,
    "actor": atlassian("Ada"),
    "pullrequest": {
        "id": 7,
        "title": "Keep the cart",
        "description": TEXT,
        "state": "OPEN",
        "author": atlassian("Ada"),
        "source": {"branch": {"name": "cart"}, "commit": {"hash": "b" * 12}, "repository": BITBUCKET_REPOSITORY},
        "destination": {"branch": {"name": "main"}, "commit": {"hash": "a" * 12}, "repository": BITBUCKET_REPOSITORY},
        "links": links("pullrequests", "self", "commits", "approve", "diff", "merge", "decline", "activity")
        | {"html": {"href": "https://bitbucket.org/acme/shop/pull-requests/7"}},
        "rendered": {"title": {"raw": "Keep the cart", "html": "<p>Keep the cart</p>", "markup": "markdown"}},
        "participants": [{"user": atlassian("Bob"), "role": "REVIEWER", "approved": False}],
    },
}

LINEAR = {
    "action": "update",
    "actor": {"id": UUID, "type": "user", "name": "Ada", "email": "a@example.com", "url": "https://linear.app/ada"},
    "createdAt": "2026-11-30T09:00:00.000Z",
    "data": {
        "id": UUID,
        "identifier": "SHOP-7",
        "number": 7,
        "title": "Keep the cart",
        "description": TEXT,
        "descriptionData": json.dumps({"type": "doc", "content": [{"type": "text", "text": TEXT}] * 30}),
        "priority": 2,
        "url": "https://linear.app/acme/issue/SHOP-7",
        "state": {"id": UUID, "color": "#f2c94c", "name": "In Progress", "type": "started"},
        "team": {"id": UUID, "key": "SHOP", "name": "Shop"},
        "assignee": {"id": UUID, "name": "Bob", "email": "b@example.com", "avatarUrl": "https://linear.app/b.png"},
        "labels": [{"id": UUID, "color": "#eb5757", "name": "bug"}],
        "labelIds": [UUID] * 3,
        "subscriberIds": [UUID] * 5,
        "previousIdentifiers": [],
    },
    "updatedFrom": {"stateId": UUID, "updatedAt": "2026-11-29T09:00:00.000Z"},
    "type": "Issue",
    "organizationId": UUID,
    "webhookTimestamp": 1796000000000,
    "webhookId": UUID,
}

JIRA = {
    "timestamp": 1796000000000,
    "webhookEvent": "jira:issue_updated",
    "issue_event_type_name": "issue_generic",
    "user": jira_person("Ada"),
    "issue": {
        "id": "10007",
        "self": "https://acme.atlassian.net/rest/api/2/10007",
        "key": "SHOP-7",
        "fields": {f"customfield_{number}": None for number in range(10000, 10060)}
        | {
            "summary": "Keep the cart",
            "description": TEXT,
            "status": {
                "self": "https://acme.atlassian.net/rest/api/2/status/3",
                "iconUrl": "https://acme.atlassian.net/images/icons/inprogress.png",
                "name": "In Progress",
                "statusCategory": {"self": "https://acme.atlassian.net/rest/api/2/statuscategory/4", "id": 4},
            },
            "project": {"key": "SHOP", "name": "Shop", "avatarUrls": jira_person("x")["avatarUrls"]},
            "assignee": jira_person("Bob"),
            "creator": jira_person("Ada"),
            "reporter": jira_person("Ada"),
            "labels": ["cart"],
            "votes": {"self": "https://acme.atlassian.net/rest/api/2/issue/SHOP-7/votes", "votes": 0},
            "progress": {"progress": 0, "total": 0},
        },
    },
    "changelog": {
        "id": "10124",
        "items": [{"field": "status", "fieldtype": "jira", "from": "1", "fromString": "To Do", "toString": "Doing"}],
    },
}

FRAME = {
    "function": "checkout",
    "module": "shop.cart",
    "filename": "shop/cart.py",
    "abs_path": "/srv/app/shop/cart.py",
    "lineno": 42,
    "pre_context": ["    # Empty carts have no price."] * 5,
    "context_line": "    return total / len(cart)",
    "post_context": ["", "def pay(cart):", "    ...", "", ""],
    "in_app": True,
    "vars": {"cart": "[]", "total": "0", "self": "<shop.cart.Cart object at 0x7f0>"},
}

SENTRY = {
    "action": "triggered",
    "installation": {"uuid": UUID},
    "data": {
        "event": {
            "event_id": "e" * 32,
            "project": 1,
            "issue_id": "7",
            "title": "ZeroDivisionError: division by zero",
            "level": "error",
            "culprit": "shop.cart in checkout",
            "web_url": "https://sentry.io/organizations/acme/issues/7/events/e/",
            "issue_url": "https://sentry.io/api/0/issues/7/",
            "exception": {
                "values": [
                    {
                        "type": "ZeroDivisionError",
                        "value": "division by zero",
                        "stacktrace": {"frames": [FRAME | {"lineno": number} for number in range(30)]},
                        "mechanism": {"type": "wsgi", "handled": False},
                    }
                ]
            },
            "contexts": {"runtime": {"name": "CPython", "version": "3.11.4"}, "os": {"name": "Linux"}},
            "modules": {f"package{number}": "1.0" for number in range(40)},
            "user": {"id": "9", "username": "bob"},
        },
        "triggered_rule": "Errors in checkout",
    },
    "actor": {"type": "application", "id": "sentry", "name": "Sentry"},
}


def reference(kind, summary):
    """Refer to a thing as PagerDuty does."""
    url = f"https://acme.pagerduty.com/{kind}s/P{UUID[:6]}"
    return {"html_url": url, "id": "P1", "self": f"https://api.pagerduty.com/{kind}s/P1", "summary": summary} | {
        "type": f"{kind}_reference"
    }


PAGERDUTY = {
    "event": {
        "id": "01E",
        "event_type": "incident.triggered",
        "resource_type": "incident",
        "occurred_at": "2026-11-30T09:00:00.000Z",
        "agent": reference("user", "Ada"),
        "client": {"name": "PagerDuty"},
        "data": {
            "id": "PGR0VU2",
            "type": "incident",
            "self": "https://api.pagerduty.com/incidents/PGR0VU2",
            "html_url": "https://acme.pagerduty.com/incidents/PGR0VU2",
            "number": 7,
            "status": "triggered",
            "title": "Disk full",
            "service": reference("service", "Shop"),
            "assignees": [reference("user", "Bob"), reference("user", "Eve")],
            "escalation_policy": reference("escalation_policy", "Default"),
            "teams": [reference("team", "Shop")],
            "priority": reference("priority", "P1"),
            "urgency": "high",
        },
    }
}

LABELS = {"alertname": "DiskFull", "instance": "db-1:9100", "job": "node", "severity": "critical"}
NOTES = {
    "summary": "Disk full on db-1",
    "description": TEXT,
    "runbook_url": "https://wiki.example.com/disk",
    "__dashboardUid__": UUID,
    "query": "node_filesystem_avail_bytes / node_filesystem_size_bytes < 0.1 and on (instance) up == 1",
}
ALERT = {
    "status": "firing",
    "labels": LABELS,
    "annotations": NOTES,
    "startsAt": "2026-11-30T09:00:00Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "https://prometheus.example.com/graph?g0.expr=x",
    "fingerprint": "c6eadffa33fcdf37",
}

ALERTMANAGER = {
    "version": "4",
    "groupKey": '{}:{alertname="DiskFull"}',
    "truncatedAlerts": 0,
    "status": "firing",
    "receiver": "clawback",
    "groupLabels": LABELS,
    "commonLabels": LABELS,
    "commonAnnotations": NOTES,
    "externalURL": "https://alertmanager.example.com",
    "alerts": [ALERT | {"labels": LABELS | {"number": str(number)}} for number in range(60)],
}

GRAFANA = ALERTMANAGER | {
    "orgId": 1,
    "title": "[FIRING:1] DiskFull",
    "state": "alerting",
    "message": TEXT,
    "alerts": [
        ALERT
        | {
            "values": {"A": 0.02},
            "valueString": "[ var='A' labels={instance=db-1:9100, job=node} value=0.02 ]" * 6,
            "silenceURL": "https://grafana.example.com/alerting/silence/new?alertmanager=grafana&matcher=x" * 2,
            "panelURL": "https://grafana.example.com/d/1?viewPanel=2",
        }
    ],
}

DATADOG = {
    "id": "7",
    "title": "[Triggered] Disk full on db-1",
    "last_updated": "1796000000000",
    "event_type": "metric_alert_monitor",
    "body": f"%%% {TEXT} @webhook-clawback ![graph](https://p.datadoghq.com/snapshot/x.png) %%%" * 100,
    "date": "1796000000000",
    "org": {"id": "1", "name": "Acme"},
    "mine": {"who": {"login": "ada"}, "link": "https://app.datadoghq.com/monitors/7", "state": "Alert"},
}

VERCEL = {
    "id": "evt_1",
    "type": "deployment.error",
    "createdAt": 1796000000000,
    "region": "fra1",
    "payload": {
        "user": {"id": "usr_ada"},
        "team": {"id": "team_1"},
        "target": "production",
        "links": {"deployment": "https://vercel.com/acme/shop/7", "project": "https://vercel.com/acme/shop"},
        "project": {"id": "prj_1"},
        "plan": "pro",
        "regions": ["fra1"],
        "deployment": {
            "id": "dpl_7",
            "name": "shop",
            "url": "shop-7.vercel.app",
            "errorMessage": "Command npm run build exited with 1",
            "meta": {
                **{f"github{name}Id": "123456789" for name in ("CommitOrg", "CommitRepo", "Org", "Repo", "Deployment")},
                "githubCommitRef": "cart",
                "githubCommitSha": "b" * 40,
                "githubCommitMessage": "Keep the cart",
                "githubCommitAuthorLogin": "ada",
                "githubCommitVerification": "verified",
                "branchAlias": "shop-git-cart-acme.vercel.app",
            },
            "alias": [f"shop-{number}.vercel.app" for number in range(10)],
            "routes": [{"src": f"/api/{number}", "dest": f"/api/{number}.js"} for number in range(20)],
        },
    },
}

CIRCLECI = {
    "type": "workflow-completed",
    "id": UUID,
    "happened_at": "2026-11-30T09:00:00Z",
    "webhook": {"id": UUID, "name": "clawback"},
    "workflow": {
        "id": UUID,
        "name": "build",
        "status": "failed",
        "created_at": "2026-11-30T08:55:00Z",
        "stopped_at": "2026-11-30T09:00:00Z",
        "url": "https://app.circleci.com/pipelines/github/acme/shop/7/workflows/1",
    },
    "pipeline": {
        "id": UUID,
        "number": 7,
        "created_at": "2026-11-30T08:54:00Z",
        "trigger": {"type": "webhook"},
        "trigger_parameters": {
            "webhook": {"body": json.dumps({"ref": "refs/heads/cart", "head": "b" * 40, "all": [UUID] * 60})},
            "git": {"branch": "cart", "checkout_sha": "b" * 40, "commit_author_email": "a@example.com"},
        },
        "vcs": {
            "provider_name": "github",
            "origin_repository_url": "https://github.com/acme/shop",
            "target_repository_url": "https://github.com/acme/shop",
            "revision": "b" * 40,
            "branch": "cart",
            "commit": {
                "subject": "Keep the cart",
                "body": "",
                "author": {"name": "Ada", "email": "a@example.com"},
                "authored_at": "2026-11-30T08:50:00Z",
                "committer": {"name": "Ada", "email": "a@example.com"},
                "committed_at": "2026-11-30T08:50:00Z",
            },
        },
    },
    "project": {"id": UUID, "name": "shop", "slug": "github/acme/shop"},
    "organization": {"id": UUID, "name": "acme"},
}

BUILDKITE = {
    "event": "build.finished",
    "build": {
        "id": UUID,
        "graphql_id": "QnVpbGQtLS0=",
        "url": "https://api.buildkite.com/v2/organizations/acme/pipelines/shop/builds/7",
        "web_url": "https://buildkite.com/acme/shop/builds/7",
        "number": 7,
        "state": "failed",
        "message": "Keep the cart",
        "commit": "b" * 40,
        "branch": "cart",
        "author": {"id": UUID, "name": "Ada", "email": "a@example.com"},
        "creator": {"id": UUID, "name": "Ada", "avatar_url": "https://www.gravatar.com/avatar/1"},
        "env": {f"CI_VARIABLE_{number}": "value" for number in range(20)},
        "meta_data": {f"key{number}": "value" for number in range(10)},
    },
    "pipeline": {
        "id": UUID,
        "name": "Shop",
        "slug": "shop",
        "repository": "git@github.com:acme/shop.git",
        "provider": {"id": "github", "settings": {f"trigger_mode_{number}": False for number in range(20)}},
        "steps": [{"type": "script", "name": "test", "command": "make test", "agent_query_rules": []}] * 4,
        "badge_url": "https://badge.buildkite.com/1.svg",
    },
    "sender": {"id": UUID, "name": "Ada"},
}

STRIPE = {
    "id": "evt_1",
    "object": "event",
    "api_version": "2026-01-01",
    "created": 1796000000,
    "type": "invoice.payment_failed",
    "livemode": True,
    "pending_webhooks": 1,
    "request": {"id": None, "idempotency_key": UUID},
    "data": {
        "object": {
            **dict.fromkeys(
                ("application", "charge", "default_source", "footer", "on_behalf_of", "quote", "rendering")
            ),
            "id": "in_7",
            "object": "invoice",
            "number": "SHOP-0007",
            "description": "The plan of November",
            "customer": "cus_ada",
            "customer_name": "Ada",
            "status": "open",
            "amount_due": 1900,
            "currency": "eur",
            "hosted_invoice_url": "https://invoice.stripe.com/i/7",
            "client_secret": "pi_planted_secret",
            "default_tax_rates": [],
            "payment_settings": {"payment_method_options": {"card": {"request_three_d_secure": "automatic"}}},
            "lines": {
                "object": "list",
                "url": "/v1/invoices/in_7/lines",
                "data": [
                    {
                        "id": f"il_{number}",
                        "object": "line_item",
                        "amount": 1900,
                        "description": "1 x Shop",
                        "metadata": {},
                        "period": {"start": 1796000000, "end": 1798000000},
                        "price": {
                            "id": "price_1",
                            "object": "price",
                            "product": "prod_1",
                            "recurring": {"interval": "x"},
                        },
                        "proration_details": {"credited_items": None},
                        "tax_amounts": [{"amount": 0, "inclusive": False, "taxability_reason": "not_collecting"}],
                    }
                    for number in range(4)
                ],
            },
        }
    },
}

SHOWN = [
    ("gitlab", GITLAB, ["Keep the cart", '"iid":7', "ada", "opened", GITLAB["object_attributes"]["url"], TEXT], 3),
    ("gitlab-signing", GITLAB, ["Keep the cart", '"iid":7', "acme/shop"], 3),
    ("bitbucket", BITBUCKET, ["Keep the cart", '"id":7', "Ada", "OPEN", "acme/shop/pull-requests/7", "cart"], 5),
    ("gitea", GITEA, ["Keep the cart", '"number":7', "ada", "open", "acme/shop/pulls/7", "bug"], 5),
    ("forgejo", GITEA, ["Keep the cart", '"number":7', "b" * 40], 5),
    ("gogs", GITEA, ["Keep the cart", '"number":7', "acme/shop"], 5),
    ("linear", LINEAR, ["Keep the cart", "SHOP-7", "Ada", "Bob", "In Progress", LINEAR["data"]["url"]], 3),
    ("jira", JIRA, ["Keep the cart", "SHOP-7", "Ada", "Bob", "In Progress", "rest/api/2/10007", "To Do"], 5),
    ("sentry", SENTRY, ["ZeroDivisionError", '"issue_id":"7"', "Sentry", "error", "issues/7/events", '"lineno":29'], 4),
    ("pagerduty", PAGERDUTY, ["Disk full", '"number":7', "Ada", "Bob", "triggered", "incidents/PGR0VU2"], 2),
    ("grafana", GRAFANA, ["[FIRING:1] DiskFull", "db-1", "firing", "critical", "viewPanel=2"], 2),
    ("alertmanager", ALERTMANAGER, ["DiskFull", "db-1", "firing", "critical", "prometheus.example.com", '"59"'], 3),
    ("datadog", DATADOG, ["Disk full on db-1", '"id":"7"', "ada", "Alert", "monitors/7"], 3),
    (
        "vercel",
        VERCEL,
        ["Keep the cart", "dpl_7", "ada", "deployment.error", "vercel.com/acme/shop/7", "exited with 1"],
        2,
    ),
    ("circleci", CIRCLECI, ["Keep the cart", '"number":7', "Ada", "failed", CIRCLECI["workflow"]["url"]], 3),
    ("buildkite", BUILDKITE, ["Keep the cart", '"number":7', "Ada", "failed", BUILDKITE["build"]["web_url"]], 4),
    ("stripe", STRIPE, ["The plan of November", "SHOP-0007", "Ada", "open", "invoice.stripe.com/i/7", "1 x Shop"], 2),
]


def short_of(name, body):
    """Make the compact form of a body."""
    return project(json.dumps(body).encode(), Projection(compact=name))


@pytest.mark.parametrize(("name", "body", "kept", "times"), SHOWN, ids=[each[0] for each in SHOWN])
def test_what_a_reader_needs_is_kept_and_the_rest_is_not(name, body, kept, times):
    """Title, number, who, state and link, in a text that is so many times shorter."""
    short = short_of(name, body)
    full = json.dumps(body, ensure_ascii=False, separators=(",", ":"))

    assert [each for each in kept if each not in short] == []
    assert len(full) / len(short) >= times
    assert "planted_secret" not in short


def test_every_sender_of_the_table_is_a_preset_and_has_a_body_here():
    """So that no row stands under a name that no source has."""
    assert set(PATHS) <= set(PRESETS)
    assert {each[0] for each in SHOWN} == set(PATHS)


@pytest.mark.parametrize("name", PATHS)
def test_an_event_that_nobody_thought_of_still_says_what_it_is_about(name):
    """The single values at the top, and those of each object there."""
    short = json.loads(short_of(name, {"kind": "new", "thing": {"title": "Fresh"}, "things": [{"title": "More"}]}))

    assert short == {"kind": "new", "thing": {"title": "Fresh"}, "things": [{"title": "More"}]}


@pytest.mark.parametrize("name", PATHS)
def test_long_texts_and_lists_are_cut(name):
    """With a note of how much is missing; the first and the last of a list stay."""
    short = json.loads(short_of(name, {"title": "x" * (MAX_TEXT + 1_500), "things": [*range(MAX_ITEMS + 1_000)]}))

    assert short["title"] == "x" * MAX_TEXT + "… [1,500 characters more]"
    assert short["things"] == [*range(10), "… [1,000 more]", *range(1_010, 1_020)]


NAMES = st.sampled_from(
    ["data", "object", "event", "issue", "fields", "alerts", "labels", "commits", "payload", "user"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda below: st.lists(below, max_size=30) | st.dictionaries(NAMES | st.text(), below),
    max_leaves=40,
)


@given(JSON, st.sampled_from(sorted(PATHS)))
def test_any_payload_has_a_short_form(value, name):
    """Whatever its shape."""
    json.loads(short_of(name, value))
