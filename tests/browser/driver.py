"""
Real Chromium, driven as a person would use it: it opens pages, clicks, types and looks.

    async with Chromium(folder) as chromium:
        page = await chromium.page()
        await page.open(url)
        await page.type("#token", token)
        await page.click("button")
        await page.until("document.title === 'Clawback'")

It speaks the Chrome DevTools Protocol over a WebSocket, which this project has a client for; Playwright and Selenium
would bring a browser or a driver of their own to say these few sentences. Clicks and keys are input events at a place
on the screen, so what is covered, hidden or without focus cannot be used. Every page belongs to a profile (`another`
makes a second one: other cookies, another person), and remembers what its console said in `console`.
"""

import asyncio
import base64
import json
import os
import shutil
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from waiting import eventually

START_SECONDS = 30.0
PATIENCE_SECONDS = 15.0
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""A screenshot of a long page."""

FLAGS = (
    "--headless",
    # Chromium's own sandbox does not start as root, which containers and CI are. It only sees pages of ours.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)

KEYS = {"Enter": 13, "Tab": 9, "Escape": 27, "Space": 32, "ArrowDown": 40, "ArrowUp": 38}


def find_chromium() -> str:
    """Find the browser: the one that the variable CHROMIUM names, or `chromium` on the path."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert found, "these tests need Chromium: install Debian's package chromium, or set CHROMIUM to the program's path"
    return found


class Chromium:
    """One browser, with everything it keeps in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}
        self._stack = AsyncExitStack()
        self._said = 0

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            find_chromium(),
            *FLAGS,
            f"--user-data-dir={self._folder}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self._stack.push_async_callback(self._end)
        try:
            port, path = await eventually(self._where, START_SECONDS)
            url = f"ws://127.0.0.1:{port}{path}"
            self._socket = await connect(url, max_size=MAX_MESSAGE_BYTES, compression=None, proxy=None)
        except BaseException:
            await self._stack.aclose()
            raise
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def page(self, *, another: bool = False) -> "Page":
        """Open an empty page; with `another` in a profile of its own, which shares no cookies with any other page."""
        where = await self.call("Target.createBrowserContext") if another else {}
        target = await self.call("Target.createTarget", url="about:blank", **where)
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = self._pages[attached["sessionId"]] = Page(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            await page.call(f"{domain}.enable")
        return page

    async def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Make one call of the protocol, and return its result."""
        assert self._socket is not None, "it runs inside its `async with`"
        self._said += 1
        answer = self._answers[self._said] = asyncio.get_running_loop().create_future()
        said = {"id": self._said, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        await self._socket.send(json.dumps(said))
        async with asyncio.timeout(PATIENCE_SECONDS):
            answered = await answer
        if "error" in answered:
            raise ProtocolError(f"{method}: {answered['error']['message']}")
        return answered["result"]

    def _where(self) -> tuple[str, str] | None:
        assert self._process is not None
        assert self._process.returncode is None, f"Chromium ended with {self._process.returncode}"
        written = self._folder / "DevToolsActivePort"
        lines = written.read_text().splitlines() if written.exists() else []
        return (lines[0], lines[1]) if len(lines) == 2 else None

    async def _read(self) -> None:
        assert self._socket is not None
        try:
            async for text in self._socket:
                message = json.loads(text)
                if "id" in message:
                    self._answers.pop(message["id"]).set_result(message)
                elif message.get("sessionId") in self._pages:
                    self._pages[message["sessionId"]].heard(message["method"], message["params"])
        except ConnectionClosed:
            return

    async def _end(self) -> None:
        if self._socket is not None:
            await self._socket.close()
        if self._reader is not None:
            await self._reader
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class ProtocolError(Exception):
    """Chromium could not do what it was asked to."""


class Page:
    """One page. Selectors are CSS; where several elements match, the first one counts."""

    def __init__(self, chromium: Chromium, session: str) -> None:
        self._chromium = chromium
        self._session = session
        self.console: list[str] = []
        """What the console said: errors, warnings, refusals by the content security policy."""
        self.requests: list[str] = []
        """Every URL that was asked for."""

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Make one call of the protocol for this page."""
        return await self._chromium.call(method, self._session, **parameters)

    def heard(self, method: str, parameters: dict[str, Any]) -> None:
        """Take note of what happens on the page. The browser calls it."""
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            self.console.append(" ".join(str(each.get("value")) for each in parameters["args"]))
        elif method == "Runtime.exceptionThrown":
            self.console.append(parameters["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif method == "Log.entryAdded":
            self.console.append(f"{parameters['entry']['text']} ({parameters['entry'].get('url', '')})")

    async def open(self, url: str) -> None:
        """Go to a URL and wait until the page is there, and whatever it led to."""
        went = await self.call("Page.navigate", url=url)
        assert "errorText" not in went, f"{url}: {went['errorText']}"
        await self.until("document.readyState === 'complete'")

    async def evaluate(self, expression: str) -> Any:
        """Return what a JavaScript expression is on this page; a promise is awaited."""
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, f"{expression}: {result['exceptionDetails']}"
        return result["result"].get("value")

    async def until(self, expression: str, timeout: float = PATIENCE_SECONDS) -> Any:  # noqa: ASYNC109 -- handed on
        """Wait until an expression is true, over page changes, and return it."""

        async def value() -> Any:
            try:
                return await self.evaluate(expression)
            except ProtocolError:
                return None  # the page is just giving way to another

        try:
            return await eventually(value, timeout)
        except AssertionError as error:
            raise AssertionError(
                f"{expression}: {error}; the page is {await self.url()}:\n{await self.text()}"
            ) from None

    async def url(self) -> str:
        """Return where the page is."""
        return await self.evaluate("location.href")

    async def text(self, selector: str = "body") -> str:
        """Return what a person reads in an element, and not what is hidden."""
        return await self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    async def shows(self, text: str) -> None:
        """Wait until a text can be read on the page."""
        await self.until(f"document.body && document.body.innerText.includes({json.dumps(text)})")

    async def click(self, selector: str) -> None:
        """Click in the middle of an element, once it is there; fails where something else lies over it."""
        found = json.dumps(selector)
        await self.until(f"document.querySelector({found}) !== null")
        place = await self.evaluate(
            f"""(() => {{
                const element = document.querySelector({found});
                element.scrollIntoView({{block: "center", behavior: "instant"}});
                const box = element.getBoundingClientRect();
                const x = box.x + box.width / 2, y = box.y + box.height / 2;
                const top = document.elementFromPoint(x, y);
                return {{x, y, free: top !== null && (element.contains(top) || top.contains(element))}};
            }})()"""
        )
        assert place["free"], f"{selector} cannot be clicked: it is hidden or something lies over it"
        for kind in ("mousePressed", "mouseReleased"):
            await self.call(
                "Input.dispatchMouseEvent", type=kind, x=place["x"], y=place["y"], button="left", clickCount=1
            )

    async def type(self, selector: str, text: str) -> None:
        """Click into a field and type a text."""
        await self.click(selector)
        await self.call("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        """Press a key of `KEYS` on whatever has the focus."""
        text = {"Enter": "\r", "Space": " "}.get(key)
        named = {"key": " " if key == "Space" else key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **named, **({"text": text} if text else {}))
        await self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    async def look(self, path: Path, *, width: int = 1100, height: int = 800, dark: bool = False) -> None:
        """Take a picture of the whole page as PNG, as wide as a window or a phone (390), in light or dark."""
        await self.resize(width, height, dark=dark)
        taken = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))  # noqa: ASYNC240 -- one picture, and nobody waits

    async def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """Give the page a window of this size, in pixels, on a system that wishes light or dark."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
