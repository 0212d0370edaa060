"""`make bench`: every question, one after another, on this machine."""

from bench import channel_start, crons, drain, hooks, intake, latency

for each in (intake, latency, drain, crons, channel_start, hooks):
    each.main()
    print()
