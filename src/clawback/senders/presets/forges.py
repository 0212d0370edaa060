"""Where code lives, and who builds and ships it. Pure."""

from clawback.senders.preset import Places, Preset
from clawback.senders.signatures import (
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
)
