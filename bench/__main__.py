"""`make bench`: every question, one after another, on this machine."""

from bench import channel_start, intake, latency

for each in (intake, latency, channel_start):
    each.main()
    print()
