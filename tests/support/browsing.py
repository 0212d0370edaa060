"""
What a browser does with our pages, without a browser: keeps cookies, follows nothing by itself, sends forms.

It says where its forms come from, as every browser does. Real Chromium looks at the same pages in tests/browser.
"""

import re
from html import unescape
from typing import Any

import httpx

HTML = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"


class Browser(httpx.AsyncClient):
    """An HTTP client that asks for pages and sends their forms as a browser does."""

    def __init__(self, url: str) -> None:
        super().__init__(base_url=url, trust_env=False, timeout=30, headers={"accept": HTML})

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
