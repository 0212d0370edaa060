"""`clawback login` with the browser: what the program asks for, whom it listens to, and what it makes of the answer."""

import asyncio
import re
import socket
from contextlib import asynccontextmanager
from html import unescape

import httpx
import pytest

from browsing import Browser, hidden_fields
from clawback.commands import browser_login
from clawback.commands.browser_login import base_url, fetch_config
from clawback.errors import ConfigError, ProtocolViolation, Rejected, Unavailable
from github_standin import query_of
from houses import House


@pytest.fixture
async def house(natsd, tmp_path):
    """A profile with one server."""
    async with House.open(natsd, tmp_path) as house:
        yield house


class Person:
    """Somebody with a browser, who does with the page that opens what `acts` says."""

    def __init__(self, act) -> None:
        self.links: list[str] = []
        self.heard: list[str] = []
        self._act = act
        self._loop = asyncio.get_running_loop()

    def open(self, link: str) -> None:
        """Open a page; called from a thread, as a browser is."""
        self.links.append(link)
        asyncio.run_coroutine_threadsafe(self._act(link), self._loop).result(20)

    async def log_in(self, server: str):
        """Run the program to its end."""
        return await fetch_config(server, self.heard.append, self.open)


async def agree(house, link):
    """Log in on the page and send its form; where the browser is sent."""
    async with Browser(house.servers[0].url) as browser:
        way = link.removeprefix(house.servers[0].url)
        page = await browser.get((await browser.log_in(house.token.value, next=way)).headers["location"])
        sent = await browser.send_form("/auth/cli", **hidden_fields(page), label="laptop")
        return unescape(re.search(r'content="0; url=([^"]*)"', sent.text)[1])


async def visit(url):
    """Follow a link to a program on this machine."""
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(url)


async def test_who_says_yes_in_the_browser_gets_a_config_that_works(house):
    """The page that comes back says that it can be closed; the token is the profile's, under the name given there."""
    pages = []

    async def act(link):
        pages.append(await visit(await agree(house, link)))

    person = Person(act)
    config = await person.log_in(house.servers[0].url)
    made = await house.tokens.verify(config.connection_token)

    assert (config.remote, made.profile_id, made.label) == (house.servers[0].socket_url, house.profile.id, "laptop")
    assert pages[0].status_code == 200
    assert "You can close this page" in pages[0].text
    assert pages[0].headers["content-security-policy"] == "default-src 'none'"


async def test_the_link_holds_no_secret_that_opens_anything(house):
    """It is printed too, for browsers that do not open by themselves: a challenge, no verifier, and no token."""

    async def act(link):
        await visit(await agree(house, link))

    person = Person(act)
    config = await person.log_in(house.servers[0].url)

    assert set(query_of(person.links[0])) <= {"port", "state", "challenge", "label"}
    assert person.links[0] in person.heard[0]
    assert f"open {house.servers[0].url}/auth/cli and paste the command" in person.heard[0]
    assert config.connection_token not in "".join(person.heard)


async def test_nobody_but_the_page_can_hand_a_code_over(house):
    """Without its state, or with another, the program goes on waiting; and one answer is enough."""
    answers = []

    async def act(link):
        asked = query_of(link)
        program = f"http://127.0.0.1:{asked['port']}"
        forged = [
            "/",
            "/?code=evil",
            "/?code=evil&state=evil",
            "/?code=evil&state=",
            f"/x?code=e&state={asked['state']}",
        ]
        forged.append(f"/?state={asked['state']}")
        answers.extend([(await visit(program + path)).status_code for path in forged])
        with socket.create_connection(("127.0.0.1", int(asked["port"]))) as garbage:
            garbage.sendall(b"\0" * 20_000)
        await visit(await agree(house, link))

    config = await Person(act).log_in(house.servers[0].url)

    assert answers == [404] * 6
    assert (await house.tokens.verify(config.connection_token)).profile_id == house.profile.id


async def test_a_code_that_somebody_used_before_is_refused_with_the_servers_words(house):
    """The program says so, and saves nothing."""

    async def act(link):
        back = await agree(house, link)
        async with Browser(house.servers[0].url) as thief:
            stolen = await thief.post("/auth/cli/exchange", json={"code": query_of(back)["code"]})
            assert stolen.status_code == 404
        await visit(back)

    with pytest.raises(Rejected, match=r"refuses: this code is unknown, was used, or is older than 10 minutes"):
        await Person(act).log_in(house.servers[0].url)


async def test_who_never_comes_back_is_not_waited_for_for_ever(house, monkeypatch):
    """The program ends and says what to do."""
    monkeypatch.setattr(browser_login, "WAIT_SECONDS", 0.05)

    async def act(_link):
        return

    with pytest.raises(Unavailable, match=r"nobody came back .* within 10 minutes: run clawback login again"):
        await Person(act).log_in(house.servers[0].url)


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", ProtocolViolation, "no Clawback server"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", ProtocolViolation, "no Clawback server"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            ProtocolViolation,
            "no Claw",
        ),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", Unavailable, "answers HTTP 502 for now"),
        (b"", Unavailable, "cannot be reached"),
    ],
)
async def test_what_is_no_clawback_server_is_found_out(answer, kind, says):
    """Before a page is opened where the answer tells, else with the code; no redirect is followed."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async def act(link):
        asked = query_of(link)
        await visit(f"http://127.0.0.1:{asked['port']}/?code=a&state={asked['state']}")

    @asynccontextmanager
    async def serving():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        server.close()

    async with serving() as url:
        with pytest.raises(kind, match=says):
            await Person(act).log_in(url)


async def test_a_server_that_is_not_there_is_said_at_once():
    """No browser opens at a page that cannot load."""
    person = Person(None)
    with pytest.raises(Unavailable, match=r"cannot be reached .* is the server running\? --server names another"):
        await person.log_in("http://127.0.0.1:1")

    assert person.links == []


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:8787", "http://127.0.0.1:8787"),
        ("https://claw.example.com/", "https://claw.example.com"),
        ("wss://claw.example.com/ws", "https://claw.example.com"),
        ("ws://localhost:1/ws", "http://localhost:1"),
    ],
)
def test_a_servers_url_becomes_its_pages(url, base):
    """As it is typed, or as the config has it."""
    assert base_url(url) == base


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("claw.example.com", "accepted is a URL"),
        ("ftp://a", "accepted is a URL"),
        ("http://[::1", "accepted is a URL"),
        ("https://u:p@a.example", "accepted is a URL"),
        ("http://claw.example.com", "others can read along"),
    ],
)
def test_a_login_over_an_open_network_is_refused(url, says):
    """And what is no URL."""
    with pytest.raises(ConfigError, match=says):
        base_url(url)


@pytest.mark.parametrize(("shown", "opened"), [({}, []), ({"DISPLAY": ":0"}, ["x"]), ({"BROWSER": "firefox"}, ["x"])])
def test_a_browser_opens_where_there_is_a_window_for_it(monkeypatch, shown, opened):
    """One for the terminal would take this terminal from the program."""
    calls = []
    monkeypatch.setattr("webbrowser.open", calls.append)
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in shown.items():
        monkeypatch.setenv(name, value)
    browser_login.open_in_browser("x")

    assert calls == opened
