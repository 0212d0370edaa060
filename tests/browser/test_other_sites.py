"""What a page of another site can do to ours in a real browser: nothing."""

import asyncio
import re
from contextlib import asynccontextmanager

import pytest

from browsing import page_url
from waiting import eventually


@asynccontextmanager
async def site(html, host="clawback.localhost", heard=None):
    """
    Serve a page at another origin of this machine; the heads of its requests are added to `heard`.

    It has another port and, unless it is told another, the host of our pages, so it is the same *site*: the browser
    sends it our `SameSite` cookies, and what refuses it is our own check.
    """

    async def answer(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        if heard is not None:
            heard.append(head)
        body = html.encode()
        answered = (
            f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(answered.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"http://{host}:{server.sockets[0].getsockname()[1]}/"
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


async def test_no_other_port_of_this_machine_hears_the_cookie(house, logged_in):
    """By no address and no name of it that a forwarded port or a program's link has."""
    for host in ("127.0.0.1", "localhost", "other.localhost"):
        heard = []
        async with site("<h1>evil</h1>", host, heard) as evil:
            await logged_in.open(evil)
            await logged_in.shows("evil")
            await logged_in.evaluate(f"fetch('{evil}more', {{credentials: 'include'}}).then(answer => answer.text())")
        assert len(heard) >= 2, host
        assert not [head for head in heard if "\r\ncookie:" in head.lower()], host
    await logged_in.open(house.servers[0].url)

    await logged_in.shows(house.profile.name)


async def test_a_cookie_that_another_port_heard_mints_nothing(house, chromium, logged_in):
    """Who leads a person to the pages' own name at another port hears the cookie there, and gets no token with it."""
    heard = []
    async with site("<h1>evil</h1>", heard=heard) as evil:
        await logged_in.open(evil)
        await logged_in.shows("evil")
    name, _, value = re.search(r"(?i)\r\ncookie: (.*)\r\n", heard[0])[1].partition("=")
    url = page_url(house.servers[0].url)
    thief = await chromium.page(another=True)
    await thief.open(url)
    await thief.call("Network.setCookie", url=url, name=name, value=value)
    await thief.open(f"{url}/auth/cli")
    await thief.shows(house.profile.name)
    await thief.evaluate("document.querySelector('main form').submit()")
    await thief.shows("show that it is you")

    assert len(await house.tokens.of_profile(house.profile.id)) == 1
