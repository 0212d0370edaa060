"""What a page of another site can do to ours in a real browser: nothing."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from browsing import page_url
from waiting import eventually


@asynccontextmanager
async def site(html):
    """
    Serve a page at another origin of this machine.

    It has another port and the host of our pages, so it is the same *site*: the browser sends it our `SameSite`
    cookies, and what refuses it is our own check.
    """

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        body = html.encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"http://clawback.localhost:{server.sockets[0].getsockname()[1]}/"
    server.close()


@pytest.fixture
async def logged_in(house, page):
    """A page of ours, of somebody who is logged in."""
    await page.open(house.servers[0].url)
    await page.type("#token", house.token.value)
    await page.click("main button")
    await page.shows(house.profile.name)
    return page


async def test_no_page_frames_ours(house, logged_in):
    """So nobody clicks on what they do not see."""
    async with site(f"<h1>evil</h1><iframe src='{page_url(house.servers[0].url)}/auth/cli'></iframe>") as evil:
        await logged_in.open(evil)
        await logged_in.shows("evil")

        await eventually(lambda: any("frame-ancestors" in line for line in logged_in.console))
        shown = await logged_in.evaluate(
            "frames.length && (() => { try { return frames[0].document } catch { return 0 } })()"
        )

    assert not shown


async def test_no_page_sends_our_forms(house, logged_in):
    """The browser adds our cookies to it, and says where it comes from."""
    url = page_url(house.servers[0].url)
    async with site(f"<form method=post action='{url}/logout'><button>win a prize</button></form>") as evil:
        await logged_in.open(evil)
        await logged_in.click("button")
        await logged_in.shows("this form was sent from another page than ours")
    await logged_in.open(url)

    await logged_in.shows(house.profile.name)


async def test_no_page_mints_a_token(house, logged_in):
    """Nor by opening the page that does, which waits for a click of its own."""
    url = page_url(house.servers[0].url)
    async with site(f"<form method=post action='{url}/auth/cli'><button>win a prize</button></form>") as evil:
        await logged_in.open(evil)
        await logged_in.click("button")
        await logged_in.shows("this form was sent from another page than ours")

    assert len(await house.tokens.of_profile(house.profile.id)) == 1


async def test_no_page_reads_ours(house, logged_in):
    """Nor answers of the API, which takes no cookies, nor the socket of the sessions."""
    url = page_url(house.servers[0].url)
    async with site("<h1>evil</h1>") as evil:
        await logged_in.open(evil)
        read = "fetch('{}', {{credentials: 'include'}}).then(answer => answer.text(), error => 'refused')"
        results = [await logged_in.evaluate(read.format(f"{url}{path}")) for path in ("/", "/api/v1/account")]
        connect = (
            "new Promise(resolve => { const socket = new WebSocket('%s');"
            " socket.onopen = () => resolve('open'); socket.onerror = () => resolve('refused'); })"
        )
        socket = await logged_in.evaluate(connect % house.servers[0].socket_url)

    assert results == ["refused", "refused"]
    assert socket == "refused"
