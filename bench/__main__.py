"""`make bench`: every question, one after another, on this machine."""

from bench import (
    backlog,
    catchup,
    channel_start,
    crons,
    drain,
    hooks,
    intake,
    latency,
    ledger,
    senders,
    serve_start,
    sessions,
    sizes,
    soak,
    two_servers,
)

for each in (
    intake,
    senders,
    ledger,
    sizes,
    two_servers,
    latency,
    drain,
    backlog,
    sessions,
    soak,
    crons,
    catchup,
    serve_start,
    channel_start,
    hooks,
):
    each.main()
    print()
