"""Where code lives, and who builds and ships it. Pure."""

from msgspec.structs import replace

from clawback.senders.handshakes import Handshake, Says, ping
from clawback.senders.preset import Places, Preset
from clawback.senders.published import Published, read_travis
from clawback.senders.signatures import (
    ANY_TOKEN,
    BASIC_AUTH,
    BEARER,
    JWT,
    OWN_HEADER,
    RSA_SHA1,
    TOKEN,
    Clock,
    InBody,
    InHeader,
    InSignature,
    as_plain_token,
    as_signing_token,
    header,
    standard,
)
from clawback.senders.tokens import TokenRule

_ENTER = "Enter the URL {url} and the secret {secret}, content type JSON."

ROWS = (
    Preset(
        name="github",
        title="GitHub",
        # The SHA-1 header that is sent along does not count.
        rows=(header("X-Hub-Signature-256", prefix=b"sha256=", delivery=InHeader("X-GitHub-Delivery")),),
        type=Places(header="X-GitHub-Event", action="action"),
        source="GitHub Docs, Validating webhook deliveries",
        steps=(
            "Open the repository's Settings, Webhooks, Add webhook.",
            _ENTER,
            (
                "Choose the events, or run the command: gh api repos/OWNER/REPO/hooks -f name=web -f 'events[]=push' "
                "-f 'config[url]={url}' -f 'config[secret]={secret}' -f 'config[content_type]=json'"
            ),
        ),
        example_type="pull_request.opened",
        answers_within_s=10.0,  # and it never comes again
        # A header is not signed, so the body must bear it out.
        handshakes=(Handshake(when=(Says(InHeader("X-GitHub-Event"), "ping"), Says(InBody("zen")))),),
    ),
    Preset(
        name="gitlab",
        title="GitLab",
        # A signing token where the source's secret is one, else the secret token. Not X-Gitlab-Event-UUID: a webhook
        # that another one set off has the same, and would pass for its duplicate.
        rows=(
            standard("Webhook", key=as_signing_token),
            header("X-Gitlab-Token", algorithm=TOKEN, delivery=InHeader("Idempotency-Key"), key=as_plain_token),
        ),
        # `Push Hook`, as GitLab's documentation names each event; `push` where a proxy strips the header.
        type=Places(header="X-Gitlab-Event", paths=("object_kind",)),
        source="docs.gitlab.com, Webhooks",
        key_secret=True,
        steps=(
            "Open the project's or group's Settings, Webhooks, Add new webhook.",
            "Enter the URL {url} and, as signing token where there is one, else as secret token: {secret}.",
            "Choose the triggers.",
        ),
        example_type="push",
    ),
    Preset(
        name="bitbucket",
        title="Bitbucket Cloud",
        rows=(header("X-Hub-Signature", prefix=b"sha256=", delivery=InHeader("X-Request-UUID")),),
        type=Places(header="X-Event-Key"),
        source="support.atlassian.com, Manage webhooks",
        steps=("Open the repository's settings, Webhooks, Add webhook.", _ENTER, "Choose the triggers."),
        example_type="repo:push",
        example='{"push":{"changes":[]},"repository":{"full_name":"acme/shop"},"actor":{"nickname":"ada"}}',
    ),
    *(
        Preset(
            name=name,
            title=title,
            rows=(header(f"X-{title}-Signature", delivery=InHeader(f"X-{title}-Delivery")),),
            type=Places(header=f"X-{title}-Event", action="action"),
            source=source,
            steps=(f"Open the repository's settings, Webhooks, Add webhook, {title}.", _ENTER, "Choose the events."),
            example_type="push",
            example='{"ref":"refs/heads/main","commits":[],"repository":{"full_name":"acme/shop"}}',
            signs_form_field=True,  # Gogs, and Gitea of old
        )
        for name, title, source in (
            ("gitea", "Gitea", "docs.gitea.com, Webhooks"),
            ("forgejo", "Forgejo", "forgejo.org, Webhooks"),
            ("gogs", "Gogs", "gogs.io, Webhooks"),
        )
    ),
    Preset(
        name="circleci",
        title="CircleCI",
        rows=(header("circleci-signature", separator=b",", prefix=b"v1=", delivery=InBody("id")),),
        type=Places(paths=("type",)),
        source="circleci.com/docs, Outbound webhooks",
        steps=("Open Project Settings, Webhooks, Add Webhook.", _ENTER, "Choose the events."),
        example_type="workflow-completed",
        example='{"type":"workflow-completed","id":"3888f21b","workflow":{"status":"failed","name":"build"}}',
    ),
    Preset(
        name="buildkite",
        title="Buildkite",
        rows=(
            header(
                "X-Buildkite-Signature",
                separator=b",",
                prefix=b"signature=",
                signed="{timestamp}.{body}",
                clock=Clock(InSignature(b"timestamp=")),
            ),
        ),
        type=Places(paths=("event",)),
        source="buildkite.com/docs, Webhooks",
        steps=(
            "Open the organization's Settings, Notification Services, Add a Webhook.",
            "Enter the URL {url}, and {secret} as the token; choose to send it as a signature.",
            "Choose the events and pipelines.",
        ),
        example_type="build.finished",
        example='{"event":"build.finished","build":{"number":7,"state":"failed"},"pipeline":{"slug":"shop"}}',
    ),
    Preset(
        name="vercel",
        title="Vercel",
        rows=(header("x-vercel-signature", algorithm="sha1", delivery=InBody("id")),),
        type=Places(paths=("type",)),
        source="vercel.com/docs, Webhooks",
        shows_secret=True,
        steps=(
            "Open the team's Settings, Webhooks, Create Webhook.",
            "Enter the URL {url} and choose events and projects.",
            "Copy the secret that Vercel shows once, and give it to this source.",
        ),
        example_type="deployment.error",
        example='{"id":"evt_1","type":"deployment.error","payload":{"deployment":{"name":"shop"},"target":null}}',
    ),
    Preset(
        name="heroku",
        title="Heroku",
        rows=(header("Heroku-Webhook-Hmac-SHA256", encoding="base64", delivery=InBody("id")),),
        type=Places(paths=("resource",), action="action"),
        source="devcenter.heroku.com, App webhooks",
        steps=("Run: heroku webhooks:add -i api:release -l notify -u {url} -s {secret} -a APP",),
        example_type="release.update",
        example='{"id":"01f","resource":"release","action":"update","data":{"status":"failed","version":7}}',
    ),
    Preset(
        name="gitlab-signing",
        title="GitLab, by signing token alone",
        rows=(standard("Webhook", key=as_signing_token),),
        type=Places(header="X-Gitlab-Event", paths=("object_kind",)),
        source="gitlab.com, merge requests 230944 and 231325",
        key_secret=True,
        steps=(
            "Open the project's or group's Settings, Webhooks, Add new webhook.",
            "Enter the URL {url} and the signing token {secret}. Requests with a secret token alone are refused.",
            "Choose the triggers.",
        ),
        example_type="Push Hook",
        example='{"object_kind":"push","ref":"refs/heads/main","project":{"path_with_namespace":"acme/shop"}}',
    ),
    Preset(
        name="bitbucket-server",
        title="Bitbucket Data Center",
        rows=(header("X-Hub-Signature", prefix=b"sha256=", delivery=InHeader("X-Request-Id")),),
        type=Places(header="X-Event-Key", paths=("eventKey",)),
        source="confluence.atlassian.com, Manage webhooks (Data Center)",
        steps=("Open the repository's or project's settings, Webhooks, Create webhook.", _ENTER, "Choose the events."),
        example_type="pr:opened",
        example='{"eventKey":"pr:opened","actor":{"name":"ada"},"pullRequest":{"id":7,"title":"Fix the cart"}}',
        handshakes=(ping(InHeader("X-Event-Key"), "diagnostics:ping"),),
    ),
    Preset(
        name="azure-devops",
        title="Azure DevOps",
        # Service hooks sign nothing: a user and password, or a header of one's own.
        rows=tuple(replace(row, delivery=InBody("id")) for row in (BASIC_AUTH, BEARER, OWN_HEADER)),
        type=Places(paths=("eventType",)),
        source="learn.microsoft.com, Webhooks with Azure DevOps",
        steps=(
            "Open Project settings, Service hooks, Create subscription, Web Hooks; one for each kind of event.",
            "Enter the URL {url}, and the secret {secret} as user and password, on both sides of its colon.",
            "A secret without a colon goes into HTTP headers instead: X-Webhook-Token:{secret}",
        ),
        example_type="git.push",
        example='{"id":"03c1","eventType":"git.push","resource":{"pushedBy":{"displayName":"Ada"},"pushId":14}}',
    ),
    Preset(
        name="jenkins",
        title="Jenkins, Notification plugin",
        rows=ANY_TOKEN,
        type=Places(paths=("build.phase",), action="build.status"),
        source="plugins.jenkins.io, Notification",
        steps=(
            "Open the job's configuration, Job Notifications, Add Endpoint: format JSON, protocol HTTP.",
            "Enter the URL {url}?token={secret}.",
        ),
        example_type="COMPLETED.FAILURE",
        example='{"name":"shop","build":{"number":7,"phase":"COMPLETED","status":"FAILURE","url":"job/shop/7/"}}',
    ),
    Preset(
        name="semaphore",
        title="Semaphore CI",
        rows=(header("X-Semaphore-Signature-256", prefix=b"sha256=", delivery=InBody("pipeline.id")),),
        type=Places(paths=("pipeline.state",), action="pipeline.result"),
        source="docs.semaphoreci.com, Webhook notifications",
        steps=(
            "Open the organization's Settings, Notifications, and add a webhook with the endpoint {url}.",
            "Make a secret with WEBHOOK_SECRET={secret} and name it there.",
        ),
        example_type="done.failed",
        example='{"version":"1.0.0","pipeline":{"id":"4a2f","state":"done","result":"failed"},"project":{"name":"shop"}}',
    ),
    Preset(
        name="npm",
        title="npm registry",
        rows=(header("x-npm-signature", prefix=b"sha256="),),
        type=Places(paths=("event",)),
        source="docs.npmjs.com, npm hook",
        steps=("Run: npm hook add PACKAGE {url} {secret}",),
        example_type="package:publish",
        example='{"event":"package:publish","name":"@acme/shop","type":"package","version":"1.0.0","time":1524171000000}',
        dated=True,
    ),
    Preset(
        name="dockerhub",
        title="Docker Hub",
        rows=ANY_TOKEN,
        type=Places(always="push"),
        source="docs.docker.com, Docker Hub webhooks",
        steps=(
            "Open the repository, Webhooks, and enter the URL {url}?token={secret}.",
            "The body names a callback_url; nothing here calls it.",
        ),
        example_type="push",
        example='{"push_data":{"tag":"latest","pusher":"ada"},"repository":{"repo_name":"acme/shop"}}',
        dated=True,
    ),
    Preset(
        name="railway",
        title="Railway",
        rows=ANY_TOKEN,
        type=Places(paths=("type",)),
        source="docs.railway.com, Webhooks",
        steps=(
            "Open Project Settings, Webhooks, and enter the URL {url}?token={secret}.",
            "Its test button sends from the browser, which may be refused; a deployment tells whether it works.",
        ),
        example_type="Deployment.failed",
        example='{"type":"Deployment.failed","details":{"status":"FAILED"},"resource":{"project":{"name":"shop"}}}',
        dated=True,
    ),
    Preset(
        name="netlify",
        title="Netlify",
        # The id of the body is the deploy's, whatever happens to it.
        rows=(
            header(
                "X-Webhook-Signature",
                algorithm=JWT,
                jwt=TokenRule(algorithms=("HS256",), issuers=("netlify",), body_hash="sha256"),
            ),
        ),
        type=Places(header="X-Netlify-Event", paths=("state",)),
        source="docs.netlify.com, Deploy notifications, payload signature",
        steps=(
            "Open Project configuration, Notifications, Add notification, HTTP POST request.",
            "Enter the URL {url} and the JWS secret token {secret}.",
        ),
        example_type="deploy_failed",
        example='{"id":"5f8b","state":"error","name":"shop","branch":"main","error_message":"Build failed"}',
        dated=True,
    ),
    Preset(
        name="travis",
        title="Travis CI",
        # One key signs what every repository sends, so the source's secret says whose it must be.
        rows=(
            header(
                "Signature",
                algorithm=RSA_SHA1,
                encoding="base64",
                signed="{form:payload}",
                published=Published(url="https://api.travis-ci.com/config", read=read_travis),
                bound="{json:repository.owner_name}/{json:repository.name}",
                delivery=InBody("id"),
            ),
        ),
        type=Places(paths=("type",), action="state"),
        source="docs.travis-ci.com, Configuring build notifications",
        shows_secret=True,
        steps=(
            "Give the repository, OWNER/NAME, to this source as its secret: Travis CI signs with a key of its own.",
            'In .travis.yml write: notifications: {webhooks: {urls: ["{url}"]}}',
        ),
        example_type="push.failed",
        example=(
            "payload=%7B%22id%22%3A7%2C%22type%22%3A%22push%22%2C%22state%22%3A%22failed%22%2C%22repository%22%3A"
            "%7B%22name%22%3A%22shop%22%2C%22owner_name%22%3A%22acme%22%7D%7D"
        ),
    ),
)
