"""What strangers and broken programs send: each gets the contract's answer, and the server serves the next request."""

import asyncio
import base64
import gzip
import itertools
import json
import os
import socket
import time

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

import senders
from github import PULL_REQUEST, delivery, make_source
from legacy import PATIENCE_SECONDS, LegacyClient, open_socket
from processes import Server

MIB = 1024 * 1024
LIMIT = 25 * MIB
SECRET = senders.SECRET.decode()
SIGNED = dict(senders.github(PULL_REQUEST))["X-Hub-Signature-256"]

_slugs = (f"source-{number}" for number in itertools.count(1))


@pytest.fixture
async def client(server, shared_token):
    """A session of its own tag, to make sources with."""
    async with LegacyClient(server.socket_url, shared_token.value, next(_slugs)) as client:
        yield client


@pytest.fixture
async def hook(client):
    """The URL of a GitHub source."""
    return await make_source(client, next(_slugs))


@pytest.fixture(autouse=True)
async def _serves_the_next_request(server, hook, http):
    """After each test the server must still take a webhook, and live."""
    yield
    answer = await http.post(hook, **delivery())
    alive = await http.get(f"{server.url}/healthz")
    assert (answer.status_code, alive.status_code) == (202, 200), "the server does not serve the next request"


def problem(answer: httpx.Response) -> str:
    """Check that a refusal is a problem document, and return its detail."""
    content = answer.json()
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert content["status"] == answer.status_code
    return content["detail"]


# --- signatures and addresses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "sha256=",
        "sha256=" + "0" * 64,
        "sha256=" + "g" * 64,
        SIGNED[:-1],
        SIGNED + "00",
        SIGNED.removeprefix("sha256="),
        SIGNED.replace("sha256=", "sha1="),
        SIGNED.replace("sha256=", "md5="),
        dict(senders.github(PULL_REQUEST + b" "))["X-Hub-Signature-256"],
        dict(senders.github(PULL_REQUEST, b"another-secret"))["X-Hub-Signature-256"],
        "sha256=" + "a" * 7000,
        b"sha256=\xff\xfe",
    ],
    ids=[
        "missing", "empty", "no digest", "zeros", "not hex", "short", "long", "no prefix", "another algorithm",
        "unknown algorithm", "of another body", "of another secret", "very long", "not ASCII",
    ],
)  # fmt: skip
async def test_a_signature_that_proves_nothing(hook, http, signature):
    """401, whatever is wrong with it; the answer holds neither the secret nor the signature that would be right."""
    request = delivery()
    del request["headers"]["X-Hub-Signature-256"]
    headers = request["headers"] | ({} if signature is None else {"X-Hub-Signature-256": signature})
    answer = await http.post(hook, content=PULL_REQUEST, headers=headers)

    assert answer.status_code == 401
    assert len(problem(answer)) > 10
    assert SIGNED.removeprefix("sha256=") not in answer.text
    assert SECRET not in answer.text


async def test_two_signatures(hook, http):
    """A right one beside a wrong one is refused: a proxy and the server must not read different ones."""
    request = delivery()
    headers = [*request["headers"].items(), ("X-Hub-Signature-256", "sha256=" + "0" * 64)]
    answer = await http.post(hook, content=PULL_REQUEST, headers=headers)

    assert answer.status_code == 401


async def test_a_strangers_refused_delivery_blocks_no_real_one(hook, http):
    """A delivery id that came with a wrong signature is not remembered."""
    forged = delivery(delivery_id="the-same")
    forged["headers"] = forged["headers"] | {"X-Hub-Signature-256": "sha256=" + "0" * 64}
    refused = await http.post(hook, **forged)
    accepted = await http.post(hook, **delivery(delivery_id="the-same"))

    assert (refused.status_code, accepted.status_code) == (401, 202)


@pytest.mark.parametrize(
    "place",
    [
        "{id}/nowhere",
        "{id}/NOWHERE-..",
        "{id}/",
        "{id}",
        "{id}/github/more",
        "{id}/%2e%2e",
        "{id}/%00",
        "{id}/%ff%fe",
        "{id}/" + "a" * 5000,
        "aaaaaaaaaaaaaaaaaaaaaaaaaa/github",
        "*/github",
        ">/github",
        "prof.x/github",
        "",
    ],
)
async def test_an_unknown_address(hook, http, shared_token, place):
    """404 and word for word the same, whether the webhook id or the slug is wrong, signed or not."""
    base = hook.split("/webhooks/")[0]
    reference = await http.post(f"{base}/webhooks/{'b' * 26}/github", **delivery())
    answer = await http.post(f"{base}/webhooks/{place.format(id=shared_token.webhook_id)}", **delivery())

    assert answer.status_code == reference.status_code == 404
    assert answer.text == reference.text
    assert without_date(answer) == without_date(reference)


def without_date(answer: httpx.Response) -> dict[str, str]:
    """Return the headers that must not tell anything."""
    return {name: value for name, value in answer.headers.items() if name != "date"}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "BREW"])
async def test_another_method(hook, http, method):
    """405, naming those that are served: events come by POST, and by the others a sender looks whether it is there."""
    answer = await http.request(method, hook)

    # httptools refuses a method that HTTP does not know before anybody sees it.
    assert answer.status_code == (400 if method == "BREW" else 405)
    if method != "BREW":
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"


# --- bodies --------------------------------------------------------------------------------------------------------

DEEP = 200_000
BODIES = {
    "empty": b"",
    "not JSON": b"hello",
    "half of it": PULL_REQUEST[:-1],
    "two of them": PULL_REQUEST * 2,
    "not UTF-8": b'{"action":"\xff\xfe"}',
    "UTF-16": '{"action":"opened"}'.encode("utf-16"),
    "NaN": b'{"action":NaN}',
    "deep lists": b'{"a":' + b"[" * DEEP + b"]" * DEEP + b',"action":"opened"}',
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep and open": b"[" * DEEP,
    "compressed": gzip.compress(PULL_REQUEST),
    "NUL": b"\x00",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_body_that_cannot_be_read(hook, http, body):
    """400 where the event type must be read from the body, though the signature is right."""
    answer = await http.post(hook, **delivery("pull_request", body))

    assert answer.status_code == 400
    assert len(problem(answer)) > 10


@pytest.mark.parametrize("body", [b"[]", b"7", b'"text"', b"null", b'{"action":7}', b'{"action":{"a":1}}', b"{}"])
async def test_a_body_without_an_action(hook, client, http, body):
    """JSON of any shape is an event; without an action its type is the header's alone."""
    answer = await http.post(hook, **delivery("ping", body))
    event = await client.event()

    assert answer.status_code == 202
    assert event["content"].encode() == body


@pytest.mark.parametrize("body", [b"", b"hello", b"\xff\xfe\x00", b"\x00", "grüße\u2028".encode()], ids=repr)
async def test_a_body_that_nobody_reads(client, http, body):
    """Where the event type is in a header, any bytes are an event; what is not UTF-8 comes as base64."""
    url = await make_source(
        client, next(_slugs), verifierType="generic", eventType={"header": "X-Event"}, skill="/look"
    )
    answer = await http.post(url, content=body, headers=dict(senders.generic(body)) | {"X-Event": "made"})
    event = await client.event()
    encoded = event["meta"].get("encoding") == "base64"
    payload = event["content"].removeprefix("/look\n\n")

    assert answer.status_code == 202
    assert (base64.b64decode(payload) if encoded else payload.encode()) == body
    assert encoded == (body == b"\xff\xfe\x00")


async def test_a_large_body_that_compresses(hook, client, http):
    """24 MiB are accepted and stored; the session is given what fits, and told of the rest."""
    body = b'{"action":"opened","filler":"' + b"0123456789abcdef" * (24 * MIB // 16) + b'"}'
    answer = await http.post(hook, **delivery("pull_request", body))
    event = await client.event()

    assert len(body) > 24 * MIB
    assert answer.status_code == 202, answer.text
    assert event["content"].startswith(body[:200_000].decode())
    assert f"200,000 of {len(body):,} characters" in event["content"]


async def test_a_large_body_that_does_not_compress(hook, http):
    """24 MiB of noise do not fit NATS: 413, once and for all."""
    # Two hexadecimal digits hold eight bits, so that at least half of it is left of any compression.
    body = b'{"action":"opened","noise":"' + os.urandom(12 * MIB).hex().encode() + b'"}'
    answer = await http.post(hook, **delivery("pull_request", body))

    assert len(body) > 24 * MIB
    assert answer.status_code == 413, answer.text
    assert len(problem(answer)) > 10


def padded(length: int) -> bytes:
    """Build a body of exactly this length."""
    head, tail = b'{"action":"opened","filler":"', b'"}'
    return head + b"x" * (length - len(head) - len(tail)) + tail


async def in_chunks(body: bytes):
    """Send a body without telling its length."""
    for start in range(0, len(body), MIB):
        yield body[start : start + MIB]


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
async def test_a_body_at_the_limit(hook, http, chunked):
    """25 MiB are taken, told by their length or not."""
    body = padded(LIMIT)
    request = delivery("pull_request", body)
    answer = await http.post(hook, content=in_chunks(body) if chunked else body, headers=request["headers"])

    assert answer.status_code == 202, answer.text


async def test_a_chunked_body_over_the_limit(hook, http):
    """One byte more than 25 MiB is refused when it comes."""
    body = padded(LIMIT + 1)
    request = delivery("pull_request", body)
    answer = await http.post(hook, content=in_chunks(body), headers=request["headers"])

    assert answer.status_code == 413
    assert str(LIMIT) in problem(answer)


async def test_a_whole_body_over_the_limit(hook, http):
    """A sender that sends all of it reads the refusal, too, and not a reset connection."""
    body = padded(LIMIT + 1)
    answer = await http.post(hook, content=body, headers=delivery("pull_request", body)["headers"])

    assert answer.status_code == 413
    assert str(LIMIT) in problem(answer)


async def test_a_length_over_the_limit(hook, server):
    """A body that is announced too large is refused before it is sent."""
    head = f"POST {hook.removeprefix(server.url)} HTTP/1.1\r\nHost: x\r\nContent-Length: {LIMIT + 1}\r\n\r\n"
    answer = await asyncio.to_thread(converse, server, head.encode())

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert str(LIMIT).encode() in answer


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this",
        b"POST %s HTTP/1.1\r\nHost: x\r\n" + b"X-Filler: " + b"x" * 200_000 + b"\r\n\r\n",
        b"POST %s HTTP/1.1\r\nHost: x\r\n" + b"X-Filler: x\r\n" * 2000 + b"\r\n",
        b"POST %s HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    ],
    ids=[
        "TLS", "no version", "negative length", "huge length", "two lengths", "bad chunk", "cut off", "huge header",
        "many headers", "two hosts",
    ],
)  # fmt: skip
async def test_what_is_no_request(hook, server, sent):
    """A connection that speaks no HTTP, or stops in the middle, gets no 2xx and costs nobody else anything."""
    path = hook.removeprefix(server.url).encode()
    answer = await asyncio.to_thread(converse, server, sent.replace(b"%s", path))

    assert not answer.startswith(b"HTTP/1.1 2")


async def test_half_a_request(server):
    """Whoever stops in the middle is told so after ten seconds, though nothing says that no more will come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"POST /webhooks/")
    async with asyncio.timeout(PATIENCE_SECONDS):
        answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 408 ")


def converse(server: Server, sent: bytes) -> bytes:
    """Send bytes, say that no more come, and return the answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS) as connection:
        answer = b""
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65536):
                answer += data
        except TimeoutError:
            raise
        except OSError:
            return answer  # it hung up in the middle, which is an answer too
    return answer


# --- WebSockets ----------------------------------------------------------------------------------------------------

ACK = json.dumps({"type": "ack", "eventId": "evt_a", "summary": "done"})


async def closing(ws) -> tuple[int, str]:
    """Read to the end of a WebSocket, and return the code and reason of its close."""
    with pytest.raises(ConnectionClosed) as closed:
        await read_on(ws)
    return closed.value.rcvd.code, closed.value.rcvd.reason


async def read_on(ws) -> None:
    """Read until the WebSocket ends."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            await ws.recv()


def auth(token: str, **fields) -> str:
    """Build the first message."""
    return json.dumps({"type": "auth", "token": token} | fields)


@pytest.mark.parametrize(
    ("first", "code", "reason"),
    [
        (ACK, 4400, "the first message must be auth"),
        (json.dumps({"type": "source_list", "requestId": "1"}), 4400, "the first message must be auth"),
        (json.dumps({"type": "hello"}), 4400, "frame not understood"),
        (json.dumps({"token": "cbt_x"}), 4400, "frame not understood"),
        ("hello", 4400, "frame not understood"),
        ("", 4400, "frame not understood"),
        ("[" * 100_000, 4400, "frame not understood"),
        (b'{"type":"auth","token":"cbt_x"}', 4400, "not binary"),
        (json.dumps({"type": "auth", "token": 7}), 4400, "token"),
        (json.dumps({"type": "auth"}), 4400, "token"),
        (auth(""), 4401, ""),
        (auth("cbt_" + "0" * 49), 4401, ""),
        (auth("planted-secret-token"), 4401, ""),
        (auth("cbt_x", inflight=["e" * 100] * 3000), 4400, "auth message is over"),
        (auth("x" * (1024 * 1024 + 1)), 1009, ""),
    ],
    ids=[
        "ack", "request", "unknown type", "no type", "text", "empty", "deep", "binary", "token no text", "no token",
        "empty token", "unknown token", "no form of a token", "large", "too large",
    ],
)  # fmt: skip
async def test_a_wrong_first_message(server, first, code, reason):
    """The connection is closed with the contract's code and a reason that quotes no token."""
    ws = await open_socket(server.socket_url)
    await ws.send(first)
    closed, said = await closing(ws)

    assert closed == code
    assert reason in said
    assert "planted" not in said


async def test_a_tag_that_is_none(server, shared_token):
    """A session with an impossible tag is told so instead of listening to nothing."""
    ws = await open_socket(server.socket_url)
    await ws.send(auth(shared_token.value, sessionTag="no tag\n"))
    code, reason = await closing(ws)

    assert code == 4400
    assert "tag" in reason


async def test_no_first_message(server):
    """Whoever says nothing is closed after ten seconds."""
    ws = await open_socket(server.socket_url)
    started = time.monotonic()
    code, reason = await closing(ws)

    assert code == 4400
    assert "no auth message" in reason
    assert time.monotonic() - started > 9


async def test_a_web_page(server):
    """A browser sends its Origin and is refused before it can say a token."""
    with pytest.raises(InvalidStatus) as refused:
        await open_socket(server.socket_url, origin="https://evil.example")

    assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    ("frame", "code", "reason"),
    [
        (json.dumps({"type": "hello"}), 4400, "frame not understood"),
        ("hello", 4400, "frame not understood"),
        (b"\x00", 4400, "not binary"),
        (auth("cbt_x"), 4400, "already authenticated"),
        (json.dumps({"type": "ack", "eventId": 7, "summary": "x"}), 4400, "eventId"),
        (json.dumps({"type": "source_list"}), 4400, "requestId"),
        (json.dumps({"type": "ack", "eventId": "e", "summary": "x" * MIB}), 1009, ""),
    ],
    ids=["unknown type", "text", "binary", "auth again", "ack of a number", "no requestId", "too large"],
)
async def test_a_wrong_message_of_a_session(server, shared_token, frame, code, reason):
    """What no client of the protocol sends ends the connection; the reason says what it was."""
    async with LegacyClient(server.socket_url, shared_token.value, next(_slugs)) as session:
        await session.socket.send(frame)
        closed, said = await closing(session.socket)

    assert closed == code
    assert reason in said


async def test_a_request_with_a_wrong_field(client):
    """The user's mistake is answered by a sentence that names the field, and the session goes on."""
    sentences = {
        "slug": await client.refused("source_create", slug=7),
        "limit": await client.refused("event_history", limit="many"),
        "routes": await client.refused("source_create", slug="x", routes={"push": 7}),
        "priority": await client.refused("source_create", slug="x", priority="urgent"),
    }
    after = await client.request("source_list")

    assert all(field in sentence for field, sentence in sentences.items()), sentences
    assert isinstance(after, list)


async def test_acks_of_what_is_not_the_sessions_own(client):
    """An ack of an unknown event, or one in flight nowhere, changes nothing and ends nothing."""
    for event_id in ("evt_unknown", "", "evt_*", "x" * 1000, "\u0000"):
        await client.ack({"id": event_id})
    history = await client.request("event_history")

    assert all(record["eventId"] not in ("evt_unknown", "", "evt_*") for record in history)


async def test_a_flood(server, shared_token):
    """Far more frames than any client sends end that connection alone."""
    async with LegacyClient(server.socket_url, shared_token.value, next(_slugs)) as session:
        with pytest.raises(ConnectionClosed) as closed:
            await flood(session)

    assert closed.value.rcvd.code == 4008


async def flood(session: LegacyClient) -> None:
    """Send frames without end."""
    while True:
        await session.say({"type": "pong"})
        # Sending alone gives the loop no chance to see the answer.
        await asyncio.sleep(0)


async def test_too_many_requests_at_once(server, shared_token):
    """Requests are answered one by one; who sends hundreds without waiting is closed, and nobody else waits."""
    async with LegacyClient(server.socket_url, shared_token.value, next(_slugs)) as session:
        for number in range(1500):
            await session.say({"type": "account_info", "requestId": str(number)})
        code, reason = await closing(session.socket)

    assert code == 4400
    assert "requests" in reason
