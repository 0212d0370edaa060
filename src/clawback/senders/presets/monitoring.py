"""Who watches what runs, and calls when it does not. Pure."""

from msgspec.structs import replace

from clawback.senders.handshakes import ping
from clawback.senders.preset import Places, Preset
from clawback.senders.signatures import ANY_TOKEN, BASIC_AUTH, TOKEN, InBody, InHeader, Row, header

ROWS = (
    Preset(
        name="sentry",
        title="Sentry",
        rows=(header("Sentry-Hook-Signature", delivery=InHeader("Request-ID")),),
        type=Places(header="Sentry-Hook-Resource", action="action"),
        source="docs.sentry.io, Integration platform webhooks",
        shows_secret=True,
        steps=(
            "Open Settings, Developer Settings, New Internal Integration.",
            "Enter the URL {url} and tick what is to be sent.",
            "Copy the client secret, and give it to this source.",
        ),
        example_type="issue.created",
        example='{"action":"created","data":{"issue":{"id":"7","title":"ZeroDivisionError"}},"actor":{"name":"Ada"}}',
        answers_within_s=1.0,
    ),
    Preset(
        name="pagerduty",
        title="PagerDuty",
        rows=(header("X-PagerDuty-Signature", separator=b",", prefix=b"v1=", delivery=InBody("event.id")),),
        type=Places(paths=("event.event_type",)),
        source="developer.pagerduty.com, Verifying webhook signatures",
        shows_secret=True,
        steps=(
            "Open Integrations, Generic Webhooks (v3), New Webhook.",
            "Enter the URL {url}, and choose scope and events.",
            "Copy the secret that PagerDuty shows once, and give it to this source.",
        ),
        example_type="incident.triggered",
        example='{"event":{"id":"01E","event_type":"incident.triggered","data":{"title":"Disk full"}}}',
        handshakes=(ping(InBody("event.event_type"), "pagey.ping"),),
    ),
    Preset(
        name="grafana",
        title="Grafana Alerting",
        # No id: groupKey is the same each time that a group of alerts changes.
        rows=(header("X-Grafana-Alerting-Signature"),),
        type=Places(paths=("status",)),
        source="grafana.com/docs, Webhook notifier",
        steps=(
            "Open Alerting, Contact points, Add contact point, Webhook.",
            "Enter the URL {url}; under Optional settings, HMAC signature: {secret}.",
            "Leave the signature header as it is, and no timestamp header.",
        ),
        example_type="firing",
        example='{"status":"firing","groupKey":"{}:{}","alerts":[{"labels":{"alertname":"DiskFull"}}]}',
    ),
    Preset(
        name="alertmanager",
        title="Prometheus Alertmanager",
        rows=(Row(place=InHeader("Authorization"), prefix=b"Bearer ", algorithm=TOKEN),),
        type=Places(paths=("status",)),
        source="prometheus.io/docs, Alerting configuration",
        steps=(
            "In alertmanager.yml give a receiver a webhook_configs with the url {url}.",
            "Under its http_config, authorization, set credentials to {secret}.",
        ),
        example_type="firing",
        example='{"status":"firing","groupKey":"{}:{}","alerts":[{"labels":{"alertname":"DiskFull"}}]}',
    ),
    Preset(
        name="honeycomb",
        title="Honeycomb",
        rows=(header("X-Honeycomb-Webhook-Token", algorithm=TOKEN),),
        type=Places(paths=("status",)),
        source="docs.honeycomb.io, Webhook recipients",
        steps=(
            "Open Integrations, Webhook, and enter the URL {url} and the shared secret {secret}.",
            "Choose the recipient in a trigger.",
        ),
        example_type="TRIGGERED",
        example='{"id":"abc","name":"Slow","status":"TRIGGERED","trigger_url":"https://ui.honeycomb.io/"}',
    ),
    *(
        Preset(
            name=name,
            title=title,
            rows=ANY_TOKEN if not basic else (BASIC_AUTH, *ANY_TOKEN),
            type=places,
            source=source,
            steps=steps,
            example_type=kind,
            example=example,
        )
        for name, title, basic, places, source, steps, kind, example in (
            (
                "opsgenie",
                "Opsgenie",
                False,
                Places(paths=("action",)),
                "support.atlassian.com/opsgenie, Webhook integration",
                (
                    "Open Settings, Integrations, Webhook, and enter the URL {url}.",
                    "Add the custom header X-Webhook-Token: {secret}.",
                ),
                "Create",
                '{"action":"Create","alert":{"alertId":"052652ac","message":"Disk full","priority":"P1"}}',
            ),
            (
                "datadog",
                "Datadog",
                True,
                Places(paths=("alert_transition", "event_type")),
                "docs.datadoghq.com, Webhooks integration",
                (
                    "Open Integrations, Webhooks, New, and enter the URL {url}.",
                    (
                        'Payload: {"id":"$ID","alert_transition":"$ALERT_TRANSITION","title":"$EVENT_TITLE",'
                        '"body":"$EVENT_MSG","link":"$LINK"}'
                    ),
                    'Custom headers: {"X-Webhook-Token": "{secret}"}. Name @webhook-NAME in a monitor.',
                ),
                "Triggered",
                '{"id":"7","alert_transition":"Triggered","title":"CPU is high","body":"on web-1","link":"https://x.example"}',
            ),
            (
                "newrelic",
                "New Relic",
                True,
                Places(paths=("state", "issueState")),
                "docs.newrelic.com, Webhook notifications",
                (
                    "Open Alerts, Destinations, Webhook, and enter the URL {url} with bearer token {secret}.",
                    'Choose it in a workflow, with the payload template\'s "state" as {{json state}}.',
                ),
                "ACTIVATED",
                '{"issueId":"9f7c","state":"ACTIVATED","title":"CPU is high","priority":"CRITICAL"}',
            ),
            (
                "rollbar",
                "Rollbar",
                False,
                Places(paths=("event_name",)),
                "docs.rollbar.com, Webhooks",
                ("Open Project Settings, Notifications, Webhook, and enter the URL {url}?token={secret}.",),
                "new_item",
                '{"event_name":"new_item","data":{"item":{"id":7,"title":"TypeError"}}}',
            ),
            (
                "bugsnag",
                "BugSnag",
                False,
                Places(paths=("trigger.type",)),
                "docs.bugsnag.com, Webhook",
                ("Open Project settings, Integrations, Webhook, and enter the URL {url}?token={secret}.",),
                "firstException",
                '{"trigger":{"type":"firstException"},"error":{"exceptionClass":"TypeError"},"project":{"name":"shop"}}',
            ),
            (
                "uptime-kuma",
                "Uptime Kuma",
                False,
                Places(paths=("heartbeat.status",), always="test"),
                "github.com/louislam/uptime-kuma, the webhook provider",
                (
                    "Open Settings, Notifications, Setup Notification, Webhook, and enter the URL {url}, body JSON.",
                    'Switch on Additional Headers: {"Authorization": "Bearer {secret}"}. 0 is down, 1 is up.',
                ),
                "0",
                '{"heartbeat":{"status":0,"msg":"timeout"},"monitor":{"name":"shop"},"msg":"[shop] is down"}',
            ),
        )
    ),
    *(
        Preset(
            name=name,
            title=title,
            rows=tuple(replace(row, delivery=InBody(ident)) for row in ANY_TOKEN),
            type=places,
            source=source,
            steps=steps,
            example_type=kind,
            example=example,
        )
        for name, title, ident, places, source, steps, kind, example in (
            (
                "statuspage",
                "Atlassian Statuspage",
                "incident.incident_updates.0.id",
                Places(keys={"incident": "incident", "component_update": "component_update"}, action="incident.status"),
                "support.atlassian.com/statuspage, Webhook notifications",
                ("Open the status page, Subscribe to updates, Webhook, and enter the URL {url}?token={secret}.",),
                "incident.investigating",
                (
                    '{"incident":{"name":"API is slow","status":"investigating",'
                    '"incident_updates":[{"id":"jp9k","body":"We look into it"}]}}'
                ),
            ),
            (
                "betterstack",
                "Better Stack",
                "data.id",
                Places(paths=("data.attributes.event", "event_type")),
                "betterstack.com/docs, Outgoing webhooks",
                (
                    "Open Uptime or Errors, Integrations, Outgoing webhooks.",
                    "Enter the URL {url}?token={secret}.",
                ),
                "new_error",
                '{"data":{"id":"7","type":"error","attributes":{"event":"new_error","name":"TypeError"}}}',
            ),
        )
    ),
    Preset(
        name="cloudflare",
        title="Cloudflare Notifications",
        rows=(header("cf-webhook-auth", algorithm=TOKEN),),
        type=Places(paths=("alert_type",)),
        source="developers.cloudflare.com, Configure webhooks",
        steps=(
            "Open Notifications, Destinations, Webhooks, Create.",
            "Enter the URL {url} and the secret {secret}, and choose it in a notification.",
        ),
        example_type="health_check_status_notification",
        example='{"alert_type":"health_check_status_notification","name":"shop is down","text":"…","ts":1761000000}',
        dated=True,
    ),
)
