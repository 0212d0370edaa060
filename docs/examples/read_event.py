"""
Print the whole payload of an event that has not ended.

    python read_event.py EVENT_ID SEQUENCE

A session is sent at most 200,000 characters of one; the note at the cut names both. It reads NATS directly, so it runs
on the server's machine, with the server's settings: CLAWBACK_DATA_DIR where that is not the default.
"""
# ruff: noqa: INP001 -- an example stands alone

import asyncio
import os
import sys

from clawback.commands.admin import nats_auth
from clawback.fabric.streams import Fabric
from clawback.fabric.subjects import event_stream
from clawback.settings import load_settings
from clawback.store.events import decode_event
from clawback.store.registry import Registry


async def read(event_id: str, sequence: int) -> bytes:
    """Look into every shard: sequences are counted for each, and the id says which one it is."""
    fabric = await Fabric.open(nats_auth(load_settings({}, os.environ)), name="read_event")
    try:
        registry = await Registry.open(fabric)
        for shard in range(registry.install.shards):
            stored = await fabric.get(event_stream(shard), sequence=sequence)
            if stored is not None:
                event, body = decode_event(stored.headers, stored.data)
                if event.id == event_id:
                    return body
    finally:
        await fabric.close()
    sys.exit(f"{event_id} is not there any more: it has ended")


sys.stdout.buffer.write(asyncio.run(read(sys.argv[1], int(sys.argv[2]))))
