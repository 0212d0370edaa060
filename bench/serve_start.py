"""
What `clawback serve` costs whoever has just started it: the time until it is ready, and what it takes while it idles.

With the nats-server that it starts itself, the figures together. A first start makes the data directory, its keys and
all streams; a second one finds them. Next to a bare nats-server, which no server of this kind can do without.
"""

import time
from pathlib import Path

from bench.common import (
    cpu_seconds,
    idle_shares,
    nats_server,
    p50,
    print_machine,
    print_table,
    resident_mb,
    scratch,
)
from bench.crons import serving

STARTS = 5
IDLE_SECONDS = 20.0
"""Of which the sweep of the lines and the renewal of leases have their turn, too."""


def main() -> None:
    with scratch() as directory:
        print_machine(directory)
        measure(directory)


def measure(directory: Path) -> None:
    """Start servers, first and again, and a bare nats-server, in turns; then let the last server be."""
    took: dict[str, list[float]] = {"first start": [], "start again": [], "nats-server alone": []}
    used: dict[str, list[float]] = {name: [] for name in took}
    for number in range(STARTS):
        home = directory / f"clawback-{number}"
        home.mkdir()
        for name in ("first start", "start again"):
            began = time.perf_counter()
            with serving(home) as pids:
                took[name].append(time.perf_counter() - began)
                used[name].append(sum(map(cpu_seconds, pids)))
        began = time.perf_counter()
        with nats_server(directory / f"nats-{number}", sync="always"):
            took["nats-server alone"].append(time.perf_counter() - began)
    rows = []
    for name, each in took.items():
        cpu = f"{p50(used[name]):.2f}" if used[name] else ""
        rows.append([name, f"{p50(each):.2f}", f"{min(each):.2f}", f"{max(each):.2f}", cpu])
    print_table("From spawn to ready, s", ["", "p50", "least", "most", "CPU, with NATS's"], rows)
    with serving(home) as (server, nats):
        time.sleep(3)  # what a start still has to do
        pids = {"clawback serve": server, "its nats-server": nats}
        shares = idle_shares(pids, IDLE_SECONDS)
        held = {name: resident_mb(pid) for name, pid in pids.items()}
    rows = [[name, f"{held[name]:.0f}", f"{100 * shares[name]:.2f} %"] for name in pids]
    rows.append(["together", f"{sum(held.values()):.0f}", f"{100 * sum(shares.values()):.2f} %"])
    print_table("Idle", ["", "MB", "of a core"], rows)


if __name__ == "__main__":
    main()
