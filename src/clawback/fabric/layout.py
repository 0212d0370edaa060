"""
What Clawback keeps in NATS, as data: every stream and bucket, with the reason for each unusual choice.

`ensure` runs at the start and after every reconnect, because a memory bucket vanishes with a restarted server. It
needs nats-server 2.15 or newer (message schedules, atomic batches and raised consumer limits).
"""

import json
from typing import Any, Protocol

from clawback.errors import Unavailable
from clawback.fabric import subjects

DAY_NS = 24 * 3600 * 10**9
SECOND_NS = 10**9

MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
"""NATS's advised upper bound for one message, headers included; the embedded server is started with it."""

LINE_BOUND = 100_000
"""Events that may wait of one source for one session. A safety net: a sender that never retries loses at 429."""

MAX_CONSUMERS = 100_000
"""Since 2.15 a stream allows 1,000 unless told otherwise, which three lines a session reach at 333 sessions."""

REFUSED_BYTES = 32 * 1024 * 1024
"""Some 100,000 of what was refused; full, the oldest go."""

END_WINDOW_SECONDS = 600
"""How long a second end of one turn is refused by its message id; an ack of what is older looks at the stream first."""

LEADER_SECONDS = 1.0
"""How long the leader of a stream may take to say that it is there."""

STREAM_NAME_IN_USE = 10058

CONFIG_BUCKET = "cfg"
SESSION_BUCKET = "sess"
ONCE_BUCKET = "once"


class JetStreamApi(Protocol):
    """The one call made here; fabric.streams has it."""

    async def api(self, operation: str, body: dict[str, Any], *, timeout: float = ...) -> dict[str, Any]:  # noqa: ASYNC109 -- see there
        """Send a `$JS.API` request and return its answer, `error` included."""


def _event_stream(shard: int) -> dict[str, Any]:
    return {
        "name": subjects.event_stream(shard),
        "description": "Events that wait or run; an ack deletes one. evt.<shard>.<profile>.<tag>.<line>.<source>",
        "subjects": [subjects.shard_filter(shard)],
        # Acked means deleted here: on a limits stream an ack can be forgotten by a kill (measured, docs/adr/0003).
        "retention": "workqueue",
        # Full means refused: the default would silently delete the oldest unread events.
        "discard": "new",
        "discard_new_per_subject": True,
        "max_msgs_per_subject": LINE_BOUND,
        "max_consumers": MAX_CONSUMERS,
        "duplicate_window": 2 * 3600 * SECOND_NS,
        "allow_direct": True,
        "allow_atomic": True,
        # No `republish` as a wake-up: NATS would keep what it reads for it in memory (docs/adr/0021).
    }


_KEPT: tuple[dict[str, Any], ...] = (
    {
        "name": "STACK",
        "description": "What each session holds, active event last. stack.<profile>.<tag>",
        "subjects": [subjects.STACKS],
        "max_msgs_per_subject": 1,
    },
    {
        "name": "HIST",
        "description": "How events ended. hist.<profile>.<tag>, and drop.<profile> for what no route took",
        "subjects": [*subjects.ENDS],
        "max_msgs_per_subject": 200,
        "max_age": 90 * DAY_NS,
        # The message id of a record is the turn that it ends: the first to be stored decides (docs/adr/0023).
        "duplicate_window": END_WINDOW_SECONDS * SECOND_NS,
    },
    {
        "name": "DEAD",
        "description": "Dead letters, kept until somebody decides. dead.<profile>.<tag>.<reason>.<event>",
        "subjects": [subjects.DEAD_LETTERS],
        "discard": "new",
        "duplicate_window": DAY_NS,
    },
    {
        "name": "LATER",
        "description": "What is to be published later, and what came due. later.at|due.<kind>.<profile>.<id>",
        "subjects": [subjects.LATER],
        # Taken means deleted. The relay's consumer sees `later.due.` only: an ack of a schedule would delete it.
        "retention": "workqueue",
        # Any bound would delete schedules: NATS refuses `discard: new` on a stream that has them.
        "allow_msg_schedules": True,
        "allow_msg_ttl": True,
        "allow_rollup_hdrs": True,
    },
    {
        "name": "SEEN",
        "description": "Delivery ids of 7 days, so that a webhook sent again is one event. seen.<profile>.<event>",
        "subjects": [subjects.LEDGER],
        "max_msgs_per_subject": 1,
        "max_age": 7 * DAY_NS,
        # Written in batches where many come at once: a few syncs to disk instead of one for each.
        "allow_atomic": True,
    },
    {
        "name": "PACKS",
        "description": "Delivery ids again, 1,000 to a message, which NATS need not remember one by one. packs.seen",
        "subjects": [subjects.PACKS],
        "max_age": 7 * DAY_NS,
    },
    {
        "name": "REFUSED",
        "description": "Webhooks that were refused, for their source's owner. refused.<profile>.<source>",
        "subjects": [subjects.REFUSALS],
        "max_msgs_per_subject": 20,
        "max_age": 7 * DAY_NS,
        # Strangers fill it: they may push out each other's, and nothing else.
        "max_bytes": REFUSED_BYTES,
        "storage": "memory",
    },
    {
        "name": f"KV_{CONFIG_BUCKET}",
        "description": "Profiles, tokens, sources. Secrets in it are sealed, tokens are hashes",
        "subjects": [subjects.bucket_filter(CONFIG_BUCKET)],
        "max_msgs_per_subject": 5,
        "discard": "new",
        "deny_delete": True,
        "allow_rollup_hdrs": True,
        "allow_atomic": True,
        # Servers keep a copy in memory by it: a plain subscription on the bucket would also hear refused writes.
        "republish": {"src": subjects.bucket_filter(CONFIG_BUCKET), "dest": subjects.CONFIG_CHANGES},
    },
    {
        "name": f"KV_{SESSION_BUCKET}",
        "description": "Which server holds each session; leases that expire by themselves. <profile>.<tag>",
        "subjects": [subjects.bucket_filter(SESSION_BUCKET)],
        "max_msgs_per_subject": 1,
        "discard": "new",
        "allow_rollup_hdrs": True,
        "allow_msg_ttl": True,
        # Refreshed every few seconds by every session: on disk that would be an fsync each.
        "storage": "memory",
    },
    {
        "name": f"KV_{ONCE_BUCKET}",
        "description": "Codes to be redeemed and names that are used up, each until its time is over. <kind>.<hash>",
        "subjects": [subjects.bucket_filter(ONCE_BUCKET)],
        "max_msgs_per_subject": 1,
        "discard": "new",
        "allow_msg_ttl": True,
    },
)


def streams(shards: int, replicas: int) -> tuple[dict[str, Any], ...]:
    """Return every stream's configuration, buckets included (a bucket is a stream named `KV_…`)."""
    common = {"storage": "file", "num_replicas": replicas, "allow_direct": True}
    return tuple(common | spec for spec in (*(_event_stream(k) for k in range(shards)), *_KEPT))


async def ensure(js: JetStreamApi, shards: int, replicas: int) -> int:
    """
    Create what is missing and update what differs; does nothing to what is right. Returns how many copies there are.

    Copies are added and never taken away: a server or a command that was not told of a cluster must not cost any.

    Raises:
        Unavailable: NATS refused a stream; names it and gives NATS's reason.
    """
    copies = replicas
    for config in streams(shards, replicas):
        name = config["name"]
        answer = await js.api(f"STREAM.CREATE.{name}", config)
        if answer.get("error", {}).get("err_code") == STREAM_NAME_IN_USE:
            answer = await js.api(f"STREAM.INFO.{name}", {})
            if "error" not in answer:
                config["num_replicas"] = max(replicas, answer["config"]["num_replicas"])
                answer = await js.api(f"STREAM.UPDATE.{name}", config)
            copies = max(copies, config["num_replicas"])
        if error := answer.get("error"):
            raise Unavailable(f"NATS refused stream {name}: {error.get('description', json.dumps(error))}")
    return copies


async def check_leaders(js: JetStreamApi, shards: int, replicas: int) -> None:
    """
    Check that each stream of a cluster has a leader: nobody else answers what is asked here.

    Raises:
        Unavailable: one has none now; names it.
    """
    for config in streams(shards, replicas):
        name = config["name"]
        try:
            answer = await js.api(f"STREAM.INFO.{name}", {}, timeout=LEADER_SECONDS)
        except Unavailable as silence:
            raise Unavailable(f"stream {name} has no leader: {silence}") from silence
        if error := answer.get("error"):
            raise Unavailable(f"stream {name} has no leader: {error.get('description', json.dumps(error))}")
