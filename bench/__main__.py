"""`make bench`: every question, one after another, on this machine."""

from bench import channel_start, drain, hooks, intake, latency

for each in (intake, latency, drain, channel_start, hooks):
    each.main()
    print()
