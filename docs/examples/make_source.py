"""
Make a webhook source for untagged sessions, and print its URL and secret as shell variables.

    eval "$(python make_source.py SLUG)"    sets WEBHOOK_URL and WEBHOOK_SECRET

It speaks the protocol of docs/protocol.md and finds server and token where the plugin does. The server makes the secret
and shows it this once. Run again, it deletes the source of that name and makes a new one.
"""
# ruff: noqa: INP001, T201 -- an example stands alone, and prints

import json
import shlex
import sys

from websockets.sync.client import ClientConnection, connect

from clawback.channel.settings import read_config


def ask(socket: ClientConnection, kind: str, **fields: object) -> object:
    """Send one request and return the `data` of its response, passing whatever else comes."""
    socket.send(json.dumps({"type": kind, "requestId": kind, **fields}))
    while True:
        frame = json.loads(socket.recv(timeout=30))
        if frame["type"] == "ping":
            socket.send('{"type":"pong"}')
        elif frame.get("requestId") == kind:
            if "error" in frame:
                sys.exit(frame["error"])
            return frame["data"]


slug = sys.argv[1]
config = read_config()
with connect(config.remote, proxy=None) as socket:
    # A tag of its own: as an untagged session it would be sent the events that wait for one.
    socket.send(json.dumps({"type": "auth", "token": config.connection_token, "sessionTag": "make-source"}))
    socket.recv(timeout=30)
    for source in ask(socket, "source_list"):
        if source["slug"] == slug:
            ask(socket, "source_delete", sourceId=source["id"])
    made = ask(
        socket,
        "source_create",
        slug=slug,
        verifierType="github",
        generateSecret=True,
        routes={"pull_request.opened": "/review"},
        sessionTag="",
    )
print(f"export WEBHOOK_URL={shlex.quote(made['url'])} WEBHOOK_SECRET={shlex.quote(made['secret'])}")
print(f"made {made['url']}", file=sys.stderr)
