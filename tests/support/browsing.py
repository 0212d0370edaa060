"""
What a browser does with our pages, without a browser: keeps cookies, follows nothing by itself, sends forms.

It says where its forms come from and leads `*.localhost` to this machine, as every browser does. Real Chromium looks
at the same pages in tests/browser.
"""

import re
from html import unescape
from typing import Any

import httpx

HTML = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"


class _Loopback(httpx.AsyncHTTPTransport):
    """Connects names under `localhost` to this machine, whatever its resolver knows of them."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asked = request.url
        if asked.host.endswith(".localhost"):
            request.url = asked.copy_with(host="127.0.0.1")
        try:
            return await super().handle_async_request(request)
        finally:
            request.url = asked


def page_url(url: str) -> str:
    """Write where the pages of a server on this machine are."""
    return url.replace("//127.0.0.1:", "//clawback.localhost:")


class Browser(httpx.AsyncClient):
    """An HTTP client that asks for pages and sends their forms as a browser does."""

    def __init__(self, url: str) -> None:
        super().__init__(
            base_url=page_url(url), trust_env=False, timeout=30, headers={"accept": HTML}, transport=_Loopback()
        )

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request; a page that has another name is asked for there."""
        answer = await super().send(request, **options)
        if answer.status_code == 307 and not options.get("stream"):
            assert answer.next_request is not None
            return await super().send(answer.next_request, **options)
        return answer

    async def send_form(self, path: str, *, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        """Send a form from a page of the same site; `headers` replace what says so."""
        if headers is None:
            headers = {"origin": str(self.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
        return await self.post(path, data=fields, headers=headers)

    async def log_in(self, token: str, **fields: str) -> httpx.Response:
        """Send the login form."""
        return await self.send_form("/login", token=token, **fields)

    async def form_token(self, path: str = "/") -> str:
        """Read the form token off a page."""
        return hidden_fields(await self.get(path))["form_token"]


def hidden_fields(page: httpx.Response) -> dict[str, str]:
    """Read the hidden fields of a page's forms."""
    assert page.status_code == 200, page.text
    found: dict[str, Any] = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page.text))
    return {name: unescape(value) for name, value in found.items()}
