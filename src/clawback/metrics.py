"""What a server counts, for Prometheus: every metric it has, by name."""

from functools import lru_cache

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

REFUSED = Counter(
    "clawback_refused_total",
    "Connections and requests that a limit refused or ended, by the limit.",
    ["limit"],
)


@lru_cache(maxsize=4096)
def webhooks(profile_id: str, source_id: str, outcome: str) -> Counter:
    """Find a counter of WEBHOOKS by its labels, which takes prometheus_client ten times as long."""
    return WEBHOOKS.labels(profile_id, source_id, outcome)
