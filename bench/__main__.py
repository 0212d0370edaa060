"""`make bench`: every question, one after another, on this machine."""

from bench import backlog, channel_start, crons, drain, hooks, intake, latency, sizes, two_servers

for each in (intake, sizes, two_servers, latency, drain, backlog, crons, channel_start, hooks):
    each.main()
    print()
