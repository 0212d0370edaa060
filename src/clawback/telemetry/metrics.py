"""What a server counts, for Prometheus: every metric it has, by name."""

from functools import lru_cache

from prometheus_client import Counter, Gauge, Histogram

from clawback import __version__
from clawback.build import commit

BUILD = Gauge("clawback_build_info", "Always 1; the labels name the build.", ["version", "commit"])
BUILD.labels(__version__, commit()).set(1)

WEBHOOKS = Counter(
    "clawback_webhooks_total",
    "Webhook requests by what became of them: queued, spooled, dropped, filtered, duplicate, challenge, refused,"
    " rate_limited, failed, gone.",
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

_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 1800, 3600, 14_400, 86_400)
"""Of the histograms: from what NATS takes to what people sleep through."""

WAITED = Histogram(
    "clawback_delivery_wait_seconds",
    "From an event's making to its first delivery to a session.",
    buckets=_SECONDS,
)

WORKED = Histogram(
    "clawback_ack_seconds",
    "From an event's last delivery to its ack, confirmed by JetStream.",
    buckets=_SECONDS,
)

CRON_LATENESS = Histogram(
    "clawback_cron_lateness_seconds",
    "From a due instant, with what the cron is spread by, to its event in the stream.",
    buckets=_SECONDS,
)

RECONNECTS = Counter("clawback_nats_reconnects_total", "Times that a lost connection to NATS was made anew.")

NATS_LOST = Gauge(
    "clawback_nats_lost_bytes",
    "What NATS could not read of its own files when it started, by stream; absent where it read everything.",
    ["stream"],
)

SET_ASIDE = Gauge(
    "clawback_set_aside",
    "Items that this server passed over because they cannot be taken, by kind: the log says which and why.",
    ["kind"],
)

SPOOLED = Counter("clawback_spooled_total", "Webhooks that were kept on the disk because NATS was away.")

SPOOL_EVENTS = Gauge("clawback_spool_events", "Events in the spool of this server.")

SPOOL_BYTES = Gauge("clawback_spool_bytes", "What they take of `spool_max_bytes`.")

SPOOL_DAMAGED = Counter(
    "clawback_spool_damaged_total", "Files of the spool that were set aside: unreadable, or too large for NATS."
)

# What follows is looked up when Prometheus asks: scrape.py.

SESSIONS = Gauge(
    "clawback_sessions",
    "Connected sessions of this server by their role: active, standby.",
    ["role"],
)

NATS_UP = Gauge("clawback_nats_up", "1 while NATS can be used, 0 while it cannot: /readyz says why.")

ROOM = Gauge(
    "clawback_room_bytes",
    "What new events may still take of the disk, or of what NATS allows; NaN where nothing tells.",
)

QUEUE_EVENTS = Gauge(
    "clawback_queue_events",
    "Events that wait at an address or are held there; `tag` is empty for untagged sessions.",
    ["profile", "tag"],
)

QUEUE_OLDEST = Gauge(
    "clawback_queue_oldest_seconds",
    "Age of the oldest event that waits at an address or is held there.",
    ["profile", "tag"],
)

QUEUE_UNLISTED = Gauge(
    "clawback_queue_unlisted_events",
    "Events at all the addresses that have no series of their own: those with the fewest.",
)

DEAD_LETTERS = Gauge("clawback_dead_letters", "Dead letters that nobody has replayed or deleted.", ["profile"])


def forget_source(profile_id: str, source_id: str) -> None:
    """Forget what was counted of a source that is deleted: ids are never used again, and series cost memory."""
    for metric in WEBHOOKS.collect():
        for labels in {tuple(sorted(sample.labels.items())) for sample in metric.samples}:
            known = dict(labels)
            if (known["profile"], known["source"]) == (profile_id, source_id):
                WEBHOOKS.remove(profile_id, source_id, known["outcome"])
    webhooks.cache_clear()


@lru_cache(maxsize=4096)
def webhooks(profile_id: str, source_id: str, outcome: str) -> Counter:
    """Find a counter of WEBHOOKS by its labels, which takes prometheus_client ten times as long."""
    return WEBHOOKS.labels(profile_id, source_id, outcome)
