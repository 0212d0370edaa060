"""What a server counts, for Prometheus: every metric it has, by name."""

from prometheus_client import Counter

WEBHOOKS = Counter(
    "clawback_webhooks_total",
    "Webhook requests by what became of them: queued, dropped, duplicate, challenge, refused, failed, gone.",
    ["profile", "source", "outcome"],
)
"""`profile` and `source` are ids, empty where the URL named none."""

DELIVERIES = Counter(
    "clawback_deliveries_total",
    "Events sent to sessions; `again` is true for a repeat.",
    ["profile", "again"],
)

ENDED = Counter(
    "clawback_events_ended_total",
    "Events that ended, by how: acked, timed_out, dead.",
    ["profile", "state"],
)
