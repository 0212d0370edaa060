"""Login with a token: who gets in, how long, and what no page elsewhere can do."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest

from browsing import Browser, hidden_fields
from clawback.accounts.gate import Gate
from clawback.accounts.people import People
from clawback.accounts.profiles import ensure_profile
from clawback.accounts.throttle import FAILURES, Throttle
from clawback.accounts.tokens import Tokens, new_token
from clawback.accounts.vault import load_vault
from clawback.errors import Rejected
from clawback.store.github_accounts import GithubAccounts
from clawback.store.last_seen import LastSeen
from clawback.store.once import Once
from clawback.web.door import Door
from clawback.web.headers import POLICY
from clawback.web.place import Place
from clawback.web.visit import IDLE, LONGEST
from houses import KEY, House
from waiting import eventually

EVIL = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}


def cookie_name(server):
    """Name the cookie of a visit to a server on this machine."""
    return f"clawback-{server.url.rpartition(':')[2]}-visit"


async def test_a_page_sends_a_stranger_to_the_login_and_back(house, browser):
    """With the query that was asked for."""
    asked = await browser.get("/?tag=a%20b")
    page = await browser.get(asked.headers["location"])
    answer = await browser.log_in(house.token.value, **hidden_fields(page))

    assert (asked.status_code, asked.headers["location"]) == (303, "/login?next=%2F%3Ftag%3Da%2520b")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?tag=a%20b")
    assert house.profile.name in (await browser.get(answer.headers["location"])).text


async def test_a_script_is_refused_and_not_sent_to_a_page(browser):
    """A redirect would look like an answer to it."""
    answer = await browser.get("/", headers={"accept": "text/event-stream"})

    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert answer.json()["detail"] == "this is for people who are logged in: log in at /login"


@pytest.mark.parametrize("token", ["", "cbt_short", "x" * 60_000])
async def test_what_is_no_token_opens_nothing(browser, token):
    """The page says so, keeps where to go on, and does not repeat what was typed."""
    answer = await browser.log_in(token, next="/sources")

    assert answer.status_code == 401
    assert "this is no Clawback token, or it is mistyped or cut" in answer.text
    assert 'name="next" value="/sources"' in answer.text
    assert "set-cookie" not in answer.headers
    assert len(token) < 5 or token not in answer.text


async def test_a_token_that_nobody_has_opens_nothing(browser):
    """In the right form all the same."""
    answer = await browser.log_in(new_token())

    assert answer.status_code == 401
    assert "this token is unknown or was revoked" in answer.text


async def test_who_guesses_tokens_is_told_to_wait(own_house):
    """And a token that is right opens all the same: behind one address there may be many."""
    async with Browser(own_house.servers[0].url) as browser:
        guesses = 1
        while (refused := await browser.log_in("cbt_guess")).status_code == 401:
            guesses += 1
        right = await browser.log_in(own_house.token.value)

    assert guesses > FAILURES
    assert refused.status_code == 429
    assert "too many wrong tokens came from this address" in refused.text
    assert right.status_code == 303


async def test_a_form_that_is_too_large_is_refused(browser):
    """Before it is read."""
    answer = await browser.log_in("x" * 70_000)

    assert answer.status_code == 413


@pytest.mark.parametrize("onward", ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example"])
async def test_a_login_never_leads_to_another_site(house, browser, onward):
    """Whatever a link asked for."""
    page = await browser.get("/login", params={"next": onward})
    answer = await browser.log_in(house.token.value, next=onward)
    again = await browser.get("/login", params={"next": onward})

    assert hidden_fields(page)["next"] == "/"
    assert answer.headers["location"] == again.headers["location"] == "/"


async def test_a_form_that_does_not_come_is_given_up(house, monkeypatch):
    """Half a form holds nothing for ever."""
    monkeypatch.setattr("clawback.api.requests.BODY_SECONDS", 0.05)
    port = int(house.servers[0].url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /login HTTP/1.1\r\nHost: clawback.localhost\r\nSec-Fetch-Site: same-origin\r\nContent-Length: 99\r\n"
    writer.write(f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\ntoken=".encode())
    answer = await asyncio.wait_for(reader.readline(), 10)
    writer.close()

    assert answer.startswith(b"HTTP/1.1 408")


async def test_the_cookie_is_for_this_site_alone(house, browser):
    """Out of reach of scripts and of other sites' requests, sealed, and on the disk for 30 days."""
    answer = await browser.log_in(house.token.value)
    cookie = answer.headers["set-cookie"]
    first, *rest = cookie.split("; ")

    assert re.fullmatch(rf"{cookie_name(house.servers[0])}=[0-9a-f]{{8}}\.[\w-]+", first)
    assert sorted(rest) == ["HttpOnly", "Max-Age=2592000", "Path=/", "SameSite=lax"]
    assert house.token.value not in cookie
    assert house.profile.id not in cookie


async def test_on_https_the_cookie_is_bound_to_the_host(natsd, tmp_path):
    """By its prefix, which browsers hold every writer of it to; and browsers are told to stay on https."""
    async with (
        House.open(natsd, tmp_path, public_url="https://clawback.example.com") as house,
        Browser(house.servers[0].url) as browser,
    ):
        answer = await browser.log_in(house.token.value)

    assert answer.headers["set-cookie"].startswith("__Host-clawback-visit=")
    assert {"Secure", "Path=/"} <= set(answer.headers["set-cookie"].split("; "))
    assert "Domain" not in answer.headers["set-cookie"]
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


async def test_nobody_logs_in_where_others_can_read_along(natsd, tmp_path):
    """The page says which setting is to be changed, and a token that comes all the same is not looked at."""
    async with (
        House.open(natsd, tmp_path, public_url="http://192.0.2.7:8787") as house,
        Browser(house.servers[0].url) as browser,
    ):
        page, answer = await browser.get("/login"), await browser.log_in(house.token.value)

    assert (page.status_code, answer.status_code) == (403, 400)
    for each in (page, answer):
        assert "over http, everybody on the way could read along" in each.text
        assert "set public_url to that URL" in each.text
    assert "set-cookie" not in answer.headers
    assert 'name="token"' not in page.text


async def test_a_logout_ends_the_visit_for_every_copy_of_its_cookie(house, browser, stranger):
    """The browser forgets it, and what somebody took from it before opens nothing."""
    await browser.log_in(house.token.value)
    stranger.cookies = dict(browser.cookies)
    assert (await stranger.get("/")).status_code == 200
    answer = await browser.send_form("/logout", form_token=await browser.form_token())

    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert [(await each.get("/")).status_code for each in (browser, stranger)] == [303, 303]


async def test_a_link_logs_nobody_out(house, browser):
    """Another site can make a browser follow one."""
    await browser.log_in(house.token.value)

    assert (await browser.get("/logout")).status_code == 405
    assert (await browser.get("/")).status_code == 200


async def test_a_form_from_another_site_is_refused(house, browser):
    """With the visit's cookie, and even with its form token; the login's, that has no visit yet, as well."""
    login = await browser.send_form("/login", headers=EVIL, token=house.token.value)
    await browser.log_in(house.token.value)
    token = await browser.form_token()
    logout = await browser.send_form("/logout", headers=EVIL, form_token=token)
    silent = await browser.send_form("/logout", headers={}, form_token=token)

    for answer in (login, logout, silent):
        assert answer.status_code == 400
        assert "this form" in answer.text
        assert "set-cookie" not in answer.headers
    assert (await browser.get("/")).status_code == 200


async def test_a_form_needs_the_token_of_its_own_visit(house, browser, stranger):
    """None, or another visit's of the same profile, is refused."""
    await browser.log_in(house.token.value)
    await stranger.log_in(house.token.value)
    bare = await browser.send_form("/logout")
    others = await browser.send_form("/logout", form_token=await stranger.form_token())

    for answer in (bare, others):
        assert answer.status_code == 400
        assert "this form is of an earlier visit" in answer.text
    assert (await browser.get("/")).status_code == 200


async def test_every_login_is_a_new_visit(house, browser, stranger):
    """A cookie that somebody planted before is worth nothing after."""
    first = await browser.log_in(house.token.value)
    second = await stranger.log_in(house.token.value)

    assert first.headers["set-cookie"] != second.headers["set-cookie"]
    assert await browser.form_token() != await stranger.form_token()


async def test_a_visit_ends_with_its_token(house, browser):
    """At the next request, on every server."""
    other = await house.start()
    await browser.log_in(house.token.value)
    async with Browser(other.url) as elsewhere:
        elsewhere.cookies = {
            other.url.rpartition(":")[2].join(["clawback-", "-visit"]): next(iter(browser.cookies.values()))
        }
        there = await elsewhere.get("/")
        assert await house.tokens.revoke(house.profile.id, house.token.record.id)

        async def logged_out():
            answers = await browser.get("/"), await elsewhere.get("/")
            return [answer.status_code for answer in answers] == [303, 303]

        assert there.status_code == 200
        await eventually(logged_out)


async def test_a_cookie_that_was_made_up_is_nobody(house, browser):
    """And no error."""
    for value in ("x", "00000000.AAAA", '"; drop', "a" * 5000):
        answer = await browser.get("/", headers={"cookie": f"{cookie_name(house.servers[0])}={value}"})

        assert answer.status_code == 303


async def test_a_browser_is_shown_a_page_where_there_is_none(browser):
    """A script is told in JSON: see test_app.py."""
    missing = await browser.get("/nope", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})

    assert (missing.status_code, missing.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is no page at this address." in missing.text
    assert 'href="/"' in missing.text


async def test_every_answer_has_the_headers_that_keep_a_page_ours(house, browser):
    """Pages, refusals, redirects and files; what is shown to a person is kept by nobody, files are for ever."""
    await browser.log_in(house.token.value)
    home = await browser.get("/")
    style = re.search(r'href="(/static/clawback\.css\?v=[0-9a-f]{12})"', home.text)[1]
    missing = await browser.get("/nope", headers={"accept": "text/html,*/*;q=0.8"})
    answers = [home, await browser.get("/login"), await browser.post("/logout"), await browser.get(style), missing]

    for answer in answers:
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert "strict-transport-security" not in answer.headers
    assert [answer.headers["cache-control"] for answer in answers[:3]] == ["no-store"] * 3
    assert answers[3].headers["cache-control"] == "max-age=31536000, public, immutable"
    assert [answers[n].headers["content-type"] for n in (0, 2)] == ["text/html; charset=utf-8"] * 2
    assert answers[3].headers["content-type"].startswith("text/css")
    assert missing.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in POLICY
    assert "unsafe" not in POLICY


async def test_a_name_is_text_on_a_page(house, browser):
    """Whatever it holds."""
    profile = await ensure_profile(house.servers[0].registry, f"<script>alert('{house.profile.id}')</script>")
    await browser.log_in((await house.tokens.create(profile.id, None)).value)
    page = await browser.get("/")

    assert "<script>" not in page.text
    assert "&lt;script&gt;alert(" in page.text


@pytest.fixture
def clock():
    """What time it is for `door`."""
    return [datetime.now(UTC)]


@pytest.fixture
def make_door(house, tmp_path, clock):
    """Make the door of a place, with the house's tokens."""
    fabric = house.fabric
    registry, once = house.servers[0].registry, Once(fabric)
    tokens, people = Tokens(registry, LastSeen(fabric)), People(GithubAccounts(fabric, registry), registry, ())

    def make(public_url):
        place = Place(public_url)
        return Door(
            load_vault(KEY, tmp_path),
            Gate(tokens, Throttle()),
            tokens,
            people,
            registry,
            once,
            place,
            now=lambda: clock[0],
        )

    return make


async def test_a_visit_is_kept_by_coming_and_ends_at_its_longest(house, make_door, clock):
    """Once a day the cookie is written anew; after 30 days without a sign, or 90 in all, it opens nothing."""
    door, begun = make_door("http://127.0.0.1:8787"), clock[0]

    async def come(cookie):
        return await door.recognise({cookie.key: cookie.value})

    first = (await door.let_in(house.token.value, None)).cookie
    assert door.renew(await come(first)) is None
    clock[0] += IDLE - timedelta(seconds=1)
    renewed = door.renew(await come(first))
    clock[0] += timedelta(seconds=1)

    assert await come(first) is None
    assert await come(renewed) is not None
    for _ in range(2):
        clock[0] += IDLE - timedelta(seconds=2)
        renewed = door.renew(await come(renewed))
    clock[0] = begun + LONGEST
    assert await come(renewed) is None


async def test_a_token_is_not_looked_at_where_others_could_read_it(house, make_door):
    """The door itself holds to it, not just the page."""
    with pytest.raises(Rejected, match="over http"):
        await make_door("http://192.0.2.7").let_in(house.token.value, None)


async def test_a_page_says_that_nats_is_away(fresh_natsd, tmp_path):
    """A visit cannot be looked up then, so it is neither taken for granted nor ended; the login page is there."""
    async with House.open(fresh_natsd, tmp_path) as house, Browser(house.servers[0].url) as browser:
        await browser.log_in(house.token.value)
        fresh_natsd.kill9()
        await eventually(house.servers[0].presence._fabric.problem)
        home = await browser.get("/")
        async with Browser(house.servers[0].url) as stranger:
            login = await stranger.get("/login")
        fresh_natsd.start()

        async def back():
            return (await browser.get("/")).status_code == 200

        await eventually(back, timeout=20)

    assert (home.status_code, login.status_code) == (503, 200)
    assert "the connection to NATS" in home.text
    assert "set-cookie" not in home.headers
