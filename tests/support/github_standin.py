"""
A GitHub of our own, for logins: a real HTTP server with the four URLs of an OAuth app, strict as GitHub is or stricter.

It follows GitHub's "Authorizing OAuth apps": a page that asks the person, a code that is good once, a secret and a PKCE
verifier that must fit, 200 for errors at the token's URL, and the account at the API. What goes wrong is set by
`fault`: an answer that replaces one of them, by its path.
"""

import asyncio
import base64
import hashlib
import json
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape
from typing import Any, Self
from urllib.parse import parse_qs, parse_qsl, urlencode

import uvicorn
from msgspec import Struct

from houses import QuietServer
from waiting import eventually

AUTHORIZE = "/login/oauth/authorize"
TOKEN = "/login/oauth/access_token"
USER = "/api/v3/user"


class Answer(Struct, frozen=True):
    """An answer of the server: status, body, headers; `seconds` of silence before it."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = {}
    seconds: float = 0


class GithubStandIn:
    """One GitHub with one OAuth app. `person` is who sits at the browser: login and numeric id."""

    def __init__(self, url: str, redirect_uri: str = "") -> None:
        self.url = url
        self.client_id = "Iv1." + secrets.token_hex(8)
        self.client_secret = "planted-" + secrets.token_hex(20)
        self.redirect_uri = redirect_uri
        self.person: tuple[str, int] = ("octocat", 583231)
        self.fault: dict[str, Answer] = {}
        self.asked: list[str] = []
        """Every path that was asked for."""
        self.released = asyncio.Event()
        """Ends every silence."""
        self._codes: dict[str, dict[str, str]] = {}
        self._tokens: dict[str, tuple[str, int]] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        """Serve it on a loopback port."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            github = cls(f"http://127.0.0.1:{listener.getsockname()[1]}")
            server = QuietServer(uvicorn.Config(github, log_config=None, lifespan="off", access_log=False))
            running = asyncio.create_task(server.serve([listener]))
            await eventually(lambda: server.started)
            try:
                yield github
            finally:
                github.released.set()
                server.should_exit = True
                await running

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a server whose OAuth app this is."""
        return {
            "github_client_id": self.client_id,
            "github_client_secret": self.client_secret,
            "github_url": self.url,
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message.get("more_body"):
                break
        self.asked.append(scope["path"])
        answer = self.fault.get(scope["path"]) or self._answer(scope, body.decode())
        if answer.seconds:
            async with asyncio.timeout(answer.seconds):
                await self.released.wait()
        headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _answer(self, scope: Any, body: str) -> Answer:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        query = scope["query_string"].decode()
        match scope["method"], scope["path"]:
            case "GET", "/login/oauth/authorize":
                return self._ask(dict(parse_qsl(query)))
            case "POST", "/login/oauth/authorize":
                return self.approve(dict(parse_qsl(body)))
            case "POST", "/login/oauth/access_token":
                return self._redeem(dict(parse_qsl(body)), headers)
            case "GET", "/api/v3/user":
                return self._user(headers)
        return Answer(404)

    def _ask(self, asked: dict[str, str]) -> Answer:
        """Ask the person at the browser."""
        if (refused := self._refusal(asked)) is not None:
            return refused
        fields = "".join(f'<input type="hidden" name="{name}" value="{escape(v)}">' for name, v in asked.items())
        page = (
            "<!doctype html><title>Authorize</title><link rel=icon href=data:,>"
            f"<h1>Authorize as {escape(self.person[0])}?</h1>"
            f'<form method="post" action="{AUTHORIZE}">{fields}<button id="authorize">Authorize</button></form>'
        )
        return Answer(200, page.encode(), {"content-type": "text/html; charset=utf-8"})

    def approve(self, asked: dict[str, str]) -> Answer:
        """Send the person back with a code, as the button on the page does."""
        if (refused := self._refusal(asked)) is not None:
            return refused
        code = secrets.token_hex(10)
        self._codes[code] = asked | {"login": self.person[0], "id": str(self.person[1])}
        back = urlencode({"code": code, "state": asked["state"]})
        return Answer(302, b"", {"location": f"{asked['redirect_uri']}?{back}"})

    def _refusal(self, asked: dict[str, str]) -> Answer | None:
        right = (
            asked.get("client_id") == self.client_id
            and asked.get("redirect_uri") == self.redirect_uri
            and asked.get("code_challenge_method") == "S256"
            and len(asked.get("code_challenge", "")) == 43
            and bool(asked.get("state"))
        )
        return None if right else Answer(422, f"these are not this app's: {sorted(asked)}".encode())

    def _redeem(self, form: dict[str, str], headers: dict[str, str]) -> Answer:
        if (form.get("client_id"), form.get("client_secret")) != (self.client_id, self.client_secret):
            return _json({"error": "incorrect_client_credentials"})
        asked = self._codes.pop(form.get("code", ""), None)
        if asked is None or _challenge(form.get("code_verifier", "")) != asked["code_challenge"]:
            return _json({"error": "bad_verification_code", "error_description": "<b>planted</b>"})
        if form.get("redirect_uri") != asked["redirect_uri"]:
            return _json({"error": "redirect_uri_mismatch"})
        token = "gho_planted_" + secrets.token_hex(16)
        self._tokens[token] = (asked["login"], int(asked["id"]))
        answer = {"access_token": token, "token_type": "bearer", "scope": ""}
        if headers.get("accept") != "application/json":
            return Answer(200, urlencode(answer).encode(), {"content-type": "application/x-www-form-urlencoded"})
        return _json(answer)

    def _user(self, headers: dict[str, str]) -> Answer:
        found = self._tokens.get(headers.get("authorization", "").removeprefix("Bearer "))
        if found is None or not headers.get("user-agent"):
            return _json({"message": "Bad credentials"}, 401)
        return _json({"login": found[0], "id": found[1], "type": "User", "name": "<script>alert(1)</script>"})


def query_of(url: str) -> dict[str, str]:
    """Read the query of a URL."""
    return {name: values[0] for name, values in parse_qs(url.partition("?")[2]).items()}


def _json(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"content-type": "application/json; charset=utf-8"})


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
