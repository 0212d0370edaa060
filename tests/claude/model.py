"""
A scripted model behind the Messages API, on loopback: what the real Claude Code talks to in these tests.

It does what its script says, and keeps every request, so that a test sees exactly what a model would have been told.
"""

import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

ToolCall = tuple[str, dict[str, Any]]
Script = Callable[["Turn"], ToolCall | str]

PREFIX = "mcp__plugin_clawback_clawback__"
"""How Claude Code names the tools of the plugin's server."""

ANNOUNCED = "Call the tool event_next, which shows it"

USAGE = {"input_tokens": 10, "output_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}


class Turn:
    """One request of the client: `text` is what is new in it since the model spoke last, `tools` what it may call."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.tools: set[str] = {tool["name"] for tool in body.get("tools") or []}
        self.text = "\n".join(_newest_texts(body.get("messages") or []))


def _newest_texts(messages: list[dict[str, Any]]) -> Iterator[str]:
    spoken = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    for message in messages[spoken[-1] + 1 if spoken else 0 :]:
        yield from _texts(message["content"])


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for block in content if isinstance(content, list) else []:
        if "text" in block:
            yield block["text"]
        yield from _texts(block.get("content"))


class Obedient:
    """
    The usual script: do as an event says, and call a tool where somebody types `CALL name {arguments}`.

    An event that was only announced is read first, a tool whose schema the client keeps back is looked up first.
    """

    def __init__(self) -> None:
        self._wanted: ToolCall | None = None

    def __call__(self, turn: Turn) -> ToolCall | str:
        """Say what to do next."""
        if self._wanted is not None and self._wanted[0] in turn.tools:
            wanted, self._wanted = self._wanted, None
            return wanted
        if match := re.search(r"^CALL (\S+) (\{.*\})$", turn.text, re.MULTILINE):
            return self._call(turn, match[1], json.loads(match[2]))
        if ANNOUNCED in turn.text:
            return self._call(turn, "event_next", {})
        if match := re.search(r'event_ack with event_id="(evt_\w+)"', turn.text):
            return self._call(turn, "event_ack", {"event_id": match[1], "summary": "done by the script"})
        return "all done"

    def _call(self, turn: Turn, name: str, arguments: dict[str, Any]) -> ToolCall:
        tool = PREFIX + name
        if tool in turn.tools:
            return tool, arguments
        self._wanted = (tool, arguments)
        return "ToolSearch", {"query": f"select:{tool}", "max_results": 5}


class Model:
    """
    The API; a context manager. `script` may be changed at any time.

    `turns` are all requests of the conversation, `calls` the tools that the model called, `results` what came back.
    """

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Obedient()
        self.turns: list[Turn] = []
        self.calls: list[ToolCall] = []
        self.results: list[tuple[str, str]] = []
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.model = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def told(self, text: str) -> Turn | None:
        """Find the first turn in which something stood."""
        return next((turn for turn in list(self.turns) if text in turn.text), None)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Decide, and build the message."""
        turn = Turn(body)
        with self._lock:
            number = next(self._numbers)
            # Requests without tools are the client's own: titles, summaries.
            said = self.script(turn) if turn.tools else "a title"
            if turn.tools:
                self.turns.append(turn)
                if len(self.results) < len(self.calls):
                    self.results.append((self.calls[-1][0], turn.text))
        content: list[dict[str, Any]]
        if isinstance(said, str):
            content, stop = [{"type": "text", "text": said}], "end_turn"
        else:
            self.calls.append(said)
            content = [{"type": "tool_use", "id": f"toolu_{number:024}", "name": said[0], "input": said[1]}]
            stop = "tool_use"
        return {
            "id": f"msg_{number:024}",
            "type": "message",
            "role": "assistant",
            "model": body.get("model", "scripted"),
            "content": content,
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": USAGE,
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    model: Model


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._json(200, {})

    def do_GET(self) -> None:
        self._json(404, {"type": "error", "error": {"type": "not_found_error", "message": "scripted"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        path = self.path.partition("?")[0]
        if path == "/v1/messages/count_tokens":
            self._json(200, {"input_tokens": 1000})
        elif path != "/v1/messages":
            self.do_GET()
        elif body.get("stream"):
            self._stream(self.server.model.answer(body))
        else:
            self._json(200, self.server.model.answer(body))

    def _json(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _stream(self, message: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        for kind, fields in _stream_of(message):
            self.wfile.write(f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode())
        self.wfile.flush()


def _stream_of(message: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Take a message apart into the events of the streaming API."""
    yield "message_start", {"message": message | {"content": [], "stop_reason": None}}
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            empty, delta = block | {"text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            empty = block | {"input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        yield "content_block_start", {"index": index, "content_block": empty}
        yield "content_block_delta", {"index": index, "delta": delta}
        yield "content_block_stop", {"index": index}
    end = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield "message_delta", {"delta": end, "usage": {"output_tokens": 10}}
    yield "message_stop", {}
