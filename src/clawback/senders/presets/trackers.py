"""Where work is planned. Pure."""

from clawback.senders.preset import Places, Preset
from clawback.senders.signatures import Clock, InBody, InHeader, header

ROWS = (
    Preset(
        name="linear",
        title="Linear",
        # The time is in the body, in milliseconds, and Linear asks for one minute.
        rows=(
            header(
                "Linear-Signature",
                clock=Clock(InBody("webhookTimestamp"), unit="ms", tolerance_s=60),
                delivery=InHeader("Linear-Delivery"),
            ),
        ),
        # `Issue` and `create`, `update` or `remove`: `Issue.create`.
        type=Places(header="Linear-Event", action="action"),
        source="linear.app/developers/webhooks",
        shows_secret=True,
        steps=(
            "Open Settings, API, New webhook.",
            "Enter the URL {url} and choose the data.",
            "Copy the signing secret that Linear shows, and give it to this source.",
        ),
        example_type="Issue.create",
    ),
    Preset(
        name="jira",
        title="Jira Cloud",
        rows=(header("X-Hub-Signature", prefix=b"sha256=", delivery=InHeader("X-Atlassian-Webhook-Identifier")),),
        type=Places(paths=("webhookEvent",)),
        source="developer.atlassian.com, Jira Cloud webhooks",
        steps=(
            "As an administrator open System, WebHooks, Create a WebHook.",
            "Enter the URL {url} and the secret {secret}.",
            "Choose the events, and a JQL filter where fewer issues are wanted.",
        ),
        example_type="jira:issue_updated",
        example='{"webhookEvent":"jira:issue_updated","issue":{"key":"SHOP-7","fields":{"summary":"Broken"}}}',
    ),
    Preset(
        name="clickup",
        title="ClickUp",
        rows=(header("X-Signature"),),
        type=Places(paths=("event",)),
        source="developer.clickup.com, Webhook signature",
        shows_secret=True,
        steps=(
            "Call POST https://api.clickup.com/api/v2/team/TEAM_ID/webhook with endpoint {url} and the events.",
            "Copy webhook.secret from the answer, and give it to this source.",
        ),
        example_type="taskUpdated",
        example='{"event":"taskUpdated","task_id":"9hx","webhook_id":"7fa3","history_items":[{"id":"2800"}]}',
    ),
)
