"""Who watches what runs, and calls when it does not. Pure."""

from clawback.senders.preset import Places, Preset
from clawback.senders.signatures import TOKEN, InBody, InHeader, Row, header

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
)
