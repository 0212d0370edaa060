"""
What 100,000 stored crons cost a server, and how late runs are when many are due in the same second.

Start-up, memory and idle CPU of `clawback serve` and of its nats-server, with the crons and without. Then 1,000 of them
are due in one second: how late each event is in its line, by NATS's own clock. Next to what no scheduler on NATS can do
without: nats-py alone, four at a time pulling and acking (confirmed) 1,000 messages that NATS publishes in one second.
Ours does more for each: it reads the cron, stores the event and how far the cron is, and arms the next run.
"""

import asyncio
import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import nats
import uvloop
from bench.common import (
    BIN,
    cpu_seconds,
    free_port,
    is_ready,
    nats_of,
    nats_server,
    p50,
    p99,
    print_machine,
    print_table,
    process,
    resident_mb,
    scratch,
)

from clawback.accounts.profiles import ensure_profile
from clawback.crons.firing import DUE_HEADER, EDITION_HEADER, KIND, next_run
from clawback.fabric import subjects
from clawback.fabric.embedded import read_auth
from clawback.fabric.jetstream import BatchMessage
from clawback.fabric.streams import Fabric
from clawback.model import Cron, Profile, encode_json, new_id
from clawback.store import later
from clawback.store.registry import Registry

CRONS = int(os.environ.get("BENCH_CRONS", "100000"))
PROFILES = 10
DUE = 1000
"""Crons that are due in the same second."""

STARTS = 3
IDLE_SECONDS = 10.0
WORKERS = 4
BATCH = 1000
ARMING = 256
"""Schedules under way at a time."""

MINUTE = timedelta(minutes=1)


class State(NamedTuple):
    """What a server costs that has nothing to do."""

    start_s: float
    server_mb: float
    nats_mb: float
    server_cpu: float
    nats_cpu: float


def main() -> None:
    with scratch() as directory, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print_machine(directory)
        home = directory / "clawback"
        home.mkdir()
        with serving(home):
            pass
        without = measure_idle(home)
        with serving(home):
            began = time.perf_counter()
            profiles = runner.run(fill(home))
            filled_s = time.perf_counter() - began
        full = measure_idle(home)
        rows = [
            [
                f"{count} crons",
                f"{it.start_s:.2f}",
                f"{it.server_mb:.0f}",
                f"{it.nats_mb:.0f}",
                f"{100 * it.server_cpu:.1f} %",
                f"{100 * it.nats_cpu:.1f} %",
            ]
            for count, it in (("no", without), (f"{CRONS:,}", full))
        ]
        head = ["clawback serve", "start, s", "MB", "NATS, MB", "idle, of a core", "NATS's"]
        print_table(f"{CRONS:,} crons stored, which took {filled_s:.0f} s", head, rows)
        with serving(home), nats_server(directory / "nats", sync="always") as url:
            theirs = runner.run(measure_yardstick(url))
            ours = runner.run(measure_lateness(home, profiles))
        rows = [
            [name, f"{1000 * p50(late):.0f}", f"{1000 * p99(late):.0f}", f"{1000 * max(late):.0f}"]
            for name, late in (("clawback serve", ours), ("nats-py: pull, ack", theirs))
        ]
        print_table(f"{DUE:,} due in the same second: late by, ms", ["", "p50", "p99", "most"], rows)


@contextmanager
def serving(home: Path) -> Iterator[tuple[int, int]]:
    """Run `clawback serve`, entered when it is ready. Yields its process id and that of its nats-server."""
    port = free_port()
    command = (BIN / "clawback", "serve", "--data-dir", home, "--port", str(port))
    with process(*command, log=home / "clawback.log", port=port) as pid:
        while not is_ready(port):
            time.sleep(0.01)
        yield pid, nats_of(pid)


def measure_idle(home: Path) -> State:
    """Start a server some times, and then let it be for a while."""
    starts = []
    for _ in range(STARTS):
        began = time.perf_counter()
        with serving(home) as (server, nats_pid):
            starts.append(time.perf_counter() - began)
            if len(starts) < STARTS:
                continue
            time.sleep(2)  # what a start still has to do
            before, since = (cpu_seconds(server), cpu_seconds(nats_pid)), time.perf_counter()
            time.sleep(IDLE_SECONDS)
            passed = time.perf_counter() - since
            return State(
                p50(starts),
                resident_mb(server),
                resident_mb(nats_pid),
                (cpu_seconds(server) - before[0]) / passed,
                (cpu_seconds(nats_pid) - before[1]) / passed,
            )
    raise AssertionError("the last start returns")


# --- crons --------------------------------------------------------------------------------------------------------


async def fill(home: Path) -> list[Profile]:
    """Store and arm crons that are due once a day, none of them within hours."""
    fabric = await Fabric.open(read_auth(home), name="bench")
    registry = await Registry.open(fabric)
    profiles = [await ensure_profile(registry, f"bench{number}") for number in range(PROFILES)]
    far = datetime.now(UTC) + timedelta(hours=6)
    await store(fabric, profiles, [far + number % 720 * MINUTE for number in range(CRONS)])
    await fabric.close()
    return profiles


async def store(fabric: Fabric, profiles: list[Profile], times: list[datetime]) -> list[Cron]:
    """Store and arm a cron for each time of day, as `cron_create` does it one by one."""
    now = datetime.now(UTC)
    crons = [
        Cron(
            id=new_id("crn"),
            profile_id=profile.id,
            created_at=now,
            since=now,
            prompt="/nightly-review of what was merged since yesterday",
            timezone="UTC",
            schedule=f"{at.minute} {at.hour} * * *",
            tag=f"tag{number % 7}",
            label="nightly review",
        )
        for number, (at, profile) in enumerate(zip(times, itertools.cycle(profiles), strict=False))
    ]
    for start in range(0, len(crons), BATCH):
        await fabric.batch(
            [
                BatchMessage(
                    subjects.config_subject(subjects.cron_key(cron.profile_id, cron.id)), encode_json(cron), {}, 0
                )
                for cron in crons[start : start + BATCH]
            ]
        )
    todo = iter(crons)

    async def arm() -> None:
        for cron in todo:
            due = next_run(cron)
            headers = {DUE_HEADER: due.isoformat(), EDITION_HEADER: str(cron.edition)}
            await later.arm(fabric, KIND, cron.profile_id, cron.id, due, b"", headers)

    await asyncio.gather(*(arm() for _ in range(ARMING)))
    return crons


async def measure_lateness(home: Path, profiles: list[Profile]) -> list[float]:
    """Have crons due at the next minute but one, and say how late their events were in their lines, in seconds."""
    fabric = await Fabric.open(read_auth(home), name="bench")
    registry = await Registry.open(fabric)
    due = next_minute()
    crons = await store(fabric, profiles, [due] * DUE)
    assert datetime.now(UTC) < due, "it took too long to store them"
    late: dict[str, float] = {}
    while len(late) < DUE:
        await asyncio.sleep(max(0.5, (due - datetime.now(UTC)).total_seconds() + 1))
        for cron in crons:
            if cron.id not in late:
                shard = subjects.shard_of(cron.profile_id, registry.install.shards)
                line = subjects.maker_filter(shard, cron.profile_id, subjects.cron_maker(cron.id))
                for stored in await fabric.get_many(subjects.event_stream(shard), line):
                    late[cron.id] = (stored.time - due).total_seconds()
    await fabric.close()
    return [*late.values()]


def next_minute() -> datetime:
    """Say when the next minute begins that is some seconds away."""
    return (datetime.now(UTC) + timedelta(seconds=15) + MINUTE).replace(second=0, microsecond=0)


# --- the yardstick ------------------------------------------------------------------------------------------------


async def measure_yardstick(url: str) -> list[float]:
    """Have NATS publish as many messages in one second, and say how late each was acked, in seconds."""
    client = await nats.connect(url)
    await client.request(
        "$JS.API.STREAM.CREATE.BARE",
        b'{"name":"BARE","subjects":["bare.>"],"storage":"file","retention":"workqueue","allow_msg_schedules":true}',
    )
    js = client.jetstream()
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=5)
    for number in range(DUE):
        headers = {
            "Nats-Schedule": f"@at {due:%Y-%m-%dT%H:%M:%SZ}",
            "Nats-Schedule-Target": f"bare.due.{number}",
        }
        await js.publish(f"bare.at.{number}", b"", headers=headers)
    late: list[float] = []

    async def work() -> None:
        subscription = await js.pull_subscribe_bind("bench", "BARE")
        while len(late) < DUE:
            try:
                (message,) = await subscription.fetch(1, timeout=2)
            except nats.errors.TimeoutError:
                continue
            await message.ack_sync()
            late.append((datetime.now(UTC) - due).total_seconds())

    await js.add_consumer("BARE", durable_name="bench", filter_subject="bare.due.>", ack_policy="explicit")
    await asyncio.gather(*(work() for _ in range(WORKERS)))
    await client.close()
    return late[:DUE]


if __name__ == "__main__":
    main()
