"""What strangers may do with connections: raw bytes against the protocols below the application, under short limits."""

import asyncio
import contextlib
import json
import resource
import socket
import struct
from contextlib import asynccontextmanager

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.frames import Frame, Opcode

from clawback.server.app import build_config
from clawback.server.guard import OWN_FILES, ConnectionLimits, allow_connections
from clawback.settings import load_settings
from counting import counted
from waiting import eventually

SHORT = ConnectionLimits(head_s=0.4, body_s=0.4, idle_s=0.4, answer_s=0.4, sweep_s=0.1)

PATIENCE_SECONDS = 10.0


class Echo:
    """An application that says what it was given; `held` keeps the answers of /held back, and the bodies of /begun."""

    def __init__(self) -> None:
        self.held = asyncio.Event()
        self.asked = 0

    async def __call__(self, scope, receive, send) -> None:
        """Answer a request, or a WebSocket's messages."""
        self.asked += 1
        if scope["type"] == "websocket":
            await self.echo(receive, send)
            return
        body = b""
        while scope["path"] != "/early":
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        if scope["path"] == "/held":
            await self.held.wait()
        names = [name.decode() for name, _ in scope["headers"]]
        value = dict(scope["headers"]).get(b"x-echo", b"").decode()
        seen = {"names": names, "value": value, "bytes": len(body), "peer": scope["client"][0], "path": scope["path"]}
        answer = json.dumps(seen).encode() if scope["path"] != "/big" else b"x" * 32 * 1024 * 1024
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["path"] == "/begun":
            await self.held.wait()
        await send({"type": "http.response.body", "body": answer})

    async def echo(self, receive, send) -> None:
        """Say how long each message is."""
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": str(len(message["text"]))})


class _QuietServer(uvicorn.Server):
    capture_signals = contextlib.nullcontext


class Guarded:
    """A server of Echo behind the limits."""

    def __init__(self, echo: Echo, port: int, connections: set) -> None:
        self.echo = echo
        self.port = port
        self.connections = connections

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, sent: bytes) -> bytes:
        """Send bytes and return all that comes until the server closes."""
        reader, writer = await self.open()
        writer.write(sent)
        answer = await read_to_end(reader)
        writer.close()
        return answer

    def websocket(self, **options):
        """Open a WebSocket."""
        return connect(f"ws://127.0.0.1:{self.port}/", compression=None, ping_interval=None, proxy=None, **options)


@asynccontextmanager
async def guarded(limits: ConnectionLimits | None = None, trusted_proxies=()):
    """Run a server until the context ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        echo = Echo()
        server = _QuietServer(build_config(echo, limits, trusted_proxies))
        running = asyncio.create_task(server.serve([listener]))
        await eventually(lambda: server.started)
        try:
            yield Guarded(echo, listener.getsockname()[1], server.server_state.connections)
        finally:
            echo.held.set()
            server.should_exit = True
            await running


@pytest.fixture
async def server():
    """A server with the default limits."""
    async with guarded() as server:
        yield server


@pytest.fixture
async def hasty():
    """A server with short deadlines."""
    async with guarded(SHORT) as server:
        yield server


RESET = b"(reset)"
"""Ends what was read of a connection that was reset, which takes unread bytes along: a close frame, for one."""


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """Read until the connection ends, however it does."""
    answer = b""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while data := await reader.read(65536):
                answer += data
    except ConnectionError:
        answer += RESET
    return answer


def statuses(answer: bytes) -> list[int]:
    """The statuses of the answers on a connection."""
    return [int(each[:3]) for each in answer.split(b"HTTP/1.1 ")[1:]]


def problem(answer: bytes) -> str:
    """The detail of the last answer, which must be a problem document and the connection's end."""
    head, _, body = answer.removesuffix(RESET).rpartition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    content = json.loads(body)
    assert content["status"] == statuses(answer)[-1]
    return content["detail"]


# --- what is and what is not HTTP ----------------------------------------------------------------------------------

POST = b"POST /w HTTP/1.1\r\nHost: x\r\n"
GET = b"GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "length and coding": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "one length twice": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": POST + b"Content-Length: 5, 5\r\n\r\nhello",
    "a signed length": POST + b"Content-Length: +5\r\n\r\nhello",
    "a negative length": POST + b"Content-Length: -5\r\n\r\nhello",
    "a hexadecimal length": POST + b"Content-Length: 0x5\r\n\r\nhello",
    "an empty length": POST + b"Content-Length: \r\n\r\n",
    "a length beyond 64 bits": POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "a folded header": POST + b"X-A: b\r\n c\r\n\r\n",
    "line feeds alone": b"POST /w HTTP/1.1\nHost: x\n\n",
    "a line feed after a header": POST + b"X-A: b\nX-C: d\r\n\r\n",
    "a carriage return in a value": POST + b"X-A: b\rX-C: d\r\n\r\n",
    "NUL in a value": POST + b"X-A: b\x00c\r\n\r\n",
    "DEL in a value": POST + b"X-A: \x7f\r\n\r\n",
    "space before the colon": POST + b"Content-Length : 5\r\n\r\nhello",
    "space before the first name": b"POST /w HTTP/1.1\r\n Host: x\r\n\r\n",
    "no colon": POST + b"X-A\r\n\r\n",
    "no name": POST + b": b\r\n\r\n",
    "parentheses in a name": POST + b"X(A): b\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked is not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked is not alone": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "two codings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST /w HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk of minus five": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "a chunk of 0x5": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk beyond 64 bits": CHUNKED + b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than told": CHUNKED + b"5\r\nhelloXX0\r\n\r\n",
    "chunks with line feeds": CHUNKED + b"5\nhello\n0\n\n",
    "a trailer that is folded": CHUNKED + b"0\r\nX-A: b\r\n c\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: x\r\n\r\n",
    "http in lower case": b"GET / http/1.1\r\nHost: x\r\n\r\n",
    "a tunnel": b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "no slash": b"GET healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space in the path": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a byte that is not ASCII in the path": b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "a control character in the path": b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
    "tabs between": b"GET\t/\tHTTP/1.1\r\nHost: x\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an unknown method": b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.9\r\n",
}


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
async def test_what_could_be_read_in_two_ways_is_refused(server, sent):
    """400 and the end of the connection; what stands behind it is no request, whoever reads it as one."""
    answer = await server.say(sent + GET)

    assert statuses(answer) == [400]
    assert "RFC 9112" in problem(answer) or "chunked" in problem(answer)


TAKEN = {
    "space after a length": (POST + b"Content-Length: 5 \r\n\r\nhello", 5),
    "a chunk with an extension": (CHUNKED + b"5;a=b\r\nhello\r\n0\r\n\r\n", 5),
    "an address in the target": (b"POST http://x/w HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na", 1),
    "stray line ends before it": (b"\r\n\r\n" + POST + b"Content-Length: 1\r\n\r\na", 1),
    "a body with GET": (b"GET /w HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na", 1),
}


@pytest.mark.parametrize(("sent", "length"), TAKEN.values(), ids=TAKEN)
async def test_what_can_be_read_in_one_way_is_taken(server, sent, length):
    """And so is what follows it."""
    answer = await server.say(sent + GET)

    assert statuses(answer) == [200, 200]
    assert f'"bytes": {length}'.encode() in answer
    assert b'"path": "/next"' in answer


async def test_an_answer_waits_for_no_ack_of_its_head(server):
    """Its head and its body are two writes, and a client that keeps its connection acks the first one late."""
    _, writer = await server.open()
    await eventually(lambda: server.connections)
    (connection,) = server.connections
    kept = connection.transport.get_extra_info("socket")

    assert kept.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    writer.close()


async def test_a_head_waits_for_no_body_that_does_not_come(server):
    """One whose body is under way is written with it, every other at once."""
    reader, writer = await server.open()
    writer.write(b"GET /begun HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(PATIENCE_SECONDS):
        begun = await reader.readuntil(b"\r\n\r\n")
        server.echo.held.set()
        body = await reader.readuntil(b"}")
    writer.close()

    assert begun.startswith(b"HTTP/1.1 200")
    assert json.loads(body)["path"] == "/begun"


async def test_http_1_0_needs_no_host(server):
    """It had none; its connection ends with the answer."""
    answer = await server.say(b"POST /w HTTP/1.0\r\nContent-Length: 1\r\n\r\na")

    assert statuses(answer) == [200]


async def test_a_trailer_is_no_header(server):
    """A signature that comes behind the body is not there, even where all of it comes at once."""
    answer = await server.say(CHUNKED + b"1\r\na\r\n0\r\nX-Hub-Signature-256: sha256=0\r\nHost: y\r\n\r\n" + GET)

    assert statuses(answer) == [200, 200]
    assert b"x-hub-signature-256" not in answer


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"

OFFERS = {
    "h2c": H2C,
    "h2c in small letters": H2C.lower(),
    "TLS": b"Connection: upgrade\r\nUpgrade: TLS/1.2, HTTP/1.1\r\n",
    "anything": b"Upgrade: anything/7\r\nConnection: keep-alive, Upgrade\r\n",
    "nothing": b"Upgrade: \r\nConnection: Upgrade\r\n",
}
BODIES = {
    "none": (b"\r\n", 0),
    "by length": (b"Content-Length: 5\r\n\r\nhello", 5),
    "in chunks": (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n2\r\n!!\r\n0\r\n\r\n", 7),
    "of many bytes": (b"Content-Length: 300000\r\n\r\n" + b"x" * 300_000, 300_000),
}


@pytest.mark.parametrize(("body", "length"), BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
async def test_an_offer_of_another_protocol_leaves_the_request_whole(server, offer, body, length):
    """Java's HttpClient and curl --http2 make one with each request: it is ignored, and the body is there."""
    answer = await server.say((POST + offer + body) * 2 + GET)

    assert statuses(answer) == [200, 200, 200]
    assert answer.count(f'"bytes": {length},'.encode()) == (3 if length == 0 else 2)
    assert b'"path": "/next"' in answer


async def test_an_offer_in_small_pieces_leaves_the_request_whole(server):
    """However the network cuts it."""
    reader, writer = await server.open()
    for byte in POST + H2C + b"Content-Length: 5\r\n\r\nhello" + GET:
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    answer = await read_to_end(reader)
    writer.close()

    assert statuses(answer) == [200, 200]
    assert b'"bytes": 5,' in answer


async def test_a_thousand_offers_at_once_are_answered(server):
    """Each is read twice, none inside another."""
    answer = await server.say((POST + H2C + b"Content-Length: 5\r\n\r\nhello") * 1000 + GET)

    assert statuses(answer) == [200] * 1001
    assert answer.count(b'"bytes": 5,') == 1000


async def test_blanks_around_a_value_are_no_part_of_it(server):
    """RFC 9112, section 5.1; a signature with a blank behind it was a wrong one."""
    answer = await server.say(POST + b"X-Echo: \t a b \t \r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    assert b'"value": "a b"' in answer


@pytest.mark.parametrize(
    "head",
    [
        b"POST /w HTTP/1.0\r\n\r\n",
        b"POST /w HTTP/1.0\r\nContent-Type: text/plain\r\n\r\n",
        POST + b"Content-Type: text/plain\r\n\r\n",
        b"PUT /w HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n\r\n",
    ],
)
async def test_a_body_without_a_length_is_refused(server, head):
    """It would be read as none at all, taken, and lost."""
    answer = await server.say(head + b"hello")

    assert statuses(answer) == [411]
    assert "Content-Length" in problem(answer)
    assert server.echo.asked == 0


async def test_a_post_of_nothing_needs_no_length(server):
    """Curl -X POST sends none, and no Content-Type either."""
    answer = await server.say(POST + b"Connection: close\r\n\r\n")

    assert statuses(answer) == [200]


async def test_half_a_connection_is_enough_for_an_answer(server):
    """A client may close its half behind a whole request (RFC 9112, 9.6); the answer is given, then the rest closed."""
    reader, writer = await server.open()
    writer.write(b"POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
    writer.write_eof()
    await eventually(lambda: server.echo.asked == 1)
    server.echo.held.set()
    answer = await read_to_end(reader)
    writer.close()

    assert statuses(answer) == [200]
    assert b'"bytes": 5,' in answer


@pytest.mark.parametrize(
    "sent", [b"Content-Length: 6\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"]
)
async def test_half_a_body_is_no_request(server, sent):
    """Its client closed before it had said all: nothing is answered, least of all that it was taken."""
    reader, writer = await server.open()
    writer.write(POST + sent)
    writer.write_eof()
    answer = await read_to_end(reader)
    writer.close()

    assert answer.removesuffix(RESET) == b""


async def test_what_is_whole_before_a_broken_request_is_answered(server):
    """Each in its order, though the third is known to be broken before the first has its answer."""
    reader, writer = await server.open()
    writer.write(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n" + b"GET /w HTTP/1.1\r\nHost: x\r\n\r\n" + b"GET\r\n\r\n")
    await eventually(lambda: server.echo.asked == 1)
    server.echo.held.set()
    answer = await read_to_end(reader)
    writer.close()

    assert statuses(answer) == [200, 200]
    assert answer.index(b"/held") < answer.index(b'"/w"')


async def test_a_body_that_breaks_off_in_nonsense_is_refused(server):
    """However much of it had come."""
    reader, writer = await server.open()
    writer.write(CHUNKED + b"5\r\nhello\r\n")
    await eventually(lambda: server.echo.asked == 1)
    writer.write(b"nonsense\r\n")
    answer = await read_to_end(reader)
    writer.close()

    assert statuses(answer) == [400]


# --- sizes -----------------------------------------------------------------------------------------------------------


def head(headers: int, size: int) -> bytes:
    """Build a head of as many headers, with as many bytes in names, values and target."""
    lines = [b"Host: x", b"Connection: close", *(b"X-%03d: " % number for number in range(headers - 2))]
    room = size - len(b"/w") - sum(len(line) - 2 for line in lines)
    return b"GET /w HTTP/1.1\r\n" + b"\r\n".join([*lines[:-1], lines[-1] + b"x" * room]) + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("headers", "size", "status"),
    [(100, 2000, 200), (101, 2000, 431), (2000, 20_000, 431), (10, 32_768, 200), (10, 32_769, 431), (10, 10**6, 431)],
)
@pytest.mark.parametrize("piece", [2**20, 1000])
async def test_a_head_is_bounded(server, headers, size, status, piece):
    """By number and by size, at once or in pieces; the refusal says both bounds."""
    reader, writer = await server.open()
    sent = head(headers, size)
    with contextlib.suppress(ConnectionError):
        for start in range(0, len(sent), piece):
            writer.write(sent[start : start + piece])
            await writer.drain()
    answer = await read_to_end(reader)
    writer.close()

    assert statuses(answer) == [status] or (size == 10**6 and answer == RESET)
    if answer != RESET and status == 431:
        assert "100 headers, and 32768 bytes" in problem(answer)


@pytest.mark.parametrize("start", [POST + b"X-A: ", CHUNKED + b"5\r\nhello\r\n0\r\nX-A: ", CHUNKED + b"5;", b"\r\n"])
async def test_what_surrounds_a_body_is_bounded_too(server, start):
    """A header, a trailer, a chunk's extension or stray line ends without end."""
    _, writer = await server.open()
    writer.write(start)
    sent = 0
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not writer.transport.is_closing():
                writer.write(b"\r\n" * 5000 if start == b"\r\n" else b"a" * 10_000)
                await writer.drain()
                sent += 10_000
                await asyncio.sleep(0)
    writer.close()

    assert sent < 20_000_000  # what the kernel's buffers take until the end of the connection is seen


@given(st.lists(st.binary(max_size=200), min_size=20, max_size=40))
@settings(max_examples=10, deadline=None)
def test_no_bytes_break_the_server(streams):
    """Whatever comes is answered or closed, and the next request is served."""

    async def send() -> bytes:
        async with guarded() as server:
            for data in streams:
                reader, writer = await server.open()
                writer.write(data)
                writer.write_eof()
                await read_to_end(reader)
                writer.close()
            return await server.say(GET)

    assert statuses(asyncio.run(send())) == [200]


# --- deadlines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", None),
        (b"\r\n", None),
        (b"GET / HT", 408),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-A", 408),
        (POST + b"Content-Length: 5\r\n\r\nhell", 408),
        (CHUNKED + b"5\r\nhello\r\n", 408),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", 408),
    ],
    ids=["nothing", "a line end", "half a line", "half a head", "half a body", "a chunk", "half a trailer"],
)
async def test_what_does_not_come_is_not_waited_for(hasty, sent, status):
    """The connection ends after the deadline, with a 408 where a request had begun."""
    answer = await hasty.say(sent)

    assert statuses(answer) == ([] if status is None else [status])
    assert status is None or "did not come within 0.4 s" in problem(answer)


@pytest.mark.parametrize(
    "start", [b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ", CHUNKED, b""], ids=["head", "body", "line ends"]
)
async def test_what_trickles_in_is_not_waited_for_either(hasty, start):
    """A byte now and then puts no deadline off."""
    reader, writer = await hasty.open()
    reading = asyncio.create_task(read_to_end(reader))
    writer.write(start)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not reading.done():
            writer.write({CHUNKED: b"1\r\na\r\n", b"": b"\r\n"}.get(start, b"a"))
            await asyncio.wait([reading], timeout=0.05)
    writer.close()

    assert statuses(await reading) == ([408] if start else [])


async def test_a_request_after_another_has_its_own_deadline(hasty):
    """Half of a second one on a connection is not waited for."""
    answer = await hasty.say(b"GET /w HTTP/1.1\r\nHost: x\r\n\r\nGET /w HT")

    assert statuses(answer) == [200, 408]


async def test_an_idle_connection_is_closed(hasty):
    """In silence: nobody asked anything."""
    answer = await hasty.say(b"GET /w HTTP/1.1\r\nHost: x\r\n\r\n")

    assert statuses(answer) == [200]


async def test_what_was_answered_before_it_was_whole_is_not_waited_for(hasty):
    """The rest of a body that nobody reads has the same deadline."""
    answer = await hasty.say(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhell")

    assert statuses(answer)[0] == 200


async def test_what_was_answered_before_it_was_whole_may_still_come(hasty):
    """And then the next request."""
    reader, writer = await hasty.open()
    writer.write(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhell")
    first = await reader.readuntil(b"}")
    writer.write(b"o" + GET)
    second = await read_to_end(reader)
    writer.close()

    assert statuses(first) == statuses(second) == [200]


async def test_an_answer_may_take_longer_than_any_deadline(hasty):
    """The deadlines are the client's, not ours."""
    reader, writer = await hasty.open()
    writer.write(b"GET /held HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    reading = asyncio.create_task(read_to_end(reader))
    await asyncio.wait([reading], timeout=1)
    early = reading.done()
    hasty.echo.held.set()

    assert statuses(await reading) == [200]
    assert not early
    writer.close()


async def test_an_answer_that_is_not_read_is_not_kept(hasty):
    """The connection is cut, and nothing of it stays in memory."""
    before = counted("clawback_refused_total", limit="unread")
    reader, writer = await hasty.open()
    writer.transport.pause_reading()
    writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    await eventually(lambda: counted("clawback_refused_total", limit="unread") == before + 1)
    writer.transport.resume_reading()

    assert len(await read_to_end(reader)) < 32 * 1024 * 1024
    writer.close()


# --- how many --------------------------------------------------------------------------------------------------------


async def test_connections_of_one_address_are_bounded():
    """The one too many is told so; the others go on."""
    async with guarded(ConnectionLimits(per_address=3)) as server:
        held = [await server.open() for _ in range(3)]
        refused = await server.say(GET)
        reader, writer = held[0]
        writer.write(GET)
        served = await read_to_end(reader)
        again = await eventually_served(server)
        for _, each in held:
            each.close()

    assert statuses(refused) in ([503], [])
    assert statuses(served) == [200]
    assert again


async def eventually_served(server) -> bool:
    """Ask until the server has a place again."""

    async def served() -> bool:
        return statuses(await server.say(GET)) == [200]

    return await eventually(served)


async def test_a_connection_without_a_request_gives_way():
    """Where all places are taken, whoever waited longest goes: nobody holds them by saying nothing, or little."""
    async with guarded(ConnectionLimits(total=3)) as server:
        silent = [await server.open() for _ in range(3)]
        for _, writer in silent[1:]:
            writer.write(b"GET / HT")
        served = [statuses(await server.say(GET)) for _ in range(5)]
        gone = await read_to_end(silent[0][0])
        for _, writer in silent:
            writer.close()

    assert served == [[200]] * 5
    assert gone in (b"", RESET)


async def test_connections_in_use_are_never_closed_for_others():
    """A WebSocket and a request that is being answered keep their places; the newcomer gets a 503."""
    before = counted("clawback_refused_total", limit="connections")
    async with guarded(ConnectionLimits(total=2)) as server, server.websocket() as session:
        reader, writer = await server.open()
        writer.write(b"GET /held HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await eventually(lambda: server.echo.asked == 2)
        refused = [statuses(await server.say(GET)) for _ in range(3)]
        await session.send("hello")
        echoed = await session.recv()
        server.echo.held.set()
        served = await read_to_end(reader)
        writer.close()

    assert all(each in ([503], []) for each in refused)
    assert echoed == "5"
    assert statuses(served) == [200]
    assert counted("clawback_refused_total", limit="connections") == before + 3


async def test_unfinished_requests_of_one_address_shut_no_other_out():
    """Places that bodies are awaited on go to another address: one that has fewer of them, and is answered."""
    async with guarded(ConnectionLimits(total=4)) as server:
        held = [await server.open() for _ in range(4)]
        for _, writer in held:
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        await eventually(lambda: server.echo.asked == 4)
        own = statuses(await server.say(GET))
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=("127.0.0.2", 0))
        writer.write(GET)
        served = statuses(await read_to_end(reader))
        gone = await read_to_end(held[0][0])
        for _, each in (*held, (reader, writer)):
            each.close()

    assert own in ([503], [])
    assert served == [200]
    assert gone in (b"", RESET)


async def test_a_flood_of_connections_shuts_nobody_out():
    """Five times as many as there are places, and the next request is answered."""
    async with guarded(ConnectionLimits(total=100)) as server, server.websocket() as session:
        flood = [await server.open() for _ in range(500)]
        served = statuses(await server.say(GET))
        await session.send("hello")
        echoed = await session.recv()
        for _, writer in flood:
            writer.close()

    assert served == [200]
    assert echoed == "5"


def test_the_process_may_have_as_many_files_as_it_needs(monkeypatch, caplog):
    """The soft limit is raised as far as needed, and where the hard one is lower there are fewer connections."""
    limits = (256, 1000)
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: raised.append(wanted))
    raised = []
    allowed = [allow_connections(wanted) for wanted in (100, 500, 5000)]

    assert allowed == [100, 500, 1000 - OWN_FILES]
    assert raised == [(500 + OWN_FILES, 1000), (1000, 1000)]
    assert "max_connections = 5000 needs 5100 open files" in caplog.text


# --- proxies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trusted", "told", "peer"),
    [
        ("", b"X-Forwarded-For: 192.0.2.7\r\n", "127.0.0.1"),
        ("10.0.0.0/8", b"X-Forwarded-For: 192.0.2.7\r\n", "127.0.0.1"),
        ("127.0.0.1", b"X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7"),
        ("127.0.0.0/8", b"X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7"),
        ("127.0.0.1", b"X-Forwarded-For: 10.0.0.1, 192.0.2.7\r\n", "192.0.2.7"),
        ("127.0.0.1", b"X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7"),
        ("127.0.0.1,192.0.2.0/24", b"X-Forwarded-For: 10.0.0.1, 192.0.2.7\r\n", "10.0.0.1"),
        ("127.0.0.1", b"Forwarded: for=192.0.2.7\r\n", "127.0.0.1"),
        ("127.0.0.1", b"", "127.0.0.1"),
    ],
)
async def test_a_proxy_is_believed_if_it_is_trusted(trusted, told, peer):
    """What stands furthest right and is no trusted proxy's own address is the client's."""
    settings = load_settings({}, {"CLAWBACK_TRUSTED_PROXIES": trusted} if trusted else {})
    async with guarded(trusted_proxies=settings.trusted_proxies) as server:
        answer = await server.say(b"GET /w HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + told + b"\r\n")

    assert f'"peer": "{peer}"'.encode() in answer


async def test_a_trusted_proxy_has_as_many_connections_as_it_wants():
    """They are other people's."""
    proxies = load_settings({}, {"CLAWBACK_TRUSTED_PROXIES": "127.0.0.0/8"}).trusted_proxies
    async with guarded(ConnectionLimits(per_address=1), proxies) as server:
        held = [await server.open() for _ in range(3)]
        served = await server.say(GET)
        for _, writer in held:
            writer.close()

    assert statuses(served) == [200]


# --- WebSockets ------------------------------------------------------------------------------------------------------

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, mask: bool = True, reserved: int = 0) -> bytes:
    """Build a frame as a client sends it, its mask all zeros; one of under 126 bytes may be against any rule."""
    if len(data) > 125:
        return Frame(Opcode(opcode), data, fin=fin).serialize(mask=mask)
    start = struct.pack("!BB", fin << 7 | reserved | opcode, mask << 7 | len(data))
    return start + (b"\0\0\0\0" if mask else b"") + data


def claiming(opcode: Opcode, length: int) -> bytes:
    """Build the start of a frame that says it is this long."""
    return struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, length) + b"\0\0\0\0"


BOMBS = {
    "no mask": ([frame(Opcode.TEXT, b"a", mask=False)], 1002),
    "a reserved bit": ([frame(Opcode.TEXT, b"a", reserved=0x40)], 1002),
    "a reserved opcode": ([frame(3)], 1002),
    "a reserved control opcode": ([frame(11)], 1002),
    "a fragment of nothing": ([frame(Opcode.CONT, b"a")], 1002),
    "a message in a message": ([frame(Opcode.TEXT, b"a", fin=False), frame(Opcode.TEXT, b"b")], 1002),
    "a ping in fragments": ([frame(Opcode.PING, b"", fin=False)], 1002),
    "a long ping": ([claiming(Opcode.PING, 126) + b"a" * 126], 1002),
    "a length with its top bit set": ([claiming(Opcode.TEXT, 2**63)], 1009),
    "a close of one byte": ([frame(Opcode.CLOSE, b"\x03")], 1002),
    "a close with no code that there is": ([frame(Opcode.CLOSE, struct.pack("!H", 5))], 1002),
    "bytes that are no UTF-8": ([frame(Opcode.TEXT, b"\xff\xfe")], 1007),
    "half a character in the end": ([frame(Opcode.TEXT, b"\xc3", fin=False), frame(Opcode.CONT, b"")], 1007),
    "a byte over a MiB": ([claiming(Opcode.TEXT, 2**20 + 1)], 1009),
    "a terabyte": ([claiming(Opcode.TEXT, 2**40)], 1009),
    "a MiB in parts": (
        [frame(Opcode.TEXT, b"a" * 2**19, fin=False), *[frame(Opcode.CONT, b"a" * 2**18, fin=False)] * 3],
        1009,
    ),
    "empty fragments": ([frame(Opcode.TEXT, b"", fin=False), *[frame(Opcode.CONT, b"", fin=False) * 1000] * 500], 1009),
    "small fragments": ([frame(Opcode.TEXT, b"", fin=False), *[frame(Opcode.CONT, b"a", fin=False) * 1000] * 9], 1009),
    "pings": ([frame(Opcode.PING, b"a" * 100) * 1000] * 9, 4008),
    "pongs": ([frame(Opcode.PONG, b"a" * 100) * 1000] * 9, 4008),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "code"), BOMBS.values(), ids=BOMBS)
async def test_a_frame_bomb_ends_its_connection(server, sent, code):
    """With the code for it, as soon as it is seen; the next connection is served."""
    reader, writer = await server.open()
    writer.write(HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        for piece in sent:
            writer.write(piece)
            await writer.drain()
    answer = await read_to_end(reader)
    writer.close()

    assert answer.count(struct.pack("!H", code)) == 1 or answer.endswith(RESET)
    assert statuses(await server.say(GET)) == [200]


async def test_a_thousand_fragments_are_a_message(server):
    """What a client may well send goes through."""
    async with server.websocket() as session:
        await session.send(["a"] * 999)

        assert await session.recv() == "999"


async def test_a_client_that_reads_nothing_is_read_no_more():
    """Its pings would make pongs without end."""
    async with guarded(ConnectionLimits(control_frames=10**9)) as server:
        reader, writer = await server.open()
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        pings = frame(Opcode.PING, b"a" * 125) * 1000
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 100:
                writer.write(pings)
                async with asyncio.timeout(2):
                    await writer.drain()
                sent += 1
        writer.transport.abort()

    assert sent < 100  # 13 MB; the buffers of the kernel take some of that


async def test_pings_are_answered(server):
    """As RFC 6455 has it."""
    async with server.websocket() as session, asyncio.timeout(PATIENCE_SECONDS):
        for _ in range(3):
            await (await session.ping())


async def test_a_websocket_has_no_deadline(server):
    """Those of the protocol are the bridge's."""
    async with server.websocket() as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await session.recv()
        await session.send("hello")

        assert await session.recv() == "5"


async def test_what_the_limits_did_is_one_line_a_second(server, caplog):
    """However many strangers come."""
    for _ in range(20):
        await server.say(b"nonsense\r\n\r\n")
    await eventually(lambda: "limits refused or ended connections: malformed" in caplog.text)

    assert len([record for record in caplog.records if record.name == "clawback.server.guard"]) <= 3
