"""
A yardstick of bench/intake.py: what uvicorn leaves to any application. It reads the body, and answers.

Nothing is verified, published or stored. uvicorn's flags are those of `clawback serve`.

    python -m bench.raw_asgi PORT
"""

import asyncio
import sys

import uvloop
from bench.bare_handler import serve


async def take(_scope, receive, send) -> None:
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            break
    answer = b'{"bytes":%d}' % size
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(take, int(sys.argv[1])))
