"""
What webhooks notice of 1,000 crons that missed 30 days.

The crons are due each minute, began 30 days ago, and NATS publishes all of them in one second. Webhooks are sent one
after another meanwhile; their p50 and p99 stand beside those of the same server when it is idle.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import uvloop
from bench.common import BIN, free_port, is_ready, p50, p99, print_machine, print_table, process, scratch
from bench.crons import ARMING

from clawback.accounts.profiles import ensure_profile
from clawback.crons.firing import DUE_HEADER, EDITION_HEADER, KIND, next_run
from clawback.fabric.embedded import read_auth
from clawback.fabric.streams import Fabric
from clawback.model import Cron, Profile, Scheme, Source, new_id
from clawback.store import later
from clawback.store.registry import Registry

CRONS = 1000
MISSED = timedelta(days=30)
IDLE_SECONDS = 10.0
MOST_SECONDS = 120.0


def main() -> None:
    with scratch() as directory, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print_machine(directory)
        home = directory / "clawback"
        home.mkdir()
        port = free_port()
        command = (BIN / "clawback", "serve", "--data-dir", home, "--port", str(port))
        with process(*command, log=home / "clawback.log", port=port):
            while not is_ready(port):
                time.sleep(0.01)
            profile = runner.run(make_source(home))
            idle = runner.run(send(port, profile, IDLE_SECONDS))
            crons = runner.run(make_crons(home, profile))
            busy, took = runner.run(send_until_done(home, port, profile, crons))
        rows = [
            [name, str(len(taken)), f"{1000 * p50(taken):.1f}", f"{1000 * p99(taken):.1f}", f"{1000 * max(taken):.0f}"]
            for name, taken in (("idle", idle), ("catching up", busy))
        ]
        print_table("webhooks one after another, ms", ["", "webhooks", "p50", "p99", "most"], rows)
        print(f"{CRONS:,} crons had caught up {took:.1f} s after the last one was armed")


async def make_source(home: Path) -> Profile:
    """Make a profile with a source that anybody may send to."""
    fabric = await Fabric.open(read_auth(home), name="bench")
    registry = await Registry.open(fabric)
    profile = await ensure_profile(registry, "bench")
    now = datetime.now(UTC)
    await registry.create_source(Source(new_id("src"), profile.id, "hub", Scheme.NONE, now, routes={"*": "/look"}))
    await fabric.close()
    return profile


async def make_crons(home: Path, profile: Profile) -> list[Cron]:
    """Store crons of every minute that began long ago, and arm them, which is at once."""
    fabric = await Fabric.open(read_auth(home), name="bench")
    registry = await Registry.open(fabric)
    since = datetime.now(UTC) - MISSED
    crons = [
        Cron(new_id("crn"), profile.id, since, since, "/tidy", "Europe/Berlin", schedule="* * * * *", tag=f"t{number}")
        for number in range(CRONS)
    ]
    todo = iter(crons)

    async def store_and_arm() -> None:
        for cron in todo:
            await registry.create_cron(cron)
            due = next_run(cron)
            headers = {DUE_HEADER: due.isoformat(), EDITION_HEADER: str(cron.edition)}
            await later.arm(fabric, KIND, profile.id, cron.id, datetime.now(UTC) + timedelta(seconds=5), b"", headers)

    await asyncio.gather(*(store_and_arm() for _ in range(ARMING)))
    await fabric.close()
    return crons


async def send(port: int, profile: Profile, seconds: float) -> list[float]:
    """Send webhooks for a while, one after another, and say how long each took."""
    taken = []
    async with httpx.AsyncClient() as http:
        url = f"http://127.0.0.1:{port}/webhooks/{profile.webhook_id}/hub"
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            began = time.perf_counter()
            answer = await http.post(url, json={"type": "ping"})
            taken.append(time.perf_counter() - began)
            assert answer.status_code in (200, 202), answer.text
            await asyncio.sleep(0.02)
    return taken


async def send_until_done(home: Path, port: int, profile: Profile, crons: list[Cron]) -> tuple[list[float], float]:
    """Send webhooks until every cron has caught up; say how long each took, and how long that was."""
    fabric = await Fabric.open(read_auth(home), name="bench")
    registry = await Registry.open(fabric)
    taken: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() < began + MOST_SECONDS:
        taken += await send(port, profile, 1.0)
        done = [cron for cron in registry.list_crons(profile.id) if cron.last_due is not None]
        if len(done) == len(crons):
            break
    took = time.perf_counter() - began
    await fabric.close()
    return taken, took


if __name__ == "__main__":
    main()
