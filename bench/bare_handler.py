"""
The yardstick of bench/intake.py: the least that a webhook server in Python can be.

One Litestar handler that verifies GitHub's signature, publishes with a message id to a file stream and answers after
the PubAck. No sources, no routes, no ledger, no log. uvicorn's flags are those of `clawback serve`.

    python -m bench.bare_handler NATS_URL PORT
"""

import asyncio
import hashlib
import hmac
import sys
from typing import Any

import nats
import uvicorn
import uvloop
from bench.common import SECRET
from litestar import Litestar, Request, post
from litestar.exceptions import NotAuthorizedException


async def main(url: str, port: int) -> None:
    js = (await nats.connect(url)).jetstream()
    await js.add_stream(name="BARE", subjects=["bare.>"], storage="file", allow_direct=True, duplicate_window=2 * 3600)

    @post("/webhook", status_code=202)
    async def take(request: Request) -> dict[str, str]:
        body = await request.body()
        signature = "sha256=" + hmac.digest(SECRET, body, hashlib.sha256).hex()
        if not hmac.compare_digest(signature, request.headers["X-Hub-Signature-256"]):
            raise NotAuthorizedException
        delivery_id = request.headers["X-GitHub-Delivery"]
        await js.publish("bare.github", body, headers={"Nats-Msg-Id": delivery_id})
        return {"status": "queued", "eventId": delivery_id}

    @post("/echo", status_code=202)
    async def echo(request: Request) -> dict[str, int]:
        return {"bytes": len(await request.body())}

    await serve(Litestar([take, echo], openapi_config=None), port)


async def serve(app: Any, port: int) -> None:
    """Serve an application until a signal comes, with the flags of `clawback serve`."""
    config = uvicorn.Config(
        app,
        port=port,
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], int(sys.argv[2])))
