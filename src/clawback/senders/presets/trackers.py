"""Where work is planned. Pure."""

from msgspec.structs import replace

from clawback.senders.handshakes import Handshake, Says, challenge
from clawback.senders.preset import Places, Preset
from clawback.senders.signatures import IN_URL, JWT, Clock, InBody, InHeader, header
from clawback.senders.tokens import TokenRule

ROWS = (
    Preset(
        name="linear",
        title="Linear",
        # The time is in the body, in milliseconds, and Linear asks for one minute.
        rows=(
            header(
                "Linear-Signature",
                # It comes again after 1 min, 1 h and 6 h, as it was.
                clock=Clock(InBody("webhookTimestamp"), unit="ms", tolerance_s=60, late_s=8 * 3600),
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
        answer=200,  # any other status it takes for a failure
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
        dated=True,
    ),
    Preset(
        name="confluence-dc",
        title="Confluence Data Center",
        rows=(header("X-Hub-Signature", prefix=b"sha256=", optional_prefix=True),),
        type=Places(paths=("event",)),
        source="confluence.atlassian.com, Managing webhooks",
        steps=(
            "As an administrator open General configuration, Webhooks, Create a webhook.",
            "Enter the URL {url} and the secret {secret}, and choose the events.",
        ),
        example_type="page_created",
        example='{"event":"page_created","timestamp":1761000000000,"page":{"id":7,"title":"Plan"}}',
        dated=True,
    ),
    Preset(
        name="shortcut",
        title="Shortcut",
        rows=(header("Payload-Signature", delivery=InBody("id")),),
        type=Places(paths=("actions.0.entity_type",), action="actions.0.action"),
        source="developer.shortcut.com, Webhooks V1",
        steps=("Open Settings, Integrations, Webhooks.", "Enter the payload URL {url} and the secret {secret}."),
        example_type="story.update",
        example='{"id":"595285dc","actions":[{"id":7,"entity_type":"story","action":"update","name":"Fix the cart"}]}',
    ),
    Preset(
        name="asana",
        title="Asana",
        rows=(header("X-Hook-Signature"),),
        type=Places(paths=("events.0.action",), action="events.0.resource.resource_type"),
        source="developers.asana.com, Webhooks",
        shows_secret=True,
        steps=(
            "Call POST https://app.asana.com/api/1.0/webhooks with resource=GID and target={url}.",
            "Asana sends its secret in X-Hook-Secret of the first request; this source signs by that.",
        ),
        example_type="changed.task",
        example='{"events":[{"action":"changed","resource":{"gid":"7","resource_type":"task"},"user":{"gid":"1"}}]}',
        handshakes=(
            Handshake(
                when=(Says(InHeader("X-Hook-Secret")),),
                signed=False,
                echo=InHeader("X-Hook-Secret"),
                header="X-Hook-Secret",
                keeps=True,
            ),
        ),
        dated=True,
    ),
    Preset(
        name="trello",
        title="Trello",
        rows=(
            header(
                "X-Trello-Webhook",
                algorithm="sha1",
                encoding="base64",
                signed="{body}{url}",
                delivery=InBody("action.id"),
            ),
        ),
        type=Places(paths=("action.type",)),
        source="developer.atlassian.com, Trello webhooks",
        shows_secret=True,
        steps=(
            "Give the OAuth secret of your Power-Up's API key to this source; it signs all that Trello sends.",
            "Call POST https://api.trello.com/1/webhooks?callbackURL={url}&idModel=ID&key=KEY&token=TOKEN",
        ),
        example_type="updateCard",
        example='{"action":{"id":"5a1b","type":"updateCard","data":{"card":{"name":"Cart"}}},"model":{"id":"b1"}}',
    ),
    Preset(
        name="notion",
        title="Notion",
        rows=(header("X-Notion-Signature", prefix=b"sha256=", delivery=InBody("id")),),
        type=Places(paths=("type",)),
        source="developers.notion.com, Webhooks",
        shows_secret=True,
        steps=(
            "Open notion.so/my-integrations, the integration, Webhooks, Create a subscription, and enter {url}.",
            "Notion sends a verification token, which source_list shows until the first event; enter it there.",
        ),
        example_type="page.created",
        example='{"id":"367c","type":"page.created","entity":{"id":"153104cd","type":"page"},"attempt_number":1}',
        handshakes=(
            Handshake(
                when=(Says(InBody("verification_token")),), signed=False, echo=InBody("verification_token"), keeps=True
            ),
        ),
    ),
    Preset(
        name="atlassian-connect",
        title="Atlassian Connect apps",
        rows=(
            header(
                "Authorization",
                prefix=b"JWT ",
                algorithm=JWT,
                jwt=TokenRule(algorithms=("HS256",), expires=True, leeway_s=180, query_hash=True),
            ),
        ),
        type=Places(paths=("webhookEvent", "event")),
        source="developer.atlassian.com, Understanding JWT for Connect apps",
        shows_secret=True,
        steps=(
            "Name {url} in the app's descriptor, under modules, webhooks.",
            "Give the sharedSecret, which the app was told when it was installed, to this source.",
        ),
        example_type="jira:issue_created",
        example='{"webhookEvent":"jira:issue_created","issue":{"key":"SHOP-7","fields":{"summary":"Broken"}}}',
    ),
    Preset(
        name="monday",
        title="monday.com",
        # Webhooks that are made on a board are not signed.
        rows=(
            header(
                "Authorization",
                prefix=b"Bearer ",
                optional_prefix=True,
                algorithm=JWT,
                jwt=TokenRule(algorithms=("HS256",), expires=True, leeway_s=300, for_url=True),
                delivery=InBody("event.triggerUuid"),
            ),
            replace(IN_URL, delivery=InBody("event.triggerUuid")),
        ),
        type=Places(paths=("event.type",)),
        source="developer.monday.com, Webhooks",
        steps=(
            "Open the board, Integrate, Webhooks, and enter the URL {url}?token={secret}; monday checks it at once.",
            "Of an app's integration recipe enter {url}, and give the app's signing secret to this source instead.",
        ),
        example_type="update_column_value",
        example='{"event":{"type":"update_column_value","triggerUuid":"b5ed","boardId":7,"pulseName":"Cart"}}',
        handshakes=(challenge(),),
    ),
)
