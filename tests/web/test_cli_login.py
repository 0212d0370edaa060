"""Login of a command line: what the pages ask and show, and the exchange of a code."""

import asyncio
import base64
import hashlib
import json
import secrets
from html import unescape

import pytest

from browsing import Browser, hidden_fields
from clawback.accounts.codes import KIND
from clawback.store.once import _key
from github_standin import query_of
from houses import House

JSON = {"content-type": "application/json"}


def program(port="45678"):
    """What `clawback login` puts into its link, and the verifier that it keeps."""
    verifier = secrets.token_urlsafe(32)
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return {"port": port, "state": secrets.token_urlsafe(24), "challenge": challenge}, verifier


async def exchange(browser, code, **fields):
    """Redeem a code, as a program does."""
    return await browser.post("/auth/cli/exchange", json={"code": code} | fields, headers={"accept": "*/*"})


async def code_for(house, browser, **fields):
    """Log in and send the page's form; the code in the command."""
    await browser.log_in(house.token.value)
    page = await browser.send_form(
        "/auth/cli", form_token=await browser.form_token(), token=house.token.value, **fields
    )
    assert page.status_code == 200, page.text
    return page.text.partition("<code>echo ")[2].partition(" ")[0]


async def test_without_github_the_page_says_how_to_make_a_token(browser):
    """And which settings would bring GitHub."""
    page = await browser.get("/auth/cli")

    assert page.status_code == 200
    assert "clawback token create | clawback login --token-stdin" in page.text
    assert "github_client_id" in page.text
    assert 'href="/login?next=/auth/cli"' in page.text


async def test_with_github_the_page_leads_there_and_back(natsd, tmp_path, github):
    """And says then whose account it is."""
    login = f"octo-{secrets.token_hex(6)}"
    github.person = (login, 10**9 + secrets.randbelow(10**9))
    settings = github.settings | {"github_logins": (login,)}
    async with House.open(natsd, tmp_path, **settings) as house, Browser(house.servers[0].url) as browser:
        github.redirect_uri = f"{house.servers[0].url}/auth/github/callback"
        link, _ = program()
        page = await browser.get("/auth/cli", params=link)
        way = page.text.partition('class="button" href="')[2].partition('"')[0]
        there = await browser.get(way)
        back = await browser.get(github.approve(query_of(there.headers["location"])).headers["location"])
        asked = await browser.get(back.headers["location"])

    assert "clawback token create" not in page.text
    assert query_of(back.headers["location"]).items() > link.items()
    assert "proof" in hidden_fields(asked)
    assert f"GitHub account {login}, id {github.person[1]}" in asked.text
    assert "waits on this computer for access to" in asked.text
    assert hidden_fields(asked).items() >= link.items()


async def test_the_first_page_leads_there(house, browser):
    """Who is logged in finds it."""
    await browser.log_in(house.token.value)

    assert '<a href="/auth/cli">Set up Claude Code on a machine</a>' in (await browser.get("/")).text


async def test_looking_at_the_page_makes_nothing(house, browser):
    """A link alone mints no token: that needs a form of ours, sent."""
    await browser.log_in(house.token.value)
    link, _ = program()
    for query in ({}, link):
        assert (await browser.get("/auth/cli", params=query)).status_code == 200
    bare = await browser.send_form("/auth/cli", **link)
    tokens = await house.tokens.of_profile(house.profile.id)

    assert bare.status_code == 400
    assert "this form is of an earlier visit" in bare.text
    assert len(tokens) == 1


async def test_a_code_gives_the_config_once(house, browser):
    """The token is made then, in the person's profile, under the name that they gave it."""
    code = await code_for(house, browser, label="laptop of Ada")
    before = [each.record.label for each in await house.tokens.of_profile(house.profile.id)]
    first, second = await exchange(browser, code), await exchange(browser, code)
    after = [each.record.label for each in await house.tokens.of_profile(house.profile.id)]

    assert first.status_code == 200
    assert set(first.json()) == {"remote", "connectionToken"}
    assert first.json()["remote"] == house.servers[0].socket_url
    assert first.headers["cache-control"] == "no-store"
    assert (await house.tokens.verify(first.json()["connectionToken"])).profile_id == house.profile.id
    assert (second.status_code, second.headers["content-type"]) == (404, "application/problem+json")
    assert "is unknown, was used, or is older than 10 minutes" in second.json()["detail"]
    assert (before, after) == (["test"], ["test", "laptop of Ada"])


async def test_of_many_that_redeem_a_code_at_once_one_gets_a_token(house, browser):
    """On two servers."""
    other = await house.start()
    code = await code_for(house, browser)
    async with Browser(other.url) as elsewhere:
        answers = await asyncio.gather(*(exchange(each, code) for each in (browser, elsewhere) * 5))
    tokens = await house.tokens.of_profile(house.profile.id)

    assert sorted(answer.status_code for answer in answers) == [200] + [404] * 9
    assert len(tokens) == 2


async def test_a_code_is_at_rest_as_a_hash_for_ten_minutes(house, browser):
    """NATS forgets it by itself; what it holds until then is no secret."""
    code = await code_for(house, browser)
    stored = await house.fabric.get("KV_once", subject=_key(KIND, code))
    kept = [each async for page in house.fabric.pages("KV_once", "$KV.once.>") for each in page]

    assert stored.headers["Nats-TTL"] == "600s"
    assert b"cbt_" not in stored.data
    assert all(code not in f"{each.subject} {each.headers} {each.data!r}" for each in kept)


async def test_a_program_that_waits_gets_its_code_back_and_nobody_else_can_use_it(house, browser):
    """To its port on the loopback, with its state; the exchange wants the verifier of its challenge."""
    link, verifier = program()
    await browser.log_in(house.token.value)
    backs = []
    for _ in range(3):
        page = await browser.send_form(
            "/auth/cli", form_token=await browser.form_token(), token=house.token.value, **link
        )
        backs.append(unescape(page.text.partition('content="0; url=')[2].partition('"')[0]))
    codes = [query_of(back)["code"] for back in backs]
    without = await exchange(browser, codes[0])
    wrong = await exchange(browser, codes[1], verifier=verifier[::-1])
    right = await exchange(browser, codes[2], verifier=verifier)
    late = await exchange(browser, codes[0], verifier=verifier)

    assert backs[0].startswith(f"http://127.0.0.1:{link['port']}/?")
    assert query_of(backs[0])["state"] == link["state"]
    assert [each.status_code for each in (without, wrong, right, late)] == [404, 404, 200, 404]


@pytest.mark.parametrize(
    "change",
    [
        {"port": "80"},
        {"port": "65536"},
        {"port": "45678@evil.example"},
        {"port": "4567\uff18"},
        {"port": ""},
        {"state": "short"},
        {"state": 'x"><script>alert(1)</script>'},
        {"challenge": "x"},
        {"challenge": ""},
    ],
)
async def test_a_link_that_no_program_made_is_refused(house, browser, change):
    """By the page and by its form; it can lead nowhere but to a port of one's own machine."""
    link, _ = program()
    await browser.log_in(house.token.value)
    page = await browser.get("/auth/cli", params=link | change)
    sent = await browser.send_form("/auth/cli", form_token=await browser.form_token(), **(link | change))

    for answer in (page, sent):
        assert answer.status_code == 400
        assert "this link is no whole link of clawback login" in answer.text
        assert "<script>" not in answer.text


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b'{"code": 7}', 400),
        (b'{"code": "\\u0000*.>"}', 404),
        (b'{"code": ""}', 404),
        (b'{"code": "' + b"a" * 5000 + b'"}', 413),
    ],
)
async def test_what_is_no_code_is_refused(browser, content, status):
    """Wrong JSON, no JSON, too much of it, and what no subject of NATS may hold."""
    answer = await browser.post("/auth/cli/exchange", content=content, headers=JSON | {"accept": "*/*"})

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_who_guesses_codes_is_told_to_wait(own_house):
    """By a problem that says so, with the time; a code that is right is good all the same."""
    async with Browser(own_house.servers[0].url) as browser:
        code = await code_for(own_house, browser)
        while (answer := await exchange(browser, "a" * 26)).status_code == 404:
            pass
        right = await exchange(browser, code)

    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "60"
    assert "too many wrong codes came from this address" in answer.json()["detail"]
    assert right.status_code == 200


async def test_the_exchange_knows_no_cookies(house, browser):
    """A page elsewhere cannot have a person's browser redeem what that person may."""
    await browser.log_in(house.token.value)
    answer = await browser.post("/auth/cli/exchange", content=json.dumps({"code": "a" * 26}), headers=JSON)

    assert answer.status_code == 404
    assert "access-control-allow-origin" not in answer.headers
