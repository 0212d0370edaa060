"""
Other ports of this machine: a program of somebody else's that listens there, and what it can do with what it hears.

Cookies know hosts and paths and no ports (RFC 6265, section 8.5), so the browser of the tests gives them to each.
"""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import pytest

from browsing import Browser, hidden_fields, page_url
from clawback.web.door import PROOF_TIME


@asynccontextmanager
async def listener():
    """Listen on another port as another user's program does; its port, and the cookies that came."""
    heard = []

    async def answer(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = [line.partition(":") for line in head.split("\r\n")]
        heard.extend(value.strip() for name, _, value in lines if name.lower() == "cookie")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heard
    finally:
        server.close()


async def use(url, cookie, path, **form):
    """Send a copied cookie with all that a browser of ours would say."""
    headers = {"cookie": cookie, "accept": "text/html", "sec-fetch-site": "same-origin"}
    async with Browser(url) as thief:
        if form:
            return await thief.post(path, data=form, headers=headers)
        return await thief.get(path, headers=headers)


async def test_no_other_port_of_this_machine_hears_the_cookie(house, browser):
    """By no address and no name of it that a forwarded port or a program's link has."""
    await browser.log_in(house.token.value)
    async with listener() as (port, heard):
        for host in ("127.0.0.1", "localhost", "other.localhost"):
            await browser.get(f"http://{host}:{port}/")
        assert heard == []
        # What is left: a person who is led to the pages' own name at another port.
        await browser.get(f"http://clawback.localhost:{port}/")

    assert len(heard) == 1


async def test_a_copied_cookie_mints_nothing(house, browser):
    """It shows the pages while the visit lasts; a token takes more, even within the minutes after the login."""
    url = house.servers[0].url
    await browser.log_in(house.token.value)
    async with listener() as (port, heard):
        await browser.get(f"http://clawback.localhost:{port}/")
    page = await use(url, heard[0], "/auth/cli")
    fields = hidden_fields(page)
    for more in ({}, {"proof": ""}, {"proof": fields["form_token"]}, {"proof": heard[0].partition("=")[2]}):
        answer = await use(url, heard[0], "/auth/cli", **(fields | more))
        assert answer.status_code == 400
        assert "show that it is you" in answer.text
    wrong = await use(url, heard[0], "/auth/cli", **fields, token="cbt_" + "x" * 43)

    assert "proof" not in fields
    assert wrong.status_code == 401
    assert len(await house.tokens.of_profile(house.profile.id)) == 1


async def test_a_proof_is_of_one_visit(house, browser, stranger):
    """Another visit's, of the same profile, is none; and so is another profile's token."""
    await stranger.log_in(house.token.value)
    login = await browser.log_in(house.token.value, next="/auth/cli?label=a&proof=old")
    own = await browser.get(login.headers["location"])
    fields = hidden_fields(own)
    sent = await stranger.send_form("/auth/cli", **(fields | {"form_token": await stranger.form_token()}))
    right = await browser.send_form("/auth/cli", **fields)

    assert sent.status_code == 400
    assert right.status_code == 200
    assert 'value="a"' in own.text
    assert login.headers["location"].count("proof=") == 1


async def test_another_profiles_token_proves_nothing(shared, house, browser):
    """Who has it may give access to their own profile."""
    async with shared.newcomer() as other:
        await browser.log_in(house.token.value)
        sent = await browser.send_form("/auth/cli", form_token=await browser.form_token(), token=other.token.value)

    assert sent.status_code == 400
    assert "show that it is you" in sent.text


@pytest.mark.parametrize("path", ["/", "/login?next=/auth/cli", "/auth/cli?port=45678", "/events/%0d%0aa:b"])
async def test_a_page_leads_to_its_own_name(house, browser, path):
    """With port, path and query, and without looking at a cookie."""
    url = house.servers[0].url
    await browser.log_in(house.token.value)
    cookie = "; ".join(f"{each.name}={each.value}" for each in browser.cookies.jar)
    async with httpx.AsyncClient(trust_env=False) as plain:
        answer = await plain.get(url + path, headers={"cookie": cookie, "accept": "text/html"})

    assert answer.status_code == 307
    assert answer.headers["location"].startswith(page_url(url) + "/")
    assert answer.headers["location"].lower().endswith(path)
    assert "set-cookie" not in answer.headers


async def test_no_form_is_taken_under_another_name(house):
    """So no cookie is ever set for it."""
    url = house.servers[0].url
    headers = {"origin": url, "sec-fetch-site": "same-origin", "accept": "text/html"}
    async with httpx.AsyncClient(trust_env=False, base_url=url) as plain:
        answer = await plain.post("/login", data={"token": house.token.value}, headers=headers)
        far = await plain.get("/login", headers={"host": "192.0.2.7", "accept": "text/html"})

    assert (answer.status_code, far.status_code) == (400, 400)
    assert "set-cookie" not in answer.headers
    assert page_url(url) in answer.text


def test_a_proof_lasts_minutes():
    """As long as it takes to read the next page, and no longer."""
    assert timedelta(minutes=1) < PROOF_TIME <= timedelta(minutes=10)
