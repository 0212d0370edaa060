"""
A session without Claude: takes the next event, prints it, acks it, and leaves.

    python session.py [TAG]

The least that a client of docs/protocol.md does. Claude Code has `clawback channel` instead, which also keeps acks on
disk, survives reconnects and fences off what comes from outside.
"""
# ruff: noqa: INP001, T201 -- an example stands alone, and prints

import json
import sys
import uuid

from websockets.sync.client import connect

from clawback.channel.settings import read_config

config = read_config()
with connect(config.remote, proxy=None) as socket:
    auth = {"type": "auth", "token": config.connection_token, "instanceId": uuid.uuid4().hex}
    socket.send(json.dumps(auth | {"sessionTag": sys.argv[1] if len(sys.argv) > 1 else None}))
    while True:
        frame = json.loads(socket.recv(timeout=90))
        match frame["type"]:
            case "ping":
                socket.send('{"type":"pong"}')
            case "event":
                meta = frame["meta"]
                print(f"{frame['id']} ({meta['eventType']}, verified: {meta['verified']}, attempt {meta['attempt']})")
                print(frame["content"])
                ack = {"type": "ack", "eventId": frame["id"], "summary": "printed it", "requestId": "1"}
                socket.send(json.dumps(ack))
            case "response":
                print(f"acked, settled: {frame['data']['settled']}")
                break
